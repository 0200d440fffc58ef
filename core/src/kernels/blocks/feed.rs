//! `y = x + down(gelu(up(norm(x))))`.

use super::{CHUNK, Linear, normed, residual, room::Buffer};
use crate::{
    Precision, Result,
    kernels::{Norm, Tier, backward, misfit, norm},
};
use rayon::prelude::*;

/// A feed-forward half.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    /// Of the products.
    pub precision: Precision,
    /// Of everything else.
    pub tier: Tier,
    /// Before the first linear; `None` in post-norm layers.
    pub norm: Option<Norm<'a>>,
    /// `(F, D)`.
    pub up: Linear<'a>,
    /// `(D, F)`.
    pub down: Linear<'a>,
}

/// What the forward pass keeps: the sums before GELU `(M, F)`.
#[derive(Debug)]
pub struct Kept(Buffer);

/// Gradients of x and, where asked, of both weights.
pub type Gradients = (Vec<f32>, Option<Vec<f32>>, Option<Vec<f32>>);

impl Feed<'_> {
    /// x `(M, D)` to y `(M, D)`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &[f32]) -> Result<(Vec<f32>, Kept)> {
        self.check(x)?;
        let inner = self.up.forward(self.precision, &normed(self.tier, self.norm.as_ref(), x)?)?;
        let mut active = Buffer::copied(&inner);
        norm::gelu(self.tier, &mut active);
        Ok((self.down.forward_onto(self.precision, &active, x)?, Kept(inner)))
    }

    /// The gradients from `g` `(M, D)`, that of y; `weights` says which of up and down are learnt.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn backward(&self, x: &[f32], kept: &Kept, g: &[f32], weights: [bool; 2]) -> Result<Gradients> {
        self.check(x)?;
        if g.len() != x.len() || kept.0.len() / self.up.outputs() != x.len() / self.up.inputs() {
            return Err(misfit(format!("gradient of {} elements for {}", g.len(), x.len())));
        }
        let mut inner = self.down.input_gradient(self.precision, g)?;
        // GELU is computed again rather than kept: it costs less than its memory.
        let mut active = Buffer::of(if weights[1] { inner.len() } else { 0 });
        if weights[1] {
            let parts = inner.par_chunks_mut(CHUNK).zip(active.par_chunks_mut(CHUNK));
            parts
                .zip(kept.0.par_chunks(CHUNK))
                .for_each(|((g, y), x)| backward::gelu_part(self.tier, x, g, Some(y)));
        } else {
            backward::gelu(self.tier, &kept.0, &mut inner)?;
        }
        let down = weights[1].then(|| self.down.weight_gradient(self.precision, g, &active)).transpose()?;
        drop(active);
        let up = match weights[0] {
            true => Some(self.up.weight_gradient(
                self.precision,
                &inner,
                &normed(self.tier, self.norm.as_ref(), x)?,
            )?),
            false => None,
        };
        let dx = self.up.input_gradient(self.precision, &inner)?;
        Ok((residual(self.tier, self.norm.as_ref(), x, g, dx)?, up, down))
    }

    fn check(&self, x: &[f32]) -> Result<()> {
        let (d, f) = (self.down.outputs(), self.up.outputs());
        let fits =
            d > 0 && f > 0 && self.up.inputs() == d && self.down.inputs() == f && x.len().is_multiple_of(d);
        match fits {
            true => Ok(()),
            false => Err(misfit(format!("feed-forward of widths {d} and {f} on {} elements", x.len()))),
        }
    }
}
