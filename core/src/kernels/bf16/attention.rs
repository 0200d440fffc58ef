//! Attention on tiles: one head of one utterance at a time, 32 queries at a time, so that scores never
//! leave L2.
//!
//! ```text
//! K of the head → panels of 32 keys, V → panels of 32 channels       (both as pairs, what B must be)
//! for each 32 queries
//!     scores = q · Kᵀ                       tiles
//!     each row: 2^(c · (s - max)), sum      f32, then bf16 where the next product reads it
//!     y = weights · V, divided by the sum   tiles
//! ```
#![allow(unsafe_code)]

use super::{
    TILE, math,
    rows::{Rows, Start},
    tile::Tiles,
};
use crate::kernels::{Aligned, Unit, scratch};
use rayon::prelude::*;
use std::arch::x86_64::*;

/// `softmax(q kᵀ / √d) v` per head, all as rows of `times` per utterance; `times` is a multiple of 16, d of 32.
pub(super) fn attention(
    unit: Unit,
    qkv: [&Rows; 3],
    heads: usize,
    width: usize,
    times: usize,
    lengths: &[usize],
    y: &mut Rows,
) {
    let y = y.start();
    (0..lengths.len() * heads).into_par_iter().with_max_len(1).for_each(|i| {
        let (b, h) = (i / heads, i % heads);
        let of = |rows: &Rows| Head { at: rows.from(b * times).at, half: rows.half(), step: h * width / 32 };
        let task =
            Task { q: of(qkv[0]), k: of(qkv[1]), v: of(qkv[2]), steps: width / 32, times, keys: lengths[b] };
        // SAFETY: tiles exist only where their unit does; heads and utterances are disjoint.
        scratch::with(|s| unsafe {
            task.run(y, b * times, &mut Tiles::of(unit), &mut s.free, &mut s.pack.rows)
        });
    });
}

/// One head's 32-channel steps of one utterance.
#[derive(Clone, Copy)]
struct Head {
    at: *const u8,
    half: usize,
    step: usize,
}

impl Head {
    /// The line of 32 channels.
    #[inline(always)]
    fn line(self, row: usize, step: usize) -> *const u8 {
        self.at.wrapping_add(row / 16 * self.half + (self.step + step) * TILE + row % 16 * 64)
    }
}

struct Task {
    q: Head,
    k: Head,
    v: Head,
    /// Steps of a head's width.
    steps: usize,
    times: usize,
    keys: usize,
}

