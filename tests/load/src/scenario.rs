//! What is compared with what.

use crate::{
    http::Target,
    measure::{Bench, Load},
    report::Section,
    tally::Tally,
    work::{Clip, Mix, clips},
};
use anyhow::Result;

/// One question each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// All of these, one after the other
    All,
    /// The engine alone, behind the server, behind a server that takes one request at a time
    Throughput,
    /// One language against eleven: uniform, Zipf, another one each time
    Mixture,
    /// Latency at a steady rate of arrivals
    Latency,
    /// Short requests alone, and beside a long file
    Fairness,
    /// What finding out the language costs
    Identify,
    /// Real-time streams, all at once
    Streams,
}

/// A short request: as long as the shortest clip of the demo.
const SHORT: f64 = 1.1;
/// An utterance.
const LONGER: f64 = 10.0;
/// A long file, at the server's limit.
const FILE: f64 = 590.0;

impl Bench {
    /// Measures.
    pub(crate) fn run(&self, scenario: Scenario, languages: &[String]) -> Result<Vec<Section>> {
        let short = clips(SHORT)?;
        let of = |mix| Load { clips: &short, languages, mix, flags: &[] };
        let all = scenario == Scenario::All;
        let mut sections = Vec::new();
        if all || scenario == Scenario::Throughput {
            sections.push(self.throughput(&of(Mix::Uniform), SHORT)?);
            let longer = clips(LONGER)?;
            sections.push(self.throughput(&Load { clips: &longer, ..of(Mix::Uniform) }, LONGER)?);
        }
        if all || scenario == Scenario::Mixture {
            sections.push(self.mixture(of)?);
        }
        if all || scenario == Scenario::Latency {
            sections.push(self.latency(of)?);
        }
        if all || scenario == Scenario::Fairness {
            sections.push(self.fairness(&of(Mix::Uniform))?);
        }
        if all || scenario == Scenario::Identify {
            sections.push(self.identify(languages)?);
        }
        if all || scenario == Scenario::Streams {
            sections.push(self.realtime(&of(Mix::Uniform))?);
        }
        Ok(sections)
    }

    /// Overhead is counted in CPU time: the client's own share of the machine is no cost of the server.
    fn throughput(&self, load: &Load, seconds: f64) -> Result<Section> {
        // As much audio as the server's default puts into a batch.
        let rows = self.clients.min((40.0 / seconds) as usize);
        let direct = self.direct(load, rows)?;
        let served = self.closed(&format!("server, {} clients", self.clients), load)?;
        // What the server itself costs, apart from batches that are smaller than they could be.
        let alike = self.direct(load, served.rows().map_or(rows, |rows| rows.round() as usize).max(1))?;
        let naive = Load { flags: &["--max-batch", "1"], ..*load };
        let naive = self.closed("one request at a time (`--max-batch 1`)", &naive)?;
        let (gain, wall) = (served.rtfx() / naive.rtfx(), served.rtfx() / direct.rtfx());
        let over = |alone: &Tally| {
            let share = served.cost().zip(alone.cost()).map(|(s, a)| 100.0 * (s / a - 1.0));
            share.unwrap_or(f64::NAN)
        };
        let (full, own) = (over(&direct), over(&alike));
        let title = format!("Throughput, clips of {seconds} s in {} languages", load.languages.len());
        Ok(Section::new(title, vec![direct, alike, served, naive])
            .finding(
                "overhead_percent",
                own,
                format!("CPU time of the server: {own:.1} % more than the engine alone in batches of that size (client not counted)"),
            )
            .finding("overhead_against_full_batches_percent", full, format!("{full:.1} % more than the engine alone in full batches"))
            .finding("wall_share", wall, format!("{wall:.2} × the engine's throughput by the clock, the client's work on the same cores"))
            .finding("gain_over_naive", gain, format!("{gain:.2} × a server that takes one request at a time")))
    }

