//! The symbols of a language by logit index.

use crate::{Error, Result};
use std::collections::BTreeMap;

/// Markers of a tokenizer that are never text.
const MARKERS: [&str; 10] =
    ["<pad>", "<s>", "</s>", "<unk>", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[BOS]", "[EOS]"];

/// Symbols by logit index, the blank among them, and the mark between words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocab {
    symbols: Vec<String>,
    blank: usize,
    separator: Option<usize>,
}

impl Vocab {
    /// A pack's vocabulary: index 0 is the blank; `separator` is the symbol between words, `None` (or
    /// empty) for scripts without spaces.
    ///
    /// # Errors
    /// When the separator is not among the symbols.
    pub fn new(symbols: Vec<String>, separator: Option<&str>) -> Result<Self> {
        let separator = match separator.filter(|s| !s.is_empty()) {
            None => None,
            Some(mark) => Some(symbols.iter().position(|s| s == mark).ok_or_else(|| {
                Error::Model(format!("word separator `{mark}` is not among the {} symbols", symbols.len()))
            })?),
        };
        Ok(Self { symbols, blank: 0, separator })
    }

    /// The `vocab.json` of a Hugging Face checkpoint: symbol → index, the pad token being the blank.
    ///
    /// # Errors
    /// When the indices leave a hole or repeat, or `blank` (config.json's `pad_token_id`) is outside.
    pub fn from_json(json: &str, blank: usize) -> Result<Self> {
        let by_symbol: BTreeMap<String, usize> = serde_json::from_str(json)
            .map_err(|e| Error::Model(format!("vocab.json is no map of symbol to index: {e}")))?;
        let mut symbols = vec![None; by_symbol.len()];
        for (symbol, index) in by_symbol {
            let size = symbols.len();
            match symbols.get_mut(index) {
                Some(slot @ None) => *slot = Some(symbol),
                Some(Some(other)) => {
                    return Err(Error::Model(format!(
                        "vocab.json gives index {index} to `{other}` and `{symbol}`"
                    )));
                }
                None => {
                    return Err(Error::Model(format!(
                        "vocab.json gives `{symbol}` index {index} of {size} symbols"
                    )));
                }
            }
        }
        let symbols: Vec<String> = symbols.into_iter().flatten().collect();
        if blank >= symbols.len() {
            return Err(Error::Model(format!(
                "pad_token_id {blank} is outside vocab.json's {} symbols",
                symbols.len()
            )));
        }
        let separator = symbols.iter().position(|s| s == "|" || s == " ");
        Ok(Self { symbols, blank, separator })
    }

    /// Number of symbols, V.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether there is no symbol.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// Symbols by index.
    pub fn symbols(&self) -> &[String] {
        &self.symbols
    }

    /// Index of the CTC blank.
    pub fn blank(&self) -> usize {
        self.blank
    }

    /// Index of the mark between words; `None` where each symbol stands for itself (zh_TW).
    pub fn separator(&self) -> Option<usize> {
        self.separator
    }

    /// What the symbol writes; `None` for the blank, the separator and markers such as `<unk>`.
    pub fn written(&self, index: usize) -> Option<&str> {
        let symbol = self.symbols.get(index)?.as_str();
        let silent = index == self.blank || Some(index) == self.separator || MARKERS.contains(&symbol);
        (!silent).then_some(symbol)
    }
}
