use super::{fair::*, policy::*};
use proptest::prelude::*;
use std::collections::HashMap;

const BUDGET: Budget = Budget { rows: 4, samples: 1000 };
const ALONE: Budget = Budget { rows: 1, samples: usize::MAX };

fn seat(tenant: u64, weight: u32, language: u64, job: u64) -> Seat {
    Seat { tenant, weight, language, job }
}

fn push(fair: &mut Fair, seat: Seat, pieces: &[usize]) {
    pieces
        .iter()
        .enumerate()
        .for_each(|(piece, &samples)| fair.push(Unit { seat, piece, whole: pieces.len() == 1, samples }));
}

fn jobs(lengths: &[usize]) -> Fair {
    let mut fair = Fair::default();
    lengths.iter().zip(0..).for_each(|(&n, job)| push(&mut fair, seat(0, 1, 0, job), &[n]));
    fair
}

fn names(batch: &[Unit]) -> Vec<u64> {
    batch.iter().map(|unit| unit.seat.job).collect()
}

#[test]
fn neighbours_in_length_ride_along_and_strangers_wait() {
    assert_eq!(names(&next_batch(&mut jobs(&[100, 900, 110, 95, 30]), BUDGET)), [4]);
    assert_eq!(names(&next_batch(&mut jobs(&[100, 900, 110, 95]), BUDGET)), [3, 0, 2]);
}

#[test]
fn a_giant_runs_alone() {
    let mut fair = jobs(&[5000, 4900]);
    assert_eq!(names(&next_batch(&mut fair, BUDGET)), [1]);
}

#[test]
fn a_short_job_overtakes_the_windows_of_a_long_one_but_not_for_ever() {
    let mut fair = Fair::default();
    push(&mut fair, seat(0, 1, 0, 0), &[400; 3]);
    assert_eq!(names(&next_batch(&mut fair, ALONE)), [0], "the long file was alone");
    let mut shorts = 0;
    push(&mut fair, seat(0, 1, 0, 1), &[50]);
    for job in 2.. {
        // Always two short jobs in wait, one of them fresh.
        push(&mut fair, seat(0, 1, 0, job), &[50]);
        if names(&next_batch(&mut fair, ALONE)) == [0] {
            break;
        }
        shorts += 1;
    }
    assert!((1..=2 * 400 / 50).contains(&shorts), "{shorts}");
}

#[test]
fn guests_are_small_and_together_no_more_than_their_host() {
    let mut fair = jobs(&[300, 100, 100, 100, 100, 100]);
    let mut running = Running { samples: 400, longest: 400, guests: 0 };
    let mut cut = || names(&cut_in(&mut fair, Budget { rows: 3, samples: 1000 }, &mut running));
    assert_eq!((cut(), cut(), cut()), (vec![1, 2, 3], vec![4], vec![]), "400 in all, and never the 300");
    assert_eq!(names(&next_batch(&mut fair, ALONE)), [5]);
}

#[test]
fn among_equals_nobody_cuts_in() {
    let mut fair = jobs(&[100, 100, 20]);
    let mut running = Running { samples: 800, longest: 100, guests: 0 };
    assert_eq!(
        names(&cut_in(&mut fair, BUDGET, &mut running)),
        [2],
        "small beside each of eight, not beside all"
    );
    assert!(cut_in(&mut fair, BUDGET, &mut running).is_empty());
}

#[test]
fn the_windows_of_a_long_file_cut_in_on_nobody() {
    let mut fair = Fair::default();
    push(&mut fair, seat(0, 1, 0, 0), &[20; 30]);
    let mut running = Running { samples: 120, longest: 120, guests: 0 };
    assert!(cut_in(&mut fair, BUDGET, &mut running).is_empty(), "small as they are");
    push(&mut fair, seat(0, 1, 0, 1), &[1]);
    assert_eq!(names(&cut_in(&mut fair, BUDGET, &mut running)), [1]);
}

#[test]
fn a_job_that_nobody_wants_any_more_leaves_without_a_charge() {
    let mut fair = jobs(&[100, 200]);
    fair.retain(&|job| job != 0);
    assert_eq!(names(&next_batch(&mut fair, BUDGET)), [1]);
    assert!(fair.is_empty());
}

