//! The two halves of a transformer layer with their gradients, for learning: `x + attention(norm(x))` in
//! [`Attend`], `x + feed-forward(norm(x))` in [`Feed`].
//!
//! Spelled out in tensor operations each half is a dozen passes over memory and as many gradients filled with
//! zeros first; here it is its matrix products ([`super::product`]) and one pass between each two. What
//! the backward pass needs and cannot cheaply compute again is kept ([`attend::Kept`], [`feed::Kept`]).

pub mod attend;
pub mod feed;
pub(super) mod heads;
mod room;

pub use attend::Attend;
pub use feed::Feed;

use super::{
    Norm, Tier, norm,
    product::{Matrix, Start, product},
};
use crate::{Precision, Result};
use room::Buffer;

/// Elements that one thread takes at a time.
const CHUNK: usize = 16_384;

/// A frozen or gated linear: weight `(out, in)`, bias `(out,)`.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// Row-major.
    pub weight: &'a [f32],
    /// One per output.
    pub bias: &'a [f32],
}

impl<'a> Linear<'a> {
    fn outputs(&self) -> usize {
        self.bias.len()
    }

    fn inputs(&self) -> usize {
        self.weight.len() / self.bias.len().max(1)
    }

    /// W `(out, in)` as a matrix.
    fn matrix(&self) -> Matrix<'a> {
        Matrix::new(self.weight, self.outputs(), self.inputs())
    }

    /// `x Wᵀ + b`.
    fn forward(&self, precision: Precision, x: &[f32]) -> Result<Buffer> {
        let rows = x.len() / self.inputs().max(1);
        let mut y = Buffer::of(rows * self.outputs());
        product(
            precision,
            Matrix::new(x, rows, self.inputs()),
            self.matrix().t(),
            &mut y,
            Start::Row(self.bias),
        )?;
        Ok(y)
    }

    /// `start + x Wᵀ + b`, over `start`.
    fn forward_onto(&self, precision: Precision, x: &[f32], start: &[f32]) -> Result<Vec<f32>> {
        let rows = x.len() / self.inputs().max(1);
        let mut y = Vec::with_capacity(start.len());
        for row in start.chunks_exact(self.outputs()) {
            y.extend(row.iter().zip(self.bias).map(|(x, b)| x + b));
        }
        product(precision, Matrix::new(x, rows, self.inputs()), self.matrix().t(), &mut y, Start::Sum)?;
        Ok(y)
    }

    /// `∂/∂x = g W`.
    fn input_gradient(&self, precision: Precision, g: &[f32]) -> Result<Buffer> {
        let rows = g.len() / self.outputs().max(1);
        let mut dx = Buffer::of(rows * self.inputs());
        product(precision, Matrix::new(g, rows, self.outputs()), self.matrix(), &mut dx, Start::Zero)?;
        Ok(dx)
    }

    /// `∂/∂W = gᵀ x`.
    fn weight_gradient(&self, precision: Precision, g: &[f32], x: &[f32]) -> Result<Vec<f32>> {
        let rows = g.len() / self.outputs().max(1);
        let mut dw = vec![0f32; self.weight.len()];
        let (g, x) = (Matrix::new(g, rows, self.outputs()), Matrix::new(x, rows, self.inputs()));
        product(precision, g.t(), x, &mut dw, Start::Zero)?;
        Ok(dw)
    }
}

/// What both halves begin with: the norm of a pre-norm layer, or nothing.
fn normed(tier: Tier, with: Option<&Norm<'_>>, x: &[f32]) -> Result<Buffer> {
    let mut y = Buffer::copied(x);
    if let Some(with) = with {
        norm::layer_norm(tier, with, false, &mut y)?;
    }
    Ok(y)
}

/// The gradient of `x + f(norm(x))` from that of the sum, `g`, and that of f's input, which is overwritten.
fn residual(
    tier: Tier,
    with: Option<&Norm<'_>>,
    x: &[f32],
    g: &[f32],
    mut inner: Buffer,
) -> Result<Vec<f32>> {
    if let Some(with) = with {
        super::backward::layer_norm(tier, with, x, &mut inner, false)?;
    }
    Ok(inner.iter().zip(g).map(|(inner, g)| inner + g).collect())
}
