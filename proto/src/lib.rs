//! What travels: answers, the closed list of errors, and OpenAI's spelling of both.
//!
//! Plain data with serde and OpenAPI schemas; no HTTP status, no socket, no tensor. A client may depend
//! on this crate alone.

pub mod error;
pub mod http;
pub mod openai;

pub use error::{ErrorBody, ErrorDetail, ErrorKind};
pub use http::{
    Alternative, Answer, Channel, Pack, PackInstalled, PackList, PackRef, PackState, Probe, Reloaded,
    Segment, Timing, Word,
};
