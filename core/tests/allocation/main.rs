//! From the second batch of a size on, the way from samples to logits takes nothing from the heap but the logits that
//! leave: counted by an allocator of our own, on all threads. One test, since all of the process is counted.

#![allow(
    missing_docs,
    unsafe_code,
    clippy::unwrap_used,
    reason = "a test; an allocator cannot be written otherwise"
)]

mod counting;
mod kernels;

use candle_core::{Device, Tensor};
use counting::{Taken, during, settled, settles};
use s3router_core::{
    Engine, Precision, Utterance, demo,
    model::{Backbone, Config, ExtractorNorm, PositionalConv, Source},
    packs::LoadedPack,
    piece::Piece,
    window::Windowing,
};
use s3router_masks::{BitMask, Codec, Head, Kind, Meta, Opened, Pack};
use std::sync::Arc;

#[global_allocator]
static COUNTED: counting::Counting = counting::Counting;

#[test]
fn the_steady_state_takes_nothing_from_the_heap() {
    counting_counts();
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            kernels::settle();
            for precision in precisions() {
                demo_in_eleven_languages(precision);
                kinds().into_iter().for_each(|config| other_kind(config, precision));
            }
        });
    }
    from_outside_the_pool();
}

/// One small allocation on another thread is noticed, to the byte.
fn counting_counts() {
    let one = Taken { calls: 1, bytes: 3 };
    let take = || drop(std::hint::black_box(Box::new([0u8; 3])));
    let elsewhere = || {
        rayon::join(take, || ());
    };
    // Threads take what they need to begin with; on a busy machine they begin late.
    rayon::broadcast(|_| ());
    settles("a box on another thread", one, elsewhere);
    assert!(settled(Taken::default(), elsewhere).is_err());
}

fn precisions() -> Vec<Precision> {
    let all = [Precision::F32, Precision::Bf16];
    all.into_iter().filter(|p| p.resolve(&Device::Cpu).is_ok()).collect()
}

/// A tone that is not the same as its neighbours'.
fn wave(seed: usize, samples: usize) -> Vec<f32> {
    (0..samples).map(|i| (i as f32 * 0.01 * (seed + 3) as f32).sin() * 0.3).collect()
}

/// A real model of the demo: every language in one batch, lengths ragged, one as windows, one a click of no frame.
fn mixture(precision: Precision) -> (Engine, Vec<Utterance>) {
    let backbone = Backbone::load_packed(&Source::Demo, &Device::Cpu, precision).unwrap();
    let packs = demo::packs(&backbone).unwrap();
    let engine = Engine::new(backbone).with_windowing(Windowing { samples: 6_400, margin: 1_280 });
    let said = |(i, pack)| Utterance::new(wave(i, [4_000, 3_000, 5_500][i % 3]), pack);
    let mut batch: Vec<_> = packs.iter().enumerate().map(said).collect();
    batch.push(Utterance::new(wave(20, 16_000), &packs.get("tr").unwrap()));
    batch.push(Utterance::new(wave(21, 700), &packs.get("fr").unwrap()));
    (engine, batch)
}

fn demo_in_eleven_languages(precision: Precision) {
    let (engine, batch) = mixture(precision);
    let pieces: Vec<Piece> = batch.iter().flat_map(|u| engine.cut(u).unwrap()).collect();
    assert!(pieces.len() > batch.len(), "windows");
    let pieces: Vec<&Piece> = pieces.iter().collect();
    let leaves = leaving(&engine, &pieces);
    settles(&format!("the demo, {precision}"), leaves, || compute(&engine, &pieces));

    // A guest cuts in between two layers, as small requests do on a long one.
    let (host, guest) = pieces.split_at(pieces.len() / 2);
    let both = plus(leaving(&engine, host), leaving(&engine, guest));
    settles(&format!("the demo and a guest, {precision}"), both, || {
        let mut pauses = 0;
        let parts = engine.compute(host, &mut || {
            pauses += 1;
            if pauses == 3 {
                compute(&engine, guest);
            }
            Ok(())
        });
        parts.unwrap();
    });
}

