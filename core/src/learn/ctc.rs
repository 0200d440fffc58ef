//! The CTC loss and its exact gradient (Graves et al. 2006), in log space, one utterance per task.
//!
//! With labels `l` of length `U`, the extended labels `l'` alternate blank and symbol (`2U + 1` states).
//! `α_t(s)` sums the paths that end in state `s` at frame `t`, `β_t(s)` those that start there (both
//! include frame `t`'s own probability). The loss is `−ln p(l|x)` in nats and, softmax fused,
//! `∂loss/∂logits_t(k) = y_t(k) − Σ_{s: l'_s = k} α_t(s) β_t(s) / (p · y_t(k))`.

use crate::Result;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, bail};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Index of the blank in every vocabulary of this project.
pub const BLANK: u32 = 0;

/// Labels and valid frames of a batch.
#[derive(Clone, Debug)]
pub struct Targets {
    /// Symbols of each utterance, none of them the blank.
    pub labels: Vec<Vec<u32>>,
    /// Valid frames of each utterance, at most `T`.
    pub frames: Vec<usize>,
}

/// Loss `(B,)` in nats of logits `(B, T, V)`, un-normalised; differentiable in the logits.
///
/// An utterance whose frames cannot hold its labels (fewer than `U` plus one for each repeated
/// neighbour) has infinite loss; `zero_infinity` makes that loss and its gradient 0. Frames past an
/// utterance's own get gradient 0. Computed on the CPU in f64 whatever the device and dtype.
///
/// # Errors
/// Shapes that disagree, a label that is the blank or outside the vocabulary.
pub fn loss(logits: &Tensor, targets: Targets, zero_infinity: bool) -> Result<Tensor> {
    let logits = logits.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
    Ok(logits.apply_op1(Ctc { targets, zero_infinity, gradient: OnceLock::new() })?)
}

struct Ctc {
    targets: Targets,
    zero_infinity: bool,
    /// `∂loss_b/∂logits` `(B, T, V)`: the lattice that gives the loss gives it too, so it is kept.
    gradient: OnceLock<Vec<f32>>,
}

impl CustomOp1 for Ctc {
    fn name(&self) -> &'static str {
        "ctc-loss"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (b, t, v) = layout.shape().dims3()?;
        let Some((from, to)) = layout.contiguous_offsets() else { bail!("ctc: logits must be contiguous") };
        let logits = &storage.as_slice::<f32>()?[from..to];
        let Targets { labels, frames } = &self.targets;
        if labels.len() != b || frames.len() != b {
            bail!("ctc: {b} rows of logits, {} labels, {} lengths", labels.len(), frames.len());
        }
        for (row, (labels, &n)) in labels.iter().zip(frames).enumerate() {
            if n > t {
                bail!("ctc: row {row} claims {n} frames, the logits have {t}");
            }
            if let Some(bad) = labels.iter().find(|&&k| k == BLANK || k as usize >= v) {
                bail!("ctc: row {row} has label {bad}, allowed are 1..{v}");
            }
        }
        let mut gradient = vec![0f32; b * t * v];
        let losses = gradient
            .par_chunks_mut((t * v).max(1))
            .zip(logits.par_chunks((t * v).max(1)))
            .zip(labels.par_iter().zip(frames))
            .map(|((gradient, logits), (labels, &n))| {
                let loss = utterance(&logits[..n * v], &mut gradient[..n * v], v, labels);
                // No number stays none: only what cannot be spelled weighs nothing.
                if loss != f64::INFINITY || !self.zero_infinity {
                    return loss as f32;
                }
                gradient.fill(0.0);
                0.0
            })
            .collect::<Vec<_>>();
        // A second forward through the same op computes the same gradient.
        let _ = self.gradient.set(gradient);
        Ok((CpuStorage::F32(losses), Shape::from(b)))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let Some(gradient) = self.gradient.get() else { bail!("ctc: backward without forward") };
        let gradient = Tensor::from_slice(gradient, arg.shape(), &Device::Cpu)?;
        Ok(Some(gradient.broadcast_mul(&grad.reshape((grad.dim(0)?, 1, 1))?)?))
    }
}

