//! What the text of a prefix adds to its acoustic score: language model, word bonus, key terms.

use super::lm::{Candidates, Context, Lm};
use super::{KeyTerms, Vocab};

/// A language model and how much it counts.
#[derive(Clone, Copy, Debug)]
pub struct WordModel<'a> {
    /// The n-grams.
    pub lm: &'a Lm,
    /// Weight of `ln p(word | context)`; 0.2 to 0.5, more for a model of much text.
    pub alpha: f32,
    /// Added for each word, against the model's preference for few; grows with `alpha`, 2 to 4.
    pub beta: f32,
    /// Added for each word the model does not list; -10 where its words are nearly all there are.
    pub unknown: f32,
}

impl<'a> WordModel<'a> {
    /// Alpha 0.4, beta 3, unknown -3: good for tr, es, en and it alike on the demo's validation sentences,
    /// under trigrams of some 3,000 sentences.
    pub fn new(lm: &'a Lm) -> Self {
        Self { lm, alpha: 0.4, beta: 3.0, unknown: -3.0 }
    }

    /// What a word adds after `context`, which it joins.
    fn add(&self, context: &mut Context, word: Option<u32>) -> f64 {
        let (ln_p, after) = self.lm.score(context, word);
        *context = after;
        let unknown = if word.is_none() { self.unknown } else { 0.0 };
        f64::from(self.alpha) * f64::from(ln_p) + f64::from(self.beta) + f64::from(unknown)
    }
}

/// The scorers of one search.
pub(super) struct Fusion<'a> {
    pub(super) vocab: &'a Vocab,
    words: Option<WordModel<'a>>,
    terms: Option<&'a KeyTerms>,
    /// In scripts without spaces, where each symbol is a word: its number in the model.
    alone: Vec<Option<u32>>,
    /// No single symbol adds more than this to a text.
    pub(super) most: f64,
}

/// All that the future of a prefix needs to know of its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextState {
    /// Sum of what words and key terms have added.
    pub(super) score: f64,
    term: u32,
    /// At the start of the text or after a separator.
    boundary: bool,
    /// Closed words, and the word being spelt; `None` without a model.
    words: Option<(Context, Candidates)>,
    /// The open word begins no listed word, and has paid for that already.
    paid: bool,
}

impl<'a> Fusion<'a> {
    pub(super) fn new(vocab: &'a Vocab, words: Option<WordModel<'a>>, terms: Option<&'a KeyTerms>) -> Self {
        let alone = match words.filter(|_| vocab.separator().is_none()) {
            Some(model) => (0..vocab.len()).map(|i| model.lm.word(vocab.written(i)?)).collect(),
            None => Vec::new(),
        };
        // A probability adds nothing unless its weight is negative; then there is no bound.
        let word = words.map_or(0.0, |m| match m.alpha >= 0.0 {
            true => f64::from(m.beta.max(0.0) + m.unknown.max(0.0)),
            false => f64::INFINITY,
        });
        Self { vocab, words, terms, alone, most: word + terms.map_or(0.0, KeyTerms::most) }
    }

    /// Before the first symbol.
    pub(super) fn start(&self) -> TextState {
        TextState {
            score: 0.0,
            term: self.terms.map_or(0, KeyTerms::start),
            boundary: true,
            words: self.words.map(|m| (m.lm.start(), m.lm.candidates())),
            paid: false,
        }
    }

    /// After one more symbol. A word is scored when it closes: at the separator, or at once in scripts
    /// without spaces. A word that can no longer become a listed one pays for it as soon as that shows.
    pub(super) fn extend(&self, state: &TextState, symbol: usize) -> TextState {
        let mut next = *state;
        self.step_terms(&mut next, symbol);
        let (Some(model), Some((context, letters))) = (self.words, next.words.as_mut()) else { return next };
        if Some(symbol) == self.vocab.separator() {
            self.close(&mut next);
        } else if let Some(written) = self.vocab.written(symbol) {
            match self.alone.get(symbol) {
                Some(&word) => next.score += model.add(context, word),
                None => {
                    *letters = model.lm.narrow(letters, written);
                    if letters.is_unknown() && !next.paid {
                        next.paid = true;
                        next.score += f64::from(model.unknown);
                    }
                }
            }
        }
        next
    }

    /// The score after `symbol`, without the cost of spelling on: exact but for [`Self::extend`]'s early
    /// payment. Cheap enough to rank every extension of every prefix.
    pub(super) fn foresee(&self, state: &TextState, symbol: usize) -> f64 {
        if !self.alone.is_empty() {
            return self.extend(state, symbol).score;
        }
        let mut next = *state;
        self.step_terms(&mut next, symbol);
        next.score
    }

    /// What ending the text here adds: the last word, the end of the sentence, unfinished key terms.
    pub(super) fn finish(&self, state: &TextState) -> f64 {
        let mut last = *state;
        last.score += self.terms.map_or(0.0, |terms| terms.finish(state.term));
        self.close(&mut last);
        if let (Some(model), Some((context, _))) = (self.words, &last.words) {
            last.score += f64::from(model.alpha) * f64::from(model.lm.finish(context));
        }
        last.score
    }

    fn step_terms(&self, state: &mut TextState, symbol: usize) {
        let Some(terms) = self.terms else { return };
        let boundary = Some(symbol) == self.vocab.separator();
        // Two separators in a row are one boundary.
        if !(boundary && state.boundary) {
            let (term, earned) = terms.step(state.term, symbol);
            state.term = term;
            state.score += earned;
        }
        state.boundary = boundary;
    }

    /// Scores the open word, if there is one.
    fn close(&self, state: &mut TextState) {
        let (Some(model), Some((context, letters))) = (self.words, &mut state.words) else { return };
        if letters.is_empty() {
            return;
        }
        let word = model.lm.complete(letters);
        state.score += model.add(context, word);
        if state.paid {
            state.score -= f64::from(model.unknown);
        }
        *letters = model.lm.candidates();
        state.paid = false;
    }
}
