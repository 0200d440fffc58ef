//! Scores → mask: the top share of |score|, with a straight-through gradient (paper eq. 1–2).
//!
//! Forward: of `n` scores the `j = ⌊(1 − k) n⌋` with the smallest |S| become 0, the others 1.
//! Backward: the step is passed through and `|·|` is differentiated as it is, so
//! `∂L/∂S = ∂L/∂M ⊙ sign(S)`, also for dropped entries: they can return.
//! Source: `fairseq/models/wav2vec/operation_st.py`, whose full sort is a selection here: a histogram of
//! |S| finds the bin of the threshold, only that bin is looked into. On a GPU the same by
//! `kernels/cuda/topk.cuh`.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor, bail};
#[cfg(feature = "cuda")]
use {crate::kernels::cuda, candle_core::CudaStorage};

/// How the gradient passes the top-k step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Estimator {
    /// `∂L/∂S = ∂L/∂M ⊙ sign(S)`.
    #[default]
    Straight,
    /// `∂L/∂S = ∂L/∂M ⊙ σ(|S|) (1 − σ(|S|)) sign(S)`.
    Sigmoid,
}

/// The 0/1 mask of `scores`, of the same shape, differentiable in the scores.
///
/// # Errors
/// A density outside 0..=1, or a tensor that is not f32.
pub fn mask(scores: &Tensor, density: f64, estimator: Estimator) -> crate::Result<Tensor> {
    if !(0.0..=1.0).contains(&density) {
        let message = format!("density {density} is not a share: give 0 to 1, the fraction kept");
        return Err(crate::Error::InvalidRequest(message));
    }
    Ok(scores.contiguous()?.apply_op1(TopK { density, estimator })?)
}

struct TopK {
    density: f64,
    estimator: Estimator,
}

impl CustomOp1 for TopK {
    fn name(&self) -> &'static str {
        "top-k"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some((from, to)) = layout.contiguous_offsets() else { bail!("top-k: scores must be contiguous") };
        let mask = select(&storage.as_slice::<f32>()?[from..to], self.density);
        Ok((CpuStorage::F32(mask), layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, scores: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let mask = cuda::top(scores, layout, dropped(layout.shape().elem_count(), self.density))?;
        Ok((mask, layout.shape().clone()))
    }

    fn bwd(&self, scores: &Tensor, _res: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        if scores.device().is_cpu() {
            let slope = Slope(self.estimator);
            return Ok(Some(scores.contiguous()?.apply_op2_no_bwd(&grad.contiguous()?, &slope)?));
        }
        let straight = (grad * scores.sign()?)?;
        Ok(Some(match self.estimator {
            Estimator::Straight => straight,
            // σ(a) (1 − σ(a)) = 1 / (2 + eᵃ + e⁻ᵃ), even in a: |S| may stay S.
            Estimator::Sigmoid => (straight / ((scores.exp()? + scores.neg()?.exp()?)? + 2.0)?)?,
        }))
    }
}

/// How many of `n` scores are not kept.
fn dropped(n: usize, density: f64) -> usize {
    ((1.0 - density) * n as f64) as usize
}

/// Scores and the gradient of their mask → the gradient of the scores, in one pass.
struct Slope(Estimator);

impl CustomOp2 for Slope {
    fn name(&self) -> &'static str {
        "top-k-backward"
    }

    fn cpu_fwd(
        &self,
        scores: &CpuStorage,
        sl: &Layout,
        grad: &CpuStorage,
        gl: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (Some((a, b)), Some((c, d))) = (sl.contiguous_offsets(), gl.contiguous_offsets()) else {
            bail!("top-k: scores and gradient must be contiguous")
        };
        let pairs = scores.as_slice::<f32>()?[a..b].iter().zip(&grad.as_slice::<f32>()?[c..d]);
        let sign = |s: f32| f32::from(s > 0.0) - f32::from(s < 0.0);
        let of: Vec<f32> = match self.0 {
            Estimator::Straight => pairs.map(|(&s, g)| g * sign(s)).collect(),
            Estimator::Sigmoid => pairs.map(|(&s, g)| g * sign(s) / (s.exp() + (-s).exp() + 2.0)).collect(),
        };
        Ok((CpuStorage::F32(of), sl.shape().clone()))
    }
}

/// Bins, as a power of two, over the range that the magnitudes take. They fit in L1.
const BIN_BITS: u32 = 12;

