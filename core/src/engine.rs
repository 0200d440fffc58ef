//! The second door of the crate: a mixed-language batch in, transcripts out.
//!
//! Rows are ordered by pack, so that each language is one [`Segment`]; the backbone runs once over all of
//! them, and each row meets its own head. No row's neighbours can change its text: the model masks what
//! lies beyond a row's own frames (a property the test-suite holds for any mixture).

use crate::{
    Error, Result,
    audio::RATE_HZ,
    decode::{self, Word},
    gate::{Gates, Segment},
    model::Backbone,
    packs::LoadedPack,
    residency::Residency,
    window::{Window, Windowing, windows},
};
use candle_core::{D, Tensor};
use s3router_masks::Kind;
use std::sync::Arc;

/// Audio computed at once, seconds, padding counted: bounds the memory of a batch of any size.
const ROUND_SECONDS: usize = 120;

/// One utterance: 16 kHz mono samples and the pack that shall read them.
#[derive(Clone, Debug)]
pub struct Utterance {
    /// `(S,)`, 16 kHz, about -1..=1, as recorded (normalisation is the backbone's business).
    pub samples: Arc<[f32]>,
    /// The lease: this very generation reads the utterance, whatever is hot-swapped meanwhile.
    pub pack: Arc<LoadedPack>,
    /// What the engine makes of it.
    pub wants: Wants,
}

/// What the engine makes of an utterance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wants {
    /// Text by the best path.
    #[default]
    Transcript,
    /// Logits, for a caller who reads them himself; a classifier answers its label all the same.
    Emissions,
}

impl Utterance {
    /// An utterance to be transcribed.
    pub fn new(samples: impl Into<Arc<[f32]>>, pack: &Arc<LoadedPack>) -> Self {
        Self { samples: samples.into(), pack: Arc::clone(pack), wants: Wants::Transcript }
    }

    /// An utterance whose logits are wanted.
    pub fn for_emissions(samples: impl Into<Arc<[f32]>>, pack: &Arc<LoadedPack>) -> Self {
        Self { wants: Wants::Emissions, ..Self::new(samples, pack) }
    }
}

/// The logits of an utterance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Emissions {
    /// `(T, V)`, row-major; V is the size of the pack's vocabulary.
    pub logits: Vec<f32>,
    /// Seconds from frame to frame.
    pub frame_seconds: f64,
}

/// What was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// The text; empty for silence. For a classifier its likeliest label.
    pub text: String,
    /// Words (characters for scripts without spaces) with times; a classifier's label over the whole.
    pub words: Vec<Word>,
    /// Duration of the audio, seconds.
    pub seconds: f64,
    /// With [`Wants::Emissions`], in the place of text and words.
    pub emissions: Option<Emissions>,
}

/// One resident backbone; `&self` everywhere, so threads may share it.
#[derive(Debug)]
pub struct Engine {
    backbone: Backbone,
    windowing: Windowing,
    residency: Residency,
}

/// One window of one utterance: a row of a round.
struct Row<'a> {
    utterance: usize,
    window: Window,
    samples: &'a [f32],
    pack: &'a Arc<LoadedPack>,
    gates: &'a Arc<Gates>,
}

impl Engine {
    /// An engine over a backbone; fast once that is [`packed`](Backbone::packed).
    pub fn new(backbone: Backbone) -> Self {
        Self { backbone, windowing: Windowing::default(), residency: Residency::default() }
    }

    /// The same engine with another cut of long audio.
    #[must_use]
    pub fn with_windowing(mut self, windowing: Windowing) -> Self {
        self.windowing = windowing;
        self
    }

    /// The same engine with a limit to the masks in memory.
    #[must_use]
    pub fn with_residency(self, residency: Residency) -> Self {
        Self { residency, ..self }
    }

    /// Tells the limit of a pack that is in memory before its first utterance.
    pub fn admit(&self, pack: &Arc<LoadedPack>) {
        self.residency.admit(pack);
    }

