//! One queue, one policy, one engine: [`Scheduler::submit`] is the only door.
//!
//! permit ([`Scheduler::admit`], before any work) → [`job`] → [`queue`] → [`policy`] (which jobs run next) →
//! [`worker`] (the thread that owns the engine) → the reply channel that travelled inside the job. A caller
//! that stops waiting (client gone, deadline passed) drops its end of that channel, and the queue skips the job.

pub mod job;
pub mod policy;
pub mod queue;
pub mod worker;

use crate::{
    config::Batching,
    error::{ApiError, Pressure, Result},
    metrics::Metrics,
};
use job::{Done, Job, Permit};
use queue::Queue;
use s3router_core::Utterance;
use std::{
    sync::{Arc, atomic::AtomicU64, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, oneshot};

/// The way to the engine.
#[derive(Debug)]
pub struct Scheduler {
    permits: Arc<Semaphore>,
    limit: u32,
    jobs: mpsc::Sender<Job>,
    pace: Arc<Pace>,
    metrics: Arc<Metrics>,
}

impl Scheduler {
    /// A scheduler, and the queue that its [`worker`] will serve.
    pub fn new(batching: &Batching, metrics: Arc<Metrics>) -> (Self, Queue) {
        let (jobs, incoming) = mpsc::channel();
        let pace = Arc::new(Pace::default());
        let queue =
            Queue::new(incoming, policy::Budget::new(batching), Arc::clone(&pace), Arc::clone(&metrics));
        let permits = Arc::new(Semaphore::new(batching.queue as usize));
        (Self { permits, limit: batching.queue, jobs, pace, metrics }, queue)
    }

    /// Room for one request, kept until its last job is done.
    ///
    /// # Errors
    /// 429 at once when there is none: nobody waits without being counted.
    pub fn admit(&self) -> Result<Permit> {
        Arc::clone(&self.permits).try_acquire_owned().map(Permit::new).map_err(|_| self.full())
    }

    /// Whether [`admit`](Self::admit) would fail now; lets a large upload be refused before it is read.
    ///
    /// # Errors
    /// 429 as `admit`.
    pub fn check_room(&self) -> Result<()> {
        if self.permits.available_permits() == 0 { Err(self.full()) } else { Ok(()) }
    }

    /// An utterance in, its transcript out. Dropping the future cancels the job.
    ///
    /// # Errors
    /// The engine's, or 500 when it is gone.
    pub async fn submit(&self, utterance: Utterance, permit: Permit) -> Result<Done> {
        let (reply, answer) = oneshot::channel();
        self.metrics.job_queued(&utterance);
        let job = Job { utterance, permit, reply, queued: Instant::now() };
        self.jobs.send(job).map_err(|_| ApiError::internal("the engine's thread has ended"))?;
        answer.await.map_err(|_| ApiError::internal("the engine dropped a job"))?
    }

    fn full(&self) -> ApiError {
        let in_use = u64::from(self.limit).saturating_sub(self.permits.available_permits() as u64);
        ApiError::queue_full(Pressure {
            limit: self.limit.into(),
            in_use,
            retry_after: self.pace.seconds_for(in_use).clamp(1, 60),
        })
    }
}

/// How long a job takes lately: a moving average, so that `Retry-After` means something.
#[derive(Debug, Default)]
pub struct Pace(AtomicU64);

impl Pace {
    fn record(&self, spent: Duration, jobs: usize) {
        let micros = u64::try_from(spent.as_micros()).unwrap_or(u64::MAX) / jobs.max(1) as u64;
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(if before == 0 { micros } else { before - before / 8 + micros / 8 }, Ordering::Relaxed);
    }

    fn seconds_for(&self, jobs: u64) -> u64 {
        self.0.load(Ordering::Relaxed).saturating_mul(jobs).div_ceil(1_000_000)
    }
}
