//! WebSocket `s3router.v1` (`/transcribe/stream`): text frames are these messages, binary frames are audio.
//!
//! Rules: `seq` rises by one with each message of the server; a final never changes; `stable` only grows within an
//! utterance; finals tile the audio from its first sample to `stop`; `lang` counts from the next utterance on.

use crate::{Alternative, ErrorBody, LanguageScore, PackRef, Word};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The subprotocol's name.
pub const SUBPROTOCOL: &str = "s3router.v1";

/// What a client says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schema(as = StreamClientMessage)]
pub enum ClientMessage {
    /// Begins the stream; not needed when the query names the language.
    Start(Start),
    /// Everything sent so far shall become final; answered by `flushed` with the same id.
    Flush {
        /// Any number or string.
        #[serde(default)]
        id: serde_json::Value,
    },
    /// The next utterance is read under another language.
    Lang {
        /// The language, under any of its names, or `auto`.
        lang: String,
        /// With `auto`: only these are considered.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        languages: Vec<String>,
    },
    /// Still there, though silent.
    Keepalive,
    /// No more audio; the remaining finals and `closed` follow.
    Stop,
}

/// How a stream shall be read. Every field may stand in the query as well; `start` wins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = StreamStart)]
pub struct Start {
    /// Language, under any of its names: `zh_TW`, `zh-TW`, `sv`. `auto` hears of each utterance which it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "tr")]
    pub lang: Option<String>,
    /// With `lang=auto`: only these languages are considered; in the query separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub languages: Option<Vec<String>>,
    /// `pcm_s16le`, `pcm_f32le` and other headerless PCM, or `wav`, `ogg_opus`, `webm_opus`. Containers are told by
    /// their content, whatever is said here; left out, a `sample_rate` means `pcm_s16le`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "pcm_s16le")]
    pub encoding: Option<String>,
    /// Of headerless PCM, Hz; 16000 when left out.
    #[serde(alias = "rate", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 8000, maximum = 192000)]
    pub sample_rate: Option<u32>,
    /// Interleaved channels of headerless PCM; they are mixed.
    #[serde(alias = "channels", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1, maximum = 255, default = 1)]
    pub channel_count: Option<u16>,
    /// Whether partials are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, default = true)]
    pub interim: Option<bool>,
    /// Silence that ends an utterance, milliseconds; 0 leaves that to `flush`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 10000, default = 500)]
    pub endpointing_ms: Option<u32>,
    /// Whether finals list words with times and confidences.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, default = true)]
    pub words: Option<bool>,
    /// Readings that finals list, best first, with scores; more than one needs the beam.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 10, default = 0)]
    pub alternatives: Option<u8>,
    /// `greedy` or `beam`; what needs the beam chooses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, default = "greedy")]
    pub decoder: Option<String>,
    /// Prefixes that the beam keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1, maximum = 256, default = 32)]
    pub beam: Option<u16>,
    /// Phrases to expect, 100 at most; in the query one by one.
    #[serde(alias = "keyterms", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub keyterm: Option<Vec<String>>,
    /// Nats added for each symbol of a key term that is heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = -10, maximum = 10, default = 1.5)]
    pub boost: Option<f32>,
    /// Weight of the n-grams that lie beside the pack, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 5)]
    pub lm_weight: Option<f32>,
}

impl Start {
    /// The same, with `other`'s word where this one says nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            lang: self.lang.or(other.lang),
            languages: self.languages.or(other.languages),
            encoding: self.encoding.or(other.encoding),
            sample_rate: self.sample_rate.or(other.sample_rate),
            channel_count: self.channel_count.or(other.channel_count),
            interim: self.interim.or(other.interim),
            endpointing_ms: self.endpointing_ms.or(other.endpointing_ms),
            words: self.words.or(other.words),
            alternatives: self.alternatives.or(other.alternatives),
            decoder: self.decoder.or(other.decoder),
            beam: self.beam.or(other.beam),
            keyterm: self.keyterm.or(other.keyterm),
            boost: self.boost.or(other.boost),
            lm_weight: self.lm_weight.or(other.lm_weight),
        }
    }
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = StreamServerMessage)]
pub enum ServerMessage {
    /// Audio may come.
    Ready {
        /// Rises by one with every message.
        seq: u64,
        /// Names this stream in the server's log.
        session: String,
        /// Canonical id of the language, or `auto`.
        lang: String,
        /// The pack that will read the first utterance; absent with `auto`.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        pack: Option<PackRef>,
        /// What is held to.
        limits: StreamLimits,
    },
    /// What the open utterance sounds like so far: `stable` followed by `unstable`.
    Partial {
        /// Rises by one with every message.
        seq: u64,
        /// Counts from 0.
        utterance: u64,
        /// Seconds from the start of the stream.
        start: f64,
        /// How far the audio was read, seconds from the start of the stream.
        end: f64,
        /// Settled; only grows within an utterance.
        stable: String,
        /// May still change.
        unstable: String,
        /// Canonical id of the language that was applied.
        lang: String,
        /// How long ago the last sample that was read had come.
        lag_ms: f64,
    },
    /// What was said. Never changes.
    Final {
        /// Rises by one with every message.
        seq: u64,
        /// Counts from 0.
        utterance: u64,
        /// The end of the final before; seconds from the start of the stream.
        start: f64,
        /// Seconds from the start of the stream.
        end: f64,
        /// Empty for silence.
        text: String,
        /// Canonical id of the language that was applied; `auto` where nobody spoke.
        lang: String,
        /// The pack that made it; absent with `auto` where nobody spoke.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        pack: Option<PackRef>,
        /// With `auto`: the likeliest languages of this utterance, best first.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        languages: Option<Vec<LanguageScore>>,
        /// Mean confidence of its words; 0 without words.
        confidence: f32,
        /// Words with times on the stream's clock; absent with `words=false`.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        words: Option<Vec<Word>>,
        /// Readings, best first; present where they were asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        alternatives: Option<Vec<Alternative>>,
        /// False when the utterance was cut for its length and goes on in the next one.
        speech_final: bool,
        /// Present, and true, in the rare case that the text does not begin with what was last called stable.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        revised: bool,
        /// How long ago its last sample had come.
        lag_ms: f64,
    },
    /// Everything sent before this `flush` is final.
    Flushed {
        /// Rises by one with every message.
        seq: u64,
        /// As the client gave it.
        id: serde_json::Value,
    },
    /// Something the client should know; the stream goes on.
    Warning {
        /// Rises by one with every message.
        seq: u64,
        /// `lagging`: the server is behind the audio it has taken; the texts come later, none is lost.
        code: String,
        /// One line for people.
        message: String,
        /// How far behind.
        lag_ms: f64,
    },
    /// What went wrong: the same object as everywhere.
    Error {
        /// Rises by one with every message.
        seq: u64,
        /// Code, message, request id.
        #[serde(flatten)]
        body: ErrorBody,
        /// Whether the stream ends here; a wrong control message does not end it.
        fatal: bool,
    },
    /// The last message.
    Closed {
        /// Rises by one with every message.
        seq: u64,
        /// Audio taken, seconds.
        audio_s: f64,
        /// How many finals there were.
        finals: u64,
    },
}

/// What a stream is held to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StreamLimits {
    /// Longest stream, seconds of audio.
    pub max_audio_s: f64,
    /// Longest utterance, seconds; a longer one is cut where it is quietest.
    pub max_utterance_s: f64,
    /// Longest time without audio or `keepalive`, seconds.
    pub idle_s: f64,
    /// Largest frame, bytes.
    pub max_frame_bytes: u64,
}