/// 1 for the kept scores, 0 for the `⌊(1 − density) n⌋` smallest in magnitude; ties drop the lower index first.
pub fn select(scores: &[f32], density: f64) -> Vec<f32> {
    let dropped = dropped(scores.len(), density);
    if dropped == 0 {
        return vec![1.0; scores.len()];
    }
    // |S| as an integer orders as |S| does; NaN sorts last and so is kept.
    let magnitude = |s: &f32| s.to_bits() & 0x7fff_ffff;
    let range = |(least, most): (u32, u32), m: u32| (least.min(m), most.max(m));
    let (least, most) = scores.iter().map(magnitude).fold((u32::MAX, 0), range);
    let shift = (u32::BITS - (most - least).leading_zeros()).saturating_sub(BIN_BITS);
    // Scores raised far from 0 share their upper bits: only what lies above the least of them tells them apart.
    let bin = |m: u32| ((m - least) >> shift) as usize;
    let mut counts = vec![0usize; 1 << BIN_BITS];
    for s in scores {
        counts[bin(magnitude(s))] += 1;
    }
    let (mut below, mut split) = (0, 0);
    while below + counts[split] < dropped {
        below += counts[split];
        split += 1;
    }
    let mut candidates: Vec<u32> = scores.iter().map(magnitude).filter(|&m| bin(m) == split).collect();
    let (_, &mut threshold, above) = candidates.select_nth_unstable(dropped - below - 1);
    let tied_above = above.iter().filter(|&&m| m == threshold).count();
    let mut mask: Vec<f32> = scores.iter().map(|s| f32::from(magnitude(s) > threshold)).collect();
    // Of the scores equal to the threshold the last ones stay.
    let ties = (0..scores.len()).rev().filter(|&i| magnitude(&scores[i]) == threshold);
    if tied_above > 0 {
        ties.take(tied_above).for_each(|i| mask[i] = 1.0);
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::seeds::stream;
    use candle_core::{Device, Var};
    use rand::Rng;

    fn by_sorting(scores: &[f32], density: f64) -> Vec<f32> {
        let mut order: Vec<_> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[a].abs().total_cmp(&scores[b].abs()));
        let mut mask = vec![1.0; scores.len()];
        for &i in &order[..((1.0 - density) * scores.len() as f64) as usize] {
            mask[i] = 0.0;
        }
        mask
    }

    #[test]
    fn selection_is_the_stable_sort_of_magnitudes() {
        let mut rng = stream(1, "test", 0);
        for n in [1, 2, 3, 10, 97, 5000] {
            let spread: Vec<f32> = (0..n).map(|_| rng.random_range(-1f32..1.0)).collect();
            let tied: Vec<f32> = (0..n).map(|_| rng.random_range(-3i32..=3) as f32).collect();
            let raised: Vec<f32> = spread.iter().map(|s| 16.0 + 0.06 * s).collect();
            let equal = vec![2.5; n];
            for density in [0.0, 0.1, 0.3, 0.5, 0.92, 0.999, 1.0] {
                for scores in [&spread, &tied, &raised, &equal] {
                    let mask = select(scores, density);
                    assert_eq!(mask, by_sorting(scores, density), "n {n} density {density}");
                    let ones = mask.iter().filter(|&&m| m == 1.0).count();
                    assert_eq!(ones, n - ((1.0 - density) * n as f64) as usize);
                }
            }
        }
    }

    #[test]
    fn equal_scores_drop_the_lower_indices_whatever_their_sign() {
        assert_eq!(select(&[1.0, -1.0, 1.0, -1.0], 0.5), [0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn dropped_scores_get_the_straight_through_gradient_too() -> crate::Result<()> {
        let s = Var::new(&[0.1f32, -0.2, 0.0, 0.4], &Device::Cpu)?;
        let upstream = Tensor::new(&[1f32, 2.0, 3.0, 4.0], &Device::Cpu)?;
        let gradient = |estimator| -> crate::Result<Vec<f32>> {
            let loss = (mask(&s, 0.5, estimator)? * &upstream)?.sum_all()?;
            Ok(loss.backward()?.get(&s).expect("a gradient").to_vec1::<f32>()?)
        };
        assert_eq!(gradient(Estimator::Straight)?, [1.0, -2.0, 0.0, 4.0]);
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        for ((g, s), u) in
            gradient(Estimator::Sigmoid)?.iter().zip([0.1f32, -0.2, 0.0, 0.4]).zip([1., 2., 3., 4.])
        {
            let slope = sigmoid(s.abs()) * (1.0 - sigmoid(s.abs()));
            let sign = if s == 0.0 { 0.0 } else { s.signum() };
            assert!((g - u * slope * sign).abs() < 1e-6);
        }
        Ok(())
    }

    #[test]
    fn a_density_that_is_no_share_is_refused() {
        let s = Tensor::new(&[1f32], &Device::Cpu).expect("a tensor");
        assert!(mask(&s, 92.0, Estimator::Straight).is_err());
    }
}
