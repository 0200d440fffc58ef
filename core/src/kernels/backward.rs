//! Gradients of what works row by row, so that learning need not spell them out in ten tensor operations.

use super::{
    Kernel, Norm, Tier,
    lanes::Lanes,
    math, misfit,
    norm::{part, put, sum},
};
use crate::Result;
use rayon::prelude::*;

/// Elements that one thread takes at a time.
const CHUNK: usize = 16_384;

/// `dx = g · (Φ(x) + x φ(x))`, Φ and φ the normal distribution's: GELU's gradient from x and that of its output,
/// over `g`.
///
/// # Errors
/// When the lengths differ.
pub fn gelu(tier: Tier, x: &[f32], g: &mut [f32]) -> Result<()> {
    if x.len() != g.len() {
        return Err(misfit(format!("gradient of {} elements for {}", g.len(), x.len())));
    }
    g.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(g, x)| gelu_part(tier, x, g, None));
    Ok(())
}

/// [`gelu`] of a part, on this thread; writes GELU itself to `y` if given.
pub(super) fn gelu_part(tier: Tier, x: &[f32], g: &mut [f32], y: Option<&mut [f32]>) {
    tier.run(Gelu { x, g, y });
}

/// LayerNorm's gradient, over `g`: with `x̂ = (x - mean) / σ` and `h = g · gamma`,
/// `dx = (h - mean(h) - x̂ · mean(h · x̂)) / σ`. Returns `(dgamma, dbeta) = (Σ g · x̂, Σ g)` over all rows if `learnt`.
///
/// # Errors
/// When the lengths do not fit.
pub fn layer_norm(
    tier: Tier,
    norm: &Norm<'_>,
    x: &[f32],
    g: &mut [f32],
    learnt: bool,
) -> Result<Option<(Vec<f32>, Vec<f32>)>> {
    let c = norm.gamma.len();
    if c == 0 || !x.len().is_multiple_of(c) || x.len() != g.len() {
        return Err(misfit(format!("gradient of {} elements for {} rows of {c}", g.len(), x.len())));
    }
    let rows = (CHUNK / c).max(1) * c;
    let parts = g.par_chunks_mut(rows).zip(x.par_chunks(rows)).map(|(g, x)| {
        let mut sums = if learnt { vec![0f32; 2 * c] } else { Vec::new() };
        tier.run(Rows { gamma: norm.gamma, eps: norm.eps, x, g, sums: &mut sums });
        sums
    });
    // Collected, then added in order: the same sums whatever the threads.
    let parts: Vec<_> = parts.collect();
    if !learnt {
        return Ok(None);
    }
    let mut total = vec![0f32; 2 * c];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    let beta = total.split_off(c);
    Ok(Some((total, beta)))
}

/// Softmax of each row of `x` `(M, width)`, in place.
pub fn softmax(tier: Tier, width: usize, x: &mut [f32]) {
    let rows = (CHUNK / width.max(1)).max(1) * width.max(1);
    x.par_chunks_mut(rows).for_each(|x| tier.run(Softmax { width, x }));
}

/// Softmax's gradient from its output p, over `g`: `dx = p · (g - Σ p g)`.
///
/// # Errors
/// When the lengths differ.
pub fn softmax_backward(tier: Tier, width: usize, p: &[f32], g: &mut [f32]) -> Result<()> {
    if p.len() != g.len() {
        return Err(misfit(format!("gradient of {} elements for {}", g.len(), p.len())));
    }
    let rows = (CHUNK / width.max(1)).max(1) * width.max(1);
    g.par_chunks_mut(rows)
        .zip(p.par_chunks(rows))
        .for_each(|(g, p)| tier.run(SoftmaxBackward { width, p, g }));
    Ok(())
}

struct Gelu<'a> {
    x: &'a [f32],
    g: &'a mut [f32],
    y: Option<&'a mut [f32]>,
}

impl Kernel for Gelu<'_> {
    type Out = ();

    #[inline(always)]
    fn run<V: Lanes>(mut self) {
        let (half, one) = (V::splat(0.5), V::splat(1.0));
        for i in (0..self.x.len()).step_by(V::N) {
            let x = part::<V>(self.x, i);
            let below = math::erf(x.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2))).add(one).mul(half);
            // 1 / √(2 π)
            let density = math::exp(x.mul(x).mul(V::splat(-0.5))).mul(V::splat(0.398_942_3));
            put(x.mul_add(density, below).mul(part(self.g, i)), self.g, i);
            if let Some(y) = self.y.as_deref_mut() {
                put(x.mul(below), y, i);
            }
        }
    }
}

struct Rows<'a> {
    gamma: &'a [f32],
    eps: f32,
    x: &'a [f32],
    g: &'a mut [f32],
    /// dgamma then dbeta, or empty.
    sums: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let c = self.gamma.len();
        for (g, x) in self.g.chunks_exact_mut(c).zip(self.x.chunks_exact(c)) {
            let mean = sum::<V>(x, |x| x) / c as f32;
            let centre = V::splat(mean);
            let square = |x: V| {
                let d = x.sub(centre);
                d.mul(d)
            };
            let var = sum::<V>(x, square) / c as f32;
            let scale = 1.0 / (var + self.eps).sqrt();
            let scale_v = V::splat(scale);
            let (mut h_sum, mut hx_sum) = (V::splat(0.0), V::splat(0.0));
            for i in (0..c).step_by(V::N) {
                // Past the end g and gamma read as 0, so h is 0 there.
                let h = part::<V>(g, i).mul(part(self.gamma, i));
                h_sum = h_sum.add(h);
                hx_sum = h.mul_add(part::<V>(x, i).sub(centre).mul(scale_v), hx_sum);
            }
            let (h_mean, hx_mean) = (V::splat(h_sum.sum() / c as f32), V::splat(hx_sum.sum() / c as f32));
            for i in (0..c).step_by(V::N) {
                let (g_i, x_hat) = (part::<V>(g, i), part::<V>(x, i).sub(centre).mul(scale_v));
                if let Some((dgamma, dbeta)) = self.sums.split_at_mut_checked(c) {
                    put(g_i.mul_add(x_hat, part(dgamma, i)), dgamma, i);
                    put(part::<V>(dbeta, i).add(g_i), dbeta, i);
                }
                let h = g_i.mul(part(self.gamma, i));
                put(h.sub(h_mean).sub(x_hat.mul(hx_mean)).mul(scale_v), g, i);
            }
        }
    }
}

struct Softmax<'a> {
    width: usize,
    x: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    type Out = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        for row in self.x.chunks_exact_mut(self.width) {
            let scale = V::splat(1.0 / super::attention::exponentials::<V>(row, 1.0));
            for i in (0..row.len()).step_by(V::N) {
                put(part::<V>(row, i).mul(scale), row, i);
            }
        }
    }
}

struct SoftmaxBackward<'a> {
    width: usize,
    p: &'a [f32],
    g: &'a mut [f32],
}

impl Kernel for SoftmaxBackward<'_> {
    type Out = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        for (g, p) in self.g.chunks_exact_mut(self.width).zip(self.p.chunks_exact(self.width)) {
            let mut dot = V::splat(0.0);
            for i in (0..p.len()).step_by(V::N) {
                dot = part::<V>(p, i).mul_add(part(g, i), dot);
            }
            let dot = V::splat(dot.sum());
            for i in (0..p.len()).step_by(V::N) {
                put(part::<V>(g, i).sub(dot).mul(part(p, i)), g, i);
            }
        }
    }
}
