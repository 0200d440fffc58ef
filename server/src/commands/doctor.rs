//! `s3router doctor`: what works on this machine, what does not, and the cure.

use crate::{config::EngineConfig, load};
use anyhow::{Result, bail};
use s3router_core::{
    Engine, Precision, Utterance,
    audio::RATE_HZ,
    device::DeviceChoice,
    kernels::{Tier, Unit},
    model::Backbone,
    packs::Packs,
};
use serde::Serialize;
use std::{
    io::{Write, stdout},
    net::{SocketAddr, TcpListener},
    time::Instant,
};

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    engine: EngineConfig,
    /// The address that `serve` would take.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// One JSON array instead of lines.
    #[arg(long)]
    json: bool,
}

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    ok: bool,
    /// What was found; for a failure also the cure.
    found: String,
}

fn check(what: &'static str, found: Result<String>) -> Check {
    let ok = found.is_ok();
    Check { what, ok, found: found.unwrap_or_else(|e| format!("{e:#}")) }
}

/// Looks at device, kernels, backbone, packs and port; the last check is a real transcription.
///
/// # Errors
/// When any check fails.
pub fn run(args: DoctorArgs) -> Result<()> {
    load::threads(args.engine.threads)?;
    let mut checks = vec![
        check("version", Ok(env!("CARGO_PKG_VERSION").into())),
        check("threads", Ok(threads())),
        check("kernels", Ok(kernels())),
        check("device", device(&args.engine)),
        check("port", port(args.listen)),
    ];
    match load::open(&args.engine) {
        Err(error) => checks.push(check("backbone", Err(error))),
        Ok((engine, packs)) => {
            let (backbone, packs) = (engine.backbone(), packs.now());
            let config = backbone.config();
            let weights: usize = backbone.maskable().iter().map(|(_, (rows, cols))| rows * cols).sum();
            checks.push(check(
                "backbone",
                Ok(format!(
                    "{}: {} layers, {} wide, {weights} maskable weights",
                    args.engine.backbone, config.layers, config.hidden
                )),
            ));
            checks.push(check("precision", Ok(precision(args.engine.precision, backbone))));
            checks.push(check("packs", self::packs(&packs)));
            checks.push(check("transcription", transcription(&engine, &packs)));
        }
    }
    print(&checks, args.json)?;
    match checks.iter().filter(|c| !c.ok).count() {
        0 => Ok(()),
        n => bail!("{n} of {} checks failed", checks.len()),
    }
}

fn threads() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{} compute, on {cores} cores", rayon::current_num_threads())
}

/// What the machine has, the best first.
fn kernels() -> String {
    let tiers: Vec<_> = Tier::available().iter().map(|tier| tier.name()).collect();
    let units: Vec<_> = Unit::available().map(Unit::name).collect();
    let bf16 =
        units.first().map_or("no bf16".into(), |best| format!("bf16 by {best} (of {})", units.join(", ")));
    format!("f32 by {} (of {}); {bf16}", tiers[0], tiers.join(", "))
}

/// The precision in use, and why.
fn precision(wish: Precision, backbone: &Backbone) -> String {
    let is = backbone.precision();
    let why = match (wish, is) {
        (Precision::Auto, Precision::Bf16) => "auto: this machine has instructions for it",
        (Precision::Auto, Precision::F16) => "auto: this GPU has no bf16",
        (Precision::Auto, _) => "auto: this machine has no instructions for bf16",
        _ => "as asked",
    };
    format!("{is} by {} ({why})", backbone.kernel())
}

fn device(engine: &EngineConfig) -> Result<String> {
    let mut found = Vec::new();
    for choice in engine.devices()? {
        let device = choice.open()?;
        let why = match choice {
            _ if !cfg!(feature = "cuda") => "; this build has no CUDA".into(),
            DeviceChoice::Auto if device.is_cpu() => match DeviceChoice::Cuda(0).open() {
                Err(error) => format!("; {error}"),
                Ok(_) => String::new(),
            },
            _ => String::new(),
        };
        found.push(format!("{choice} is {}{why}", format!("{:?}", device.location()).to_lowercase()));
    }
    Ok(found.join(", "))
}

fn port(address: SocketAddr) -> Result<String> {
    TcpListener::bind(address)
        .map(|_| format!("{address} is free"))
        .map_err(|e| anyhow::anyhow!("{address}: {e}; --listen names another"))
}

fn packs(packs: &Packs) -> Result<String> {
    let ids: Vec<_> = packs.iter().map(|p| p.meta.language.as_str()).collect();
    let unproved: Vec<_> = packs.iter().filter(|p| !p.proved).map(|p| p.meta.language.as_str()).collect();
    let broken: Vec<_> = packs.quarantined().iter().map(|q| format!("{}: {}", q.file, q.reason)).collect();
    let mut found = format!("{} usable: {}", ids.len(), ids.join(", "));
    if !unproved.is_empty() {
        found += &format!("; without a backbone fingerprint: {}", unproved.join(", "));
    }
    match (ids.is_empty(), broken.is_empty()) {
        (false, true) => Ok(found),
        (_, false) => bail!("{found}; quarantined: {}", broken.join("; ")),
        (true, true) => bail!("no pack: --packs names a folder of <language>.safetensors"),
    }
}

/// A second of a rising tone: the text does not matter, that it comes does.
fn transcription(engine: &Engine, packs: &Packs) -> Result<String> {
    let Some(pack) = packs.iter().next() else { bail!("no pack to transcribe with") };
    let tone: Vec<f32> = (0..RATE_HZ).map(|i| 0.1 * (i as f32 * (0.05 + i as f32 * 1e-5)).sin()).collect();
    let begun = Instant::now();
    for result in engine.transcribe(&[Utterance::new(tone, pack)]) {
        result?;
    }
    Ok(format!("1 s of audio as {} in {:.0} ms", pack.meta.language, begun.elapsed().as_secs_f64() * 1e3))
}

fn print(checks: &[Check], json: bool) -> Result<()> {
    let mut out = stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, checks)?;
        writeln!(out)?;
    } else {
        for Check { what, ok, found } in checks {
            writeln!(out, "{} {what:<14} {found}", if *ok { "ok  " } else { "FAIL" })?;
        }
    }
    Ok(())
}
