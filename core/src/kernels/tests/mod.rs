//! Every tier this machine has, against the scalar specification.

mod halves;
mod layers;
mod products;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tiles;

use rand::{Rng, SeedableRng, rngs::StdRng};

/// `n` numbers in -1..1.
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Differences relative to the size that sums of `scale` terms reach.
fn assert_close(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= tolerance * e.abs().max(1.0), "{what}: element {i} is {g}, expected {e}");
    }
}
