//! Everything a run depends on, in one value: preset, then TOML file ([`presets`](crate::presets)), then flags. Saved with every checkpoint.

use anyhow::{Result, ensure};
use s3router_core::{
    Precision,
    learn::{
        schedule::TriStage, scores::MaskConfig, spec_augment::SpecAugment, topk::Estimator, vocab::Unit,
    },
};

/// What is learnt; all but the first are the controls that a claim about masks needs.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Scores, hence a mask, and the head: the paper's.
    #[default]
    Mask,
    /// Every weight of the transformer, and the head.
    Finetune,
    /// The head alone on the plain backbone.
    Head,
    /// The head on a fixed mask of the largest weights.
    Magnitude,
    /// The head on a fixed random mask.
    Random,
    /// Norms, biases and the head.
    Bitfit,
    /// Fine-tuning, then each weight's change is cut to its sign and one scale per tensor.
    Delta1,
}

impl Method {
    /// Whether a mask is part of it, so that sparsity and cover mean something.
    pub fn masks(self) -> bool {
        matches!(self, Self::Mask | Self::Magnitude | Self::Random)
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// What is learnt.
    pub method: Method,
    /// Equal seeds, data and settings give equal runs.
    pub seed: u64,
    /// What a step's matrix products round their factors to; `bf16` is several times faster where there is AMX, and twice with AVX-512 BF16.
    pub precision: Precision,
    /// Keeps the input of each layer only and computes the rest again going back.
    pub checkpoint_activations: bool,
    /// Scores and masks.
    pub mask: MaskConfig,
    /// Trained beside the scores.
    pub also: Also,
    /// Updates and their size.
    pub updates: Updates,
    /// Frames and channels hidden from the model.
    pub augment: SpecAugment,
    /// Dropouts.
    pub dropout: Dropout,
    /// Which clips, which symbols.
    pub data: Data,
    /// Which moment of the run becomes the pack.
    pub select: Select,
}

/// Parameters trained beside the scores and the head.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Also {
    /// Norms of the transformer.
    pub norms: bool,
    /// Biases of the transformer.
    pub biases: bool,
    /// All weights of the transformer, under their masks: co-training.
    pub weights: bool,
}

/// How far and how fast.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Updates {
    /// Updates of the whole run; `max_minutes` may lower it.
    pub count: usize,
    /// Ends the run in time: after [`crate::run::PACE`] updates the count is fitted to the measured speed.
    pub max_minutes: Option<f64>,
    /// Peak rate of scores.
    pub score_rate: f64,
    /// Scores start positive, and farther from 0 than the run can move them: `score_rate × count`.
    pub raised_scores: bool,
    /// Peak rate of the head.
    pub head_rate: f64,
    /// Peak rate of weights, norms and biases, where they are trained.
    pub weight_rate: f64,
    /// Padded audio of one backward pass, seconds.
    pub batch_seconds: f64,
    /// Backward passes summed into one update.
    pub accumulate: usize,
    /// Largest gradient norm; absent: no clipping.
    pub clip: Option<f64>,
    /// Rate over the run.
    pub schedule: TriStage,
}

/// Shares dropped, by fairseq's names.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dropout {
    /// After embedding, attention and feed-forward (`dropout`).
    pub hidden: f64,
    /// Attention probabilities.
    pub attention: f64,
    /// Inside the feed-forward.
    pub activation: f64,
    /// After the feature projection.
    pub input: f64,
    /// Before the head.
    pub last: f64,
    /// Whole layers.
    pub layer: f64,
}

/// Which clips and symbols.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// Clip lengths accepted.
    pub limits: Limits,
    /// What a symbol is; phone labels of a manifest set it by themselves.
    pub unit: Unit,
    /// Symbols seen fewer times are left out of the vocabulary.
    pub rare: usize,
    /// Uses only the first clips of the training list; absent: all.
    pub first: Option<usize>,
    /// Keeps extracted features in half the memory (f16).
    pub half_features: bool,
}

/// Clip lengths accepted.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Seconds.
    pub min_seconds: f64,
    /// Seconds.
    pub max_seconds: f64,
}

/// Which moment becomes the pack; always on the validation list, never on a test list.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Select {
    /// Updates between evaluations.
    pub every: usize,
    /// The rate that must fall.
    pub metric: Metric,
    /// Evaluations without a better one before the run stops; 0 never stops.
    pub patience: usize,
}

/// An error rate to select by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Characters, or phones when the labels are phones.
    #[default]
    Cer,
    /// Words.
    Wer,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            method: Method::Mask,
            seed: 1,
            precision: Precision::F32,
            checkpoint_activations: false,
            mask: MaskConfig::default(),
            also: Also::default(),
            updates: Updates::default(),
            augment: SpecAugment::default(),
            dropout: Dropout::default(),
            data: Data::default(),
            select: Select::default(),
        }
    }
}

impl Default for Updates {
    fn default() -> Self {
        Self {
            count: 600,
            max_minutes: None,
            score_rate: 1e-3,
            raised_scores: false,
            head_rate: 3e-3,
            weight_rate: 2e-4,
            batch_seconds: 48.0,
            accumulate: 1,
            clip: None,
            schedule: TriStage::default(),
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self { limits: Limits::default(), unit: Unit::Characters, rare: 1, first: None, half_features: false }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { min_seconds: 0.1, max_seconds: 30.0 }
    }
}

impl Default for Select {
    fn default() -> Self {
        Self { every: 100, metric: Metric::Cer, patience: 0 }
    }
}

impl TrainConfig {
    /// Whether nothing of the backbone itself is learnt, so that the result fits in a pack.
    pub fn keeps_backbone(&self) -> bool {
        let Also { norms, biases, weights } = self.also;
        let plain = matches!(self.method, Method::Mask | Method::Head | Method::Magnitude | Method::Random);
        plain && !(norms || biases || weights)
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// The setting that contradicts itself, and its range.
    pub fn check(&self) -> Result<()> {
        let u = &self.updates;
        ensure!(u.count > 0 && u.accumulate > 0, "updates.count and updates.accumulate must be at least 1");
        ensure!(u.batch_seconds > 0.0, "updates.batch_seconds is {}, it must be above 0", u.batch_seconds);
        ensure!(self.select.every > 0, "select.every must be at least 1");
        for (name, rate) in [("score", u.score_rate), ("head", u.head_rate), ("weight", u.weight_rate)] {
            ensure!(rate >= 0.0 && rate.is_finite(), "updates.{name}_rate is {rate}, it must be 0 or more");
        }
        if let Some(most) = u.clip {
            ensure!(most > 0.0, "updates.clip is {most}, it must be above 0; leave it out to clip nothing");
        }
        u.schedule.check()?;
        self.mask.density.check()?;
        // σ' is nothing that far from 0.
        let flat = u.raised_scores && self.mask.estimator == Estimator::Sigmoid;
        ensure!(
            !flat,
            "mask.estimator = \"sigmoid\" has no gradient for raised scores: give updates.raised_scores = false"
        );
        let d = &self.dropout;
        for share in [d.hidden, d.attention, d.activation, d.input, d.last, d.layer] {
            ensure!((0.0..1.0).contains(&share), "a dropout of {share}: give 0 up to, but not, 1");
        }
        Ok(())
    }
}
