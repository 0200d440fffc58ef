//! Self-attention of all heads, `softmax(q kᵀ / √d) v`, and its gradient: one head of one utterance at a
//! time, whose scores `(T, T)` never leave the thread. The backward pass computes them again.
//!
//! With p the probabilities and g the gradient of the result:
//! `dv = pᵀ g`, `dp = g vᵀ`, `ds = p ⊙ (dp − Σ p dp) / √d`, `dq = ds k`, `dk = dsᵀ q`.
#![allow(unsafe_code)]

use crate::{
    Precision, Result,
    kernels::{
        Kernel, Tier, attention,
        lanes::Lanes,
        norm::{part, put},
        product::{Matrix, small},
        scratch,
    },
};
use rayon::prelude::*;

/// Where heads lie: rows of `(B, T)`, q, k and v side by side in a row, heads side by side in each.
pub(in crate::kernels) struct Shape<'a> {
    pub(in crate::kernels) precision: Precision,
    pub(in crate::kernels) tier: Tier,
    pub(in crate::kernels) heads: usize,
    pub(in crate::kernels) width: usize,
    pub(in crate::kernels) times: usize,
    pub(in crate::kernels) lengths: &'a [usize],
}

impl Shape<'_> {
    /// D.
    fn all(&self) -> usize {
        self.heads * self.width
    }

    /// Every head of every utterance that has a frame: (utterance, head, frames).
    fn tasks(&self) -> impl ParallelIterator<Item = (usize, usize, usize)> {
        let tasks = (0..self.lengths.len()).flat_map(|b| (0..self.heads).map(move |h| (b, h)));
        let tasks: Vec<_> = tasks.map(|(b, h)| (b, h, self.lengths[b])).filter(|t| t.2 > 0).collect();
        tasks.into_par_iter().with_max_len(1)
    }

    /// The three matrices `(frames, d)` of a head.
    fn views<'a>(&self, qkv: &'a [f32], (b, h, frames): (usize, usize, usize)) -> [Matrix<'a>; 3] {
        let row = 3 * self.all();
        [0, 1, 2].map(|third| {
            let at = b * self.times * row + third * self.all() + h * self.width;
            Matrix::apart(&qkv[at..], frames, self.width, row)
        })
    }

    /// 0 into the rows of `x` `(B, T, width)` that no task writes.
    fn clear_padding(&self, x: &mut [f32], width: usize) {
        for (row, &frames) in x.chunks_exact_mut((self.times * width).max(1)).zip(self.lengths) {
            row[frames * width..].fill(0.0);
        }
    }

    /// Probabilities `(frames, frames)` of a head into `p`.
    fn probabilities(&self, [q, k, _]: [Matrix<'_>; 3], frames: usize, p: &mut [f32]) -> Result<()> {
        // SAFETY: `p` holds frames × frames floats.
        unsafe { small(self.precision, q, k.t(), p.as_mut_ptr(), frames)? };
        let scale = (self.width as f32).sqrt().recip();
        self.tier.run(Softmax { p, frames, scale });
        Ok(())
    }
}

/// qkv `(B, T, 3 D)` to `seen` `(B, T, D)`; rows past an utterance's end see nothing: 0.
pub(in crate::kernels) fn forward(shape: &Shape<'_>, qkv: &[f32], seen: &mut [f32]) -> Result<()> {
    shape.clear_padding(seen, shape.all());
    let (d, out) = (shape.all(), scratch::Shared::new(seen));
    shape.tasks().try_for_each(|task| {
        let (b, h, frames) = task;
        scratch::with(|s| {
            let p = s.free[0].at_least(frames * frames);
            let views = shape.views(qkv, task);
            shape.probabilities(views, frames, p)?;
            let to = out.at(b * shape.times * d + h * shape.width);
            // SAFETY: these rows and columns are this task's own.
            unsafe { small(shape.precision, Matrix::new(p, frames, frames), views[2], to, d) }
        })
    })
}

/// The gradient of qkv `(B, T, 3 D)` from `g` `(B, T, D)`, that of what the heads saw.
pub(in crate::kernels) fn backward(shape: &Shape<'_>, qkv: &[f32], g: &[f32], to: &mut [f32]) -> Result<()> {
    shape.clear_padding(to, 3 * shape.all());
    let (d, out) = (shape.all(), scratch::Shared::new(to));
    shape.tasks().try_for_each(|task| {
        let (b, h, frames) = task;
        scratch::with(|s| {
            let [p, dp, _] = &mut s.free;
            let (p, dp) = (p.at_least(frames * frames), dp.at_least(frames * frames));
            let views = shape.views(qkv, task);
            let [q, k, v] = views;
            let g = Matrix::apart(&g[b * shape.times * d + h * shape.width..], frames, shape.width, d);
            let at = |third: usize| out.at(b * shape.times * 3 * d + third * d + h * shape.width);
            shape.probabilities(views, frames, p)?;
            // SAFETY: these rows and columns are this task's own; `dp` holds frames × frames floats.
            unsafe {
                small(shape.precision, Matrix::new(p, frames, frames).t(), g, at(2), 3 * d)?;
                small(shape.precision, g, v.t(), dp.as_mut_ptr(), frames)?;
            }
            let scale = (shape.width as f32).sqrt().recip();
            shape.tier.run(Scores { p, dp, frames, scale });
            let ds = Matrix::new(dp, frames, frames);
            // SAFETY: as above.
            unsafe {
                small(shape.precision, ds, k, at(0), 3 * d)?;
                small(shape.precision, ds.t(), q, at(1), 3 * d)
            }
        })
    })
}

/// Softmax of `scale · p`, row by row.
struct Softmax<'a> {
    p: &'a mut [f32],
    frames: usize,
    scale: f32,
}

impl Kernel for Softmax<'_> {
    type Out = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        for row in self.p.chunks_exact_mut(self.frames) {
            let whole = V::splat(1.0 / attention::exponentials::<V>(row, self.scale));
            for i in (0..row.len()).step_by(V::N) {
                put(part::<V>(row, i).mul(whole), row, i);
            }
        }
    }
}

/// `dp = p ⊙ (dp − Σ p dp) · scale`, row by row.
struct Scores<'a> {
    p: &'a [f32],
    dp: &'a mut [f32],
    frames: usize,
    scale: f32,
}

impl Kernel for Scores<'_> {
    type Out = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let scale = V::splat(self.scale);
        for (dp, p) in self.dp.chunks_exact_mut(self.frames).zip(self.p.chunks_exact(self.frames)) {
            let mut dot = V::splat(0.0);
            for i in (0..p.len()).step_by(V::N) {
                dot = part::<V>(p, i).mul_add(part(dp, i), dot);
            }
            let dot = V::splat(dot.sum());
            for i in (0..p.len()).step_by(V::N) {
                put(part::<V>(dp, i).sub(dot).mul(part::<V>(p, i).mul(scale)), dp, i);
            }
        }
    }
}
