//! The linear projection of a language, after the backbone.

use crate::{
    Error, Result,
    kernels::{Activation, PackedWeight, Segment, Tier, linear, linear::Linear as Kernel, tensor},
    linear::Param,
};
use candle_core::{Device, Module, Tensor};
use candle_transformers::models::with_tracing::Linear;
use std::sync::Arc;

/// Hidden states to logits.
#[derive(Clone, Debug)]
pub struct Head {
    weight: Weight,
    bias: Param,
}

/// The one resident copy of the weight (V, D).
#[derive(Clone, Debug)]
enum Weight {
    /// As it came, or on a GPU; its time shows in traces as a span `linear`.
    Tensor(Tensor, Linear),
    /// For the kernels, in f32.
    Packed(Arc<PackedWeight>),
}

impl Head {
    /// `weight` (V, D), `bias` (V,).
    pub fn new(weight: Tensor, bias: Tensor) -> Self {
        let linear = Linear::from_weights(weight.clone(), Some(bias.clone()));
        Self { weight: Weight::Tensor(weight, linear), bias: Param::new("", bias) }
    }

    /// The same head for serving: on the CPU its weight is packed for the kernels.
    ///
    /// # Errors
    /// Tensors that are not f32.
    pub fn packed(mut self) -> Result<Self> {
        if let Weight::Tensor(weight, _) = &self.weight
            && tensor::on_cpu(&[weight, self.bias.tensor()])
        {
            self.bias.pack()?;
            self.weight = Weight::Packed(crate::linear::Weight::pack(Tier::best().into(), weight)?);
        }
        Ok(self)
    }

    /// The same head elsewhere.
    ///
    /// # Errors
    /// The device's.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let weight = match &self.weight {
            Weight::Tensor(weight, _) => weight.to_device(device)?,
            Weight::Packed(w) => Tensor::from_vec(w.unpack(), (w.outputs(), w.inputs()), device)?,
        };
        Self::new(weight, self.bias.tensor().to_device(device)?).packed()
    }

    /// Logits (..., V) = hidden (..., D) · weightᵀ + bias.
    ///
    /// # Errors
    /// A hidden width that is not the head's.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let packed = match &self.weight {
            Weight::Tensor(_, linear) => return Ok(linear.forward(hidden)?),
            Weight::Packed(packed) => packed,
        };
        let mut shape = hidden.dims().to_vec();
        shape.pop();
        shape.push(packed.outputs());
        let mut logits = vec![0.0; shape.iter().product()];
        tensor::lent(hidden, |hidden| self.emit(hidden, &mut logits))?;
        Ok(Tensor::from_vec(logits, shape, &Device::Cpu)?)
    }

    /// Logits `(T, V)` from hidden `(T, D)`, both on the CPU, once [`packed`](Self::packed).
    ///
    /// # Errors
    /// Lengths that do not fit.
    pub(crate) fn emit(&self, hidden: &[f32], logits: &mut [f32]) -> Result<()> {
        let Weight::Packed(weight) = &self.weight else {
            return Err(Error::Model("a head that is not packed met the kernels".into()));
        };
        let layer = Kernel { weight, bias: self.bias.values(), activation: Activation::None, add: false };
        let rows = 0..hidden.len() / weight.inputs().max(1);
        linear(&layer, hidden, &[Segment { rows, mask: None }], logits)
    }
}
