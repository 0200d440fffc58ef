//! `s3router bench`: how fast this machine runs a backbone and its masks, measured as the server runs them.

use anyhow::{Context, Result, bail, ensure};
use s3router_core::{
    Engine, Precision, Utterance,
    audio::RATE_HZ,
    device::DeviceChoice,
    model::{Backbone, Config},
    packs::{LoadedPack, Packs},
};
use s3router_masks::{BitMask, Codec, Head, Kind, Meta, Opened, Pack, open_path, write};
use serde::Serialize;
use std::{io::Write, sync::Arc, time::Instant};

/// Symbols of a made-up language's head, about as many as a real one's letters.
const SYMBOLS: usize = 40;

/// Flags of `bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3router bench
  s3router bench --backbone random:xlsr-300m --seconds 10 --batch 4 --languages 4
  s3router bench --backbone random:xlsr-300m --json | jq .rtfx

Weights, masks (8 % dropped from every feed-forward weight) and audio are random where they are not loaded:
speed does not depend on their values. RTFx is audio seconds per wall second, by the median round.")]
pub struct BenchArgs {
    /// `demo`, a directory, a file, `hf:ORG/NAME`, or random weights of a shape: `random:xlsr-300m`, `random:xlsr-1b`
    #[arg(long, default_value = "demo")]
    pub backbone: String,
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
    #[arg(long, default_value_t = Precision::F32, value_name = "auto|f32|bf16")]
    pub precision: Precision,
    /// Where it computes
    #[arg(long, default_value_t = DeviceChoice::Cpu, value_name = "auto|cpu|cuda:N")]
    pub device: DeviceChoice,
    /// Threads; all cores when not given
    #[arg(long)]
    pub threads: Option<usize>,
    /// Timed rounds, after one that is not timed
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What was measured; the keys are the contract's.
#[derive(Debug, Serialize)]
struct Report {
    /// Audio seconds per wall second, by the median round.
    rtfx: f64,
    p50_ms: f64,
    p95_ms: f64,
    /// Weights from their source to packed and fingerprinted.
    load_ms: f64,
    /// One pack from disk to ready, median.
    pack_load_ms: f64,
    /// From one language to another: finding and leasing its pack, median. No weight is touched.
    switch_ms: f64,
    peak_rss_bytes: Option<u64>,
    precision: String,
    kernel: &'static str,
    backbone: String,
    seconds: f64,
    batch: usize,
    languages: usize,
    masked: bool,
    threads: usize,
}

/// Measures and prints.
///
/// # Errors
/// A backbone that cannot be loaded, or a precision that this machine lacks.
pub fn run(args: BenchArgs) -> Result<()> {
    ensure!(
        args.batch > 0 && args.languages > 0 && args.rounds > 0,
        "--batch, --languages and --rounds start at 1"
    );
    ensure!(
        args.seconds > 0.0 && args.seconds <= 3600.0,
        "--seconds must lie in (0, 3600], it is {}",
        args.seconds
    );
    if let Some(threads) = args.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.context("cannot set the number of threads")?;
    }
    let report = measure(&args)?;
    let text = if args.json { serde_json::to_string(&report)? } else { table(&report) };
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

fn measure(args: &BenchArgs) -> Result<Report> {
    let start = Instant::now();
    let engine = Engine::new(load(&args.backbone, args.device, args.precision)?);
    engine.backbone().identity()?;
    let load_ms = ms(start);

    let folder = tempfile::tempdir().context("cannot make a folder for the packs")?;
    let mut packs = Packs::default();
    let mut pack_loads = Vec::new();
    for number in 0..args.languages {
        let path = folder.path().join(format!("l{number}.safetensors"));
        let pack = random_pack(engine.backbone(), number, args.open);
        // A file without masks is no pack, so open gates are bound as they were made.
        let unwritten = Opened { pack, sha256: String::new(), bytes: 0, codec: Codec::Raw, sealed: false };
        if !args.open {
            write(&path, &unwritten.pack, Codec::Raw)?;
        }
        let start = Instant::now();
        let opened = if args.open { unwritten } else { open_path(&path)? };
        let pack = LoadedPack::bind(opened, engine.backbone(), 1)?;
        pack_loads.push(ms(start));
        packs.insert(pack);
    }

    let wave = noise((args.seconds * f64::from(RATE_HZ)) as usize);
    let lease = |row: usize| -> Result<Utterance> {
        let pack = packs.get(&language(row % args.languages))?;
        Ok(Utterance::new(Arc::clone(&wave), &pack))
    };
    let batch = (0..args.batch).map(lease).collect::<Result<Vec<_>>>()?;
    engine.emissions(&batch)?;
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        let start = Instant::now();
        engine.emissions(&batch)?;
        rounds.push(ms(start));
    }
    let mut switches = Vec::new();
    for row in 0..1000 {
        let start = Instant::now();
        lease(row)?;
        switches.push(ms(start));
    }

