//! Multi-head self-attention: `softmax(q kᵀ / √d) v` per head, over each utterance's own frames.
//!
//! One head of one utterance at a time and a block of its rows at a time, so that scores fill a
//! thread's scratch, never a (T, T) matrix:
//!
//! ```text
//! K and V of the head → panels         (keys side by side; channels side by side)
//! for each block of rows
//!     scores = q · Kᵀ                  block product
//!     each row: exp(s - max), sum      vectorised
//!     y = scores · V, divided by sum   block product
//! ```
#![allow(unsafe_code)]

use super::{
    Kernel, Tier, gemm,
    lanes::Lanes,
    linear::blocks,
    math, misfit, norm,
    scratch::{self, Scratch},
};
use crate::Result;
use rayon::prelude::*;

/// Rows of a block of scores.
const TALL: usize = 96;

/// Where q, k and v lie: rows of `(B, T)`, `stride` floats apart, heads side by side in a row.
///
/// Three tensors `(B, T, D)` have stride D; the thirds of one `(B, T, 3 D)` have stride 3 D.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Queries, keys, values; each slice starts at its first row.
    pub qkv: [&'a [f32]; 3],
    /// Floats from one frame to the next.
    pub stride: usize,
    /// Heads H.
    pub heads: usize,
    /// Channels of a head, d; D = H · d.
    pub width: usize,
    /// Frames of each utterance that are audio, not padding, `(B,)`: padded frames are no one's keys.
    pub lengths: &'a [usize],
}

/// Computes y `(B, T, D)`; see [`scalar::attention`](super::scalar::attention). Rows past an utterance's length
/// are computed as well and mean nothing.
///
/// # Errors
/// When a length does not fit.
pub fn attention(tier: Tier, a: &Attention<'_>, y: &mut [f32]) -> Result<()> {
    let (d, batch) = (a.heads * a.width, a.lengths.len());
    let times = y.len() / (batch * d).max(1);
    let needed = (batch * times).checked_sub(1).map_or(0, |last| last * a.stride + d);
    let short = a.qkv.iter().any(|x| x.len() < needed) || a.lengths.iter().any(|&l| l > times);
    if short || a.stride < d || y.len() != batch * times * d {
        let (lens, lengths) = (a.qkv.map(<[f32]>::len), a.lengths);
        let (y, stride) = (y.len(), a.stride);
        return Err(misfit(format!(
            "attention of width {d}: q, k, v have {lens:?} elements {stride} apart, y has {y}, lengths {lengths:?}"
        )));
    }
    if y.is_empty() {
        return Ok(());
    }
    // With few heads for many threads, the rows are shared out too; each part packs the keys anew.
    let parts = (rayon::current_num_threads() * 2).div_ceil(batch * a.heads);
    let tall = times.div_ceil(parts).next_multiple_of(12);
    let out = scratch::Shared::new(y);
    let parts = blocks(0..times, tall, 12);
    (0..batch * a.heads * parts.len()).into_par_iter().with_max_len(1).for_each(|i| {
        let (head, rows) = (i / parts.len(), parts.part(i % parts.len()));
        let (b, h) = (head / a.heads, head % a.heads);
        let at = |t: usize| (b * times + t) * a.stride + h * a.width;
        scratch::with(|scratch| {
            tier.run(Head {
                q: &a.qkv[0][at(rows.start)..],
                k: &a.qkv[1][at(0)..],
                v: &a.qkv[2][at(0)..],
                stride: a.stride,
                width: a.width,
                rows: rows.len(),
                keys: a.lengths[b],
                y: out.at((b * times + rows.start) * d + h * a.width),
                ldy: d,
                scratch,
            });
        });
    });
    Ok(())
}

/// Some rows of one head. Whoever builds it promises that rows × `width` floats, `ldy` apart, are its own at `y`.
struct Head<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    stride: usize,
    width: usize,
    rows: usize,
    keys: usize,
    y: *mut f32,
    ldy: usize,
    scratch: &'a mut Scratch,
}

