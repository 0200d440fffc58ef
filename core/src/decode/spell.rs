//! Text → symbols: the way back, for forced alignment and key terms.

use super::Vocab;
use crate::{Error, Result};
use std::collections::HashMap;
use unicode_normalization::UnicodeNormalization;

/// The symbols that write `text`: NFC, runs of white space become one separator (nothing where the
/// vocabulary has none), the longest symbol first, a character's other case where only that is known.
///
/// # Errors
/// [`Error::InvalidRequest`] names the first character that no symbol writes.
pub fn spell(text: &str, vocab: &Vocab) -> Result<Vec<usize>> {
    let by_text: HashMap<&str, usize> = (0..vocab.len())
        .rev() // of equal symbols the lowest index stays
        .filter_map(|i| vocab.written(i).map(|s| (s, i)))
        .filter(|(s, _)| !s.is_empty())
        .collect();
    let longest = by_text.keys().map(|s| s.len()).max().unwrap_or(0);
    let text: String = text.nfc().collect();
    let mut symbols = Vec::with_capacity(text.len());
    for word in text.split_whitespace() {
        if let Some(separator) = vocab.separator().filter(|_| !symbols.is_empty()) {
            symbols.push(separator);
        }
        let mut rest = word;
        while let Some(first) = rest.chars().next() {
            let longest_match = (1..=longest.min(rest.len()))
                .rev()
                .filter_map(|n| rest.get(..n))
                .find_map(|s| by_text.get(s).map(|&i| (i, s.len())));
            let (index, bytes) = longest_match
                .or_else(|| other_case(first, &by_text).map(|i| (i, first.len_utf8())))
                .ok_or_else(|| unknown(first, word, vocab))?;
            symbols.push(index);
            rest = &rest[bytes..];
        }
    }
    Ok(symbols)
}

/// The symbol of the character in its lower or else its upper case.
fn other_case(c: char, by_text: &HashMap<&str, usize>) -> Option<usize> {
    let lower: String = c.to_lowercase().collect();
    let upper: String = c.to_uppercase().collect();
    by_text.get(lower.as_str()).or_else(|| by_text.get(upper.as_str())).copied()
}

fn unknown(c: char, word: &str, vocab: &Vocab) -> Error {
    Error::InvalidRequest(format!(
        "`{}` in `{}` is not in the pack's vocabulary of {} symbols: leave it out or write it in words",
        c.escape_debug(),
        word.escape_debug(),
        vocab.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocab(symbols: &[&str], separator: Option<&str>) -> Vocab {
        Vocab::new(symbols.iter().map(|s| s.to_string()).collect(), separator).unwrap()
    }

    #[test]
    fn runs_of_space_become_one_separator_and_the_longest_symbol_wins() {
        let vocab = vocab(&["<pad>", "|", "s", "c", "sch", "é"], Some("|"));
        assert_eq!(spell("  sch \t scs\n", &vocab).unwrap(), [4, 1, 2, 3, 2]);
        assert_eq!(spell("e\u{301}", &vocab).unwrap(), [5], "composed before it is looked up");
    }

    #[test]
    fn the_other_case_stands_in_and_scripts_without_spaces_drop_them() {
        assert_eq!(spell("aB", &vocab(&["<pad>", "A", "b"], None)).unwrap(), [1, 2]);
        assert_eq!(spell("是 出", &vocab(&["<pad>", "是", "出"], None)).unwrap(), [1, 2]);
    }

    #[test]
    fn a_character_no_symbol_writes_is_named() {
        let error = spell("ab, a", &vocab(&["<pad>", "|", "a", "b"], Some("|"))).unwrap_err();
        assert!(error.to_string().starts_with("`,` in `ab,` is not"), "{error}");
        assert!(spell("|", &vocab(&["<pad>", "|", "a"], Some("|"))).is_err(), "the separator is no letter");
    }
}
