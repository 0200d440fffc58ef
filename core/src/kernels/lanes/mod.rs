//! One short vector of f32, as every kernel sees it.
//!
//! Kernels are written once, generic over [`Lanes`]; each instruction set supplies these operations
//! in a file of its own. All methods are `#[inline(always)]`: they dissolve into the function that
//! [`Tier::run`](super::Tier::run) compiled for the instruction set, and are meaningless outside it.

#![allow(unsafe_code)]

pub(super) mod array;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;

use super::tile::Tile;

/// `N` lanes of f32.
///
/// # Safety
/// An implementer's methods may use instructions that only its tier has. Callers reach a `Lanes` type
/// solely as the type argument of [`Kernel::run`](super::Kernel::run), which [`Tier::run`](super::Tier::run)
/// instantiates only for tiers this machine has.
pub(super) unsafe trait Lanes: Copy {
    /// Lanes of a vector.
    const N: usize;
    /// Rows of a register tile of the matrix product.
    const ROWS: usize;
    /// Columns of a register tile, the width of a weight panel; a multiple of `N`.
    const COLS: usize;

    /// Every lane `x`.
    fn splat(x: f32) -> Self;
    /// # Safety
    /// `N` floats are readable at `p`, unaligned.
    unsafe fn load(p: *const f32) -> Self;
    /// # Safety
    /// `N` floats are writable at `p`, unaligned.
    unsafe fn store(self, p: *mut f32);
    /// Lane `i` survives where bit `i` of `bits` is 1, else becomes +0.
    fn keep(self, bits: u32) -> Self;
    /// Lane-wise sum.
    fn add(self, o: Self) -> Self;
    /// Lane-wise difference.
    fn sub(self, o: Self) -> Self;
    /// Lane-wise product.
    fn mul(self, o: Self) -> Self;
    /// Lane-wise quotient.
    fn div(self, o: Self) -> Self;
    /// `self * a + b` rounded once where the instruction set can.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Lane-wise maximum.
    fn max(self, o: Self) -> Self;
    /// Lane-wise minimum.
    fn min(self, o: Self) -> Self;
    /// `2^n` for lanes that hold integers n, -126 ≤ n ≤ 127.
    fn exp2i(self) -> Self;
    /// Each lane rounded to the nearest integer, ties to even.
    fn round(self) -> Self;
    /// Sum of all lanes.
    fn sum(self) -> f32;
    /// Greatest lane.
    fn peak(self) -> f32;
    /// Asks for the cache line at `p` ahead of time; any address is harmless.
    fn prefetch(p: *const f32);

    /// Turns `ROWS` rows of `N` floats, `stride` apart, into `N` rows of `ROWS` floats.
    ///
    /// # Safety
    /// The rows are readable at `from`; `N * ROWS` floats are writable at `to`.
    #[inline(always)]
    unsafe fn turn(from: *const f32, stride: usize, to: *mut f32) {
        for i in 0..Self::ROWS {
            for p in 0..Self::N {
                // SAFETY: row i < ROWS, column p < N.
                unsafe { *to.add(p * Self::ROWS + i) = *from.add(i * stride + p) };
            }
        }
    }

    /// One register tile of a matrix product; see [`Tile`].
    ///
    /// # Safety
    /// As for [`Tile::run`].
    unsafe fn tile(t: &Tile);
}
