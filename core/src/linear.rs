//! The one linear layer of the model: a frozen weight seen through each row's gate.

use crate::{
    Error, Result,
    gate::{Gate, Gates, Segment},
    model::ops,
};
use candle_core::{Device, Tensor};
use s3router_masks::BitMask;

/// A parameter under its checkpoint name, so that [`Gates`] can gate or replace it.
#[derive(Clone, Debug)]
pub struct Param {
    name: String,
    tensor: Tensor,
}

impl Param {
    /// A parameter and its name, Hugging Face's without the model prefix.
    pub fn new(name: impl Into<String>, tensor: Tensor) -> Self {
        Self { name: name.into(), tensor }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The frozen tensor, or what the gates put in its place.
    pub fn get<'a>(&'a self, gates: &'a Gates) -> &'a Tensor {
        gates.replaced(&self.name).unwrap_or(&self.tensor)
    }
}

/// `y = x (W ⊙ M)ᵀ + b`, where `M` differs by segment of the batch; `W` (out, in) is never edited.
#[derive(Clone, Debug)]
pub struct GatedLinear {
    /// (out, in)
    pub weight: Param,
    /// (out,)
    pub bias: Param,
}

impl GatedLinear {
    /// `x` (B, T, in) to (B, T, out); rows of each segment see their own gate.
    ///
    /// # Errors
    /// A mask of another shape than the weight.
    pub fn forward(&self, x: &Tensor, segments: &[Segment]) -> Result<Tensor> {
        let name = self.weight.name();
        let open = segments.iter().all(|s| matches!(s.gates.get(name), Gate::Open) && !s.gates.replaces());
        match segments {
            [one] => self.rows(x, &one.gates),
            // Gates that are open alike need no split.
            [first, ..] if open => self.rows(x, &first.gates),
            _ => {
                let parts = segments
                    .iter()
                    .map(|s| self.rows(&x.narrow(0, s.rows.start, s.rows.len())?, &s.gates))
                    .collect::<Result<Vec<_>>>()?;
                Ok(Tensor::cat(&parts, 0)?)
            }
        }
    }

    fn rows(&self, x: &Tensor, gates: &Gates) -> Result<Tensor> {
        let (weight, bias) = (self.weight.get(gates), self.bias.get(gates));
        match gates.get(self.weight.name()) {
            Gate::Open => ops::linear(x, weight, bias),
            Gate::Packed(bits) => {
                let (out, inner) = weight.dims2()?;
                if (bits.rows(), bits.cols()) != (out, inner) {
                    return Err(Error::Model(format!(
                        "mask `{}` has shape [{}, {}], the backbone's weight has [{out}, {inner}]: the pack belongs to another backbone",
                        self.weight.name(),
                        bits.rows(),
                        bits.cols()
                    )));
                }
                ops::linear(x, &(weight * dense(bits, weight.device())?)?, bias)
            }
            Gate::Soft(mask) => ops::linear(x, &(weight * mask)?, bias),
        }
    }
}

/// The bits as 0 / 1 in f32, (out, in).
///
/// # Errors
/// The device refuses the tensor.
pub fn dense(bits: &BitMask, device: &Device) -> Result<Tensor> {
    let cols = bits.cols();
    let mut values = Vec::with_capacity(bits.len());
    for row in 0..bits.rows() {
        values.extend(
            bits.row(row).iter().flat_map(|byte| (0..8).map(move |i| f32::from(byte >> i & 1))).take(cols),
        );
    }
    Ok(Tensor::from_vec(values, (bits.rows(), cols), device)?)
}
