//! The transformer in f32: the residual stream lives in y, sums are added where it lies, and what passes
//! between the products lies in buffers that the thread keeps. No tensor is made on the way.

use super::{Gated, Stack};
use crate::{
    Result,
    kernels::{
        Activation, Aligned, Attention, Norm, Segment, Tier, attention, linear,
        linear::Linear,
        norm::{Rows, layer_norm},
    },
};
use rayon::prelude::*;
use std::cell::Cell;

/// What a thread that runs batches keeps between them.
#[derive(Default)]
struct Space {
    h: Aligned,
    qkv: [Aligned; 3],
    u: Aligned,
}

/// [`Stack::run`] on panels.
pub(super) fn stack(stack: &Stack<'_>, tier: Tier, d: usize, x: &[f32], y: &mut [f32]) -> Result<()> {
    thread_local!(static SPACE: Cell<Space> = Cell::default());
    let mut space = SPACE.take();
    // From inside the pool: each of the hundreds of calls to come then finds its threads awake.
    let done = rayon::scope(|_| {
        y.copy_from_slice(x);
        through(stack, tier, d, y, &mut space)
    });
    SPACE.set(space);
    done
}

fn through(stack: &Stack<'_>, tier: Tier, d: usize, x: &mut [f32], space: &mut Space) -> Result<()> {
    let (rows, inner) = (x.len() / d, stack.layers[0].up.weight.outputs());
    let frames = rows / stack.lengths.len();
    let Space { h, qkv, u } = space;
    let (h, u) = (h.at_least(rows * d), u.at_least(rows * inner));
    let [q, k, v] = qkv.each_mut().map(|part| part.at_least(rows * d));
    let heads = (stack.heads, d / stack.heads);
    for layer in stack.layers {
        let [first, second] = &layer.norms;
        if stack.pre_norm {
            normed(tier, first, x, h);
        }
        let seen: &[f32] = if stack.pre_norm { h } else { x };
        for (gated, to) in layer.qkv.iter().zip([&mut *q, &mut *k, &mut *v]) {
            times(stack, gated, frames, seen, to, Then::Keep)?;
        }
        let qkv = [&*q, &*k, &*v];
        let (heads, width) = heads;
        attention(tier, &Attention { qkv, stride: d, heads, width, lengths: stack.lengths }, h)?;
        times(stack, &layer.out, frames, h, x, Then::Add)?;
        match stack.pre_norm {
            true => normed(tier, second, x, h),
            false => layer_norm(tier, first, false, x)?,
        }
        let seen: &[f32] = if stack.pre_norm { h } else { x };
        times(stack, &layer.up, frames, seen, u, Then::Gelu)?;
        times(stack, &layer.down, frames, u, x, Then::Add)?;
        if !stack.pre_norm {
            layer_norm(tier, second, false, x)?;
        }
    }
    stack.last.iter().try_for_each(|norm| layer_norm(tier, norm, false, x))
}

/// All rows times one weight, each row under its segment's mask.
fn times(
    stack: &Stack<'_>,
    gated: &Gated<'_>,
    frames: usize,
    x: &[f32],
    y: &mut [f32],
    then: Then,
) -> Result<()> {
    let segments = stack.segments.iter().zip(&gated.masks);
    let segments: Vec<_> = segments
        .map(|(s, mask)| Segment { rows: s.start * frames..s.end * frames, mask: mask.as_deref() })
        .collect();
    let activation = if then == Then::Gelu { Activation::Gelu } else { Activation::None };
    let add = then == Then::Add;
    linear(&Linear { weight: gated.weight, bias: Some(gated.bias), activation, add }, x, &segments, y)
}

/// What becomes of a product.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Keep,
    Gelu,
    /// It is added to what is there.
    Add,
}

/// h = norm of each row of x.
fn normed(tier: Tier, norm: &Norm<'_>, x: &[f32], h: &mut [f32]) {
    let part = 16 * norm.gamma.len();
    h.par_chunks_mut(part).zip(x.par_chunks(part)).for_each(|(h, x)| {
        h.copy_from_slice(x);
        tier.run(Rows { norm, gelu: false, x: h });
    });
}
