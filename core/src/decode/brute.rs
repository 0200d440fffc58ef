//! Every alignment of a tiny utterance, written out: the yardstick of the search and alignment tests.

use rand::{Rng, SeedableRng, rngs::StdRng};

/// Logits `(T, V)` in -3..3.
pub(super) fn random_logits(seed: u64, t: usize, v: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..t * v).map(|_| rng.random_range(-3.0..3.0)).collect()
}

/// All V^T paths.
pub(super) fn paths(t: usize, v: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..v.pow(t as u32)).map(move |n| (0..t).map(|i| n / v.pow(i as u32) % v).collect())
}

/// Repeats collapsed, then blanks (index 0) dropped.
pub(super) fn collapse(path: &[usize]) -> Vec<usize> {
    let mut path = path.to_vec();
    path.dedup();
    path.retain(|&k| k != 0);
    path
}
