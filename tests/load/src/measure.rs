//! One measurement each: the engine alone, a closed loop, an open loop, streams.

use crate::{
    http::{self, Target},
    server::{Meter, Server, cpu_seconds},
    streams,
    tally::{Outcome, Tally},
    work::{Clip, Deck, Mix},
};
use anyhow::{Context, Result};
use s3router_core::{Utterance, audio};
use s3router_server::{config::EngineConfig, load};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// What is under test, and how long and hard.
pub(crate) struct Bench {
    pub(crate) program: PathBuf,
    pub(crate) engine: EngineConfig,
    pub(crate) length: Duration,
    pub(crate) clients: usize,
    pub(crate) rate: f64,
    pub(crate) streams: usize,
}

/// What one measurement sends.
pub(crate) struct Load<'a> {
    pub(crate) clips: &'a [Clip],
    pub(crate) languages: &'a [String],
    pub(crate) mix: Mix,
    pub(crate) flags: &'a [&'a str],
}

const WARM_UP: Duration = Duration::from_millis(700);

impl Bench {
    /// The server with the engine under test.
    fn server(&self, flags: &[&str]) -> Result<Server> {
        let mut all = vec!["--backbone".to_owned(), self.engine.backbone.clone()];
        if let Some(packs) = &self.engine.packs {
            all.extend(["--packs".to_owned(), packs.to_string()]);
        }
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        Server::start(&self.program, &all)
    }

    /// The engine without a server: the same bytes decoded, full batches, nobody in between.
    pub(crate) fn direct(&self, load: &Load, rows: usize) -> Result<Tally> {
        let (engine, packs) = load::open(&self.engine)?;
        let packs = packs.now();
        let mut deck = Deck::new(load.clips, load.languages, load.mix, 0);
        let mut tally = Tally::new(format!("engine alone, batches of {rows}"))?;
        let mut round = || -> Result<Vec<f64>> {
            let drawn: Vec<_> = (0..rows).map(|_| deck.draw()).collect();
            let mut batch = Vec::with_capacity(rows);
            for (clip, language) in &drawn {
                let channels =
                    audio::decode(&clip.wav, None, audio::Channels::Mix, &audio::Limits::default())?;
                let samples = channels.into_iter().next().context("no channel")?;
                batch.push(Utterance::new(samples, &packs.get(language)?));
            }
            engine.transcribe(&batch).into_iter().collect::<Result<Vec<_>, _>>()?;
            Ok(drawn.iter().map(|(clip, _)| clip.seconds()).collect())
        };
        let warm = Instant::now();
        while warm.elapsed() < WARM_UP {
            round()?;
        }
        let before = Meter { cpu: cpu_seconds("self"), ..Meter::default() };
        let begun = Instant::now();
        while begun.elapsed() < self.length {
            let asked = Instant::now();
            for seconds in round()? {
                tally.add(&Outcome::Answered(seconds), asked.elapsed());
            }
        }
        tally.lasted(begun.elapsed());
        tally.spent(before, Meter { cpu: cpu_seconds("self"), ..Meter::default() });
        Ok(told(tally))
    }

    /// As many clients as asked for, each with one request at a time.
    pub(crate) fn closed(&self, name: &str, load: &Load) -> Result<Tally> {
        self.closed_by(name, load, self.clients, |target| target)
    }

    /// The same with so many clients, asking as `how` says.
    pub(crate) fn closed_by(
        &self,
        name: &str,
        load: &Load,
        clients: usize,
        how: impl Fn(Target) -> Target,
    ) -> Result<Tally> {
        let server = self.server(load.flags)?;
        let mut target = how(Target::new(&server.address)?);
        let deck = |client| Deck::new(load.clips, load.languages, load.mix, client);
        let mut tally = Tally::new(name)?;
        let runtime = runtime()?;
        runtime.block_on(async {
            if load.mix != Mix::One {
                target.learn(load.clips, load.languages).await?;
            }
            http::closed(&mut Tally::new("warm-up")?, &target, deck, clients, WARM_UP).await;
            anyhow::Ok(())
        })?;
        let before = server.meter();
        runtime.block_on(http::closed(&mut tally, &target, deck, clients, self.length));
        tally.spent(before, server.meter());
        Ok(told(tally))
    }

    /// An open loop of short requests, beside a client that sends `file` over and over.
    pub(crate) fn open(&self, name: &str, load: &Load, rate: f64, file: Option<&Clip>) -> Result<Tally> {
        let server = self.server(load.flags)?;
        let mut target = Target::new(&server.address)?;
        let deck = |client| Deck::new(load.clips, load.languages, load.mix, client);
        let mut tally = Tally::new(name)?;
        let runtime = runtime()?;
        runtime.block_on(async {
            target.learn(load.clips, load.languages).await?;
            http::closed(&mut Tally::new("warm-up")?, &target, deck, 2, WARM_UP).await;
            anyhow::Ok(())
        })?;
        let before = server.meter();
        runtime.block_on(async {
            let long = async {
                while let Some(file) = file {
                    let language = load.languages.first().map_or("", String::as_str);
                    if !matches!(
                        Target::new(&server.address)?.ask(file, language).await,
                        Outcome::Answered(_)
                    ) {
                        anyhow::bail!("the long file was not answered");
                    }
                }
                std::future::pending().await
            };
            tokio::select! {
                () = http::open(&mut tally, &target, deck(0), rate, self.length) => Ok(()),
                failed = long => failed,
            }
        })?;
        // Beside a file the server's time is not that of the short requests alone.
        if file.is_none() {
            tally.spent(before, server.meter());
        }
        Ok(told(tally))
    }

    /// So many streams at once in real time, `speech` of each being speech.
    pub(crate) fn streams(&self, load: &Load, streams: usize, speech: f64) -> Result<Tally> {
        let server = self.server(&["--max-streams", "4096"])?;
        let before = server.meter();
        let mut tally =
            streams::run(&server.address, load.clips, load.languages, streams, speech, self.length)?;
        tally.spent(before, server.meter());
        Ok(told(tally))
    }
}

/// A line as soon as it is known: the whole table takes minutes.
fn told(tally: Tally) -> Tally {
    eprint!("{tally}");
    tally
}

/// The client's own threads: one, so that the server keeps the machine.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
