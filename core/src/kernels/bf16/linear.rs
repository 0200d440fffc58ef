//! Linears on tiles: work shared out over threads, rows of several languages in one call.
#![allow(unsafe_code)]

use super::{
    product::{Block, DEEP},
    rows::Rows,
    sink::{Finish, Sink, ToRows},
    tile::Tiles,
};
use crate::kernels::{
    Activation, PackedWeight, PanelMask, Unit,
    linear::{Linear, Segment, Segments, blocks},
    scratch::{self, Shared},
};
use rayon::prelude::*;
use std::{cell::Cell, ops::Range};

/// Rows of a block, at most: at DEEP steps they fill half an L2.
const TALL: usize = 512;

/// Some rows times one weight under one mask.
pub(super) struct Job<'a, S> {
    pub(super) weight: &'a PackedWeight,
    pub(super) mask: Option<&'a PanelMask>,
    /// Rows of the left side; the first is a multiple of 16.
    pub(super) rows: Range<usize>,
    /// Its row 0 is the left side's row 0.
    pub(super) sink: S,
}

/// A sink whose rows are counted from `first`.
struct From<'a, S> {
    sink: &'a S,
    first: usize,
}

impl<S: Sink> Sink for From<'_, S> {
    #[inline(always)]
    fn expect(&self, panel: usize, row: usize) {
        self.sink.expect(panel, self.first + row);
    }

    #[inline(always)]
    unsafe fn put(
        &self,
        panel: usize,
        row: usize,
        lo: std::arch::x86_64::__m512,
        hi: std::arch::x86_64::__m512,
    ) {
        // SAFETY: the caller's.
        unsafe { self.sink.put(panel, self.first + row, lo, hi) }
    }
}

/// Runs jobs `0..count` over the current pool.
///
/// # Safety
/// The sinks' rows and panels are writable, disjoint among the jobs, and no one else's; weights are tiles,
/// masks fit them, and the left side is as wide as each weight.
pub(super) unsafe fn products<'a, S: Sink + Sync>(
    unit: Unit,
    left: &Rows,
    count: usize,
    job: impl Fn(usize) -> Job<'a, S> + Sync,
) {
    let threads = rayon::current_num_threads();
    // A deep K is cut, and each of a task's panels keeps its sums between the parts, so fewer rows there; and
    // few tasks, since each reads all of the left side anew.
    let deep = (0..count).any(|i| job(i).weight.inputs() > 32 * DEEP);
    let (tall, each) = if deep { (TALL / 2, 2) } else { (TALL, 4) };
    let all: usize = (0..count).map(|i| job(i).rows.len().div_ceil(tall)).sum();
    // Enough tasks that all threads have work to the end; a task's first panel and last rows are not hidden.
    let groups = if threads == 1 { 1 } else { (threads * each).div_ceil(all.max(1)) };
    let cut = |job: &Job<'_, S>| {
        let panels = job.weight.outputs().div_ceil(32);
        (blocks(job.rows.clone(), tall, 32), blocks(0..panels, panels.div_ceil(groups).max(4), 1))
    };
    let tasks = |job: &Job<'_, S>| {
        let (rows, panels) = cut(job);
        rows.len() * panels.len()
    };
    // A task is worked out from its number: no list of them is made.
    (0..(0..count).map(|i| tasks(&job(i))).sum()).into_par_iter().with_max_len(1).for_each(|mut task| {
        for job in (0..count).map(&job) {
            if task >= tasks(&job) {
                task -= tasks(&job);
                continue;
            }
            let (rows, panels) = cut(&job);
            let (rows, panels) = (rows.part(task % rows.len()), panels.part(task / rows.len()));
            let block = Block {
                left: left.from(rows.start),
                rows: rows.len(),
                weights: job.weight.tiles(),
                mask: job.mask.map(PanelMask::words),
                panels,
                deep: DEEP,
                sink: From { sink: &job.sink, first: rows.start },
            };
            // SAFETY: tiles exist only where their unit does; the rest is the caller's.
            return scratch::with(|s| unsafe { block.run(&mut Tiles::of(unit), &mut s.pack) });
        }
    });
}

/// [`linear()`](super::super::linear()) for tiles, its arguments checked.
pub(in crate::kernels) fn linear(
    unit: Unit,
    layer: &Linear<'_>,
    x: &[f32],
    segments: &Segments<'_, '_>,
    y: &mut [f32],
) {
    thread_local!(static ROWS: Cell<Rows> = Cell::default());
    let (n, k) = (layer.weight.outputs(), layer.weight.inputs());
    let mut left = ROWS.take();
    // Each segment starts on a whole tile.
    let tall = |i: usize| (segments.at)(i).rows.len().next_multiple_of(16);
    left.fit((0..segments.count).map(tall).sum(), k);
    let mut first = 0;
    for i in 0..segments.count {
        let rows = (segments.at)(i).rows;
        left.narrow(first, &x[rows.start * k..rows.end * k], k);
        first += tall(i);
    }
    let out = Shared::new(y);
    let job = |i: usize| {
        let first: usize = (0..i).map(tall).sum();
        let Segment { rows, mask } = (segments.at)(i);
        Job {
            weight: layer.weight,
            mask,
            rows: first..first + rows.len(),
            sink: ToRows {
                finish: Finish { bias: layer.bias, gelu: layer.activation == Activation::Gelu },
                at: out.at(rows.start * n).wrapping_sub(first * n),
                stride: n,
                width: n,
                add: layer.add,
            },
        }
    };
    // SAFETY: segments are disjoint rows of y; `check` held shapes and masks against the weight.
    unsafe { products(unit, &left, segments.count, job) };
    ROWS.set(left);
}
