//! The jobs that wait, owned by the engine's thread: no lock to reason about.

use super::{
    admission::Admission,
    fair::{Fair, Seat, Unit},
    job::{Computed, Cut, Job},
    policy::{self, Budget, Running},
};
use crate::{
    app::Model,
    error::{ApiError, Result},
    metrics::Metrics,
    telemetry,
};
use s3router_core::{
    audio::RATE_HZ,
    kernels::Tier,
    piece::{Part, Piece},
};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc::Receiver},
    time::{Duration, Instant},
};
use tracing::Span;

/// Waiting jobs, and the channel by which they arrive.
#[derive(Debug)]
pub struct Queue {
    incoming: Receiver<Job>,
    jobs: HashMap<u64, Cut>,
    fair: Fair,
    arrived: u64,
    budget: Budget,
    admission: Arc<Admission>,
    pub(super) metrics: Arc<Metrics>,
}

/// Pieces that run together, each with the number of its job.
pub(super) type Batch = Vec<(u64, Piece)>;

impl Queue {
    pub(super) fn new(
        incoming: Receiver<Job>,
        budget: Budget,
        admission: Arc<Admission>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (jobs, fair) = (HashMap::new(), Fair::default());
        Self { incoming, jobs, fair, arrived: 0, budget, admission, metrics }
    }

    /// The next batch; waits while there is nothing to do. `None` once the scheduler is gone and all is done.
    pub(super) fn next_batch(&mut self, model: &Arc<dyn Model>) -> Option<Batch> {
        loop {
            if self.fair.is_empty() {
                let job = self.incoming.recv().ok()?;
                self.accept(job, model);
            }
            self.sweep(model);
            let units = policy::next_batch(&mut self.fair, self.budget);
            if !units.is_empty() {
                return Some(self.take(&units));
            }
        }
    }

    /// Small jobs that came while a batch runs and may go first, if there are any.
    pub(super) fn cut_in(&mut self, running: &mut Running, model: &Arc<dyn Model>) -> Option<Batch> {
        self.sweep(model);
        let units = policy::cut_in(&mut self.fair, self.budget, running);
        (!units.is_empty()).then(|| self.take(&units))
    }

    /// Whether anybody still waits for any of these.
    pub(super) fn wants(&self, batch: &Batch) -> bool {
        batch.iter().any(|(id, _)| self.jobs.get(id).is_some_and(|cut| !cut.job.reply.is_closed()))
    }

    /// A batch as each of its requests' traces tells it; it ends when these are dropped.
    pub(super) fn spans(&self, batch: &Batch) -> Vec<Span> {
        let mut told = Vec::new();
        let mut spans = Vec::new();
        for (id, _) in batch {
            if let Some(cut) = self.jobs.get(id)
                && !told.contains(id)
            {
                told.push(*id);
                let (rows, kernel) = (batch.len(), Tier::best().name());
                spans.push(tracing::info_span!(parent: &cut.job.span, "forward", rows, kernel));
            }
        }
        spans
    }

    /// Takes in a batch's parts, in its order; whose last part that was has its answer.
    pub(super) fn deliver(
        &mut self,
        batch: &Batch,
        parts: Vec<Part>,
        took: Duration,
        model: &Arc<dyn Model>,
    ) {
        let audio: usize = batch.iter().map(|(_, piece)| piece.samples()).sum();
        self.admission.record(seconds(audio), took);
        let mut paid = Vec::new();
        for ((id, _), part) in batch.iter().zip(parts) {
            // Gone when its client left meanwhile.
            let Some(cut) = self.jobs.get_mut(id) else { continue };
            cut.parts.push(part);
            if !paid.contains(id) {
                paid.push(*id);
                cut.busy += took;
            }
            if cut.parts.len() == cut.pieces.len()
                && let Some(cut) = self.jobs.remove(id)
            {
                answer(cut, model);
            }
        }
    }

    /// The batch failed, and with it every job it had a piece of.
    pub(super) fn fail(&mut self, batch: &Batch, error: &ApiError) {
        for (id, _) in batch {
            if let Some(cut) = self.jobs.remove(id) {
                refuse(cut.job, error.clone());
            }
        }
        self.fair.retain(&|id| self.jobs.contains_key(&id));
    }

    /// Takes in what has arrived and forgets what nobody waits for.
    fn sweep(&mut self, model: &Arc<dyn Model>) {
        while let Ok(job) = self.incoming.try_recv() {
            self.accept(job, model);
        }
        let before = self.jobs.len();
        self.jobs.retain(|_, cut| {
            let wanted = !cut.job.reply.is_closed();
            if !wanted && !cut.begun {
                self.metrics.job_left(&cut.job.utterance);
            }
            wanted
        });
        if self.jobs.len() < before {
            self.fair.retain(&|id| self.jobs.contains_key(&id));
        }
    }

    fn accept(&mut self, job: Job, model: &Arc<dyn Model>) {
        let pieces = match guarded("the engine", || model.cut(&job.utterance)).and_then(|cut| Ok(cut?)) {
            Ok(pieces) => pieces,
            Err(error) => {
                self.metrics.job_left(&job.utterance);
                return refuse(job, error);
            }
        };
        let cut = Cut { job, pieces, parts: Vec::new(), busy: Duration::ZERO, begun: false };
        if cut.pieces.is_empty() {
            self.metrics.job_left(&cut.job.utterance);
            return answer(cut, model);
        }
        self.arrived += 1;
        let tenant = cut.job.permit.tenant();
        let language = name(&cut.job.utterance.pack.meta.language);
        let seat = Seat { tenant: tenant.id, weight: tenant.weight, language, job: self.arrived };
        let whole = cut.pieces.len() == 1;
        for (piece, cut) in cut.pieces.iter().enumerate() {
            self.fair.push(Unit { seat, piece, whole, samples: cut.samples() });
        }
        self.jobs.insert(self.arrived, cut);
    }

    fn take(&mut self, units: &[Unit]) -> Batch {
        let mut batch = Vec::with_capacity(units.len());
        for Unit { seat, piece, .. } in units {
            let Some(cut) = self.jobs.get_mut(&seat.job) else { continue };
            if !std::mem::replace(&mut cut.begun, true) {
                self.metrics.job_left(&cut.job.utterance);
            }
            if let Some(piece) = cut.pieces.get(*piece) {
                batch.push((seat.job, piece.clone()));
            }
        }
        batch
    }
}

/// What `work` gives, or 500 if it panicked.
pub(crate) fn guarded<T>(what: &str, work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        ApiError::internal(format!("{what} panicked: {}", telemetry::message(panic.as_ref())))
    })
}

fn answer(cut: Cut, model: &Arc<dyn Model>) {
    let Cut { job, parts, busy, .. } = cut;
    let Job { utterance, permit, audio, reply, queued, .. } = job;
    let queue = Instant::now().saturating_duration_since(queued).saturating_sub(busy);
    let computed =
        Computed { model: Arc::clone(model), utterance, parts, queue, infer: busy, held: (permit, audio) };
    // Nobody may be waiting any more; that is no error.
    let _ = reply.send(Ok(computed));
}

fn refuse(job: Job, error: ApiError) {
    let Job { permit, audio, reply, .. } = job;
    drop((permit, audio));
    let _ = reply.send(Err(error));
}

fn name(language: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    language.hash(&mut hasher);
    hasher.finish()
}

/// So many samples last so long.
pub(super) fn seconds(samples: usize) -> Duration {
    Duration::from_secs_f64(samples as f64 / f64::from(RATE_HZ))
}
