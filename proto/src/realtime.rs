//! OpenAI's realtime transcription sessions (`/v1/realtime`), as far as transcription goes.
//!
//! Both spellings of the session are read: the present one (`session.update`, `audio.input`) and the one before it
//! (`transcription_session.update`, `input_audio_format`).

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// What a client says; fields that are not here are OpenAI's own and are let through.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(tag = "type")]
#[schema(as = RealtimeClientEvent)]
pub enum ClientEvent {
    /// Sets the session; what is left out stays.
    #[serde(rename = "session.update", alias = "transcription_session.update")]
    SessionUpdate {
        /// What to set.
        session: Box<SessionUpdate>,
    },
    /// Audio; not answered.
    #[serde(rename = "input_audio_buffer.append")]
    Append {
        /// Base64 of bytes in the session's format.
        audio: String,
    },
    /// What was appended is an item of its own.
    #[serde(rename = "input_audio_buffer.commit")]
    Commit,
    /// What was appended and not committed is forgotten.
    #[serde(rename = "input_audio_buffer.clear")]
    Clear,
}

/// What `session.update` may set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(default)]
#[schema(as = RealtimeSessionUpdate)]
pub struct SessionUpdate {
    /// Where everything stands.
    pub audio: Option<AudioUpdate>,
    /// The earlier spelling: `pcm16`, `g711_ulaw`, `g711_alaw`.
    pub input_audio_format: Option<String>,
    /// The earlier spelling.
    pub input_audio_transcription: Option<Transcription>,
    /// The earlier spelling; null leaves turns to `commit`.
    #[serde(deserialize_with = "given")]
    pub turn_detection: Option<Option<TurnDetection>>,
}

/// `session.audio` of an update.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(default)]
#[schema(as = RealtimeAudioUpdate)]
pub struct AudioUpdate {
    /// The microphone's side; there is no other here.
    pub input: InputUpdate,
}

/// `session.audio.input` of an update.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(default)]
#[schema(as = RealtimeInputUpdate)]
pub struct InputUpdate {
    /// Of the audio to come; before the first append only.
    pub format: Option<Format>,
    /// Model and language.
    pub transcription: Option<Transcription>,
    /// Null leaves turns to `commit`.
    #[serde(deserialize_with = "given")]
    pub turn_detection: Option<Option<TurnDetection>>,
}

/// The session as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = RealtimeSession)]
pub struct Session {
    /// Always `transcription`.
    pub r#type: String,
    /// Always `realtime.transcription_session`.
    pub object: String,
    /// Names the session in the server's log.
    pub id: String,
    /// How audio is read.
    pub audio: Audio,
}

/// `session.audio`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = RealtimeAudio)]
pub struct Audio {
    /// The microphone's side.
    pub input: Input,
}

/// `session.audio.input`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = RealtimeInput)]
pub struct Input {
    /// Of the audio.
    pub format: Format,
    /// Model and language.
    pub transcription: Transcription,
    /// Null leaves turns to `commit`.
    pub turn_detection: Option<TurnDetection>,
}

/// The form of audio.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RealtimeFormat)]
pub struct Format {
    /// `audio/pcm` (16-bit), `audio/pcmu` or `audio/pcma`.
    pub r#type: String,
    /// Of `audio/pcm`, Hz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rate: Option<u32>,
}

impl Default for Format {
    /// OpenAI's: 16-bit PCM at 24 kHz.
    fn default() -> Self {
        Self { r#type: "audio/pcm".into(), rate: Some(24_000) }
    }
}

/// Model and language.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RealtimeTranscription)]
pub struct Transcription {
    /// `s3router-tr`, or any name where `language` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub model: Option<String>,
    /// Wins over the one in `model`. Without either, and with `auto`, each item is heard for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub language: Option<String>,
    /// Where the language is heard: only these are considered; all when left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
}

/// Where turns end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RealtimeTurnDetection)]
pub struct TurnDetection {
    /// `server_vad`.
    pub r#type: String,
    /// Score above which the voice detector is believed.
    pub threshold: f32,
    /// Audio before the onset that is read too.
    pub prefix_padding_ms: u32,
    /// Silence that ends a turn.
    pub silence_duration_ms: u32,
}

impl Default for TurnDetection {
    fn default() -> Self {
        Self { r#type: "server_vad".into(), threshold: 0.5, prefix_padding_ms: 300, silence_duration_ms: 500 }
    }
}

/// What the server says; `event_id` names each event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = RealtimeServerMessage)]
pub struct ServerMessage {
    /// Unique within the session.
    pub event_id: String,
    /// What happened.
    #[serde(flatten)]
    pub event: ServerEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type")]
#[schema(as = RealtimeServerEvent)]
pub enum ServerEvent {
    /// The first event.
    #[serde(rename = "session.created")]
    SessionCreated {
        /// With its defaults.
        session: Session,
    },
    /// Answers `session.update`.
    #[serde(rename = "session.updated")]
    SessionUpdated {
        /// As it is now.
        session: Session,
    },
    /// Somebody began to speak.
    #[serde(rename = "input_audio_buffer.speech_started")]
    SpeechStarted {
        /// Of the item to come.
        item_id: String,
        /// Since the first sample.
        audio_start_ms: u64,
    },
    /// The pause was long enough.
    #[serde(rename = "input_audio_buffer.speech_stopped")]
    SpeechStopped {
        /// Of the item to come.
        item_id: String,
        /// Since the first sample.
        audio_end_ms: u64,
    },
    /// An item was made of the buffer.
    #[serde(rename = "input_audio_buffer.committed")]
    Committed {
        /// Its name.
        item_id: String,
        /// The one before.
        previous_item_id: Option<String>,
    },
    /// Answers `clear`.
    #[serde(rename = "input_audio_buffer.cleared")]
    Cleared {},
    /// More of a transcript that is settled.
    #[serde(rename = "conversation.item.input_audio_transcription.delta")]
    Delta {
        /// Of this item.
        item_id: String,
        /// Always 0.
        content_index: u32,
        /// To be appended.
        delta: String,
    },
    /// The whole transcript. Never changes.
    #[serde(rename = "conversation.item.input_audio_transcription.completed")]
    Completed {
        /// Of this item.
        item_id: String,
        /// Always 0.
        content_index: u32,
        /// What was said.
        transcript: String,
        /// What it is billed by.
        usage: crate::openai::Usage,
    },
    /// The stream ended by an error; this item has no transcript.
    #[serde(rename = "conversation.item.input_audio_transcription.failed")]
    Failed {
        /// Of this item.
        item_id: String,
        /// Always 0.
        content_index: u32,
        /// Why.
        error: Fault,
    },
    /// Something went wrong; most errors leave the session open.
    #[serde(rename = "error")]
    Error {
        /// What.
        error: Fault,
    },
}

/// What went wrong, in OpenAI's words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = RealtimeFault)]
pub struct Fault {
    /// The family of the code.
    pub r#type: String,
    /// One of the closed list.
    pub code: String,
    /// One line for people.
    pub message: String,
    /// The field at fault.
    pub param: Option<String>,
    /// The client's event at fault.
    pub event_id: Option<String>,
}

/// Tells a null that was given from nothing given.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<TurnDetection>>, D::Error> {
    Option::deserialize(from).map(Some)
}