    let p50_ms = quantile(&mut rounds, 0.5);
    Ok(Report {
        rtfx: args.seconds * args.batch as f64 / (p50_ms / 1e3),
        p50_ms,
        p95_ms: quantile(&mut rounds, 0.95),
        load_ms,
        pack_load_ms: quantile(&mut pack_loads, 0.5),
        switch_ms: quantile(&mut switches, 0.5),
        peak_rss_bytes: peak_rss(),
        precision: engine.backbone().precision().to_string(),
        kernel: engine.backbone().kernel(),
        backbone: args.backbone.clone(),
        seconds: args.seconds,
        batch: args.batch,
        languages: args.languages,
        masked: !args.open,
        threads: rayon::current_num_threads(),
    })
}

fn load(backbone: &str, device: DeviceChoice, precision: Precision) -> Result<Backbone> {
    let device = device.open()?;
    let config = match backbone.strip_prefix("random:") {
        Some("xlsr-300m") => Config::xlsr_300m(),
        Some("xlsr-1b") => Config::xlsr_1b(),
        Some(other) => {
            bail!("random backbone `{other}` is unknown: there is random:xlsr-300m and random:xlsr-1b")
        }
        None => return Ok(Backbone::load_packed(&backbone.parse()?, &device, precision)?),
    };
    Ok(Backbone::random_packed(config, 1, &device, precision)?)
}

fn language(number: usize) -> String {
    format!("bench{number}")
}

/// A pack whose masks drop 8 % of every feed-forward weight, others for each number; no mask at all if `open`.
fn random_pack(backbone: &Backbone, number: usize, open: bool) -> Pack {
    let width = backbone.config().hidden;
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ number as u64;
    let mut keep = move |_, _| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % 100 >= 8
    };
    let feed_forward =
        backbone.maskable().into_iter().filter(|(name, _)| !open && name.contains("feed_forward"));
    let masks =
        feed_forward.map(|(name, (rows, cols))| (name, BitMask::from_fn(rows, cols, &mut keep))).collect();
    let vocab = std::iter::once("<pad>".to_owned()).chain((1..SYMBOLS).map(|i| format!("s{i}"))).collect();
    let mut pack = Pack {
        meta: Meta {
            language: language(number),
            aliases: Vec::new(),
            kind: Kind::Ctc,
            backbone_sha256: None,
            density: 1.0,
            covers: "ffn".into(),
            vocab,
            word_separator: None,
            training: serde_json::Value::Null,
            license: None,
        },
        masks,
        head: Head { weight: noise(SYMBOLS * width).to_vec(), bias: vec![0.0; SYMBOLS], dim: width },
    };
    pack.meta.density = pack.density();
    pack
}

/// `n` numbers in -0.5..0.5, always the same.
fn noise(n: usize) -> Arc<[f32]> {
    let mut state = 1u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 - 0.5
    };
    (0..n).map(|_| next()).collect()
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// The value below which the share `q` lies (nearest rank).
fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (q * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// The most memory that this process ever held at once; known on Linux only.
fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn table(r: &Report) -> String {
    let memory = r.peak_rss_bytes.map_or("unknown".into(), |b| format!("{:.0} MiB", b as f64 / 1048576.0));
    format!(
        "{} · {} s × {} in {} language(s) · {} threads · {} {}\n\
         RTFx       {:.2}\n\
         round      {:.1} ms (95 %: {:.1} ms)\n\
         load       {:.0} ms, a pack {:.1} ms, a switch {:.4} ms\n\
         peak RSS   {memory}",
        r.backbone,
        r.seconds,
        r.batch,
        r.languages,
        r.threads,
        r.kernel,
        r.precision,
        r.rtfx,
        r.p50_ms,
        r.p95_ms,
        r.load_ms,
        r.pack_load_ms,
        r.switch_ms,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let mut values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!([0.0, 0.5, 0.75, 0.95].map(|q| quantile(&mut values, q)), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn the_demo_is_measured_with_two_languages_and_the_contracts_keys() {
        let mut args = BenchArgs {
            backbone: "demo".into(),
            seconds: 0.5,
            batch: 3,
            languages: 2,
            open: true,
            precision: Precision::F32,
            device: DeviceChoice::Cpu,
            threads: None,
            rounds: 2,
            json: true,
        };
        assert!(!measure(&args).unwrap().masked);
        args.open = false;
        let report = serde_json::to_value(measure(&args).unwrap()).unwrap();
        for key in ["rtfx", "p50_ms", "p95_ms", "load_ms", "pack_load_ms", "switch_ms"] {
            assert!(report[key].as_f64().is_some_and(|v| v.is_finite() && v >= 0.0), "{key}: {report}");
        }
        assert_eq!((report["precision"].as_str(), report["batch"].as_u64()), (Some("f32"), Some(3)));
    }
}
