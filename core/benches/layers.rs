//! The kernels that are no plain product, at XLS-R's shapes and 10 s of audio: `cargo bench -p s3router-core --bench layers`.
//!
//! Each case checks its answer against the specification before it is timed.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench may fail")]
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use s3router_core::kernels::{
    After, Attention, Conv, Norm, PackedWeight, Positional, Tier, attention,
    conv::{chain, positional},
    norm::{gelu, layer_norm},
    scalar,
};

const FRAMES: usize = 499;
const WIDTH: usize = 1024;

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

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], within: f32) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= within, "{found} is not {expected}");
    }
}

/// The extractor's seven convolutions, each alone with its norm and GELU.
fn convolutions(c: &mut Criterion) {
    let mut times = 160_000;
    let mut group = c.benchmark_group("convolution, norm and GELU");
    group.sample_size(10);
    for (i, (channels, kernel, stride)) in
        [(1, 10, 5), (512, 3, 2), (512, 3, 2), (512, 3, 2), (512, 3, 2), (512, 2, 2), (512, 2, 2)]
            .into_iter()
            .enumerate()
    {
        let (x, w, rest) = (noise(times * channels), noise(512 * channels * kernel), noise(512));
        let weight = PackedWeight::from_conv(Tier::best(), [512, channels, kernel], &w).unwrap();
        let norm = Norm { gamma: &rest, beta: &rest, eps: 1e-5 };
        let layer = Conv { weight: &weight, bias: Some(&rest), kernel, stride, after: After::NormGelu(norm) };
        let frames = layer.frames(times);
        let mut y = vec![0f32; frames * 512];
        chain(&[layer], 1, &x, &mut y).unwrap();
        let plain =
            scalar::conv(&x[..(kernel + stride) * channels], &w, &rest, [512, channels, kernel], stride);
        let normed = scalar::layer_norm(&plain, &rest, &rest, 1e-5);
        assert_close(&y, &normed.into_iter().map(scalar::gelu).collect::<Vec<_>>(), 1e-3);
        group.throughput(Throughput::Elements(2 * (frames * 512 * channels * kernel) as u64));
        group.bench_function(format!("layer {i}"), |b| b.iter(|| chain(&[layer], 1, &x, &mut y).unwrap()));
        times = frames;
    }
}

fn position(c: &mut Criterion) {
    let (groups, kernel) = (16, 128);
    let width = WIDTH / groups;
    let (x, w, bias) = (noise(FRAMES * WIDTH), noise(WIDTH * width * kernel), noise(WIDTH));
    let pack = |w: &[f32]| PackedWeight::from_conv(Tier::best(), [width, width, kernel], w).unwrap();
    let weights: Vec<_> = w.chunks(width * width * kernel).map(pack).collect();
    let layer = Positional { weights: &weights, bias: Some(&bias), kernel, gelu: false };
    let mut y = vec![0f32; x.len()];
    positional(&layer, 1, &x, &mut y).unwrap();
    // The first frame sees only half a kernel of input.
    let expected = scalar::positional(&x[..kernel / 2 * WIDTH], &w, &bias, groups, kernel);
    assert_close(&y[..WIDTH], &expected[..WIDTH], 1e-2);
    c.bench_function("positional convolution", |b| b.iter(|| positional(&layer, 1, &x, &mut y).unwrap()));
}

fn attend(c: &mut Criterion) {
    let (q, k, v) = (noise(FRAMES * WIDTH), noise(FRAMES * WIDTH + 1), noise(FRAMES * WIDTH + 2));
    let (k, v) = (&k[1..], &v[2..]);
    let a = Attention { qkv: [&q, k, v], stride: WIDTH, heads: 16, width: 64, lengths: &[FRAMES] };
    let mut y = vec![0f32; q.len()];
    attention(Tier::best(), &a, &mut y).unwrap();
    assert_close(&y, &scalar::attention(&q[..2 * WIDTH], k, v, 16, 64, FRAMES), 1e-5);
    c.bench_function("attention", |b| b.iter(|| attention(Tier::best(), &a, &mut y).unwrap()));
}

fn rows(c: &mut Criterion) {
    let (x, rest) = (noise(FRAMES * WIDTH), noise(WIDTH));
    let norm = Norm { gamma: &rest, beta: &rest, eps: 1e-5 };
    let mut y = x.clone();
    layer_norm(Tier::best(), &norm, false, &mut y).unwrap();
    assert_close(&y, &scalar::layer_norm(&x, &rest, &rest, 1e-5), 1e-4);
    c.bench_function("layer norm", |b| b.iter(|| layer_norm(Tier::best(), &norm, false, &mut y).unwrap()));
    let mut y = x.clone();
    gelu(Tier::best(), &mut y);
    assert_close(&y, &x[..WIDTH].iter().map(|&x| scalar::gelu(x)).collect::<Vec<_>>(), 1e-6);
    c.bench_function("GELU", |b| b.iter(|| gelu(Tier::best(), &mut y)));
}

criterion_group!(benches, convolutions, position, attend, rows);
criterion_main!(benches);
