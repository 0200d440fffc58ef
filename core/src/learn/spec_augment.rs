//! Which frames and channels a training step hides: fairseq's `compute_mask_indices`, static lengths.
//!
//! Source: `fairseq/data/data_utils.py`. Spans start anywhere (overlaps allowed). The reference then
//! forces every row down to the fewest masked positions of the batch, so one short utterance weakens the
//! masking of all; that is `require_same`, off by default here.

use rand::{Rng, rngs::StdRng, seq::index::sample};

/// How much is hidden along one axis.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spans {
    /// Expected masked fraction if spans never overlapped; 0 hides nothing.
    pub prob: f64,
    /// Length of a span, in frames or channels.
    pub length: usize,
    /// Fewest spans in a row.
    pub at_least: usize,
    /// Subsample every row to the fewest masked positions of the batch, as the reference does.
    pub require_same: bool,
}

impl Default for Spans {
    fn default() -> Self {
        Self { prob: 0.0, length: 10, at_least: 0, require_same: false }
    }
}

/// What a training step hides.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpecAugment {
    /// Frames replaced by the mask embedding.
    pub time: Spans,
    /// Channels set to 0 over the whole utterance.
    pub channel: Spans,
}

impl Spans {
    /// Masked positions of each row, `lengths[row]` of them valid, ascending.
    pub fn draw(&self, lengths: &[usize], rng: &mut StdRng) -> Vec<Vec<usize>> {
        let mut rows: Vec<_> = lengths.iter().map(|&n| self.draw_row(n, rng)).collect();
        if self.require_same {
            let fewest = rows.iter().map(Vec::len).min().unwrap_or(0);
            for row in rows.iter_mut().filter(|r| r.len() > fewest) {
                let mut kept: Vec<_> = sample(rng, row.len(), fewest).iter().map(|i| row[i]).collect();
                kept.sort_unstable();
                *row = kept;
            }
        }
        rows
    }

    fn draw_row(&self, size: usize, rng: &mut StdRng) -> Vec<usize> {
        if self.prob <= 0.0 || self.length == 0 || size < 2 {
            return Vec::new();
        }
        let expected = self.prob * size as f64 / self.length as f64 + rng.random::<f64>();
        let count = (expected as usize).max(self.at_least).min(size - 1);
        // Starts lie in 0..size − length; the reference's off-by-one, kept: the last legal start is never drawn.
        let room = if size.saturating_sub(self.length) <= count { count + 1 } else { size - self.length };
        let mut masked = vec![false; size];
        for start in sample(rng, room.min(size), count) {
            masked[start..(start + self.length).min(size)].fill(true);
        }
        (0..size).filter(|&i| masked[i]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::seeds::stream;

    fn spans(prob: f64, length: usize) -> Spans {
        Spans { prob, length, at_least: 2, require_same: false }
    }

    #[test]
    fn the_masked_fraction_is_what_overlapping_spans_expect() {
        let mut rng = stream(3, "test", 0);
        for (prob, expected) in [(0.65, 0.48), (0.75, 0.53)] {
            let rows = spans(prob, 10).draw(&[500; 200], &mut rng);
            let mean = rows.iter().map(Vec::len).sum::<usize>() as f64 / (200.0 * 500.0);
            assert!((mean - expected).abs() < 0.02, "{mean} at {prob}");
        }
    }

    #[test]
    fn each_row_keeps_its_own_masking_unless_the_reference_is_asked_for() {
        let lengths = [40, 400];
        let own = spans(0.65, 10).draw(&lengths, &mut stream(1, "test", 0));
        assert!(own[1].len() > 2 * own[0].len());
        let same = Spans { require_same: true, ..spans(0.65, 10) }.draw(&lengths, &mut stream(1, "test", 0));
        assert_eq!(same[0].len(), same[1].len());
    }

    #[test]
    fn positions_are_ascending_and_inside_the_row() {
        let mut rng = stream(5, "test", 0);
        for size in 0..60 {
            let row = &spans(0.9, 10).draw(&[size], &mut rng)[0];
            assert!(row.windows(2).all(|w| w[0] < w[1]));
            assert!(row.iter().all(|&i| i < size), "size {size}");
        }
    }

    #[test]
    fn channel_spans_of_base_are_three_of_sixty_four() {
        let mut rng = stream(5, "test", 0);
        let channel = Spans { prob: 0.25, length: 64, at_least: 0, require_same: false };
        for row in channel.draw(&[768; 50], &mut rng) {
            assert!(row.len() <= 3 * 64 && row.len() > 64);
        }
    }
}
