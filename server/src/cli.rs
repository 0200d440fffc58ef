//! The commands of `s3router`; each one's flags and work are in [`crate::commands`].

use crate::commands::serve;
use clap::{Parser, Subcommand};

/// One speech backbone stays resident; a mask per language makes it hear eleven, or yours.
#[derive(Debug, Parser)]
#[command(name = "s3router", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve transcription over HTTP (the embedded demo when nothing is named)
    Serve(serve::ServeArgs),
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// Each command's own, one line: what, where, how to mend it.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve(args) => serve::run(args),
        }
    }
}
