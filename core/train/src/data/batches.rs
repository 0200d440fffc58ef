//! Utterances of like length side by side, in a seeded order that depends on the epoch alone.

use rand::{Rng, seq::SliceRandom};
use s3router_core::learn::seeds::stream;

/// The batches of one epoch: indices into `frames`, each batch at most `budget` padded frames (or one utterance).
///
/// Utterances are sorted by length, jittered by `jitter` frames so that neighbours change from epoch to
/// epoch, cut into batches, and the batches shuffled. Equal `(seed, epoch)` give equal batches.
pub fn epoch(frames: &[usize], budget: usize, jitter: usize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    let mut rng = stream(seed, "order", epoch);
    let mut order: Vec<(usize, u64, usize)> = frames
        .iter()
        .enumerate()
        .map(|(i, &n)| (n + rng.random_range(0..=jitter), rng.random(), i))
        .collect();
    order.sort_unstable();
    let mut batches = cut(order.into_iter().map(|(_, _, i)| i), frames, budget);
    batches.shuffle(&mut rng);
    batches
}

/// Batches by length alone, for evaluation.
pub fn by_length(frames: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..frames.len()).collect();
    order.sort_by_key(|&i| frames[i]);
    cut(order.into_iter(), frames, budget)
}

fn cut(order: impl Iterator<Item = usize>, frames: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let (mut batches, mut batch, mut longest) = (Vec::new(), Vec::new(), 0);
    for i in order {
        let with = longest.max(frames[i]);
        if !batch.is_empty() && with * (batch.len() + 1) > budget {
            batches.push(std::mem::take(&mut batch));
            longest = 0;
        }
        longest = longest.max(frames[i]);
        batch.push(i);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<usize> {
        let mut rng = stream(1, "lengths", 0);
        (0..500).map(|_| rng.random_range(20..350)).collect()
    }

    #[test]
    fn every_utterance_comes_once_and_no_batch_exceeds_its_budget() {
        let frames = frames();
        let batches = epoch(&frames, 2400, 15, 1, 0);
        let mut seen: Vec<_> = batches.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..frames.len()).collect::<Vec<_>>());
        let padded = |b: &Vec<usize>| b.len() * b.iter().map(|&i| frames[i]).max().unwrap_or(0);
        assert!(batches.iter().all(|b| padded(b) <= 2400));
        let real: usize = frames.iter().sum();
        let all: usize = batches.iter().map(padded).sum();
        assert!(real as f64 / all as f64 > 0.9, "{real} of {all} frames are real");
    }

    #[test]
    fn an_utterance_longer_than_the_budget_stands_alone() {
        assert_eq!(by_length(&[10, 5000, 12], 100), [vec![0, 2], vec![1]]);
    }

    #[test]
    fn epochs_differ_and_repeat() {
        let frames = frames();
        assert_eq!(epoch(&frames, 2400, 15, 1, 3), epoch(&frames, 2400, 15, 1, 3));
        assert_ne!(epoch(&frames, 2400, 15, 1, 3), epoch(&frames, 2400, 15, 1, 4));
    }
}
