//! The linear projection of a language, after the backbone.

use crate::Result;
use candle_core::{Module, Tensor};
use candle_transformers::models::with_tracing::Linear;

/// Hidden states to logits; its time shows in traces as a span `linear`.
#[derive(Clone, Debug)]
pub struct Head(Linear);

impl Head {
    /// `weight` (V, D), `bias` (V,).
    pub fn new(weight: Tensor, bias: Tensor) -> Self {
        Self(Linear::from_weights(weight, Some(bias)))
    }

    /// Logits (B, T, V) = hidden (B, T, D) · weightᵀ + bias.
    ///
    /// # Errors
    /// A hidden width that is not the head's.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.0.forward(hidden)?)
    }
}
