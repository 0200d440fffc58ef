//! Logits → log posteriors, checked: what search and alignment start from.

use super::Vocab;
use crate::{Cancel, Error, Result};

/// Smallest log posterior kept, so that sums over any audio stay finite.
const FLOOR: f32 = -1e30;

/// `ln softmax` of each frame: logits `(T, V)` to log posteriors `(T, V)`, both row-major.
///
/// # Errors
/// When the length is no multiple of V, or a logit is not finite: never a transcript from garbage;
/// [`Error::Abandoned`] once cancelled.
pub(super) fn log_posteriors(logits: &[f32], vocab: &Vocab, cancel: &Cancel) -> Result<Vec<f32>> {
    let v = vocab.len();
    if v == 0 || !logits.len().is_multiple_of(v) {
        return Err(Error::Model(format!("{} logits are no whole frames of {v} symbols", logits.len())));
    }
    let mut out = Vec::with_capacity(logits.len());
    for (t, frame) in logits.chunks_exact(v).enumerate() {
        cancel.check()?;
        if frame.iter().any(|x| !x.is_finite()) {
            return Err(Error::Model(format!(
                "frame {t} has a logit that is not finite: the backbone or the pack is damaged"
            )));
        }
        let max = frame.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = frame.iter().map(|&x| (x - max).exp()).sum();
        let norm = total.ln();
        out.extend(frame.iter().map(|&x| (x - max - norm).max(FLOOR)));
    }
    Ok(out)
}

/// `ln(e^a + e^b)`; `-inf` is the zero.
pub(super) fn ln_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    // Below e^-40 of the larger nothing of the smaller would be left in the sum.
    if low - high > -40.0 { high + (low - high).exp().ln_1p() } else { high }
}
