//! What came of a measurement.

use crate::server::Meter;
use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::{fmt, time::Duration};

/// Answers, how long each took, and what the server spent on them.
pub(crate) struct Tally {
    pub(crate) name: String,
    latencies: Histogram<u64>,
    audio: f64,
    refused: u64,
    failed: u64,
    wrong: u64,
    wall: Duration,
    cpu: Option<f64>,
    rows: Option<f64>,
}

/// One request's end.
pub(crate) enum Outcome {
    /// An answer to so many seconds of audio.
    Answered(f64),
    /// 429.
    Refused,
    /// Another text than alone.
    Wrong,
    /// Anything else.
    Failed,
}

impl Tally {
    pub(crate) fn new(name: impl Into<String>) -> Result<Self> {
        // 1 µs to 10 min, three digits.
        let latencies = Histogram::new_with_bounds(1, 600_000_000, 3)?;
        let (refused, failed, wrong, wall) = (0, 0, 0, Duration::ZERO);
        let (name, audio, cpu, rows) = (name.into(), 0.0, None, None);
        Ok(Self { name, latencies, audio, refused, failed, wrong, wall, cpu, rows })
    }

    pub(crate) fn add(&mut self, outcome: &Outcome, took: Duration) {
        match outcome {
            Outcome::Answered(seconds) => {
                self.audio += seconds;
                self.latencies.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
            Outcome::Refused => self.refused += 1,
            Outcome::Wrong => self.wrong += 1,
            Outcome::Failed => self.failed += 1,
        }
    }

    pub(crate) fn lasted(&mut self, wall: Duration) {
        self.wall = wall;
    }

    /// What the process under test used between two readings.
    pub(crate) fn spent(&mut self, before: Meter, after: Meter) {
        let between = |pick: fn(&Meter) -> Option<f64>| Some(pick(&after)? - pick(&before)?);
        self.cpu = between(|m| m.cpu);
        self.rows = between(|m| m.rows).zip(between(|m| m.batches)).map(|(rows, batches)| rows / batches);
    }

    /// Seconds of audio per second.
    pub(crate) fn rtfx(&self) -> f64 {
        self.audio / self.wall.as_secs_f64().max(1e-9)
    }

    /// CPU milliseconds per second of audio.
    pub(crate) fn cost(&self) -> Option<f64> {
        self.cpu.map(|cpu| 1e3 * cpu / self.audio.max(1e-9))
    }

    /// Rows of the server's mean batch.
    pub(crate) fn rows(&self) -> Option<f64> {
        self.rows
    }

    /// CPU seconds per second.
    pub(crate) fn cores(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu / self.wall.as_secs_f64().max(1e-9))
    }

    /// Milliseconds below which the share `q` lies.
    pub(crate) fn ms(&self, q: f64) -> f64 {
        self.latencies.value_at_quantile(q) as f64 / 1e3
    }

    pub(crate) const HEAD: &str = "\
        | | answers | 429 | failed | wrong | RTFx | p50 ms | p95 ms | p99 ms | CPU ms per s of audio | rows a batch |\n\
        |---|---|---|---|---|---|---|---|---|---|---|\n";

    pub(crate) fn json(&self) -> Value {
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| self.ms(q));
        json!({
            "name": self.name, "answers": self.latencies.len(), "refused": self.refused, "failed": self.failed,
            "wrong": self.wrong, "audio_seconds": self.audio, "wall_seconds": self.wall.as_secs_f64(),
            "rtfx": self.rtfx(), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": self.ms(1.0),
            "cpu_seconds": self.cpu, "rows_per_batch": self.rows,
        })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| self.ms(q));
        let maybe = |x: Option<f64>| x.map_or_else(String::new, |x| format!("{x:.2}"));
        writeln!(
            f,
            "| {} | {} | {} | {} | {} | {:.1} | {p50:.1} | {p95:.1} | {p99:.1} | {} | {} |",
            self.name,
            self.latencies.len(),
            self.refused,
            self.failed,
            self.wrong,
            self.rtfx(),
            maybe(self.cost()),
            maybe(self.rows),
        )
    }
}
