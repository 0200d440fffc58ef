//! Forced alignment: the likeliest frames of a text that is already known.
//!
//! CTC (Graves et al. 2006, section 4.1) sets a blank before, between and after the `L` symbols of the
//! text: states `0..2L + 1`, odd ones the symbols. Each frame stays, steps to the next state, or skips a
//! blank between two different symbols. With `p(t, k)` the posterior of symbol `k` in frame `t`,
//!
//! `best(t, s) = ln p(t, k_s) + max(best(t-1, s), best(t-1, s-1), best(t-1, s-2))`
//!
//! and the choices, two bits each, lead back from the end. Of long audio they are kept a block at a time: the way forth
//! keeps `best` where each block begins, the way back runs through each once more. Time O(T·L), memory O(√T·L): ten
//! minutes under a text of 30,000 characters come to 30 MB, by count.

use super::posteriors::log_posteriors;
use super::{Symbol, Vocab, Word, spell, words};
use crate::{Cancel, Error, Result};

/// A text laid over its audio.
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    /// One for each symbol of the text, in order, separators included; frames never overlap.
    pub symbols: Vec<Symbol>,
    /// ln probability of this path; divide by the frames to compare texts of different audio.
    pub score: f64,
}

impl Alignment {
    /// Words (characters for scripts without spaces) with times and confidences.
    pub fn words(&self, vocab: &Vocab, frame_seconds: f64) -> Vec<Word> {
        words(&self.symbols, vocab, frame_seconds)
    }

    /// The same, each word with its characters (a character alone where the script has no spaces).
    pub fn spelled(&self, vocab: &Vocab, frame_seconds: f64) -> Vec<(Word, Vec<Word>)> {
        let alone = |symbol: &Symbol| words(std::slice::from_ref(symbol), vocab, frame_seconds);
        let groups: Vec<&[Symbol]> = match vocab.separator() {
            Some(separator) => self.symbols.split(|s| s.index == separator).collect(),
            None => self.symbols.chunks(1).collect(),
        };
        let spell = |group: &&[Symbol]| {
            let word = words(group, vocab, frame_seconds).pop()?;
            Some((word, group.iter().flat_map(alone).collect()))
        };
        groups.iter().filter_map(spell).collect()
    }
}

/// Lays `text` over logits `(T, V)`: where each symbol is said, and how sure that is.
///
/// # Errors
/// A character that is not in the vocabulary is named; a text too long for the frames says both numbers.
pub fn align(logits: &[f32], vocab: &Vocab, text: &str) -> Result<Alignment> {
    align_until(logits, vocab, text, &Cancel::default())
}

/// As [`align`], until cancelled: it ends at the next frame.
///
/// # Errors
/// As [`align`], and [`Error::Abandoned`] once cancelled.
pub fn align_until(logits: &[f32], vocab: &Vocab, text: &str, cancel: &Cancel) -> Result<Alignment> {
    lay(logits, vocab, &spell(text, vocab)?, cancel)
}

/// [`align`] for symbols by vocabulary index.
///
/// # Errors
/// As [`align`]; also an index outside the vocabulary, and the blank, which is no text.
pub fn align_symbols(logits: &[f32], vocab: &Vocab, symbols: &[usize]) -> Result<Alignment> {
    lay(logits, vocab, symbols, &Cancel::default())
}

fn lay(logits: &[f32], vocab: &Vocab, symbols: &[usize], cancel: &Cancel) -> Result<Alignment> {
    if let Some(index) = symbols.iter().find(|&&i| i >= vocab.len() || i == vocab.blank()) {
        return Err(Error::InvalidRequest(format!(
            "symbol {index} cannot be aligned: the vocabulary has 0..{} and {} is the blank",
            vocab.len(),
            vocab.blank()
        )));
    }
    viterbi(&log_posteriors(logits, vocab, cancel)?, vocab, symbols, cancel)
}

/// The best path of `symbols` through log posteriors `(T, V)`.
pub(super) fn viterbi(
    frames: &[f32],
    vocab: &Vocab,
    symbols: &[usize],
    cancel: &Cancel,
) -> Result<Alignment> {
    let t_len = frames.len() / vocab.len();
    // `T / block` rows of f64 and `block` rows of two bits are fewest where both weigh the same.
    let block = (32.0 * t_len as f64).sqrt() as usize;
    viterbi_by(block.max(SHORT), frames, vocab, symbols, cancel)
}

/// Frames whose choices are kept at once however few there are: 10 s.
const SHORT: usize = 500;

