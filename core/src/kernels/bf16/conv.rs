//! Convolutions on tiles: every tap reads the same columns a moment later.
#![allow(unsafe_code)]

use super::{
    columns::Columns,
    math, norm,
    product::{Block, DEEP},
    sink::{Finish, ToRows},
    tile::Tiles,
};
use crate::kernels::{
    After, Conv, Norm, Positional, Unit,
    linear::blocks,
    scratch::{Pack, Scratch},
};
use std::{arch::x86_64::*, cell::Cell};

/// Rows of a block, normalised as soon as it is done: 256 × 512 floats stay in L2 until then.
const TALL: usize = 256;

thread_local!(static COLUMNS: Cell<[Columns; 2]> = Cell::default());

/// Takes a piece of one utterance, x `(T, C)`, through a chain of convolutions of which all on tiles but
/// perhaps the first, to y `(T', C')`, on this thread.
pub(in crate::kernels) fn piece(
    unit: Unit,
    layers: &[Conv<'_>],
    x: &[f32],
    y: &mut [f32],
    scratch: &mut Scratch,
) {
    let mut both = COLUMNS.take();
    let [from, to] = &mut both;
    let block = &mut scratch.free[0];
    let mut times = x.len() / layers[0].channels();
    let reader = |i: usize| layers.get(i).map_or((1, 1), |layer| (layer.kernel, layer.stride));
    let mut next = 0;
    if layers[0].weight.layout().is_tiles() {
        let (taps, stride) = reader(0);
        from.fit(times, layers[0].channels(), taps, stride);
        from.narrow(0, x);
    } else {
        // The first layer has too few channels for a tile: in f32, a block at a time.
        let first = Conv { after: After::None, ..layers[0] };
        let (n, step, (taps, stride)) = (first.weight.outputs(), first.stride * first.channels(), reader(1));
        times = first.frames(times);
        next = 1;
        from.fit(times, n, taps, stride);
        for rows in blocks(0..times, 120, 12) {
            let sums = block.at_least(rows.len() * n);
            let seen = rows.start * step..(rows.end - 1) * step + first.weight.inputs();
            first.run(&x[seen], sums, &mut scratch.pack);
            // SAFETY: these rows are counted in `times`.
            unsafe { finish(&layers[0], sums, n, from, rows.start) };
        }
    }
    // SAFETY: tiles exist only where their unit does.
    let mut tiles = unsafe { Tiles::of(unit) };
    let (mut from, mut to) = (from, to);
    for (i, layer) in layers.iter().enumerate().skip(next) {
        times = layer.frames(times);
        let n = layer.weight.outputs();
        let wide = n + 16;
        let (taps, stride) = reader(i + 1);
        to.fit(times, n, taps, stride);
        for rows in blocks(0..times, TALL, 32) {
            let sums = block.at_least(rows.len() * wide);
            let block = Block {
                left: from.from(rows.start),
                rows: rows.len(),
                weights: layer.weight.tiles(),
                mask: None,
                panels: 0..n.div_ceil(32),
                // Never cut: a block's rows are few, and all of them stay in L2.
                deep: usize::MAX,
                sink: ToRows {
                    finish: Finish { bias: layer.bias, gelu: false },
                    at: sums.as_mut_ptr(),
                    stride: wide,
                    width: n,
                    add: false,
                },
            };
            // SAFETY: the rows of both sides exist; the last layer's are y's.
            unsafe {
                block.run(&mut tiles, &mut scratch.pack);
                match i + 1 < layers.len() {
                    true => finish(layer, sums, wide, to, rows.start),
                    false => finish_f32(layer, sums, wide, &mut y[rows.start * n..rows.end * n]),
                }
            }
        }
        std::mem::swap(&mut from, &mut to);
    }
    COLUMNS.set(both);
}

/// What follows the sums, and where it goes: bf16 columns from row `first` on.
///
/// # Safety
/// The columns have these rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn finish(layer: &Conv<'_>, sums: &[f32], wide: usize, to: &mut Columns, first: usize) {
    let (norm, gelu) = after(layer);
    for (i, row) in sums.chunks_exact(wide).enumerate() {
        // SAFETY: a line of the columns; the norm's width was checked.
        unsafe {
            norm::row(row.as_ptr(), layer.weight.outputs(), norm, gelu, |step, lo, hi| {
                _mm512_store_si512(to.line(first + i, step).cast(), math::narrow(lo, hi));
            });
        }
    }
}

/// The same to rows of f32.
///
/// # Safety
/// As above.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn finish_f32(layer: &Conv<'_>, sums: &[f32], wide: usize, y: &mut [f32]) {
    let (norm, gelu) = after(layer);
    let n = layer.weight.outputs();
    for (sums, y) in sums.chunks_exact(wide).zip(y.chunks_exact_mut(n)) {
        // SAFETY: the masks leave out what lies past the row.
        unsafe {
            norm::row(sums.as_ptr(), n, norm, gelu, |step, lo, hi| {
                for (i, v) in [(step * 32, lo), (step * 32 + 16, hi)] {
                    _mm512_mask_storeu_ps(y.as_mut_ptr().wrapping_add(i), math::lanes(i, n), v);
                }
            });
        }
    }
}

fn after<'a>(layer: &'a Conv<'_>) -> (Option<&'a Norm<'a>>, bool) {
    match &layer.after {
        After::None => (None, false),
        After::Gelu => (None, true),
        After::NormGelu(norm) => (Some(norm), true),
    }
}

/// Some rows of one group of the positional convolution: x is the group's window, `(rows + kernel - 1, width)`.
///
/// # Safety
/// y's rows, as many floats apart as all groups are wide, are this thread's own.
pub(in crate::kernels) unsafe fn positional(
    unit: Unit,
    layer: &Positional<'_>,
    group: usize,
    window: &[f32],
    y: *mut f32,
    pack: &mut Pack,
) {
    let weight = &layer.weights[group];
    let width = weight.outputs();
    let times = window.len() / width;
    let mut both = COLUMNS.take();
    both[0].fit(times, width, layer.kernel, 1);
    both[0].narrow(0, window);
    let bias = layer.bias.map(|b| &b[group * width..(group + 1) * width]);
    let block = Block {
        left: both[0].from(0),
        rows: times + 1 - layer.kernel,
        weights: weight.tiles(),
        mask: None,
        panels: 0..width.div_ceil(32),
        deep: DEEP,
        sink: ToRows {
            finish: Finish { bias, gelu: layer.gelu },
            at: y,
            stride: width * layer.weights.len(),
            width,
            add: false,
        },
    };
    // SAFETY: tiles exist only where their unit does; the rest is the caller's.
    unsafe { block.run(&mut Tiles::of(unit), pack) };
    COLUMNS.set(both);
}
