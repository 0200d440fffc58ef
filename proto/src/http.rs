//! The native answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A transcript, and the proof of which pack made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    /// What was said; empty for silence. With `channels=split` one line per channel.
    pub text: String,
    /// Canonical id of the language that was applied.
    #[schema(example = "zh_TW")]
    pub lang: String,
    /// Audio, seconds.
    pub duration: f64,
    /// Equals the `x-request-id` header.
    pub request_id: String,
    /// The pack that made this answer.
    pub pack: PackRef,
    /// Words with times; absent with `words=false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub words: Option<Vec<Word>>,
    /// `verbose_json`: stretches of speech between pauses, as the subtitles show them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub segments: Option<Vec<Segment>>,
    /// `channels=split`: each channel's own transcript.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub channels: Option<Vec<Channel>>,
    /// `alternatives`: the readings found, best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub alternatives: Option<Vec<Alternative>>,
    /// `lang=auto`: the likeliest languages, best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub languages: Option<Vec<LanguageScore>>,
    /// Where the time went.
    pub timing: Timing,
}

/// Names one generation of one pack; two answers with equal references came from equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackRef {
    /// Canonical id.
    pub id: String,
    /// Rises by one whenever the pack is replaced.
    pub generation: u64,
    /// SHA-256 of the pack file, hex.
    pub sha256: String,
}

/// A word, or a character in scripts without spaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Word {
    /// As written.
    pub word: String,
    /// Seconds from the start of the audio.
    pub start: f64,
    /// Seconds from the start of the audio.
    pub end: f64,
    /// 0 to 1: the probability that it is right where the pack is calibrated, else the mean posterior of its symbols.
    pub confidence: f32,
    /// `channels=split`: the channel it was heard on, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub channel: Option<usize>,
}

/// A stretch of speech between pauses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Segment {
    /// Counts from 0.
    pub id: usize,
    /// Seconds from the start of the audio.
    pub start: f64,
    /// Seconds from the start of the audio.
    pub end: f64,
    /// What was said in it.
    pub text: String,
    /// Mean confidence of its words, 0 to 1.
    pub confidence: f32,
    /// `channels=split`: the channel it was heard on, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub channel: Option<usize>,
}

/// One channel's own transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Channel {
    /// From 0, in the order of the file.
    pub channel: usize,
    /// What was said on it.
    pub text: String,
}

/// One reading of the audio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alternative {
    /// What was said.
    pub text: String,
    /// Mean confidence of its words, 0 to 1; 0 for an empty text.
    pub confidence: f32,
    /// What the beam ranked it by: ln p(text | audio), and what n-grams and key terms added.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub score: Option<f64>,
}

/// How likely a language is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LanguageScore {
    /// Canonical id.
    #[schema(example = "tr")]
    pub lang: String,
    /// Share among the candidates, 0 to 1: ranks them, and is no calibrated probability.
    pub score: f32,
    /// The pack that was listened with.
    pub pack: PackRef,
}

/// Which language is spoken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Identification {
    /// Best first.
    pub languages: Vec<LanguageScore>,
    /// Audio, seconds.
    pub duration: f64,
    /// Audio that was listened to, seconds.
    pub listened: f64,
    /// Equals the `x-request-id` header.
    pub request_id: String,
    /// Where the time went.
    pub timing: Timing,
}

/// A known text laid over its audio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alignment {
    /// Canonical id of the language that was applied.
    pub lang: String,
    /// Audio, seconds.
    pub duration: f64,
    /// Mean ln probability of a frame on the text's path: near 0 where text and audio agree.
    pub score: f64,
    /// Each word with its characters.
    pub words: Vec<AlignedWord>,
    /// Equals the `x-request-id` header.
    pub request_id: String,
    /// The pack that made this answer.
    pub pack: PackRef,
    /// Where the time went.
    pub timing: Timing,
}

