//! Four lanes: NEON, which every aarch64 has. `tests/emulate/neon.sh` holds it to the specification on other machines.
#![allow(unsafe_code)]

use super::Lanes;
use crate::kernels::{Kernel, tile::Tile};
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
pub(in crate::kernels) struct Neon(float32x4_t);

/// Compiles `kernel` for NEON and runs it.
///
/// # Safety
/// None beyond aarch64 itself; `unsafe` so that all tiers are called alike.
#[target_feature(enable = "neon")]
pub(in crate::kernels) unsafe fn call<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Neon>()
}

/// One intrinsic.
macro_rules! op {
    // SAFETY: aarch64 always has NEON; the intrinsics that touch memory are behind methods whose callers
    // vouch for it.
    ($e:expr) => {
        unsafe { $e }
    };
}

// SAFETY: aarch64 always has NEON.
unsafe impl Lanes for Neon {
    const N: usize = 4;
    const ROWS: usize = 6;
    const COLS: usize = 16;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(op!(vdupq_n_f32(x)))
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        Self(op!(vld1q_f32(p)))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        op!(vst1q_f32(p, self.0))
    }
    #[inline(always)]
    fn keep(self, bits: u32) -> Self {
        op!({
            let lane: uint32x4_t = std::mem::transmute([1u32, 2, 4, 8]);
            let set = vtstq_u32(vdupq_n_u32(bits), lane);
            Self(vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(self.0), set)))
        })
    }
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Self(op!(vaddq_f32(self.0, o.0)))
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Self(op!(vsubq_f32(self.0, o.0)))
    }
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        Self(op!(vmulq_f32(self.0, o.0)))
    }
    #[inline(always)]
    fn div(self, o: Self) -> Self {
        Self(op!(vdivq_f32(self.0, o.0)))
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        Self(op!(vfmaq_f32(b.0, self.0, a.0)))
    }
    #[inline(always)]
    fn max(self, o: Self) -> Self {
        Self(op!(vmaxq_f32(self.0, o.0)))
    }
    #[inline(always)]
    fn min(self, o: Self) -> Self {
        Self(op!(vminq_f32(self.0, o.0)))
    }
    #[inline(always)]
    fn exp2i(self) -> Self {
        op!({
            let n = vaddq_s32(vcvtnq_s32_f32(self.0), vdupq_n_s32(127));
            Self(vreinterpretq_f32_s32(vshlq_n_s32(n, 23)))
        })
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(op!(vrndnq_f32(self.0)))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        op!(vaddvq_f32(self.0))
    }
    #[inline(always)]
    fn peak(self) -> f32 {
        op!(vmaxvq_f32(self.0))
    }
    #[inline(always)]
    fn prefetch(_: *const f32) {}
    #[inline(always)]
    unsafe fn tile(t: &Tile) {
        // SAFETY: the caller's promise is the callee's.
        unsafe { t.run::<Self, 6, 4>() }
    }
}
