//! Word, character and phone error rates with their kinds of error and bootstrap confidence intervals.

use super::seeds::stream;
use rand::Rng;
use std::ops::AddAssign;

/// Edits that turn hypotheses into references.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Edits {
    /// Symbols of the hypothesis that the reference lacks.
    pub insertions: usize,
    /// Symbols of the reference that the hypothesis lacks.
    pub deletions: usize,
    /// Symbols replaced.
    pub substitutions: usize,
    /// Symbols of the reference.
    pub reference: usize,
}

impl Edits {
    /// Levenshtein alignment of one pair, in O(reference × hypothesis) time and O(hypothesis) memory.
    ///
    /// Among alignments of equal cost, substitutions are preferred to deletions, deletions to insertions.
    pub fn between<S: PartialEq>(reference: &[S], hypothesis: &[S]) -> Self {
        let first = |i| Self { insertions: i, ..Self::default() };
        let mut row: Vec<Self> = (0..=hypothesis.len()).map(first).collect();
        for r in reference {
            let mut diagonal = row[0];
            row[0].deletions += 1;
            for (j, h) in hypothesis.iter().enumerate() {
                let (mut replace, mut delete, mut insert) = (diagonal, row[j + 1], row[j]);
                replace.substitutions += usize::from(r != h);
                delete.deletions += 1;
                insert.insertions += 1;
                diagonal = row[j + 1];
                row[j + 1] = [delete, insert]
                    .into_iter()
                    .fold(replace, |b, c| if c.total() < b.total() { c } else { b });
            }
        }
        Self { reference: reference.len(), ..row[hypothesis.len()] }
    }

    /// Insertions + deletions + substitutions.
    pub fn total(&self) -> usize {
        self.insertions + self.deletions + self.substitutions
    }

    /// Edits per reference symbol; 0 for an empty reference without edits.
    pub fn rate(&self) -> f64 {
        match (self.total(), self.reference) {
            (0, _) => 0.0,
            (edits, n) => edits as f64 / n.max(1) as f64,
        }
    }
}

impl AddAssign for Edits {
    fn add_assign(&mut self, other: Self) {
        self.insertions += other.insertions;
        self.deletions += other.deletions;
        self.substitutions += other.substitutions;
        self.reference += other.reference;
    }
}

/// An error rate over a corpus, with a 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Rate {
    /// Σ edits / Σ reference symbols.
    pub rate: f64,
    /// 2.5 % and 97.5 % quantiles over resampled corpora.
    pub interval: [f64; 2],
    /// The edits behind it.
    pub edits: Edits,
}

/// Corpora drawn for an interval.
const RESAMPLES: usize = 1000;

impl Rate {
    /// The rate of a corpus and its percentile-bootstrap interval, resampling whole utterances.
    pub fn of(utterances: &[Edits], seed: u64) -> Self {
        let sum = |picked: &mut dyn Iterator<Item = usize>| {
            picked.fold(Edits::default(), |mut sum, i| {
                sum += utterances[i];
                sum
            })
        };
        let n = utterances.len();
        let edits = sum(&mut (0..n));
        let mut rng = stream(seed, "bootstrap", 0);
        let mut rates: Vec<f64> = (0..if n == 0 { 0 } else { RESAMPLES })
            .map(|_| sum(&mut (0..n).map(|_| rng.random_range(0..n))).rate())
            .collect();
        rates.sort_unstable_by(f64::total_cmp);
        let quantile = |q: f64| rates.get((q * RESAMPLES as f64) as usize).copied().unwrap_or(edits.rate());
        Self { rate: edits.rate(), interval: [quantile(0.025), quantile(0.975)], edits }
    }
}

/// Word edits: symbols are the runs between white space.
pub fn word_edits(reference: &str, hypothesis: &str) -> Edits {
    let words = |s: &'_ str| s.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    Edits::between(&words(reference), &words(hypothesis))
}

/// Character edits: symbols are Unicode scalar values, spaces included.
pub fn char_edits(reference: &str, hypothesis: &str) -> Edits {
    let chars = |s: &str| s.chars().collect::<Vec<_>>();
    Edits::between(&chars(reference), &chars(hypothesis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(insertions: usize, deletions: usize, substitutions: usize, reference: usize) -> Edits {
        Edits { insertions, deletions, substitutions, reference }
    }

    #[test]
    fn each_kind_of_error_is_told_apart() {
        assert_eq!(char_edits("abcd", "abcd"), edits(0, 0, 0, 4));
        assert_eq!(char_edits("abcd", "abxcd"), edits(1, 0, 0, 4));
        assert_eq!(char_edits("abcd", "acd"), edits(0, 1, 0, 4));
        assert_eq!(char_edits("abcd", "abxd"), edits(0, 0, 1, 4));
        assert_eq!(char_edits("", "ab"), edits(2, 0, 0, 0));
        assert_eq!(char_edits("ab", ""), edits(0, 2, 0, 2));
        assert_eq!(char_edits("kitten", "sitting"), edits(1, 0, 2, 6));
        assert_eq!(word_edits("the cat sat", "the  cat sat down"), edits(1, 0, 0, 3));
    }

    #[test]
    fn the_interval_holds_the_rate_and_narrows_with_data() {
        let corpus = |n: usize| (0..n).map(|i| edits(0, 0, usize::from(i % 5 == 0), 1)).collect::<Vec<_>>();
        let (small, large) = (Rate::of(&corpus(50), 1), Rate::of(&corpus(5000), 1));
        for r in [small, large] {
            assert!(r.interval[0] <= r.rate && r.rate <= r.interval[1]);
        }
        assert!((large.rate - 0.2).abs() < 1e-12);
        let width = |r: Rate| r.interval[1] - r.interval[0];
        // Binomial: 2 × 1.96 √(p (1 − p) / n)
        assert!((width(large) - 0.0222).abs() < 0.004, "{:?}", large.interval);
        assert!(width(small) > 5.0 * width(large));
    }

    #[test]
    fn an_empty_corpus_has_no_error() {
        assert_eq!(Rate::of(&[], 1).rate, 0.0);
    }
}
