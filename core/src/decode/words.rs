//! Symbols → words with times in seconds.

use super::{Symbol, Vocab};

/// A word (a character where the script has no spaces) with its place in time.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// As written.
    pub word: String,
    /// Seconds from the start of the audio.
    pub start: f64,
    /// Seconds from the start of the audio, > `start`.
    pub end: f64,
    /// Mean posterior of its symbols, 0..=1.
    pub confidence: f32,
}

/// Gathers symbols into words. `frame_seconds` is the hop of one frame (0.02 for all known backbones).
///
/// With a separator a word is what stands between two of them; without one each symbol is a word.
pub fn words(symbols: &[Symbol], vocab: &Vocab, frame_seconds: f64) -> Vec<Word> {
    symbols
        .split(|s| Some(s.index) == vocab.separator())
        .flat_map(|group| match vocab.separator() {
            Some(_) => group.chunks(group.len().max(1)),
            None => group.chunks(1),
        })
        .filter_map(|group| word(group, vocab, frame_seconds))
        .collect()
}

/// One word of a group of symbols; `None` when it writes nothing.
fn word(group: &[Symbol], vocab: &Vocab, frame_seconds: f64) -> Option<Word> {
    let written: Vec<_> = group.iter().filter(|s| vocab.written(s.index).is_some()).collect();
    let (first, last) = (written.first()?, written.last()?);
    Some(Word {
        word: written.iter().filter_map(|s| vocab.written(s.index)).collect(),
        start: first.frames.start as f64 * frame_seconds,
        end: last.frames.end as f64 * frame_seconds,
        confidence: written.iter().map(|s| s.confidence).sum::<f32>() / written.len() as f32,
    })
}

/// The text of words: joined by a space where the vocabulary has a separator, else without.
pub fn text(words: &[Word], vocab: &Vocab) -> String {
    let space = if vocab.separator().is_some() { " " } else { "" };
    words.iter().map(|w| w.word.as_str()).collect::<Vec<_>>().join(space)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(index: usize, start: usize, end: usize, confidence: f32) -> Symbol {
        Symbol { index, frames: start..end, confidence }
    }

    #[test]
    fn separators_part_words_and_double_ones_make_no_empty_word() {
        let vocab = Vocab::new(["<pad>", "|", "a", "b"].map(String::from).to_vec(), Some("|")).unwrap();
        let path = [(1, 0), (2, 2), (3, 4), (1, 6), (1, 8), (3, 10)].map(|(i, t)| symbol(i, t, t + 1, 0.5));
        let words = words(&path, &vocab, 0.02);
        assert_eq!(text(&words, &vocab), "ab b");
        assert_eq!((words[0].start, words[0].end, words[1].start), (0.04, 0.1, 0.2));
    }

    #[test]
    fn scripts_without_spaces_give_one_word_a_character() {
        let vocab = Vocab::new(["<pad>", "是", "出", "<unk>"].map(String::from).to_vec(), Some("")).unwrap();
        let path = [symbol(1, 3, 5, 0.9), symbol(3, 5, 6, 0.2), symbol(2, 7, 8, 0.7)];
        let words = words(&path, &vocab, 0.02);
        assert_eq!(text(&words, &vocab), "是出", "the unknown marker is never written");
        assert_eq!(words.iter().map(|w| w.confidence).collect::<Vec<_>>(), [0.9, 0.7]);
    }
}
