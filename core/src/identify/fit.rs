//! Ears for a set of packs: the conditional logit of McFadden 1974, one slope for all and one offset a pack.

use super::{Ear, softmax};
use crate::{Error, Result};

/// Keeps the fit finite where no clip is mistaken, in units of log-likelihood a clip.
const RIDGE: f64 = 1e-3;

/// A clip of known language.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Each pack's [doubt](super::doubt), always in the same order.
    pub doubts: Vec<f64>,
    /// Which of the packs speaks the clip's language.
    pub truth: usize,
}

/// One ear a pack, in the order of the doubts: those under which the clips' true languages are most probable,
/// by Newton's method (the loss is convex).
///
/// # Errors
/// Without clips, or a clip that not every pack has heard.
pub fn fit(clips: &[Heard]) -> Result<Vec<Ear>> {
    let packs = clips.first().map_or(0, |clip| clip.doubts.len());
    if packs < 2 || clips.iter().any(|c| c.doubts.len() != packs || c.truth >= packs) {
        return Err(Error::InvalidRequest(
            "telling languages apart needs clips that two packs or more have heard".into(),
        ));
    }
    // Parameters: the slope in tenths (so that all are of one size), then the offsets.
    let mut at = vec![0.0; packs + 1];
    for _ in 0..100 {
        let (gradient, hessian) = slopes(clips, &at);
        let step = solve(hessian, gradient);
        // Far out the loss is nearly straight and Newton would overshoot.
        let size = step.iter().fold(0f64, |most, s| most.max(s.abs()));
        let shrink = if size > 1.0 { 1.0 / size } else { 1.0 };
        at.iter_mut().zip(&step).for_each(|(a, s)| *a -= shrink * s);
        if size < 1e-9 {
            break;
        }
    }
    // Doubt that speaks for a language would be nonsense: no pack of such a set can be trusted.
    if !(at[0] > 0.0 && at.iter().all(|a| a.is_finite())) {
        return Err(Error::InvalidRequest(
            "these packs doubt their own languages more than others: is each list in its pack's language?"
                .into(),
        ));
    }
    let mean = at[1..].iter().sum::<f64>() / packs as f64;
    let ear = |offset: &f64| Ear { slope: (SCALE * at[0]) as f32, offset: (offset - mean) as f32 };
    Ok(at[1..].iter().map(ear).collect())
}

const SCALE: f64 = 10.0;

/// Gradient and Hessian of the mean negative log-likelihood and its ridge.
fn slopes(clips: &[Heard], at: &[f64]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = at.len();
    let mut gradient: Vec<f64> = at.iter().map(|a| RIDGE * a).collect();
    let mut hessian = vec![vec![0.0; n]; n];
    (0..n).for_each(|i| hessian[i][i] = RIDGE);
    let part = 1.0 / clips.len() as f64;
    for clip in clips {
        // A pack's score is the inner product of the parameters with (-SCALE · doubt, 1 at its own place).
        let evidence: Vec<f64> = clip.doubts.iter().map(|d| -SCALE * d).collect();
        let scores: Vec<f64> = evidence.iter().zip(&at[1..]).map(|(x, b)| at[0] * x + b).collect();
        let p = softmax(&scores);
        let mean: f64 = p.iter().zip(&evidence).map(|(p, x)| p * x).sum();
        gradient[0] += part * (mean - evidence[clip.truth]);
        hessian[0][0] += part * p.iter().zip(&evidence).map(|(p, x)| p * (x - mean).powi(2)).sum::<f64>();
        for i in 0..p.len() {
            gradient[i + 1] += part * (p[i] - f64::from(u8::from(i == clip.truth)));
            let cross = part * p[i] * (evidence[i] - mean);
            hessian[0][i + 1] += cross;
            hessian[i + 1][0] += cross;
            hessian[i + 1][i + 1] += part * p[i];
            for j in 0..p.len() {
                hessian[i + 1][j + 1] -= part * p[i] * p[j];
            }
        }
    }
    (gradient, hessian)
}

/// x of A x = b, A symmetric and positive definite, by Gaussian elimination: no pivots are needed.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        let (above, below) = a.split_at_mut(i + 1);
        for (k, row) in below.iter_mut().enumerate() {
            let factor = row[i] / above[i][i];
            row.iter_mut().zip(&above[i]).for_each(|(r, p)| *r -= factor * p);
            b[i + 1 + k] -= factor * b[i];
        }
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| a[i][j] * b[j]).sum();
        b[i] = (b[i] - known) / a[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identify::probabilities;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    /// Clips of three languages whose packs doubt 0.2, 0.5 and 0.9 of their own and 0.2 more of others'.
    fn clips() -> Vec<Heard> {
        let mut rng = StdRng::seed_from_u64(1);
        let habit = [0.2, 0.5, 0.9];
        let doubt = |pack: usize, truth: usize, noise: f64| {
            habit[pack] + if pack == truth { 0.0 } else { 0.2 } + noise
        };
        (0..300)
            .map(|i| {
                let truth = i % 3;
                let doubts = (0..3).map(|pack| doubt(pack, truth, rng.random_range(-0.1..0.1))).collect();
                Heard { doubts, truth }
            })
            .collect()
    }

    fn right(clips: &[Heard], ears: &[Option<Ear>]) -> usize {
        let best = |clip: &Heard| {
            let shares = probabilities(&clip.doubts, ears);
            (0..shares.len()).max_by(|&a, &b| shares[a].total_cmp(&shares[b]))
        };
        clips.iter().filter(|clip| best(clip) == Some(clip.truth)).count()
    }

    #[test]
    fn what_each_pack_doubts_by_habit_is_learnt() {
        let clips = clips();
        let ears: Vec<Option<Ear>> = fit(&clips).unwrap().into_iter().map(Some).collect();
        assert!(right(&clips, &[None; 3]) <= 150, "raw doubt prefers the surest pack");
        assert!(right(&clips, &ears) >= 297, "{ears:?}");
    }

    #[test]
    fn the_fit_is_a_minimum_and_does_not_depend_on_the_order_of_packs() {
        let clips = clips();
        let ears = fit(&clips).unwrap();
        let turned: Vec<Heard> = clips
            .iter()
            .map(|c| Heard { doubts: c.doubts.iter().rev().copied().collect(), truth: 2 - c.truth })
            .collect();
        for (ear, other) in ears.iter().zip(fit(&turned).unwrap().iter().rev()) {
            assert!((ear.offset - other.offset).abs() < 1e-4 && (ear.slope - other.slope).abs() < 1e-3);
        }
        let mut at = vec![f64::from(ears[0].slope) / SCALE];
        at.extend(ears.iter().map(|e| f64::from(e.offset)));
        let (gradient, _) = slopes(&clips, &at);
        assert!(gradient.iter().all(|g| g.abs() < 1e-5), "{gradient:?}");
    }

    #[test]
    fn lists_in_the_wrong_order_are_noticed() {
        let mut clips = clips();
        clips.iter_mut().for_each(|c| c.doubts.iter_mut().for_each(|d| *d = -*d));
        assert!(fit(&clips).unwrap_err().to_string().contains("pack's language"));
        assert!(fit(&[]).is_err());
    }
}
