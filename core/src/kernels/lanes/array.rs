//! Four lanes as a plain array: no intrinsics, every machine. The compiler may still vectorise it.
#![allow(unsafe_code)]

use super::Lanes;
use crate::kernels::tile::Tile;
use std::array::from_fn;

#[derive(Clone, Copy)]
pub(in crate::kernels) struct Array([f32; 4]);

// SAFETY: plain Rust; no instruction is asked of the machine.
unsafe impl Lanes for Array {
    const N: usize = 4;
    const ROWS: usize = 4;
    const COLS: usize = 8;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller promises four readable floats; the read is unaligned.
        Self(unsafe { p.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller promises four writable floats; the write is unaligned.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    fn keep(self, bits: u32) -> Self {
        Self(from_fn(|i| if bits >> i & 1 == 1 { self.0[i] } else { 0.0 }))
    }
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Self(from_fn(|i| self.0[i] + o.0[i]))
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Self(from_fn(|i| self.0[i] - o.0[i]))
    }
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        Self(from_fn(|i| self.0[i] * o.0[i]))
    }
    #[inline(always)]
    fn div(self, o: Self) -> Self {
        Self(from_fn(|i| self.0[i] / o.0[i]))
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        // Not `f32::mul_add`, which is a library call on machines without FMA.
        Self(from_fn(|i| self.0[i] * a.0[i] + b.0[i]))
    }
    #[inline(always)]
    fn max(self, o: Self) -> Self {
        Self(from_fn(|i| self.0[i].max(o.0[i])))
    }
    #[inline(always)]
    fn min(self, o: Self) -> Self {
        Self(from_fn(|i| self.0[i].min(o.0[i])))
    }
    #[inline(always)]
    fn exp2i(self) -> Self {
        Self(from_fn(|i| f32::from_bits(((self.0[i] as i32 + 127) as u32) << 23)))
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(from_fn(|i| self.0[i].round_ties_even()))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        self.0.iter().sum()
    }
    #[inline(always)]
    fn peak(self) -> f32 {
        self.0.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    fn prefetch(_: *const f32) {}
    #[inline(always)]
    unsafe fn tile(t: &Tile) {
        // SAFETY: the caller's promise is the callee's.
        unsafe { t.run::<Self, 4, 2>() }
    }
}
