//! The heads of self-attention with their gradient, for layers whose linears or norms learn more than their weights:
//! those cannot run as a half ([`attend_half`](super::attend_half)).

use super::{filled, halves::Held, slice};
use crate::{
    Precision,
    kernels::{Tier, blocks::heads},
};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

/// [`attend`](super::attend) with its gradient: `qkv` (B, T, 3 D), queries, keys and values side by side, to
/// (B, T, D); frames past a row's length are nobody's keys and come out as 0.
///
/// # Errors
/// Shapes that do not fit.
pub fn attend_learning(
    qkv: &Tensor,
    heads: usize,
    lengths: &[usize],
    precision: Precision,
) -> Result<Tensor> {
    qkv.contiguous()?.apply_op1(Heads { heads, lengths: lengths.to_vec(), precision })
}

struct Heads {
    heads: usize,
    lengths: Vec<usize>,
    precision: Precision,
}

impl Heads {
    fn shape(&self, qkv: &Shape) -> Result<heads::Shape<'_>> {
        let (batch, times, all) = qkv.dims3()?;
        let fits = self.heads > 0
            && all.is_multiple_of(3 * self.heads)
            && self.lengths.len() == batch
            && self.lengths.iter().all(|&n| n <= times);
        if !fits {
            bail!("attention of {qkv:?} with {} heads, lengths {:?}", self.heads, self.lengths);
        }
        Ok(heads::Shape {
            precision: self.precision,
            tier: Tier::best(),
            heads: self.heads,
            width: all / 3 / self.heads,
            times,
            lengths: &self.lengths,
        })
    }
}

impl CustomOp1 for Heads {
    fn name(&self) -> &'static str {
        "attention-heads"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = self.shape(layout.shape())?;
        let (qkv, out) = (slice(qkv, layout)?, (self.lengths.len(), shape.times, shape.heads * shape.width));
        filled(out, |seen| heads::forward(&shape, qkv, seen))
    }

    fn bwd(&self, qkv: &Tensor, _seen: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let (shape, g) = (self.shape(qkv.shape())?, g.contiguous()?);
        let (held, g) = (Held::new(qkv), Held::new(&g));
        let mut to = vec![0f32; qkv.elem_count()];
        heads::backward(&shape, held.slice()?, g.slice()?, &mut to).map_err(candle_core::Error::wrap)?;
        Ok(Some(Tensor::from_vec(to, qkv.shape(), qkv.device())?))
    }
}
