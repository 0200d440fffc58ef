//! The commands of `s3router`; each one's flags and work are in [`crate::commands`].

use crate::commands::{bench, convert, demo, doctor, emissions, health, packs, serve, transcribe};
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
    Serve(Box<serve::ServeArgs>),
    /// Transcribe files, no server needed
    Transcribe(transcribe::TranscribeArgs),
    /// Start the embedded demo and transcribe eleven clips over HTTP
    Demo(demo::DemoArgs),
    /// Write the model's numbers for a clip: logits, hidden states
    Emissions(emissions::EmissionsArgs),
    /// Turn any checkpoint into one clean safetensors directory
    Convert(convert::ConvertArgs),
    /// Say what works on this machine, what does not, and the cure
    Doctor(doctor::DoctorArgs),
    /// Ask a running server whether it is ready; for container health checks
    Health(health::HealthArgs),
    /// List, inspect, verify and compare packs; count what they save
    Packs(packs::PacksArgs),
    /// Measure speed and memory on this machine
    Bench(bench::BenchArgs),
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// Each command's own, one line: what, where, how to mend it.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve(args) => serve::run(*args),
            Command::Transcribe(args) => transcribe::run(args),
            Command::Demo(args) => demo::run(args),
            Command::Emissions(args) => emissions::run(args),
            Command::Convert(args) => convert::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Health(args) => health::run(args),
            Command::Packs(args) => packs::run(args),
            Command::Bench(args) => bench::run(args),
        }
    }
}
