//! What travels: answers, the closed list of errors, and OpenAI's spelling of both.
//!
//! Plain data with serde and OpenAPI schemas; no HTTP status, no socket, no tensor. A client may depend
//! on this crate alone.

pub mod error;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod http;
pub mod openai;
pub mod realtime;
pub mod stream;

pub use error::{ErrorBody, ErrorDetail, ErrorKind};
pub use http::{
    AlignedCharacter, AlignedWord, Alignment, Alternative, Answer, Channel, Identification, LanguageModel,
    LanguageScore, Pack, PackInstalled, PackList, PackRef, PackState, Probe, Reloaded, Segment, Timing, Word,
};
