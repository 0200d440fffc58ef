//! One trainable score per covered weight (or row, or column): how they start, and the gates they make.

use super::{
    init::{self, InitScore},
    topk::{self, Estimator},
};
use crate::{
    Error, Result,
    gate::{Gate, Gates},
};
use candle_core::{Tensor, Var};
use s3router_masks::BitMask;
use std::collections::BTreeMap;

/// Where masks go, read from the weight's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The two linears of a feed-forward.
    Ffn,
    /// Query, key, value and output projections.
    Attention,
    /// The projection after the extractor.
    Projection,
}

impl Part {
    /// The part a weight belongs to; `None` for weights that are never masked.
    pub fn of(weight: &str) -> Option<Self> {
        let in_layer = weight.starts_with("encoder.layers.");
        match weight.strip_suffix(".weight")?.rsplit('.').next()? {
            "intermediate_dense" | "output_dense" if in_layer => Some(Self::Ffn),
            "q_proj" | "k_proj" | "v_proj" | "out_proj" if in_layer => Some(Self::Attention),
            "projection" => Some(Self::Projection),
            _ => None,
        }
    }
}

/// The parts a mask covers; written `ffn`, `attention`, `ffn+attention`, `ffn+attention+projection`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Covers(Vec<Part>);

impl Covers {
    /// Whether this weight has a mask.
    pub fn weight(&self, name: &str) -> bool {
        Part::of(name).is_some_and(|part| self.0.contains(&part))
    }
}

impl TryFrom<String> for Covers {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let part = |word: &str| match word {
            "ffn" => Ok(Part::Ffn),
            "attention" => Ok(Part::Attention),
            "projection" => Ok(Part::Projection),
            other => Err(Error::InvalidRequest(format!(
                "`{other}` in covers `{text}`: use ffn, attention and projection, joined by +"
            ))),
        };
        let mut parts = text.split('+').map(|w| part(w.trim())).collect::<Result<Vec<_>>>()?;
        parts.sort_unstable();
        parts.dedup();
        Ok(Self(parts))
    }
}

impl From<Covers> for String {
    fn from(covers: Covers) -> Self {
        let word = |part: &Part| match part {
            Part::Ffn => "ffn",
            Part::Attention => "attention",
            Part::Projection => "projection",
        };
        covers.0.iter().map(word).collect::<Vec<_>>().join("+")
    }
}

/// The fraction kept, per weight tensor; scores of different tensors never compete.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Density {
    /// The same everywhere.
    Global(f64),
    /// By layer index; weights outside the layers are open.
    Layers(Vec<f64>),
    /// By part; the projection counts as attention.
    Parts {
        /// Both linears of each feed-forward.
        ffn: f64,
        /// Four projections of each attention.
        attention: f64,
    },
}

impl Density {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// A fraction outside 0 to 1.
    pub fn check(&self) -> Result<()> {
        let all = match self {
            Self::Global(k) => vec![*k],
            Self::Layers(list) => list.clone(),
            Self::Parts { ffn, attention } => vec![*ffn, *attention],
        };
        match all.into_iter().find(|k| !(0.0..=1.0).contains(k)) {
            None => Ok(()),
            Some(k) => Err(Error::InvalidRequest(format!(
                "a density of {k}, a sparsity of {}: both are shares, 0 to 1 (8 % is --sparsity 0.08)",
                1.0 - k
            ))),
        }
    }

    /// The fraction kept of one weight.
    ///
    /// # Errors
    /// A layer past the end of a per-layer list.
    pub fn of(&self, weight: &str) -> Result<f64> {
        match self {
            Self::Global(k) => Ok(*k),
            Self::Parts { ffn, attention } => {
                Ok(if Part::of(weight) == Some(Part::Ffn) { *ffn } else { *attention })
            }
            Self::Layers(list) => match layer(weight) {
                None => Ok(1.0),
                Some(l) => list.get(l).copied().ok_or_else(|| {
                    let n = list.len();
                    Error::InvalidRequest(format!(
                        "`{weight}` is in layer {l}, densities are given for {n} layers"
                    ))
                }),
            },
        }
    }
}

/// The layer index in a weight's name.
pub fn layer(weight: &str) -> Option<usize> {
    weight.strip_prefix("encoder.layers.")?.split('.').next()?.parse().ok()
}

/// What one score decides about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Structure {
    /// One weight.
    #[default]
    Weights,
    /// An output row: scores `(out, 1)`.
    Rows,
    /// An input column: scores `(1, in)`.
    Columns,
}

/// How masks are made from scores.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskConfig {
    /// Parts with a mask.
    pub covers: Covers,
    /// Fraction kept.
    pub density: Density,
    /// Start of the scores.
    pub init: InitScore,
    /// Gradient through the top-k step.
    pub estimator: Estimator,
    /// What one score decides about.
    pub structure: Structure,
    /// Layers below this index keep their starting mask.
    pub frozen_below_layer: usize,
}

impl Default for MaskConfig {
    fn default() -> Self {
        Self {
            covers: Covers(vec![Part::Ffn]),
            density: Density::Global(0.92),
            init: InitScore::WeightRank,
            estimator: Estimator::Straight,
            structure: Structure::Weights,
            frozen_below_layer: 0,
        }
    }
}

