//! The jobs that wait, owned by the engine's thread: no lock to reason about.

use super::{
    Pace,
    job::Job,
    policy::{self, Budget},
};
use crate::metrics::Metrics;
use std::{
    collections::VecDeque,
    sync::{Arc, mpsc::Receiver},
    time::Duration,
};

/// Jobs in order of arrival, and the channel by which they arrive.
#[derive(Debug)]
pub struct Queue {
    incoming: Receiver<Job>,
    waiting: VecDeque<Job>,
    budget: Budget,
    pace: Arc<Pace>,
    pub(super) metrics: Arc<Metrics>,
}

impl Queue {
    pub(super) fn new(
        incoming: Receiver<Job>,
        budget: Budget,
        pace: Arc<Pace>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { incoming, waiting: VecDeque::new(), budget, pace, metrics }
    }

    /// The next batch; waits while there is nothing to do. `None` once the scheduler is gone and all is done.
    pub fn next_batch(&mut self) -> Option<Vec<Job>> {
        loop {
            if self.waiting.is_empty() {
                self.waiting.push_back(self.incoming.recv().ok()?);
            }
            self.waiting.extend(self.incoming.try_iter());
            self.waiting.retain(|job| {
                let wanted = !job.reply.is_closed();
                if !wanted {
                    self.metrics.job_left(&job.utterance);
                }
                wanted
            });
            let lengths: Vec<usize> = self.waiting.iter().map(|job| job.utterance.samples.len()).collect();
            let chosen = policy::next_batch(&lengths, self.budget);
            if !chosen.is_empty() {
                return Some(self.take(&chosen));
            }
        }
    }

    /// What a batch of `jobs` took, for the next `Retry-After`.
    pub(super) fn record(&self, spent: Duration, jobs: usize) {
        self.pace.record(spent, jobs);
    }

    fn take(&mut self, chosen: &[usize]) -> Vec<Job> {
        let mut batch = Vec::with_capacity(chosen.len());
        let mut rest = VecDeque::with_capacity(self.waiting.len());
        for (i, job) in self.waiting.drain(..).enumerate() {
            if chosen.binary_search(&i).is_ok() {
                self.metrics.job_left(&job.utterance);
                batch.push(job);
            } else {
                rest.push_back(job);
            }
        }
        self.waiting = rest;
        batch
    }
}