impl Kernel for Head<'_> {
    type Out = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let (d, keys) = (self.width, self.keys);
        if keys == 0 {
            for i in 0..self.rows {
                // SAFETY: the builder's promise.
                unsafe { std::slice::from_raw_parts_mut(self.y.wrapping_add(i * self.ldy), d) }.fill(0.0);
            }
            return;
        }
        let Scratch { pack, free: [k_panels, v_panels, scores] } = self.scratch;
        let k_panels = k_panels.at_least(keys.next_multiple_of(V::COLS) * d);
        for (t, row) in self.k.chunks(self.stride).take(keys).enumerate() {
            let to = &mut k_panels[t / V::COLS * d * V::COLS + t % V::COLS..];
            to.iter_mut().step_by(V::COLS).zip(&row[..d]).for_each(|(to, &x)| *to = x);
        }
        let v_panels = v_panels.at_least(d.next_multiple_of(V::COLS) * keys);
        for (t, row) in self.v.chunks(self.stride).take(keys).enumerate() {
            for (panel, x) in row[..d].chunks(V::COLS).enumerate() {
                let to = &mut v_panels[(panel * keys + t) * V::COLS..][..V::COLS];
                to[..x.len()].copy_from_slice(x);
                to[x.len()..].fill(0.0);
            }
        }
        // Not a power of two, or a block's rows would fight over the same lines of L1.
        let wide = keys.next_multiple_of(V::COLS) + V::COLS;
        let scores = scores.at_least(TALL * wide);
        let mut sums = [0f32; TALL];
        for rows in blocks(0..self.rows, TALL, 12) {
            let q = gemm::Block {
                a: &self.q[rows.start * self.stride..],
                stride: self.stride,
                rows: rows.len(),
                copy: true,
                k: d,
                panels: k_panels,
                mask: None,
                n: keys,
                which: 0..keys.div_ceil(V::COLS),
                c: scores.as_mut_ptr(),
                ldc: wide,
                add: false,
                bias: None,
                gelu: false,
            };
            // SAFETY: `scores` holds TALL rows, `wide` ≥ keys apart, and is this thread's own.
            unsafe { q.run::<V>(pack) };
            for (row, sum) in scores.chunks_exact_mut(wide).take(rows.len()).zip(&mut sums) {
                *sum = exponentials::<V>(&mut row[..keys], 1.0 / (d as f32).sqrt());
            }
            let y = self.y.wrapping_add(rows.start * self.ldy);
            let v = gemm::Block {
                a: scores,
                stride: wide,
                rows: rows.len(),
                copy: false,
                k: keys,
                panels: v_panels,
                mask: None,
                n: d,
                which: 0..d.div_ceil(V::COLS),
                c: y,
                ldc: self.ldy,
                add: false,
                bias: None,
                gelu: false,
            };
            // SAFETY: the builder's promise.
            unsafe { v.run::<V>(pack) };
            for (i, sum) in sums.iter().enumerate().take(rows.len()) {
                // SAFETY: the builder's promise.
                let row = unsafe { std::slice::from_raw_parts_mut(y.wrapping_add(i * self.ldy), d) };
                let scale = V::splat(1.0 / sum);
                for j in (0..d).step_by(V::N) {
                    norm::put(norm::part::<V>(row, j).mul(scale), row, j);
                }
            }
        }
    }
}

/// Replaces each s by `e^(scale · (s - max))`, and answers their sum, which is at least 1.
#[inline(always)]
pub(super) fn exponentials<V: Lanes>(row: &mut [f32], scale: f32) -> f32 {
    let whole = row.len() - row.len() % V::N;
    let mut peak = V::splat(f32::NEG_INFINITY);
    for i in (0..whole).step_by(V::N) {
        peak = peak.max(norm::part(row, i));
    }
    let peak = row[whole..].iter().copied().fold(peak.peak(), f32::max);
    let (scale, offset) = (V::splat(scale), V::splat(-peak * scale));
    for i in (0..row.len()).step_by(V::N) {
        norm::put(math::exp(norm::part::<V>(row, i).mul_add(scale, offset)), row, i);
    }
    norm::sum::<V>(row, |x| x)
}
