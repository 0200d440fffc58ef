//! Receptive fields as rows, so that a convolution is a matrix product.

use super::norm::slice;
use crate::Result;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use rayon::prelude::*;

/// `x` (B, T, C) to (B, T', kernel · C): row `t` is `x[stride · t .. stride · t + kernel]`, taps outermost.
///
/// # Errors
/// Fewer frames than taps.
pub fn unfold(x: &Tensor, kernel: usize, stride: usize) -> Result<Tensor> {
    let op = Unfold { kernel, stride };
    let (b, t, c) = x.dims3()?;
    if x.device().is_cpu() {
        return Ok(x.contiguous()?.apply_op1(op)?);
    }
    let frames = op.frames(t)?;
    if !x.track_op() {
        // Overlapping rows are a matter of strides: one copy on the device.
        let taps = x.contiguous()?.unfold(1, kernel, stride)?.transpose(2, 3)?;
        return Ok(taps.reshape((b, frames, kernel * c))?);
    }
    let taps = (0..frames).flat_map(|f| (0..kernel).map(move |k| (f * stride + k) as u32));
    let taps = Tensor::from_iter(taps, x.device())?;
    Ok(x.contiguous()?.index_select(&taps, 1)?.reshape((b, frames, kernel * c))?)
}

struct Unfold {
    kernel: usize,
    stride: usize,
}

impl Unfold {
    fn frames(&self, t: usize) -> candle_core::Result<usize> {
        match t.checked_sub(self.kernel) {
            Some(rest) => Ok(rest / self.stride + 1),
            None => {
                candle_core::bail!("{t} frames are fewer than the {} taps of the convolution", self.kernel)
            }
        }
    }
}

impl CustomOp1 for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (b, t, c) = layout.shape().dims3()?;
        let (frames, width, step) = (self.frames(t)?, self.kernel * c, self.stride * c);
        let x = slice(x, layout)?;
        let mut out = vec![0f32; b * frames * width];
        out.par_chunks_mut(width).enumerate().for_each(|(row, out)| {
            let start = row / frames * t * c + row % frames * step;
            out.copy_from_slice(&x[start..start + width]);
        });
        Ok((CpuStorage::F32(out), (b, frames, width).into()))
    }

    fn bwd(&self, x: &Tensor, _out: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let fold = Fold { shape: x.dims3()?, kernel: self.kernel, stride: self.stride };
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&fold)?))
    }
}

/// The transpose of [`Unfold`]: every row added back to where it came from.
struct Fold {
    shape: (usize, usize, usize),
    kernel: usize,
    stride: usize,
}

impl CustomOp1 for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn cpu_fwd(&self, grad: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (b, t, c) = self.shape;
        let (width, step) = (self.kernel * c, self.stride * c);
        let rows = layout.shape().dims3()?.1 * width;
        let grad = slice(grad, layout)?;
        let mut out = vec![0f32; b * t * c];
        out.par_chunks_mut(t * c).zip(grad.par_chunks(rows)).for_each(|(out, grad)| {
            for (row, grad) in grad.chunks_exact(width).enumerate() {
                for (out, grad) in out[row * step..].iter_mut().zip(grad) {
                    *out += grad;
                }
            }
        });
        Ok((CpuStorage::F32(out), self.shape.into()))
    }
}
