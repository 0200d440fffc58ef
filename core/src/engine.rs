//! The second door of the crate: a mixed-language batch in, transcripts out.

use crate::{Result, decode::Word, packs::LoadedPack};
use std::sync::Arc;

/// One utterance: 16 kHz mono samples and the pack that shall read them.
#[derive(Clone, Debug)]
pub struct Utterance {
    /// `(S,)`, 16 kHz, about -1..=1, as recorded (normalisation is the backbone's business).
    pub samples: Arc<[f32]>,
    /// The lease: this very generation reads the utterance, whatever is hot-swapped meanwhile.
    pub pack: Arc<LoadedPack>,
}

/// What was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// The text; empty for silence. For a classifier its first label.
    pub text: String,
    /// Words (characters for scripts without spaces) with times; labels with scores for a classifier.
    pub words: Vec<Word>,
    /// Duration of the audio, seconds.
    pub seconds: f64,
}

/// One resident backbone; `&self` everywhere, so threads may share it.
pub struct Engine;

impl Engine {
    /// Transcribes a batch that may mix languages; no row's neighbours can change its text.
    pub fn transcribe(&self, _batch: &[Utterance]) -> Vec<Result<Transcript>> {
        unimplemented!("written with the model")
    }
}