struct Score {
    var: Var,
    density: f64,
    /// `(out, in)` of the weight.
    shape: (usize, usize),
    trainable: bool,
}

/// The scores of one language, f32 on the device of the weights, by weight name.
pub struct Scores {
    scores: BTreeMap<String, Score>,
    estimator: Estimator,
    structure: Structure,
}

impl Scores {
    /// Fresh scores for every covered weight `(name, (out, in) tensor)`; others are ignored.
    ///
    /// # Errors
    /// Densities that do not fit the layers; no weight covered at all.
    pub fn init<'a>(
        config: &MaskConfig,
        weights: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
        seed: u64,
    ) -> Result<Self> {
        config.density.check()?;
        let mut scores = BTreeMap::new();
        for (name, weight) in weights.into_iter().filter(|(name, _)| config.covers.weight(name)) {
            let shape = weight.dims2()?;
            let start = init::scores(config.init, config.structure, weight, seed, name)?;
            let start = start.to_device(weight.device())?;
            let trainable = layer(name).is_none_or(|l| l >= config.frozen_below_layer);
            let score =
                Score { var: Var::from_tensor(&start)?, density: config.density.of(name)?, shape, trainable };
            scores.insert(name.to_owned(), score);
        }
        if scores.is_empty() {
            let covers = String::from(config.covers.clone());
            return Err(Error::Model(format!("the backbone has no weight that `{covers}` covers")));
        }
        Ok(Self { scores, estimator: config.estimator, structure: config.structure })
    }

    /// Makes every score its magnitude plus `by`; the mask stays, but for what f32 rounds together.
    ///
    /// About 0 a dropped score lies between 0 and the threshold, however sure its weight's harm, and the noise of a
    /// few updates lifts it back; a raised one sinks as far as the gradients carry it. Raised by more than a run can
    /// move it none gets to 0, and the selection is movement pruning's, by S itself (2005.07683). Not in the reference code.
    ///
    /// # Errors
    /// None unless the tensor library fails.
    pub fn raise(&self, by: f64) -> Result<()> {
        for score in self.scores.values() {
            score.var.set(&(score.var.as_detached_tensor().abs()? + by)?)?;
        }
        Ok(())
    }

    /// The gates of this moment: `M = topk(|S|)` as tensors whose gradient reaches the scores.
    ///
    /// # Errors
    /// A density that is no share.
    pub fn gates(&self) -> Result<Gates> {
        use rayon::prelude::*;
        let gates = self.scores.par_iter().map(|(name, s)| {
            let scores = if s.trainable { s.var.as_tensor().clone() } else { s.var.as_detached_tensor() };
            let mask = topk::mask(&scores, s.density, self.estimator)?;
            // Where a score has its own weight there is nothing to broadcast, and no gradient to sum.
            let whole = self.structure == Structure::Weights;
            Ok((name.clone(), Gate::Soft(if whole { mask } else { mask.broadcast_as(s.shape)? })))
        });
        Ok(Gates::new(gates.collect::<Result<_>>()?))
    }

    /// The masks of this moment as bits: exactly the zeros and ones of [`gates`](Self::gates).
    ///
    /// # Errors
    /// None unless the tensor library fails.
    pub fn masks(&self) -> Result<BTreeMap<String, BitMask>> {
        let mut masks = BTreeMap::new();
        for (name, s) in &self.scores {
            let kept = topk::select(&s.var.flatten_all()?.to_vec1::<f32>()?, s.density);
            let (rows, cols) = s.shape;
            let mask = BitMask::from_fn(rows, cols, |r, c| match self.structure {
                Structure::Weights => kept[r * cols + c] == 1.0,
                Structure::Rows => kept[r] == 1.0,
                Structure::Columns => kept[c] == 1.0,
            });
            masks.insert(name.clone(), mask);
        }
        Ok(masks)
    }

    /// The scores that training adjusts, by weight name.
    pub fn trainable(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.scores.iter().filter(|(_, s)| s.trainable).map(|(name, s)| (name.as_str(), &s.var))
    }

    /// Every score tensor, by weight name: what a checkpoint holds.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.scores.iter().map(|(name, s)| (name.as_str(), &s.var))
    }

    /// Carries another language's mask over: the kept weights rank above the dropped ones,
    /// inside each group the start's own order stays.
    ///
    /// # Errors
    /// A mask of another shape; structured scores, which no bit mask determines.
    pub fn carry_over(&self, masks: &BTreeMap<String, BitMask>) -> Result<()> {
        for (name, score) in &self.scores {
            let Some(mask) = masks.get(name) else { continue };
            let (rows, cols) = score.shape;
            if (mask.rows(), mask.cols()) != score.shape || self.structure != Structure::Weights {
                return Err(Error::Model(format!(
                    "mask `{name}` is {} × {}, the scores are {:?} for a weight {rows} × {cols}",
                    mask.rows(),
                    mask.cols(),
                    score.var.dims()
                )));
            }
            let own = score.var.flatten_all()?.to_vec1::<f32>()?;
            let keep: Vec<bool> = (0..rows * cols).map(|i| mask.get(i / cols, i % cols)).collect();
            score.var.set(&Tensor::from_vec(
                init::regroup(&own, &keep),
                score.var.shape(),
                score.var.device(),
            )?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "scores_tests.rs"]
mod tests;
