//! The transformer's layers as one call of the kernels: what they need to know.

mod panels;

use super::{Layout, Norm, PackedWeight, PanelMask, amx, misfit};
use crate::Result;
use std::{borrow::Cow, ops::Range};

/// A weight as the rows of each segment see it.
#[derive(Debug)]
pub struct Gated<'a> {
    /// W `(out, in)`, in one layout for all.
    pub weight: &'a PackedWeight,
    /// b `(out,)`.
    pub bias: &'a [f32],
    /// A mask per segment; `None` is open.
    pub masks: Vec<Option<Cow<'a, PanelMask>>>,
}

/// One layer's parameters.
#[derive(Debug)]
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

/// All layers, and what they need to know of a batch.
#[derive(Debug)]
pub struct Stack<'a> {
    /// The layers in order.
    pub layers: &'a [Layer<'a>],
    /// Norms before the sums, or after.
    pub pre_norm: bool,
    /// Attention heads.
    pub heads: usize,
    /// After the last layer, if any.
    pub last: Option<Norm<'a>>,
    /// Batch rows of each segment, in order.
    pub segments: &'a [Range<usize>],
    /// Real frames of each batch row.
    pub lengths: &'a [usize],
}

impl Layer<'_> {
    /// Whether the width comes in whole heads and, in tiles, all widths and a head's in whole steps.
    pub fn serves(&self, heads: usize) -> bool {
        let (width, inner) = (self.out.weight.outputs(), self.up.weight.outputs());
        let step = if self.out.weight.layout() == Layout::Tiles { 32 } else { 1 };
        heads > 0 && width.is_multiple_of(step * heads) && inner.is_multiple_of(step)
    }
}

impl Stack<'_> {
    /// x `(B, T, D)` to y `(B, T, D)` through all layers, over the current rayon pool. Frames past an
    /// utterance's length are no one's keys, and mean nothing in y.
    ///
    /// # Errors
    /// Parts that do not fit each other, or, in tiles, widths that are not whole steps of 32.
    pub fn run(&self, x: &[f32], y: &mut [f32]) -> Result<()> {
        let d = self.width(x, y)?;
        match self.layers[0].out.weight.layout() {
            _ if x.is_empty() => Ok(()),
            Layout::Tiles => amx::stack(self, x, y),
            Layout::Panels(tier) => panels::stack(self, tier, d, x, y),
        }
    }

    /// D, if everything fits.
    pub(super) fn width(&self, x: &[f32], y: &[f32]) -> Result<usize> {
        let batch = self.lengths.len();
        let Some(first) = self.layers.first() else { return Err(misfit("a stack of no layers".into())) };
        let (d, inner) = (first.out.weight.outputs(), first.up.weight.outputs());
        let layout = first.out.weight.layout();
        let gated = |g: &Gated<'_>, out, inputs| {
            (g.weight.outputs(), g.weight.inputs(), g.weight.layout()) == (out, inputs, layout)
                && g.bias.len() == out
                && g.masks.len() == self.segments.len()
                && g.masks.iter().flatten().all(|m| (m.rows(), m.cols(), m.layout()) == (out, inputs, layout))
        };
        let fits = |l: &Layer<'_>| {
            l.qkv.iter().chain([&l.out]).all(|g| gated(g, d, d))
                && gated(&l.up, inner, d)
                && gated(&l.down, d, inner)
                && l.norms.iter().chain(&self.last).all(|n| n.gamma.len() == d && n.beta.len() == d)
        };
        let whole = x.len() == y.len() && x.len().is_multiple_of((batch * d).max(1));
        let times = x.len() / (batch * d).max(1);
        let covered = self.segments.last().map_or(0, |s| s.end) == batch
            && self.segments.windows(2).all(|s| s[0].end == s[1].start);
        let known = self.lengths.iter().all(|l| *l <= times);
        match first.serves(self.heads) && whole && covered && known && self.layers.iter().all(fits) {
            true => Ok(d),
            false => Err(misfit(format!(
                "{} layers of width {d} ({inner} inside, {} heads) on batch {batch}: x has {} elements, y {}",
                self.layers.len(),
                self.heads,
                x.len(),
                y.len()
            ))),
        }
    }
}
