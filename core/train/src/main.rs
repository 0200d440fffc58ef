//! `s3router-train`: learn a new language's mask on the shared backbone.

use clap::Parser;
use s3router_train::{cli::Cli, commands, process};
use std::process::ExitCode;

/// A step makes and drops megabytes by the dozen; glibc hands them back to the kernel each time, and its page
/// faults were about a tenth of a step's CPU time (a step with and without glibc's thresholds raised).
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    process::run(|| {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_target(false)
            .init();
        match commands::execute(Cli::parse()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error:#}");
                ExitCode::FAILURE
            }
        }
    })
}