/// Loss of one utterance; writes `∂loss/∂logits` `(T, V)`. `T = 0` with labels, or too few frames: infinite.
fn utterance(logits: &[f32], gradient: &mut [f32], v: usize, labels: &[u32]) -> f64 {
    let frames = logits.len() / v;
    let log_y = log_softmax(logits, v);
    let states = 2 * labels.len() + 1;
    let symbol = |s: usize| if s.is_multiple_of(2) { BLANK as usize } else { labels[s / 2] as usize };
    // A path may jump over the blank between two different symbols.
    let skips = |s: usize| s % 2 == 1 && s >= 3 && labels[s / 2] != labels[s / 2 - 1];
    if frames == 0 {
        return if labels.is_empty() { 0.0 } else { f64::INFINITY };
    }

    let mut alpha = vec![f64::NEG_INFINITY; frames * states];
    for s in 0..states.min(2) {
        alpha[s] = log_y[symbol(s)];
    }
    for t in 1..frames {
        let (done, rest) = alpha.split_at_mut(t * states);
        let before = &done[(t - 1) * states..];
        for s in reachable(t, frames, states) {
            let jump = if skips(s) { before[s - 2] } else { f64::NEG_INFINITY };
            let step = if s > 0 { before[s - 1] } else { f64::NEG_INFINITY };
            rest[s] = log_sum([before[s], step, jump]) + log_y[t * v + symbol(s)];
        }
    }
    let last = &alpha[(frames - 1) * states..];
    let log_p = log_sum([
        last[states - 1],
        if states > 1 { last[states - 2] } else { f64::NEG_INFINITY },
        f64::NEG_INFINITY,
    ]);
    if log_p == f64::NEG_INFINITY {
        return f64::INFINITY;
    }

    // β of one frame suffices: each frame's share of the gradient is taken as β passes it.
    let mut after = vec![f64::NEG_INFINITY; states];
    let mut beta = after.clone();
    for t in (0..frames).rev() {
        let y = &log_y[t * v..(t + 1) * v];
        let out = &mut gradient[t * v..(t + 1) * v];
        for (g, y) in out.iter_mut().zip(y) {
            *g = y.exp() as f32;
        }
        beta.fill(f64::NEG_INFINITY);
        for s in reachable(t, frames, states) {
            let follow = if t + 1 == frames {
                if s + 2 >= states { 0.0 } else { f64::NEG_INFINITY }
            } else {
                let step = if s + 1 < states { after[s + 1] } else { f64::NEG_INFINITY };
                let jump = if s + 2 < states && skips(s + 2) { after[s + 2] } else { f64::NEG_INFINITY };
                log_sum([after[s], step, jump])
            };
            beta[s] = follow + y[symbol(s)];
            // α already holds y_t, so α · (β without y_t) / p is the state's posterior.
            out[symbol(s)] -= (alpha[t * states + s] + follow - log_p).exp() as f32;
        }
        std::mem::swap(&mut after, &mut beta);
    }
    -log_p
}

/// States that both the start and the end can still reach at frame `t`.
fn reachable(t: usize, frames: usize, states: usize) -> std::ops::Range<usize> {
    let left = 2 * (frames - t);
    states.saturating_sub(left)..states.min(2 * t + 2)
}

fn log_sum(terms: [f64; 3]) -> f64 {
    let max = terms[0].max(terms[1]).max(terms[2]);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + terms.iter().map(|t| (t - max).exp()).sum::<f64>().ln()
}

fn log_softmax(logits: &[f32], v: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(logits.len());
    for row in logits.chunks_exact(v) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
        let log_sum = row.iter().map(|&x| (x as f64 - max).exp()).sum::<f64>().ln() + max;
        out.extend(row.iter().map(|&x| x as f64 - log_sum));
    }
    out
}

#[cfg(test)]
#[path = "ctc_tests.rs"]
mod tests;
