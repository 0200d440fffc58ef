//! The register tile: `ROWS × COLS` sums held in registers while K runs by.
//!
//! ```text
//! C[0..ROWS][0..COLS] += Σ_p  A[i][p] · B[p][j]      one load of B per vector, one broadcast of A per row
//! ```
//! AVX2: 6 × 16 uses 12 accumulators, 2 vectors of B and 1 broadcast of 16 registers, and keeps both FMA
//! ports busy: 12 FMA want 8 loads, and the machine does two loads a cycle.
#![allow(unsafe_code)]

use super::{lanes::Lanes, math};
use std::array::from_fn;

/// What one register tile reads and writes. Strides count floats.
pub(super) struct Tile {
    /// Depth of the product.
    pub(super) k: usize,
    /// `A[i][p]` is `a[i * row + p]`, or `a[p * ROWS + i]` (tile order) where `row` is 0; all `ROWS` rows are
    /// readable, even those past `rows`.
    pub(super) a: *const f32,
    pub(super) row: usize,
    /// `B[p][j]` is `b[p * COLS + j]`.
    pub(super) b: *const f32,
    /// `C[i][j]` is `c[i * ldc + j]`; written where `i < rows` and `j < cols` only.
    pub(super) c: *mut f32,
    pub(super) ldc: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Add to what C holds (a later part of K, or a residual) rather than overwrite it.
    pub(super) add: bool,
    /// Set with the last part of K.
    pub(super) finish: Option<Finish>,
}

/// What happens to a sum before it is stored.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    /// `COLS` addends, one per column; null for none.
    pub(super) bias: *const f32,
    /// GELU after the bias.
    pub(super) gelu: bool,
}

impl Tile {
    /// Computes the tile; `R = V::ROWS` and `W · V::N = V::COLS`.
    ///
    /// # Safety
    /// `a` and `b` are readable and `c` writable as the fields say; the machine has V's tier.
    #[inline(always)]
    pub(super) unsafe fn run<V: Lanes, const R: usize, const W: usize>(&self) {
        debug_assert!(R == V::ROWS && W * V::N == V::COLS && self.rows <= R && self.cols <= V::COLS);
        // SAFETY: every address below is one that the fields promise.
        unsafe {
            // Every line of C: a row's second line, fetched only when its sum is stored, cost 13 % on AVX-512.
            for i in 0..self.rows {
                (0..V::COLS).step_by(16).for_each(|j| V::prefetch(self.c.wrapping_add(i * self.ldc + j)));
            }
            // Two loops for one sum: fixed offsets where the rows were copied, a pointer each where not.
            let acc = if self.row == 0 {
                self.sums::<V, R, W>(|i, p| self.a.add(p * R + i))
            } else {
                let row: [*const f32; R] = from_fn(|i| self.a.add(i * self.row));
                self.sums::<V, R, W>(|i, p| row[i].add(p))
            };
            // The sums leave the registers here once, or indexing them below would keep them in memory above.
            let mut sums = [0f32; 12 * 32];
            for (i, acc) in acc.into_iter().enumerate() {
                for (j, sum) in acc.into_iter().enumerate() {
                    sum.store(sums.as_mut_ptr().add(i * V::COLS + j * V::N));
                }
            }
            if self.cols == V::COLS {
                self.store::<V>(&sums, self.c, self.ldc);
            } else {
                self.store_ragged::<V>(&sums);
            }
        }
    }

    /// `Σ_p A[i][p] · B[p][j]`, with `A[i][p]` at `a(i, p)`.
    ///
    /// # Safety
    /// As for [`Tile::run`].
    #[inline(always)]
    unsafe fn sums<V: Lanes, const R: usize, const W: usize>(
        &self,
        a: impl Fn(usize, usize) -> *const f32,
    ) -> [[V; W]; R] {
        let mut acc = [[V::splat(0.0); W]; R];
        for p in 0..self.k {
            // SAFETY: p < k, i < R, j < W.
            unsafe {
                let row: [V; W] = from_fn(|j| V::load(self.b.add(p * V::COLS + j * V::N)));
                for (i, acc) in acc.iter_mut().enumerate() {
                    let x = V::splat(*a(i, p));
                    for (acc, &w) in acc.iter_mut().zip(&row) {
                        *acc = x.mul_add(w, *acc);
                    }
                }
            }
        }
        acc
    }

    /// Finishes the sums `(ROWS, COLS)` and stores them.
    ///
    /// # Safety
    /// `rows` rows of `V::COLS` floats are writable at `c`.
    #[inline(always)]
    unsafe fn store<V: Lanes>(&self, sums: &[f32; 12 * 32], c: *mut f32, ldc: usize) {
        for i in 0..self.rows {
            for j in (0..V::COLS).step_by(V::N) {
                // SAFETY: row i < rows, columns j .. j + N of V::COLS; bias has V::COLS entries.
                unsafe {
                    let at = c.add(i * ldc + j);
                    let mut y = V::load(sums.as_ptr().add(i * V::COLS + j));
                    if self.add {
                        y = V::load(at).add(y);
                    }
                    if let Some(finish) = self.finish {
                        if !finish.bias.is_null() {
                            y = y.add(V::load(finish.bias.add(j)));
                        }
                        if finish.gelu {
                            y = math::gelu(y);
                        }
                    }
                    y.store(at);
                }
            }
        }
    }

    /// The last, narrower panel: the same through a full-width copy.
    ///
    /// # Safety
    /// As for [`Tile::run`].
    #[inline(always)]
    unsafe fn store_ragged<V: Lanes>(&self, sums: &[f32; 12 * 32]) {
        let mut full = [0f32; 12 * 32];
        for i in 0..self.rows {
            // SAFETY: `cols` floats of row i are readable and writable; `full` holds ROWS × COLS floats.
            unsafe {
                let from = std::slice::from_raw_parts_mut(self.c.add(i * self.ldc), self.cols);
                if self.add {
                    full[i * V::COLS..][..self.cols].copy_from_slice(from);
                }
            }
        }
        // SAFETY: `full` holds at least ROWS × COLS floats for every tier.
        unsafe { self.store::<V>(sums, full.as_mut_ptr(), V::COLS) };
        for i in 0..self.rows {
            // SAFETY: as above.
            let to = unsafe { std::slice::from_raw_parts_mut(self.c.add(i * self.ldc), self.cols) };
            to.copy_from_slice(&full[i * V::COLS..][..self.cols]);
        }
    }
}
