//! The loop of the thread that owns the engine.

use super::{
    job::{Done, Job},
    queue::Queue,
};
use crate::{
    error::{ApiError, Result},
    telemetry,
};
use s3router_core::{self as core, Utterance, engine::Transcript};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

/// Serves `queue` until its scheduler is gone. A panic or an error of the engine fails its batch only.
pub fn run(mut queue: Queue, transcribe: impl Fn(&[Utterance]) -> Vec<core::Result<Transcript>>) {
    while let Some(batch) = queue.next_batch() {
        let utterances: Vec<Utterance> = batch.iter().map(|job| job.utterance.clone()).collect();
        queue.metrics.batch_formed(&utterances);
        let begun = Instant::now();
        let results = guarded(&transcribe, &utterances);
        let infer = begun.elapsed();
        queue.record(infer, batch.len());
        queue.metrics.batch_done(infer);
        for (job, result) in batch.into_iter().zip(results) {
            let Job { reply, queued, permit, .. } = job;
            // Back before the answer: who hears it may ask again at once.
            drop(permit);
            let queue = begun.saturating_duration_since(queued);
            // Nobody may be waiting any more; that is no error.
            let _ = reply.send(result.map(|transcript| Done { transcript, queue, infer }));
        }
    }
}

/// One result per utterance, whatever the engine does.
fn guarded(
    transcribe: impl Fn(&[Utterance]) -> Vec<core::Result<Transcript>>,
    utterances: &[Utterance],
) -> Vec<Result<Transcript>> {
    // The engine is `&self` all the way down: an unwound batch leaves no half-written state behind.
    match catch_unwind(AssertUnwindSafe(|| transcribe(utterances))) {
        Ok(results) if results.len() == utterances.len() => {
            results.into_iter().map(|r| r.map_err(ApiError::from)).collect()
        }
        Ok(results) => {
            all(utterances, &format!("{} results for {} utterances", results.len(), utterances.len()))
        }
        Err(panic) => {
            all(utterances, &format!("the engine panicked: {}", telemetry::message(panic.as_ref())))
        }
    }
}

fn all(utterances: &[Utterance], cause: &str) -> Vec<Result<Transcript>> {
    let error = ApiError::internal(cause);
    utterances.iter().map(|_| Err(error.clone())).collect()
}
