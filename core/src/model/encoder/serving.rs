//! The way through the encoder by the kernels alone: what serving takes once all weights are packed. It makes no
//! tensor, and its buffers are a [`Room`]'s.

use super::Encoder;
use crate::{
    Error, Result,
    gate::Segment,
    kernels::{Activation, Aligned, PanelMask, Space, Stack, Tier, norm::layer_norm},
    model::block::Norm,
    model::positional::Positional,
};
use rayon::prelude::*;
use std::{ops::Range, sync::Arc};

/// What a batch needs besides its features and its hidden states; kept for the next.
#[derive(Default)]
pub(crate) struct Room {
    rows: Vec<Range<usize>>,
    masks: Vec<Option<Arc<PanelMask>>>,
    normed: Aligned,
    position: [Aligned; 2],
    space: Space,
}

impl Encoder {
    /// Whether [`run`](Self::run) can take rows of these segments: every weight is packed, in a shape that the kernels
    /// take, and nothing is a tensor because it is learnt.
    pub(crate) fn serves(&self, segments: &[Segment]) -> bool {
        !self.blocks.is_empty()
            && self.blocks.iter().all(|block| block.layer(&[]).is_some())
            && self.projection.gated(&[]).is_some()
            && self.positional.iter().all(Positional::is_packed)
            && self.projection_norm.iter().chain([&self.norm]).all(|norm| norm.kernel().is_some())
            && !segments.iter().any(|s| s.gates.are_tensors())
    }

    /// Features `(B, T, C)` to the final hidden states `(B, T, D)`, of whose rows `lengths` frames are real; `pause` is
    /// called before each layer.
    ///
    /// # Errors
    /// A mask of another shape; those of `pause`; an encoder that does not [serve](Self::serves).
    pub(crate) fn run(
        &self,
        (segments, lengths): (&[Segment], &[usize]),
        features: &[f32],
        hidden: &mut [f32],
        room: &mut Room,
        pause: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        room.rows.clear();
        room.rows.extend(segments.iter().map(|s| s.rows.clone()));
        let placed = self.projection.masks(segments, &mut room.masks).and_then(|()| {
            // From inside the pool: each call of a kernel then finds its threads awake.
            rayon::scope(|_| self.place(lengths, features, hidden, room))
        });
        let done = placed.and_then(|()| self.layers(segments, lengths, hidden, room, pause));
        // A pack that gives way must not be kept by what it left here.
        room.masks.clear();
        done
    }

    /// All layers and what follows them, in place.
    fn layers(
        &self,
        segments: &[Segment],
        lengths: &[usize],
        hidden: &mut [f32],
        room: &mut Room,
        pause: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let Some(first) = self.blocks.first().and_then(|block| block.layer(&[])) else {
            return Err(unpacked());
        };
        let stack = Stack {
            layout: first.out.weight.layout(),
            width: first.out.weight.outputs(),
            pre_norm: self.pre_norm,
            heads: self.blocks[0].heads(),
            segments: &room.rows,
            lengths,
        };
        stack.enter(hidden, &mut room.space)?;
        for block in &self.blocks {
            pause()?;
            block.masks(segments, &mut room.masks)?;
            stack.layer(&block.layer(&room.masks).ok_or_else(unpacked)?, &mut room.space)?;
        }
        let last = self.pre_norm.then(|| self.norm.kernel()).flatten();
        stack.leave(last.as_ref(), hidden, &mut room.space)
    }

    /// [`embed`](Self::embed) without noise.
    fn place(&self, lengths: &[usize], features: &[f32], x: &mut [f32], room: &mut Room) -> Result<()> {
        let (tier, batch) = (Tier::best(), lengths.len());
        let Room { rows, masks, normed, position, .. } = room;
        let projection = self.projection.gated(masks).ok_or_else(unpacked)?;
        let (d, times) =
            (projection.weight.outputs(), x.len() / (batch * projection.weight.outputs()).max(1));
        let mut seen = features;
        if let Some(norm) = self.projection_norm.as_ref().and_then(Norm::kernel) {
            let normed = normed.at_least(features.len());
            normed.copy_from_slice(features);
            layer_norm(tier, &norm, false, normed)?;
            seen = normed;
        }
        projection.times((rows, times), seen, x, Activation::None, false)?;

        // The convolutions mix neighbours: what stands past a row's end must be nothing before each.
        clear_beyond(x, lengths, d);
        let [from, to] = position.each_mut().map(|part| part.at_least(x.len()));
        let (mut from, mut to) = (from, to);
        for (i, conv) in self.positional.iter().enumerate() {
            if i == 0 {
                conv.run(batch, x, to)?;
            } else {
                clear_beyond(from, lengths, d);
                conv.run(batch, from, to)?;
            }
            std::mem::swap(&mut from, &mut to);
        }
        if !self.positional.is_empty() {
            x.par_chunks_mut(16 * d).zip(from.par_chunks(16 * d)).for_each(|(x, position)| {
                x.iter_mut().zip(position).for_each(|(x, position)| *x += position);
            });
        }
        match self.norm.kernel() {
            Some(norm) if !self.pre_norm => layer_norm(tier, &norm, false, x),
            _ => Ok(()),
        }
    }
}

/// Zeros at and beyond each row's length in x `(B, T, d)`.
fn clear_beyond(x: &mut [f32], lengths: &[usize], d: usize) {
    let row = x.len() / lengths.len().max(1);
    for (row, length) in x.chunks_exact_mut(row.max(1)).zip(lengths) {
        let end = (length * d).min(row.len());
        row[end..].fill(0.0);
    }
}

fn unpacked() -> Error {
    Error::Model("weights that are not packed met kernels that take nothing else".into())
}
