//! What a client receives: one heard thing, in the form it asked for.

pub mod cues;
pub mod native;
pub mod openai;
pub mod subtitles;

use s3router_core::{engine::Transcript, reading::Candidate};
use s3router_proto::{LanguageScore, PackRef, Timing, Word};

/// What was heard in one request, before it takes any form.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Canonical id of the language.
    pub lang: String,
    /// The proof.
    pub pack: PackRef,
    /// Audio, seconds.
    pub duration: f64,
    /// One transcript; with `channels=split` one per channel.
    pub channels: Vec<Transcript>,
    /// Whether channels were asked for one by one.
    pub split: bool,
    /// What stands between words: a space, or nothing in scripts without.
    pub space: &'static str,
    /// What the beam found, best first; empty where the best path was all that was wanted.
    pub readings: Vec<Candidate>,
    /// With `lang=auto`, the likeliest languages.
    pub languages: Option<Vec<LanguageScore>>,
    /// Where the time went.
    pub timing: Timing,
}

impl Heard {
    /// The text; one line per channel.
    pub fn text(&self) -> String {
        self.channels.iter().map(|c| c.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Every word in the order of time.
    pub fn words(&self) -> Vec<Word> {
        let mut words: Vec<Word> = self
            .channels
            .iter()
            .enumerate()
            .flat_map(|(channel, transcript)| {
                let channel = self.split.then_some(channel);
                transcript.words.iter().map(move |w| Word { channel, ..proto_word(w.clone()) })
            })
            .collect();
        words.sort_by(|a, b| a.start.total_cmp(&b.start));
        words
    }

    /// Mean confidence of all words; 0 without words.
    pub fn confidence(&self) -> f32 {
        mean(self.channels.iter().flat_map(|c| c.words.iter().map(|w| w.confidence)))
    }
}

/// A word as it is sent.
pub(crate) fn proto_word(word: s3router_core::decode::Word) -> Word {
    Word { word: word.word, start: word.start, end: word.end, confidence: word.confidence, channel: None }
}

pub(crate) fn mean(values: impl Iterator<Item = f32>) -> f32 {
    let (sum, n) = values.fold((0.0, 0u32), |(sum, n), v| (sum + v, n + 1));
    if n == 0 { 0.0 } else { sum / n as f32 }
}
