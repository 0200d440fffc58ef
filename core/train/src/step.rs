//! One update, from features to moved scores.

use crate::{learner::Learner, noise::StepNoise};
use anyhow::Result;
use candle_core::{Tensor, Var, backprop::GradStore};
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
    let segment = Segment { rows: 0..batch.labels.len(), gates };
    if learner.checkpoints {
        return checkpointed(backbone, learner, batch, &segment, noise);
    }
    let hidden = backbone.encode(&batch.features, &[segment], Some(noise))?;
    backward(&hidden, learner, batch, noise)
}

/// From the final hidden state (B, T, D) on: loss and gradients.
fn backward(
    hidden: &Tensor,
    learner: &Learner,
    batch: &Batch,
    noise: &mut StepNoise,
) -> Result<(f64, GradStore)> {
    let logits = learner.logits(&noise.before_head(hidden.clone())?)?;
    let targets = Targets { labels: batch.labels.clone(), frames: batch.features.lengths.clone() };
    let loss = ctc::loss(&logits, targets, true)?.sum_all()?;
    Ok((f64::from(loss.to_scalar::<f32>()?), loss.backward()?))
}

/// The same in the memory of one layer: forward, only each stage's input (and the state of the noise before it)
/// is kept; backward, stage after stage runs again and passes its gradient on.
fn checkpointed(
    backbone: &Backbone,
    learner: &Learner,
    batch: &Batch,
    segment: &Segment,
    noise: &mut StepNoise,
) -> Result<(f64, GradStore)> {
    let lengths = &batch.features.lengths;
    let (mut x, mut before) = (batch.features.tensor.clone(), Vec::with_capacity(backbone.stages()));
    for stage in 0..backbone.stages() {
        before.push((x.clone(), noise.clone()));
        x = backbone.stage(stage, &x, lengths, segment, noise)?.detach();
    }
    let hidden = Var::from_tensor(&x)?;
    let (nats, mut grads) = backward(hidden.as_tensor(), learner, batch, noise)?;
    let mut g = grads.remove(hidden.as_tensor()).map(|g| g.detach());
    let learnt = learner.state();
    for (stage, (input, mut noise)) in before.into_iter().enumerate().rev() {
        let Some(upstream) = g.take() else { break };
        // The features are no one's gradient; what follows them is.
        let input_var = if stage > 0 { Some(Var::from_tensor(&input)?) } else { None };
        let x = input_var.as_ref().map_or(&input, |var| var.as_tensor());
        let y = backbone.stage(stage, x, lengths, segment, &mut noise)?;
        if !y.track_op() {
            break;
        }
        let mut more = (y * upstream)?.sum_all()?.backward()?;
        g = input_var.and_then(|var| more.remove(var.as_tensor())).map(|g| g.detach());
        // Only what is learnt stays. Beside it lie gradients of constants (`upstream`, a dropout's mask): products with
        // this stage's activations, each of which would keep the whole stage in memory.
        for var in learnt.values() {
            let Some(found) = more.remove(var.as_tensor()).map(|g| g.detach()) else { continue };
            let sum = match grads.remove(var.as_tensor()) {
                Some(before) => (before + found)?,
                None => found,
            };
            grads.insert(var.as_tensor(), sum);
        }
    }
    Ok((nats, grads))
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
