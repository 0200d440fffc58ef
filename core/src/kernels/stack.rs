//! The transformer's layers on a batch that stays in the kernels' own order from the first to the last.
//!
//! [`Stack::enter`] brings a batch in, [`Stack::layer`] takes it through one layer, [`Stack::leave`] brings it out. The
//! residual stream and all that passes between the products lie in a [`Space`], which its owner keeps for the next batch.

mod panels;

use super::{Layout, Norm, PackedWeight, PanelMask, bf16, misfit};
use crate::Result;
use std::{ops::Range, sync::Arc};

/// A weight as the rows of each segment see it.
#[derive(Clone, Copy, Debug)]
pub struct Gated<'a> {
    /// W `(out, in)`, in one layout for all.
    pub weight: &'a PackedWeight,
    /// b `(out,)`.
    pub bias: &'a [f32],
    /// A mask per segment; `None` is open.
    pub masks: &'a [Option<Arc<PanelMask>>],
}

/// One layer's parameters.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Queries, keys, values.
    pub qkv: [Gated<'a>; 3],
    /// After attention.
    pub out: Gated<'a>,
    /// To the wide inner width.
    pub up: Gated<'a>,
    /// And back.
    pub down: Gated<'a>,
    /// Before attention and before the feed-forward part (pre-norm), or after each.
    pub norms: [Norm<'a>; 2],
}

/// What all layers need to know of the model and of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Stack<'a> {
    /// Where the weights lie.
    pub layout: Layout,
    /// D.
    pub width: usize,
    /// Norms before the sums, or after.
    pub pre_norm: bool,
    /// Attention heads.
    pub heads: usize,
    /// Batch rows of each segment, in order.
    pub segments: &'a [Range<usize>],
    /// Real frames of each batch row.
    pub lengths: &'a [usize],
}

/// A batch inside a stack, and the buffers it needs there.
#[derive(Default)]
pub struct Space {
    /// Frames of each batch row.
    times: usize,
    panels: panels::Space,
    tiles: bf16::Space,
}

impl Layer<'_> {
    /// Whether the width comes in whole heads and, in tiles, all widths and a head's in whole steps.
    pub fn serves(&self, heads: usize) -> bool {
        let (width, inner) = (self.out.weight.outputs(), self.up.weight.outputs());
        let step = if self.out.weight.layout().is_tiles() { 32 } else { 1 };
        heads > 0 && width.is_multiple_of(step * heads) && inner.is_multiple_of(step)
    }
}

impl Stack<'_> {
    /// x `(B, T, D)` comes in, over the current rayon pool as all that follows.
    ///
    /// # Errors
    /// Rows, segments and lengths that do not fit each other.
    pub fn enter(&self, x: &[f32], space: &mut Space) -> Result<()> {
        let (batch, d) = (self.lengths.len(), self.width);
        let times = x.len() / (batch * d).max(1);
        let covered = self.segments.last().map_or(0, |s| s.end) == batch
            && self.segments.windows(2).all(|s| s[0].end == s[1].start);
        let known = self.lengths.iter().all(|l| *l <= times);
        if x.len() != batch * times * d || !covered || !known {
            return Err(misfit(format!(
                "rows of width {d} on batch {batch}, covered to {:?}, lengths {:?}: x has {} elements",
                self.segments.last(),
                self.lengths,
                x.len()
            )));
        }
        space.times = times;
        match self.layout {
            _ if x.is_empty() => {}
            Layout::Tiles(_) => bf16::enter(self, x, times, &mut space.tiles),
            Layout::Panels(_) => panels::enter(x, &mut space.panels),
        }
        Ok(())
    }

    /// What [came in](Self::enter) goes through one layer. Frames past an utterance's length are no one's keys, and
    /// mean nothing.
    ///
    /// # Errors
    /// Parts that do not fit each other, or, in tiles, widths that are not whole steps of 32.
    pub fn layer(&self, layer: &Layer<'_>, space: &mut Space) -> Result<()> {
        self.check(layer)?;
        match self.layout {
            _ if space.times * self.lengths.len() == 0 => Ok(()),
            Layout::Tiles(unit) => {
                bf16::layer(self, layer, unit, space.times, &mut space.tiles);
                Ok(())
            }
            Layout::Panels(tier) => panels::layer(self, layer, tier, space.times, &mut space.panels),
        }
    }

    /// What went through comes out as y `(B, T, D)`, after a last norm if there is one.
    ///
    /// # Errors
    /// A norm or y of another size.
    pub fn leave(&self, last: Option<&Norm<'_>>, y: &mut [f32], space: &mut Space) -> Result<()> {
        let (batch, d) = (self.lengths.len(), self.width);
        let normed = last.is_none_or(|n| n.gamma.len() == d && n.beta.len() == d);
        if y.len() != batch * space.times * d || !normed {
            return Err(misfit(format!(
                "{batch} x {} rows of width {d} into {} elements",
                space.times,
                y.len()
            )));
        }
        match self.layout {
            _ if y.is_empty() => Ok(()),
            Layout::Tiles(_) => {
                bf16::leave(self, last, y, space.times, &mut space.tiles);
                Ok(())
            }
            Layout::Panels(tier) => panels::leave(last, tier, y, &mut space.panels),
        }
    }

    /// Whether a layer fits the stack.
    fn check(&self, layer: &Layer<'_>) -> Result<()> {
        let (d, inner, layout) = (self.width, layer.up.weight.outputs(), self.layout);
        let gated = |g: &Gated<'_>, out, inputs| {
            (g.weight.outputs(), g.weight.inputs(), g.weight.layout()) == (out, inputs, layout)
                && g.bias.len() == out
                && g.masks.len() == self.segments.len()
                && g.masks.iter().flatten().all(|m| (m.rows(), m.cols(), m.layout()) == (out, inputs, layout))
        };
        let fits = layer.qkv.iter().chain([&layer.out]).all(|g| gated(g, d, d))
            && gated(&layer.up, inner, d)
            && gated(&layer.down, d, inner)
            && layer.norms.iter().all(|n| n.gamma.len() == d && n.beta.len() == d);
        match fits && layer.serves(self.heads) {
            true => Ok(()),
            false => Err(misfit(format!(
                "a layer of width {} ({inner} inside) among those of {d} with {} heads, {layout:?}, {} segments",
                layer.out.weight.outputs(),
                self.heads,
                self.segments.len()
            ))),
        }
    }
}
