//! A pack in memory: mask, head, vocabulary and where they come from.

use crate::BitMask;
use std::collections::BTreeMap;

/// What a pack decides: text through CTC, or one label per utterance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Frame-wise symbols, collapsed to text.
    Ctc,
    /// One label for the whole utterance (language identification, keyword spotting, ...).
    Classifier,
}

/// The linear projection of a language: logits `(T, V)` = hidden `(T, D)` · weightᵀ + bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// `(V, D)`, row-major.
    pub weight: Vec<f32>,
    /// `(V,)`.
    pub bias: Vec<f32>,
    /// Hidden width D of the backbone.
    pub dim: usize,
}

/// The strings of a pack's `__metadata__`, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// Canonical language id, `zh_TW`; or a task's name.
    pub language: String,
    /// Other names this pack answers to.
    pub aliases: Vec<String>,
    /// Text or label.
    pub kind: Kind,
    /// SHA-256 (hex) of the backbone tensors that the mask covers; see the fingerprint module.
    pub backbone_sha256: Option<String>,
    /// Fraction of covered weights kept, 0..=1.
    pub density: f64,
    /// `ffn`, `ffn+attention`, ...
    pub covers: String,
    /// Symbols by index; index 0 is the CTC blank.
    pub vocab: Vec<String>,
    /// The symbol between words, `|`; `None` for scripts that use none.
    pub word_separator: Option<String>,
    /// Free JSON: data, hours, steps, seed, measured CER/WER.
    pub training: serde_json::Value,
    /// Licence of the pack.
    pub license: Option<String>,
}

/// A mask, a head and a vocabulary: all that makes a language on the shared backbone.
#[derive(Clone, Debug, PartialEq)]
pub struct Pack {
    /// The parsed metadata.
    pub meta: Meta,
    /// Masks by weight name, Hugging Face's without the model prefix: `encoder.layers.0.feed_forward.intermediate_dense.weight`.
    pub masks: BTreeMap<String, BitMask>,
    /// The CTC head or classifier.
    pub head: Head,
}

impl Pack {
    /// Weights covered, and how many of them are kept.
    pub fn weights(&self) -> (usize, usize) {
        self.masks.values().fold((0, 0), |(all, kept), m| (all + m.len(), kept + m.count_ones()))
    }

    /// The real fraction of covered weights kept, 0..=1: what [`Meta::density`] must say.
    pub fn density(&self) -> f64 {
        let (all, kept) = self.weights();
        kept as f64 / all.max(1) as f64
    }

    /// Bytes in memory: packed bits and the f32 head.
    pub fn resident_bytes(&self) -> u64 {
        let bits: usize = self.masks.values().map(|m| m.bytes().len()).sum();
        (bits + 4 * (self.head.weight.len() + self.head.bias.len())) as u64
    }
}
