//! Kernels against the crate that would do the same dense product: `cargo bench -p s3router-core`.
//!
//! Each case checks its answer before it is timed.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench may fail")]
#![allow(unsafe_code, missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use s3router_core::kernels::{
    Activation, After, Conv, Gated, Layer, Layout, Norm, PackedWeight, PanelMask, Segment, Space, Stack,
    Tier, Unit, conv, linear, linear::Linear,
};
use s3router_masks::BitMask;
use std::sync::Arc;

/// `n` numbers in -0.5..0.5, the same every time.
fn noise(n: usize) -> Vec<f32> {
    let mut state = 1u32;
    let step = |s: &mut u32| {
        *s ^= *s << 13;
        *s ^= *s >> 17;
        *s ^= *s << 5;
        *s as f32 / u32::MAX as f32 - 0.5
    };
    (0..n).map(|_| step(&mut state)).collect()
}

/// XLS-R's linears at 10 s and 40 s of audio: dense by the `gemm` crate, open and masked by ours.
fn linears(c: &mut Criterion) {
    for (m, n, k) in
        [(499, 4096, 1024), (499, 1024, 4096), (499, 1024, 1024), (1996, 4096, 1024), (50, 4096, 1024)]
    {
        let (x, w) = (noise(m * k), noise(n * k));
        let keep = |row: usize, col: usize| !(row * 7 + col * 13).is_multiple_of(11);
        let bits = BitMask::from_fn(n, k, keep);
        let (mut y, mut dense) = (vec![0f32; m * n], vec![0f32; m * n]);

        let mut group = c.benchmark_group(format!("linear {m}x{n}x{k}"));
        group.sample_size(10).throughput(Throughput::Elements(2 * (m * n * k) as u64));
        group.bench_function("gemm crate, dense", |b| b.iter(|| by_gemm(m, n, k, &x, &w, &mut dense)));
        for layout in layouts() {
            let weight = PackedWeight::new(layout, n, k, &w).unwrap();
            let mask = PanelMask::new(layout, &bits);
            let layer = Linear { weight: &weight, bias: None, activation: Activation::None, add: false };
            for (name, mask) in [("open", None), ("masked", Some(&mask))] {
                let segments = [Segment { rows: 0..m, mask }];
                linear(&layer, &x, &segments, &mut y).unwrap();
                let (row, col) = (m / 2, n / 3);
                let kept = |i: &usize| mask.is_none() || keep(col, *i);
                let expected: f32 = (0..k).filter(kept).map(|i| x[row * k + i] * w[col * k + i]).sum();
                let bound = if matches!(layout, Layout::Tiles(_)) { 0.1 } else { 1e-3 };
                assert!((y[row * n + col] - expected).abs() < bound);
                group.bench_function(BenchmarkId::new(layout.name(), name), |b| {
                    b.iter(|| linear(&layer, &x, &segments, &mut y).unwrap());
                });
            }
        }
        group.finish();
    }
}

/// The layouts this machine has: f32's, and bf16's if any.
fn layouts() -> Vec<Layout> {
    std::iter::once(Tier::best().into()).chain(Unit::available().map(Layout::Tiles)).collect()
}

/// XLS-R's extractor on 10 s of audio: 49 GFLOP.
fn extractor(c: &mut Criterion) {
    let shapes = [(1, 10, 5), (512, 3, 2), (512, 3, 2), (512, 3, 2), (512, 3, 2), (512, 2, 2), (512, 2, 2)];
    let (x, bias, gamma) = (noise(160_000), noise(512), vec![1f32; 512]);
    let mut group = c.benchmark_group("extractor 10 s");
    group.sample_size(10).throughput(Throughput::Elements(49_100_000_000));
    let mut found: Vec<Vec<f32>> = Vec::new();
    for layout in layouts() {
        let pack = |(c, k, _): &(usize, usize, usize)| {
            PackedWeight::from_conv(layout, [512, *c, *k], &noise(512 * c * k))
        };
        let weights: Vec<_> = shapes.iter().map(|shape| pack(shape).unwrap()).collect();
        let norm = Norm { gamma: &gamma, beta: &bias, eps: 1e-5 };
        let layer = |(&(_, kernel, stride), weight)| Conv {
            weight,
            bias: Some(&bias),
            kernel,
            stride,
            after: After::NormGelu(norm),
        };
        let layers: Vec<_> = shapes.iter().zip(&weights).map(layer).collect();
        let frames = layers.iter().fold(x.len(), |times, layer| layer.frames(times));
        let mut y = vec![0f32; frames * 512];
        conv::chain(&layers, 1, &x, &mut y).unwrap();
        assert!(found.iter().all(|other| near(other, &y)));
        group.bench_function(layout.name(), |b| b.iter(|| conv::chain(&layers, 1, &x, &mut y).unwrap()));
        found.push(y);
    }
}

