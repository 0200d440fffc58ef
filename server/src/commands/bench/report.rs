//! What was measured, as JSON or for the eye.

use super::{
    BenchArgs,
    measure::{Rounds, Subject},
};
use anyhow::Result;
use serde::Serialize;

/// One measurement; the keys are the contract's.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Audio seconds per wall second, by the median round.
    rtfx: f64,
    /// By the fastest round.
    best_rtfx: f64,
    p50_ms: f64,
    p95_ms: f64,
    /// By the fastest rounds, against that of the same utterances in one language; only for several languages.
    against_one_language: Option<f64>,
    /// Weights from their source to packed and fingerprinted.
    load_ms: f64,
    /// One pack from disk to ready, median.
    pack_load_ms: f64,
    /// Giving a pack's masks back; 0 with `--open`, which has none.
    evict_ms: f64,
    /// From one language to another, median.
    switch_ms: f64,
    /// The most memory that this process ever held at once; known on Linux only.
    peak_rss_bytes: Option<u64>,
    /// The memory it holds after the last round.
    resident_bytes: Option<u64>,
    precision: String,
    kernel: &'static str,
    backbone: String,
    seconds: f64,
    batch: usize,
    languages: usize,
    masked: bool,
    threads: usize,
}

impl Report {
    pub(super) fn new(args: &BenchArgs, subject: &Subject, rounds: &Rounds) -> Result<Self> {
        let speed = |ms: f64| args.seconds * args.batch as f64 / (ms / 1e3);
        let (p50_ms, best_ms) = (quantile(&rounds.ms, 0.5), quantile(&rounds.ms, 0.0));
        let alone = Some(&rounds.one_language_ms).filter(|ms| !ms.is_empty());
        let memory = |key| crate::memory::status(key);
        Ok(Self {
            rtfx: speed(p50_ms),
            best_rtfx: speed(best_ms),
            p50_ms,
            p95_ms: quantile(&rounds.ms, 0.95),
            against_one_language: alone.map(|ms| quantile(ms, 0.0) / best_ms),
            load_ms: subject.load_ms,
            pack_load_ms: quantile(&subject.pack_load_ms, 0.5),
            evict_ms: subject.evict_ms,
            switch_ms: quantile(&subject.switches()?, 0.5),
            peak_rss_bytes: memory("VmHWM"),
            resident_bytes: memory("VmRSS"),
            precision: subject.engine.backbone().precision().to_string(),
            kernel: subject.engine.backbone().kernel(),
            backbone: args.backbone.clone(),
            seconds: args.seconds,
            batch: args.batch,
            languages: args.languages,
            masked: !args.open,
            threads: rayon::current_num_threads(),
        })
    }

    pub(super) fn table(&self) -> String {
        let mib = |bytes: Option<u64>| {
            bytes.map_or("unknown".into(), |b| format!("{:.0} MiB", b as f64 / 1_048_576.0))
        };
        let alone = self
            .against_one_language
            .map_or(String::new(), |ratio| format!(", {ratio:.3} of that of one language"));
        format!(
            "{} · {} s × {} in {} language(s) · {} threads · {} {}\n\
             RTFx       {:.2} (best round: {:.2}{alone})\n\
             round      {:.1} ms (95 %: {:.1} ms)\n\
             load       {:.0} ms, a pack {:.1} ms (given back in {:.1} ms), a switch {:.4} ms\n\
             memory     {} (peak: {})",
            self.backbone,
            self.seconds,
            self.batch,
            self.languages,
            self.threads,
            self.kernel,
            self.precision,
            self.rtfx,
            self.best_rtfx,
            self.p50_ms,
            self.p95_ms,
            self.load_ms,
            self.pack_load_ms,
            self.evict_ms,
            self.switch_ms,
            mib(self.resident_bytes),
            mib(self.peak_rss_bytes),
        )
    }
}

/// Utterances of several lengths, one after the other.
#[derive(Debug, Serialize)]
pub(super) struct Sweep {
    pub(super) points: Vec<Point>,
    pub(super) backbone: String,
    pub(super) precision: String,
    pub(super) kernel: &'static str,
    pub(super) threads: usize,
    peak_rss_bytes: Option<u64>,
}

/// One length.
#[derive(Debug, Serialize)]
pub(super) struct Point {
    pub(super) seconds: f64,
    /// By the median round.
    pub(super) rtfx: f64,
    p50_ms: f64,
    /// Milliseconds per second of audio.
    ms_per_second: f64,
}

impl Sweep {
    pub(super) fn new(args: &BenchArgs, subject: &Subject, lengths: &[f64]) -> Result<Self> {
        let point = |&seconds: &f64| {
            let p50_ms = quantile(&subject.time(seconds, 1, args.rounds)?.ms, 0.5);
            Ok(Point { seconds, rtfx: seconds / (p50_ms / 1e3), p50_ms, ms_per_second: p50_ms / seconds })
        };
        Ok(Self {
            points: lengths.iter().map(point).collect::<Result<_>>()?,
            backbone: args.backbone.clone(),
            precision: subject.engine.backbone().precision().to_string(),
            kernel: subject.engine.backbone().kernel(),
            threads: rayon::current_num_threads(),
            peak_rss_bytes: crate::memory::status("VmHWM"),
        })
    }

    pub(super) fn table(&self) -> String {
        let line = |p: &Point| {
            format!(
                "{:>7} s   RTFx {:>7.2}   {:>9.1} ms   {:>7.2} ms per second",
                p.seconds, p.rtfx, p.p50_ms, p.ms_per_second
            )
        };
        self.points.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// The value below which the share `q` lies (nearest rank).
fn quantile(values: &[f64], q: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let rank = (q * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!([0.0, 0.5, 0.75, 0.95].map(|q| quantile(&values, q)), [1.0, 2.0, 3.0, 4.0]);
    }
}
