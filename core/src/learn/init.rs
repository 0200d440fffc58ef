//! Starting scores, by the names of the reference code's `model.init_score`.
//!
//! Left out because they cannot learn: `zero` (sign(0) = 0, no gradient ever) and `one` (all ties).
//! `xavier_normal` is xavier *uniform* in the reference; both are offered under their true names.

use super::{scores::Structure, seeds::stream};
use crate::Result;
use candle_core::Tensor;
use rand::{Rng, rngs::StdRng};

/// How scores start; fan-in is the weight's number of columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitScore {
    /// |S| has the rank order of |W|, magnitudes and random signs of U(±1/√fan_in).
    #[default]
    WeightRank,
    /// U(±1/√fan_in): a random starting mask.
    KaimingUniform,
    /// N(0, 2/fan_in).
    KaimingNormal,
    /// U(±√(6 / (in + out))).
    XavierUniform,
    /// N(0, 2 / (in + out)).
    XavierNormal,
    /// U(0, 1): large against what a run can move.
    Uniform,
    /// N(0, 1): likewise.
    Normal,
    /// S = |W|: the ranks of `weight_rank` on the weights' own scale, positive.
    WeightMagnitude,
    /// Keeps the smallest |W|: an ablation.
    NegativeWeightMagnitude,
    /// S = W / scale: the start of pruning, after fine-tuning.
    WeightMagnitudeWithScale(f64),
}

/// Starting scores for `weight` `(out, in)`: `(out, in)`, `(out, 1)` or `(1, in)` by structure.
///
/// Structured scores rank rows or columns by their L1 norm. Random draws depend on `(seed, name)` only.
///
/// # Errors
/// None unless the tensor library fails.
pub fn scores(
    init: InitScore,
    structure: Structure,
    weight: &Tensor,
    seed: u64,
    name: &str,
) -> Result<Tensor> {
    let weight = weight.to_device(&candle_core::Device::Cpu)?.to_dtype(candle_core::DType::F32)?;
    let (out, fan_in) = weight.dims2()?;
    let strength = match structure {
        Structure::Weights => weight,
        Structure::Rows => weight.abs()?.mean_keepdim(1)?,
        Structure::Columns => weight.abs()?.mean_keepdim(0)?,
    };
    let w = strength.flatten_all()?.to_vec1::<f32>()?;
    let mut rng = stream(seed, name, 0);
    let (fan_in, fan_out) = (fan_in as f64, out as f64);
    let mut uniform =
        |bound: f64| -> Vec<f32> { (0..w.len()).map(|_| rng.random_range(-bound..bound) as f32).collect() };
    let start = match init {
        InitScore::WeightRank => ranked(&w, uniform(fan_in.sqrt().recip())),
        InitScore::KaimingUniform => uniform(fan_in.sqrt().recip()),
        InitScore::XavierUniform => uniform((6.0 / (fan_in + fan_out)).sqrt()),
        InitScore::Uniform => uniform(1.0).iter().map(|u| u.abs()).collect(),
        InitScore::KaimingNormal => normal(w.len(), (2.0 / fan_in).sqrt(), &mut rng),
        InitScore::XavierNormal => normal(w.len(), (2.0 / (fan_in + fan_out)).sqrt(), &mut rng),
        InitScore::Normal => normal(w.len(), 1.0, &mut rng),
        InitScore::WeightMagnitude => w.iter().map(|x| x.abs()).collect(),
        InitScore::NegativeWeightMagnitude => {
            let largest = w.iter().fold(0f32, |m, x| m.max(x.abs()));
            w.iter().map(|x| largest - x.abs()).collect()
        }
        InitScore::WeightMagnitudeWithScale(scale) => {
            w.iter().map(|x| (f64::from(*x) / scale) as f32).collect()
        }
    };
    Ok(Tensor::from_vec(start, strength.shape(), &candle_core::Device::Cpu)?)
}

/// `S[p_i] = R[q_i]` with `p`, `q` the ascending orders of |W| and |R|.
fn ranked(weight: &[f32], mut random: Vec<f32>) -> Vec<f32> {
    random.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let mut scores = vec![0.0; weight.len()];
    for (place, score) in ascending(weight).into_iter().zip(random) {
        scores[place] = score;
    }
    scores
}

/// The same scores, dealt out again so that kept places hold the largest; order inside each group stays.
pub(super) fn regroup(scores: &[f32], keep: &[bool]) -> Vec<f32> {
    let order = ascending(scores);
    let places = order.iter().filter(|&&i| !keep[i]).chain(order.iter().filter(|&&i| keep[i]));
    let mut out = vec![0.0; scores.len()];
    for (&place, &from) in places.zip(&order) {
        out[place] = scores[from];
    }
    out
}

fn ascending(values: &[f32]) -> Vec<usize> {
    let mut order: Vec<_> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].abs().total_cmp(&values[b].abs()));
    order
}

/// Box–Muller.
fn normal(n: usize, deviation: f64, rng: &mut StdRng) -> Vec<f32> {
    let draw = |_| {
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        (deviation * radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()) as f32
    };
    (0..n).map(draw).collect()
}
