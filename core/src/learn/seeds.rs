//! One seed for a run, one independent stream for each purpose and place in it.
//!
//! A stream is named, not passed along: the mask of update 4017 is drawn from `(seed, "spans", 4017)`
//! whatever happened before, so a resumed run needs no saved generator state to repeat itself.

use rand::{SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};

/// The generator of `(seed, purpose, at)`; equal triples give equal streams on every machine.
pub fn stream(seed: u64, purpose: &str, at: u64) -> StdRng {
    let digest = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(at.to_le_bytes())
        .chain_update(purpose.as_bytes())
        .finalize();
    StdRng::from_seed(digest.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn equal_names_repeat_and_other_names_differ() {
        let draw = |seed, purpose, at| stream(seed, purpose, at).random::<u64>();
        assert_eq!(draw(1, "spans", 7), draw(1, "spans", 7));
        for other in [draw(2, "spans", 7), draw(1, "order", 7), draw(1, "spans", 8)] {
            assert_ne!(other, draw(1, "spans", 7));
        }
    }
}
