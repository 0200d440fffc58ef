//! An utterance as what the backbone hears at once: one piece, or for long audio several windows.
//!
//! [`Engine::cut`](crate::Engine::cut) makes pieces, [`Engine::compute`](crate::Engine::compute) runs any
//! mixture of them side by side, [`Engine::read`](crate::Engine::read) puts the parts of one utterance
//! together. What happens between, and in which order, is a scheduler's business.

use crate::{
    Result,
    engine::Utterance,
    gate::{Gates, Segment},
    model::{Hidden, Level},
    packs::LoadedPack,
    window::Window,
};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;

/// One window of one utterance; it owns no sample and is cheap to keep waiting.
#[derive(Clone, Debug)]
pub struct Piece {
    utterance: Utterance,
    /// The masks, in memory as long as this is.
    gates: Arc<Gates>,
    level: Level,
    window: Window,
}

/// What a piece became: the logits of its kept frames.
#[derive(Clone, Debug)]
pub struct Part {
    start: usize,
    logits: Tensor,
}

impl Part {
    /// Logits (frames, V).
    pub fn logits(&self) -> &Tensor {
        &self.logits
    }
}

impl Piece {
    pub(crate) fn new(utterance: &Utterance, gates: &Arc<Gates>, level: Level, window: Window) -> Self {
        Self { utterance: utterance.clone(), gates: Arc::clone(gates), level, window }
    }

    /// Samples the backbone will hear, context included.
    pub fn samples(&self) -> usize {
        self.window.samples.len()
    }

    /// The lease under which it is read.
    pub fn pack(&self) -> &Arc<LoadedPack> {
        &self.utterance.pack
    }

    /// The masks under which it is read.
    pub(crate) fn gates(&self) -> &Gates {
        &self.gates
    }

    /// The same piece under a copy of its pack on another device.
    pub(crate) fn under(&self, pack: Arc<LoadedPack>, gates: Arc<Gates>) -> Self {
        Self { utterance: Utterance { pack, ..self.utterance.clone() }, gates, ..self.clone() }
    }

    /// The samples, and the level at which the backbone wants them: that of the whole utterance, not of the window.
    pub(crate) fn wave(&self) -> (&[f32], Level) {
        (&self.utterance.samples[self.window.samples.clone()], self.level)
    }

    /// The hidden states of this piece, a row of them all → logits of the frames that count.
    pub(crate) fn part(&self, hidden: &Hidden<'_>, row: usize) -> Result<Part> {
        let logits = hidden.logits(row, self.window.frames.clone(), self.pack())?;
        Ok(Part { start: self.window.samples.start, logits })
    }

    /// Rows in this order share a segment per pack and little padding.
    pub(crate) fn order(&self) -> (usize, usize) {
        (Arc::as_ptr(self.pack()) as usize, self.samples())
    }
}

/// Runs of rows that share a pack, in order, in place of what `to` holds.
pub(crate) fn segments<'p>(rows: impl Iterator<Item = &'p Piece>, to: &mut Vec<Segment>) {
    to.clear();
    let mut last: Option<&Piece> = None;
    for (row, piece) in rows.enumerate() {
        match (to.last_mut(), last) {
            (Some(segment), Some(last)) if Arc::ptr_eq(last.pack(), piece.pack()) => {
                segment.rows.end = row + 1;
            }
            _ => to.push(Segment { rows: row..row + 1, gates: Arc::clone(&piece.gates) }),
        }
        last = Some(piece);
    }
}

/// The parts of one utterance, in any order → its logits `(T, V)` on the CPU.
pub(crate) fn stitch(utterance: &Utterance, mut parts: Vec<Part>) -> Result<Tensor> {
    parts.sort_by_key(|part| part.start);
    // Each may come from another device.
    let parts = parts.into_iter().map(|part| part.logits.to_device(&Device::Cpu));
    let parts = parts.collect::<candle_core::Result<Vec<_>>>()?;
    Ok(match parts.as_slice() {
        [] => Tensor::zeros((0, utterance.pack.vocab.len()), DType::F32, &Device::Cpu)?,
        [one] => one.clone(),
        several => Tensor::cat(several, 0)?,
    })
}
