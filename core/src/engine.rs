//! The second door of the crate: a mixed-language batch in, transcripts out.
//!
//! Rows are ordered by pack, so that each language is one segment; the backbone runs once over all of
//! them, and each row meets its own head. No row's neighbours can change its text: the model masks what
//! lies beyond a row's own frames (a property the test-suite holds for any mixture).

use crate::{
    Cancel, Error, Result,
    audio::RATE_HZ,
    decode::{self, Word},
    gate::{Gates, Segment},
    lock::lock,
    model::{Backbone, Room},
    packs::LoadedPack,
    piece::{self, Part, Piece, stitch},
    residency::Residency,
    window::{Windowing, windows},
};
use candle_core::{D, Tensor};
use s3router_masks::Kind;
use std::{
    fmt,
    sync::{Arc, Mutex},
};

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
    desks: Mutex<Vec<Desk>>,
}

/// What a batch needs beside the weights, kept for the next; a batch that cuts in on another, or runs beside it, takes
/// one more.
#[derive(Default)]
struct Desk {
    /// The piece of each row, and the row of each piece.
    order: Vec<usize>,
    place: Vec<usize>,
    segments: Vec<Segment>,
    room: Room,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine over a backbone; fast once that is [`packed`](Backbone::packed).
    pub fn new(backbone: Backbone) -> Self {
        Self {
            backbone,
            windowing: Windowing::default(),
            residency: Residency::default(),
            desks: Mutex::default(),
        }
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
        self.lease(pack).map(|_| ())
    }

    /// The shared weights.
    pub fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    /// Transcribes a batch that may mix languages; each utterance has its own result.
    pub fn transcribe(&self, batch: &[Utterance]) -> Vec<Result<Transcript>> {
        let cut: Vec<_> = batch.iter().map(|u| self.cut(u)).collect();
        let sound: Vec<Vec<Piece>> = cut.iter().filter_map(|c| c.as_ref().ok()).cloned().collect();
        let mut parts = self.rounds(&sound).map(Vec::into_iter).map_err(|e| e.to_string());
        // Masks that cannot be had fail their own utterances, a failed computation fails all.
        let read = |(utterance, cut): (&Utterance, Result<Vec<Piece>>)| match (cut, &mut parts) {
            (Err(error), _) => Err(error),
            (Ok(_), Err(reason)) => Err(Error::Batch(reason.clone())),
            (Ok(_), Ok(parts)) => match parts.next() {
                Some(parts) => self.read(utterance, parts, &Cancel::default()),
                None => Err(Error::Batch("an utterance was left out".into())),
            },
        };
        batch.iter().zip(cut).map(read).collect()
    }

    pub(crate) fn lease(&self, pack: &Arc<LoadedPack>) -> Result<Arc<Gates>> {
        self.residency.lease(pack, &self.backbone)
    }

    /// Logits `(T, V)` of each utterance on the CPU, f32; `T` = 0 for audio shorter than one frame.
    ///
    /// # Errors
    /// A pack that does not fit, or the device's failure: the whole batch fails then.
    pub fn emissions(&self, batch: &[Utterance]) -> Result<Vec<Tensor>> {
        let cut = batch.iter().map(|u| self.cut(u)).collect::<Result<Vec<_>>>()?;
        batch.iter().zip(self.rounds(&cut)?).map(|(u, parts)| stitch(u, parts)).collect()
    }

    /// The parts of each utterance's pieces, computed as many at a time as memory allows.
    fn rounds(&self, cut: &[Vec<Piece>]) -> Result<Vec<Vec<Part>>> {
        let each = cut.iter().enumerate().flat_map(|(i, pieces)| pieces.iter().map(move |piece| (i, piece)));
        let mut pieces: Vec<(usize, &Piece)> = each.collect();
        pieces.sort_by_key(|(_, piece)| piece.order());

        let mut parts: Vec<Vec<Part>> = vec![Vec::new(); cut.len()];
        for round in rounds(&pieces) {
            let rows: Vec<&Piece> = round.iter().map(|(_, piece)| *piece).collect();
            for ((utterance, _), part) in round.iter().zip(self.compute(&rows, &mut || Ok(()))?) {
                parts[*utterance].push(part);
            }
        }
        Ok(parts)
    }

