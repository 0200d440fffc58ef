//! Which language is it: the same seconds under every candidate's mask, and how well each reads them.

use crate::{audio::RATE_HZ, engine::Emissions, packs::LoadedPack};
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

/// How well a pack reads what it hears; comparable between packs that heard the same audio.
pub fn score(emissions: Option<&Emissions>, pack: &LoadedPack) -> f64 {
    let v = pack.vocab.len().max(1);
    let Some(frames) = emissions.map(|e| e.logits.chunks_exact(v)).filter(|f| f.len() > 0) else {
        return 0.0;
    };
    let n = frames.len() as f64;
    frames
        .map(|frame| {
            let max = frame.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            -f64::from(frame.iter().map(|&x| (x - max).exp()).sum::<f32>()).ln()
        })
        .sum::<f64>()
        / n
}

/// Scores to shares that sum to 1.
pub fn shares(scores: &[f64]) -> Vec<f32> {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| (w / total.max(f64::MIN_POSITIVE)) as f32).collect()
}
