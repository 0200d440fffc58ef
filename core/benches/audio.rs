//! Bytes to 16 kHz samples: audio seconds per second of one core, for clips of about three seconds.
//!
//! `cargo bench -p s3router-core --bench audio`. criterion's throughput "elem/s" counts 16 kHz samples: 16 Melem/s is
//! a thousand times real time.

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
        let Ok(bytes) = std::fs::read(format!("{}/demo/clips/{file}", env!("CARGO_MANIFEST_DIR"))) else {
            continue;
        };
        let clip = || decode(&bytes, None, Channels::Mix, &Limits::default());
        let Ok(samples) = clip() else { continue };
        group.throughput(Throughput::Elements(samples[0].len() as u64));
        group.bench_function(name, |b| b.iter(clip));
    }
    group.finish();

    let mut group = c.benchmark_group("resample");
    for rate_hz in [8_000, 44_100, 48_000] {
        let three_seconds: Vec<f32> = (0..3 * rate_hz).map(|i| (i as f32 * 0.05).sin()).collect();
        group.throughput(Throughput::Elements(3 * u64::from(RATE_HZ)));
        group.bench_function(format!("{rate_hz} Hz"), |b| b.iter(|| resample(&three_seconds, rate_hz)));
    }
    group.finish();
}

criterion_group!(audio, benches);
criterion_main!(audio);