impl Task {
    /// # Safety
    /// `tiles` is this thread's, the heads hold `times` rows, and y's lines of this head from row `first` are this thread's.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn run(
        &self,
        y: Start,
        first: usize,
        tiles: &mut Tiles,
        free: &mut [Aligned; 3],
        sums: &mut Aligned,
    ) {
        let (d, blocks) = (self.steps, self.keys.div_ceil(32));
        let [k, v, scores] = free;
        let k = k.at_least(blocks * d * TILE / 2).as_mut_ptr().cast::<u8>();
        let v = v.at_least(blocks * d * TILE / 2).as_mut_ptr().cast::<u8>();
        let scores = scores.at_least(blocks * TILE).as_mut_ptr().cast::<u8>();
        let both = sums.at_least((blocks / 2 + 1 + 1) * TILE).as_mut_ptr().cast::<u8>();
        // The weights' tiles, then the four tiles of one panel of y.
        let (weights, sums) = (both.wrapping_add(4 * TILE), both);
        // SAFETY: all buffers are as large as their indices below go.
        unsafe {
            self.pack_keys(k);
            self.pack_values(v);
            for row in (0..self.times).step_by(32) {
                let rows = (self.times - row).min(32);
                let half = if rows > 16 { self.q.half } else { 0 };
                for block in 0..blocks {
                    tiles.zero();
                    for s in 0..d {
                        tiles.step(self.q.line(row, s), half, 64, k.add((block * d + s) * 2 * TILE));
                    }
                    tiles.store(scores.add(block * 4 * TILE));
                }
                let mut shares = [0f32; 32];
                for (i, share) in shares.iter_mut().enumerate().take(rows) {
                    let at = i / 16 * 2 * TILE + i % 16 * 64;
                    let to = weights.add(i / 16 * blocks * TILE + i % 16 * 64);
                    *share = self.softmax(scores.add(at), to);
                }
                for n in 0..d {
                    tiles.zero();
                    for block in 0..blocks {
                        let b = v.add((n * blocks + block) * 2 * TILE);
                        tiles.step(weights.add(block * TILE), blocks * TILE, 64, b);
                    }
                    tiles.store(sums);
                    for (i, share) in shares.iter().enumerate().take(rows) {
                        let at = sums.add(i / 16 * 2 * TILE + i % 16 * 64);
                        let share = _mm512_set1_ps(*share);
                        let lo = _mm512_mul_ps(_mm512_load_ps(at.cast()), share);
                        let hi = _mm512_mul_ps(_mm512_load_ps(at.add(TILE).cast()), share);
                        let to = y.line(first + row + i, self.q.step + n);
                        _mm512_store_si512(to.cast(), math::narrow(lo, hi));
                    }
                }
            }
        }
    }

    /// One row: reads scores, 4 tiles a block of keys, writes weights, a tile a block; answers 1 / sum.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[inline]
    unsafe fn softmax(&self, scores: *const u8, to: *mut u8) -> f32 {
        let blocks = self.keys.div_ceil(32);
        if blocks == 0 {
            return 0.0;
        }
        // SAFETY: the caller's.
        unsafe {
            let at =
                |block: usize, high: usize| _mm512_load_ps(scores.add(block * 4 * TILE + high * TILE).cast());
            let (low, high) =
                (math::lanes(blocks * 32 - 32, self.keys), math::lanes(blocks * 32 - 16, self.keys));
            let least = _mm512_set1_ps(f32::MIN);
            let mut peaks = [
                _mm512_mask_mov_ps(least, low, at(blocks - 1, 0)),
                _mm512_mask_mov_ps(least, high, at(blocks - 1, 1)),
            ];
            for block in 0..blocks - 1 {
                peaks = [_mm512_max_ps(peaks[0], at(block, 0)), _mm512_max_ps(peaks[1], at(block, 1))];
            }
            let peak = _mm512_reduce_max_ps(_mm512_max_ps(peaks[0], peaks[1]));
            let scale = std::f32::consts::LOG2_E / ((self.steps * 32) as f32).sqrt();
            let (scale, offset) = (_mm512_set1_ps(scale), _mm512_set1_ps(-peak * scale));
            let weight = |block, high| math::exp2(_mm512_fmadd_ps(at(block, high), scale, offset));
            let mut sums = [_mm512_setzero_ps(); 2];
            for block in 0..blocks {
                let (mut lo, mut hi) = (weight(block, 0), weight(block, 1));
                if block + 1 == blocks {
                    (lo, hi) = (_mm512_maskz_mov_ps(low, lo), _mm512_maskz_mov_ps(high, hi));
                }
                sums = [_mm512_add_ps(sums[0], lo), _mm512_add_ps(sums[1], hi)];
                _mm512_store_si512(to.add(block * TILE).cast(), math::narrow(lo, hi));
            }
            1.0 / _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]))
        }
    }

    /// K as `[key / 32][step][2][pair][16 keys]`: each tile of 16 keys × 16 pairs, turned.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[inline]
    unsafe fn pack_keys(&self, to: *mut u8) {
        for block in 0..self.keys.div_ceil(32) {
            for step in 0..self.steps {
                for half in 0..2 {
                    let key = block * 32 + half * 16;
                    // SAFETY: whole tiles of keys exist up to `times`, a multiple of 16.
                    unsafe {
                        let to = to.add(((block * self.steps + step) * 2 + half) * TILE);
                        let mut rows = [_mm512_setzero_si512(); 16];
                        if key < self.times {
                            for (i, row) in rows.iter_mut().enumerate() {
                                *row = _mm512_load_si512(self.k.line(key + i, step).cast());
                            }
                            turn(&mut rows);
                        }
                        for (i, row) in rows.iter().enumerate() {
                            _mm512_store_si512(to.add(i * 64).cast(), *row);
                        }
                    }
                }
            }
        }
    }

    /// V as `[step][key / 32][2][pair of keys][16 channels]`: neighbouring rows interleaved; 0 past the keys.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[inline]
    unsafe fn pack_values(&self, to: *mut u8) {
        let blocks = self.keys.div_ceil(32);
        // SAFETY: rows below `keys` exist.
        unsafe {
            let index = |from: u16| -> __m512i {
                let lanes: [u16; 32] = std::array::from_fn(|i| from + (i / 2 + i % 2 * 32) as u16);
                _mm512_loadu_si512(lanes.as_ptr().cast())
            };
            let halves = [index(0), index(16)];
            for step in 0..self.steps {
                for pair in 0..blocks * 16 {
                    let row = |key: usize| match key < self.keys {
                        true => _mm512_load_si512(self.v.line(key, step).cast()),
                        false => _mm512_setzero_si512(),
                    };
                    let (even, odd) = (row(2 * pair), row(2 * pair + 1));
                    let tile = to.add((step * blocks + pair / 16) * 2 * TILE + pair % 16 * 64);
                    for (half, index) in halves.iter().enumerate() {
                        let both = _mm512_permutex2var_epi16(even, *index, odd);
                        _mm512_store_si512(tile.add(half * TILE).cast(), both);
                    }
                }
            }
        }
    }
}

/// Turns 16 × 16 elements of 32 bits: 2 × 2, then 4 × 4 within each quarter of a register, then the quarters.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
fn turn(r: &mut [__m512i; 16]) {
    {
        for q in r.chunks_exact_mut(4) {
            let (a, b) = (_mm512_unpacklo_epi32(q[0], q[1]), _mm512_unpackhi_epi32(q[0], q[1]));
            let (c, d) = (_mm512_unpacklo_epi32(q[2], q[3]), _mm512_unpackhi_epi32(q[2], q[3]));
            q[0] = _mm512_unpacklo_epi64(a, c);
            q[1] = _mm512_unpackhi_epi64(a, c);
            q[2] = _mm512_unpacklo_epi64(b, d);
            q[3] = _mm512_unpackhi_epi64(b, d);
        }
        // r[4 g + j], quarter x, now holds column 4 x + j of rows 4 g..4 g + 4.
        for j in 0..4 {
            let (a, b, c, d) = (r[j], r[4 + j], r[8 + j], r[12 + j]);
            let ab = [_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b)];
            let cd = [_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d)];
            // Quarters 0, 2 of each, and 1, 3.
            r[j] = _mm512_shuffle_i32x4::<0x88>(ab[0], cd[0]);
            r[8 + j] = _mm512_shuffle_i32x4::<0xdd>(ab[0], cd[0]);
            r[4 + j] = _mm512_shuffle_i32x4::<0x88>(ab[1], cd[1]);
            r[12 + j] = _mm512_shuffle_i32x4::<0xdd>(ab[1], cd[1]);
        }
    }
}
