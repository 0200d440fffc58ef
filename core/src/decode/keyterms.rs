//! Key terms: names and phrases the caller expects, each symbol of which is made more likely.
//!
//! An Aho-Corasick automaton (1975) over symbols. A state is the longest beginning of a phrase that ends
//! the prefix, and what a prefix has earned is
//!
//! `earned = Σ boost · length of each phrase found + boost · symbols matched of the phrase under way`
//!
//! so hope is paid symbol by symbol, early enough to keep the phrase in the beam, and taken back in the
//! step where the phrase fails. With a separator, phrases begin and end at word boundaries: `cat` earns
//! nothing in `concatenate`.

use super::{Vocab, spell};
use crate::{Error, Result};
use std::collections::{BTreeMap, VecDeque};

/// Phrases compiled for one vocabulary.
#[derive(Clone, Debug)]
pub struct KeyTerms {
    states: Vec<State>,
    separator: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct State {
    next: BTreeMap<usize, u32>,
    /// The longest proper suffix that begins a phrase.
    fallback: u32,
    /// Earned by the phrase under way, beyond the last phrase found on its path.
    pending: f64,
    /// Earned for good by every phrase that ends here.
    found: f64,
}

/// The state before any symbol of a phrase.
const ROOT: u32 = 0;

impl KeyTerms {
    /// Compiles phrases with their boosts: nats for each symbol matched; 0.5 to 3 is usual, and a negative
    /// one makes a phrase less likely.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for an empty phrase, a boost that is not finite, and a character that the
    /// vocabulary lacks.
    pub fn new<'a>(phrases: impl IntoIterator<Item = (&'a str, f32)>, vocab: &Vocab) -> Result<Self> {
        let mut terms = Self { states: vec![State::default()], separator: vocab.separator() };
        for (phrase, boost) in phrases {
            let symbols = spell(phrase, vocab)?;
            if symbols.is_empty() || !boost.is_finite() {
                return Err(Error::InvalidRequest(format!(
                    "key term `{}` with boost {boost}: expected a phrase and a finite number",
                    phrase.escape_debug()
                )));
            }
            terms.insert(&symbols, f64::from(boost));
        }
        terms.link();
        Ok(terms)
    }

    /// The state at the start of the text, which is a word boundary.
    pub(super) fn start(&self) -> u32 {
        self.separator.map_or(ROOT, |separator| self.step(ROOT, separator).0)
    }

    /// The state after one more symbol and what the prefix earns or pays back by it.
    pub(super) fn step(&self, state: u32, symbol: usize) -> (u32, f64) {
        let mut next = state;
        let target = loop {
            match self.states[next as usize].next.get(&symbol) {
                Some(&target) => break target,
                None if next == ROOT => break ROOT,
                None => next = self.states[next as usize].fallback,
            }
        };
        let arrived = &self.states[target as usize];
        (target, arrived.found + arrived.pending - self.states[state as usize].pending)
    }

    /// What the end of the text earns or pays back: a boundary, then nothing is under way any more.
    pub(super) fn finish(&self, state: u32) -> f64 {
        let (last, earned) = self.separator.map_or((state, 0.0), |separator| self.step(state, separator));
        earned - self.states[last as usize].pending
    }

    /// No single step earns more than this.
    pub(super) fn most(&self) -> f64 {
        let (high, low) = self
            .states
            .iter()
            .fold((0.0f64, 0.0f64), |(high, low), s| (high.max(s.found + s.pending), low.min(s.pending)));
        high - low
    }

    /// Adds the path of a phrase; `pending` holds what its symbols earn until [`Self::link`] settles it.
    fn insert(&mut self, symbols: &[usize], boost: f64) {
        let boundary = self.separator.into_iter();
        let path = boundary.clone().chain(symbols.iter().copied()).chain(boundary);
        let before = usize::from(self.separator.is_some());
        let mut state = ROOT;
        for (depth, symbol) in path.enumerate() {
            let fresh = self.states.len() as u32;
            let next = *self.states[state as usize].next.entry(symbol).or_insert(fresh);
            if next == fresh {
                self.states.push(State::default());
            }
            state = next;
            let matched = (depth + 1).saturating_sub(before).min(symbols.len());
            stronger(&mut self.states[state as usize].pending, boost * matched as f64);
        }
        stronger(&mut self.states[state as usize].found, boost * symbols.len() as f64);
    }

    /// Breadth first: fallbacks, phrases that end inside others, and pending less what a phrase found
    /// on the same path has already settled.
    fn link(&mut self) {
        let mut queue = VecDeque::from([(ROOT, 0.0)]);
        while let Some((state, mut settled)) = queue.pop_front() {
            let here = &mut self.states[state as usize];
            let (whole, own) = (here.pending, here.found);
            if own != 0.0 {
                settled = own;
            }
            here.pending = whole - settled;
            let fallback = here.fallback;
            if state != ROOT {
                self.states[state as usize].found = own + self.states[fallback as usize].found;
            }
            for (symbol, child) in self.states[state as usize].next.clone() {
                self.states[child as usize].fallback =
                    if state == ROOT { ROOT } else { self.step(fallback, symbol).0 };
                queue.push_back((child, settled));
            }
        }
    }
}

