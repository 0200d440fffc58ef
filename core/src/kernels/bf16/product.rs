//! The block product on tiles: some groups of 32 rows by some panels of 32 outputs, one thread.
//!
//! ```text
//! for each part of K                   (DEEP steps of 32, so that the rows' part stays in L2)
//!     for each panel of W
//!         for each group of rows
//!             for each step: 4 tile loads, 4 tile products
//!                 meanwhile: finish a few rows of the group before   (bias, GELU, store)
//!                            copy a few rows of the panel to come    (each weight kept or zeroed by its bit)
//! ```
//! The products keep the tile unit busy and leave the vector units idle, so whatever the vector units have
//! to do is dealt out between the steps: the mask costs nothing, nor does most of the epilogue. Measured on
//! fc1 at 499 rows, one thread: 1.15 TFLOP/s with the three one after the other, 1.5 so.
#![allow(unsafe_code)]

use super::{TILE, sink::Sink, tile::Tiles};
use crate::kernels::scratch::Pack;
use std::{arch::x86_64::*, ops::Range};

/// Where the rows of A lie: bf16, any arrangement whose tiles have a fixed distance between rows.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    /// The first row's first element.
    pub(super) at: *const u8,
    /// Bytes from a row to the next, of one tile.
    pub(super) row: usize,
    /// Bytes from 16 rows to the next 16.
    pub(super) half: usize,
    /// Where the 32 elements of each step of K lie, bytes from `at`.
    pub(super) steps: &'a [u32],
}

impl Left<'_> {
    /// Asks L1 for the tiles of a step to come.
    #[inline(always)]
    fn fetch(&self, row: usize, step: usize, half: usize) {
        if let Some(&ahead) = self.steps.get(step) {
            let a = self.at.wrapping_add(row / 16 * self.half + ahead as usize);
            for i in 0..16 {
                // SAFETY: hints.
                unsafe {
                    _mm_prefetch::<_MM_HINT_T0>(a.wrapping_add(i * self.row).cast());
                    _mm_prefetch::<_MM_HINT_T0>(a.wrapping_add(half + i * self.row).cast());
                }
            }
        }
    }
}

/// A block of `A (W ⊙ M)ᵀ`.
pub(super) struct Block<'a, S> {
    pub(super) left: Left<'a>,
    /// Rows; the last group reads whole tiles, 16 or 32 rows, of which the surplus goes nowhere.
    pub(super) rows: usize,
    /// Panels of W, `[panel][step][2][16][32]`.
    pub(super) weights: &'a [u16],
    /// A bit per weight, in the same order: 4 bytes a tile row.
    pub(super) mask: Option<&'a [u8]>,
    /// The panels to compute.
    pub(super) panels: Range<usize>,
    /// Steps of one part of K.
    pub(super) deep: usize,
    /// Receives the sums.
    pub(super) sink: S,
}

/// Steps of a part such that 512 rows fill half an L2.
pub(super) const DEEP: usize = 32;

/// A group whose sums wait to be finished.
#[derive(Clone, Copy)]
struct Waiting {
    sums: *const u8,
    panel: usize,
    row: usize,
    /// Rows done, and rows there are.
    done: usize,
    rows: usize,
}

/// A part of a panel that is being copied under its mask, or fetched.
struct Coming<'a> {
    weights: &'a [u16],
    mask: Option<&'a [u8]>,
    to: *mut u8,
    /// Tile rows (32 weights) done.
    done: usize,
}

