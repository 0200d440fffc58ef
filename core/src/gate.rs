//! The seam between mask and model: what a masked weight sees.
//!
//! One model serves and learns because a mask is an *argument* of the forward pass. Serving passes
//! [`Gate::Packed`], learning passes [`Gate::Soft`], a plain checkpoint passes [`Gate::Open`].

use crate::{
    Precision, Result,
    kernels::{PanelMask, cuda::DeviceMask},
};
use candle_core::Tensor;
use s3router_masks::BitMask;
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// A mask as one linear layer sees it.
#[derive(Clone, Debug, Default)]
pub enum Gate {
    /// Every weight counts.
    #[default]
    Open,
    /// Bits of a pack: `y = x (W ⊙ M)ᵀ + b`. The resident `W` is never edited.
    Packed(Arc<BitMask>),
    /// The same bits in the kernels' order, as [`Backbone::gate`](crate::model::Backbone::gate) makes them.
    Panels(Arc<PanelMask>),
    /// The same bits on a GPU.
    Device(Arc<DeviceMask>),
    /// A 0/1 tensor of W's shape `(out, in)` that carries a gradient to the scores.
    Soft(Tensor),
}

impl Gate {
    /// The bits behind a mask of whatever form; none where there is no mask of bits.
    ///
    /// # Errors
    /// The device's.
    pub fn bits(&self) -> Result<Option<Arc<BitMask>>> {
        Ok(match self {
            Self::Packed(bits) => Some(Arc::clone(bits)),
            Self::Panels(mask) => Some(Arc::new(mask.to_bits())),
            Self::Device(mask) => Some(Arc::new(mask.to_bits()?)),
            Self::Open | Self::Soft(_) => None,
        })
    }
}

/// The gates of one language, by weight name (`encoder.layers.0.feed_forward.intermediate_dense.weight`).
#[derive(Clone, Debug, Default)]
pub struct Gates {
    gates: BTreeMap<String, Gate>,
    overrides: BTreeMap<String, Tensor>,
    precision: Precision,
}

impl Gates {
    /// Gates by weight name; every weight not named is open.
    pub fn new(gates: BTreeMap<String, Gate>) -> Self {
        Self { gates, ..Self::default() }
    }

    /// Replaces whole parameters of the transformer, by name and in the checkpoint's shape: what full
    /// fine-tuning and bias-only learning adjust. The extractor's convolutions cannot be replaced.
    pub fn with_overrides(mut self, overrides: BTreeMap<String, Tensor>) -> Self {
        self.overrides = overrides;
        self
    }

    /// What learning rounds the factors of its matrix products to; serving and evaluation ask for nothing.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// See [`with_precision`](Self::with_precision).
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The plain backbone: every gate open.
    pub fn open() -> Self {
        Self::default()
    }

    /// The gate of one weight.
    pub fn get(&self, weight: &str) -> &Gate {
        self.gates.get(weight).unwrap_or(&Gate::Open)
    }

    /// The tensor that stands in for a parameter, if any.
    pub fn replaced(&self, parameter: &str) -> Option<&Tensor> {
        self.overrides.get(parameter)
    }

    /// Whether any parameter is replaced.
    pub fn replaces(&self) -> bool {
        !self.overrides.is_empty()
    }

    /// Whether tensors stand for parameters or masks, as in learning.
    pub fn are_tensors(&self) -> bool {
        self.replaces() || self.gates.values().any(|gate| matches!(gate, Gate::Soft(_)))
    }

    /// Weight names with a gate that is not open by default, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.gates.keys().map(String::as_str)
    }
}

/// A run of batch rows that speak one language.
///
/// A batch is covered by its segments in order: `0..a`, `a..b`, ..., `y..B`.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Rows of the batch.
    pub rows: Range<usize>,
    /// Their gates.
    pub gates: Arc<Gates>,
}
