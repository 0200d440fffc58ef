//! The masked linear layer: `y = act(x (W ⊙ M)ᵀ + b)`, rows of several languages in one call.

use super::{Gated, Layout, PackedWeight, PanelMask, bf16, gemm, misfit, scratch};
use crate::Result;
use rayon::prelude::*;
use std::ops::Range;

/// What follows the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// The exact GELU, `x/2 · (1 + erf(x / √2))`.
    Gelu,
}

/// Consecutive rows that see W through one mask.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    /// Rows of x.
    pub rows: Range<usize>,
    /// Their mask; `None` is open.
    pub mask: Option<&'a PanelMask>,
}

/// Segments by number.
pub(super) struct Segments<'s, 'a> {
    pub(super) count: usize,
    pub(super) at: &'s (dyn Fn(usize) -> Segment<'a> + Sync),
}

/// A linear layer on packed weights.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// W `(out, in)`.
    pub weight: &'a PackedWeight,
    /// b `(out,)`.
    pub bias: Option<&'a [f32]>,
    /// What follows the sum.
    pub activation: Activation,
    /// Whether the sum is added to what `y` holds (a residual) rather than replace it.
    pub add: bool,
}

/// Computes y `(M, out)` from x `(M, in)`, both row-major, over the current rayon pool.
///
/// `segments` cover `0..M` in order. Equals [`scalar::linear`](super::scalar::linear) up to rounding.
///
/// # Errors
/// When a length, a mask's shape or the segments do not fit.
pub fn linear(layer: &Linear<'_>, x: &[f32], segments: &[Segment<'_>], y: &mut [f32]) -> Result<()> {
    rows(layer, x, &Segments { count: segments.len(), at: &|i| segments[i].clone() }, y)
}

/// [`linear`] of segments that nobody has listed.
pub(super) fn rows(layer: &Linear<'_>, x: &[f32], segments: &Segments<'_, '_>, y: &mut [f32]) -> Result<()> {
    let (n, k) = (layer.weight.outputs(), layer.weight.inputs());
    let m = check(layer, x, segments, y)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    if let Layout::Tiles(unit) = layer.weight.layout() {
        bf16::linear(unit, layer, x, segments, y);
        return Ok(());
    }
    let (panels, tall) = (n.div_ceil(layer.weight.cols()), layer.weight.tier().tall());
    let plan = Plan::new(segments, panels, tall, rayon::current_num_threads());
    let out = scratch::Shared::new(y);
    (0..plan.tasks()).into_par_iter().with_max_len(1).for_each(|i| {
        let Some(task) = plan.task(i) else { return };
        let block = gemm::Block {
            a: &x[task.rows.start * k..task.rows.end * k],
            stride: k,
            rows: task.rows.len(),
            copy: true,
            k,
            panels: layer.weight.panels(),
            mask: task.mask.map(PanelMask::words),
            n,
            which: task.panels,
            c: out.at(task.rows.start * n),
            ldc: n,
            add: layer.add,
            bias: layer.bias,
            gelu: layer.activation == Activation::Gelu,
        };
        // A plan's tasks are disjoint in rows or in panels, which is `Run`'s condition.
        scratch::with(|s| layer.weight.tier().run(gemm::Run(&block, &mut s.pack)));
    });
    Ok(())
}

impl Gated<'_> {
    /// y `(B, T, out)` from x `(B, T, in)`: the batch rows of each segment under its mask; `times` is T.
    ///
    /// # Errors
    /// As [`linear`].
    pub fn times(
        &self,
        (segments, times): (&[Range<usize>], usize),
        x: &[f32],
        y: &mut [f32],
        activation: Activation,
        add: bool,
    ) -> Result<()> {
        let at = |i: usize| Segment {
            rows: segments[i].start * times..segments[i].end * times,
            mask: self.masks.get(i).and_then(|mask| mask.as_deref()),
        };
        let layer = Linear { weight: self.weight, bias: Some(self.bias), activation, add };
        rows(&layer, x, &Segments { count: segments.len(), at: &at }, y)
    }
}

