//! The kernels on candle tensors: f32, on the CPU. [`serves`] says whether those without a gradient may stand in;
//! `model::ops` asks, and falls back to candle's own operations.

mod halves;
mod heads;
mod rows;

use super::{
    Activation, Attention, PackedWeight, PanelMask, Positional, Segment, Tier, attention, conv,
    linear::Linear,
};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Storage, Tensor, bail};
pub use halves::{NormTensors, attend_half, feed, gated, linear};
pub use heads::attend_learning;
use rows::{Gelu, LayerNorm, Softmax};
use std::ops::Range;

/// Whether the kernels can take these tensors: f32, on the CPU, no gradient asked.
pub fn serves(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| t.device().is_cpu() && t.dtype() == DType::F32 && !t.track_op())
}

/// [`linear()`](super::linear()): x `(B, T, in)` to `(B, T, out)`; `segments` are runs of B.
///
/// # Errors
/// Shapes that do not fit.
pub fn linear_rows(
    x: &Tensor,
    weight: &PackedWeight,
    bias: &Tensor,
    activation: Activation,
    segments: &[(Range<usize>, Option<&PanelMask>)],
) -> Result<Tensor> {
    x.contiguous()?.apply_op2_no_bwd(&bias.contiguous()?, &LinearOp { weight, activation, segments })
}

/// Whether the tensors are f32 on the CPU: what [`layer_norm`], [`gelu`] and [`softmax`] ask; they have gradients.
pub fn on_cpu(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| t.device().is_cpu() && t.dtype() == DType::F32)
}

/// [`layer_norm`](super::norm::layer_norm) over the last dimension.
///
/// # Errors
/// Shapes that do not fit.
pub fn layer_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f32) -> Result<Tensor> {
    x.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, LayerNorm { eps })
}

/// [`gelu`](super::norm::gelu).
///
/// # Errors
/// The storage's.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Gelu)
}

/// Softmax with its gradient (`kernels::backward`) over the last dimension.
///
/// # Errors
/// The storage's.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Softmax)
}

/// [`attention()`](super::attention()) of q, k, v, each `(B, T, D)`.
///
/// # Errors
/// Shapes that do not fit.
pub fn attend([q, k, v]: [&Tensor; 3], heads: usize, lengths: &[usize]) -> Result<Tensor> {
    q.contiguous()?.apply_op3_no_bwd(&k.contiguous()?, &v.contiguous()?, &AttentionOp { heads, lengths })
}

/// [`conv::positional`] of x `(B, T, C)`, its bias `(C,)` given apart.
///
/// # Errors
/// Shapes that do not fit.
pub fn positional(
    x: &Tensor,
    weights: &[PackedWeight],
    bias: &Tensor,
    kernel: usize,
    gelu: bool,
) -> Result<Tensor> {
    x.contiguous()?.apply_op2_no_bwd(&bias.contiguous()?, &PositionalOp { weights, kernel, gelu })
}

/// Lends the elements of an f32 tensor on the CPU to `f`, for kernels that need no operation of candle's.
///
/// # Errors
/// A tensor of another type or elsewhere; and those of `f`.
pub fn lent<R>(x: &Tensor, f: impl FnOnce(&[f32]) -> crate::Result<R>) -> crate::Result<R> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => Err(super::misfit("a tensor that is not on the CPU".into())),
    }
}

/// The contiguous elements of a tensor.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}

/// `shape` filled by `f`.
fn filled(
    shape: impl Into<Shape>,
    f: impl FnOnce(&mut [f32]) -> crate::Result<()>,
) -> Result<(CpuStorage, Shape)> {
    let shape = shape.into();
    let mut y = vec![0f32; shape.elem_count()];
    f(&mut y).map_err(candle_core::Error::wrap)?;
    Ok((CpuStorage::F32(y), shape))
}

struct LinearOp<'a> {
    weight: &'a PackedWeight,
    activation: Activation,
    segments: &'a [(Range<usize>, Option<&'a PanelMask>)],
}

impl CustomOp2 for LinearOp<'_> {
    fn name(&self) -> &'static str {
        "masked-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, times, _) = xl.shape().dims3()?;
        let in_rows = |rows: &Range<usize>| rows.start * times..rows.end * times;
        let segments: Vec<_> =
            self.segments.iter().map(|(rows, mask)| Segment { rows: in_rows(rows), mask: *mask }).collect();
        let bias = Some(slice(b, bl)?);
        let layer = Linear { weight: self.weight, bias, activation: self.activation, add: false };
        let x = slice(x, xl)?;
        filled((batch, times, self.weight.outputs()), |y| super::linear(&layer, x, &segments, y))
    }
}

struct AttentionOp<'a> {
    heads: usize,
    lengths: &'a [usize],
}

impl CustomOp3 for AttentionOp<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        ql: &Layout,
        k: &CpuStorage,
        kl: &Layout,
        v: &CpuStorage,
        vl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, times, d) = ql.shape().dims3()?;
        if self.heads == 0 || !d.is_multiple_of(self.heads) || self.lengths.len() != batch {
            bail!("attention of {:?} with {} heads, {} lengths", ql.shape(), self.heads, self.lengths.len());
        }
        let qkv = [slice(q, ql)?, slice(k, kl)?, slice(v, vl)?];
        let lengths: Vec<usize> = self.lengths.iter().map(|l| (*l).min(times)).collect();
        let a = Attention { qkv, stride: d, heads: self.heads, width: d / self.heads, lengths: &lengths };
        filled((batch, times, d), |y| attention(Tier::best(), &a, y))
    }
}

struct PositionalOp<'a> {
    weights: &'a [PackedWeight],
    kernel: usize,
    gelu: bool,
}

impl CustomOp2 for PositionalOp<'_> {
    fn name(&self) -> &'static str {
        "positional-conv"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, ..) = xl.shape().dims3()?;
        let bias = Some(slice(b, bl)?);
        let layer = Positional { weights: self.weights, bias, kernel: self.kernel, gelu: self.gelu };
        let x = slice(x, xl)?;
        filled(xl.shape(), |y| conv::positional(&layer, batch, x, y))
    }
}
