//! One update, from features to moved scores.

use crate::{learner::Learner, noise::StepNoise};
use anyhow::Result;
use candle_core::backprop::GradStore;
use s3router_core::{
    gate::Segment,
    learn::{
        adam::{Adam, Gradients},
        ctc::{self, Targets},
    },
    model::{Backbone, Features},
};
use std::sync::Arc;

/// Some utterances of one language, padded side by side.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `(B, T, C)` of the extractor.
    pub features: Features,
    /// What is said in each row.
    pub labels: Vec<Vec<u32>>,
}

/// What an update did.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Mean CTC loss of an utterance, nats.
    pub loss: f64,
    /// Gradient norm before clipping; not finite: the update was skipped.
    pub norm: f64,
}

/// Summed CTC loss (nats) of a batch and its gradients.
///
/// # Errors
/// Shapes that do not fit; labels outside the vocabulary.
pub fn gradients(
    backbone: &Backbone,
    learner: &Learner,
    batch: &Batch,
    noise: &mut StepNoise,
) -> Result<(f64, GradStore)> {
    let gates = Arc::new(learner.gates()?);
    let segments = [Segment { rows: 0..batch.labels.len(), gates }];
    let hidden = backbone.encode(&batch.features, &segments, Some(noise))?;
    let logits = learner.logits(&noise.before_head(hidden)?)?;
    let targets = Targets { labels: batch.labels.clone(), frames: batch.features.lengths.clone() };
    let loss = ctc::loss(&logits, targets, true)?.sum_all()?;
    Ok((f64::from(loss.to_scalar::<f32>()?), loss.backward()?))
}

/// One update over the batches of an accumulation, each with its own noise: the mean loss of an
/// utterance falls along its gradient, clipped to norm `clip`, at `factor` of the peak rates.
///
/// # Errors
/// As [`gradients`].
pub fn step(
    backbone: &Backbone,
    learner: &Learner,
    optimizer: &mut Adam,
    batches: &mut [(Batch, StepNoise)],
    clip: Option<f64>,
    factor: f64,
) -> Result<Outcome> {
    let (mut sum, mut loss, mut utterances) = (Gradients::default(), 0.0, 0);
    for (batch, noise) in batches {
        let (nats, grads) = gradients(backbone, learner, batch, noise)?;
        optimizer.accumulate(&mut sum, grads)?;
        loss += nats;
        utterances += batch.labels.len();
    }
    let share = 1.0 / utterances.max(1) as f64;
    let norm = optimizer.update(sum, share, clip, factor)?;
    Ok(Outcome { loss: loss * share, norm })
}