/// Post-norm with a group norm over time (base models), and several positional convolutions (data2vec-audio).
fn kinds() -> [Config; 2] {
    let xlsr = Config::small();
    let base =
        Config { pre_norm: false, conv_bias: false, extractor_norm: ExtractorNorm::Group, ..xlsr.clone() };
    let positional = PositionalConv { layers: 3, kernel: 7, groups: 4 };
    [base, Config { pre_norm: false, positional, ..xlsr }]
}

fn other_kind(config: Config, precision: Precision) {
    let engine = Engine::new(Backbone::random_packed(config, 7, &Device::Cpu, precision).unwrap());
    let packs = [pack(&engine, 1), pack(&engine, 2)];
    let batch: Vec<_> =
        (0..5).map(|i| Utterance::new(wave(i, 4_000 + 1_100 * i), &packs[usize::from(i > 2)])).collect();
    let pieces: Vec<Piece> = batch.iter().flat_map(|u| engine.cut(u).unwrap()).collect();
    let pieces: Vec<&Piece> = pieces.iter().collect();
    let what = format!("{:?}, {precision}", engine.backbone().config());
    settles(&what, leaving(&engine, &pieces), || compute(&engine, &pieces));
}

/// A pack of random masks over all that can be masked.
fn pack(engine: &Engine, seed: usize) -> Arc<LoadedPack> {
    let keep = |r: usize, c: usize| !(r * 31 + c * 7 + seed * 13).is_multiple_of(8);
    let (symbols, dim) = (5, engine.backbone().config().hidden);
    let masks = engine.backbone().maskable().into_iter();
    let pack = Pack {
        meta: Meta {
            language: format!("l{seed}"),
            aliases: Vec::new(),
            kind: Kind::Ctc,
            backbone_sha256: None,
            density: 0.875,
            covers: "all".into(),
            vocab: ["<pad>", "|", "a", "b", "c"].map(String::from).to_vec(),
            word_separator: Some("|".into()),
            training: serde_json::Value::Null,
            license: None,
        },
        masks: masks.map(|(name, (r, c))| (name, BitMask::from_fn(r, c, keep))).collect(),
        head: Head { weight: wave(seed, symbols * dim), bias: vec![0.0; symbols], dim },
    };
    let opened = Opened { pack, sha256: String::new(), bytes: 0, codec: Codec::Raw, sealed: false };
    Arc::new(LoadedPack::bind(opened, engine.backbone(), 1).unwrap())
}

fn compute(engine: &Engine, pieces: &[&Piece]) {
    engine.compute(pieces, &mut || Ok(())).unwrap();
}

/// What outlives the batch, to the byte: a list of parts, and for each the logits that will be read, as a tensor.
fn leaving(engine: &Engine, pieces: &[&Piece]) -> Taken {
    let parts = engine.compute(pieces, &mut || Ok(())).unwrap();
    let shapes: Vec<_> = parts.iter().map(|part| part.logits().dims2().unwrap()).collect();
    let list = during(|| Vec::<s3router_core::piece::Part>::with_capacity(parts.len())).0;
    let tensor = |(t, v)| during(|| Tensor::from_vec(vec![0f32; t * v], (t, v), &Device::Cpu).unwrap()).0;
    shapes.into_iter().map(tensor).fold(list, plus)
}

fn plus(a: Taken, b: Taken) -> Taken {
    Taken { calls: a.calls + b.calls, bytes: a.bytes + b.bytes }
}

/// As the server's engine thread calls: it is no thread of the pool, so each time that it hands work in, rayon's queue
/// takes it up, whose memory comes in blocks of 63 entries. Nothing else is taken.
fn from_outside_the_pool() {
    for precision in precisions() {
        let (engine, batch) = mixture(precision);
        let pieces: Vec<Piece> = batch.iter().flat_map(|u| engine.cut(u).unwrap()).collect();
        let pieces: Vec<&Piece> = pieces.iter().collect();
        let leaves = leaving(&engine, &pieces);
        (0..10).for_each(|_| compute(&engine, &pieces));
        let rounds: Vec<_> = (0..20).map(|_| during(|| compute(&engine, &pieces)).0).collect();
        let more: usize = rounds.iter().map(|taken| taken.calls - leaves.calls).sum();
        // Stages, layers, and each piece's head.
        let entries = 20 * (2 * engine.backbone().stages() + pieces.len() + 8);
        assert!(more <= entries / 63 + 1, "{precision}: {more} more in 20 rounds, {rounds:?}");
    }
}
