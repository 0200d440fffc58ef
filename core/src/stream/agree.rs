//! What of an open utterance may be shown as settled: the words that two readings agree on and that the sound
//! after them can hardly change any more.

use crate::decode::Word;

/// Words that end closer than this to the end of what was read may still change, seconds.
const MARGIN: f64 = 0.8;

/// Follows the readings of one utterance.
#[derive(Clone, Debug, Default)]
pub(super) struct Agreement {
    stable: Vec<Word>,
    last: Vec<Word>,
}

impl Agreement {
    /// Takes the next reading, of audio that ends at `end` (seconds, as the words' times): the settled words, which
    /// only ever grow, and the rest.
    pub(super) fn read(&mut self, words: Vec<Word>, end: f64) -> (&[Word], &[Word]) {
        let agreed =
            words.iter().zip(&self.last).take_while(|(a, b)| a.word == b.word && a.end <= end - MARGIN);
        let agreed = agreed.count();
        let same = |a: &[Word], b: &[Word]| a.iter().zip(b).all(|(a, b)| a.word == b.word);
        if agreed > self.stable.len() && same(&words, &self.stable) {
            self.stable = words[..agreed].to_vec();
        }
        self.last = words;
        // A reading that contradicts the settled words is believed only after them.
        let rest = if same(&self.last, &self.stable) && self.last.len() >= self.stable.len() {
            self.stable.len()
        } else {
            let settled = self.stable.last().map_or(0.0, |w| w.end);
            self.last.iter().position(|w| w.start >= settled).unwrap_or(self.last.len())
        };
        (&self.stable, &self.last[rest..])
    }

    /// The settled words.
    pub(super) fn stable(&self) -> &[Word] {
        &self.stable
    }
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
    fn two_readings_settle_what_they_share_but_not_its_last_moment() {
        let mut agreement = Agreement::default();
        assert_eq!(agreement.read(words("one two tree"), 2.6).0.len(), 0);
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
