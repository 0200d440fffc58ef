//! Logits read another way than the engine's own: searched, with phrases to expect, several readings, or laid
//! under a text that is known. Costs milliseconds to tenths of a second, so it belongs on the caller's thread.

use crate::{
    Cancel, Error, Result,
    decode::{self, Beam, KeyTerms, Symbol, Word, WordModel},
    engine::Emissions,
    packs::LoadedPack,
};
use s3router_masks::Kind;
use std::sync::Arc;

/// How logits shall become text.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Prefixes kept by the beam search; `None` takes the best path.
    pub beam: Option<usize>,
    /// Phrases to expect; needs the beam.
    pub terms: Option<Arc<KeyTerms>>,
    /// Weight of the pack's n-gram model, where it has one; `None` is the model's usual weight, 0 leaves it out.
    pub lm_weight: Option<f32>,
    /// Readings to return, at least 1; more than one needs the beam.
    pub best: usize,
}

/// One way to read the audio.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The text.
    pub text: String,
    /// Its words with times and calibrated confidences.
    pub words: Vec<Word>,
    /// What it was ranked by: ln p(text | audio), and what n-grams and key terms added.
    pub score: f64,
}

/// A known text laid over its audio.
#[derive(Clone, Debug, PartialEq)]
pub struct Aligned {
    /// Each word with its characters.
    pub words: Vec<(Word, Vec<Word>)>,
    /// Mean ln probability of a frame on the text's path: near 0 where text and audio agree.
    pub score: f64,
}

impl LoadedPack {
    /// The readings of an utterance, best first; never empty.
    ///
    /// # Errors
    /// A classifier, which has no text; garbage instead of logits; [`Error::Abandoned`] once cancelled.
    pub fn read(&self, emissions: &Emissions, how: &Reading, cancel: &Cancel) -> Result<Vec<Candidate>> {
        self.expect_ctc()?;
        let Some(width) = how.beam else {
            let symbols = decode::greedy_until(&emissions.logits, &self.vocab, cancel)?;
            let score = symbols.iter().map(|s| f64::from(s.confidence.max(f32::MIN_POSITIVE)).ln()).sum();
            return Ok(vec![self.candidate(&symbols, score, emissions)]);
        };
        let words = self.lm.as_deref().map(|lm| {
            let usual = WordModel::new(lm);
            WordModel { alpha: how.lm_weight.unwrap_or(usual.alpha), ..usual }
        });
        let options = Beam {
            width: width.max(how.best),
            best: how.best,
            words: words.filter(|w| w.alpha != 0.0),
            terms: how.terms.as_deref(),
            ..Beam::default()
        };
        let found = decode::beam_until(&emissions.logits, &self.vocab, &options, cancel)?;
        Ok(found.iter().map(|h| self.candidate(&h.symbols, h.score, emissions)).collect())
    }

    /// Where each word and character of a known text is said.
    ///
    /// # Errors
    /// A classifier; a character that the vocabulary lacks; a text too long for the audio;
    /// [`Error::Abandoned`] once cancelled.
    pub fn align(&self, emissions: &Emissions, text: &str, cancel: &Cancel) -> Result<Aligned> {
        self.expect_ctc()?;
        let found = decode::align_until(&emissions.logits, &self.vocab, text, cancel)?;
        let frames = emissions.logits.len() / self.vocab.len().max(1);
        let mut words = found.spelled(&self.vocab, emissions.frame_seconds);
        words.iter_mut().for_each(|(word, _)| self.calibrate(std::slice::from_mut(word)));
        Ok(Aligned { words, score: found.score / frames.max(1) as f64 })
    }

    /// The phrases that a reading shall expect, spelled in this pack's symbols.
    ///
    /// # Errors
    /// An empty phrase, or a character that the vocabulary lacks: it is named.
    pub fn key_terms(&self, phrases: &[String], boost: f32) -> Result<KeyTerms> {
        KeyTerms::new(phrases.iter().map(|phrase| (phrase.as_str(), boost)), &self.vocab)
    }

    /// Turns mean posteriors into the probability of being right, where the pack knows how.
    pub fn calibrate(&self, words: &mut [Word]) {
        if let Some(calibration) = &self.calibration {
            calibration.apply(words);
        }
    }

    fn candidate(&self, symbols: &[Symbol], score: f64, emissions: &Emissions) -> Candidate {
        let mut words = decode::words(symbols, &self.vocab, emissions.frame_seconds);
        self.calibrate(&mut words);
        Candidate { text: decode::text(&words, &self.vocab), words, score }
    }

    fn expect_ctc(&self) -> Result<()> {
        match self.meta.kind {
            Kind::Ctc => Ok(()),
            Kind::Classifier => Err(Error::InvalidRequest(format!(
                "`{}` is a classifier and writes no text: decoder, keyterm, alternatives and align need a language",
                self.meta.language
            ))),
        }
    }
}
