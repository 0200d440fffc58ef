//! Confidence that means what it says.

use super::{Candidate, Reliability, logits};
use anyhow::{Context, Result, ensure};
use s3router_core::{
    Engine, Utterance,
    decode::{
        self, Vocab,
        confidence::{Calibration, calibration_error, reliability, right_words},
    },
};
use std::path::Path;

/// Rows of the reliability table.
const BINS: usize = 10;
/// Utterances handed to the engine at a time.
const AT_ONCE: usize = 64;

/// Every word heard: its mean posterior, and whether it is right.
pub(super) type Judged = Vec<(f32, bool)>;

/// One pack's calibration.
#[derive(Debug, serde::Serialize)]
pub struct Words {
    /// The pack's language.
    pub language: String,
    /// What `training.calibration` holds.
    pub calibration: Calibration,
    /// What it is worth.
    #[serde(flatten)]
    pub reliability: Reliability,
}

/// Fits on the pack's validation list; the words of its test list with what they are worth.
pub(super) fn judge(engine: &Engine, of: &Candidate) -> Result<(Words, Judged)> {
    let valid = hear(engine, of, &of.valid)?;
    let calibration = Calibration::fit(&valid).with_context(|| of.valid.display().to_string())?;
    let test = hear(engine, of, &of.test)?;
    ensure!(!test.is_empty(), "{} has no word to judge by", of.test.display());
    let mapped: Judged = test.iter().map(|&(c, right)| (calibration.map(c), right)).collect();
    let reliability = Reliability::of(&test, &mapped);
    Ok((Words { language: of.pack.meta.language.clone(), calibration, reliability }, test))
}

impl Reliability {
    pub(super) fn of(before: &[(f32, bool)], after: &[(f32, bool)]) -> Self {
        let (bins_before, bins_after) = (reliability(before, BINS), reliability(after, BINS));
        Self {
            before: calibration_error(&bins_before),
            after: calibration_error(&bins_after),
            words: before.len(),
            bins_before,
            bins_after,
        }
    }
}

fn hear(engine: &Engine, of: &Candidate, list: &Path) -> Result<Judged> {
    let vocab = &of.pack.vocab;
    let mut judged = Vec::new();
    of.each(list, usize::MAX, AT_ONCE, |clips| {
        let batch: Vec<_> = clips.iter().map(|c| Utterance::new(c.samples.as_slice(), &of.pack)).collect();
        for (clip, logits) in clips.iter().zip(logits(engine, &batch)?) {
            let heard = decode::words(&decode::greedy(&logits, vocab)?, vocab, 0.0);
            let texts: Vec<String> = heard.iter().map(|w| w.word.clone()).collect();
            let right = right_words(&texts, &reference(&clip.text, vocab));
            judged.extend(heard.iter().map(|w| w.confidence).zip(right));
        }
        Ok(())
    })?;
    Ok(judged)
}

/// The words of a reference as decoding cuts them: characters in scripts without spaces.
fn reference(text: &str, vocab: &Vocab) -> Vec<String> {
    match vocab.separator() {
        Some(_) => text.split_whitespace().map(String::from).collect(),
        None => text.chars().filter(|c| !c.is_whitespace()).map(String::from).collect(),
    }
}
