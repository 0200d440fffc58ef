//! The linear projection of a language, after the backbone.

use crate::Result;
use candle_core::{Device, Module, Tensor};
use candle_transformers::models::with_tracing::Linear;

/// Hidden states to logits; its time shows in traces as a span `linear`.
#[derive(Clone, Debug)]
pub struct Head {
    linear: Linear,
    weight: Tensor,
    bias: Tensor,
}

impl Head {
    /// `weight` (V, D), `bias` (V,).
    pub fn new(weight: Tensor, bias: Tensor) -> Self {
        Self { linear: Linear::from_weights(weight.clone(), Some(bias.clone())), weight, bias }
    }

    /// The same head elsewhere.
    ///
    /// # Errors
    /// The device's.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self::new(self.weight.to_device(device)?, self.bias.to_device(device)?))
    }

    /// Logits (B, T, V) = hidden (B, T, D) · weightᵀ + bias.
    ///
    /// # Errors
    /// A hidden width that is not the head's.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.linear.forward(hidden)?)
    }
}
