//! What a run adjusts, by method: scores, a head, and whatever stands in for backbone parameters.

use crate::{
    config::{Method, TrainConfig},
    trained::Trained,
};
use anyhow::{Result, ensure};
use candle_core::{Device, Tensor, Var};
use rand::Rng;
use s3router_core::{
    Precision,
    gate::{Gate, Gates},
    learn::{
        adam::Adam,
        init::InitScore,
        scores::{Density, MaskConfig, Part, Scores, Structure},
        seeds::stream,
    },
    model::{Backbone, ops},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The trainable state of one language.
pub struct Learner {
    /// Present when the method learns a mask.
    scores: Option<Scores>,
    /// The gates when it does not: a fixed mask, or none.
    fixed: BTreeMap<String, Gate>,
    /// Trained parameters that stand in for the backbone's.
    weights: BTreeMap<String, Var>,
    /// Parameters of an earlier fine-tuning that stand in, frozen.
    frozen: BTreeMap<String, Tensor>,
    /// `(V, D)`.
    head_weight: Var,
    /// `(V,)`.
    head_bias: Var,
    /// Of a step's matrix products.
    precision: Precision,
    /// Whether a step keeps the inputs of layers only.
    pub(crate) checkpoints: bool,
}

impl Learner {
    /// A fresh learner for a vocabulary of `symbols`; `start` carries over another run's result: its
    /// mask, its weights, and its head if the vocabulary is the same.
    ///
    /// # Errors
    /// Settings or a start that do not fit the backbone.
    pub fn new(
        config: &TrainConfig,
        backbone: &Backbone,
        vocab: &[String],
        start: Option<&Trained>,
    ) -> Result<Self> {
        let frozen = start.map(|s| s.weights.clone()).unwrap_or_default();
        let effective = |name: &str| frozen.get(name).or_else(|| backbone.weight(name));
        let masked = match config.method {
            Method::Mask => Some(config.mask.clone()),
            Method::Magnitude => Some(MaskConfig { init: InitScore::WeightRank, ..config.mask.clone() }),
            Method::Random => Some(MaskConfig { init: InitScore::KaimingUniform, ..config.mask.clone() }),
            // The format of a pack has a mask; the plain backbone's is all ones.
            Method::Head => Some(MaskConfig {
                density: Density::Global(1.0),
                structure: Structure::Weights,
                ..config.mask.clone()
            }),
            Method::Finetune | Method::Bitfit | Method::Delta1 => None,
        };
        let maskable = backbone.maskable();
        let (mut scores, mut fixed) = (None, BTreeMap::new());
        if let Some(mask) = masked {
            let weights = maskable.iter().filter_map(|(name, _)| Some((name.as_str(), effective(name)?)));
            let fresh = Scores::init(&mask, weights, config.seed)?;
            if let (Method::Mask, Some(start)) = (config.method, start) {
                fresh.carry_over(&start.masks)?;
            }
            if config.method == Method::Mask {
                if config.updates.raised_scores {
                    fresh.raise(config.updates.score_rate * config.updates.count as f64)?;
                }
                scores = Some(fresh);
            } else {
                let gate = |mask| match backbone.device().is_cpu() {
                    true => Gate::Packed(Arc::new(mask)),
                    false => backbone.gate(&mask),
                };
                fixed = fresh.masks()?.into_iter().map(|(name, mask)| (name, gate(mask))).collect();
            }
        }
        let mut weights = BTreeMap::new();
        for (name, tensor) in backbone.parameters().filter(|(name, _)| trains(config, name)) {
            let start = frozen.get(name).unwrap_or(tensor);
            weights.insert(name.to_owned(), Var::from_tensor(&start.copy()?)?);
        }
        let width = backbone.config().hidden;
        let (head_weight, head_bias) = match start.filter(|s| s.meta.vocab == vocab) {
            Some(s) => (s.head_weight.clone(), s.head_bias.clone()),
            None => fresh_head(vocab.len(), width, config.seed, backbone.device())?,
        };
        ensure!(
            head_weight.dims() == [vocab.len(), width],
            "the starting head is {:?}, this run needs [{}, {width}]",
            head_weight.dims(),
            vocab.len()
        );
        let (head_weight, head_bias) =
            (Var::from_tensor(&head_weight.copy()?)?, Var::from_tensor(&head_bias.copy()?)?);
        Ok(Self {
            scores,
            fixed,
            weights,
            frozen,
            head_weight,
            head_bias,
            precision: config.precision,
            checkpoints: config.checkpoint_activations,
        })
    }

    /// What the backbone sees of this language at this moment.
    ///
    /// # Errors
    /// A density that is no share.
    pub fn gates(&self) -> Result<Gates> {
        let gates = match &self.scores {
            Some(scores) => scores.gates()?,
            None => Gates::new(self.fixed.clone()),
        };
        let mut overrides = self.frozen.clone();
        overrides.extend(self.weights.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())));
        Ok(gates.with_overrides(overrides).with_precision(self.precision))
    }

    /// The same with masks as bits and without gradients: what serving will see.
    ///
    /// # Errors
    /// None unless the tensor library fails.
    pub fn sealed(&self) -> Result<Gates> {
        let packed = self.masks()?.into_iter().map(|(name, bits)| (name, Gate::Packed(Arc::new(bits))));
        Ok(Gates::new(packed.collect()).with_overrides(self.weights()))
    }

    /// `logits (B, T, V) = hidden (B, T, D) · headᵀ + bias`.
    ///
    /// # Errors
    /// None unless the tensor library fails.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        // A GPU's bf16 would round the logits too, a CPU's only the factors.
        let precision = if hidden.device().is_cpu() { self.precision } else { Precision::F32 };
        Ok(ops::linear(hidden, self.head_weight.as_tensor(), self.head_bias.as_tensor(), precision)?)
    }

    /// The optimizer over everything trainable, each group at its own peak rate.
    pub fn optimizer(&self, config: &TrainConfig) -> Adam {
        let u = &config.updates;
        let scores = self.scores.iter().flat_map(|s| s.trainable());
        let scores = scores.map(|(name, var)| (format!("score.{name}"), var.clone(), u.score_rate));
        let weights =
            self.weights.iter().map(|(name, var)| (format!("weight.{name}"), var.clone(), u.weight_rate));
        let head = [("head.weight", &self.head_weight), ("head.bias", &self.head_bias)];
        let head = head.map(|(name, var)| (name.to_owned(), var.clone(), u.head_rate));
        Adam::new(scores.chain(weights).chain(head))
    }

    /// Every value that training may have moved, by name.
    pub fn state(&self) -> BTreeMap<String, Var> {
        let scores = self
            .scores
            .iter()
            .flat_map(|s| s.all())
            .map(|(name, var)| (format!("score.{name}"), var.clone()));
        let weights = self.weights.iter().map(|(name, var)| (format!("weight.{name}"), var.clone()));
        let head = [("head.weight", &self.head_weight), ("head.bias", &self.head_bias)];
        scores.chain(weights).chain(head.map(|(name, var)| (name.to_owned(), var.clone()))).collect()
    }

    /// Takes up saved values.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape.
    pub fn restore(&self, saved: &HashMap<String, Tensor>) -> Result<()> {
        for (name, var) in self.state() {
            let found = saved.get(&name);
            let fits = found.filter(|t| t.dims() == var.dims());
            let Some(tensor) = fits else {
                anyhow::bail!(
                    "checkpoint has {:?} for `{name}`, this run needs {:?}",
                    found.map(|t| t.dims()),
                    var.dims()
                );
            };
            var.set(&tensor.to_device(var.device())?)?;
        }
        Ok(())
    }

    /// Masks of this moment as bits; none for a method without.
    ///
    /// # Errors
    /// None unless the tensor library fails.
    pub fn masks(&self) -> Result<BTreeMap<String, s3router_masks::BitMask>> {
        if let Some(scores) = &self.scores {
            return Ok(scores.masks()?);
        }
        let mut masks = BTreeMap::new();
        for (name, gate) in &self.fixed {
            if let Some(bits) = gate.bits()? {
                masks.insert(name.clone(), (*bits).clone());
            }
        }
        Ok(masks)
    }

    /// Parameters that stand in for the backbone's, detached.
    pub fn weights(&self) -> BTreeMap<String, Tensor> {
        let mut all = self.frozen.clone();
        all.extend(self.weights.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())));
        all
    }

    /// `(V, D)` and `(V,)`, detached.
    pub fn head(&self) -> (Tensor, Tensor) {
        (self.head_weight.as_detached_tensor(), self.head_bias.as_detached_tensor())
    }

    /// Cuts every trained matrix to one bit per weight: `W₀ + mean|ΔW| · sign(ΔW)` (BitDelta, 2402.10193).
    ///
    /// # Errors
    /// None unless the tensor library fails.
    pub fn cut_to_signs(&self, backbone: &Backbone) -> Result<()> {
        for (name, var) in self.weights.iter().filter(|(_, var)| var.rank() > 1) {
            let Some(origin) = self.frozen.get(name).or_else(|| backbone.weight(name)) else { continue };
            let delta = (var.as_detached_tensor() - origin)?;
            let signs = delta.sign()?.broadcast_mul(&delta.abs()?.mean_all()?)?;
            var.set(&(origin + signs)?)?;
        }
        Ok(())
    }
}

/// Whether this run trains a parameter of the backbone in place.
fn trains(config: &TrainConfig, name: &str) -> bool {
    if name.starts_with("feature_extractor.") || name == "masked_spec_embed" {
        return false;
    }
    let (bias, norm) = (name.ends_with(".bias"), name.contains("layer_norm"));
    match config.method {
        Method::Finetune | Method::Delta1 => true,
        Method::Bitfit => bias || norm,
        _ => {
            let matrix = Part::of(name).is_some();
            (config.also.norms && norm) || (config.also.biases && bias) || (config.also.weights && matrix)
        }
    }
}

/// Xavier-uniform weight, zero bias.
fn fresh_head(symbols: usize, width: usize, seed: u64, device: &Device) -> Result<(Tensor, Tensor)> {
    let mut rng = stream(seed, "head", 0);
    let bound = (6.0 / (symbols + width) as f64).sqrt() as f32;
    let weight: Vec<f32> = (0..symbols * width).map(|_| rng.random_range(-bound..bound)).collect();
    let weight = Tensor::from_vec(weight, (symbols, width), device)?;
    Ok((weight, Tensor::zeros(symbols, candle_core::DType::F32, device)?))
}
