//! Audio seconds learnt from per second, one update after another on the same batch.
//!
//! `cargo bench -p s3router-train --bench step -- [demo|xlsr LAYERS] [--bf16] [--checkpoint] [--steps N] [--method M]
//! [--device D]`; `step.py` beside it is the same step in PyTorch: same shapes, batch, dtype and threads. It can run both in turn.

use candle_core::Tensor;
use rand::Rng;
use s3router_core::{
    Precision,
    device::DeviceChoice,
    learn::seeds::stream,
    model::{Backbone, Config, Features, Source},
};
use s3router_train::{
    config::TrainConfig,
    learner::Learner,
    noise::StepNoise,
    step::{Batch, step},
};
use std::{io::Write, time::Instant};

/// As the program has it.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

const UTTERANCES: usize = 12;
const FRAMES: usize = 200;
const LABELS: usize = 60;
const SYMBOLS: usize = 40;

fn main() -> anyhow::Result<()> {
    s3router_train::process::run(bench)
}

fn bench() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let flag = |name: &str| words.iter().position(|w| w == name);
    let steps = flag("--steps").map_or(Ok(10), |at| words[at + 1].parse())?;
    let device = flag("--device").map_or(Ok(DeviceChoice::Cpu), |at| words[at + 1].parse());
    let device = device.map_err(anyhow::Error::msg)?.open()?;
    let backbone = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["xlsr", layers, ..] => {
            let config = Config { layers: layers.parse()?, ..Config::xlsr_300m() };
            Backbone::random(config, 1, &device)?
        }
        _ => Backbone::load(&Source::Demo, &device)?,
    };
    let mut rng = stream(1, "bench", 0);
    let channels = backbone.config().channels();
    let values: Vec<f32> =
        (0..UTTERANCES * FRAMES * channels).map(|_| rng.random_range(-1f32..1.0)).collect();
    let tensor = Tensor::from_vec(values, (UTTERANCES, FRAMES, channels), &device)?;
    let mut row = || (0..LABELS).map(|_| rng.random_range(1..SYMBOLS as u32)).collect::<Vec<_>>();
    let labels = (0..UTTERANCES).map(|_| row()).collect();
    let batch = Batch { features: Features { tensor, lengths: vec![FRAMES; UTTERANCES] }, labels };

    let checkpoint_activations = flag("--checkpoint").is_some();
    let mut config = TrainConfig { checkpoint_activations, ..TrainConfig::default() };
    if flag("--bf16").is_some() {
        config.precision = Precision::Bf16.for_learning(&device)?;
    }
    if let Some(at) = flag("--method") {
        config.method = serde_json::from_value(serde_json::Value::from(words[at + 1].as_str()))?;
    }
    let vocab: Vec<String> = (0..SYMBOLS).map(|i| i.to_string()).collect();
    let learner = Learner::new(&config, &backbone, &vocab, None)?;
    let mut adam = learner.optimizer(&config);
    let mut update = |at: usize| {
        let mut passes = [(batch.clone(), StepNoise::new(&config, None, at as u64))];
        step(&backbone, &learner, &mut adam, &mut passes, None, 1.0)
    };
    update(0)?;
    update(1)?;
    let (clock, busy) = (Instant::now(), cpu_seconds());
    for at in 0..steps {
        update(at + 2)?;
    }
    let each = clock.elapsed().as_secs_f64() / steps as f64;
    let busy = (cpu_seconds() - busy) / steps as f64;
    let seconds = UTTERANCES as f64 * FRAMES as f64 * 0.02;
    writeln!(
        std::io::stdout(),
        "{each:.3} s, {busy:.3} CPU s, per update of {seconds} s: {:.1} audio seconds per second",
        seconds / each
    )?;
    Ok(())
}

/// CPU time of this process so far, to a hundredth of a second; NaN where there is no `/proc`.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = |i: usize| stat.rsplit(')').next()?.split_whitespace().nth(i)?.parse::<f64>().ok();
    ticks(11).zip(ticks(12)).map_or(f64::NAN, |(own, system)| (own + system) / 100.0)
}
