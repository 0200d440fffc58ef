//! What came of a measurement.

use anyhow::Result;
use hdrhistogram::Histogram;
use std::{fmt, time::Duration};

/// Answers, and how long each took.
pub(crate) struct Tally {
    pub(crate) name: String,
    latencies: Histogram<u64>,
    audio: f64,
    refused: u64,
    failed: u64,
    wall: Duration,
    pub(crate) note: String,
}

/// One request's end.
pub(crate) enum Outcome {
    /// An answer to so many seconds of audio.
    Answered(f64),
    /// 429.
    Refused,
    /// Anything else.
    Failed,
}

impl Tally {
    pub(crate) fn new(name: impl Into<String>) -> Result<Self> {
        // 1 µs to 10 min, three digits.
        let latencies = Histogram::new_with_bounds(1, 600_000_000, 3)?;
        let (name, note) = (name.into(), String::new());
        Ok(Self { name, latencies, audio: 0.0, refused: 0, failed: 0, wall: Duration::ZERO, note })
    }

    pub(crate) fn add(&mut self, outcome: &Outcome, took: Duration) {
        match outcome {
            Outcome::Answered(seconds) => {
                self.audio += seconds;
                self.latencies.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
            Outcome::Refused => self.refused += 1,
            Outcome::Failed => self.failed += 1,
        }
    }

    pub(crate) fn lasted(&mut self, wall: Duration) {
        self.wall = wall;
    }

    pub(crate) fn rtfx(&self) -> f64 {
        self.audio / self.wall.as_secs_f64().max(1e-9)
    }

    /// Milliseconds below which the share `q` lies.
    pub(crate) fn ms(&self, q: f64) -> f64 {
        self.latencies.value_at_quantile(q) as f64 / 1e3
    }

    pub(crate) const HEAD: &str = "| | answers | 429 | failed | RTFx | p50 ms | p95 ms | p99 ms | |\n\
                                   |---|---|---|---|---|---|---|---|---|\n";
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| self.ms(q));
        writeln!(
            f,
            "| {} | {} | {} | {} | {:.1} | {p50:.1} | {p95:.1} | {p99:.1} | {} |",
            self.name,
            self.latencies.len(),
            self.refused,
            self.failed,
            self.rtfx(),
            self.note
        )
    }
}
