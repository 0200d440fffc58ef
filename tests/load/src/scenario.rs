//! What is measured, and against what.

use crate::{
    http::{self, Target},
    server::Server,
    streams,
    tally::{Outcome, Tally},
    work::{Clip, Deck, Mix, clips, long},
};
use anyhow::{Context, Result};
use s3router_core::{Utterance, audio};
use s3router_server::{config::EngineConfig, load};
use std::{
    fmt::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

/// One question each.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// The engine alone, behind the server, behind a server that takes one request at a time.
    Throughput,
    /// One language against eleven.
    Mixture,
    /// Latency at a steady rate of arrivals: uniform, and with another language each time.
    Latency,
    /// Short requests alone, and beside a long file.
    Fairness,
    /// Real-time streams, all at once.
    Streams,
}

/// How it is measured.
pub(crate) struct Bench {
    pub(crate) program: PathBuf,
    pub(crate) length: Duration,
    pub(crate) clients: usize,
    pub(crate) rate: f64,
    pub(crate) streams: usize,
    pub(crate) speech: f64,
}

const WARM_UP: Duration = Duration::from_secs(1);

impl Bench {
    /// A Markdown table, and the ratios that it was measured for.
    pub(crate) fn run(&self, scenario: Scenario) -> Result<String> {
        let clips = clips()?;
        match scenario {
            Scenario::Throughput => self.throughput(&clips),
            Scenario::Mixture => self.mixture(&clips),
            Scenario::Latency => self.latency(&clips),
            Scenario::Fairness => self.fairness(&clips),
            Scenario::Streams => self.streams(&clips),
        }
    }

    fn throughput(&self, clips: &[Clip]) -> Result<String> {
        let direct = self.direct(clips)?;
        let served = self.closed("server", &[], clips, Mix::Uniform)?;
        let naive = self.closed(
            "one request at a time (`--max-batch 1`)",
            &["--max-batch", "1"],
            clips,
            Mix::Uniform,
        )?;
        let mut out = table(&[&direct, &served, &naive]);
        let overhead = 100.0 * (1.0 - served.rtfx() / direct.rtfx());
        writeln!(
            out,
            "\nserver overhead {overhead:.1} %; {:.2} x one at a time",
            served.rtfx() / naive.rtfx()
        )?;
        Ok(out)
    }

    fn mixture(&self, clips: &[Clip]) -> Result<String> {
        let one = self.closed("one language", &[], clips, Mix::One("es"))?;
        let uniform = self.closed("eleven, uniform", &[], clips, Mix::Uniform)?;
        let zipf = self.closed("eleven, Zipf", &[], clips, Mix::Zipf)?;
        let adversarial = self.closed("eleven, always another", &[], clips, Mix::Adversarial)?;
        let mut out = table(&[&one, &uniform, &zipf, &adversarial]);
        let worst =
            [&uniform, &zipf, &adversarial].map(|t| t.rtfx()).into_iter().fold(f64::INFINITY, f64::min);
        writeln!(out, "\nmixed against one language: at least {:.2} x", worst / one.rtfx())?;
        Ok(out)
    }

    fn latency(&self, clips: &[Clip]) -> Result<String> {
        let rate = format!("{} a second", self.rate);
        let uniform = self.open(&format!("{rate}, uniform"), &[], clips, Mix::Uniform, None)?;
        let adversarial =
            self.open(&format!("{rate}, always another"), &[], clips, Mix::Adversarial, None)?;
        let naive = ["--max-batch", "1"];
        let naive = self.open(&format!("{rate}, one at a time"), &naive, clips, Mix::Uniform, None)?;
        Ok(table(&[&uniform, &adversarial, &naive]))
    }

    fn fairness(&self, clips: &[Clip]) -> Result<String> {
        let file = long(&clips[0], 590)?;
        let solo = self.open("short alone", &[], clips, Mix::Uniform, None)?;
        let beside = self.open("short beside a 10 min file", &[], clips, Mix::Uniform, Some(&file))?;
        let mut out = table(&[&solo, &beside]);
        writeln!(out, "\np95 beside a long file: {:.2} x alone", beside.ms(0.95) / solo.ms(0.95))?;
        Ok(out)
    }

