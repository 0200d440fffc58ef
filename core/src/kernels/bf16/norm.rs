//! LayerNorm and GELU of a row, its elements leaving 32 at a time.
#![allow(unsafe_code)]

use super::math;
use crate::kernels::Norm;
use std::arch::x86_64::*;

/// Passes the row of `n` floats at x, normalised if asked and then through GELU if asked, to
/// `put(step, low 16, high 16)`, which may write over what it was given.
///
/// # Safety
/// The row is readable, the norm as wide.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
pub(super) unsafe fn row(
    x: *const f32,
    n: usize,
    norm: Option<&Norm<'_>>,
    gelu: bool,
    mut put: impl FnMut(usize, __m512, __m512),
) {
    // SAFETY: the caller's.
    unsafe {
        let (mean, scale) = match norm {
            Some(norm) => moments(x, n, norm.eps),
            None => (0.0, 1.0),
        };
        let (mean, scale) = (_mm512_set1_ps(mean), _mm512_set1_ps(scale));
        let at = |i: usize| {
            let mut y = math::part_of(x, n, i);
            if let Some(norm) = norm {
                y = _mm512_mul_ps(_mm512_sub_ps(y, mean), scale);
                y = _mm512_fmadd_ps(y, math::part(norm.gamma, i), math::part(norm.beta, i));
            }
            if gelu { math::gelu(y) } else { y }
        };
        for step in 0..n.div_ceil(32) {
            put(step, at(step * 32), at(step * 32 + 16));
        }
    }
}

/// Mean, and one over the standard deviation, in two passes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn moments(x: *const f32, n: usize, eps: f32) -> (f32, f32) {
    // SAFETY: the caller's.
    unsafe {
        let c = n as f32;
        let mean = sum(x, n, |x, _| x) / c;
        let centre = _mm512_set1_ps(mean);
        let square = |x, exists| {
            let d = _mm512_maskz_sub_ps(exists, x, centre);
            _mm512_mul_ps(d, d)
        };
        let var = sum(x, n, square) / c;
        (mean, 1.0 / (var + eps).sqrt())
    }
}

/// `Σ f(x)` in four strands, so that one addition need not wait for the last.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn sum(x: *const f32, n: usize, f: impl Fn(__m512, u16) -> __m512) -> f32 {
    // SAFETY: the caller's.
    unsafe {
        let mut strands = [_mm512_setzero_ps(); 4];
        for i in (0..n).step_by(64) {
            for (j, strand) in strands.iter_mut().enumerate() {
                let i = i + j * 16;
                *strand = _mm512_add_ps(*strand, f(math::part_of(x, n, i), math::lanes(i, n)));
            }
        }
        let [a, b, c, d] = strands;
        _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)))
    }
}
