//! Normalisations, statistics in two passes: `E[x²] - E[x]²` would cancel in f32 where a mean is large.

use crate::Result;
use candle_core::{CpuStorage, CustomOp3, D, Layout, Shape, Tensor, bail};
use rayon::prelude::*;

/// LayerNorm over the last dimension, `(x - mean) / sqrt(var + eps) · weight + bias`, biased variance.
///
/// # Errors
/// Shapes that do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if learns([x, weight, bias]) || !x.device().is_cpu() {
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
        let x = x.broadcast_div(&(variance + eps)?.sqrt()?)?;
        return Ok(x.broadcast_mul(weight)?.broadcast_add(bias)?);
    }
    Ok(x.contiguous()?.apply_op3_no_bwd(weight, bias, &LayerNorm { eps: eps as f32 })?)
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

fn learns(tensors: [&Tensor; 3]) -> bool {
    tensors.iter().any(|t| t.track_op())
}

struct LayerNorm {
    eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = slice(x, x_layout)?;
        let (weight, bias) = (slice(weight, weight_layout)?, slice(bias, bias_layout)?);
        let width = x_layout.dims().last().copied().unwrap_or(1);
        if weight.len() != width || bias.len() != width {
            bail!("layer norm of width {width} with {} weights and {} biases", weight.len(), bias.len());
        }
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(width).zip(x.par_chunks(width)).for_each(|(out, x)| {
            let mean = sum(x.iter().copied()) / width as f32;
            let variance = sum(x.iter().map(|v| (v - mean) * (v - mean))) / width as f32;
            let scale = (variance + self.eps).sqrt().recip();
            for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                *out = (x - mean) * scale * weight + bias;
            }
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

/// A sum by blocks, so that the rounding of a long row (a channel over time) stays small.
fn sum(values: impl Iterator<Item = f32>) -> f32 {
    let (mut total, mut block, mut n) = (0f64, 0f32, 0u32);
    for value in values {
        block += value;
        n += 1;
        if n == 64 {
            total += f64::from(block);
            (block, n) = (0.0, 0);
        }
    }
    (total + f64::from(block)) as f32
}

/// The contiguous f32 elements of a CPU tensor.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => bail!("expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}