/// A word of a known text, or a character in scripts without spaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlignedWord {
    /// As the vocabulary writes it.
    pub word: String,
    /// Seconds from the start of the audio.
    pub start: f64,
    /// Seconds from the start of the audio.
    pub end: f64,
    /// How sure it is that this was said there, 0 to 1.
    pub confidence: f32,
    /// Its characters.
    pub characters: Vec<AlignedCharacter>,
}

/// A character of a known text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlignedCharacter {
    /// As the vocabulary writes it.
    pub character: String,
    /// Seconds from the start of the audio.
    pub start: f64,
    /// Seconds from the start of the audio.
    pub end: f64,
    /// Mean posterior of its frames, 0 to 1.
    pub confidence: f32,
}

/// Where the time of one request went, milliseconds; also in the `Server-Timing` header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Timing {
    /// Receiving the body.
    pub upload_ms: f64,
    /// Container bytes to 16 kHz samples.
    pub decode_ms: f64,
    /// Waiting for the engine.
    pub queue_ms: f64,
    /// The batch that held this request, in the engine, and the search for the text where the beam was asked for.
    pub infer_ms: f64,
    /// From the head of the request to the answer being made.
    pub total_ms: f64,
    /// Audio seconds per second of `total_ms`.
    pub rtfx: f64,
}

/// What is loaded, and what was refused and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PackList {
    /// The shared backbone, as it was named.
    pub backbone: String,
    /// The arithmetic of its heavy products: `f32`, `bf16`.
    pub precision: String,
    /// What computes them: `amx`, `avx512bf16`, `avx512`, `avx2`, `neon`, `scalar`, `cuda`.
    pub kernel: String,
    /// A plain word about the model, where one is due (the demo is synthetic).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub notice: Option<String>,
    /// By canonical id.
    pub packs: Vec<Pack>,
}

/// One pack as the server sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pack {
    /// Canonical id, or the file's name when it could not be opened.
    pub language: String,
    /// `ready` answers requests.
    pub state: PackState,
    /// Why it is quarantined.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
    /// Other names it answers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// `ctc` or `classifier`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub kind: Option<String>,
    /// Rises by one whenever the pack is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub generation: Option<u64>,
    /// SHA-256 of the pack file, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub sha256: Option<String>,
    /// Fraction of the covered weights kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub density: Option<f64>,
    /// Which weights the mask covers: `ffn`, `ffn+attention`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub covers: Option<String>,
    /// Symbols, blank included.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub vocab_size: Option<usize>,
    /// Bytes in memory: mask bits and head.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub bytes: Option<u64>,
    /// Whether its mask bits are in memory now; else the next request reads them first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub resident: Option<bool>,
    /// The n-grams beside it, for the beam.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub lm: Option<LanguageModel>,
    /// What the pack says of its training: data, hours, measured CER.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Object)]
    pub training: Option<serde_json::Value>,
}

/// An n-gram model beside a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LanguageModel {
    /// Words of its longest n-grams.
    pub order: usize,
    /// Words it lists.
    pub words: usize,
}

/// Whether a pack answers requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PackState {
    /// It does.
    Ready,
    /// It was refused; the others are not held up by it.
    Quarantined,
}

/// A pack that the admin listener has put into service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PackInstalled {
    /// As `GET /v1/packs` shows it from now on.
    #[serde(flatten)]
    pub pack: Pack,
    /// Whether it is in the folder of packs too; otherwise a restart or reload forgets it.
    pub persisted: bool,
}

/// What a reload has changed; languages by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// New in service.
    pub added: Vec<String>,
    /// At a new generation.
    pub replaced: Vec<String>,
    /// As before: the same file, or one that has become unusable since.
    pub kept: Vec<String>,
    /// Out of service.
    pub removed: Vec<String>,
    /// Files set aside; `GET /v1/packs` has the reasons.
    pub quarantined: Vec<String>,
}

/// Answer of `/livez` and `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Probe {
    /// `alive`, `ready`, `drained`.
    pub status: String,
}
