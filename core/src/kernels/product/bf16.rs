//! The product on tiles, by either [`Unit`]: 2 × 2 tiles of C while K runs by.
//!
//! ```text
//! B → tiles, all of it, shared                                       (pack::right)
//! for each block of rows of A, one thread each
//!     A's block → tiles, at most HALF_L2                             (pack::left)
//!     for each 32 columns of B: for each 32 rows of the block        (kernel)
//! ```
//! So A's block stays in L2 while B streams past it once.
#![allow(unsafe_code)]

use super::{
    Matrix, Start,
    pack::{self, DEEP, Tile, WIDE},
};
use crate::kernels::{
    Unit,
    bf16::{Product, Tiles},
};
use rayon::prelude::*;
use std::cell::RefCell;

/// Rows and columns of C that the tile registers hold.
const SIDE: usize = 2 * WIDE;

/// Panels of B packed by one task: lines of memory that it reads on in each row.
const AT_ONCE: usize = 4;

/// Tiles of A that one thread keeps at hand: 1 MB.
const HALF_L2: usize = 1024;

thread_local!(static SPACE: RefCell<(Vec<Tile>, Vec<Tile>)> = const { RefCell::new((Vec::new(), Vec::new())) });

fn at_least(tiles: &mut Vec<Tile>, n: usize) -> &mut [Tile] {
    if tiles.len() < n {
        tiles.resize(n, Tile::ZERO);
    }
    &mut tiles[..n]
}

impl Matrix<'_> {
    /// Some rows of it.
    fn part(self, rows: std::ops::Range<usize>) -> Self {
        Self { data: &self.data[rows.start * self.down..], rows: rows.len(), ..self }
    }
}

/// `C = start + A · B`, C row-major.
pub(super) fn parallel(unit: Unit, a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], start: Start<'_>) {
    let (n, deep, threads) = (b.cols, a.cols.div_ceil(DEEP), rayon::current_num_threads());
    let panel = 2 * deep;
    // Taken, not borrowed: while this thread waits below, it may be given another product.
    let (left, mut right) = SPACE.take();
    SPACE.set((left, Vec::new()));
    let packed = at_least(&mut right, n.div_ceil(SIDE) * panel);
    packed.par_chunks_mut(AT_ONCE * panel).enumerate().for_each(|(i, to)| {
        // SAFETY: the unit is available.
        unsafe { pack::right(b, i * AT_ONCE * SIDE, to) };
    });
    let packed = &*packed;
    let most = (HALF_L2 / panel).max(1) * SIDE;
    let blocks = a.rows.div_ceil(most).next_multiple_of(threads);
    let tall = a.rows.div_ceil(blocks).next_multiple_of(SIDE);
    c.par_chunks_mut(tall * n).enumerate().with_max_len(1).for_each(|(i, c)| {
        let (mut left, right) = SPACE.take();
        let rows = i * tall..i * tall + c.len() / n;
        // SAFETY: this part of C is this task's own.
        unsafe { block(unit, a.part(rows), packed, n, (c.as_mut_ptr(), n), start, &mut left) };
        SPACE.set((left, right));
    });
    let (left, _) = SPACE.take();
    SPACE.set((left, right));
}

/// The same on this thread, rows of C `stride` apart.
///
/// # Safety
/// `a.rows` rows of `b.cols` floats, `stride` apart, are the caller's at `c`.
pub(super) unsafe fn alone(
    unit: Unit,
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: *mut f32,
    stride: usize,
    start: Start<'_>,
) {
    let (mut left, mut right) = SPACE.take();
    let packed = at_least(&mut right, b.cols.div_ceil(SIDE) * 2 * a.cols.div_ceil(DEEP));
    // SAFETY: the unit is available; C is the caller's promise.
    unsafe {
        pack::right(b, 0, packed);
        block(unit, a, packed, b.cols, (c, stride), start, &mut left);
    }
    SPACE.set((left, right));
}

/// All rows of `a` with all of a packed B.
///
/// # Safety
/// As [`alone`].
unsafe fn block(
    unit: Unit,
    a: Matrix<'_>,
    b: &[Tile],
    n: usize,
    (c, stride): (*mut f32, usize),
    start: Start<'_>,
    space: &mut Vec<Tile>,
) {
    let (rows, deep) = (a.rows, a.cols.div_ceil(DEEP));
    let left = at_least(space, rows.div_ceil(SIDE) * 2 * deep);
    // SAFETY: the unit is available.
    unsafe {
        pack::left(a, left);
    }
    // SAFETY: the unit is available.
    let mut tiles = unsafe { Tiles::of(unit) };
    for (panel, b) in b.chunks_exact(2 * deep).enumerate() {
        let b = [0, deep].map(|run| b[run..].as_ptr().cast());
        let j = panel * SIDE;
        let wide = SIDE.min(n - j);
        // What each row begins with, unless C itself.
        let mut row = [0f32; SIDE];
        if let Start::Row(bias) = start {
            row[..wide].copy_from_slice(&bias[j..j + wide]);
        }
        for (strip, a) in left.chunks_exact(2 * deep).enumerate() {
            let a = [0, deep].map(|run| a[run..].as_ptr().cast());
            let i = strip * SIDE;
            let high = SIDE.min(rows - i);
            let at = c.wrapping_add(i * stride + j);
            let keeps = matches!(start, Start::Sum);
            // SAFETY: `high` rows of `wide` floats from `at` are ours; a ragged block takes the way
            // over a whole one.
            unsafe {
                if (high, wide) == (SIDE, SIDE) {
                    let from = if keeps { (at.cast_const(), stride) } else { (row.as_ptr(), 0) };
                    tiles.product(Product { a, b, deep, from, to: (at, stride) });
                    continue;
                }
                let mut whole = [0f32; SIDE * SIDE];
                if keeps {
                    (0..high).for_each(|r| {
                        at.add(r * stride).copy_to_nonoverlapping(whole.as_mut_ptr().add(r * SIDE), wide);
                    });
                }
                let to = whole.as_mut_ptr();
                let from = if keeps { (to.cast_const(), SIDE) } else { (row.as_ptr(), 0) };
                tiles.product(Product { a, b, deep, from, to: (to, SIDE) });
                (0..high).for_each(|r| {
                    to.add(r * SIDE).copy_to_nonoverlapping(at.add(r * stride), wide);
                });
            }
        }
    }
}
