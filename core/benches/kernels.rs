//! Kernels against the crate that would do the same dense product: `cargo bench -p s3router-core`.
//!
//! Each case checks its answer before it is timed.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench may fail")]
#![allow(unsafe_code, missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use s3router_core::kernels::{Activation, PackedWeight, PanelMask, Segment, Tier, linear, linear::Linear};
use s3router_masks::BitMask;

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
        let weight = PackedWeight::new(Tier::best(), n, k, &w).unwrap();
        let keep = |row: usize, col: usize| !(row * 7 + col * 13).is_multiple_of(11);
        let mask = PanelMask::new(Tier::best(), &BitMask::from_fn(n, k, keep));
        let layer = Linear { weight: &weight, bias: None, activation: Activation::None, add: false };
        let (mut y, mut dense) = (vec![0f32; m * n], vec![0f32; m * n]);

        let mut group = c.benchmark_group(format!("linear {m}x{n}x{k}"));
        group.sample_size(10).throughput(Throughput::Elements(2 * (m * n * k) as u64));
        group.bench_function("gemm crate, dense", |b| b.iter(|| by_gemm(m, n, k, &x, &w, &mut dense)));
        for (name, mask) in [("open", None), ("masked", Some(&mask))] {
            let segments = [Segment { rows: 0..m, mask }];
            linear(&layer, &x, &segments, &mut y).unwrap();
            let (row, col) = (m / 2, n / 3);
            let kept = |i: &usize| mask.is_none() || keep(col, *i);
            let expected: f32 = (0..k).filter(kept).map(|i| x[row * k + i] * w[col * k + i]).sum();
            assert!((y[row * n + col] - expected).abs() < 1e-3);
            group.bench_function(BenchmarkId::new(Tier::best().name(), name), |b| {
                b.iter(|| linear(&layer, &x, &segments, &mut y).unwrap());
            });
        }
        group.finish();
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

criterion_group!(benches, linears);
criterion_main!(benches);
