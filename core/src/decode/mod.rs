//! Logits → text with word times and confidences.

/// A word (a character where the script has no spaces) with its place in time.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// As written.
    pub word: String,
    /// Seconds from the start of the audio.
    pub start: f64,
    /// Seconds from the start of the audio, > `start`.
    pub end: f64,
    /// Mean posterior of its symbols' frames, 0..=1.
    pub confidence: f32,
}
