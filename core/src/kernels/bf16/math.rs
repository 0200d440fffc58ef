//! What bf16 results need of arithmetic in f32: sixteen lanes, exact to well under a bf16's last place.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

/// `GELU(x) = x Φ(x)` within 2e-4: Φ as an odd polynomial on [-3.9, 3.9] that ends on 0 and 1, no division.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
pub(super) fn gelu(x: __m512) -> __m512 {
    const P: [f32; 7] = [
        2.883_723_8e-8,
        -1.911_041e-6,
        5.427_987e-5,
        -8.774_189e-4,
        9.098_044e-3,
        -6.536_286e-2,
        3.985_591_2e-1,
    ];
    let z = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(3.9)), _mm512_set1_ps(-3.9));
    let s = _mm512_mul_ps(z, z);
    let mut p = _mm512_set1_ps(P[0]);
    for c in &P[1..] {
        p = _mm512_fmadd_ps(p, s, _mm512_set1_ps(*c));
    }
    _mm512_mul_ps(x, _mm512_fmadd_ps(z, p, _mm512_set1_ps(0.5)))
}

/// `2^x`, relative error under 3e-6; never less than 2^-126, since a denormal costs a hundred times as much.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
pub(super) fn exp2(x: __m512) -> __m512 {
    const P: [f32; 5] = [9.570_098e-3, 5.591_786_7e-2, 2.402_474_4e-1, 6.931_218e-1, 9.999_993e-1];
    let x = _mm512_max_ps(x, _mm512_set1_ps(-125.0));
    let n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    let r = _mm512_sub_ps(x, n);
    let mut p = _mm512_set1_ps(P[0]);
    for c in &P[1..] {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(*c));
    }
    _mm512_scalef_ps(p, n)
}

/// 32 floats as bf16, rounded to nearest even.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
pub(super) fn narrow(lo: __m512, hi: __m512) -> __m512i {
    // SAFETY: both types are 64 bytes of any bits.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(hi, lo)) }
}

/// Lanes `from..from + 16` of `count` that exist.
#[inline(always)]
pub(super) fn lanes(from: usize, count: usize) -> u16 {
    match count.saturating_sub(from) {
        0 => 0,
        n if n >= 16 => !0,
        n => (1 << n) - 1,
    }
}

/// `x[i..i + 16]`, zeros past the end.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
pub(super) fn part(x: &[f32], i: usize) -> __m512 {
    // SAFETY: x is readable.
    unsafe { part_of(x.as_ptr(), x.len(), i) }
}

/// The same of `n` floats at `x`, which must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
pub(super) unsafe fn part_of(x: *const f32, n: usize, i: usize) -> __m512 {
    let at = x.wrapping_add(i);
    // SAFETY: all sixteen are among them, or the mask leaves out those that are not.
    unsafe {
        match i + 16 <= n {
            true => _mm512_loadu_ps(at),
            false => _mm512_maskz_loadu_ps(lanes(i, n), at),
        }
    }
}
