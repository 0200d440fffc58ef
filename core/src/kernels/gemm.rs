//! The block product: some rows of x, some panels of W, one thread.
//!
//! K is cut into parts of at most [`DEEP`], so that a panel's part (16 KB, on AVX-512 32 KB) stays in L1 while all row
//! groups pass over it, and the rows' part (≤ 252 × 256 floats, on AVX-512 twice that) stays in L2. The sums of earlier parts
//! wait in the output.
#![allow(unsafe_code)]

use super::{Kernel, lanes::Lanes, scratch::Pack, tile};
use std::{ops::Range, ptr};

/// Depth of one part of K.
pub(super) const DEEP: usize = 256;

/// Rows of one block, at most: a multiple of every tier's `ROWS` (4, 6, 12).
///
/// The taller, the more often a panel is used once it is in L1; but the rows' part must stay in L2 beside it,
/// which is 2 MB on the machines that have AVX-512 and a quarter of that on many others.
pub(super) const TALL: usize = 252;
pub(super) const TALL_AVX512: usize = 504;

/// A block of `C (+)= A · Bᵀ`, with B in panels.
pub(super) struct Block<'a> {
    /// Row `i` of A is `a[i * stride..][..k]`; rows may overlap, `stride` is not 0.
    pub(super) a: &'a [f32],
    pub(super) stride: usize,
    pub(super) rows: usize,
    /// Whether A is first copied into tile order: worth it unless its rows lie close together.
    pub(super) copy: bool,
    pub(super) k: usize,
    /// Panels of all outputs, `[n / COLS][k][COLS]`.
    pub(super) panels: &'a [f32],
    /// Mask words in the same order.
    pub(super) mask: Option<&'a [u8]>,
    /// Outputs in all, and the panels of them that this block computes.
    pub(super) n: usize,
    pub(super) which: Range<usize>,
    /// Row `i`, output `j` goes to `c[i * ldc + j]`.
    pub(super) c: *mut f32,
    pub(super) ldc: usize,
    /// Add to what C holds.
    pub(super) add: bool,
    /// One addend per output.
    pub(super) bias: Option<&'a [f32]>,
    pub(super) gelu: bool,
}

