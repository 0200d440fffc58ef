//! The product on AMX tiles: 2 × 2 tiles of C in registers while K runs by.
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
use rayon::prelude::*;
use std::{arch::asm, cell::RefCell};

/// Rows and columns of C that the tile registers hold.
const SIDE: usize = 2 * WIDE;

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
pub(super) fn parallel(a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], start: Start<'_>) {
    let (n, deep, threads) = (b.cols, a.cols.div_ceil(DEEP), rayon::current_num_threads());
    let panel = 2 * deep;
    // Taken, not borrowed: while this thread waits below, it may be given another product.
    let (left, mut right) = SPACE.take();
    SPACE.set((left, Vec::new()));
    let packed = at_least(&mut right, n.div_ceil(SIDE) * panel);
    packed.par_chunks_mut(panel).enumerate().with_min_len(4).for_each(|(i, to)| {
        // SAFETY: `amx::available` was asked.
        unsafe { pack::right(b, i * SIDE, to) };
    });
    let packed = &*packed;
    let most = (HALF_L2 / panel).max(1) * SIDE;
    let blocks = a.rows.div_ceil(most).next_multiple_of(threads);
    let tall = a.rows.div_ceil(blocks).next_multiple_of(SIDE);
    c.par_chunks_mut(tall * n).enumerate().with_max_len(1).for_each(|(i, c)| {
        let (mut left, right) = SPACE.take();
        let rows = i * tall..i * tall + c.len() / n;
        // SAFETY: this part of C is this task's own.
        unsafe { block(a.part(rows), packed, n, c.as_mut_ptr(), n, start, &mut left) };
        SPACE.set((left, right));
    });
    let (left, _) = SPACE.take();
    SPACE.set((left, right));
}

/// The same on this thread, rows of C `stride` apart.
///
/// # Safety
/// `a.rows` rows of `b.cols` floats, `stride` apart, are the caller's at `c`.
pub(super) unsafe fn alone(a: Matrix<'_>, b: Matrix<'_>, c: *mut f32, stride: usize, start: Start<'_>) {
    let (mut left, mut right) = SPACE.take();
    let packed = at_least(&mut right, b.cols.div_ceil(SIDE) * 2 * a.cols.div_ceil(DEEP));
    // SAFETY: `amx::available` was asked; C is the caller's promise.
    unsafe {
        pack::right(b, 0, packed);
        block(a, packed, b.cols, c, stride, start, &mut left);
    }
    SPACE.set((left, right));
}

/// All rows of `a` with all of a packed B.
///
/// # Safety
/// As [`alone`].
unsafe fn block(
    a: Matrix<'_>,
    b: &[Tile],
    n: usize,
    c: *mut f32,
    stride: usize,
    start: Start<'_>,
    space: &mut Vec<Tile>,
) {
    let (rows, deep) = (a.rows, a.cols.div_ceil(DEEP));
    let left = at_least(space, rows.div_ceil(SIDE) * 2 * deep);
    // SAFETY: `amx::available` was asked.
    unsafe {
        pack::left(a, left);
        configure();
    }
    for (panel, b) in b.chunks_exact(2 * deep).enumerate() {
        let j = panel * SIDE;
        let wide = SIDE.min(n - j);
        // What each row begins with, unless C itself.
        let mut row = [0f32; SIDE];
        if let Start::Row(bias) = start {
            row[..wide].copy_from_slice(&bias[j..j + wide]);
        }
        for (strip, a) in left.chunks_exact(2 * deep).enumerate() {
            let i = strip * SIDE;
            let high = SIDE.min(rows - i);
            let at = c.wrapping_add(i * stride + j);
            let keeps = matches!(start, Start::Sum);
            // SAFETY: `high` rows of `wide` floats from `at` are ours; a ragged block takes the way
            // over a whole one.
            unsafe {
                if (high, wide) == (SIDE, SIDE) {
                    let from = if keeps { (at.cast_const(), stride) } else { (row.as_ptr(), 0) };
                    kernel(a, b, deep, from, at, stride);
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
                kernel(a, b, deep, from, to, SIDE);
                (0..high).for_each(|r| {
                    to.add(r * SIDE).copy_to_nonoverlapping(at.add(r * stride), wide);
                });
            }
        }
    }
    // SAFETY: AMX is there; the tiles hold nothing that is still needed.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// Eight tiles of 16 rows × 64 bytes.
///
/// # Safety
/// The machine has AMX and the process may use it.
unsafe fn configure() {
    #[repr(C, align(64))]
    struct Shape([u8; 64]);
    let mut shape = Shape([0; 64]);
    shape.0[0] = 1;
    for tile in 0..8 {
        shape.0[16 + 2 * tile] = 64;
        shape.0[48 + tile] = 16;
    }
    // SAFETY: 64 readable bytes.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &shape, options(nostack, readonly)) };
}

/// 32 × 32 sums of `deep` pairs of tiles each side, on top of 32 rows of `from` (a stride of 0: one row for all).
///
/// # Safety
/// [`configure`] has run on this thread; 32 rows of 32 floats are readable at `from` and ours at `c`.
#[inline]
unsafe fn kernel(a: &[Tile], b: &[Tile], deep: usize, from: (*const f32, usize), c: *mut f32, stride: usize) {
    assert!(a.len() == 2 * deep && b.len() == 2 * deep && deep > 0, "tiles");
    let (bytes, row) = (size_of::<f32>(), 64usize);
    // SAFETY: C and `from` as promised; each side holds two runs of `deep` tiles, by the assertion.
    unsafe {
        asm!(
            "tileloadd tmm0, [{s0} + {apart}]", "tileloadd tmm1, [{s0} + {apart} + 64]",
            "tileloadd tmm2, [{s1} + {apart}]", "tileloadd tmm3, [{s1} + {apart} + 64]",
            "2:",
            "tileloadd tmm4, [{a0} + {row}]", "tileloadd tmm6, [{b0} + {row}]",
            "tileloadd tmm5, [{a1} + {row}]", "tileloadd tmm7, [{b1} + {row}]",
            "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a0}, 1024", "add {a1}, 1024", "add {b0}, 1024", "add {b1}, 1024",
            "dec {n}", "jnz 2b",
            "tilestored [{c0} + {down}], tmm0", "tilestored [{c0} + {down} + 64], tmm1",
            "tilestored [{c1} + {down}], tmm2", "tilestored [{c1} + {down} + 64], tmm3",
            s0 = in(reg) from.0, s1 = in(reg) from.0.wrapping_add(16 * from.1), apart = in(reg) from.1 * bytes,
            a0 = inout(reg) a[0].words() => _, a1 = inout(reg) a[deep].words() => _,
            b0 = inout(reg) b[0].words() => _, b1 = inout(reg) b[deep].words() => _,
            n = inout(reg) deep => _, row = in(reg) row,
            c0 = in(reg) c, c1 = in(reg) c.wrapping_add(16 * stride), down = in(reg) stride * bytes,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
