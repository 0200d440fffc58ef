//! What learning adds to the forward pass; serving adds nothing.

use crate::Result;
use candle_core::Tensor;

/// Where a dropout may stand, in the order of the computation (fairseq's sites).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// After the feature projection (`dropout_input`), before SpecAugment.
    Input,
    /// After the positional convolution (and the norm, in post-norm models).
    Embedding,
    /// The attention probabilities (B, heads, T, T).
    AttentionProbs,
    /// After the attention's `out_proj`.
    AttentionOut,
    /// After GELU, inside the feed-forward block.
    Activation,
    /// After the feed-forward block's second linear.
    FeedForwardOut,
}

/// Noise of a training step; the model calls it at every named place, deterministic in the order of calls.
pub trait Noise {
    /// Replaces or zeroes spans of the projected features `x` (B, T, D).
    fn spec_augment(&mut self, x: Tensor, lengths: &[usize]) -> Result<Tensor>;
    /// Drops parts of `x` and scales the rest.
    fn dropout(&mut self, x: Tensor, site: Site) -> Result<Tensor>;
    /// Whether layer `layer` runs in this step (layerdrop).
    fn keep_layer(&mut self, layer: usize) -> bool;
    /// Whether dropout at `site` leaves everything as it is.
    fn silent_at(&self, _site: Site) -> bool {
        self.silent()
    }
    /// Whether every call leaves everything as it is, so that steps may be fused.
    fn silent(&self) -> bool {
        false
    }
}

/// Serving: nothing is dropped.
pub(crate) struct Silence;

impl Noise for Silence {
    fn spec_augment(&mut self, x: Tensor, _lengths: &[usize]) -> Result<Tensor> {
        Ok(x)
    }

    fn dropout(&mut self, x: Tensor, _site: Site) -> Result<Tensor> {
        Ok(x)
    }

    fn keep_layer(&mut self, _layer: usize) -> bool {
        true
    }

    fn silent(&self) -> bool {
        true
    }
}