/// The same, keeping the choices of `block` frames at a time.
fn viterbi_by(
    block: usize,
    frames: &[f32],
    vocab: &Vocab,
    symbols: &[usize],
    cancel: &Cancel,
) -> Result<Alignment> {
    let (v, t_len) = (vocab.len(), frames.len() / vocab.len());
    let repeats = symbols.windows(2).filter(|pair| pair[0] == pair[1]).count();
    if symbols.len() + repeats > t_len {
        return Err(Error::InvalidRequest(format!(
            "the text needs {} frames and the audio has {t_len}: shorten the text or send all of the audio",
            symbols.len() + repeats
        )));
    }
    let lattice = Lattice { vocab, symbols };
    let mut best = vec![f64::NEG_INFINITY; lattice.states()];
    best[0] = 0.0; // before the first frame: a virtual blank, from which state 0 or 1 is entered
    let blocks: Vec<&[f32]> = frames.chunks(block * v).collect();
    let mut starts = vec![best.clone()];
    for earlier in &blocks[..blocks.len().saturating_sub(1)] {
        lattice.advance(earlier, &mut best, cancel, |_, _, _| ())?;
        starts.push(best.clone());
    }

    let (mut end, mut t) = (None, t_len);
    let mut out: Vec<Symbol> =
        symbols.iter().map(|&index| Symbol { index, frames: 0..0, confidence: 0.0 }).collect();
    for (frames, mut best) in blocks.into_iter().zip(starts).rev() {
        let mut choices = Choices::new(frames.len() / v, lattice.states());
        lattice.advance(frames, &mut best, cancel, |t, s, back| choices.set(t, s, back))?;
        let (mut state, score) = end.unwrap_or_else(|| lattice.end(&best));
        for (at, frame) in frames.chunks_exact(v).enumerate().rev() {
            t -= 1;
            if state % 2 == 1 {
                let symbol = &mut out[state / 2];
                if symbol.frames.is_empty() {
                    symbol.frames.end = t + 1;
                }
                symbol.frames.start = t;
                symbol.confidence += frame[symbol.index].exp();
            }
            state -= choices.get(at, state);
        }
        end = Some((state, score));
    }
    for symbol in &mut out {
        symbol.confidence /= symbol.frames.len().max(1) as f32;
    }
    Ok(Alignment { symbols: out, score: end.map_or(0.0, |(_, score)| score) })
}

/// The states of a text.
struct Lattice<'a> {
    vocab: &'a Vocab,
    symbols: &'a [usize],
}

impl Lattice<'_> {
    fn states(&self) -> usize {
        2 * self.symbols.len() + 1
    }

    fn symbol_of(&self, state: usize) -> usize {
        if state % 2 == 1 { self.symbols[state / 2] } else { self.vocab.blank() }
    }

    fn may_skip(&self, state: usize) -> bool {
        state % 2 == 1 && state > 1 && self.symbols[state / 2] != self.symbols[state / 2 - 1]
    }

    /// Takes `best` through some frames, and tells each choice: frame, state, states back.
    fn advance(
        &self,
        frames: &[f32],
        best: &mut [f64],
        cancel: &Cancel,
        mut tell: impl FnMut(usize, usize, u8),
    ) -> Result<()> {
        for (t, frame) in frames.chunks_exact(self.vocab.len()).enumerate() {
            cancel.check()?;
            // Downwards, so that `best` below `s` still belongs to the frame before.
            for s in (0..self.states()).rev() {
                let (mut from, mut back) = (best[s], 0);
                if s >= 1 && best[s - 1] > from {
                    (from, back) = (best[s - 1], 1);
                }
                if self.may_skip(s) && best[s - 2] > from {
                    (from, back) = (best[s - 2], 2);
                }
                best[s] = from + f64::from(frame[self.symbol_of(s)]);
                tell(t, s, back);
            }
        }
        Ok(())
    }

    /// The last symbol or the blank after it, whichever is likelier, and how likely.
    fn end(&self, best: &[f64]) -> (usize, f64) {
        let last = self.states() - 1;
        let end = if last > 0 && best[last - 1] > best[last] { last - 1 } else { last };
        (end, best[end])
    }
}

/// A table `(T, states)` of 0, 1 or 2 states back, four to the byte.
struct Choices {
    packed: Vec<u8>,
    row: usize,
}

impl Choices {
    fn new(frames: usize, states: usize) -> Self {
        let row = states.div_ceil(4);
        Self { packed: vec![0; frames * row], row }
    }

    fn set(&mut self, t: usize, s: usize, back: u8) {
        self.packed[t * self.row + s / 4] |= back << (2 * (s % 4));
    }

