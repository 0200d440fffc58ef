//! Sixteen lanes: AVX-512F. Compiled everywhere on x86-64; the machines of our tests so far have
//! only run the AVX2 twin, so treat a first AVX-512 machine as the test of this file.
#![allow(unsafe_code)]

use super::Lanes;
use crate::kernels::{Kernel, tile::Tile};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(in crate::kernels) struct Avx512(__m512);

/// Compiles `kernel` for AVX-512F and runs it.
///
/// # Safety
/// The machine has AVX-512F, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx2,fma")]
pub(in crate::kernels) unsafe fn call<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Avx512>()
}

/// One intrinsic.
macro_rules! op {
    // SAFETY: the trait's contract: this type is used only where `call` was entered, on a machine with
    // AVX-512F; the intrinsics that touch memory are behind methods whose callers vouch for it.
    ($e:expr) => {
        unsafe { $e }
    };
}

// SAFETY: `call` is entered only through `Tier::run`, which checked the machine.
unsafe impl Lanes for Avx512 {
    const N: usize = 16;
    const ROWS: usize = 12;
    const COLS: usize = 32;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(op!(_mm512_set1_ps(x)))
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        Self(op!(_mm512_loadu_ps(p)))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        op!(_mm512_storeu_ps(p, self.0))
    }
    #[inline(always)]
    fn keep(self, bits: u32) -> Self {
        Self(op!(_mm512_maskz_mov_ps(bits as u16, self.0)))
    }
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Self(op!(_mm512_add_ps(self.0, o.0)))
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Self(op!(_mm512_sub_ps(self.0, o.0)))
    }
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        Self(op!(_mm512_mul_ps(self.0, o.0)))
    }
    #[inline(always)]
    fn div(self, o: Self) -> Self {
        Self(op!(_mm512_div_ps(self.0, o.0)))
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        Self(op!(_mm512_fmadd_ps(self.0, a.0, b.0)))
    }
    #[inline(always)]
    fn max(self, o: Self) -> Self {
        Self(op!(_mm512_max_ps(self.0, o.0)))
    }
    #[inline(always)]
    fn min(self, o: Self) -> Self {
        Self(op!(_mm512_min_ps(self.0, o.0)))
    }
    #[inline(always)]
    fn exp2i(self) -> Self {
        op!({
            let n = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32(n, 23)))
        })
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(op!(_mm512_roundscale_ps(self.0, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        op!(_mm512_reduce_add_ps(self.0))
    }
    #[inline(always)]
    fn peak(self) -> f32 {
        op!(_mm512_reduce_max_ps(self.0))
    }
    #[inline(always)]
    fn prefetch(p: *const f32) {
        op!(_mm_prefetch(p.cast::<i8>(), _MM_HINT_T0))
    }
    #[inline(always)]
    unsafe fn tile(t: &Tile) {
        // SAFETY: the caller's promise is the callee's.
        unsafe { t.run::<Self, 12, 2>() }
    }
}
