//! What learning differentiates, as candle operations: a linear layer, a gated weight, half a transformer layer.

use super::slice;
use crate::{
    Precision,
    kernels::{
        Norm, Tier,
        blocks::{Attend, Feed, Linear, attend, feed},
        product::{Matrix, Start, product},
    },
};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;
use std::{ops::Deref, sync::OnceLock};

/// `x` (B, T, in) · `weight` (out, in)ᵀ + `bias` (out,), with the gradients of those of the three that are learnt.
///
/// # Errors
/// Shapes that do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor, precision: Precision) -> Result<Tensor> {
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, LinearOp(precision))
}

/// `weight ⊙ mask`, differentiable in both.
///
/// # Errors
/// Shapes that do not fit.
pub fn gated(weight: &Tensor, mask: &Tensor) -> Result<Tensor> {
    weight.contiguous()?.apply_op2(&mask.contiguous()?, Gated)
}

/// Scale, shift and epsilon of a norm.
pub type NormTensors = (Tensor, Tensor, f32);

/// `x + down(gelu(up(norm(x))))` of x (B, T, D), differentiable in x and the weights; each linear is
/// (weight, bias).
///
/// # Errors
/// Shapes that do not fit.
pub fn feed(
    x: &Tensor,
    norm: Option<NormTensors>,
    up: [&Tensor; 2],
    down: [&Tensor; 2],
    precision: Precision,
) -> Result<Tensor> {
    let learns = [x, up[0], down[0]].iter().any(|t| t.track_op());
    let biases = [up[1].contiguous()?, down[1].contiguous()?];
    let op = FeedOp { norm, biases, precision, learns, kept: OnceLock::new() };
    x.contiguous()?.apply_op3(&up[0].contiguous()?, &down[0].contiguous()?, op)
}

/// `x + out(attention(qkv(norm(x))))` of x (B, T, D), differentiable in x and the weights; `qkv` is the three
/// linears one above the other.
///
/// # Errors
/// Shapes that do not fit.
pub fn attend_half(
    x: &Tensor,
    norm: Option<NormTensors>,
    qkv: [&Tensor; 2],
    out: [&Tensor; 2],
    (heads, lengths): (usize, &[usize]),
    precision: Precision,
) -> Result<Tensor> {
    let learns = [x, qkv[0], out[0]].iter().any(|t| t.track_op());
    let biases = [qkv[1].contiguous()?, out[1].contiguous()?];
    let lengths = lengths.to_vec();
    let op = AttendOp { norm, biases, heads, lengths, precision, learns, kept: OnceLock::new() };
    x.contiguous()?.apply_op3(&qkv[0].contiguous()?, &out[0].contiguous()?, op)
}

/// The elements of a tensor, as long as this is held.
pub(super) struct Held<'a>(Box<dyn Deref<Target = Storage> + 'a>, &'a Layout);

impl<'a> Held<'a> {
    pub(super) fn new(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self(Box::new(storage), layout)
    }

    pub(super) fn slice(&self) -> Result<&[f32]> {
        match &**self.0 {
            Storage::Cpu(storage) => slice(storage, self.1),
            _ => bail!("expected a tensor on the CPU"),
        }
    }
}

/// A norm's tensors, held; `None` for none.
struct HeldNorm<'a>(Option<(Held<'a>, Held<'a>, f32)>);

impl<'a> HeldNorm<'a> {
    fn new(norm: Option<&'a NormTensors>) -> Self {
        Self(norm.map(|(gamma, beta, eps)| (Held::new(gamma), Held::new(beta), *eps)))
    }

    fn get(&self) -> Result<Option<Norm<'_>>> {
        match &self.0 {
            Some((gamma, beta, eps)) => {
                Ok(Some(Norm { gamma: gamma.slice()?, beta: beta.slice()?, eps: *eps }))
            }
            None => Ok(None),
        }
    }
}

/// Gradients of the three arguments.
type Grads = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

