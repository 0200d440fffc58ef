//! One queue, one policy, one engine: [`Scheduler::submit`] is the only door.
//!
//! permit ([`Scheduler::admit`], before any work) → [`job`] → [`queue`] (cut into pieces: long audio is several)
//! → [`policy`] over [`fair`] (which pieces run next, and which small ones may cut in) → `worker` (the thread
//! that owns the engine) → the reply channel that travelled inside the job. A caller that stops waiting (client
//! gone, deadline passed) drops its end of that channel; the queue skips the job, and a batch that nobody waits
//! for ends at its next layer, a reading at its next frame.

mod admission;
pub mod fair;
pub mod job;
pub mod policy;
#[cfg(test)]
mod policy_tests;
pub mod queue;
pub mod tenant;
pub(crate) mod worker;

pub use admission::{Audio, Permit, Seat};
pub use tenant::Tenant;

use crate::{
    config::Batching,
    error::{ApiError, Result},
    metrics::Metrics,
};
use admission::Admission;
use job::{Computed, Done, Job};
use queue::Queue;
use s3router_core::{Cancel, Utterance, audio::RATE_HZ};
use std::{
    sync::{Arc, mpsc},
    time::Instant,
};
use tokio::{sync::oneshot, task::spawn_blocking};
use tracing::Instrument;

/// The way to the engine.
#[derive(Debug)]
pub struct Scheduler {
    admission: Arc<Admission>,
    jobs: mpsc::Sender<Job>,
    metrics: Arc<Metrics>,
}

impl Scheduler {
    /// A scheduler, and the queue that its `worker` will serve with so many devices.
    pub fn new(batching: &Batching, devices: usize, metrics: Arc<Metrics>) -> (Self, Queue) {
        let (jobs, incoming) = mpsc::channel();
        let admission = Arc::new(Admission::new(batching));
        let budget = policy::Budget::new(batching, devices);
        let queue = Queue::new(incoming, budget, Arc::clone(&admission), Arc::clone(&metrics));
        (Self { admission, jobs, metrics }, queue)
    }

    /// Room for one request of `tenant`, kept until its last job is done.
    ///
    /// # Errors
    /// 429 at once when there is none: nobody waits without being counted.
    pub fn admit(&self, tenant: &Arc<Tenant>) -> Result<Permit> {
        self.admission.admit(tenant)
    }

    /// A place under the key of `tenant`, for what may put in several requests: a stream.
    ///
    /// # Errors
    /// 429 when the key has none left.
    pub fn seat(&self, tenant: &Arc<Tenant>) -> Result<Arc<Seat>> {
        self.admission.seat(tenant)
    }

    /// Room for one request of who has a seat.
    ///
    /// # Errors
    /// 429 at once when there is none.
    pub fn admit_seated(&self, seat: &Arc<Seat>) -> Result<Permit> {
        self.admission.admit_seated(seat)
    }

    /// Whether [`admit`](Self::admit) would fail now; lets a large upload be refused before it is read.
    ///
    /// # Errors
    /// 429 as `admit`.
    pub fn check_room(&self) -> Result<()> {
        self.admission.check_room()
    }

    /// An utterance in, its transcript out. Dropping the future cancels the job, wherever it is.
    ///
    /// # Errors
    /// 429 when there is no room for so much audio, the engine's, or 500 when it is gone.
    pub async fn submit(&self, utterance: Utterance, permit: Permit) -> Result<Done> {
        let audio = self.admission.take_audio(queue::seconds(utterance.samples.len()))?;
        let (reply, answer) = oneshot::channel();
        self.metrics.job_queued(&utterance);
        let span = tracing::info_span!("engine", lang = utterance.pack.meta.language);
        let job = Job { utterance, permit, audio, reply, queued: Instant::now(), span: span.clone() };
        self.jobs.send(job).map_err(|_| ApiError::internal("the engine's thread has ended"))?;
        let answer = answer.instrument(span).await;
        self.read(answer.map_err(|_| ApiError::internal("the engine dropped a job"))??).await
    }

    /// Logits → words, off the engine's thread: it goes on computing meanwhile.
    async fn read(&self, computed: Computed) -> Result<Done> {
        let begun = Instant::now();
        let Computed { model, utterance, parts, queue, infer, held } = computed;
        let span = tracing::info_span!("ctc");
        let short = utterance.samples.len() <= SHORT;
        let cancel = Cancel::default();
        let _leaving = cancel.on_leave();
        let metrics = Arc::clone(&self.metrics);
        let work = move || {
            // Back before the answer: who hears it may ask again at once.
            let _held = held;
            let outcome =
                span.in_scope(|| queue::guarded("reading", || model.read(&utterance, parts, &cancel)));
            if let Ok(outcome) = &outcome {
                metrics.ended("read", outcome);
            }
            outcome
        };
        let transcript = match short {
            true => work(),
            false => spawn_blocking(work)
                .await
                .map_err(|e| ApiError::internal(format!("reading panicked: {e}")))?,
        }??;
        self.metrics.stage("ctc", begun.elapsed());
        Ok(Done { transcript, queue, infer: infer + begun.elapsed() })
    }
}

/// Reading so many samples' logits (3 s, 150 frames) is a matter of microseconds: not worth two changes of thread.
const SHORT: usize = 3 * RATE_HZ as usize;
