//! Bytes to 16 kHz samples: audio seconds per second of one core, for clips of about three seconds.
//!
//! `cargo bench -p s3router-core --bench audio`. criterion's throughput "elem/s" counts 16 kHz samples: 16 Melem/s is
//! a thousand times real time. Each case checks its answer before it is timed.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "criterion writes a function without docs; a bench may fail"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use s3router_core::audio::{Channels, Limits, RATE_HZ, decode, resample};

/// The demo clips, so that the sizes are those of requests and of training data.
const CLIPS: [(&str, &str); 7] = [
    ("wav", "en.wav"),
    ("flac", "ky.flac"),
    ("mp3", "es.mp3"),
    ("ogg vorbis", "fr.ogg"),
    ("ogg opus", "it.opus"),
    ("webm opus", "nl.webm"),
    ("m4a aac", "ru.m4a"),
];

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for (name, file) in CLIPS {
        let bytes = std::fs::read(format!("{}/demo/clips/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let clip = || decode(&bytes, None, Channels::Mix, &Limits::default()).unwrap();
        let samples = clip();
        let loud = samples[0].iter().map(|x| x * x).sum::<f32>() / samples[0].len() as f32;
        assert!(samples.len() == 1 && samples[0].len() > RATE_HZ as usize && (1e-4..0.1).contains(&loud));
        group.throughput(Throughput::Elements(samples[0].len() as u64));
        group.bench_function(name, |b| b.iter(clip));
    }
    group.finish();

    let mut group = c.benchmark_group("resample");
    for rate_hz in [8_000, 44_100, 48_000] {
        let three_seconds: Vec<f32> = (0..3 * rate_hz).map(|i| (i as f32 * 0.05).sin()).collect();
        // The same tone, as loud as before, whatever its phase.
        let found = resample(&three_seconds, rate_hz).unwrap();
        assert_eq!(found.len(), 3 * RATE_HZ as usize);
        let middle = || found.iter().enumerate().skip(1000).take(40_000);
        let along = |i: usize| i as f32 * 0.05 * rate_hz as f32 / RATE_HZ as f32;
        let part = |wave: fn(f32) -> f32| middle().map(|(i, x)| x * wave(along(i))).sum::<f32>() / 20_000.0;
        assert!((part(f32::sin).hypot(part(f32::cos)) - 1.0).abs() < 0.02);
        group.throughput(Throughput::Elements(3 * u64::from(RATE_HZ)));
        group.bench_function(format!("{rate_hz} Hz"), |b| b.iter(|| resample(&three_seconds, rate_hz)));
    }
    group.finish();
}

criterion_group!(audio, benches);
criterion_main!(audio);
