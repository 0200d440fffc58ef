//! `y = x + out(attention(q, k, v))` with q, k and v the thirds of `qkv(norm(x))`.

use super::{Linear, heads, normed, residual, room::Buffer};
use crate::{
    Precision, Result,
    kernels::{Norm, Tier, misfit},
};

/// An attention half.
#[derive(Clone, Copy, Debug)]
pub struct Attend<'a> {
    /// Of the products.
    pub precision: Precision,
    /// Of everything else.
    pub tier: Tier,
    /// Before the linears; `None` in post-norm layers.
    pub norm: Option<Norm<'a>>,
    /// Queries, keys and values, one above the other: `(3 D, D)`.
    pub qkv: Linear<'a>,
    /// `(D, D)`.
    pub out: Linear<'a>,
    /// H; D = H · d.
    pub heads: usize,
    /// Real frames of each utterance, `(B,)`: the rest is no one's keys and asks for nothing itself.
    pub lengths: &'a [usize],
}

/// What the forward pass keeps.
#[derive(Debug)]
pub struct Kept {
    /// `(M, 3 D)`.
    qkv: Buffer,
    /// What the heads saw, `(M, D)`.
    seen: Buffer,
}

/// Gradients of x and, where asked, of both weights.
pub type Gradients = (Vec<f32>, Option<Vec<f32>>, Option<Vec<f32>>);

impl Attend<'_> {
    /// x `(B · T, D)` to y `(B · T, D)`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &[f32]) -> Result<(Vec<f32>, Kept)> {
        let shape = self.shape(x)?;
        let qkv = self.qkv.forward(self.precision, &normed(self.tier, self.norm.as_ref(), x)?)?;
        let mut seen = Buffer::of(x.len());
        heads::forward(&shape, &qkv, &mut seen)?;
        Ok((self.out.forward_onto(self.precision, &seen, x)?, Kept { qkv, seen }))
    }

    /// The gradients from `g` `(B · T, D)`, that of y; `weights` says which of qkv and out are learnt.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn backward(&self, x: &[f32], kept: &Kept, g: &[f32], weights: [bool; 2]) -> Result<Gradients> {
        let shape = self.shape(x)?;
        if g.len() != x.len() || kept.seen.len() != x.len() {
            return Err(misfit(format!("gradient of {} elements for {}", g.len(), x.len())));
        }
        let out = weights[1].then(|| self.out.weight_gradient(self.precision, g, &kept.seen)).transpose()?;
        let seen = self.out.input_gradient(self.precision, g)?;
        let mut inner = Buffer::of(kept.qkv.len());
        heads::backward(&shape, &kept.qkv, &seen, &mut inner)?;
        let qkv = match weights[0] {
            true => Some(self.qkv.weight_gradient(
                self.precision,
                &inner,
                &normed(self.tier, self.norm.as_ref(), x)?,
            )?),
            false => None,
        };
        let dx = self.qkv.input_gradient(self.precision, &inner)?;
        Ok((residual(self.tier, self.norm.as_ref(), x, g, dx)?, qkv, out))
    }

    fn shape(&self, x: &[f32]) -> Result<heads::Shape<'_>> {
        let (d, batch) = (self.out.outputs(), self.lengths.len());
        let times = x.len() / (batch * d).max(1);
        let fits = d > 0
            && self.heads > 0
            && d.is_multiple_of(self.heads)
            && (self.qkv.outputs(), self.qkv.inputs(), self.out.inputs()) == (3 * d, d, d)
            && x.len() == batch * times * d
            && self.lengths.iter().all(|&n| n <= times);
        if !fits {
            let (len, lengths, heads) = (x.len(), self.lengths, self.heads);
            return Err(misfit(format!(
                "attention of width {d}, {heads} heads, on {len} elements, lengths {lengths:?}"
            )));
        }
        Ok(heads::Shape {
            precision: self.precision,
            tier: self.tier,
            heads: self.heads,
            width: d / self.heads,
            times,
            lengths: self.lengths,
        })
    }
}
