//! Confidence that means what it says: of the words given 0.8, eight in ten should be right.
//!
//! The mean posterior of a word's symbols ranks words well but is no probability that the word is right.
//! Platt scaling (Platt 1999; on networks Guo et al. 2017) maps it to one by two numbers,
//!
//! `calibrated = σ(slope · ln(c / (1 - c)) + offset)`
//!
//! fitted by logistic regression on words known to be right or wrong; slope ≥ 0, so the order of words
//! never changes. The numbers live in a pack's metadata as `training.calibration`.

use super::Word;
use crate::{Error, Result, packs};

/// Posteriors are kept this far from 0 and 1, whose logits are infinite.
const EDGE: f64 = 1e-6;

/// A monotone map of confidences. The default changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Steepness, ≥ 0: below 1 the model was too sure of itself.
    pub slope: f32,
    /// Shift in log odds.
    pub offset: f32,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { slope: 1.0, offset: 0.0 }
    }
}

impl Calibration {
    /// The calibration of a pack's `training` metadata; `None` when it has none.
    ///
    /// # Errors
    /// When `training.calibration` is there but is no `{"slope", "offset"}` of finite numbers, slope ≥ 0.
    pub fn from_training(training: &serde_json::Value) -> Result<Option<Self>> {
        let usable = |c: &Self| c.slope.is_finite() && c.offset.is_finite() && c.slope >= 0.0;
        packs::learnt(training, "calibration", r#"{"slope": ≥ 0, "offset": number}"#, usable)
    }

    /// Fits the map to words' confidences and whether each was right: Newton's method on the logistic
    /// loss, with Platt's softened targets, which keep it finite where few words are wrong.
    ///
    /// # Errors
    /// When all words are right, or all wrong, or there are none: nothing to learn from.
    pub fn fit(words: &[(f32, bool)]) -> Result<Self> {
        let right = words.iter().filter(|w| w.1).count() as f64;
        let wrong = words.len() as f64 - right;
        if right == 0.0 || wrong == 0.0 {
            return Err(Error::InvalidRequest(format!(
                "calibration needs right and wrong words, there are {right} and {wrong}: give more audio"
            )));
        }
        let (high, low) = ((right + 1.0) / (right + 2.0), 1.0 / (wrong + 2.0));
        let samples: Vec<(f64, f64)> =
            words.iter().map(|&(c, ok)| (logit(f64::from(c)), if ok { high } else { low })).collect();
        let (slope, offset) = regress(&samples, 1.0);
        // Confidence that falls where it should rise says nothing: every word gets the mean.
        let (slope, offset) = if slope < 0.0 { (0.0, regress(&samples, 0.0).1) } else { (slope, offset) };
        Ok(Self { slope: slope as f32, offset: offset as f32 })
    }

    /// The calibrated confidence, 0..=1.
    pub fn map(&self, confidence: f32) -> f32 {
        sigmoid(f64::from(self.slope) * logit(f64::from(confidence)) + f64::from(self.offset)) as f32
    }

    /// Calibrates words in place.
    pub fn apply(&self, words: &mut [Word]) {
        for word in words {
            word.confidence = self.map(word.confidence);
        }
    }
}

/// Slope and offset of least logistic loss over `(x, target)`; `scale` 0 leaves the slope at 0.
fn regress(samples: &[(f64, f64)], scale: f64) -> (f64, f64) {
    const RIDGE: f64 = 1e-6;
    let (mut slope, mut offset) = (0.0, 0.0);
    for _ in 0..50 {
        // Gradient (g) and Hessian (h) in (slope, offset).
        let (mut g, mut h) = ([RIDGE * slope, RIDGE * offset], [RIDGE, 0.0, RIDGE]);
        for &(x, target) in samples {
            let (x, p) = (x * scale, sigmoid(slope * x * scale + offset));
            let (error, weight) = (p - target, p * (1.0 - p));
            g = [g[0] + error * x, g[1] + error];
            h = [h[0] + weight * x * x, h[1] + weight * x, h[2] + weight];
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        let step = [(h[2] * g[0] - h[1] * g[1]) / determinant, (h[0] * g[1] - h[1] * g[0]) / determinant];
        // A step is held to 2: far out the loss is nearly straight and Newton would overshoot.
        let size = step[0].abs().max(step[1].abs());
        let shrink = if size > 2.0 { 2.0 / size } else { 1.0 };
        if !size.is_finite() {
            break;
        }
        (slope, offset) = (slope - shrink * step[0], offset - shrink * step[1]);
        if size < 1e-9 {
            break;
        }
    }
    (slope, offset)
}

fn logit(p: f64) -> f64 {
    let p = p.clamp(EDGE, 1.0 - EDGE);
    (p / (1.0 - p)).ln()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// One row of a reliability table.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Bin {
    /// Confidences from here, inclusive ...
    pub from: f32,
    /// ... to here, exclusive but for the last.
    pub to: f32,
    /// Words in the bin.
    pub words: usize,
    /// Their mean confidence; 0 without words.
    pub confidence: f32,
    /// The fraction of them that is right; equal to `confidence` when calibrated. 0 without words.
    pub accuracy: f32,
}

/// Words by confidence in `bins` rows of equal width: what a reliability diagram draws.
pub fn reliability(words: &[(f32, bool)], bins: usize) -> Vec<Bin> {
    let row = |c: f32| ((c * bins as f32) as usize).min(bins.saturating_sub(1));
    (0..bins)
        .map(|i| {
            let inside: Vec<_> = words.iter().filter(|w| row(w.0) == i).collect();
            let share = |sum: f32| if inside.is_empty() { 0.0 } else { sum / inside.len() as f32 };
            Bin {
                from: i as f32 / bins as f32,
                to: (i + 1) as f32 / bins as f32,
                words: inside.len(),
                confidence: share(inside.iter().map(|w| w.0).sum()),
                accuracy: share(inside.iter().filter(|w| w.1).count() as f32),
            }
        })
        .collect()
}

/// Expected calibration error: mean |confidence - accuracy| over words, 0..=1 (Guo et al. 2017, eq. 3).
pub fn calibration_error(bins: &[Bin]) -> f32 {
    let words: usize = bins.iter().map(|b| b.words).sum();
    bins.iter().map(|b| (b.confidence - b.accuracy).abs() * b.words as f32).sum::<f32>() / words.max(1) as f32
}

/// Which words of a hypothesis are right: those that an alignment of least edits to the reference leaves as
/// they are; of several such alignments one that leaves the most.
pub fn right_words<S: AsRef<str>>(hypothesis: &[S], reference: &[S]) -> Vec<bool> {
    let (rows, columns) = (hypothesis.len() + 1, reference.len() + 1);
    let same = |i: usize, j: usize| hypothesis[i].as_ref() == reference[j].as_ref();
    // An edit costs more than any number of words left alone can earn.
    let edit = (rows + columns) as i64;
    let pair = |i: usize, j: usize| if same(i, j) { -1 } else { edit };
    // cost[(i, j)]: from hypothesis[i..] to reference[j..].
    let at = |i: usize, j: usize| i * columns + j;
    let mut cost = vec![0i64; rows * columns];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            cost[at(i, j)] = match (rows - 1 - i, columns - 1 - j) {
                (0, rest) | (rest, 0) => rest as i64 * edit,
                _ => (cost[at(i + 1, j + 1)] + pair(i, j))
                    .min(cost[at(i + 1, j)] + edit)
                    .min(cost[at(i, j + 1)] + edit),
            };
        }
    }
    let (mut i, mut j, mut right) = (0, 0, vec![false; hypothesis.len()]);
    while i < hypothesis.len() && j < reference.len() {
        if cost[at(i, j)] == cost[at(i + 1, j + 1)] + pair(i, j) {
            right[i] = same(i, j);
            (i, j) = (i + 1, j + 1);
        } else if cost[at(i, j)] == cost[at(i + 1, j)] + edit {
            i += 1;
        } else {
            j += 1;
        }
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    /// Words whose confidence is too high: right with probability σ(slope · logit(c) + offset).
    fn overconfident(slope: f64, offset: f64) -> Vec<(f32, bool)> {
        let mut rng = StdRng::seed_from_u64(7);
        (0..20_000)
            .map(|_| {
                let c: f64 = rng.random_range(0.05..0.999);
                (c as f32, rng.random_bool(sigmoid(slope * logit(c) + offset)))
            })
            .collect()
    }

    #[test]
    fn the_fit_finds_the_map_that_made_the_words_and_lowers_the_error() {
        let words = overconfident(0.6, -0.8);
        let fitted = Calibration::fit(&words).unwrap();
        assert!((fitted.slope - 0.6).abs() < 0.05 && (fitted.offset + 0.8).abs() < 0.05, "{fitted:?}");
        let mapped: Vec<_> = words.iter().map(|&(c, ok)| (fitted.map(c), ok)).collect();
        let (before, after) = (reliability(&words, 10), reliability(&mapped, 10));
        assert!(calibration_error(&before) > 0.1, "{}", calibration_error(&before));
        assert!(calibration_error(&after) < 0.02, "{}", calibration_error(&after));
        assert_eq!(after.iter().map(|b| b.words).sum::<usize>(), words.len(), "no word is lost");
    }

    #[test]
    fn words_that_tell_nothing_get_the_mean_and_one_sided_ones_are_refused() {
        let inverted: Vec<_> = overconfident(1.0, 0.0).into_iter().map(|(c, ok)| (c, !ok)).collect();
        let fitted = Calibration::fit(&inverted).unwrap();
        let mean = inverted.iter().filter(|w| w.1).count() as f32 / inverted.len() as f32;
        assert_eq!(fitted.slope, 0.0);
        assert!((fitted.map(0.9) - mean).abs() < 0.01);
        assert!(Calibration::fit(&[(0.5, true)]).unwrap_err().to_string().contains("1 and 0"));
        assert!(Calibration::fit(&[]).is_err());
    }

    #[test]
    fn separable_words_stay_finite() {
        let fitted = Calibration::fit(&[(0.9, true), (0.95, true), (0.1, false), (0.2, false)]).unwrap();
        assert!(fitted.slope.is_finite() && fitted.map(1.0) <= 1.0 && fitted.map(0.9) > fitted.map(0.2));
    }

    #[test]
    fn the_metadata_of_a_pack_is_read_back_or_refused() {
        let fitted = Calibration { slope: 0.5, offset: -1.0 };
        let training = serde_json::json!({ "hours": 1, "calibration": fitted });
        assert_eq!(Calibration::from_training(&training).unwrap(), Some(fitted));
        assert_eq!(Calibration::from_training(&serde_json::json!({})).unwrap(), None);
        let wrong = serde_json::json!({ "calibration": { "slope": -1.0, "offset": 0.0 } });
        assert!(Calibration::from_training(&wrong).unwrap_err().to_string().contains("training.calibration"));
    }

    #[test]
    fn right_words_survive_insertions_and_deletions() {
        let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
        let right = right_words(&words("uh the cat sad here"), &words("the big cat sat here"));
        assert_eq!(right, [false, true, true, false, true]);
        assert!(right_words::<&str>(&[], &["a"]).is_empty());
    }

    proptest! {
        #[test]
        fn the_map_is_monotone(slope in 0f32..5.0, offset in -5f32..5.0, a in 0f32..=1.0, b in 0f32..=1.0) {
            let map = Calibration { slope, offset };
            let (low, high) = (map.map(a.min(b)), map.map(a.max(b)));
            prop_assert!((0.0..=1.0).contains(&low) && low <= high && high <= 1.0);
        }
    }
}