/// Keys, languages, jobs of some pieces.
fn crowd() -> impl Strategy<Value = Vec<(u64, u64, Vec<usize>)>> {
    prop::collection::vec((0u64..3, 0u64..3, prop::collection::vec(1usize..2000, 1..4)), 0..30)
}

fn filled(crowd: &[(u64, u64, Vec<usize>)]) -> Fair {
    let mut fair = Fair::default();
    for (job, (tenant, language, pieces)) in (0..).zip(crowd) {
        push(&mut fair, seat(*tenant, 1 + *tenant as u32, *language, job), pieces);
    }
    fair
}

proptest! {
    #[test]
    fn a_batch_is_within_its_budget_and_led_by_whose_turn_it_is(
        crowd in crowd(), rows in 1usize..10, samples in 1usize..5000,
    ) {
        let mut fair = filled(&crowd);
        let turn = fair.best(&|_| true);
        let batch = next_batch(&mut fair, Budget { rows, samples });
        prop_assert_eq!(batch.first().copied(), turn);
        prop_assert!(batch.len() <= rows);
        let longest = batch.iter().map(|u| u.samples).max().unwrap_or(0);
        let (padded, sum) = (longest * batch.len(), batch.iter().map(|u| u.samples).sum::<usize>());
        prop_assert!(batch.len() <= 1 || (padded <= samples && (padded - sum) * 4 <= padded));
    }

    #[test]
    fn every_piece_runs_once_and_those_of_a_job_in_their_order(crowd in crowd()) {
        let mut fair = filled(&crowd);
        let mut seen: HashMap<u64, Vec<usize>> = HashMap::new();
        loop {
            let batch = next_batch(&mut fair, BUDGET);
            if batch.is_empty() { break }
            batch.iter().for_each(|u| seen.entry(u.seat.job).or_default().push(u.samples));
        }
        for (job, (_, _, pieces)) in (0..).zip(&crowd) {
            prop_assert_eq!(&seen[&job], pieces);
        }
    }

    /// Two keys that always have work get service in proportion to their weights, whatever the sizes of their
    /// jobs and however many languages they spread them over.
    #[test]
    fn keys_share_by_weight(
        sizes in prop::collection::vec((1usize..500, 1usize..500, 0u64..4), 200), weight in 1u32..5,
    ) {
        let mut fair = Fair::default();
        for (job, (a, b, language)) in (0..).zip(&sizes) {
            push(&mut fair, seat(1, 1, 0, 2 * job), &[*a]);
            push(&mut fair, seat(2, weight, *language, 2 * job + 1), &[*b]);
        }
        let mut served = [0usize; 3];
        while let Some(unit) = fair.best(&|_| true) {
            fair.take(unit.seat);
            served[unit.seat.tenant as usize] += unit.samples;
            // Over as soon as one of them has nothing left to ask for.
            let waits = |tenant: u64| fair.best(&|u| u.seat.tenant == tenant).is_some();
            if !waits(1) || !waits(2) { break }
            let (one, other) = (served[1], served[2] / weight as usize);
            prop_assert!(one.abs_diff(other) <= 2 * 500, "{:?} at weight {}", served, weight);
        }
    }

    /// However many fresh jobs come, a waiting one runs before each rival that was there with it has been given
    /// more than the waiting one asks for, plus one unit.
    #[test]
    fn nobody_starves(rivals in 1u64..6, size in 1usize..100, long in 1usize..1000) {
        let mut fair = Fair::default();
        push(&mut fair, seat(0, 1, 0, 0), &[long]);
        let (mut next, mut others) = (1, 0usize);
        loop {
            while next <= rivals + others as u64 {
                push(&mut fair, seat(0, 1, 0, next), &[size]);
                next += 1;
            }
            let Some(unit) = fair.best(&|_| true) else { break };
            fair.take(unit.seat);
            if unit.seat.job == 0 { break }
            others += 1;
        }
        prop_assert!(others * size <= rivals as usize * (long + size), "{} others of {}", others, size);
    }
}
