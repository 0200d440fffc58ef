//! How alike two masks are.
//!
//! Independent masks that keep 92 % of their weights already have a cosine of 0.92: the kept bits are
//! mostly shared whatever was learnt. The two other numbers take chance away: φ is the correlation of
//! the bits, 0 for independent masks of any density, and the Jaccard index looks at the dropped weights only.

use crate::{BitMask, Error, Pack, Result};
use std::{collections::BTreeMap, ops::AddAssign};

/// Counts over the weights that two masks both cover; all measures follow from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    /// Weights covered.
    pub weights: u64,
    /// Kept by the first mask.
    pub first: u64,
    /// Kept by the second mask.
    pub second: u64,
    /// Kept by both.
    pub both: u64,
}

impl Overlap {
    /// The counts of two masks of one weight.
    ///
    /// # Errors
    /// [`Error::Shape`] when they are of different shapes.
    pub fn of(name: &str, first: &BitMask, second: &BitMask) -> Result<Self> {
        let shape = |mask: &BitMask| vec![mask.rows(), mask.cols()];
        if shape(first) != shape(second) {
            return Err(Error::Shape { name: name.into(), expected: shape(first), found: shape(second) });
        }
        let both =
            first.bytes().iter().zip(second.bytes()).map(|(a, b)| u64::from((a & b).count_ones())).sum();
        let [weights, first, second] =
            [first.len(), first.count_ones(), second.count_ones()].map(|n| n as u64);
        Ok(Self { weights, first, second, both })
    }

    /// `|A ∩ B| / √(|A| |B|)` over the kept weights; `None` when a mask keeps nothing.
    pub fn cosine(&self) -> Option<f64> {
        ratio(self.both as f64, (self.first as f64 * self.second as f64).sqrt())
    }

    /// Pearson's correlation of the bits, `(n |A ∩ B| − |A| |B|) / √(|A| (n − |A|) |B| (n − |B|))`;
    /// `None` when a mask keeps everything or nothing.
    pub fn phi(&self) -> Option<f64> {
        let [n, a, b, both] = [self.weights, self.first, self.second, self.both].map(|n| n as f64);
        ratio(n * both - a * b, (a * (n - a) * b * (n - b)).sqrt())
    }

    /// Dropped by both over dropped by either; `None` when neither drops anything.
    pub fn jaccard_dropped(&self) -> Option<f64> {
        let either = self.weights - self.both;
        let dropped_by_both = self.weights + self.both - self.first - self.second;
        ratio(dropped_by_both as f64, either as f64)
    }

    /// The fraction of weights on which the masks differ.
    pub fn differing(&self) -> Option<f64> {
        ratio((self.first + self.second - 2 * self.both) as f64, self.weights as f64)
    }
}

impl AddAssign for Overlap {
    fn add_assign(&mut self, other: Self) {
        self.weights += other.weights;
        self.first += other.first;
        self.second += other.second;
        self.both += other.both;
    }
}

/// Two packs compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// All weights that both packs cover.
    pub overall: Overlap,
    /// Each of them, by name.
    pub weights: BTreeMap<String, Overlap>,
}

/// Compares the masks of two packs of one backbone.
///
/// # Errors
/// [`Error::NothingInCommon`] when they cover no weight together, [`Error::Shape`] when a weight of one
/// name has two shapes: the packs belong to different backbones.
pub fn compare(first: &Pack, second: &Pack) -> Result<Comparison> {
    let mut comparison = Comparison { overall: Overlap::default(), weights: BTreeMap::new() };
    for (name, mask) in &first.masks {
        let Some(other) = second.masks.get(name) else { continue };
        let overlap = Overlap::of(name, mask, other)?;
        comparison.overall += overlap;
        comparison.weights.insert(name.clone(), overlap);
    }
    if comparison.weights.is_empty() {
        let [first, second] = [first, second].map(|pack| pack.meta.language.clone());
        return Err(Error::NothingInCommon { first, second });
    }
    Ok(comparison)
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(first: &[u8], second: &[u8]) -> Overlap {
        let mask = |bits: &[u8]| BitMask::from_fn(1, bits.len(), |_, c| bits[c] == 1);
        Overlap::of("w", &mask(first), &mask(second)).unwrap()
    }

    #[test]
    fn the_measures_are_those_of_the_textbook() {
        // n = 10, |A| = 8, |B| = 7, |A ∩ B| = 6: dropped {8, 9} and {7, 8, 0}.
        let o = overlap(&[1, 1, 1, 1, 1, 1, 1, 1, 0, 0], &[0, 1, 1, 1, 1, 1, 1, 0, 0, 1]);
        assert_eq!(o, Overlap { weights: 10, first: 8, second: 7, both: 6 });
        let close = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-12, "{a:?} {b}");
        close(o.cosine(), 6.0 / 56f64.sqrt());
        close(o.phi(), (60.0 - 56.0) / (8.0f64 * 2.0 * 7.0 * 3.0).sqrt());
        close(o.jaccard_dropped(), 1.0 / 4.0);
        close(o.differing(), 0.3);
    }

    #[test]
    fn a_mask_is_most_like_itself_and_what_is_undefined_is_none() {
        let same = overlap(&[1, 0, 1], &[1, 0, 1]);
        assert_eq!((same.cosine(), same.phi(), same.jaccard_dropped()), (Some(1.0), Some(1.0), Some(1.0)));
        let ones = overlap(&[1, 1], &[1, 1]);
        assert_eq!((ones.cosine(), ones.phi(), ones.jaccard_dropped()), (Some(1.0), None, None));
        let none = overlap(&[0, 0], &[1, 0]);
        assert_eq!((none.cosine(), none.phi(), none.jaccard_dropped()), (None, None, Some(0.5)));
    }

    #[test]
    fn opposite_masks_correlate_negatively() {
        assert_eq!(overlap(&[1, 0, 1, 0], &[0, 1, 0, 1]).phi(), Some(-1.0));
    }
}