/// Whether ‖a - b‖ is within 2 % of ‖b‖.
fn near(a: &[f32], b: &[f32]) -> bool {
    let off: f32 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    off < 4e-4 * b.iter().map(|b| b * b).sum::<f32>()
}

/// One layer of XLS-R 300M on tiles, eight per cent of its feed-forward weights masked: 24 make the model.
fn layer(c: &mut Criterion) {
    let (d, inner, heads) = (1024, 4096, 16);
    let Some(layout) = Unit::best().map(Layout::Tiles) else { return };
    let pack = |n, k| PackedWeight::new(layout, n, k, &noise(n * k)).unwrap();
    let (square, up, down) = (pack(d, d), pack(inner, d), pack(d, inner));
    let mask = |n, k| PanelMask::new(layout, &BitMask::from_fn(n, k, |r, c| (r * 7 + c * 13) % 12 > 0));
    let masks = [mask(inner, d), mask(d, inner)].map(|m| [Some(Arc::new(m))]);
    let (bias, gamma) = (noise(inner), vec![1f32; d]);
    let mut group = c.benchmark_group("layer");
    group.sample_size(10);
    for (batch, times) in [(1, 49), (1, 499), (4, 499), (1, 1999)] {
        for masked in [false, true] {
            let gated = |weight, n: usize, mask: Option<usize>| Gated {
                weight,
                bias: &bias[..n],
                masks: mask.filter(|_| masked).map_or(&[None], |i| &masks[i]),
            };
            let norm = Norm { gamma: &gamma, beta: &bias[..d], eps: 1e-5 };
            let layer = Layer {
                qkv: [0, 1, 2].map(|_| gated(&square, d, None)),
                out: gated(&square, d, None),
                up: gated(&up, inner, Some(0)),
                down: gated(&down, d, Some(1)),
                norms: [norm, norm],
            };
            let (lengths, segments) = (vec![times; batch], std::iter::once(0..batch).collect::<Vec<_>>());
            let stack =
                Stack { layout, width: d, pre_norm: true, heads, segments: &segments, lengths: &lengths };
            let x = noise(batch * times * d);
            let (mut y, mut space) = (vec![0f32; x.len()], Space::default());
            let mut run = |y: &mut [f32]| {
                stack.enter(&x, &mut space).unwrap();
                stack.layer(&layer, &mut space).unwrap();
                stack.leave(Some(&norm), y, &mut space).unwrap();
            };
            run(&mut y);
            // Normalised rows: mean square 1, but for beta.
            assert!((y.iter().map(|y| y * y).sum::<f32>() / y.len() as f32 - 1.08).abs() < 0.1);
            group.bench_function(
                format!("{batch}x{times} {}", if masked { "masked" } else { "open" }),
                |b| {
                    b.iter(|| run(&mut y));
                },
            );
        }
    }
}

/// `y = x Wᵀ` by the crate that candle uses.
fn by_gemm(m: usize, n: usize, k: usize, x: &[f32], w: &[f32], y: &mut [f32]) {
    assert!(x.len() == m * k && w.len() == n * k && y.len() == m * n);
    // SAFETY: the strides describe three row-major matrices of exactly the asserted sizes.
    unsafe {
        let threads = gemm::Parallelism::Rayon(0);
        let (n_, k_) = (n as isize, k as isize);
        let y = y.as_mut_ptr();
        let (x, w) = (x.as_ptr(), w.as_ptr());
        gemm::gemm(m, n, k, y, 1, n_, false, x, 1, k_, w, k_, 1, 0.0, 1.0, false, false, false, threads);
    }
}

criterion_group!(benches, linears, extractor, layer);
criterion_main!(benches);
