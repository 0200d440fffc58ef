//! Rows of bf16 in tile order, `[row / 16][step][16][32]`: what a product reads and the next one's sums become.
#![allow(unsafe_code)]

use super::{TILE, math, product::Left};
use crate::kernels::Aligned;
use rayon::prelude::*;

/// A matrix of bf16; rows are padded to whole tiles, whose surplus holds any finite number.
#[derive(Default)]
pub(super) struct Rows {
    data: Aligned,
    steps: Vec<u32>,
    rows: usize,
}

impl Rows {
    /// Makes room for `rows` rows, `width` wide, of unspecified content.
    pub(super) fn fit(&mut self, rows: usize, width: usize) {
        self.rows = rows.next_multiple_of(16);
        self.steps.clear();
        self.steps.extend((0..width.div_ceil(32) as u32).map(|s| s * TILE as u32));
        self.data.at_least(self.rows * self.steps.len() * 16);
    }

    /// Bytes from 16 rows to the next 16.
    pub(super) fn half(&self) -> usize {
        self.steps.len() * TILE
    }

    /// As a product's left side, from `row` on, a multiple of 16.
    pub(super) fn from(&self, row: usize) -> Left<'_> {
        debug_assert!(row.is_multiple_of(16) && row <= self.rows);
        let at = self.data.as_ptr().cast::<u8>().wrapping_add(row / 16 * self.half());
        Left { at, row: 64, half: self.half(), steps: &self.steps }
    }

    /// The first tile, to be written by several threads, each its own rows or steps.
    pub(super) fn start(&mut self) -> Start {
        Start { at: self.data.as_mut_ptr().cast(), half: self.half() }
    }

    /// Sets rows `first..` to those of x `(M, width)`, rounded.
    pub(super) fn narrow(&mut self, first: usize, x: &[f32], width: usize) {
        let start = self.start();
        debug_assert!(
            first.is_multiple_of(16) && first + (x.len() / width).next_multiple_of(16) <= self.rows
        );
        x.par_chunks(width * 16).enumerate().for_each(|(tile, x)| {
            for (i, row) in x.chunks_exact(width).enumerate() {
                // SAFETY: the row is one of ours, each written by one thread; AMX machines have AVX-512.
                unsafe { narrow_row(row, |s| start.line(first + tile * 16 + i, s)) };
            }
        });
    }
}

/// Rounds a row into lines of 32.
///
/// # Safety
/// AVX-512 with BF16; `line(s)` has 64 writable bytes for each step of the row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn narrow_row(row: &[f32], mut line: impl FnMut(usize) -> *mut u8) {
    for s in 0..row.len().div_ceil(32) {
        // SAFETY: the caller's.
        unsafe {
            let both = math::narrow(math::part(row, s * 32), math::part(row, s * 32 + 16));
            std::arch::x86_64::_mm512_storeu_si512(line(s).cast(), both);
        }
    }
}

/// Where rows are written.
#[derive(Clone, Copy)]
pub(super) struct Start {
    pub(super) at: *mut u8,
    pub(super) half: usize,
}

// SAFETY: an address; whoever writes through it vouches that no two threads write the same line.
unsafe impl Send for Start {}
// SAFETY: as above.
unsafe impl Sync for Start {}

impl Start {
    /// The 32 elements of one step of a row.
    #[inline(always)]
    pub(super) fn line(self, row: usize, step: usize) -> *mut u8 {
        self.at.wrapping_add(row / 16 * self.half + step * TILE + row % 16 * 64)
    }
}
