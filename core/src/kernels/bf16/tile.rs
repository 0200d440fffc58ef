//! Four tiles of sums, 32 × 32 in f32, and what adds to them: the one interface of both units.
//!
//! A tile is 16 rows of 64 bytes. Of A it holds 16 rows, each 32 bf16 deep; of B 32 rows of 16 bf16, stored as 16 rows of
//! pairs: `B[k / 2][2 n + k % 2]`; of the sums 16 × 16.
#![allow(unsafe_code)]

use super::{amx, vectors};
use crate::kernels::Unit;

/// Bytes of a tile.
pub(super) const TILE: usize = 1024;

/// `to = from + A · B`, 32 × 32 and `deep` steps at once.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Product {
    /// Two runs of `deep` tiles, 16 rows each.
    pub(in crate::kernels) a: [*const u8; 2],
    /// The same, 16 columns each.
    pub(in crate::kernels) b: [*const u8; 2],
    pub(in crate::kernels) deep: usize,
    /// The first row, and floats from a row to the next; 0: one row for all.
    pub(in crate::kernels) from: (*const f32, usize),
    /// The same of the result.
    pub(in crate::kernels) to: (*mut f32, usize),
}

/// While it lives, this thread holds 32 × 32 sums, C below: upper left, upper right, lower left, lower right. Which unit
/// it is costs a branch a step, of dozens of cycles or more.
#[allow(clippy::large_enum_variant, reason = "a box would be an allocation a task")]
pub(in crate::kernels) enum Tiles {
    /// In tile registers.
    Amx(amx::Registers),
    /// In memory, in L1.
    Vectors(vectors::Sums),
}

impl Tiles {
    /// # Safety
    /// The unit is [available](super::available).
    #[inline]
    pub(in crate::kernels) unsafe fn of(unit: Unit) -> Self {
        match unit {
            // SAFETY: the caller's.
            Unit::Amx => Self::Amx(unsafe { amx::Registers::configure() }),
            Unit::Avx512Bf16 => Self::Vectors(vectors::Sums::default()),
        }
    }

    /// `C = 0`.
    ///
    /// # Safety
    /// Of all these functions: they are called on the thread that made this.
    #[inline(always)]
    pub(super) unsafe fn zero(&mut self) {
        match self {
            // SAFETY: configured.
            Self::Amx(_) => unsafe { amx::zero() },
            Self::Vectors(sums) => sums.zero(),
        }
    }

    /// `C = c`, one tile after the other.
    ///
    /// # Safety
    /// Four tiles are readable at `c`.
    #[inline(always)]
    pub(super) unsafe fn load(&mut self, c: *const u8) {
        // SAFETY: configured; reads what the caller vouches for.
        unsafe {
            match self {
                Self::Amx(_) => amx::load(c),
                Self::Vectors(sums) => sums.load(c),
            }
        }
    }

    /// `c = C`, in the order of [`load`](Self::load).
    ///
    /// # Safety
    /// Four tiles are writable at `c`.
    #[inline(always)]
    pub(super) unsafe fn store(&self, c: *mut u8) {
        // SAFETY: configured; writes what the caller vouches for.
        unsafe {
            match self {
                Self::Amx(_) => amx::store(c),
                Self::Vectors(sums) => sums.store(c),
            }
        }
    }

    /// `C += A · B`, 32 deep: A's 16 rows at `a` and 16 more at `a + half`, `row` bytes apart; B's two tiles at `b`. With
    /// `half` 0 the lower tiles of C mean nothing afterwards.
    ///
    /// # Safety
    /// All of that is readable.
    #[inline(always)]
    pub(super) unsafe fn step(&mut self, a: *const u8, half: usize, row: usize, b: *const u8) {
        // SAFETY: configured; reads what the caller vouches for.
        unsafe {
            match self {
                Self::Amx(_) => amx::step(a, half, row, b),
                Self::Vectors(sums) => sums.step(a, half, row, b),
            }
        }
    }

    /// A whole product; C is overwritten.
    ///
    /// # Safety
    /// 32 rows of 32 floats are readable at `from` and the caller's at `to`; the runs are readable; `deep` is not 0.
    #[inline]
    pub(in crate::kernels) unsafe fn product(&mut self, product: Product) {
        // SAFETY: configured; the rest is the caller's.
        unsafe {
            match self {
                Self::Amx(_) => amx::product(product),
                Self::Vectors(_) => vectors::product(product),
            }
        }
    }
}