    /// An utterance as pieces: one, several windows if it is long, none if it is shorter than a frame. They keep
    /// its masks in memory.
    ///
    /// # Errors
    /// Masks that had gone and cannot be read again.
    pub fn cut(&self, utterance: &Utterance) -> Result<Vec<Piece>> {
        let gates = self.lease(&utterance.pack)?;
        let (backbone, samples) = (&self.backbone, &utterance.samples);
        let level = backbone.level(samples);
        let windows = windows(samples.len(), backbone.config().hop(), self.windowing, |n| backbone.frames(n));
        let windows = windows.into_iter().filter(|window| !window.frames.is_empty());
        Ok(windows.map(|window| Piece::new(utterance, &gates, level, window)).collect())
    }

    /// One pass of the backbone over pieces of any utterances and languages, then each piece's own head; one
    /// part per piece, in their order. `pause` is called between layers, and every few seconds of
    /// the extractor: another batch may run in it, and an
    /// error of it ends this one.
    ///
    /// # Errors
    /// No piece, a pack that does not fit, the device's failure, or that of `pause`.
    pub fn compute(&self, pieces: &[&Piece], pause: &mut dyn FnMut() -> Result<()>) -> Result<Vec<Part>> {
        let mut desk = lock(&self.desks).pop().unwrap_or_default();
        let parts = self.compute_at(&mut desk, pieces, pause);
        // A pack that gives way must not be kept by what it left here.
        desk.segments.clear();
        lock(&self.desks).push(desk);
        parts
    }

    fn compute_at(
        &self,
        Desk { order, place, segments, room }: &mut Desk,
        pieces: &[&Piece],
        pause: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<Part>> {
        order.clear();
        order.extend(0..pieces.len());
        order.sort_unstable_by_key(|&i| (pieces[i].order(), i));
        let rows = order.iter().map(|&i| pieces[i]);
        piece::segments(rows.clone(), segments);
        let hidden = self.backbone.hear(rows.map(Piece::wave), segments, room, pause)?;

        place.clear();
        place.resize(pieces.len(), 0);
        order.iter().zip(0..).for_each(|(&i, row)| place[i] = row);
        let mut parts = Vec::with_capacity(pieces.len());
        for (piece, &row) in pieces.iter().zip(&*place) {
            parts.push(piece.part(&hidden, row)?);
        }
        Ok(parts)
    }

    /// The parts of all of an utterance's pieces → its transcript. Any thread may do this.
    ///
    /// # Errors
    /// Logits that are not numbers; [`Error::Abandoned`] once cancelled.
    pub fn read(&self, utterance: &Utterance, parts: Vec<Part>, cancel: &Cancel) -> Result<Transcript> {
        self.transcript(utterance, &stitch(utterance, parts)?, cancel)
    }

    /// Logits `(T, V)` → transcript, by the kind of the pack.
    fn transcript(&self, utterance: &Utterance, logits: &Tensor, cancel: &Cancel) -> Result<Transcript> {
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
        let symbols = decode::greedy_until(&logits, &pack.vocab, cancel)?;
        let mut words = decode::words(&symbols, &pack.vocab, frame_seconds);
        pack.calibrate(&mut words);
        Ok(Transcript { text: decode::text(&words, &pack.vocab), words, seconds, emissions: None })
    }
}

/// Cuts rows into rounds of at most [`ROUND_SECONDS`] of audio, padding counted; at least one row each.
fn rounds<'r, 'p>(rows: &'r [(usize, &'p Piece)]) -> Vec<&'r [(usize, &'p Piece)]> {
    let budget = ROUND_SECONDS * RATE_HZ as usize;
    let (mut rounds, mut start, mut longest) = (Vec::new(), 0, 0);
    for (i, (_, row)) in rows.iter().enumerate() {
        longest = longest.max(row.samples());
        if i > start && longest * (i + 1 - start) > budget {
            rounds.push(&rows[start..i]);
            (start, longest) = (i, row.samples());
        }
    }
    if start < rows.len() {
        rounds.push(&rows[start..]);
    }
    rounds
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