    fn mixture<'a>(&self, of: impl Fn(Mix) -> Load<'a>) -> Result<Section> {
        let named = [
            ("one language", Mix::One),
            ("eleven, uniform", Mix::Uniform),
            ("eleven, Zipf", Mix::Zipf),
            ("eleven, always another", Mix::Adversarial),
        ];
        let rows: Vec<Tally> =
            named.iter().map(|(name, mix)| self.closed(name, &of(*mix))).collect::<Result<_>>()?;
        let worst = rows[1..].iter().map(Tally::rtfx).fold(f64::INFINITY, f64::min) / rows[0].rtfx();
        let title = format!("Mixed languages against one, closed loop, {} clients", self.clients);
        Ok(Section::new(title, rows).finding(
            "worst_mixture",
            worst,
            format!("mixed against one language: at least {worst:.2} ×"),
        ))
    }

    fn latency<'a>(&self, of: impl Fn(Mix) -> Load<'a>) -> Result<Section> {
        let naive = |load: Load<'a>| Load { flags: &["--max-batch", "1"], ..load };
        let rows = vec![
            self.open("uniform", &of(Mix::Uniform), self.rate, None)?,
            self.open("Zipf", &of(Mix::Zipf), self.rate, None)?,
            self.open("always another", &of(Mix::Adversarial), self.rate, None)?,
            self.open("uniform, one request at a time", &naive(of(Mix::Uniform)), self.rate, None)?,
        ];
        Ok(Section::new(format!("Latency, open loop, {} requests a second", self.rate), rows))
    }

    fn fairness(&self, load: &Load) -> Result<Section> {
        let file: Vec<Clip> = clips(FILE)?;
        let rate = (self.rate / 8.0).max(5.0);
        let solo = self.open("short alone", load, rate, None)?;
        let beside = self.open("short beside a 10 min file", load, rate, file.first())?;
        let ratio = beside.ms(0.95) / solo.ms(0.95);
        let title = format!("Short requests beside a long file, open loop, {rate} a second");
        Ok(Section::new(title, vec![solo, beside]).finding(
            "p95_ratio",
            ratio,
            format!("p95 beside a long file: {ratio:.2} × alone"),
        ))
    }

    fn identify(&self, languages: &[String]) -> Result<Section> {
        let clips = clips(3.0)?;
        let load = Load { clips: &clips, languages, mix: Mix::One, flags: &[] };
        let ask = |name, path| self.closed_by(name, &load, 1, |target: Target| target.asking(path));
        let named = ask("`/transcribe?lang=` one language", "/transcribe?words=false&lang=")?;
        let identified = ask("`/identify`, all languages", "/identify?top=1")?;
        let auto = ask("`/transcribe?lang=auto`", "/transcribe?words=false&lang=auto")?;
        let ratio = identified.ms(0.5) / named.ms(0.5);
        let title = format!("Finding out the language: 3 s under {} masks, one client", languages.len());
        Ok(Section::new(title, vec![named, identified, auto]).finding(
            "identify_against_one",
            ratio,
            format!("/identify takes {ratio:.1} × one transcription"),
        ))
    }

    fn realtime(&self, load: &Load) -> Result<Section> {
        let longer = clips(3.0)?;
        let load = Load { clips: &longer, ..*load };
        let auto = Load { languages: &["auto".to_owned()], ..load };
        // Each utterance is heard under every mask, and so are its partials: fewer streams fill the machine.
        let fewer = (self.streams / 8).max(1);
        let rows = vec![
            self.streams(&load, self.streams, 0.25)?,
            self.streams(&load, self.streams, 1.0)?,
            self.streams(&load, fewer, 0.25)?,
            self.streams(&auto, fewer, 0.25)?,
        ];
        let cores = rows[0].cores().unwrap_or(f64::NAN);
        let times = rows[3].cost().zip(rows[2].cost()).map_or(f64::NAN, |(auto, named)| auto / named);
        let title = format!(
            "{} WebSockets at once in real time, evenly spread; latency from a sentence's last sample to its final",
            self.streams
        );
        Ok(Section::new(title, rows)
            .finding(
                "cores_at_a_quarter_speech",
                cores,
                format!("{cores:.2} cores busy when a quarter of the time is speech"),
            )
            .finding(
                "auto_against_named",
                times,
                format!(
                    "`lang=auto` among {} costs {times:.1} × a language that is named, partials and all",
                    load.languages.len()
                ),
            ))
    }
}
