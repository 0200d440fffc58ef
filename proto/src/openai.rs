//! OpenAI's answers, with the fields its schema requires.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `response_format=json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = OpenAiTranscription)]
pub struct Transcription {
    /// What was said.
    pub text: String,
    /// What it is billed by.
    pub usage: Usage,
}

/// `response_format=verbose_json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = OpenAiTranscriptionVerbose)]
pub struct TranscriptionVerbose {
    /// Always `transcribe`.
    pub task: String,
    /// The language that was applied, canonical id.
    pub language: String,
    /// Audio, seconds.
    pub duration: f64,
    /// What was said.
    pub text: String,
    /// With `timestamp_granularities[]=word`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub words: Option<Vec<Word>>,
    /// With `timestamp_granularities[]=segment`, the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub segments: Option<Vec<Segment>>,
    /// What it is billed by.
    pub usage: Usage,
}

/// A word with times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = OpenAiWord)]
pub struct Word {
    /// As written.
    pub word: String,
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
}

/// A segment; the fields that only an autoregressive decoder has carry their neutral values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = OpenAiSegment)]
pub struct Segment {
    /// Counts from 0.
    pub id: usize,
    /// Seek offset; always 0: CTC does not seek.
    pub seek: u64,
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
    /// What was said.
    pub text: String,
    /// Always empty: CTC symbols are not text tokens.
    pub tokens: Vec<u32>,
    /// Always 0: greedy.
    pub temperature: f64,
    /// Natural logarithm of the mean word confidence.
    pub avg_logprob: f64,
    /// Always 1: the text is not compressed.
    pub compression_ratio: f64,
    /// Always 0: a segment holds words.
    pub no_speech_prob: f64,
}

/// What an answer is billed by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = OpenAiUsage)]
pub struct Usage {
    /// Always `duration`.
    pub r#type: String,
    /// Audio seconds, rounded up.
    pub seconds: u64,
}

/// `GET /v1/models`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = OpenAiModelList)]
pub struct ModelList {
    /// Always `list`.
    pub object: String,
    /// The server itself, then one entry per language.
    pub data: Vec<Model>,
}

/// A model by which OpenAI's clients choose a language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = OpenAiModel)]
pub struct Model {
    /// `s3router`, or `s3router-<language>`.
    pub id: String,
    /// Always `model`.
    pub object: String,
    /// Seconds since 1970 when the server loaded it.
    pub created: u64,
    /// Always `s3router`.
    pub owned_by: String,
}
