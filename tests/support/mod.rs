//! What several tests need: files, closeness, gates, sounds.

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng, rngs::StdRng};
use s3router_core::gate::{Gate, Gates, Segment};
use s3router_masks::BitMask;
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

/// A file or folder of `tests/fixtures`.
pub(crate) fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

/// The tensors of a safetensors fixture.
pub(crate) fn tensors(path: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(fixture(path), &Device::Cpu).unwrap()
}

/// The house's one measure: largest difference over largest reference magnitude.
pub(crate) fn distance(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    let largest = |t: &Tensor| t.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    largest(&(found - expected).unwrap()) / largest(expected)
}

/// Fails when `found` is further than `limit` from `expected`; NaN is far from everything.
#[track_caller]
pub(crate) fn assert_close(found: &Tensor, expected: &Tensor, limit: f32) {
    let distance = distance(found, expected);
    assert!(distance <= limit, "relative distance {distance:e} is above {limit:e}");
}

/// One segment for all `rows`.
pub(crate) fn all(rows: usize, gates: &Arc<Gates>) -> Vec<Segment> {
    vec![Segment { rows: 0..rows, gates: gates.clone() }]
}

/// Packed gates of masks by weight name.
pub(crate) fn gates_of(masks: BTreeMap<String, BitMask>) -> Arc<Gates> {
    let gates = masks.into_iter().map(|(name, mask)| (name, Gate::Packed(Arc::new(mask))));
    Arc::new(Gates::new(gates.collect()))
}

/// A mask for each weight that keeps nine in ten.
pub(crate) fn random_masks(weights: &[(String, (usize, usize))], seed: u64) -> BTreeMap<String, BitMask> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut mask = |(rows, cols)| BitMask::from_fn(rows, cols, |_, _| rng.random_bool(0.9));
    weights.iter().map(|(name, shape)| (name.clone(), mask(*shape))).collect()
}

/// A gliding tone in noise, (S,), 16 kHz.
pub(crate) fn speech(samples: usize, seed: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    let tone = |t: f32| 0.3 * (std::f32::consts::TAU * (150.0 + 40.0 * seed as f32 + 200.0 * t) * t).sin();
    (0..samples).map(|i| tone(i as f32 / 16000.0) + rng.random_range(-0.1..0.1)).collect()
}
