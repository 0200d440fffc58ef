//! Opening a pack of XLS-R's size: 24 layers, both feed-forward weights, 201,326,592 bits at 8 % sparsity.
//!
//! `cargo bench -p s3router-masks`
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use s3router_masks::{BitMask, Codec, Head, Kind, Meta, Pack, open_bytes, to_bytes};

fn xlsr_pack() -> Pack {
    let mut state = 88_172_645_463_325_252u64;
    let mut keep = |_, _| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % 100 >= 8
    };
    let mut masks = std::collections::BTreeMap::new();
    for layer in 0..24 {
        let name = |which| format!("encoder.layers.{layer}.feed_forward.{which}_dense.weight");
        masks.insert(name("intermediate"), BitMask::from_fn(4096, 1024, &mut keep));
        masks.insert(name("output"), BitMask::from_fn(1024, 4096, &mut keep));
    }
    let head = Head { weight: vec![0.5; 40 * 1024], bias: vec![0.0; 40], dim: 1024 };
    let meta = Meta {
        language: "tr".into(),
        aliases: vec![],
        kind: Kind::Ctc,
        backbone_sha256: None,
        density: 0.92,
        covers: "ffn".into(),
        vocab: (0..40).map(|i| format!("{i}")).collect(),
        word_separator: None,
        training: serde_json::Value::Null,
        license: None,
    };
    Pack { meta, masks, head }
}

fn open(c: &mut Criterion) {
    let pack = xlsr_pack();
    let mut group = c.benchmark_group("open 201 Mbit");
    group.sample_size(20).throughput(Throughput::Elements(pack.weights().0 as u64));
    for codec in [Codec::Raw, Codec::Rans] {
        let bytes = to_bytes(&pack, codec).unwrap();
        eprintln!("{}: {} bytes", codec.name(), bytes.len());
        group.bench_function(codec.name(), |b| b.iter(|| open_bytes(&bytes).unwrap()));
    }
    group.finish();
}

criterion_group!(benches, open);
criterion_main!(benches);