    /// Keeps the language of `pack` in memory for good.
    ///
    /// # Errors
    /// Masks that had gone already and cannot be read again.
    pub fn pin(&self, pack: &Arc<LoadedPack>) -> Result<()> {
        self.residency.pin(&pack.meta.language);
        self.residency.lease(pack, &self.backbone).map(|_| ())
    }

    /// The shared weights.
    pub fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    /// Transcribes a batch that may mix languages; each utterance has its own result.
    pub fn transcribe(&self, batch: &[Utterance]) -> Vec<Result<Transcript>> {
        let leases: Vec<_> = batch.iter().map(|u| self.lease(u)).collect();
        let sound = batch
            .iter()
            .zip(&leases)
            .filter_map(|(u, lease)| Some((u.clone(), lease.as_ref().ok()?.clone())));
        let (sound, gates): (Vec<_>, Vec<_>) = sound.unzip();
        let mut logits = self.compute(&sound, &gates).map(Vec::into_iter).map_err(|e| e.to_string());
        // Masks that cannot be had fail their own utterances, a failed computation fails all.
        let read = |(utterance, lease): (&Utterance, Result<Arc<Gates>>)| match (lease, &mut logits) {
            (Err(error), _) => Err(error),
            (Ok(_), Err(reason)) => Err(Error::Batch(reason.clone())),
            (Ok(_), Ok(logits)) => match logits.next() {
                Some(logits) => self.read(utterance, &logits),
                None => Err(Error::Batch("an utterance was left out".into())),
            },
        };
        batch.iter().zip(leases).map(read).collect()
    }

    fn lease(&self, utterance: &Utterance) -> Result<Arc<Gates>> {
        self.residency.lease(&utterance.pack, &self.backbone)
    }

    /// Logits `(T, V)` of each utterance on the CPU, f32; `T` = 0 for audio shorter than one frame.
    ///
    /// # Errors
    /// A pack that does not fit, or the device's failure: the whole batch fails then.
    pub fn emissions(&self, batch: &[Utterance]) -> Result<Vec<Tensor>> {
        let gates = batch.iter().map(|u| self.lease(u)).collect::<Result<Vec<_>>>()?;
        self.compute(batch, &gates)
    }

    fn compute(&self, batch: &[Utterance], gates: &[Arc<Gates>]) -> Result<Vec<Tensor>> {
        let waves: Vec<Vec<f32>> = batch.iter().map(|u| self.backbone.normalise(&u.samples)).collect();
        let mut rows = self.rows(batch, gates, &waves);
        rows.sort_by_key(|r| (Arc::as_ptr(r.pack) as usize, r.samples.len()));

        let mut parts: Vec<Vec<(usize, Tensor)>> = vec![Vec::new(); batch.len()];
        for round in rounds(&rows) {
            for (row, logits) in round.iter().zip(self.round(round)?) {
                parts[row.utterance].push((row.window.samples.start, logits));
            }
        }
        batch.iter().zip(parts).map(|(u, parts)| stitch(u, parts)).collect()
    }