    fn streams(&self, clips: &[Clip]) -> Result<String> {
        let server = Server::start(&self.program, &["--max-streams", "4096"])?;
        let before = server.cpu_seconds();
        let tally = streams::run(&server.address, clips, self.streams, self.speech, self.length)?;
        let mut out = table(&[&tally]);
        if let (Some(before), Some(after)) = (before, server.cpu_seconds()) {
            let cores = (after - before) / self.length.as_secs_f64();
            writeln!(
                out,
                "\nlatency: from an utterance's last sample being sent to its final; {cores:.2} cores busy"
            )?;
        }
        Ok(out)
    }

    /// The engine without a server: the same bytes decoded, the same batches, nobody in between.
    fn direct(&self, clips: &[Clip]) -> Result<Tally> {
        let (engine, packs) = load::open(&EngineConfig::default())?;
        let packs = packs.now();
        let mut deck = Deck::new(clips, Mix::Uniform, 0);
        let mut tally = Tally::new(format!("engine alone, batches of {}", self.clients))?;
        let mut round = |count: usize| -> Result<f64> {
            let drawn: Vec<_> = (0..count).map(|_| deck.draw()).collect();
            let mut batch = Vec::with_capacity(count);
            for (clip, lang) in &drawn {
                let channels =
                    audio::decode(&clip.wav, None, audio::Channels::Mix, &audio::Limits::default())?;
                let samples = channels.into_iter().next().context("no channel")?;
                batch.push(Utterance::new(samples, &packs.get(lang)?));
            }
            engine.transcribe(&batch).into_iter().collect::<Result<Vec<_>, _>>()?;
            Ok(drawn.iter().map(|(clip, _)| clip.seconds()).sum::<f64>() / count as f64)
        };
        round(self.clients)?;
        let begun = Instant::now();
        while begun.elapsed() < self.length {
            let asked = Instant::now();
            let seconds = round(self.clients)?;
            (0..self.clients).for_each(|_| tally.add(&Outcome::Answered(seconds), asked.elapsed()));
        }
        tally.lasted(begun.elapsed());
        Ok(tally)
    }

    fn closed(&self, name: &str, flags: &[&str], clips: &[Clip], mix: Mix) -> Result<Tally> {
        let server = Server::start(&self.program, flags)?;
        let target = Target::new(&server.address)?;
        let deck = |client| Deck::new(clips, mix, client);
        runtime()?.block_on(async {
            http::closed(name, &target, deck, self.clients, WARM_UP).await?;
            let name = format!("{name}, {} clients", self.clients);
            http::closed(&name, &target, deck, self.clients, self.length).await
        })
    }

    /// An open loop of short requests, beside a client that sends `file` over and over.
    fn open(
        &self,
        name: &str,
        flags: &[&str],
        clips: &[Clip],
        mix: Mix,
        file: Option<&Clip>,
    ) -> Result<Tally> {
        let server = Server::start(&self.program, flags)?;
        let target = Target::new(&server.address)?;
        runtime()?.block_on(async {
            http::closed(name, &target, |client| Deck::new(clips, mix, client), 2, WARM_UP).await?;
            let long = async {
                while let Some(file) = file {
                    if !matches!(target.ask(file, file.lang).await, Outcome::Answered(_)) {
                        anyhow::bail!("the long file was not answered");
                    }
                }
                std::future::pending().await
            };
            tokio::select! {
                tally = http::open(name, &target, Deck::new(clips, mix, 0), self.rate, self.length) => tally,
                failed = long => failed,
            }
        })
    }
}

/// The client's own threads: one, so that the server keeps the machine.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn table(tallies: &[&Tally]) -> String {
    tallies.iter().fold(Tally::HEAD.to_owned(), |table, tally| table + &tally.to_string())
}
