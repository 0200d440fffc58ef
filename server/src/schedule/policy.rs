//! Which units form the next batch, and who may cut in on a batch that runs: pure functions over [`Fair`].
//!
//! The unit whose turn it is always leads. The rest is whoever comes next in fair order and is near enough in
//! length (padding is paid for in time), while the padded batch stays within the budget. Languages do not
//! matter: a batch may mix them freely.

use super::fair::{Fair, Unit};
use crate::config::Batching;
use s3router_core::audio::RATE_HZ;

/// What one batch may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Rows.
    pub rows: usize,
    /// Rows × the longest row, in samples.
    pub samples: usize,
}

impl Budget {
    /// From the operator's limits, which are those of each of the `devices` that share a batch.
    pub fn new(batching: &Batching, devices: usize) -> Self {
        Self {
            rows: batching.max_batch as usize * devices,
            samples: batching.batch_seconds as usize * RATE_HZ as usize * devices,
        }
    }
}

/// Of a padded batch, at most one part in `WASTE` is padding.
const WASTE: usize = 4;

/// Who cuts in on a running batch is at most one part in `GUEST` of its longest piece. Among equals nobody cuts in:
/// a newcomer would save little, and the work would be done in crumbs.
const GUEST: usize = 4;

/// The units to run now; at least one whenever anything waits. A unit larger than the budget runs alone.
pub fn next_batch(fair: &mut Fair, budget: Budget) -> Vec<Unit> {
    form(fair, budget, &|_| true)
}

/// A batch that is being computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its own samples.
    pub samples: usize,
    /// Those of its longest piece.
    pub longest: usize,
    /// Samples of those who cut in so far.
    pub guests: usize,
}

/// The units to run between two layers of a batch: small jobs only, never a window of long audio (nobody can cut
/// in on a guest), and all together not more than the batch itself, so that a long file takes at most twice its time however many short requests there are.
pub fn cut_in(fair: &mut Fair, budget: Budget, running: &mut Running) -> Vec<Unit> {
    let left = running.samples.saturating_sub(running.guests);
    let room = Budget { samples: budget.samples.min(left), ..budget };
    let small = running.longest / GUEST;
    let guests = form(fair, room, &|unit| unit.whole && unit.samples <= small.min(left));
    running.guests += guests.iter().map(|unit| unit.samples).sum::<usize>();
    guests
}

fn form(fair: &mut Fair, budget: Budget, admits: &dyn Fn(&Unit) -> bool) -> Vec<Unit> {
    let Some(lead) = fair.best(admits).and_then(|unit| fair.take(unit.seat)) else { return Vec::new() };
    let (mut longest, mut total) = (lead.samples, lead.samples);
    let mut batch = vec![lead];
    while batch.len() < budget.rows {
        let fits = |unit: &Unit| {
            let padded = longest.max(unit.samples).saturating_mul(batch.len() + 1);
            let real = total.saturating_add(unit.samples);
            admits(unit) && padded <= budget.samples && padded.saturating_sub(real) <= padded / WASTE
        };
        let Some(unit) = fair.best(&fits).and_then(|unit| fair.take(unit.seat)) else { break };
        longest = longest.max(unit.samples);
        total = total.saturating_add(unit.samples);
        batch.push(unit);
    }
    batch
}
