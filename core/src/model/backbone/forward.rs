//! The way through the weights: waves → features → hidden states.

use super::Backbone;
use crate::{
    Error, Result,
    gate::Segment,
    kernels::tensor,
    model::{
        batch::{Batch, Features, Level},
        block::Pass,
        config::ExtractorNorm,
        encoder::Watch,
        extractor::SLICE_FRAMES,
        noise::{Noise, Silence},
        room::{Hidden, Room},
    },
};
use candle_core::Tensor;

impl Backbone {
    /// Normalises utterances and pads them side by side.
    ///
    /// # Errors
    /// An empty batch, or the device's.
    pub fn prepare(&self, waves: &[&[f32]]) -> Result<Batch> {
        self.side_by_side(waves.iter().map(|wave| (*wave, self.level(wave))))
    }

    /// Pads utterances that are normalised already (the windows of a long one) side by side.
    ///
    /// # Errors
    /// An empty batch, or the device's.
    pub fn pad(&self, waves: &[&[f32]]) -> Result<Batch> {
        self.side_by_side(waves.iter().map(|wave| (*wave, Level::NONE)))
    }

    fn side_by_side<'w>(&self, waves: impl Iterator<Item = (&'w [f32], Level)> + Clone) -> Result<Batch> {
        let mut room = Room::default();
        room.lay(waves, self.config.receptive_field())?;
        room.batch(&self.device)
    }

    /// Utterances, each at its level, to their final hidden states, and all that passes on the way in `room`, which is
    /// kept for the next batch: on the CPU, once packed, nothing is allocated then. It is
    /// [`extract_with_pauses`](Self::extract_with_pauses), then [`encode_with_pauses`](Self::encode_with_pauses).
    ///
    /// # Errors
    /// As both, and an empty batch.
    pub(crate) fn hear<'r, 'w>(
        &self,
        waves: impl Iterator<Item = (&'w [f32], Level)> + Clone,
        segments: &[Segment],
        room: &'r mut Room,
        pause: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Hidden<'r>> {
        room.lay(waves, self.config.receptive_field())?;
        covers(segments, room.lengths.len())?;
        if !self.extractor.is_packed() || !self.encoder.serves(segments) {
            let features = self.extract_with_pauses(&room.batch(&self.device)?, pause)?;
            return Ok(Hidden::Tensor(self.encode_with_pauses(&features, segments, pause)?));
        }
        let (rows, times) = (room.lengths.len(), self.frames(room.width));
        room.frames.clear();
        room.frames.extend(room.lengths.iter().map(|n| self.frames(*n)));
        let samples = &room.samples[..rows * room.width];
        let features = room.features.at_least(rows * times * self.config.channels());
        self.extractor.run(samples, &room.lengths, features, &mut room.extractor, pause)?;
        let hidden = room.hidden.at_least(rows * times * self.config.hidden);
        self.encoder.run((segments, &room.frames), features, hidden, &mut room.encoder, pause)?;
        Ok(Hidden::Floats(hidden, [times, self.config.hidden]))
    }

    /// The convolutional extractor, (B, S) to (B, T, C). Masks do not touch it.
    ///
    /// Group norm looks at a whole row, padding included, so with that extractor rows of unequal length
    /// run one by one; a batch then equals its rows alone, always.
    ///
    /// # Errors
    /// The device's.
    pub fn extract(&self, batch: &Batch) -> Result<Features> {
        if self.extractor.is_packed() {
            return self.extract_with_pauses(batch, &mut || Ok(()));
        }
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
        let (b, width) = batch.samples.dims2()?;
        let (frames, lengths) = (self.frames(width), batch.lengths.iter().map(|n| self.frames(*n)).collect());
        if self.extractor.is_packed() {
            let mut y = vec![0.0; b * frames * self.config.channels()];
            let room = &mut Default::default();
            let run = |x: &[f32]| self.extractor.run(x, &batch.lengths, &mut y, room, pause);
            tensor::lent(&batch.samples, run)?;
            let tensor = Tensor::from_vec(y, (b, frames, self.config.channels()), &self.device)?;
            return Ok(Features { tensor, lengths });
        }
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
        let unseen = noise.silent() && !matches!(watch, Watch::Inputs(_));
        if unseen && tensor::serves(&[&features.tensor]) && self.encoder.serves(segments) {
            let (b, t, _) = features.tensor.dims3()?;
            let mut hidden = vec![0.0; b * t * self.config.hidden];
            let (room, pause) = (&mut Default::default(), &mut || watch.pause());
            let run = |x: &[f32]| self.encoder.run((segments, lengths), x, &mut hidden, room, pause);
            tensor::lent(&features.tensor, run)?;
            return Ok(Tensor::from_vec(hidden, (b, t, self.config.hidden), &self.device)?);
        }
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
