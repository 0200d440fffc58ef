//! `s3router-load`: the real server as a process of its own on loopback, loaded from here, against the same
//! engine driven without a server and against a server that takes one request at a time.
//!
//! Open loop: requests leave at times drawn beforehand, whatever the server does, and a latency counts from the
//! time its request was due, so that a stall is seen by everybody it would have met (no coordinated omission).
//! Closed loop: a fixed number of clients, each with one request at a time; it measures throughput. Under every
//! load each text is held against that of the same clip alone.

mod http;
mod measure;
mod report;
mod scenario;
mod server;
mod streams;
mod tally;
mod work;

use anyhow::Result;
use clap::Parser;
use s3router_server::{config::EngineConfig, load, packs::source::PackSource};
use scenario::Scenario;
use std::{io::Write, path::PathBuf, time::Duration};

/// Load the server and print a Markdown table.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  s3router-load all --out tests/load/results     # the whole table, in four minutes
  s3router-load throughput --seconds 8           # engine alone, server, server one by one
  s3router-load throughput --backbone xlsr-300m --packs packs --clients 8
  s3router-load streams --streams 200 --seconds 20

Build the server first: cargo build --release. Client and server share this machine's cores, so leave it alone meanwhile.")]
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
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Streams open at once
    #[arg(long, default_value_t = 200)]
    streams: usize,
    /// demo, or a checkpoint that --packs belong to
    #[arg(long, default_value = "demo")]
    backbone: String,
    /// A folder of packs for --backbone
    #[arg(long, value_name = "DIR")]
    packs: Option<PackSource>,
    /// Writes table.md and results.json there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Another server program than the one beside this
    #[arg(long)]
    server: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let engine = EngineConfig { backbone: args.backbone, packs: args.packs, ..EngineConfig::default() };
    let languages = match engine.packs {
        None => work::demo_languages(),
        Some(_) => load::open(&engine)?.1.now().iter().map(|p| p.meta.language.clone()).collect(),
    };
    let bench = measure::Bench {
        program: server::program(args.server)?,
        engine,
        length: Duration::from_secs_f64(args.seconds),
        clients: args.clients,
        rate: args.rate,
        streams: args.streams,
    };
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let command = format!("s3router-load {command}");
    let sections = bench.run(args.scenario, &languages)?;
    if let Some(folder) = &args.out {
        report::write(folder, &command, &sections)?;
    }
    Ok(write!(std::io::stdout(), "{}", report::markdown(&command, &sections))?)
}
