//! The transformer in f32: the residual stream is one buffer, sums are added where it lies, and what passes
//! between the products lies in others. No tensor is made on the way.

use super::{Layer, Stack};
use crate::{
    Result,
    kernels::{
        Activation, Aligned, Attention, Norm, Tier, attention,
        norm::{Rows, layer_norm},
    },
};
use rayon::prelude::*;

/// The buffers of a batch.
#[derive(Default)]
pub(super) struct Space {
    x: Aligned,
    h: Aligned,
    qkv: [Aligned; 3],
    u: Aligned,
    /// Floats of x.
    len: usize,
}

pub(super) fn enter(x: &[f32], space: &mut Space) {
    space.len = x.len();
    space.x.at_least(x.len()).copy_from_slice(x);
}

pub(super) fn leave(last: Option<&Norm<'_>>, tier: Tier, y: &mut [f32], space: &mut Space) -> Result<()> {
    y.copy_from_slice(&space.x[..y.len()]);
    last.map_or(Ok(()), |norm| layer_norm(tier, norm, false, y))
}

pub(super) fn layer(
    stack: &Stack<'_>,
    layer: &Layer<'_>,
    tier: Tier,
    times: usize,
    space: &mut Space,
) -> Result<()> {
    // From inside the pool: each of the calls to come then finds its threads awake.
    rayon::scope(|_| through(stack, layer, tier, times, space))
}

fn through(stack: &Stack<'_>, layer: &Layer<'_>, tier: Tier, times: usize, space: &mut Space) -> Result<()> {
    let (d, len) = (stack.width, space.len);
    let inner = len / d * layer.up.weight.outputs();
    let Space { x, h, qkv, u, .. } = space;
    let (x, h, u) = (x.at_least(len), h.at_least(len), u.at_least(inner));
    let [q, k, v] = qkv.each_mut().map(|part| part.at_least(len));
    let [first, second] = &layer.norms;
    if stack.pre_norm {
        normed(tier, first, x, h);
    }
    let seen: &[f32] = if stack.pre_norm { h } else { x };
    let rows = (stack.segments, times);
    for (gated, to) in layer.qkv.iter().zip([&mut *q, &mut *k, &mut *v]) {
        gated.times(rows, seen, to, Activation::None, false)?;
    }
    let (heads, width) = (stack.heads, d / stack.heads);
    let qkv = [&*q, &*k, &*v];
    attention(tier, &Attention { qkv, stride: d, heads, width, lengths: stack.lengths }, h)?;
    layer.out.times(rows, h, x, Activation::None, true)?;
    match stack.pre_norm {
        true => normed(tier, second, x, h),
        false => layer_norm(tier, first, false, x)?,
    }
    let seen: &[f32] = if stack.pre_norm { h } else { x };
    layer.up.times(rows, seen, u, Activation::Gelu, false)?;
    layer.down.times(rows, u, x, Activation::None, true)?;
    match stack.pre_norm {
        true => Ok(()),
        false => layer_norm(tier, second, false, x),
    }
}

/// h = norm of each row of x.
fn normed(tier: Tier, norm: &Norm<'_>, x: &[f32], h: &mut [f32]) {
    let part = 16 * norm.gamma.len();
    h.par_chunks_mut(part).zip(x.par_chunks(part)).for_each(|(h, x)| {
        h.copy_from_slice(x);
        tier.run(Rows { norm, gelu: false, x: h });
    });
}
