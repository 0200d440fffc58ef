//! What several tests need: files, closeness, gates.

use candle_core::{Device, Tensor};
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

/// The house's one tolerance: largest difference over largest reference magnitude.
pub(crate) fn distance(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    let largest =
        |t: &Tensor| t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
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

/// Packed gates of dense 0/1 masks by weight name.
pub(crate) fn packed(masks: &BTreeMap<String, Vec<Vec<u8>>>) -> Arc<Gates> {
    let gate = |rows: &Vec<Vec<u8>>| {
        Gate::Packed(Arc::new(BitMask::from_fn(rows.len(), rows[0].len(), |r, c| rows[r][c] == 1)))
    };
    Arc::new(Gates::new(masks.iter().map(|(name, rows)| (name.clone(), gate(rows))).collect()))
}
