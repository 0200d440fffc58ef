//! The CTC head that a fine-tuned checkpoint brings along.

use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;

/// `lm_head` and `vocab.json` of a fine-tuned `Wav2Vec2ForCTC` (or Hubert, Data2VecAudio): a language
/// with an open gate.
#[derive(Clone, Debug)]
pub struct OwnHead {
    /// (V, D), row 0 the CTC blank.
    pub weight: Tensor,
    /// (V,)
    pub bias: Tensor,
    /// Symbols by index; index 0 is the blank.
    pub vocab: Vec<String>,
    /// The symbol between words, if the vocabulary has one.
    pub word_separator: Option<String>,
}

impl OwnHead {
    /// Checks `weight` (V, D) against the vocabulary and moves the blank to row 0, where packs have it.
    pub(super) fn new(
        [weight, bias]: [Tensor; 2],
        vocab: &str,
        config: Option<&str>,
        hidden: usize,
        device: &Device,
    ) -> Result<Self> {
        let indices: BTreeMap<String, usize> = serde_json::from_str(vocab)
            .map_err(|e| Error::Model(format!("vocab.json: {e}; expected one object of symbol to index")))?;
        let rows = bias.elem_count();
        if weight.dims() != [rows, hidden] || indices.values().any(|i| *i >= rows) {
            return Err(Error::Model(format!(
                "lm_head.weight has shape {:?} for {rows} biases, width {hidden} and indices up to {} in vocab.json",
                weight.dims(),
                indices.values().max().unwrap_or(&0)
            )));
        }
        let named = ["<pad>", "[PAD]"].iter().find_map(|pad| indices.get(*pad).copied());
        let blank = config.and_then(pad_token).filter(|i| *i < rows).or(named).unwrap_or(0);
        // Symbols that are never written stay empty.
        let special = ["<s>", "</s>", "<unk>", "[UNK]", "[PAD]"];
        let mut symbols = vec![String::new(); rows];
        for (symbol, index) in indices {
            if !special.contains(&symbol.as_str()) {
                symbols[index] = symbol;
            }
        }
        symbols[blank] = "<pad>".into();
        let mut order: Vec<usize> = (0..rows).filter(|i| *i != blank).collect();
        order.insert(0, blank);
        let picks = Tensor::from_iter(order.iter().map(|i| *i as u32), &Device::Cpu)?;
        let vocab: Vec<String> = order.iter().map(|i| std::mem::take(&mut symbols[*i])).collect();
        Ok(Self {
            weight: weight.index_select(&picks, 0)?.to_device(device)?,
            bias: bias.index_select(&picks, 0)?.to_device(device)?,
            word_separator: vocab.iter().find(|s| *s == "|").cloned(),
            vocab,
        })
    }
}

/// What transformers takes for the CTC blank: `pad_token_id` of config.json.
fn pad_token(config: &str) -> Option<usize> {
    let config: serde_json::Value = serde_json::from_str(config).ok()?;
    config.get("pad_token_id")?.as_u64()?.try_into().ok()
}
