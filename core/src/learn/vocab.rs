//! Text → symbols: normalisation by language, a vocabulary counted from text, labels for CTC.

use std::collections::BTreeMap;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Index 0 of every vocabulary.
pub const BLANK_SYMBOL: &str = "<pad>";
/// The symbol between words.
pub const SEPARATOR: &str = "|";

const SOFT_HYPHEN: char = '\u{ad}';
const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';

/// What one symbol of a label is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A Unicode scalar value of the normalised text.
    #[default]
    Characters,
    /// A blank-separated token, such as a phone; the text is taken as it is.
    Tokens,
}

/// The symbols of a language; index 0 is the CTC blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocab {
    symbols: Vec<String>,
    index: BTreeMap<String, u32>,
    separator: bool,
    unit: Unit,
}

impl Vocab {
    /// The symbols of `texts` (already [`normalize`]d), the most frequent first, ties by code point.
    ///
    /// Symbols seen fewer than `at_least` times are left out. Languages written without spaces get no separator.
    pub fn count<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        language: &str,
        unit: Unit,
        at_least: usize,
    ) -> Self {
        let separator = unit == Unit::Characters && !without_spaces(language);
        let mut counts = BTreeMap::<String, usize>::new();
        for text in texts {
            for symbol in split(text, unit, separator) {
                *counts.entry(symbol).or_default() += 1;
            }
        }
        if separator {
            // Single words have none between them; who reads the pack still separates words by it.
            counts.entry(SEPARATOR.to_owned()).or_default();
        }
        let stays = |(s, n): &(String, usize)| *n >= at_least || (separator && s == SEPARATOR);
        let mut symbols: Vec<_> = counts.into_iter().filter(stays).collect();
        symbols.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        let symbols =
            std::iter::once(BLANK_SYMBOL.to_owned()).chain(symbols.into_iter().map(|(s, _)| s)).collect();
        Self::given(symbols, separator, unit)
    }

    /// A vocabulary by index, 0 the blank.
    pub fn given(symbols: Vec<String>, separator: bool, unit: Unit) -> Self {
        let index = symbols.iter().enumerate().skip(1).map(|(i, s)| (s.clone(), i as u32)).collect();
        Self { symbols, index, separator, unit }
    }

    /// Symbols by index.
    pub fn symbols(&self) -> &[String] {
        &self.symbols
    }

    /// `|` where words are separated.
    pub fn word_separator(&self) -> Option<&'static str> {
        self.separator.then_some(SEPARATOR)
    }

    /// Labels of a normalised text, and how many of its symbols the vocabulary lacks (they are skipped).
    pub fn encode(&self, text: &str) -> (Vec<u32>, usize) {
        let symbols = split(text, self.unit, self.separator);
        let total = symbols.len();
        let labels: Vec<u32> = symbols.iter().filter_map(|s| self.index.get(s).copied()).collect();
        let unknown = total - labels.len();
        (labels, unknown)
    }

    /// Symbols of normalised texts that the vocabulary lacks, and how often they occur, the most frequent first.
    pub fn unknown<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> Vec<(String, usize)> {
        let mut counts = BTreeMap::<String, usize>::new();
        let symbols = texts.into_iter().flat_map(|text| split(text, self.unit, self.separator));
        for symbol in symbols.filter(|s| !self.index.contains_key(s)) {
            *counts.entry(symbol).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        counts
    }

    /// Symbols → text, the inverse of [`encode`](Self::encode).
    pub fn decode(&self, labels: &[u32]) -> String {
        let symbols = labels.iter().filter_map(|&i| self.symbols.get(i as usize));
        match self.unit {
            Unit::Tokens => symbols.map(String::as_str).collect::<Vec<_>>().join(" "),
            Unit::Characters if self.separator => {
                let text: String = symbols.map(|s| if s == SEPARATOR { " " } else { s }).collect();
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            }
            Unit::Characters => symbols.map(String::as_str).collect(),
        }
    }
}

fn split(text: &str, unit: Unit, separator: bool) -> Vec<String> {
    match unit {
        Unit::Tokens => text.split_whitespace().map(str::to_owned).collect(),
        Unit::Characters => text
            .chars()
            .filter(|c| separator || !c.is_whitespace())
            .map(|c| if c.is_whitespace() { SEPARATOR.to_owned() } else { c.to_string() })
            .collect(),
    }
}

