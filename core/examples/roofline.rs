//! What masks cost on a GPU: a table of the encoder's linears, modelled, and measured where there is a GPU.
//!
//! `cargo run --release -p s3router-core --example roofline` prints the modelled table for known GPUs;
//! with `--features cuda -- --measure` the one at hand, modelled and measured side by side.

#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use s3router_core::{
    Result,
    kernels::cuda::plan::{Machine, Task, Way},
    model::Config,
};

/// Frames a second.
const FRAMES: usize = 50;

/// (out, in) and how often in a layer.
fn linears(config: &Config) -> [(usize, usize, usize); 3] {
    let (d, f) = (config.hidden, config.feed_forward);
    [(d, d, 4), (f, d, 1), (d, f, 1)]
}

/// Seconds of all linears of the encoder, a batch of `segments` (rows, masked), each by `way` or the cheaper one.
fn encoder(machine: &Machine, config: &Config, segments: &[(usize, bool)], way: Option<Way>) -> f64 {
    let each = |(n, k, times): (usize, usize, usize)| {
        let task = Task { segments, n, k, bytes: 2, ahead: true };
        let way = way.unwrap_or_else(|| task.choose(machine));
        times as f64 * task.cost(machine, way)
    };
    config.layers as f64 * linears(config).into_iter().map(each).sum::<f64>()
}

fn batches() -> [(&'static str, Vec<(usize, bool)>); 6] {
    [
        ("1 x 1 s, 1 language", vec![(FRAMES, true)]),
        ("1 x 10 s, 1 language", vec![(10 * FRAMES, true)]),
        ("8 x 10 s, 1 language", vec![(80 * FRAMES, true)]),
        ("32 x 10 s, 1 language", vec![(320 * FRAMES, true)]),
        ("11 x 1 s, 11 languages", vec![(FRAMES, true); 11]),
        ("32 x 10 s, 8 languages", vec![(40 * FRAMES, true); 8]),
    ]
}

fn modelled() {
    let config = Config::xlsr_300m();
    println!(
        "**Modelled, not measured.** Linears of XLS-R 300M's encoder in bf16, ms a batch; peaks as published,"
    );
    println!("efficiencies assumed (`core/src/kernels/cuda/plan.rs`). RTFx bound: those linears alone.\n");
    println!(
        "| GPU | batch | unmasked | expand, then cuBLAS | expand beside cuBLAS | fused | chosen | mask costs | bound by | RTFx bound |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for machine in &Machine::KNOWN {
        for (name, segments) in batches() {
            let rows: usize = segments.iter().map(|s| s.0).sum();
            let open = encoder(machine, &config, &[(rows, false)], None);
            let [expand, ahead, fused] =
                [Way::Expand, Way::Ahead, Way::Fused].map(|w| encoder(machine, &config, &segments, Some(w)));
            let chosen = encoder(machine, &config, &segments, None);
            let (n, k, _) = linears(&config)[1];
            let operations = 2.0 * (rows * n * k) as f64 / machine.half;
            let traffic = 2.0 * (n * k + rows * (n + k)) as f64 / machine.memory;
            println!(
                "| {} | {name} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:+.0} % | {} | {:.0} |",
                machine.name.trim_start_matches("NVIDIA "),
                open * 1e3,
                expand * 1e3,
                ahead * 1e3,
                fused * 1e3,
                chosen * 1e3,
                100.0 * (chosen / open - 1.0),
                if operations > traffic { "FLOP" } else { "memory" },
                rows as f64 / FRAMES as f64 / chosen,
            );
        }
    }
}

#[cfg(feature = "cuda")]
fn measured() -> Result<()> {
    use candle_core::{DType, Device, Tensor};
    use s3router_core::{
        device::DeviceChoice,
        kernels::{Activation, cuda},
    };
    use s3router_masks::BitMask;
    use std::time::Instant;

    let device = DeviceChoice::Cuda(0).open()?;
    let machine = cuda::machine(&device)?;
    /// The best of seven, of ten calls each.
    fn time(device: &Device, mut work: impl FnMut() -> candle_core::Result<Tensor>) -> Result<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..7 {
            device.synchronize()?;
            let begun = Instant::now();
            for _ in 0..10 {
                work()?;
            }
            device.synchronize()?;
            best = best.min(begun.elapsed().as_secs_f64() / 10.0);
        }
        Ok(best)
    }
    println!(
        "\n**Measured on this machine's GPU** ({}), ms a product in bf16; modelled in brackets.\n",
        machine.name
    );
    println!(
        "| (out, in) | batch | unmasked | expand | expand, then cuBLAS | expand beside cuBLAS | fused |\n|---|---|---|---|---|---|---|"
    );
    for (n, k, _) in linears(&Config::xlsr_300m()) {
        let weight = Tensor::randn(0f32, 0.03, (n, k), &device)?.to_dtype(DType::BF16)?;
        let bias = Tensor::zeros(n, DType::F32, &device)?;
        let ahead = cuda::Ahead::new(&device, DType::BF16, n * k)?;
        let bits = BitMask::from_fn(n, k, |i, j| (i * 31 + j * 17) % 13 != 0);
        for (name, segments) in batches() {
            let rows: usize = segments.iter().map(|s| s.0).sum();
            let masks =
                segments.iter().map(|_| cuda::DeviceMask::new(&bits, &device)).collect::<Result<Vec<_>>>()?;
            let x = Tensor::randn(0f32, 1.0, (rows, k), &device)?.to_dtype(DType::BF16)?;
            let mut at = 0;
            let parts: Vec<_> = segments
                .iter()
                .zip(&masks)
                .map(|((rows, _), mask)| {
                    at += rows;
                    (at - rows..at, Some(mask))
                })
                .collect();
            let task = Task { segments: &segments, n, k, bytes: 2, ahead: true };
            let open = time(&device, || x.matmul(&weight.t()?))?;
            let alone = time(&device, || cuda::expand(&weight, &masks[0]))?;
            let expand = time(&device, || {
                let each = parts.iter().zip(&masks).map(|((rows, _), mask)| {
                    x.narrow(0, rows.start, rows.len())?.matmul(&cuda::expand(&weight, mask)?.t()?)
                });
                Tensor::cat(&each.collect::<candle_core::Result<Vec<_>>>()?, 0)
            })?;
            // Ten calls in turn: each expansion may run beside the product before.
            let beside = time(&device, || {
                let each = parts.iter().zip(&masks).map(|((rows, _), mask)| {
                    ahead.product(&x.narrow(0, rows.start, rows.len())?, &weight, mask)
                });
                Tensor::cat(&each.collect::<candle_core::Result<Vec<_>>>()?, 0)
            })?;
            let fused = time(&device, || cuda::fused(&x, &weight, &bias, Activation::None, &parts, 1))?;
            let model = [
                machine.product(rows, n, k, 2),
                machine.expansion(n, k, 2),
                task.cost(&machine, Way::Expand),
                task.cost(&machine, Way::Ahead),
                task.cost(&machine, Way::Fused),
            ];
            let cells: Vec<String> = [open, alone, expand, beside, fused]
                .iter()
                .zip(model)
                .map(|(seen, model)| format!("{:.3} ({:.3})", seen * 1e3, model * 1e3))
                .collect();
            println!("| ({n}, {k}) | {name} | {} |", cells.join(" | "));
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    modelled();
    if std::env::args().any(|a| a == "--measure") {
        #[cfg(feature = "cuda")]
        return measured();
        #[cfg(not(feature = "cuda"))]
        println!("\nNothing measured: build with --features cuda.");
    }
    Ok(())
}
