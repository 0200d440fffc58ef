//! The transformer on tiles: a batch through all its layers without leaving the tile order.
//!
//! The residual stream x is f32, a row per frame; what a product reads is bf16:
//!
//! ```text
//! h = norm(x)                  q, k, v = h·W       one call, three weights
//! h = attention(q, k, v)       x += h·W            the residual is the product's own sum
//! h = norm(x)                  u = gelu(h·W)
//!                              x += u·W
//! ```
//! A post-norm layer (base models) takes the norms after the sums instead, and keeps them in x.
#![allow(unsafe_code)]

use super::{
    attention::attention,
    linear::{Job, products},
    math, norm,
    rows::{Rows, Start},
    sink::{Finish, Sink, ToRows, ToTiles},
};
use crate::kernels::{
    Aligned, Norm, Unit,
    stack::{Gated, Layer, Stack},
};
use rayon::prelude::*;
use std::{arch::x86_64::*, slice::from_ref};

/// The buffers of a batch.
#[derive(Default)]
pub(in crate::kernels) struct Space {
    x: Aligned,
    h: Rows,
    qkv: [Rows; 3],
    u: Rows,
}

/// Rows of an utterance, which starts on a whole tile; and floats from a row of x to the next, a little more than
/// there are, or every row's start would fight over the same lines of L1.
fn shape(times: usize, d: usize) -> (usize, usize) {
    (times.next_multiple_of(16), d + 16)
}

/// [`Stack::enter`] on tiles.
pub(in crate::kernels) fn enter(stack: &Stack<'_>, from: &[f32], times: usize, space: &mut Space) {
    let (d, (tall, stride)) = (stack.width, shape(times, stack.width));
    let rows = stack.lengths.len() * tall;
    let Space { x, h, qkv, .. } = space;
    let x = x.at_least(rows * stride);
    h.fit(rows, d);
    qkv.iter_mut().for_each(|part| part.fit(rows, d));
    rayon::scope(|_| {
        x.par_chunks_mut(tall * stride).zip(from.par_chunks(times * d)).for_each(|(x, from)| {
            for (x, from) in x.chunks_exact_mut(stride).zip(from.chunks_exact(d)) {
                x[..d].copy_from_slice(from);
            }
            x[times * stride..].fill(0.0);
        });
        if !stack.pre_norm {
            normed(x, stride, d, None, h, false);
        }
    });
}

/// [`Stack::layer`] on tiles.
pub(in crate::kernels) fn layer(
    stack: &Stack<'_>,
    layer: &Layer<'_>,
    unit: Unit,
    times: usize,
    space: &mut Space,
) {
    // From inside the pool: each of the calls to come then finds its threads awake.
    rayon::scope(|_| stack.through(layer, unit, times, space));
}

/// [`Stack::leave`] on tiles.
pub(in crate::kernels) fn leave(
    stack: &Stack<'_>,
    last: Option<&Norm<'_>>,
    y: &mut [f32],
    times: usize,
    space: &mut Space,
) {
    let (d, (tall, stride)) = (stack.width, shape(times, stack.width));
    let x = &space.x[..stack.lengths.len() * tall * stride];
    rayon::scope(|_| {
        y.par_chunks_mut(times * d).zip(x.par_chunks(tall * stride)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(stride)) {
                y.copy_from_slice(&x[..d]);
            }
        });
        if let Some(last) = last {
            let rows = y.par_chunks_mut(16 * d);
            // SAFETY: tiles exist only where AVX-512 does; the norm's width was checked.
            rows.for_each(|rows| unsafe { in_place(rows, d, last) });
        }
    });
}

