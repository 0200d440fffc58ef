//! What of an open utterance may be shown as settled: the words that several readings in a row agree on and that the
//! sound after them can hardly change any more.
//!
//! With 4 readings and 0.8 s no final of the eleven golden clips contradicted what had been called settled, and a
//! quarter of the words were settled before the end; with 2 readings every second final contradicted it.

use crate::decode::Word;
use std::collections::VecDeque;

/// Words that end closer than this to the end of what was read may still change, seconds.
const MARGIN: f64 = 0.8;
/// Readings that must agree.
const READINGS: usize = 4;

/// Follows the readings of one utterance.
#[derive(Clone, Debug, Default)]
pub(super) struct Agreement {
    stable: Vec<Word>,
    /// The last readings, the youngest at the end.
    recent: VecDeque<Vec<Word>>,
}

impl Agreement {
    /// Takes the next reading, of audio that ends at `end` (seconds, as the words' times): the settled words, which
    /// only ever grow, and the rest.
    pub(super) fn read(&mut self, words: Vec<Word>, end: f64) -> (&[Word], &[Word]) {
        if self.recent.len() == READINGS {
            self.recent.pop_front();
        }
        let agreed = if self.recent.len() + 1 < READINGS { 0 } else { self.agreed(&words, end) };
        if agreed > self.stable.len() && alike(&words, &self.stable) {
            self.stable = words[..agreed].to_vec();
        }
        // A reading that contradicts the settled words is believed only after them.
        let rest = if alike(&words, &self.stable) && words.len() >= self.stable.len() {
            self.stable.len()
        } else {
            let settled = self.stable.last().map_or(0.0, |w| w.end);
            words.iter().position(|w| w.start >= settled).unwrap_or(words.len())
        };
        self.recent.push_back(words);
        (&self.stable, self.recent.back().map_or(&[], |words| &words[rest..]))
    }

    /// The settled words.
    pub(super) fn stable(&self) -> &[Word] {
        &self.stable
    }

    /// How many words from the first on every recent reading has, away from the end.
    fn agreed(&self, words: &[Word], end: f64) -> usize {
        let everywhere = |i: usize, word: &Word| {
            self.recent.iter().all(|reading| reading.get(i).is_some_and(|w| w.word == word.word))
        };
        words.iter().enumerate().take_while(|(i, w)| w.end <= end - MARGIN && everywhere(*i, w)).count()
    }
}

/// Whether one begins with the other.
fn alike(a: &[Word], b: &[Word]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.word == b.word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<Word> {
        let word = |(i, w): (usize, &str)| Word {
            word: w.into(),
            start: i as f64,
            end: i as f64 + 0.5,
            confidence: 1.0,
        };
        text.split_whitespace().enumerate().map(word).collect()
    }

    fn text(words: &[Word]) -> String {
        words.iter().map(|w| w.word.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn readings_in_a_row_settle_what_they_share_but_not_its_last_moment() {
        let mut agreement = Agreement::default();
        for end in [2.6, 3.0, 3.4] {
            assert_eq!(agreement.read(words("one two tree"), end).0.len(), 0);
        }
        let (stable, rest) = agreement.read(words("one two three four"), 4.0);
        assert_eq!((text(stable), text(rest)), ("one two".into(), "three four".into()));
        let (stable, rest) = agreement.read(words("on two three four"), 5.0);
        assert_eq!(
            (text(stable), text(rest)),
            ("one two".into(), "three four".into()),
            "what is settled stays"
        );
    }

    proptest! {
        #[test]
        fn stable_only_grows(readings in prop::collection::vec(prop::collection::vec("[ab]", 0..8), 1..12)) {
            let mut agreement = Agreement::default();
            let mut before = String::new();
            for (i, reading) in readings.iter().enumerate() {
                let (stable, rest) = agreement.read(words(&reading.join(" ")), i as f64);
                prop_assert!(text(stable).starts_with(&before));
                let settled = stable.last().map_or(0.0, |w| w.end);
                prop_assert!(rest.first().is_none_or(|w| w.start >= settled - 1.0));
                before = text(stable);
            }
        }
    }
}