/// Text as a CTC head of `language` spells it: NFC, lower case by the language's own rules, letters,
/// digits, marks, and between letters apostrophes and the (non-)joiners that Persian and Indic scripts spell with; soft
/// hyphens go, all else separates words. Scripts without spaces lose them.
pub fn normalize(text: &str, language: &str) -> String {
    let composed = lower(&text.nfc().collect::<String>(), language);
    let composed: Vec<char> = composed.nfc().filter(|c| *c != SOFT_HYPHEN).collect();
    let is_letter = |i: usize| composed.get(i).is_some_and(|&c| c.is_alphanumeric() || is_combining_mark(c));
    let kept = composed.iter().enumerate().map(|(i, &c)| match c {
        '\'' | '’' | 'ʼ' | '‘' if i > 0 && is_letter(i - 1) && is_letter(i + 1) => '\'',
        ZERO_WIDTH_JOINER | ZERO_WIDTH_NON_JOINER if i > 0 && is_letter(i - 1) && is_letter(i + 1) => c,
        _ if is_letter(i) => c,
        _ => ' ',
    });
    let spaced: String = kept.collect();
    let between = if without_spaces(language) { "" } else { " " };
    spaced.split_whitespace().collect::<Vec<_>>().join(between)
}

/// Lower case; the Turkic Latin alphabets keep dotted and dotless i apart.
fn lower(text: &str, language: &str) -> String {
    match base(language).as_str() {
        "tr" | "az" | "tt" | "crh" | "gag" => {
            // A decomposed İ was composed before; what is left of U+0307 belongs to other letters.
            text.chars()
                .map(|c| {
                    if c == 'I' {
                        'ı'
                    } else if c == 'İ' {
                        'i'
                    } else {
                        c
                    }
                })
                .collect::<String>()
        }
        _ => text.to_owned(),
    }
    .to_lowercase()
}

/// Whether the language is written without spaces between words.
pub fn without_spaces(language: &str) -> bool {
    matches!(
        base(language).as_str(),
        "zh" | "yue" | "cmn" | "nan" | "wuu" | "ja" | "th" | "lo" | "km" | "my" | "bo"
    )
}

fn base(language: &str) -> String {
    language.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turkish_keeps_both_its_letters_i() {
        assert_eq!(normalize("IŞIK, İyi! Istanbul'un", "tr"), "ışık iyi ıstanbul'un");
        assert_eq!(normalize("I\u{307}yi", "tr"), "iyi");
        assert_eq!(normalize("IT IS", "en"), "it is");
    }

    #[test]
    fn composed_and_decomposed_text_are_one() {
        assert_eq!(normalize("e\u{301}te\u{301}", "fr"), normalize("ÉTÉ", "fr"));
        assert_eq!(normalize("«L’été» – c'est 'bien'…", "fr"), "l'été c'est bien");
        assert_eq!(normalize("ΟΔΟΣ", "el"), "οδος");
    }

    #[test]
    fn what_cannot_be_seen_splits_no_word() {
        assert_eq!(normalize("می\u{200c}خواهم", "fa"), "می\u{200c}خواهم");
        assert_eq!(normalize("ශ්\u{200d}රී ලංකා", "si"), "ශ්\u{200d}රී ලංකා");
        assert_eq!(normalize("Donau\u{ad}dampf \u{200d}er", "de"), "donaudampf er");
    }

    #[test]
    fn single_words_have_a_separator_all_the_same() {
        let vocab = Vocab::count(["one", "two"], "en", Unit::Characters, 2);
        assert_eq!(vocab.symbols(), ["<pad>", "o", "|"]);
        assert_eq!(vocab.word_separator(), Some("|"));
    }

    #[test]
    fn chinese_is_characters_without_spaces_or_separator() {
        assert_eq!(normalize("你好,世 界。", "zh_TW"), "你好世界");
        let vocab = Vocab::count(["你好世界", "你好"], "zh-TW", Unit::Characters, 1);
        assert_eq!(vocab.symbols()[..3], ["<pad>", "你", "好"]);
        assert_eq!(vocab.word_separator(), None);
        assert_eq!(vocab.encode("好你"), (vec![2, 1], 0));
    }

    #[test]
    fn labels_go_there_and_back_and_unknown_symbols_are_counted() {
        let vocab = Vocab::count(["aa b", "a c"], "en", Unit::Characters, 1);
        assert_eq!(vocab.symbols(), ["<pad>", "a", "|", "b", "c"]);
        let (labels, unknown) = vocab.encode("ab xc");
        assert_eq!((vocab.decode(&labels).as_str(), unknown), ("ab c", 1));
        assert_eq!(vocab.unknown(["ab xc", "y x"]), [("x".to_owned(), 2), ("y".to_owned(), 1)]);
    }

    #[test]
    fn phones_are_tokens_taken_as_they_are() {
        let vocab = Vocab::count(["tʃ a tʃ", "AA b"], "it", Unit::Tokens, 1);
        assert_eq!(vocab.symbols(), ["<pad>", "tʃ", "AA", "a", "b"]);
        assert_eq!(vocab.decode(&vocab.encode("b tʃ").0), "b tʃ");
    }
}