/// The number of rows, if everything fits.
fn check(layer: &Linear<'_>, x: &[f32], segments: &Segments<'_, '_>, y: &[f32]) -> Result<usize> {
    let (n, k, layout) = (layer.weight.outputs(), layer.weight.inputs(), layer.weight.layout());
    let m = segments.count.checked_sub(1).map_or(0, |last| (segments.at)(last).rows.end);
    if x.len() != m * k || y.len() != m * n {
        let (x, y) = (x.len(), y.len());
        return Err(misfit(format!("linear ({n}, {k}) on {m} rows: x has {x} elements, y has {y}")));
    }
    if let Some(bias) = layer.bias.filter(|b| b.len() != n) {
        return Err(misfit(format!("linear ({n}, {k}): bias has {} elements", bias.len())));
    }
    let mut next = 0;
    for Segment { rows, mask } in (0..segments.count).map(segments.at) {
        if rows.start != next || rows.end < rows.start {
            return Err(misfit(format!("segment {rows:?} does not start at row {next}")));
        }
        next = rows.end;
        if let Some(mask) = mask.filter(|m| (m.rows(), m.cols(), m.layout()) != (n, k, layout)) {
            return Err(misfit(format!("{mask:?} on {:?}", layer.weight)));
        }
    }
    Ok(m)
}

/// What one thread computes at a time: some rows of one segment, some panels.
struct Task<'a> {
    rows: Range<usize>,
    mask: Option<&'a PanelMask>,
    panels: Range<usize>,
}

/// The output cut into blocks: rows at most `tall` high, panels in enough groups that all threads
/// have work to the end, panel group by panel group so that W is read once. A task is worked out from its number:
/// no list of them is made.
struct Plan<'s, 'a> {
    segments: &'s Segments<'s, 'a>,
    /// Blocks of rows in all segments.
    rows: usize,
    tall: usize,
    panels: Blocks,
}

impl<'s, 'a> Plan<'s, 'a> {
    fn new(segments: &'s Segments<'s, 'a>, panels: usize, tall: usize, threads: usize) -> Self {
        let rows: usize = (0..segments.count).map(|i| blocks((segments.at)(i).rows, tall, 12).len()).sum();
        // Each block copies its rows of x anew: groups are few, and not less than 8 panels wide.
        let groups = (threads * 2).div_ceil(rows.max(1)).min(panels.div_ceil(8)).max(1);
        let groups = if threads == 1 { 1 } else { groups };
        Self { segments, rows, tall, panels: blocks(0..panels, panels.div_ceil(groups), 1) }
    }

    fn tasks(&self) -> usize {
        self.rows * self.panels.len()
    }

    fn task(&self, i: usize) -> Option<Task<'a>> {
        let mut block = i % self.rows;
        for segment in 0..self.segments.count {
            let Segment { rows, mask } = (self.segments.at)(segment);
            let rows = blocks(rows, self.tall, 12);
            if block < rows.len() {
                return Some(Task { rows: rows.part(block), mask, panels: self.panels.part(i / self.rows) });
            }
            block -= rows.len();
        }
        None
    }
}

/// Equal parts of a range, each a multiple of a unit but for the last.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    all: Range<usize>,
    step: usize,
}

/// Cuts `all` into equal parts of at most `tall`, each a multiple of `unit` but for the last.
pub(super) fn blocks(all: Range<usize>, tall: usize, unit: usize) -> Blocks {
    let count = all.len().div_ceil(tall).max(1);
    Blocks { step: all.len().div_ceil(count).next_multiple_of(unit).max(1), all }
}

impl Blocks {
    /// How many parts are left.
    pub(super) fn len(&self) -> usize {
        self.all.len().div_ceil(self.step)
    }

    /// Part `i` of those left.
    pub(super) fn part(&self, i: usize) -> Range<usize> {
        let from = self.all.start + i * self.step;
        from..self.all.end.min(from + self.step)
    }
}

impl Iterator for Blocks {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let part = (!self.all.is_empty()).then(|| self.part(0))?;
        self.all.start = part.end;
        Some(part)
    }
}