impl<S: Sink> Block<'_, S> {
    /// Computes the block.
    ///
    /// # Safety
    /// `tiles` is this thread's; A's rows are readable (in whole tiles);
    /// the sink's rows and panels are writable and no one else's.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) unsafe fn run(&self, tiles: &mut Tiles, pack: &mut Pack) {
        let (depth, groups) = (self.left.steps.len(), self.rows.div_ceil(32));
        let parts = depth.div_ceil(self.deep).max(1);
        let deep = depth.div_ceil(parts);
        let count = self.panels.len();
        if count * groups * depth == 0 {
            return;
        }
        assert!(self.weights.len() >= self.panels.end * depth * TILE, "panels");
        assert!(self.mask.is_none_or(|m| m.len() >= self.panels.end * depth * 128), "mask");
        let panel = pack.panel.at_least(2 * deep * TILE / 2).as_mut_ptr().cast::<u8>();
        let kept = if parts > 1 { count * groups } else { 2 };
        let sums = pack.rows.at_least(kept * TILE).as_mut_ptr().cast::<u8>();

        // The parts of panels in the order in which they are used, each with its steps.
        let turn = |i: usize| {
            let (from, panel) = (i / count * deep, self.panels.start + i % count);
            (panel * depth + from, from..depth.min(from + deep))
        };
        let coming = |i: usize| {
            let (first, steps) = if i < parts * count { turn(i) } else { (0, 0..0) };
            Coming {
                weights: &self.weights[first * TILE..][..steps.len() * TILE],
                mask: self.mask.map(|m| &m[first * 128..][..steps.len() * 128]),
                to: panel.wrapping_add(i % 2 * deep * 2 * TILE),
                done: 0,
            }
        };
        let mut waiting = Waiting { sums, panel: 0, row: 0, done: 0, rows: 0 };
        let mut next = coming(0);
        // SAFETY: `next.to` has room for `deep` steps, here and in the loop.
        unsafe { next.bring(usize::MAX) };
        for i in 0..parts * count {
            let (first, steps) = turn(i);
            let (last, this) = (steps.end == depth, self.panels.start + i % count);
            let b = match self.mask {
                None => self.weights[first * TILE..].as_ptr().cast(),
                Some(_) => next.to.cast_const(),
            };
            next = coming(i + 1);
            let share = (next.weights.len() / 32).div_ceil(groups * steps.len());
            let pace = 32usize.div_ceil(steps.len());
            for group in 0..groups {
                let row = group * 32;
                let rows = (self.rows - row).min(32);
                let a = self.left.at.wrapping_add(row / 16 * self.left.half);
                // 16 rows or fewer are computed twice rather than 16 more read.
                let half = if self.rows - row <= 16 { 0 } else { self.left.half };
                let slot = if parts > 1 { i % count * groups + group } else { (i * groups + group) % 2 };
                let c = sums.wrapping_add(slot * 4 * TILE);
                // SAFETY: c is a slot of `sums`; A and B as the caller and the assertions vouch for.
                unsafe {
                    if steps.start == 0 {
                        tiles.zero()
                    } else {
                        tiles.load(c)
                    }
                    for (s, &offset) in self.left.steps[steps.clone()].iter().enumerate() {
                        let a = a.wrapping_add(offset as usize);
                        tiles.step(a, half, self.left.row, b.wrapping_add(s * 2 * TILE));
                        self.left.fetch(row, steps.start + s + 2, half);
                        next.bring(share);
                        self.finish(&mut waiting, pace);
                        if last && s < rows {
                            self.sink.expect(this, row + s);
                        }
                    }
                    self.finish(&mut waiting, 32);
                    tiles.store(c);
                }
                if last {
                    waiting = Waiting { sums: c, panel: this, row, done: 0, rows };
                }
            }
            // SAFETY: as above.
            unsafe { next.bring(usize::MAX) };
        }
        // SAFETY: as above.
        unsafe { self.finish(&mut waiting, 32) };
    }

    /// Hands up to `rows` rows of the waiting group to the sink.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[inline]
    unsafe fn finish(&self, waiting: &mut Waiting, rows: usize) {
        let end = waiting.rows.min(waiting.done + rows);
        for i in waiting.done..end {
            // SAFETY: row i of the upper or lower pair of tiles; the sink's row is the caller's promise.
            unsafe {
                let at = waiting.sums.add(i / 16 * 2 * TILE + i % 16 * 64);
                let (lo, hi) = (_mm512_load_ps(at.cast()), _mm512_load_ps(at.add(TILE).cast()));
                self.sink.put(waiting.panel, waiting.row + i, lo, hi);
            }
        }
        waiting.done = end;
    }
}

impl Coming<'_> {
    /// Brings up to `rows` tile rows nearer: copies them under the mask, or, open, asks L2 for them.
    ///
    /// # Safety
    /// `to` is writable as far as `weights` is long.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[inline]
    unsafe fn bring(&mut self, rows: usize) {
        let all = self.weights.len() / 32;
        let end = all.min(self.done.saturating_add(rows));
        let from = self.weights.as_ptr();
        match self.mask {
            Some(mask) => {
                for i in self.done..end {
                    // SAFETY: i < all = mask.len() / 4: 64 bytes at i * 64 on both sides.
                    unsafe {
                        let bits = mask.as_ptr().cast::<u32>().add(i).read_unaligned();
                        let kept = _mm512_maskz_loadu_epi16(bits, from.add(i * 32).cast());
                        _mm512_store_si512(self.to.add(i * 64).cast(), kept);
                    }
                }
            }
            None => {
                for i in self.done..end {
                    // SAFETY: a hint.
                    unsafe { _mm_prefetch::<_MM_HINT_T1>(from.add(i * 32).cast()) };
                }
            }
        }
        self.done = end;
    }
}
