//! One batch's buffers from samples to hidden states, kept for the next: from the second batch of a size on the whole way
//! allocates nothing.

use super::{Batch, Level, encoder, extractor};
use crate::{Error, Result, kernels::Aligned, packs::LoadedPack};
use candle_core::{Device, Tensor};
use std::ops::Range;

/// A batch on its way through a backbone. A batch that cuts in on another has a room of its own.
#[derive(Default)]
pub(crate) struct Room {
    /// (B, S), levelled, zeros past a row's end.
    pub(super) samples: Aligned,
    /// Samples of a row, S.
    pub(super) width: usize,
    /// Real samples of each row.
    pub(super) lengths: Vec<usize>,
    /// Real frames of each row.
    pub(super) frames: Vec<usize>,
    /// (B, T, C)
    pub(super) features: Aligned,
    /// (B, T, D)
    pub(super) hidden: Aligned,
    pub(super) extractor: extractor::Room,
    pub(super) encoder: encoder::Room,
}

impl Room {
    /// Lays utterances side by side, each at its level, at least `least` samples wide.
    ///
    /// # Errors
    /// An empty batch.
    pub(crate) fn lay<'w>(
        &mut self,
        waves: impl Iterator<Item = (&'w [f32], Level)> + Clone,
        least: usize,
    ) -> Result<()> {
        self.lengths.clear();
        self.lengths.extend(waves.clone().map(|(wave, _)| wave.len()));
        let Some(longest) = self.lengths.iter().max() else {
            return Err(Error::InvalidRequest("a batch needs at least one utterance".into()));
        };
        // Never narrower than one frame: a lone click flows through, with 0 real frames.
        self.width = least.max(*longest).max(1);
        let samples = self.samples.at_least(self.lengths.len() * self.width);
        for ((wave, level), row) in waves.zip(samples.chunks_exact_mut(self.width)) {
            let (real, rest) = row.split_at_mut(wave.len());
            level.apply_to(wave, real);
            rest.fill(0.0);
        }
        Ok(())
    }

    /// The same as a tensor.
    pub(super) fn batch(&self, device: &Device) -> Result<Batch> {
        let shape = (self.lengths.len(), self.width);
        let samples = Tensor::from_slice(&self.samples[..shape.0 * shape.1], shape, device)?;
        Ok(Batch { samples, lengths: self.lengths.clone() })
    }
}

/// A batch's final hidden states.
pub(crate) enum Hidden<'r> {
    /// (B, T, D) in its [`Room`], with T and D.
    Floats(&'r [f32], [usize; 2]),
    /// (B, T, D)
    Tensor(Tensor),
}

impl Hidden<'_> {
    /// Some frames of a row under a pack's head: logits `(frames, V)`, which leave the room.
    pub(crate) fn logits(&self, row: usize, frames: Range<usize>, pack: &LoadedPack) -> Result<Tensor> {
        match self {
            Self::Tensor(hidden) => pack.logits(&hidden.get(row)?.narrow(0, frames.start, frames.len())?),
            Self::Floats(hidden, [times, width]) => {
                let kept = (row * times + frames.start) * width..(row * times + frames.end) * width;
                let mut logits = vec![0.0; frames.len() * pack.vocab.len()];
                pack.head().emit(&hidden[kept], &mut logits)?;
                Ok(Tensor::from_vec(logits, (frames.len(), pack.vocab.len()), &Device::Cpu)?)
            }
        }
    }
}
