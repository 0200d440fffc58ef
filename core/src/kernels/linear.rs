//! The masked linear layer: `y = act(x (W ⊙ M)ᵀ + b)`, rows of several languages in one call.

use super::{Layout, PackedWeight, PanelMask, amx, gemm, misfit, scratch};
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
    let (n, k) = (layer.weight.outputs(), layer.weight.inputs());
    let m = check(layer, x, segments, y)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    if layer.weight.layout() == Layout::Tiles {
        amx::linear(layer, x, segments, y);
        return Ok(());
    }
    let (panels, tall) = (n.div_ceil(layer.weight.cols()), layer.weight.tier().tall());
    let tasks = plan(segments, panels, tall, rayon::current_num_threads());
    let out = scratch::Shared::new(y);
    tasks.into_par_iter().with_max_len(1).for_each(|task| {
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
        // The tasks of `plan` are disjoint in rows or in panels, which is `Run`'s condition.
        scratch::with(|s| layer.weight.tier().run(gemm::Run(&block, &mut s.pack)));
    });
    Ok(())
}

/// The number of rows, if everything fits.
fn check(layer: &Linear<'_>, x: &[f32], segments: &[Segment<'_>], y: &[f32]) -> Result<usize> {
    let (n, k, layout) = (layer.weight.outputs(), layer.weight.inputs(), layer.weight.layout());
    let m = segments.last().map_or(0, |s| s.rows.end);
    if x.len() != m * k || y.len() != m * n {
        let (x, y) = (x.len(), y.len());
        return Err(misfit(format!("linear ({n}, {k}) on {m} rows: x has {x} elements, y has {y}")));
    }
    if let Some(bias) = layer.bias.filter(|b| b.len() != n) {
        return Err(misfit(format!("linear ({n}, {k}): bias has {} elements", bias.len())));
    }
    let mut next = 0;
    for Segment { rows, mask } in segments {
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

/// Cuts the output into blocks: rows at most `tall` high, panels in enough groups that all threads
/// have work to the end, panel group by panel group so that W is read once.
fn plan<'a>(segments: &[Segment<'a>], panels: usize, tall: usize, threads: usize) -> Vec<Task<'a>> {
    let mut rows = Vec::new();
    for Segment { rows: all, mask } in segments {
        rows.extend(blocks(all.clone(), tall, 12).map(|r| (r, *mask)));
    }
    // Each block copies its rows of x anew: groups are few, and not less than 8 panels wide.
    let groups = (threads * 2).div_ceil(rows.len().max(1)).min(panels.div_ceil(8)).max(1);
    let groups = if threads == 1 { 1 } else { groups };
    let wide = panels.div_ceil(groups);
    let mut tasks = Vec::with_capacity(groups * rows.len());
    for panels in blocks(0..panels, wide, 1) {
        tasks.extend(rows.iter().map(|(r, mask)| Task {
            rows: r.clone(),
            mask: *mask,
            panels: panels.clone(),
        }));
    }
    tasks
}

/// Cuts `all` into equal parts of at most `tall`, each a multiple of `unit` but for the last.
pub(super) fn blocks(all: Range<usize>, tall: usize, unit: usize) -> impl Iterator<Item = Range<usize>> {
    let count = all.len().div_ceil(tall).max(1);
    let step = all.len().div_ceil(count).next_multiple_of(unit).max(1);
    all.clone().step_by(step).map(move |from| from..all.end.min(from + step))
}
