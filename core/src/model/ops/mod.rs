//! The heavy operations, each behind one function: the kernels where they serve (CPU, f32, no
//! gradient), else candle's operations, which define what the kernels must equal.
//!
//! Everything is time-major, (B, T, C), in f32; on a GPU with halved weights, what stands between two of its products
//! is in half precision. A convolution is a matrix product over overlapping
//! rows: with time-major data the receptive field of a frame lies contiguous in memory.

mod norm;
mod product;
mod unfold;

pub use norm::{channel_norm, layer_norm, layer_norm_gelu};
pub use product::product;
pub use unfold::unfold;

use super::noise::{Noise, Site};
#[cfg(feature = "cuda")]
use crate::kernels::{Activation, cuda};
use crate::{Precision, Result, kernels::tensor};
use candle_core::{D, DType, Tensor};

/// `x` (B, T, in) times `weight` (out, in) transposed, plus `bias` (out,): (B, T, out).
///
/// # Errors
/// Shapes that do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor, precision: Precision) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::serves(&[x, weight, bias]) {
        return Ok(cuda::linear(x, weight, bias, Activation::None, &[(0..x.dim(0)?, None)], None)?);
    }
    if tensor::on_cpu(&[x, weight, bias]) {
        return Ok(tensor::linear(x, weight, bias, precision)?);
    }
    // A GPU that learns in bf16 keeps activations in it, as PyTorch's autocast does.
    let to = if precision == Precision::Bf16 { DType::BF16 } else { weight.dtype() };
    Ok(product(x, &weight.to_dtype(to)?)?.broadcast_add(&bias.to_dtype(to)?)?)
}

/// `weight ⊙ mask`, both (out, in).
///
/// # Errors
/// Shapes that do not fit.
pub fn gated(weight: &Tensor, mask: &Tensor) -> Result<Tensor> {
    if tensor::on_cpu(&[weight, mask]) {
        return Ok(tensor::gated(weight, mask)?);
    }
    Ok((weight * mask)?)
}

/// Exact GELU, `x Φ(x)` by erf; not the tanh approximation.
///
/// # Errors
/// The device's.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if tensor::on_cpu(&[x]) {
        return Ok(tensor::gelu(x)?);
    }
    Ok(x.gelu_erf()?)
}

/// One convolution of the extractor without its norm: `x` (B, T, C), `weight` (out, kernel · C) with the
/// taps outermost: (B, T', out), `T' = floor((T - kernel) / stride) + 1`.
///
/// # Errors
/// Shapes that do not fit.
pub fn conv(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    kernel: usize,
    stride: usize,
) -> Result<Tensor> {
    let x = unfold(x, kernel, stride)?;
    match bias {
        Some(bias) => linear(&x, weight, bias, Precision::F32),
        None => product(&x, weight),
    }
}

/// Grouped convolution that keeps the number of frames: `x` (B, T, D), `weight` (D, D / groups, kernel) as
/// checkpoints have it, `bias` (D,). Padded by kernel / 2 on both sides; an even kernel's surplus last
/// frame is dropped (fairseq's SamePad).
///
/// # Errors
/// Shapes that do not fit.
pub fn positional_conv(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    precision: Precision,
) -> Result<Tensor> {
    let (out, inner, kernel) = weight.dims3()?;
    let (left, per_group) = (kernel / 2, out / groups);
    let x = x.to_dtype(weight.dtype())?.pad_with_zeros(1, left, kernel - 1 - left)?;
    let on_cpu = tensor::on_cpu(&[&x, weight, bias]);
    let taps_first = weight.transpose(1, 2)?.contiguous()?.reshape((out, kernel * inner))?;
    let parts = (0..groups)
        .map(|g| {
            let x = unfold(&x.narrow(2, g * inner, inner)?.contiguous()?, kernel, 1)?;
            let weight = taps_first.narrow(0, g * per_group, per_group)?;
            if on_cpu {
                return linear(&x, &weight, &bias.narrow(0, g * per_group, per_group)?, precision);
            }
            product(&x, &weight)
        })
        .collect::<Result<Vec<_>>>()?;
    let y = Tensor::cat(&parts, 2)?;
    if on_cpu { Ok(y) } else { Ok(y.to_dtype(bias.dtype())?.broadcast_add(bias)?) }
}

/// Multi-head attention core: softmax(q kᵀ / sqrt(D / heads)) v, each (B, T, D); keys at and beyond a
/// row's length are not seen.
///
/// # Errors
/// Shapes that do not fit.
pub fn attention(
    [q, k, v]: [&Tensor; 3],
    heads: usize,
    lengths: &[usize],
    noise: &mut dyn Noise,
) -> Result<Tensor> {
    if noise.silent() && tensor::serves(&[q, k, v]) {
        return Ok(tensor::attend([q, k, v], heads, lengths)?);
    }
    let (b, t, d) = q.dims3()?;
    let split = |x: &Tensor| x.reshape((b, t, heads, d / heads))?.transpose(1, 2)?.contiguous();
    let scale = ((d / heads) as f64).powf(-0.5);
    #[cfg(feature = "cuda")]
    if noise.silent() && cuda::serves(&[q, k, v]) {
        let scores = cuda::scores(&split(q)?, &split(k)?)?;
        let probabilities = cuda::softmax(&scores, lengths, scale, v.dtype())?;
        return Ok(probabilities.matmul(&split(v)?)?.transpose(1, 2)?.reshape((b, t, d))?);
    }
    let mut scores = (split(q)? * scale)?.matmul(&split(k)?.t()?)?.to_dtype(DType::F32)?;
    if lengths.iter().any(|n| *n < t) {
        // Finite, so that a row without a single frame stays finite too.
        let hide = |n: usize| (0..t).map(move |i| if i < n { 0.0 } else { f32::MIN });
        let bias: Vec<f32> = lengths.iter().flat_map(|n| hide(*n)).collect();
        scores = scores.broadcast_add(&Tensor::from_vec(bias, (b, 1, 1, t), q.device())?)?;
    }
    let probabilities = if tensor::on_cpu(&[&scores]) {
        tensor::softmax(&scores)?
    } else {
        candle_nn::ops::softmax(&scores, D::Minus1)?
    };
    let probabilities = noise.dropout(probabilities, Site::AttentionProbs)?.to_dtype(v.dtype())?;
    Ok(probabilities.matmul(&split(v)?)?.transpose(1, 2)?.reshape((b, t, d))?)
}

/// `x` (B, T, C) with the frames at and beyond each row's length set to zero.
///
/// # Errors
/// The device's.
pub fn zero_beyond(x: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let (b, t, _) = x.dims3()?;
    if lengths.iter().all(|n| *n >= t) {
        return Ok(x.clone());
    }
    let keep = |n: usize| (0..t).map(move |i| u8::from(i < n));
    let keep: Vec<u8> = lengths.iter().flat_map(|n| keep(*n)).collect();
    let keep = Tensor::from_vec(keep, (b, t, 1), x.device())?.broadcast_as(x.shape())?;
    Ok(keep.where_cond(x, &x.zeros_like()?)?)
}