    fn get(&self, t: usize, s: usize) -> usize {
        usize::from(self.packed[t * self.row + s / 4] >> (2 * (s % 4)) & 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::counted;
    use crate::decode::brute::{collapse, paths, random_logits};
    use proptest::prelude::*;

    fn vocab(v: usize) -> Vocab {
        let symbols = ["<pad>", "a", "b", "|"][..v].iter().map(|s| s.to_string()).collect();
        Vocab::new(symbols, (v == 4).then_some("|")).unwrap()
    }

    proptest! {
        #[test]
        fn the_score_is_the_best_of_all_paths_that_collapse_to_the_text(
            seed: u64, v in 2usize..=4, t in 1usize..=5, text in proptest::collection::vec(1usize..4, 0..4)
        ) {
            let (vocab, logits) = (vocab(v), random_logits(seed, t, v));
            let text: Vec<usize> = text.into_iter().map(|s| 1 + (s - 1) % (v - 1)).collect();
            let frames = log_posteriors(&logits, &vocab, &Cancel::default()).unwrap();
            let ln_p = |path: &[usize]| -> f64 {
                path.iter().enumerate().map(|(t, &k)| f64::from(frames[t * v + k])).sum()
            };
            let best = paths(t, v).filter(|p| collapse(p) == text).map(|p| ln_p(&p)).max_by(f64::total_cmp);
            match (align_symbols(&logits, &vocab, &text), best) {
                (Ok(found), Some(best)) => {
                    prop_assert!((found.score - best).abs() < 1e-6, "{} is not {best}", found.score);
                    // The frames themselves spell a path: as text, and as likely as claimed.
                    let mut path = vec![0; t];
                    found.symbols.iter().for_each(|s| path[s.frames.clone()].fill(s.index));
                    prop_assert_eq!(collapse(&path), text);
                    prop_assert!((ln_p(&path) - found.score).abs() < 1e-6);
                    prop_assert!(found.symbols.windows(2).all(|w| w[0].frames.end <= w[1].frames.start));
                }
                (Err(error), None) => prop_assert!(error.to_string().contains("frames and the audio has")),
                (found, best) => prop_assert!(false, "{found:?} where the best path is {best:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn a_block_at_a_time_is_all_at_once(seed: u64, t in 1usize..40, block in 1usize..50, n in 0usize..8) {
            let (vocab, logits) = (vocab(4), random_logits(seed, t, 4));
            let text: Vec<usize> = (0..n).map(|i| 1 + (seed as usize >> i) % 3).collect();
            let by = |block| viterbi_by(block, &logits, &vocab, &text, &Cancel::default()).ok();
            prop_assert_eq!(by(block), by(t));
        }
    }

    #[test]
    fn who_leaves_ends_it_at_the_next_frame() {
        let (vocab, logits) = (vocab(4), random_logits(7, 30, 4));
        // Once for the posteriors, once for the path.
        counted::ends_at_any_look(60, |cancel| align_until(&logits, &vocab, "ab ba", cancel));
    }

    #[test]
    fn a_text_gets_word_times_and_confidences() {
        // One frame per index, its logit far above the others.
        let best = [0, 1, 1, 3, 0, 2, 2, 0];
        let logits: Vec<f32> =
            best.iter().flat_map(|&b| (0..4).map(move |i| if i == b { 12.0 } else { 0.0 })).collect();
        let vocab = vocab(4);
        let words = align(&logits, &vocab, "a  b").unwrap().words(&vocab, 0.02);
        let seen: Vec<_> = words.iter().map(|w| (w.word.as_str(), w.start, w.end)).collect();
        assert_eq!(seen, [("a", 0.02, 0.06), ("b", 0.1, 0.14)]);
        assert!(words.iter().all(|w| w.confidence > 0.99));
        let spelled = align(&logits, &vocab, "a b").unwrap().spelled(&vocab, 0.02);
        assert_eq!(spelled.iter().map(|(w, _)| w).collect::<Vec<_>>(), words.iter().collect::<Vec<_>>());
        assert!(spelled.iter().all(|(word, letters)| letters[..] == [word.clone()]));
        let wrong = align(&logits, &vocab, "b b").unwrap().words(&vocab, 0.02);
        assert!(wrong[0].confidence < 0.01, "what was not said is not believed: {wrong:?}");
    }

    #[test]
    fn a_text_that_cannot_fit_says_both_numbers_and_a_foreign_letter_is_named() {
        let (vocab, logits) = (vocab(4), random_logits(1, 3, 4));
        let error = align(&logits, &vocab, "aab").unwrap_err().to_string();
        assert!(error.contains("needs 4 frames and the audio has 3"), "{error}");
        assert!(align(&logits, &vocab, "ñ").unwrap_err().to_string().contains("`ñ`"));
        assert!(
            align_symbols(&logits, &vocab, &[0]).is_err() && align_symbols(&logits, &vocab, &[4]).is_err()
        );
        assert!(align(&logits, &vocab, " ").unwrap().symbols.is_empty(), "silence is a text, too");
    }
}
