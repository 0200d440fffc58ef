//! An utterance on its way to the engine, with everything it needs to come back.

use crate::error::Result;
use s3router_core::{Utterance, engine::Transcript};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Room for one request. The channels of one file share it; the last one to finish gives it back.
#[derive(Clone, Debug)]
pub struct Permit(#[allow(dead_code)] Arc<OwnedSemaphorePermit>);

impl Permit {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(permit))
    }
}

/// An utterance waiting for the engine.
#[derive(Debug)]
pub struct Job {
    /// What to read, under which pack.
    pub utterance: Utterance,
    /// Held until the job is dropped, done or not.
    pub permit: Permit,
    /// Where the answer goes; closed once nobody waits.
    pub reply: oneshot::Sender<Result<Done>>,
    /// When it came.
    pub queued: Instant,
}

/// A transcript and where its time went.
#[derive(Clone, Debug)]
pub struct Done {
    /// What was said.
    pub transcript: Transcript,
    /// Waiting.
    pub queue: Duration,
    /// In the engine, together with its batch.
    pub infer: Duration,
}
