//! f32 matrices → bf16 tiles: 16 rows of 16 pairs of neighbours along K.
//!
//! A tile of the left side holds `(i, k)` as row `i`, word `k / 2`; of the right side `(k, j)` as row
//! `k / 2`, word `j`. Which neighbours lie together in memory decides how a tile is read; the other case is
//! the same words transposed.
#![allow(unsafe_code)]

use super::Matrix;
use std::arch::x86_64::*;

/// A tile: 16 × 16 words, each a pair of bf16 with the lower K in the lower half.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Tile([u32; 256]);

impl Tile {
    pub(super) const ZERO: Self = Self([0; 256]);
}

/// Depth of a tile along K, and its width across.
pub(super) const DEEP: usize = 32;
pub(super) const WIDE: usize = 16;

/// Packs rows of A as `[rows / 16][k / 32]` tiles; rows and depth past the end are 0.
///
/// # Safety
/// The machine has AVX-512 with BW and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn left(a: Matrix<'_>, to: &mut [Tile]) {
    let deep = a.cols.div_ceil(DEEP);
    let neighbours = if a.across == 1 { Axis::Deep } else { Axis::Wide };
    for n in 0..to.len() {
        let (strip, part) = neighbours.tile(n, to.len(), deep);
        let (i, k, tile) = (strip * WIDE, part * DEEP, &mut to[strip * deep + part]);
        // SAFETY: this function's own promise.
        unsafe {
            match neighbours {
                Axis::Deep => store(along(a, i, k), tile),
                Axis::Wide => store(transpose(across(a.t(), k, i)), tile),
            }
        }
    }
}

/// Packs columns of B, 16 at a time from column `from`, as `[columns / 16][k / 32]` tiles.
///
/// # Safety
/// As [`left`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn right(b: Matrix<'_>, from: usize, to: &mut [Tile]) {
    let deep = b.rows.div_ceil(DEEP);
    let neighbours = if b.across == 1 { Axis::Wide } else { Axis::Deep };
    for n in 0..to.len() {
        let (strip, part) = neighbours.tile(n, to.len(), deep);
        let (j, k, tile) = (from + strip * WIDE, part * DEEP, &mut to[strip * deep + part]);
        // SAFETY: this function's own promise.
        unsafe {
            match neighbours {
                Axis::Wide => store(across(b, k, j), tile),
                Axis::Deep => store(transpose(along(b.t(), j, k)), tile),
            }
        }
    }
}

/// Along which neighbours lie together in memory.
#[derive(Clone, Copy)]
enum Axis {
    Deep,
    Wide,
}

impl Axis {
    /// The `n`-th of `[strips][deep]` tiles in the order in which memory is read on, as (strip, part): the other order takes
    /// a cache line of each row and comes back for the next.
    fn tile(self, n: usize, tiles: usize, deep: usize) -> (usize, usize) {
        match self {
            Self::Deep => (n / deep, n % deep),
            Self::Wide => (n % (tiles / deep), n / (tiles / deep)),
        }
    }
}

/// Rows `i..i + 16`, each 32 neighbours from `k`.
///
/// # Safety
/// As [`left`]; `m.across` is 1.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn along(m: Matrix<'_>, i: usize, k: usize) -> [__m512i; 16] {
    let mut rows = [_mm512_setzero_si512(); 16];
    for (r, row) in rows.iter_mut().enumerate().take(m.rows.saturating_sub(i)) {
        // SAFETY: row i + r < rows, and the masks keep to its columns.
        let (low, high) = unsafe { (load(m, i + r, k), load(m, i + r, k + 16)) };
        *row = words(_mm512_cvtne2ps_pbh(high, low));
    }
    rows
}

/// Rows `k..k + 32` by pairs, each 16 neighbours from `j`: word `j` of row `r` is the pair `(2r, j), (2r + 1, j)`.
///
/// # Safety
/// As [`along`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn across(m: Matrix<'_>, k: usize, j: usize) -> [__m512i; 16] {
    let order: [u16; 32] = std::array::from_fn(|i| (i / 2 + 16 * (i % 2)) as u16);
    // SAFETY: 64 readable bytes.
    let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
    let mut rows = [_mm512_setzero_si512(); 16];
    for (r, row) in rows.iter_mut().enumerate().take(m.rows.saturating_sub(k).div_ceil(2)) {
        // SAFETY: row k + 2r < rows; the second of the pair is checked; the masks keep to the columns.
        let (low, high) = unsafe {
            let second = k + 2 * r + 1;
            (load(m, k + 2 * r, j), if second < m.rows { load(m, second, j) } else { _mm512_setzero_ps() })
        };
        *row = _mm512_permutexvar_epi16(order, words(_mm512_cvtne2ps_pbh(high, low)));
    }
    rows
}

/// 16 floats of a row, zeros past its end.
///
/// # Safety
/// `row < m.rows`, `m.across` is 1, `Matrix::check` has passed.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(m: Matrix<'_>, row: usize, from: usize) -> __m512 {
    let left = m.cols.saturating_sub(from).min(16);
    let mask = ((1u32 << left) - 1) as u16;
    // SAFETY: masked lanes are not read; the others lie in the row.
    unsafe { _mm512_maskz_loadu_ps(mask, m.data.as_ptr().wrapping_add(row * m.down + from)) }
}

fn words(pairs: __m512bh) -> __m512i {
    // SAFETY: both are 512 plain bits.
    unsafe { std::mem::transmute(pairs) }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store(rows: [__m512i; 16], tile: &mut Tile) {
    for (row, to) in rows.iter().zip(tile.0.chunks_exact_mut(16)) {
        // SAFETY: 16 writable words.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), *row) };
    }
}

/// 16 × 16 words turned: words of 4 × 4 blocks by unpacking, then the blocks by lane shuffles.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn transpose(r: [__m512i; 16]) -> [__m512i; 16] {
    let mut t = r;
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    let mut r = t;
    for i in (0..16).step_by(4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    // Lane l of r[4 i + j] is now column 4 l + j of rows 4 i .. 4 i + 4.
    for j in 0..4 {
        t[j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
        t[8 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        t[12 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
    }
    for j in 0..4 {
        r[j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0x88);
        r[8 + j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0xdd);
        r[4 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0x88);
        r[12 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0xdd);
    }
    r
}
