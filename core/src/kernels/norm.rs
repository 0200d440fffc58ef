//! What works on each row alone: LayerNorm and GELU; and GroupNorm with one channel per group, over time.
#![allow(unsafe_code)]

use super::{Aligned, Kernel, Tier, lanes::Lanes, math, misfit};
use crate::Result;
use rayon::prelude::*;

/// The learnt part of a normalisation.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Scale `(C,)`.
    pub gamma: &'a [f32],
    /// Shift `(C,)`.
    pub beta: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
}

impl Norm<'_> {
    /// The width C, if gamma and beta agree on it and `x` is whole rows of it.
    fn width(&self, x: &[f32]) -> Result<usize> {
        let (c, beta, len) = (self.gamma.len(), self.beta.len(), x.len());
        match c > 0 && beta == c && len.is_multiple_of(c) {
            true => Ok(c),
            false => Err(misfit(format!("norm of width {c} (beta: {beta}) on {len} elements"))),
        }
    }
}

/// LayerNorm of each row of x `(M, C)`, in place, then GELU if asked; see [`scalar::layer_norm`](super::scalar::layer_norm).
///
/// # Errors
/// When the lengths do not fit.
pub fn layer_norm(tier: Tier, norm: &Norm<'_>, gelu: bool, x: &mut [f32]) -> Result<()> {
    let c = norm.width(x)?;
    let rows = (16_384 / c).max(1);
    x.par_chunks_mut(rows * c).for_each(|x| tier.run(Rows { norm, gelu, x }));
    Ok(())
}

/// GELU of each element, in place; see [`scalar::gelu`](super::scalar::gelu).
pub fn gelu(tier: Tier, x: &mut [f32]) {
    x.par_chunks_mut(16_384).for_each(|x| tier.run(Gelu(x)));
}

/// GroupNorm of x `(T, C)` with C groups, so each channel over all of time, in place, then GELU:
/// wav2vec2-base's first layer. One utterance; padding would change its statistics. `room` is for sums.
///
/// # Errors
/// When the lengths do not fit.
pub fn group_norm_gelu(tier: Tier, norm: &Norm<'_>, x: &mut [f32], room: &mut Aligned) -> Result<()> {
    /// Rows that are summed in f32; their sums are added in f64, so that 30,000 rows lose nothing.
    const PART: usize = 64;
    let c = norm.width(x)?;
    let times = x.len() / c;
    let room = room.at_least((times.div_ceil(PART) + 2) * c);
    let (ends, sums) = room.split_at_mut(2 * c);
    let (mean, scale) = ends.split_at_mut(c);

    add_up(x, c, PART, sums, |_, x| x);
    for (i, mean) in mean.iter_mut().enumerate() {
        *mean = (total(sums, c, i) / times as f64) as f32;
    }
    add_up(x, c, PART, sums, |i, x| (x - mean[i]) * (x - mean[i]));
    for (i, scale) in scale.iter_mut().enumerate() {
        let variance = total(sums, c, i) / times as f64;
        *scale = (f64::from(norm.gamma[i]) / (variance + f64::from(norm.eps)).sqrt()) as f32;
    }
    x.par_chunks_mut(PART * c).for_each(|rows| {
        for row in rows.chunks_exact_mut(c) {
            for (i, x) in row.iter_mut().enumerate() {
                *x = (*x - mean[i]) * scale[i] + norm.beta[i];
            }
        }
        tier.run(Gelu(rows));
    });
    Ok(())
}

/// A row of sums of `f(channel, x)` for every `part` rows of x `(T, C)`.
fn add_up(x: &[f32], c: usize, part: usize, sums: &mut [f32], f: impl Fn(usize, f32) -> f32 + Sync) {
    x.par_chunks(part * c).zip(sums.par_chunks_mut(c)).for_each(|(rows, sums)| {
        sums.fill(0.0);
        for row in rows.chunks_exact(c) {
            for (i, (sum, &x)) in sums.iter_mut().zip(row).enumerate() {
                *sum += f(i, x);
            }
        }
    });
}

/// One channel's sums, in order: the same whatever the threads.
fn total(sums: &[f32], c: usize, channel: usize) -> f64 {
    sums.iter().skip(channel).step_by(c).fold(0.0, |all, &sum| all + f64::from(sum))
}

/// LayerNorm of whole rows on one thread.
pub(super) struct Rows<'a> {
    pub(super) norm: &'a Norm<'a>,
    pub(super) gelu: bool,
    pub(super) x: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let c = self.norm.gamma.len();
        for row in self.x.chunks_exact_mut(c) {
            let mean = sum::<V>(row, |x| x) / c as f32;
            let centre = V::splat(mean);
            let square = |x: V| {
                let d = x.sub(centre);
                d.mul(d)
            };
            let var = sum::<V>(row, square) / c as f32;
            let scale = V::splat(1.0 / (var + self.norm.eps).sqrt());
            for i in (0..c).step_by(V::N) {
                let x = part::<V>(row, i).sub(centre).mul(scale);
                let y = x.mul_add(part(self.norm.gamma, i), part(self.norm.beta, i));
                put(if self.gelu { math::gelu(y) } else { y }, row, i);
            }
        }
    }
}

/// GELU of a slice on one thread.
struct Gelu<'a>(&'a mut [f32]);

impl Kernel for Gelu<'_> {
    type Out = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        for i in (0..self.0.len()).step_by(V::N) {
            put(math::gelu(part::<V>(self.0, i)), self.0, i);
        }
    }
}

/// `Σ f(x)` in four strands, so that one addition need not wait for the last.
#[inline(always)]
pub(super) fn sum<V: Lanes>(x: &[f32], f: impl Fn(V) -> V) -> f32 {
    let mut strands = [V::splat(0.0); 4];
    let whole = x.len() - x.len() % (4 * V::N);
    for i in (0..whole).step_by(4 * V::N) {
        for (j, strand) in strands.iter_mut().enumerate() {
            *strand = strand.add(f(part(x, i + j * V::N)));
        }
    }
    for i in (whole..x.len()).step_by(V::N) {
        let valid = (x.len() - i).min(V::N);
        strands[0] = strands[0].add(f(part(x, i)).keep((1u32 << valid) - 1));
    }
    strands[0].add(strands[1]).add(strands[2].add(strands[3])).sum()
}

/// `x[i..i + N]`, zeros past the end.
#[inline(always)]
pub(super) fn part<V: Lanes>(x: &[f32], i: usize) -> V {
    if i + V::N <= x.len() {
        // SAFETY: just checked.
        unsafe { V::load(x.as_ptr().add(i)) }
    } else {
        let mut whole = [0f32; 16];
        whole[..x.len() - i].copy_from_slice(&x[i..]);
        // SAFETY: N ≤ 16 for every tier.
        unsafe { V::load(whole.as_ptr()) }
    }
}

/// Stores `v` to `x[i..i + N]`, as far as x reaches.
#[inline(always)]
pub(super) fn put<V: Lanes>(v: V, x: &mut [f32], i: usize) {
    if i + V::N <= x.len() {
        // SAFETY: just checked.
        unsafe { v.store(x.as_mut_ptr().add(i)) }
    } else {
        let mut whole = [0f32; 16];
        // SAFETY: N ≤ 16 for every tier.
        unsafe { v.store(whole.as_mut_ptr()) }
        let rest = x.len() - i;
        x[i..].copy_from_slice(&whole[..rest]);
    }
}