    /// The windows of every utterance long enough for a frame.
    fn rows<'a>(
        &self,
        batch: &'a [Utterance],
        gates: &'a [Arc<Gates>],
        waves: &'a [Vec<f32>],
    ) -> Vec<Row<'a>> {
        let (backbone, hop) = (&self.backbone, self.backbone.config().hop());
        batch
            .iter()
            .zip(waves)
            .enumerate()
            .flat_map(|(i, (utterance, wave))| {
                windows(wave.len(), hop, self.windowing, |n| backbone.frames(n))
                    .into_iter()
                    .filter(|w| !w.frames.is_empty())
                    .map(move |window| Row {
                        utterance: i,
                        samples: &wave[window.samples.clone()],
                        window,
                        pack: &utterance.pack,
                        gates: &gates[i],
                    })
            })
            .collect()
    }

    /// Logits `(frames kept, V)` of each row: one pass of the backbone, then each row's head.
    fn round(&self, rows: &[Row]) -> Result<Vec<Tensor>> {
        let samples: Vec<&[f32]> = rows.iter().map(|r| r.samples).collect();
        let batch = self.backbone.pad(&samples)?;
        let features = self.backbone.extract(&batch)?;
        let hidden = self.backbone.encode(&features, &segments(rows), None)?; // (B, T, D)
        rows.iter()
            .enumerate()
            .map(|(b, row)| {
                let kept = hidden.get(b)?.narrow(0, row.window.frames.start, row.window.frames.len())?;
                row.pack.logits(&kept)
            })
            .collect()
    }

    /// Logits `(T, V)` → transcript, by the kind of the pack.
    fn read(&self, utterance: &Utterance, logits: &Tensor) -> Result<Transcript> {
        let seconds = utterance.samples.len() as f64 / f64::from(RATE_HZ);
        let frame_seconds = self.backbone.config().hop() as f64 / f64::from(RATE_HZ);
        let pack = &utterance.pack;
        if pack.meta.kind == Kind::Classifier {
            let words = label(logits, utterance, seconds)?;
            return Ok(Transcript {
                text: decode::text(&words, &pack.vocab),
                words,
                seconds,
                emissions: None,
            });
        }
        let logits = logits.flatten_all()?.to_vec1::<f32>()?;
        if utterance.wants == Wants::Emissions {
            let emissions = Some(Emissions { logits, frame_seconds });
            return Ok(Transcript { text: String::new(), words: Vec::new(), seconds, emissions });
        }
        let mut words = decode::words(&decode::greedy(&logits, &pack.vocab)?, &pack.vocab, frame_seconds);
        pack.calibrate(&mut words);
        Ok(Transcript { text: decode::text(&words, &pack.vocab), words, seconds, emissions: None })
    }
}

/// Runs of rows that share a pack, in order.
fn segments(rows: &[Row]) -> Vec<Segment> {
    let mut start = 0;
    rows.chunk_by(|a, b| Arc::ptr_eq(a.pack, b.pack))
        .map(|run| {
            let rows = start..start + run.len();
            start = rows.end;
            Segment { rows, gates: Arc::clone(run[0].gates) }
        })
        .collect()
}

/// Cuts rows into rounds of at most [`ROUND_SECONDS`] of audio, padding counted; at least one row each.
fn rounds<'r, 'a>(rows: &'r [Row<'a>]) -> Vec<&'r [Row<'a>]> {
    let budget = ROUND_SECONDS * RATE_HZ as usize;
    let (mut rounds, mut start, mut longest) = (Vec::new(), 0, 0);
    for (i, row) in rows.iter().enumerate() {
        longest = longest.max(row.samples.len());
        if i > start && longest * (i + 1 - start) > budget {
            rounds.push(&rows[start..i]);
            (start, longest) = (i, row.samples.len());
        }
    }
    if start < rows.len() {
        rounds.push(&rows[start..]);
    }
    rounds
}

/// The parts of one utterance in the order of time, `(T, V)`.
fn stitch(utterance: &Utterance, mut parts: Vec<(usize, Tensor)>) -> Result<Tensor> {
    parts.sort_by_key(|(start, _)| *start);
    let parts: Vec<Tensor> = parts.into_iter().map(|(_, t)| t).collect();
    match parts.as_slice() {
        [] => Ok(Tensor::zeros(
            (0, utterance.pack.vocab.len()),
            candle_core::DType::F32,
            &candle_core::Device::Cpu,
        )?),
        [one] => Ok(one.to_device(&candle_core::Device::Cpu)?),
        several => Ok(Tensor::cat(several, 0)?.to_device(&candle_core::Device::Cpu)?),
    }
}

/// A classifier's answer: softmax of the logits' mean over time, its likeliest label over the whole audio.
fn label(logits: &Tensor, utterance: &Utterance, seconds: f64) -> Result<Vec<Word>> {
    if logits.dim(0)? == 0 {
        return Ok(Vec::new());
    }
    let scores = candle_nn::ops::softmax(&logits.mean(0)?, D::Minus1)?.to_vec1::<f32>()?;
    let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    Ok(best
        .filter(|(_, score)| score.is_finite())
        .and_then(|(i, &confidence)| {
            let word = utterance.pack.vocab.symbols().get(i)?.clone();
            Some(Word { word, start: 0.0, end: seconds, confidence })
        })
        .into_iter()
        .collect())
}
