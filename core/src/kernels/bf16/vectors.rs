//! Tiles on AVX-512 BF16: `vdpbf16ps` adds to each of 16 floats the product of two pairs.
//!
//! A row of B is 16 pairs, so a pair of A, broadcast, times that row adds to 16 columns of one row of C. Eight rows and both
//! tiles of B at a time: 16 registers of sums, which the latency needs, for ten loads a pair of K.
#![allow(unsafe_code)]

use super::tile::{Product, TILE};
use std::arch::x86_64::*;

/// Rows of C whose sums are in registers at once.
const ROWS: usize = 8;

/// Four tiles of f32, one after the other.
#[repr(C, align(64))]
pub(in crate::kernels) struct Sums([f32; TILE]);

impl Default for Sums {
    fn default() -> Self {
        Self([0.0; TILE])
    }
}

impl Sums {
    pub(super) fn zero(&mut self) {
        self.0.fill(0.0);
    }

    /// # Safety
    /// Four tiles are readable at `c`.
    pub(super) unsafe fn load(&mut self, c: *const u8) {
        // SAFETY: the caller's.
        unsafe { c.copy_to_nonoverlapping(self.0.as_mut_ptr().cast(), 4 * TILE) };
    }

    /// # Safety
    /// Four tiles are writable at `c`.
    pub(super) unsafe fn store(&self, c: *mut u8) {
        // SAFETY: the caller's.
        unsafe { c.copy_from_nonoverlapping(self.0.as_ptr().cast(), 4 * TILE) };
    }

    /// As [`Tiles::step`](super::tile::Tiles::step).
    ///
    /// # Safety
    /// The machine has the instructions; A and B are readable.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn step(&mut self, a: *const u8, half: usize, row: usize, b: *const u8) {
        for high in 0..if half == 0 { 1 } else { 2 } {
            for first in [0, ROWS] {
                let c = self.0[high * TILE / 2 + first * 16..].as_mut_ptr();
                let sums = |side: usize, r: usize| c.wrapping_add(side * TILE / 4 + r * 16);
                let a = a.wrapping_add(high * half + first * row);
                // SAFETY: a row of 16 floats in one of the four tiles; A and B as the caller vouches for.
                unsafe {
                    let mut held = [[_mm512_setzero_ps(); ROWS]; 2];
                    for (side, held) in held.iter_mut().enumerate() {
                        for (r, held) in held.iter_mut().enumerate() {
                            *held = _mm512_load_ps(sums(side, r));
                        }
                    }
                    strip(&mut held, a, row, [b, b.wrapping_add(TILE)]);
                    for (side, held) in held.iter().enumerate() {
                        for (r, held) in held.iter().enumerate() {
                            _mm512_store_ps(sums(side, r), *held);
                        }
                    }
                }
            }
        }
    }
}

/// As [`Tiles::product`](super::tile::Tiles::product).
///
/// # Safety
/// The machine has the instructions, and as there.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn product(product: Product) {
    let Product { a, b, deep, from, to: (c, stride) } = product;
    for first in (0..32).step_by(ROWS) {
        let a = a[first / 16].wrapping_add(first % 16 * 64);
        let at = |r: usize, side: usize, stride: usize| (first + r) * stride + side * 16;
        // SAFETY: rows `first..first + ROWS` of both; `deep` tiles of each run.
        unsafe {
            let mut held = [[_mm512_setzero_ps(); ROWS]; 2];
            for (side, held) in held.iter_mut().enumerate() {
                for (r, held) in held.iter_mut().enumerate() {
                    *held = _mm512_loadu_ps(from.0.wrapping_add(at(r, side, from.1)));
                }
            }
            for step in 0..deep {
                let b = b.map(|b| b.wrapping_add(step * TILE));
                strip(&mut held, a.wrapping_add(step * TILE), 64, b);
            }
            for (side, held) in held.iter().enumerate() {
                for (r, held) in held.iter().enumerate() {
                    _mm512_storeu_ps(c.wrapping_add(at(r, side, stride)), *held);
                }
            }
        }
    }
}

/// Adds one step to the sums of [`ROWS`] rows, columns of both tiles of B.
///
/// # Safety
/// As many rows of A, `row` bytes apart, and both tiles are readable.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
unsafe fn strip(sums: &mut [[__m512; ROWS]; 2], a: *const u8, row: usize, b: [*const u8; 2]) {
    for k in 0..16 {
        // SAFETY: row k of each tile of B, pair k of each row of A.
        unsafe {
            let b = b.map(|b| pairs(_mm512_loadu_si512(b.wrapping_add(k * 64).cast())));
            let [left, right] = &mut *sums;
            for (r, (left, right)) in left.iter_mut().zip(right).enumerate() {
                let a = a.wrapping_add(r * row + k * 4).cast::<i32>().read_unaligned();
                let a = pairs(_mm512_set1_epi32(a));
                *left = _mm512_dpbf16_ps(*left, b[0], a);
                *right = _mm512_dpbf16_ps(*right, b[1], a);
            }
        }
    }
}

fn pairs(words: __m512i) -> __m512bh {
    // SAFETY: both are 512 plain bits.
    unsafe { std::mem::transmute(words) }
}
