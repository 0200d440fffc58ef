//! `s3router packs`: what the pack files hold, whether they are sound, what they save, how alike they are.

mod inspect;
mod list;
mod random;
mod report;
mod similarity;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod verify;

use anyhow::Result;
use clap::{Args, Subcommand};
use std::io::Write;

/// Flags of `packs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3router packs list
  s3router packs inspect zh_TW
  s3router packs verify --packs packs/ --backbone hf:facebook/wav2vec2-xls-r-300m
  s3router packs report --json
  s3router packs similarity tr tt")]
pub struct PacksArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One line for each pack: language, size, density, measured error rates
    List(list::ListArgs),
    /// Everything that one pack says of itself, and each of its masks
    Inspect(inspect::InspectArgs),
    /// Check files against their checksums, and against the backbone they will run on
    Verify(verify::VerifyArgs),
    /// One backbone and N packs against N full models, in parameters and in bytes
    Report(report::ReportArgs),
    /// How alike the masks of two or more languages are
    Similarity(similarity::SimilarityArgs),
    /// Write packs with random masks for a backbone: to measure with, not to transcribe with
    Random(random::RandomArgs),
}

/// Runs the sub-command; answers go to standard output.
///
/// # Errors
/// A file, folder, language or backbone that cannot be used; `verify` when any pack is unsound.
pub fn run(args: PacksArgs) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match answer(args, &mut out).and_then(|()| Ok(out.flush()?)) {
        // `s3router packs list | head -1` is no failure.
        Err(e)
            if e.downcast_ref()
                .is_some_and(|e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn answer(args: PacksArgs, out: &mut dyn Write) -> Result<()> {
    match args.command {
        Command::List(args) => list::run(&args, out),
        Command::Inspect(args) => inspect::run(&args, out),
        Command::Verify(args) => verify::run(&args, out),
        Command::Report(args) => report::run(&args, out),
        Command::Similarity(args) => similarity::run(&args, out),
        Command::Random(args) => random::run(&args, out),
    }
}

fn write_json(out: &mut dyn Write, value: &impl serde::Serialize) -> Result<()> {
    writeln!(out, "{}", serde_json::to_string_pretty(value)?)?;
    Ok(())
}
