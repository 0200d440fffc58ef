//! A backbone packed in bf16 against itself in f32: every kind, whole and in batches.

use super::{Backbone, Config, ExtractorNorm, Source};
use crate::{
    Precision,
    gate::{Gates, Segment},
    kernels::Unit,
};
use candle_core::{Device, Tensor};
use s3router_masks::BitMask;
use std::sync::Arc;

/// How far bf16 may lie from f32: ‖difference‖ / ‖f32‖ of the hidden states. Each product rounds its
/// operands to 8 bits (2⁻⁹), which a few layers carry on.
const BOUND: f64 = 0.02;

/// Miniatures wide enough for tiles: pre-norm with layer norms, post-norm with a group norm.
fn kinds() -> [Config; 2] {
    let xlsr = Config::small();
    let base =
        Config { pre_norm: false, conv_bias: false, extractor_norm: ExtractorNorm::Group, ..xlsr.clone() };
    [xlsr, base]
}

fn wave(seed: u32, n: usize) -> Vec<f32> {
    let step =
        |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / 16_777_216.0;
    (0..n).map(|i| (i as f32 * 0.05 * seed as f32).sin() + 0.3 * step(i) - 0.15).collect()
}

fn packed(config: &Config, precision: Precision) -> Backbone {
    Backbone::random_packed(config.clone(), 7, &Device::Cpu, precision).unwrap()
}

/// Gates over every maskable weight that drop one in eight.
fn gates(backbone: &Backbone, seed: usize) -> Arc<Gates> {
    let keep = |r: usize, c: usize| !(r * 31 + c * 7 + seed * 13).is_multiple_of(8);
    let all = backbone.maskable().into_iter();
    Arc::new(Gates::new(
        all.map(|(name, (r, c))| (name, backbone.gate(&BitMask::from_fn(r, c, keep)))).collect(),
    ))
}

fn encode(backbone: &Backbone, waves: &[&[f32]], segments: &[Segment]) -> Tensor {
    let features = backbone.extract(&backbone.prepare(waves).unwrap()).unwrap();
    backbone.encode(&features, segments, None).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |d: f32| f64::from(d).powi(2);
    let off: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (off / b.iter().map(|b| square(*b)).sum::<f64>()).sqrt()
}

#[test]
fn bf16_stays_near_f32_and_knows_the_same_identity() {
    if Precision::Bf16.resolve(&Device::Cpu).is_err() {
        return;
    }
    let both = [Precision::F32, Precision::Bf16];
    let random = kinds().map(|config| both.map(|p| packed(&config, p)));
    let demo = both.map(|p| Backbone::load_packed(&Source::Demo, &Device::Cpu, p).unwrap());
    for [f32, bf16] in random.into_iter().chain([demo]) {
        assert_eq!((bf16.precision(), Some(bf16.kernel())), (Precision::Bf16, Unit::best().map(Unit::name)));
        let wave = wave(1, 8000);
        let hidden =
            |b: &Backbone| values(&encode(b, &[&wave], &[Segment { rows: 0..1, gates: gates(b, 1) }]));
        let off = distance(&hidden(&bf16), &hidden(&f32));
        assert!(off > 1e-5 && off < BOUND, "{off}");
        let names = config_names(&bf16);
        let print = |b: &Backbone| b.fingerprint(names.iter().map(String::as_str)).unwrap();
        assert_eq!(print(&bf16), print(&f32));
        // Layer by layer, as hidden states are asked for, the same but for the order of rounding.
        let features = bf16.extract(&bf16.prepare(&[&wave]).unwrap()).unwrap();
        let segments = [Segment { rows: 0..1, gates: gates(&bf16, 1) }];
        let (_, layered) = bf16.hidden_states(&features, &segments, None).unwrap();
        assert!(distance(&values(&layered), &hidden(&f32)) < BOUND);
    }
}

fn config_names(backbone: &Backbone) -> Vec<String> {
    backbone.maskable().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn packing_on_the_way_in_equals_packing_afterwards_bit_for_bit() {
    let wave = wave(2, 6000);
    for config in kinds() {
        for precision in [Precision::F32, Precision::Auto] {
            let after = Backbone::random(config.clone(), 7, &Device::Cpu).unwrap().packed(precision).unwrap();
            let open = [Segment { rows: 0..1, gates: Arc::default() }];
            let on_the_way = packed(&config, precision);
            assert_eq!(
                values(&encode(&after, &[&wave], &open)),
                values(&encode(&on_the_way, &[&wave], &open))
            );
            let names = config_names(&after);
            let print = |b: &Backbone| b.fingerprint(names.iter().map(String::as_str)).unwrap();
            assert_eq!(print(&after), print(&on_the_way));
        }
    }
}

#[test]
fn any_batch_equals_its_rows_alone_and_all_ones_equal_open_bit_for_bit() {
    let waves = [wave(1, 8000), wave(2, 5000), wave(3, 300), wave(4, 6401), wave(5, 20_000)];
    let waves: Vec<&[f32]> = waves.iter().map(Vec::as_slice).collect();
    for config in kinds() {
        for precision in [Precision::F32, Precision::Auto] {
            let backbone = packed(&config, precision);
            let ones = backbone.maskable().into_iter();
            let ones = ones.map(|(name, (r, c))| (name, backbone.gate(&BitMask::ones(r, c)))).collect();
            let languages = [gates(&backbone, 1), Arc::new(Gates::new(ones)), gates(&backbone, 2)];
            let segments: Vec<_> = [0..2, 2..3, 3..5]
                .into_iter()
                .zip(&languages)
                .map(|(rows, gates)| Segment { rows, gates: gates.clone() })
                .collect();
            let batch = encode(&backbone, &waves, &segments);
            for segment in &segments {
                for row in segment.rows.clone() {
                    let frames = backbone.frames(waves[row].len());
                    let gates = if segment.rows == (2..3) { Arc::default() } else { segment.gates.clone() };
                    let alone = encode(&backbone, &[waves[row]], &[Segment { rows: 0..1, gates }]);
                    let part = |t: &Tensor, row| values(&t.get(row).unwrap().narrow(0, 0, frames).unwrap());
                    assert_eq!(part(&batch, row), part(&alone, 0), "{precision} row {row}");
                }
            }
        }
    }
}
