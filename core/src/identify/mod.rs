//! Which language is it: the same seconds under every candidate's mask, and how sure each is of what it reads.
//!
//! A pack that hears its own language is sure at nearly every frame; one that hears another wavers. The measure
//! is the mean entropy of a frame's posteriors, its *doubt*. Packs differ in how sure they are of anything, so
//! each brings two numbers that make doubts comparable ([`Ear`]), learnt by [`fit`] from clips whose language is
//! known. Of what was tried on the demo's validation clips (best posterior, entropy, probability of the best
//! path, share of blanks, symbols a second, a character trigram of the text, and mixtures of them by
//! regression) the entropy with one offset a pack is the simplest that no mixture beats by more than chance.

mod fit;

pub use fit::{Heard, fit};

use crate::{
    Result,
    audio::RATE_HZ,
    engine::Emissions,
    packs::{self, LoadedPack},
};
use std::ops::Range;

/// Audio that is listened to, seconds.
const SECONDS: usize = 3;
/// Samples below this are no speech yet.
const QUIET: f32 = 0.01;

/// What is listened to of `samples` (16 kHz): the first seconds from where it is no longer quiet.
pub fn excerpt(samples: &[f32]) -> Range<usize> {
    let begins = samples.iter().position(|s| s.abs() >= QUIET).unwrap_or(0);
    // A tenth of a second before the first sound, as a listener would have it.
    let start = begins.saturating_sub(RATE_HZ as usize / 10);
    start..samples.len().min(start + SECONDS * RATE_HZ as usize)
}

/// Mean entropy, nats a frame, of logits `(T, V)` in row-major order; `None` without a frame.
pub fn doubt(logits: &[f32], symbols: usize) -> Option<f64> {
    let frames = logits.chunks_exact(symbols.max(1));
    let n = frames.len();
    (n > 0).then(|| frames.map(entropy).sum::<f64>() / n as f64)
}

/// H = ln Σ e^x - Σ x e^x / Σ e^x, over logits less their largest.
fn entropy(frame: &[f32]) -> f64 {
    let max = frame.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut total, mut weighted) = (0.0, 0.0);
    for x in frame.iter().map(|x| f64::from(x - max)) {
        total += x.exp();
        weighted += x * x.exp();
    }
    total.ln() - weighted / total
}

/// What a pack's doubt is worth beside another's: `score = offset - slope · doubt`. Softmax over the candidates'
/// scores is the probability of each. In a pack's metadata as `training.identification`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ear {
    /// Score lost per nat of doubt, > 0.
    pub slope: f32,
    /// A pack that doubts much of its own language has a large one.
    pub offset: f32,
}

impl Default for Ear {
    /// As steep as fits come out; no pack is preferred.
    fn default() -> Self {
        Self { slope: 15.0, offset: 0.0 }
    }
}

impl Ear {
    /// That of a pack's `training` metadata; `None` when it has none.
    ///
    /// # Errors
    /// When `training.identification` is there but is no `{"slope", "offset"}` of finite numbers, slope > 0.
    pub fn from_training(training: &serde_json::Value) -> Result<Option<Self>> {
        let usable = |e: &Self| e.slope.is_finite() && e.offset.is_finite() && e.slope > 0.0;
        packs::learnt(training, "identification", r#"{"slope": > 0, "offset": number}"#, usable)
    }

    /// For a pack without its own among others: neither favoured nor held back.
    fn mean(of: &[Self]) -> Self {
        let n = of.len() as f32;
        if of.is_empty() {
            return Self::default();
        }
        Self {
            slope: of.iter().map(|e| e.slope).sum::<f32>() / n,
            offset: of.iter().map(|e| e.offset).sum::<f32>() / n,
        }
    }
}

/// The probability of each candidate: what it heard, and the pack it heard it with. All alike for audio shorter
/// than a frame.
pub fn shares(heard: &[(Option<&Emissions>, &LoadedPack)]) -> Vec<f32> {
    let doubts: Option<Vec<f64>> =
        heard.iter().map(|(e, pack)| doubt(&(*e)?.logits, pack.vocab.len())).collect();
    let ears: Vec<Option<Ear>> = heard.iter().map(|(_, pack)| pack.ear).collect();
    probabilities(&doubts.unwrap_or_default(), &ears)
}

/// As [`shares`], from doubts that are known; without any all are alike.
pub fn probabilities(doubts: &[f64], ears: &[Option<Ear>]) -> Vec<f32> {
    let mean = Ear::mean(&ears.iter().copied().flatten().collect::<Vec<_>>());
    let score = |(i, ear): (usize, &Option<Ear>)| {
        let ear = ear.unwrap_or(mean);
        doubts.get(i).map_or(0.0, |doubt| f64::from(ear.offset) - f64::from(ear.slope) * doubt)
    };
    let scores: Vec<f64> = ears.iter().enumerate().map(score).collect();
    softmax(&scores).into_iter().map(|p| p as f32).collect()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total.max(f64::MIN_POSITIVE)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubt_is_zero_when_certain_and_ln_of_the_symbols_when_lost() {
        let lost = doubt(&[0.5; 12], 4).unwrap();
        assert!((lost - 4f64.ln()).abs() < 1e-9);
        assert!(doubt(&[100.0, 0.0, 0.0, 100.0], 2).unwrap() < 1e-9);
        assert_eq!(doubt(&[], 4), None);
    }

    #[test]
    fn offsets_undo_what_a_pack_doubts_by_habit() {
        let ears = [Some(Ear { slope: 10.0, offset: 3.0 }), Some(Ear { slope: 10.0, offset: 0.0 })];
        let shares = probabilities(&[0.5, 0.3], &ears);
        assert!(shares[0] > 0.7 && (shares.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{shares:?}");
        assert!(probabilities(&[0.5, 0.3], &[None, None])[0] < 0.1, "raw doubt, where nothing was learnt");
        assert_eq!(probabilities(&[], &ears), [0.5, 0.5], "silence prefers nobody");
    }

    #[test]
    fn a_pack_that_was_not_fitted_counts_as_the_mean_of_the_others() {
        let (a, b) = (Ear { slope: 8.0, offset: 1.0 }, Ear { slope: 12.0, offset: 3.0 });
        let doubts = [0.4, 0.2, 0.3];
        let mean = Ear { slope: 10.0, offset: 2.0 };
        let with = |third| probabilities(&doubts, &[Some(a), Some(b), third]);
        assert_eq!(with(None), with(Some(mean)));
    }

    #[test]
    fn numbers_in_the_metadata_are_checked() {
        let of = |v: serde_json::Value| Ear::from_training(&serde_json::json!({ "identification": v }));
        let ear = Ear { slope: 9.5, offset: -1.25 };
        assert_eq!(of(serde_json::to_value(ear).unwrap()).unwrap(), Some(ear));
        assert_eq!(Ear::from_training(&serde_json::json!({})).unwrap(), None);
        for wrong in [serde_json::json!({ "slope": 0.0, "offset": 0.0 }), serde_json::json!(3)] {
            assert!(of(wrong).unwrap_err().to_string().contains("training.identification"));
        }
    }
}
