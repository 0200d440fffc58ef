//! Which jobs form the next batch: a pure function.
//!
//! The oldest job always runs, so nobody starves. The rest of the batch is whoever is nearest to it in length
//! (padding is paid for in time), as long as the padded batch stays within the budget. Languages do not
//! matter: a batch may mix them freely.

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
    /// From the operator's limits.
    pub fn new(batching: &Batching) -> Self {
        Self {
            rows: batching.max_batch as usize,
            samples: batching.batch_seconds as usize * RATE_HZ as usize,
        }
    }
}

/// Of a padded batch, at most one part in `WASTE` is padding.
const WASTE: usize = 4;

/// Indices into `waiting` (lengths in samples, oldest first) of the jobs to run now, ascending.
///
/// Holds index 0 whenever anything waits; a job larger than the budget runs alone.
pub fn next_batch(waiting: &[usize], budget: Budget) -> Vec<usize> {
    let Some(&lead) = waiting.first() else { return Vec::new() };
    let mut others: Vec<usize> = (1..waiting.len()).collect();
    others.sort_by_key(|&i| (waiting[i].abs_diff(lead), i));

    let mut batch = vec![0];
    let (mut longest, mut total) = (lead, lead);
    for i in others {
        let (long, sum) = (longest.max(waiting[i]), total.saturating_add(waiting[i]));
        let padded = long.saturating_mul(batch.len() + 1);
        let fits = batch.len() < budget.rows && padded <= budget.samples && padded - sum <= padded / WASTE;
        if fits {
            batch.push(i);
            (longest, total) = (long, sum);
        }
    }
    batch.sort_unstable();
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUDGET: Budget = Budget { rows: 4, samples: 1000 };

    #[test]
    fn neighbours_in_length_ride_along_and_strangers_wait() {
        assert_eq!(next_batch(&[100, 900, 110, 95, 5], BUDGET), [0, 2, 3]);
    }

    #[test]
    fn a_giant_runs_alone() {
        assert_eq!(next_batch(&[5000, 4900, 10], BUDGET), [0]);
    }

    proptest! {
        #[test]
        fn a_batch_is_within_its_budget_and_never_leaves_the_oldest(
            waiting in prop::collection::vec(0usize..2000, 0..40),
            rows in 1usize..10,
            samples in 1usize..5000,
        ) {
            let budget = Budget { rows, samples };
            let batch = next_batch(&waiting, budget);
            prop_assert_eq!(batch.first().copied(), (!waiting.is_empty()).then_some(0));
            prop_assert!(batch.windows(2).all(|w| w[0] < w[1]), "each job once, in order of arrival");
            prop_assert!(batch.len() <= rows);
            let longest = batch.iter().map(|&i| waiting[i]).max().unwrap_or(0);
            let padded = longest * batch.len();
            let sum: usize = batch.iter().map(|&i| waiting[i]).sum();
            prop_assert!(batch.len() <= 1 || (padded <= samples && (padded - sum) * WASTE <= padded));
        }

        #[test]
        fn everyone_runs_within_as_many_batches_as_wait(
            mut waiting in prop::collection::vec(1usize..2000, 1..30),
        ) {
            let jobs = waiting.len();
            for _ in 0..jobs {
                for i in next_batch(&waiting, BUDGET).into_iter().rev() {
                    waiting.remove(i);
                }
            }
            prop_assert!(waiting.is_empty());
        }
    }
}