fn tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

struct LinearOp(Precision);

impl CustomOp3 for LinearOp {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        weight: &CpuStorage,
        wl: &Layout,
        bias: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((b, t, k), (n, inner)) = (xl.shape().dims3()?, wl.shape().dims2()?);
        if k != inner {
            bail!("rows {k} wide on a weight {inner} wide");
        }
        let (x, w) = (Matrix::new(slice(x, xl)?, b * t, k), Matrix::new(slice(weight, wl)?, n, k));
        let bias = slice(bias, bl)?;
        super::filled((b, t, n), |y| product(self.0, x, w.t(), y, Start::Row(bias)))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, bias: &Tensor, _y: &Tensor, g: &Tensor) -> Result<Grads> {
        let ((n, k), rows) = (weight.dims2()?, x.elem_count() / x.dim(2)?);
        let g = g.contiguous()?;
        let (x_held, w_held, g_held) = (Held::new(x), Held::new(weight), Held::new(&g));
        let (x_in, w, g) = (x_held.slice()?, w_held.slice()?, g_held.slice()?);
        let g_rows = Matrix::new(g, rows, n);
        let of = |len: usize, a, b| -> Result<Vec<f32>> {
            let mut to = vec![0f32; len];
            product(self.0, a, b, &mut to, Start::Zero).map_err(candle_core::Error::wrap)?;
            Ok(to)
        };
        let dx = match x.track_op() {
            true => Some(tensor(of(x_in.len(), g_rows, Matrix::new(w, n, k))?, x)?),
            false => None,
        };
        let dw = match weight.track_op() {
            true => Some(tensor(of(w.len(), g_rows.t(), Matrix::new(x_in, rows, k))?, weight)?),
            false => None,
        };
        let db = bias.track_op().then(|| {
            let mut sums = vec![0f32; n];
            for row in g.chunks_exact(n) {
                sums.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
            }
            tensor(sums, bias)
        });
        Ok((dx, dw, db.transpose()?))
    }
}

struct Gated;

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated-weight"
    }

    fn cpu_fwd(
        &self,
        weight: &CpuStorage,
        wl: &Layout,
        mask: &CpuStorage,
        ml: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (weight, mask) = (slice(weight, wl)?, slice(mask, ml)?);
        Ok((CpuStorage::F32(times(weight, mask)?), wl.shape().clone()))
    }

    fn bwd(
        &self,
        weight: &Tensor,
        mask: &Tensor,
        _y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = g.contiguous()?;
        let by = |other: &Tensor| tensor(times(Held::new(&g).slice()?, Held::new(other).slice()?)?, &g);
        Ok((
            weight.track_op().then(|| by(mask)).transpose()?,
            mask.track_op().then(|| by(weight)).transpose()?,
        ))
    }
}

/// The element-wise product, by all threads.
fn times(a: &[f32], b: &[f32]) -> Result<Vec<f32>> {
    if a.len() != b.len() {
        bail!("{} weights under a mask of {}", a.len(), b.len());
    }
    const CHUNK: usize = 16_384;
    let mut y = vec![0f32; a.len()];
    y.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK))).for_each(|(y, (a, b))| {
        y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = a * b);
    });
    Ok(y)
}

struct FeedOp {
    norm: Option<NormTensors>,
    biases: [Tensor; 2],
    precision: Precision,
    learns: bool,
    kept: OnceLock<feed::Kept>,
}

impl FeedOp {
    fn half<'a>(
        &self,
        norm: &'a HeldNorm<'_>,
        biases: &'a [Held<'_>; 2],
        [up, down]: [&'a [f32]; 2],
    ) -> Result<Feed<'a>> {
        Ok(Feed {
            precision: self.precision,
            tier: Tier::best(),
            norm: norm.get()?,
            up: Linear { weight: up, bias: biases[0].slice()? },
            down: Linear { weight: down, bias: biases[1].slice()? },
        })
    }
}

