//! Utterances side by side: prepared samples, and what the extractor makes of them.

use candle_core::Tensor;

/// Prepared utterances, zero-padded on the right.
#[derive(Clone, Debug)]
pub struct Batch {
    /// (B, S), 16 kHz, normalised if the backbone wants it so.
    pub samples: Tensor,
    /// Real samples of each row.
    pub lengths: Vec<usize>,
}

/// The extractor's output: what training caches, since no mask changes it.
#[derive(Clone, Debug)]
pub struct Features {
    /// (B, T, C); frames at and beyond a row's length mean nothing.
    pub tensor: Tensor,
    /// Real frames of each row; 0 for audio shorter than the receptive field.
    pub lengths: Vec<usize>,
}

/// How one utterance is brought to the level that a backbone was trained on; known from the whole of it,
/// applied to any stretch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    mean: f64,
    scale: f64,
}

impl Level {
    /// As recorded.
    pub const NONE: Self = Self { mean: 0.0, scale: 1.0 };

    /// Zero mean, unit variance over the real samples: `(x - mean) / sqrt(var + 1e-7)`, as Hugging Face's
    /// `zero_mean_unit_var_norm`.
    pub fn of(wave: &[f32]) -> Self {
        let n = wave.len().max(1) as f64;
        let mean = wave.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let variance = wave.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
        Self { mean, scale: (variance + 1e-7).sqrt().recip() }
    }

    /// A stretch of the utterance at that level.
    pub fn apply(&self, stretch: &[f32]) -> Vec<f32> {
        let mut levelled = vec![0.0; stretch.len()];
        self.apply_to(stretch, &mut levelled);
        levelled
    }

    /// The same into `to`, which is as long.
    pub(crate) fn apply_to(&self, stretch: &[f32], to: &mut [f32]) {
        if *self == Self::NONE {
            return to.copy_from_slice(stretch);
        }
        for (to, x) in to.iter_mut().zip(stretch) {
            *to = ((f64::from(*x) - self.mean) * self.scale) as f32;
        }
    }
}
