//! An utterance on its way to the engine, with everything it needs to come back.

use super::admission::Audio;
pub use super::admission::Permit;
use crate::{app::Model, error::Result};
use s3router_core::{
    Utterance,
    engine::Transcript,
    piece::{Part, Piece},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// An utterance waiting for the engine.
#[derive(Debug)]
pub struct Job {
    /// What to read, under which pack.
    pub utterance: Utterance,
    /// Held until the job is dropped, or has been read.
    pub permit: Permit,
    /// Its seconds, counted for as long.
    pub audio: Audio,
    /// Where the answer goes; closed once nobody waits.
    pub reply: oneshot::Sender<Result<Computed>>,
    /// When it came.
    pub queued: Instant,
    /// Its stretch of the request's trace; what the engine does is told below it.
    pub span: tracing::Span,
}

/// A job in pieces, some of them computed.
#[derive(Debug)]
pub struct Cut {
    pub(super) job: Job,
    pub(super) pieces: Vec<Piece>,
    pub(super) parts: Vec<Part>,
    /// In the engine so far.
    pub(super) busy: Duration,
    pub(super) begun: bool,
}

/// What the engine made of an utterance, still to be read.
pub struct Computed {
    /// Who can read it.
    pub model: Arc<dyn Model>,
    /// What it was.
    pub utterance: Utterance,
    /// All its parts.
    pub parts: Vec<Part>,
    /// Waiting, also between windows.
    pub queue: Duration,
    /// In the engine, together with its batches.
    pub infer: Duration,
    /// Kept until it has been read.
    pub held: (Permit, Audio),
}

impl std::fmt::Debug for Computed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Computed")
            .field("queue", &self.queue)
            .field("infer", &self.infer)
            .finish_non_exhaustive()
    }
}

/// A transcript and where its time went.
#[derive(Clone, Debug)]
pub struct Done {
    /// What was said.
    pub transcript: Transcript,
    /// Waiting, also between windows.
    pub queue: Duration,
    /// In the engine, together with its batches, and being read.
    pub infer: Duration,
}
