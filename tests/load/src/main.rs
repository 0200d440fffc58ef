//! `s3router-load`: the real server as a process of its own on loopback, loaded from here, against the same
//! engine driven without a server and against a server that takes one request at a time.
//!
//! Open loop: requests leave at times drawn beforehand, whatever the server does, and a latency counts from the
//! time its request was due, so that a stall is seen by everybody it would have met (no coordinated omission).
//! Closed loop: a fixed number of clients, each with one request at a time; it measures throughput.

mod http;
mod scenario;
mod server;
mod streams;
mod tally;
mod work;

use anyhow::Result;
use clap::Parser;
use scenario::Scenario;
use std::{io::Write, time::Duration};

/// Load the server and print a Markdown table.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  s3router-load throughput --seconds 8     # engine alone, server, server one by one
  s3router-load mixture --seconds 8        # one language against eleven: uniform, Zipf, another one each time
  s3router-load fairness --seconds 15      # short requests alone, and beside a long file
  s3router-load streams --streams 200 --seconds 20

Build the server first: cargo build --release. Client and server share this machine's cores.")]
struct Args {
    /// What to measure
    #[arg(value_enum)]
    scenario: Scenario,
    /// Length of each measurement
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Clients of a closed loop
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Requests a second of an open loop
    #[arg(long, default_value_t = 6.0)]
    rate: f64,
    /// Streams open at once
    #[arg(long, default_value_t = 200)]
    streams: usize,
    /// Part of each stream's time that is speech, 0 to 1
    #[arg(long, default_value_t = 0.2)]
    speech: f64,
    /// Another server program than the one beside this
    #[arg(long)]
    server: Option<std::path::PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let length = Duration::from_secs_f64(args.seconds);
    let bench = scenario::Bench {
        program: server::program(args.server)?,
        length,
        clients: args.clients,
        rate: args.rate,
        streams: args.streams,
        speech: args.speech,
    };
    let report = bench.run(args.scenario)?;
    Ok(write!(std::io::stdout(), "{report}")?)
}
