//! Best-path CTC: the likeliest symbol of each frame, repeats collapsed, blanks dropped
//! (Graves et al. 2006, section 3.2).

use super::Vocab;
use crate::{Cancel, Error, Result};
use std::ops::Range;

/// One emitted symbol and the frames that agreed on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Symbol {
    /// Its index in the vocabulary.
    pub index: usize,
    /// The run of frames, each `frame_seconds` long.
    pub frames: Range<usize>,
    /// Mean posterior over the run, 0..=1.
    pub confidence: f32,
}

/// Logits `(T, V)`, row-major, to the symbols of the best path. Of equal logits the lower index wins.
///
/// # Errors
/// When the length is no multiple of V, or a logit is not finite: never a transcript from garbage.
pub fn greedy(logits: &[f32], vocab: &Vocab) -> Result<Vec<Symbol>> {
    greedy_until(logits, vocab, &Cancel::default())
}

/// As [`greedy`], until cancelled: it ends at the next frame.
///
/// # Errors
/// As [`greedy`], and [`Error::Abandoned`] once cancelled.
pub fn greedy_until(logits: &[f32], vocab: &Vocab, cancel: &Cancel) -> Result<Vec<Symbol>> {
    let v = vocab.len();
    if v == 0 || !logits.len().is_multiple_of(v) {
        return Err(Error::Model(format!("{} logits are no whole frames of {v} symbols", logits.len())));
    }
    let mut symbols: Vec<Symbol> = Vec::new();
    let mut previous = vocab.blank();
    for (t, frame) in logits.chunks_exact(v).enumerate() {
        cancel.check()?;
        let (best, posterior) = argmax(frame).ok_or_else(|| {
            Error::Model(format!(
                "frame {t} has a logit that is not finite: the backbone or the pack is damaged"
            ))
        })?;
        if best != vocab.blank() {
            match symbols.last_mut().filter(|_| best == previous) {
                Some(run) => {
                    run.frames.end = t + 1;
                    run.confidence += posterior;
                }
                None => symbols.push(Symbol { index: best, frames: t..t + 1, confidence: posterior }),
            }
        }
        previous = best;
    }
    for symbol in &mut symbols {
        symbol.confidence /= symbol.frames.len() as f32;
    }
    Ok(symbols)
}

/// Index of the largest logit and its softmax posterior; `None` when a logit is not finite.
fn argmax(frame: &[f32]) -> Option<(usize, f32)> {
    let mut best = 0;
    for (i, &x) in frame.iter().enumerate() {
        if !x.is_finite() {
            return None;
        }
        if x > frame[best] {
            best = i;
        }
    }
    let total: f32 = frame.iter().map(|&x| (x - frame[best]).exp()).sum();
    Some((best, 1.0 / total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::counted;

    fn vocab() -> Vocab {
        Vocab::new(["<pad>", "|", "a", "b"].map(String::from).to_vec(), Some("|")).unwrap()
    }

    /// One frame per index, its logit `ln 3` above the three others: posterior 3 / (3 + 3) = 0.5.
    fn path(best: &[usize]) -> Vec<f32> {
        best.iter().flat_map(|&b| (0..4).map(move |i| if i == b { 3f32.ln() } else { 0.0 })).collect()
    }

    #[test]
    fn repeats_collapse_and_a_blank_between_them_keeps_both() {
        let symbols = greedy(&path(&[2, 2, 0, 2, 3, 3, 3, 0]), &vocab()).unwrap();
        let seen: Vec<_> = symbols.iter().map(|s| (s.index, s.frames.clone())).collect();
        assert_eq!(seen, [(2, 0..2), (2, 3..4), (3, 4..7)]);
        assert!(symbols.iter().all(|s| (s.confidence - 0.5).abs() < 1e-6));
    }

    #[test]
    fn who_leaves_ends_it_at_the_next_frame() {
        let logits = path(&[2, 2, 0, 3, 1, 2]);
        counted::ends_at_any_look(6, |cancel| greedy_until(&logits, &vocab(), cancel));
    }

    #[test]
    fn equal_logits_choose_the_lower_index() {
        assert!(greedy(&[1.0; 4], &vocab()).unwrap().is_empty(), "index 0, the blank, wins the tie");
    }

    #[test]
    fn a_logit_that_is_not_finite_is_an_error() {
        let mut logits = path(&[2, 3]);
        logits[6] = f32::NAN;
        assert!(greedy(&logits, &vocab()).unwrap_err().to_string().contains("frame 1"));
        assert!(greedy(&logits[..7], &vocab()).is_err(), "seven logits are no whole frames");
    }
}
