//! Sixteen lanes: AVX-512F.
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
    unsafe fn turn(from: *const f32, stride: usize, to: *mut f32) {
        // SAFETY: the caller's promise: 12 rows of 16 floats at `from`, 16 rows of 12 floats at `to`.
        op!({
            let mut rows = [_mm512_setzero_ps(); 12];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = _mm512_loadu_ps(from.add(i * stride));
            }
            for (p, column) in transposed(rows).into_iter().enumerate() {
                _mm512_mask_storeu_ps(to.add(p * 12), 0xfff, column);
            }
        });
    }
    #[inline(always)]
    unsafe fn tile(t: &Tile) {
        // SAFETY: the caller's promise is the callee's.
        unsafe { t.run::<Self, 12, 2>() }
    }
}

/// Twelve rows of sixteen as sixteen columns, whose last four lanes mean nothing: neighbours change places
/// singly, then in pairs, then quarters of vectors do. Loops, not closures: those would not become part of
/// the function that is compiled for AVX-512.
#[inline(always)]
fn transposed(rows: [__m512; 12]) -> [__m512; 16] {
    // `quads[g][c]`: lanes 4 q .. 4 q + 4 hold column 4 q + c of rows 4 g .. 4 g + 4.
    let mut quads = [[rows[0]; 4]; 3];
    for (quad, r) in quads.iter_mut().zip(rows.chunks_exact(4)) {
        op!({
            let (low, high) = (_mm512_unpacklo_ps(r[0], r[1]), _mm512_unpackhi_ps(r[0], r[1]));
            let (low2, high2) = (_mm512_unpacklo_ps(r[2], r[3]), _mm512_unpackhi_ps(r[2], r[3]));
            let (low, high) = (_mm512_castps_pd(low), _mm512_castps_pd(high));
            let (low2, high2) = (_mm512_castps_pd(low2), _mm512_castps_pd(high2));
            quad[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, low2));
            quad[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, low2));
            quad[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high, high2));
            quad[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high, high2));
        });
    }
    let mut columns = [rows[0]; 16];
    for c in 0..4 {
        let [a, b, d] = [quads[0][c], quads[1][c], quads[2][c]];
        op!({
            // Quarters 0 and 2 of all groups, then 1 and 3.
            let (even, even2) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(d, d));
            let (odd, odd2) = (_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(d, d));
            columns[c] = _mm512_shuffle_f32x4::<0x88>(even, even2);
            columns[4 + c] = _mm512_shuffle_f32x4::<0x88>(odd, odd2);
            columns[8 + c] = _mm512_shuffle_f32x4::<0xdd>(even, even2);
            columns[12 + c] = _mm512_shuffle_f32x4::<0xdd>(odd, odd2);
        });
    }
    columns
}