impl Stack<'_> {
    fn through(&self, layer: &Layer<'_>, unit: Unit, times: usize, space: &mut Space) {
        let (d, (tall, stride)) = (self.width, shape(times, self.width));
        let rows = self.lengths.len() * tall;
        let Space { x, h, qkv, u } = space;
        let x = x.at_least(rows * stride);
        u.fit(rows, layer.up.weight.outputs());
        let add = ToRows { finish: Finish::default(), at: x.as_mut_ptr(), stride, width: d, add: true };
        let to_x = |_, finish| add.after(finish);
        let parts: [Start; 3] = std::array::from_fn(|i| qkv[i].start());
        let inner = u.start();
        if self.pre_norm {
            normed(x, stride, d, Some(&layer.norms[0]), h, false);
        }
        self.times(unit, h, &layer.qkv, tall, false, |i, finish| ToTiles { finish, to: parts[i] });
        attention(unit, [&qkv[0], &qkv[1], &qkv[2]], self.heads, d / self.heads, tall, self.lengths, h);
        self.times(unit, h, from_ref(&layer.out), tall, false, to_x);
        normed(x, stride, d, Some(&layer.norms[usize::from(self.pre_norm)]), h, !self.pre_norm);
        self.times(unit, h, from_ref(&layer.up), tall, true, |_, finish| ToTiles { finish, to: inner });
        self.times(unit, u, from_ref(&layer.down), tall, false, to_x);
        if !self.pre_norm {
            normed(x, stride, d, Some(&layer.norms[1]), h, true);
        }
    }

    /// All rows times some weights, each row under its segment's mask; weight i's sums go to `sink(i, ..)`.
    fn times<'s, S: Sink + Sync>(
        &self,
        unit: Unit,
        left: &Rows,
        weights: &'s [Gated<'s>],
        tall: usize,
        gelu: bool,
        sink: impl Fn(usize, Finish<'s>) -> S + Sync,
    ) {
        let count = self.segments.len();
        let job = |i: usize| {
            let (weight, segment) = (i / count, i % count);
            let (gated, rows) = (&weights[weight], &self.segments[segment]);
            Job {
                weight: gated.weight,
                mask: gated.masks[segment].as_deref(),
                rows: rows.start * tall..rows.end * tall,
                sink: sink(weight, Finish { bias: Some(gated.bias), gelu }),
            }
        };
        // SAFETY: `check` held the shapes; segments are disjoint rows, and each weight has its own place.
        unsafe { products(unit, left, weights.len() * count, job) };
    }
}

/// h = bf16 of each row of x, normalised first if asked; `keep` puts what was rounded back into x.
fn normed(x: &mut [f32], stride: usize, d: usize, norm: Option<&Norm<'_>>, h: &mut Rows, keep: bool) {
    let start = h.start();
    x.par_chunks_mut(16 * stride).enumerate().with_min_len(2).for_each(|(tile, rows)| {
        // SAFETY: tiles exist only where AVX-512 does; h has a row for each of x's, the norm its width.
        unsafe { norm_rows(rows, stride, d, norm, |i, step| start.line(tile * 16 + i, step), keep) };
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn norm_rows(
    rows: &mut [f32],
    stride: usize,
    d: usize,
    norm: Option<&Norm<'_>>,
    line: impl Fn(usize, usize) -> *mut u8,
    keep: bool,
) {
    for (i, row) in rows.chunks_exact_mut(stride).enumerate() {
        let at = row.as_mut_ptr();
        // SAFETY: d is whole steps; reading x[i] comes before writing it.
        unsafe {
            norm::row(at, d, norm, false, |step, lo, hi| {
                if keep {
                    _mm512_storeu_ps(at.add(step * 32), lo);
                    _mm512_storeu_ps(at.add(step * 32 + 16), hi);
                }
                _mm512_store_si512(line(i, step).cast(), math::narrow(lo, hi));
            });
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn in_place(rows: &mut [f32], d: usize, norm: &Norm<'_>) {
    for row in rows.chunks_exact_mut(d) {
        let at = row.as_mut_ptr();
        // SAFETY: as above.
        unsafe {
            norm::row(at, d, Some(norm), false, |step, lo, hi| {
                _mm512_storeu_ps(at.add(step * 32), lo);
                _mm512_storeu_ps(at.add(step * 32 + 16), hi);
            });
        }
    }
}