impl CustomOp3 for FeedOp {
    fn name(&self) -> &'static str {
        "feed-forward"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        up: &CpuStorage,
        ul: &Layout,
        down: &CpuStorage,
        dl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (norm, biases) = (HeldNorm::new(self.norm.as_ref()), self.biases.each_ref().map(Held::new));
        let feed = self.half(&norm, &biases, [slice(up, ul)?, slice(down, dl)?])?;
        let (y, kept) = feed.forward(slice(x, xl)?).map_err(candle_core::Error::wrap)?;
        if self.learns {
            let _ = self.kept.set(kept);
        }
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, up: &Tensor, down: &Tensor, _y: &Tensor, g: &Tensor) -> Result<Grads> {
        let Some(kept) = self.kept.get() else { bail!("backward without forward") };
        let g = g.contiguous()?;
        let (norm, biases) = (HeldNorm::new(self.norm.as_ref()), self.biases.each_ref().map(Held::new));
        let [x_held, u, d, g] = [x, up, down, &g].map(Held::new);
        let feed = self.half(&norm, &biases, [u.slice()?, d.slice()?])?;
        let grads = feed.backward(x_held.slice()?, kept, g.slice()?, [up.track_op(), down.track_op()]);
        gather(grads, [x, up, down])
    }
}

struct AttendOp {
    norm: Option<NormTensors>,
    biases: [Tensor; 2],
    heads: usize,
    lengths: Vec<usize>,
    precision: Precision,
    learns: bool,
    kept: OnceLock<attend::Kept>,
}

impl AttendOp {
    fn half<'a>(
        &'a self,
        norm: &'a HeldNorm<'_>,
        biases: &'a [Held<'_>; 2],
        [qkv, out]: [&'a [f32]; 2],
    ) -> Result<Attend<'a>> {
        Ok(Attend {
            precision: self.precision,
            tier: Tier::best(),
            norm: norm.get()?,
            qkv: Linear { weight: qkv, bias: biases[0].slice()? },
            out: Linear { weight: out, bias: biases[1].slice()? },
            heads: self.heads,
            lengths: &self.lengths,
        })
    }
}

impl CustomOp3 for AttendOp {
    fn name(&self) -> &'static str {
        "self-attention"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        qkv: &CpuStorage,
        ql: &Layout,
        out: &CpuStorage,
        ol: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (norm, biases) = (HeldNorm::new(self.norm.as_ref()), self.biases.each_ref().map(Held::new));
        let attend = self.half(&norm, &biases, [slice(qkv, ql)?, slice(out, ol)?])?;
        let (y, kept) = attend.forward(slice(x, xl)?).map_err(candle_core::Error::wrap)?;
        if self.learns {
            let _ = self.kept.set(kept);
        }
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, qkv: &Tensor, out: &Tensor, _y: &Tensor, g: &Tensor) -> Result<Grads> {
        let Some(kept) = self.kept.get() else { bail!("backward without forward") };
        let g = g.contiguous()?;
        let (norm, biases) = (HeldNorm::new(self.norm.as_ref()), self.biases.each_ref().map(Held::new));
        let [x_held, q, o, g] = [x, qkv, out, &g].map(Held::new);
        let attend = self.half(&norm, &biases, [q.slice()?, o.slice()?])?;
        let grads = attend.backward(x_held.slice()?, kept, g.slice()?, [qkv.track_op(), out.track_op()]);
        gather(grads, [x, qkv, out])
    }
}

/// A half's gradients as tensors.
fn gather(grads: crate::Result<feed::Gradients>, [x, first, second]: [&Tensor; 3]) -> Result<Grads> {
    let (dx, d_first, d_second) = grads.map_err(candle_core::Error::wrap)?;
    let dx = if x.track_op() { Some(tensor(dx, x)?) } else { None };
    Ok((dx, d_first.map(|d| tensor(d, first)).transpose()?, d_second.map(|d| tensor(d, second)).transpose()?))
}
