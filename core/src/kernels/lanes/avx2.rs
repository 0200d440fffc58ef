//! Eight lanes: AVX2 with FMA (x86-64-v3; Haswell, Zen and later).
#![allow(unsafe_code)]

use super::Lanes;
use crate::kernels::{Kernel, tile::Tile};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(in crate::kernels) struct Avx2(__m256);

/// Compiles `kernel` for AVX2 and runs it.
///
/// # Safety
/// The machine has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernels) unsafe fn call<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Avx2>()
}

/// One intrinsic.
macro_rules! op {
    // SAFETY: the trait's contract: this type is used only where `call` was entered, on a machine with
    // AVX2 and FMA; the intrinsics that touch memory are behind methods whose callers vouch for it.
    ($e:expr) => {
        unsafe { $e }
    };
}

// SAFETY: `call` is entered only through `Tier::run`, which checked the machine.
unsafe impl Lanes for Avx2 {
    const N: usize = 8;
    const ROWS: usize = 6;
    const COLS: usize = 16;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(op!(_mm256_set1_ps(x)))
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        Self(op!(_mm256_loadu_ps(p)))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        op!(_mm256_storeu_ps(p, self.0))
    }
    #[inline(always)]
    fn keep(self, bits: u32) -> Self {
        op!({
            let lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let set = _mm256_and_si256(_mm256_set1_epi32(bits as i32), lane);
            Self(_mm256_and_ps(self.0, _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane))))
        })
    }
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Self(op!(_mm256_add_ps(self.0, o.0)))
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Self(op!(_mm256_sub_ps(self.0, o.0)))
    }
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        Self(op!(_mm256_mul_ps(self.0, o.0)))
    }
    #[inline(always)]
    fn div(self, o: Self) -> Self {
        Self(op!(_mm256_div_ps(self.0, o.0)))
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        Self(op!(_mm256_fmadd_ps(self.0, a.0, b.0)))
    }
    #[inline(always)]
    fn max(self, o: Self) -> Self {
        Self(op!(_mm256_max_ps(self.0, o.0)))
    }
    #[inline(always)]
    fn min(self, o: Self) -> Self {
        Self(op!(_mm256_min_ps(self.0, o.0)))
    }
    #[inline(always)]
    fn exp2i(self) -> Self {
        op!({
            let n = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
            Self(_mm256_castsi256_ps(_mm256_slli_epi32(n, 23)))
        })
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(op!(_mm256_round_ps(self.0, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        op!({
            let s = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps(self.0, 1));
            let s = _mm_add_ps(s, _mm_movehl_ps(s, s));
            _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)))
        })
    }
    #[inline(always)]
    fn peak(self) -> f32 {
        op!({
            let s = _mm_max_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps(self.0, 1));
            let s = _mm_max_ps(s, _mm_movehl_ps(s, s));
            _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)))
        })
    }
    #[inline(always)]
    fn prefetch(p: *const f32) {
        op!(_mm_prefetch(p.cast::<i8>(), _MM_HINT_T0))
    }
    #[inline(always)]
    unsafe fn tile(t: &Tile) {
        // SAFETY: the caller's promise is the callee's.
        unsafe { t.run::<Self, 6, 2>() }
    }
}
