//! The curve of a run: one JSON object a line, and the same as a picture.

use crate::store;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::Write as _,
    path::PathBuf,
};

/// `log.jsonl`: every update and every evaluation. A resumed run drops the lines past its checkpoint, so
/// that the file reads as if nothing had happened.
pub struct Log {
    path: PathBuf,
    file: File,
    lines: Vec<Value>,
}

impl Log {
    /// Opens a log and keeps its lines up to `update`.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: PathBuf, update: usize) -> Result<Self> {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let kept = |v: &Value| v["update"].as_u64().is_some_and(|u| u <= update as u64) && update > 0;
        // A line cut by a kill is no JSON and goes.
        let lines: Vec<Value> =
            text.lines().filter_map(|l| serde_json::from_str(l).ok()).filter(kept).collect();
        let whole: String = lines.iter().map(|l| format!("{l}\n")).collect();
        store::write(&path, whole.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.with_context(|| format!("cannot append to {}", path.display()))?;
        Ok(Self { path, file, lines })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// The disk is full.
    pub fn add(&mut self, line: Value) -> Result<()> {
        writeln!(self.file, "{line}").with_context(|| format!("cannot append to {}", self.path.display()))?;
        self.lines.push(line);
        Ok(())
    }

    /// The learning curve as SVG: training loss (left), validation error rate (right).
    pub fn curve(&self, title: &str) -> String {
        let points = |name: &str| -> Vec<(f64, f64)> {
            let point = |l: &Value| Some((l["update"].as_f64()?, l[name].as_f64()?));
            self.lines.iter().filter_map(point).filter(|p| p.1.is_finite()).collect()
        };
        svg(title, &smooth(&points("loss")), &points("cer"))
    }
}

/// A line of one update.
pub fn update(update: usize, loss: f64, norm: f64, factor: f64, rtfx: f64) -> Value {
    json!({ "update": update, "loss": loss, "norm": norm, "factor": factor, "rtfx": rtfx })
}

/// Means of at most 200 neighbouring runs: a line that a picture can show.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |run: &[(f64, f64)]| {
        let n = run.len() as f64;
        (run.iter().map(|p| p.0).sum::<f64>() / n, run.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(points.len().div_ceil(200).max(1)).map(mean).collect()
}

const W: f64 = 640.0;
const H: f64 = 360.0;
const EDGE: f64 = 56.0;

fn svg(title: &str, loss: &[(f64, f64)], cer: &[(f64, f64)]) -> String {
    let most = |points: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| points.iter().map(of).fold(0.0, f64::max);
    let last = most(loss, |p| p.0).max(most(cer, |p| p.0)).max(1.0);
    let tops = [most(loss, |p| p.1), most(cer, |p| p.1)].map(|top| if top > 0.0 { top } else { 1.0 });
    let x = |u: f64| EDGE + (W - 2.0 * EDGE) * u / last;
    let y = |v: f64, top: f64| H - EDGE - (H - 2.0 * EDGE) * v / top;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {W} {H}\" font-family=\"sans-serif\" font-size=\"12\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/><text x=\"{EDGE}\" y=\"24\" font-size=\"14\">{}</text>",
        escape(title)
    );
    for i in 0..=4 {
        let share = f64::from(i) / 4.0;
        let (gx, gy) = (x(last * share), y(share, 1.0));
        let (left, right) = (tops[0] * share, 100.0 * tops[1] * share);
        let _ = write!(
            out,
            "<path d=\"M{EDGE} {gy:.1}H{}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{gy:.1}\" text-anchor=\"end\" fill=\"#36c\">{left:.1}</text>\
             <text x=\"{}\" y=\"{gy:.1}\" fill=\"#c33\">{right:.1} %</text>\
             <text x=\"{gx:.1}\" y=\"{}\" text-anchor=\"middle\">{:.0}</text>",
            W - EDGE,
            EDGE - 6.0,
            W - EDGE + 6.0,
            H - EDGE + 18.0,
            last * share
        );
    }
    for (points, top, colour) in [(loss, tops[0], "#36c"), (cer, tops[1], "#c33")] {
        let line: Vec<_> = points.iter().map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1, top))).collect();
        let _ = write!(
            out,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
            line.join(" ")
        );
    }
    let legend = "<tspan fill=\"#36c\">training loss, nats per utterance</tspan> · <tspan fill=\"#c33\">validation CER</tspan>";
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">updates · {legend}</text></svg>",
        W / 2.0,
        H - 12.0
    );
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_log_forgets_what_came_after_its_checkpoint() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("log.jsonl");
        let mut log = Log::open(path.clone(), 0)?;
        for u in 1..=5 {
            log.add(update(u, 10.0 / u as f64, 1.0, 1.0, 100.0))?;
        }
        log.add(json!({ "update": 5, "cer": 0.5 }))?;
        let whole = std::fs::read_to_string(&path)?;
        std::fs::write(&path, format!("{whole}{{\"update\": 6, \"lo"))?;
        let mut log = Log::open(path.clone(), 3)?;
        log.add(update(4, 2.5, 1.0, 1.0, 100.0))?;
        let lines: Vec<_> = whole.lines().take(4).collect();
        assert_eq!(std::fs::read_to_string(&path)?.lines().collect::<Vec<_>>(), lines);
        Ok(())
    }

    #[test]
    fn the_curve_holds_both_lines_and_no_nan() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut log = Log::open(dir.path().join("log.jsonl"), 0)?;
        for u in 1..=1000 {
            log.add(update(u, 50.0 / u as f64, 1.0, 1.0, 100.0))?;
        }
        log.add(update(1001, f64::NAN, f64::NAN, 1.0, 100.0))?;
        log.add(json!({ "update": 500, "cer": 0.2 }))?;
        log.add(json!({ "update": 1000, "cer": 0.1 }))?;
        let svg = log.curve("tr <mask>");
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("tr &lt;mask>") && svg.contains("20.0 %") && !svg.contains("NaN"));
        Ok(())
    }
}