/// Of two boosts on one path the stronger counts.
fn stronger(have: &mut f64, new: f64) {
    if new.abs() > have.abs() {
        *have = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocab() -> Vocab {
        let letters = ["<pad>", "|"].into_iter().map(String::from).chain(('a'..='z').map(String::from));
        Vocab::new(letters.collect(), Some("|")).unwrap()
    }

    /// What a text earns at its end, and the most it had on the way.
    fn earned(terms: &KeyTerms, vocab: &Vocab, text: &str) -> (f64, f64) {
        let (mut state, mut sum, mut peak) = (terms.start(), 0.0, 0.0f64);
        for symbol in spell(text, vocab).unwrap() {
            let (next, delta) = terms.step(state, symbol);
            (state, sum) = (next, sum + delta);
            peak = peak.max(sum);
        }
        (sum + terms.finish(state), peak)
    }

    #[test]
    fn hope_is_paid_by_the_symbol_and_taken_back_when_the_phrase_fails() {
        let vocab = vocab();
        let terms = KeyTerms::new([("new york", 2.0)], &vocab).unwrap();
        assert_eq!(earned(&terms, &vocab, "in new york now"), (16.0, 18.0), "hope at `n`");
        assert_eq!(earned(&terms, &vocab, "new york"), (16.0, 16.0), "the end of the text ends a word");
        assert_eq!(earned(&terms, &vocab, "new yo"), (0.0, 12.0), "unfinished at the end");
        assert_eq!(earned(&terms, &vocab, "new yours"), (0.0, 12.0));
        assert_eq!(earned(&terms, &vocab, "new new york new york"), (32.0, 32.0));
    }

    #[test]
    fn phrases_stand_between_word_boundaries_only() {
        let vocab = vocab();
        let terms = KeyTerms::new([("cat", 1.0)], &vocab).unwrap();
        assert_eq!(earned(&terms, &vocab, "cat cats concat concatenate").0, 3.0);
    }

    #[test]
    fn phrases_inside_phrases_and_beginnings_of_others_all_count() {
        let vocab = vocab();
        let terms =
            KeyTerms::new([("york", 1.0), ("new york city", 1.0), ("new york", 1.0)], &vocab).unwrap();
        assert_eq!(earned(&terms, &vocab, "new york x").0, 12.0);
        assert_eq!(earned(&terms, &vocab, "new york city").0, 25.0);
        assert_eq!(earned(&terms, &vocab, "new yorkers").0, 0.0);
    }

    #[test]
    fn scripts_without_spaces_match_anywhere() {
        let vocab = Vocab::new(["<pad>", "是", "出", "人"].map(String::from).to_vec(), None).unwrap();
        let terms = KeyTerms::new([("出人", 1.5)], &vocab).unwrap();
        assert_eq!(earned(&terms, &vocab, "是出人是出").0, 3.0);
    }

    #[test]
    fn an_empty_phrase_and_a_foreign_letter_are_refused() {
        let vocab = vocab();
        assert!(KeyTerms::new([(" ", 1.0)], &vocab).is_err());
        assert!(KeyTerms::new([("a", f32::NAN)], &vocab).is_err());
        assert!(KeyTerms::new([("café", 1.0)], &vocab).unwrap_err().to_string().contains("`é`"));
    }
}
