//! The way through the weights: waves → features → hidden states.

use super::Backbone;
use crate::{
    Error, Result,
    gate::Segment,
    model::{
        batch::{Batch, Features},
        block::Pass,
        config::ExtractorNorm,
        encoder::Watch,
        noise::{Noise, Silence},
    },
};
use candle_core::Tensor;

/// Frames that the extractor makes between two pauses: 5 s.
const SLICE_FRAMES: usize = 250;

impl Backbone {
    /// Normalises utterances and pads them side by side.
    ///
    /// # Errors
    /// An empty batch, or the device's.
    pub fn prepare(&self, waves: &[&[f32]]) -> Result<Batch> {
        let waves: Vec<Vec<f32>> = waves.iter().map(|wave| self.normalise(wave)).collect();
        self.pad(&waves.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// Pads utterances that are normalised already (the windows of a long one) side by side.
    ///
    /// # Errors
    /// An empty batch, or the device's.
    pub fn pad(&self, waves: &[&[f32]]) -> Result<Batch> {
        if waves.is_empty() {
            return Err(Error::InvalidRequest("a batch needs at least one utterance".into()));
        }
        let lengths: Vec<usize> = waves.iter().map(|wave| wave.len()).collect();
        // Never narrower than one frame: a lone click flows through, with 0 real frames.
        let width = lengths.iter().copied().max().unwrap_or(0).max(self.config.receptive_field());
        let mut samples = Vec::with_capacity(waves.len() * width);
        for (wave, row) in waves.iter().zip(1..) {
            samples.extend_from_slice(wave);
            samples.resize(row * width, 0.0);
        }
        Ok(Batch { samples: Tensor::from_vec(samples, (waves.len(), width), &self.device)?, lengths })
    }

    /// The convolutional extractor, (B, S) to (B, T, C). Masks do not touch it.
    ///
    /// Group norm looks at a whole row, padding included, so with that extractor rows of unequal length
    /// run one by one; a batch then equals its rows alone, always.
    ///
    /// # Errors
    /// The device's.
    pub fn extract(&self, batch: &Batch) -> Result<Features> {
        let (b, width) = batch.samples.dims2()?;
        let lengths: Vec<usize> = batch.lengths.iter().map(|n| self.frames(*n)).collect();
        let padded = batch.lengths.iter().any(|n| *n < width);
        if self.config.extractor_norm == ExtractorNorm::Layer || !padded {
            return Ok(Features { tensor: self.extractor.forward(&batch.samples)?, lengths });
        }
        let frames = self.frames(width);
        let rows = (0..b).map(|row| {
            let real = batch.lengths[row].max(self.config.receptive_field());
            let x = self.extractor.forward(&batch.samples.narrow(0, row, 1)?.narrow(1, 0, real)?)?;
            Ok(x.pad_with_zeros(1, 0, frames - self.frames(real))?)
        });
        Ok(Features { tensor: Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)?, lengths })
    }

    /// As [`extract`](Self::extract), with `pause` called every few seconds of long audio: a frame sees no
    /// more than its receptive field, so slices of time give the same features.
    ///
    /// # Errors
    /// As [`extract`](Self::extract), and those of `pause`.
    pub fn extract_with_pauses(
        &self,
        batch: &Batch,
        pause: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Features> {
        let frames = self.frames(batch.samples.dim(1)?);
        if self.config.extractor_norm != ExtractorNorm::Layer || frames <= SLICE_FRAMES {
            pause()?;
            return self.extract(batch);
        }
        let (hop, field) = (self.config.hop(), self.config.receptive_field());
        let mut slices = Vec::new();
        for start in (0..frames).step_by(SLICE_FRAMES) {
            pause()?;
            let samples = (SLICE_FRAMES.min(frames - start) - 1) * hop + field;
            slices
                .push(self.extractor.forward(&batch.samples.narrow(1, start * hop, samples)?.contiguous()?)?);
        }
        let lengths = batch.lengths.iter().map(|n| self.frames(*n)).collect();
        Ok(Features { tensor: Tensor::cat(&slices, 1)?, lengths })
    }

    /// The transformer: the final hidden state (B, T, D), after the last norm. Each segment's rows see
    /// its gates; frames past a row's length are not seen by others and mean nothing.
    ///
    /// # Errors
    /// Segments that do not cover the batch in order, a mask of another shape.
    pub fn encode(
        &self,
        features: &Features,
        segments: &[Segment],
        noise: Option<&mut dyn Noise>,
    ) -> Result<Tensor> {
        self.run(features, segments, noise, Watch::Nobody)
    }

    /// As [`encode`](Self::encode) without noise, with `pause` called before each layer:
    /// there another batch may run, or an error ends this one.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and those of `pause`.
    pub fn encode_with_pauses(
        &self,
        features: &Features,
        segments: &[Segment],
        pause: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Tensor> {
        self.run(features, segments, None, Watch::Pauses(pause))
    }

    /// All L + 1 hidden states (B, T, D), and what [`encode`](Self::encode) gives: the embeddings, then the
    /// output of each layer, as transformers' `hidden_states`. In pre-norm models the last one stands
    /// before the final norm (so in transformers 5; in 4 it stood after it).
    ///
    /// # Errors
    /// As [`encode`](Self::encode); and segments that replace parameters must be one.
    pub fn hidden_states(
        &self,
        features: &Features,
        segments: &[Segment],
        noise: Option<&mut dyn Noise>,
    ) -> Result<(Vec<Tensor>, Tensor)> {
        if segments.len() > 1 && segments.iter().any(|s| s.gates.replaces()) {
            return Err(Error::InvalidRequest(
                "hidden states of several segments that replace parameters: ask for them one by one".into(),
            ));
        }
        let mut states = Vec::with_capacity(self.config.layers + 1);
        let mut each = |x: &Tensor| states.push(x.clone());
        let encoded = self.run(features, segments, noise, Watch::Inputs(&mut each))?;
        Ok((states, encoded))
    }

    fn run(
        &self,
        features: &Features,
        segments: &[Segment],
        noise: Option<&mut dyn Noise>,
        mut watch: Watch<'_>,
    ) -> Result<Tensor> {
        covers(segments, features.lengths.len())?;
        let mut silence = Silence;
        let noise: &mut dyn Noise = match noise {
            Some(noise) => noise,
            None => &mut silence,
        };
        let lengths = &features.lengths;
        if segments.len() == 1 || !segments.iter().any(|s| s.gates.replaces()) {
            let mut pass = Pass { lengths, segments, noise };
            return self.encoder.forward(&features.tensor, &mut pass, watch);
        }
        // Replaced parameters are not only linears: each language takes the whole way by itself.
        let parts = segments.iter().map(|s| {
            let rows = features.tensor.narrow(0, s.rows.start, s.rows.len())?;
            let alone = [Segment { rows: 0..s.rows.len(), gates: s.gates.clone() }];
            let mut pass = Pass { lengths: &lengths[s.rows.clone()], segments: &alone, noise: &mut *noise };
            self.encoder.forward(&rows, &mut pass, watch.again())
        });
        Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// Stages of [`encode`](Self::encode): the embedding, each layer, the final norm.
    pub fn stages(&self) -> usize {
        self.encoder.stages()
    }

    /// One stage of [`encode`](Self::encode) of one language's rows, from the output of the stage before (the
    /// first: from the features): learning that keeps no activations runs a stage twice.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn stage(
        &self,
        stage: usize,
        x: &Tensor,
        lengths: &[usize],
        segment: &Segment,
        noise: &mut dyn Noise,
    ) -> Result<Tensor> {
        let segments = std::slice::from_ref(segment);
        covers(segments, lengths.len())?;
        self.encoder.stage(stage, x, &mut Pass { lengths, segments, noise })
    }
}

fn covers(segments: &[Segment], rows: usize) -> Result<()> {
    let mut next = 0;
    for segment in segments {
        if segment.rows.start != next || segment.rows.is_empty() {
            break;
        }
        next = segment.rows.end;
    }
    if next != rows || segments.is_empty() || segments.last().is_some_and(|s| s.rows.end != rows) {
        return Err(Error::InvalidRequest(format!(
            "the batch has {rows} rows, its segments cover {next} in order: every row needs one gate"
        )));
    }
    Ok(())
}
