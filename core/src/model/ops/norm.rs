//! Normalisations, statistics in two passes: `E[x²] - E[x]²` would cancel in f32 where a mean is large.

use crate::{Result, kernels::tensor};
use candle_core::{CpuStorage, D, Layout, Tensor, bail};

/// LayerNorm over the last dimension, `(x - mean) / sqrt(var + eps) · weight + bias`, biased variance.
///
/// # Errors
/// Shapes that do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if tensor::on_cpu(&[x, weight, bias]) {
        return Ok(tensor::layer_norm(x, weight, bias, eps as f32)?);
    }
    let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
    let x = x.broadcast_div(&(variance + eps)?.sqrt()?)?;
    Ok(x.broadcast_mul(weight)?.broadcast_add(bias)?)
}

/// Each channel of `x` (B, T, C) normalised over time: GroupNorm with as many groups as channels.
///
/// # Errors
/// Shapes that do not fit.
pub fn channel_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let over_time = x.transpose(1, 2)?.contiguous()?;
    let t = over_time.dim(2)?;
    let (ones, zeros) = (Tensor::ones(t, x.dtype(), x.device())?, Tensor::zeros(t, x.dtype(), x.device())?);
    let x = layer_norm(&over_time, &ones, &zeros, eps)?.transpose(1, 2)?.contiguous()?;
    Ok(x.broadcast_mul(weight)?.broadcast_add(bias)?)
}

/// The contiguous f32 elements of a CPU tensor.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => bail!("expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}
