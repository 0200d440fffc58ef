//! `s3router bench`: how fast this machine runs a backbone and its masks, measured as the server runs them.

mod measure;
mod plot;
mod report;

use anyhow::{Context, Result, ensure};
use measure::Subject;
use report::{Report, Sweep};
use s3router_core::{Precision, device::DeviceChoice};
use std::{io::Write, path::PathBuf};

/// Flags of `bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3router bench
  s3router bench --backbone random:xlsr-300m --seconds 10 --batch 8 --languages 8
  s3router bench --backbone random:xlsr-300m --precision bf16 --json | jq .rtfx
  s3router bench --backbone random:xlsr-300m --sweep 1,10,60,600 --plot rtfx.svg

Weights, masks (8 % dropped from every feed-forward weight) and audio are random where they are not loaded:
speed does not depend on their values. RTFx is audio seconds per wall second, by the median round. With several
languages, rounds alternate with the same utterances in one language, and both are compared.")]
pub struct BenchArgs {
    /// `demo`, a directory, a file, `hf:ORG/NAME`, or random weights of a shape: `random:xlsr-300m`, `random:xlsr-1b`
    #[arg(long, default_value = "demo")]
    pub backbone: String,
    /// Folder of packs to measure with; random ones when left out
    #[arg(long, value_name = "DIR", conflicts_with = "open")]
    pub packs: Option<PathBuf>,
    /// Length of each utterance
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Utterances computed side by side
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    /// Languages, each with a mask of its own, among the utterances of a batch
    #[arg(long, default_value_t = 1)]
    pub languages: usize,
    /// Measure without masks
    #[arg(long, conflicts_with = "languages")]
    pub open: bool,
    /// Arithmetic of the heavy products: auto is bf16 where this machine has it
    #[arg(long, default_value_t = Precision::Auto, value_name = "auto|f32|bf16|f16")]
    pub precision: Precision,
    /// Where it computes
    #[arg(long, default_value_t = DeviceChoice::Cpu, value_name = "auto|cpu|cuda:N")]
    pub device: DeviceChoice,
    /// Threads; all cores when not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Timed rounds, after one that is not timed
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Measure utterances of each of these lengths, one at a time, instead of --seconds and --batch
    #[arg(long, value_name = "S,S,…", value_delimiter = ',', conflicts_with_all = ["seconds", "batch"])]
    pub sweep: Vec<f64>,
    /// Draw the sweep as SVG
    #[arg(long, value_name = "FILE", requires = "sweep")]
    pub plot: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Measures and prints.
///
/// # Errors
/// A backbone or packs that cannot be loaded, or a precision that this machine lacks.
pub fn run(args: BenchArgs) -> Result<()> {
    let lengths = if args.sweep.is_empty() { std::slice::from_ref(&args.seconds) } else { &args.sweep };
    ensure!(
        args.batch > 0 && args.languages > 0 && args.rounds > 0,
        "--batch, --languages and --rounds start at 1"
    );
    for seconds in lengths {
        ensure!(
            *seconds > 0.0 && *seconds <= 3600.0,
            "a length must lie in (0, 3600] seconds, it is {seconds}"
        );
    }
    crate::load::threads(args.threads)?;
    let subject = Subject::load(&args)?;
    let text = match args.sweep.as_slice() {
        [] => {
            let rounds = subject.time(args.seconds, args.batch, args.rounds)?;
            let report = Report::new(&args, &subject, &rounds)?;
            if args.json { serde_json::to_string(&report)? } else { report.table() }
        }
        lengths => {
            let sweep = Sweep::new(&args, &subject, lengths)?;
            if let Some(path) = &args.plot {
                std::fs::write(path, plot::svg(&sweep))
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            if args.json { serde_json::to_string(&sweep)? } else { sweep.table() }
        }
    };
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

#[cfg(test)]
mod tests;
