//! CTC prefix beam search (Hannun et al. 2014, "First-Pass Large Vocabulary Continuous Speech Recognition
//! using Bi-Directional Recurrent DNNs", algorithm 1), with a word model and key terms.
//!
//! A prefix is a text so far. Each frame splits its probability, summed over alignments, in two: those that
//! end in a blank, `b`, and those that end in the prefix's last symbol, `s`. With `p(k)` the posterior of
//! symbol `k` in the frame and `l` the last symbol,
//!
//! ```text
//! stay:       b' = (b + s) · p(blank)      s' = s · p(l)
//! extend by k:                             s' = (k == l ? b : b + s) · p(k)
//! ```
//!
//! and the best `width` prefixes by `ln(b + s) + text score` go on to the next frame.

mod search;

use super::align::viterbi;
use super::fusion::{Fusion, WordModel};
use super::posteriors::log_posteriors;
use super::{KeyTerms, Symbol, Vocab};
use crate::{Cancel, Error, Result};
use search::Search;
use std::collections::HashSet;

/// How hard to search, and with what knowledge of the text.
#[derive(Clone, Copy, Debug)]
pub struct Beam<'a> {
    /// Prefixes kept from frame to frame.
    pub width: usize,
    /// Texts to return, at most `width`.
    pub best: usize,
    /// Symbols per frame that may extend a prefix; the likeliest, at least 1.
    pub symbols: usize,
    /// Posterior below which a symbol extends nothing, 0..1; 0 tries all.
    pub min_posterior: f32,
    /// Prefixes worse than the frame's best by more nats than this are dropped; infinity keeps all.
    pub gap: f64,
    /// N-grams of words.
    pub words: Option<WordModel<'a>>,
    /// Phrases to expect.
    pub terms: Option<&'a KeyTerms>,
}

impl Default for Beam<'_> {
    fn default() -> Self {
        Self { width: 32, best: 1, symbols: 40, min_posterior: 1e-3, gap: 25.0, words: None, terms: None }
    }
}

/// One text the audio may say.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Its symbols with the frames and confidences of their likeliest alignment, as from `greedy`.
    pub symbols: Vec<Symbol>,
    /// What it was ranked by: `acoustic` + what word model and key terms added.
    pub score: f64,
    /// `ln p(symbols | audio)`, summed over the alignments that the search kept.
    pub acoustic: f64,
}

/// Logits `(T, V)` to the best texts, best first, no text twice (separators aside). Deterministic: equal
/// ranks keep the order of prefix and symbol. Never empty: silence gives one hypothesis without symbols.
///
/// # Errors
/// As `greedy`; also a width or a number of texts or symbols of 0.
pub fn beam(logits: &[f32], vocab: &Vocab, options: &Beam<'_>) -> Result<Vec<Hypothesis>> {
    beam_until(logits, vocab, options, &Cancel::default())
}

/// As [`beam`], until cancelled: it ends at the next frame.
///
/// # Errors
/// As [`beam`], and [`Error::Abandoned`] once cancelled.
pub fn beam_until(
    logits: &[f32],
    vocab: &Vocab,
    options: &Beam<'_>,
    cancel: &Cancel,
) -> Result<Vec<Hypothesis>> {
    for (name, value) in [("width", options.width), ("best", options.best), ("symbols", options.symbols)] {
        if value == 0 {
            return Err(Error::InvalidRequest(format!("beam {name} is 0: give at least 1")));
        }
    }
    let frames = log_posteriors(logits, vocab, cancel)?;
    let fusion = Fusion::new(vocab, options.words, options.terms);
    let mut search = Search::new(&fusion, options);
    for frame in frames.chunks_exact(vocab.len()) {
        cancel.check()?;
        search.advance(frame);
    }
    let mut texts = HashSet::new();
    let mut best = Vec::new();
    for (symbols, score, acoustic) in search.ranked() {
        if texts.insert(written(&symbols, vocab)) {
            let symbols = viterbi(&frames, vocab, &symbols, cancel)?.symbols;
            best.push(Hypothesis { symbols, score, acoustic });
        }
        if best.len() == options.best {
            break;
        }
    }
    Ok(best)
}

/// What a reader sees: symbols that write, one separator between words, none at the ends.
fn written(symbols: &[usize], vocab: &Vocab) -> Vec<usize> {
    let separator = vocab.separator();
    let mut seen: Vec<usize> = Vec::with_capacity(symbols.len());
    for &symbol in symbols {
        let doubled = seen.last().is_none_or(|&last| Some(last) == separator);
        if vocab.written(symbol).is_some() || (Some(symbol) == separator && !doubled) {
            seen.push(symbol);
        }
    }
    if seen.last().copied() == separator {
        seen.pop();
    }
    seen
}

#[cfg(test)]
mod tests;
