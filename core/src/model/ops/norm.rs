//! Normalisations, statistics in two passes: `E[x²] - E[x]²` would cancel in f32 where a mean is large.

#[cfg(feature = "cuda")]
use crate::kernels::{Activation, cuda};
use crate::{Result, kernels::tensor};
use candle_core::{CpuStorage, D, DType, Layout, Tensor, bail};

/// LayerNorm over the last dimension, `(x - mean) / sqrt(var + eps) · weight + bias`, biased variance; in type `to`.
///
/// # Errors
/// Shapes that do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64, to: DType) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::serves(&[x, weight, bias]) {
        return Ok(cuda::layer_norm(x, [weight, bias], eps, to, Activation::None)?);
    }
    Ok(plain(x, weight, bias, eps)?.to_dtype(to)?)
}

/// [`layer_norm`] in x's type, then GELU.
///
/// # Errors
/// Shapes that do not fit.
pub fn layer_norm_gelu(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::serves(&[x, weight, bias]) {
        return Ok(cuda::layer_norm(x, [weight, bias], eps, x.dtype(), Activation::Gelu)?);
    }
    super::gelu(&plain(x, weight, bias, eps)?)
}

fn plain(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
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
    let over_time = x.to_dtype(DType::F32)?.transpose(1, 2)?.contiguous()?;
    let t = over_time.dim(2)?;
    let (ones, zeros) = (Tensor::ones(t, DType::F32, x.device())?, Tensor::zeros(t, DType::F32, x.device())?);
    let y = layer_norm(&over_time, &ones, &zeros, eps, DType::F32)?.transpose(1, 2)?.contiguous()?;
    Ok(y.broadcast_mul(weight)?.broadcast_add(bias)?.to_dtype(x.dtype())?)
}

/// The contiguous f32 elements of a CPU tensor.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => bail!("expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}