impl Block<'_> {
    /// Checks what `run` relies on, as far as it can be seen from here.
    fn check(&self, cols: usize) {
        let (n, k) = (self.n, self.k);
        assert!(
            self.rows > 0 && self.stride > 0 && self.a.len() >= (self.rows - 1) * self.stride + k,
            "rows of A"
        );
        assert!(self.which.end * cols < n + cols && self.panels.len() >= self.which.end * k * cols, "panels");
        assert!(self.mask.is_none_or(|m| m.len() >= self.which.end * k * cols / 8), "mask");
        assert!(self.bias.is_none_or(|b| b.len() == n), "bias");
    }

    /// Computes the block.
    ///
    /// # Safety
    /// Row `i < rows`, outputs `which.start * COLS..min(which.end * COLS, n)` of `c` are writable and
    /// no one else's while this runs; the machine has V's tier.
    #[inline(always)]
    pub(super) unsafe fn run<V: Lanes>(&self, pack: &mut Pack) {
        self.check(V::COLS);
        let parts = self.k.div_ceil(DEEP).max(1);
        let deep = self.k.div_ceil(parts);
        let groups = self.rows.div_ceil(V::ROWS);
        for part in 0..parts {
            let from = part * deep;
            let depth = deep.min(self.k - from);
            let rows = pack.rows.at_least(groups * V::ROWS * depth);
            // Rows that lie close together are read in place, but a ragged last group always needs its copy.
            let first_copied = if self.copy { 0 } else { self.rows / V::ROWS };
            for group in first_copied..groups {
                self.copy_rows::<V>(group, from..from + depth, &mut rows[group * V::ROWS * depth..]);
            }
            for panel in self.which.clone() {
                let at = (panel * self.k + from) * V::COLS;
                let weights = &self.panels[at..at + depth * V::COLS];
                let b = match self.mask {
                    None => weights.as_ptr(),
                    Some(mask) => {
                        let words = &mask[at / 8..(at + depth * V::COLS) / 8];
                        let masked = pack.panel.at_least(DEEP * V::COLS);
                        copy_masked::<V>(weights, words, masked);
                        masked.as_ptr()
                    }
                };
                let cols = V::COLS.min(self.n - panel * V::COLS);
                let mut wide_bias = [0f32; 32];
                let finish = (part + 1 == parts).then(|| tile::Finish {
                    bias: self.bias.map_or(ptr::null(), |bias| {
                        wide_bias[..cols].copy_from_slice(&bias[panel * V::COLS..][..cols]);
                        wide_bias.as_ptr()
                    }),
                    gelu: self.gelu,
                });
                for group in 0..groups {
                    let row = group * V::ROWS;
                    let (a, apart) = if group < first_copied {
                        (self.a[row * self.stride + from..].as_ptr(), self.stride)
                    } else {
                        (rows[row * depth..].as_ptr(), 0)
                    };
                    let tile = tile::Tile {
                        k: depth,
                        a,
                        row: apart,
                        b,
                        c: self.c.wrapping_add(row * self.ldc + panel * V::COLS),
                        ldc: self.ldc,
                        rows: V::ROWS.min(self.rows - row),
                        cols,
                        add: self.add || part > 0,
                        finish,
                    };
                    // SAFETY: `check` bounds A and the panels; C is the caller's promise.
                    unsafe { V::tile(&tile) };
                }
            }
        }
    }

    /// Copies one group of rows as `[k][ROWS]`; rows past the last are 0.
    #[inline(always)]
    fn copy_rows<V: Lanes>(&self, group: usize, part: Range<usize>, to: &mut [f32]) {
        let (first, depth) = (group * V::ROWS, part.len());
        let to = &mut to[..depth * V::ROWS];
        let mut turned = 0;
        if first + V::ROWS <= self.rows {
            let rows = &self.a[first * self.stride + part.start..];
            assert!(rows.len() >= (V::ROWS - 1) * self.stride + depth);
            while turned + V::N <= depth {
                // SAFETY: columns turned .. turned + N of ROWS rows, by the assertion; `to` holds ROWS floats a column.
                unsafe {
                    V::turn(rows.as_ptr().add(turned), self.stride, to.as_mut_ptr().add(turned * V::ROWS));
                }
                turned += V::N;
            }
        }
        for i in 0..V::ROWS {
            let to = to.iter_mut().skip(turned * V::ROWS + i).step_by(V::ROWS);
            if first + i < self.rows {
                let from = &self.a[(first + i) * self.stride..][part.start + turned..part.end];
                to.zip(from).for_each(|(to, &x)| *to = x);
            } else {
                to.for_each(|to| *to = 0.0);
            }
        }
    }
}

/// `to = weights ⊙ words`, one panel.
#[inline(always)]
fn copy_masked<V: Lanes>(weights: &[f32], words: &[u8], to: &mut [f32]) {
    assert!(to.len() >= weights.len() && words.len() * 8 == weights.len());
    let bytes = V::COLS / 8;
    for (k, word) in words.chunks_exact(bytes).enumerate() {
        let word = word.iter().rev().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte));
        for j in 0..V::COLS / V::N {
            let at = k * V::COLS + j * V::N;
            // SAFETY: at + N ≤ weights.len() ≤ to.len() by the assertion.
            unsafe {
                V::load(weights.as_ptr().add(at)).keep(word >> (j * V::N)).store(to.as_mut_ptr().add(at));
            }
        }
    }
}

/// A [`Block`] as a [`Kernel`].
pub(super) struct Run<'a, 'b>(pub(super) &'a Block<'b>, pub(super) &'a mut Pack);

impl Kernel for Run<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        // SAFETY: whoever builds a `Run` makes the promise of `Block::run`; it is private to the kernels.
        unsafe { self.0.run::<V>(self.1) }
    }
}
