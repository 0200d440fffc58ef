//! Where sums go: what is done to 32 neighbouring outputs of a row before they are stored.
#![allow(unsafe_code)]

use super::{math, rows::Start};
use std::arch::x86_64::*;

/// Takes a row of a group's sums, 32 outputs wide.
pub(super) trait Sink {
    /// Told a little before [`put`](Self::put), to ask for memory that will be read.
    #[inline(always)]
    fn expect(&self, _panel: usize, _row: usize) {}

    /// # Safety
    /// AVX-512 with BF16; row and panel are among those the sink was made for, and no one else's.
    unsafe fn put(&self, panel: usize, row: usize, lo: __m512, hi: __m512);
}

/// Bias, then GELU if asked: what every linear does.
#[derive(Clone, Copy, Default)]
pub(super) struct Finish<'a> {
    /// One addend per output, or none.
    pub(super) bias: Option<&'a [f32]>,
    pub(super) gelu: bool,
}

impl Finish<'_> {
    #[inline(always)]
    unsafe fn of(&self, panel: usize, lo: __m512, hi: __m512) -> [__m512; 2] {
        // SAFETY: the caller's.
        unsafe {
            let mut y = [lo, hi];
            if let Some(bias) = self.bias {
                y[0] = _mm512_add_ps(y[0], math::part(bias, panel * 32));
                y[1] = _mm512_add_ps(y[1], math::part(bias, panel * 32 + 16));
            }
            if self.gelu {
                y = [math::gelu(y[0]), math::gelu(y[1])];
            }
            y
        }
    }
}

/// To bf16 in tile order, `[row / 16][panel][16][32]`: the next product's rows.
#[derive(Clone, Copy)]
pub(super) struct ToTiles<'a> {
    pub(super) finish: Finish<'a>,
    pub(super) to: Start,
}

impl Sink for ToTiles<'_> {
    #[inline(always)]
    unsafe fn put(&self, panel: usize, row: usize, lo: __m512, hi: __m512) {
        // SAFETY: the caller's.
        unsafe {
            let [lo, hi] = self.finish.of(panel, lo, hi);
            _mm512_store_si512(self.to.line(row, panel).cast(), math::narrow(lo, hi));
        }
    }
}

/// To f32 rows, in place of what they hold or added to it (a residual).
#[derive(Clone, Copy)]
pub(super) struct ToRows<'a> {
    pub(super) finish: Finish<'a>,
    /// Row 0's output 0.
    pub(super) at: *mut f32,
    /// Floats from a row to the next.
    pub(super) stride: usize,
    /// Outputs there are.
    pub(super) width: usize,
    pub(super) add: bool,
}

impl ToRows<'_> {
    /// The same place, for sums that are finished otherwise.
    pub(super) fn after<'f>(&self, finish: Finish<'f>) -> ToRows<'f> {
        ToRows { finish, at: self.at, stride: self.stride, width: self.width, add: self.add }
    }
}

// SAFETY: an address; whoever runs a product vouches that no two threads write the same output.
unsafe impl Send for ToRows<'_> {}
// SAFETY: as above.
unsafe impl Sync for ToRows<'_> {}

impl Sink for ToRows<'_> {
    #[inline(always)]
    fn expect(&self, panel: usize, row: usize) {
        if self.add {
            let at = self.at.wrapping_add(row * self.stride + panel * 32);
            // SAFETY: hints.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(at.cast());
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(16).cast());
            }
        }
    }

    #[inline(always)]
    unsafe fn put(&self, panel: usize, row: usize, lo: __m512, hi: __m512) {
        // SAFETY: the masks leave out what lies past `width`.
        unsafe {
            let from = row * self.stride + panel * 32;
            let at = [self.at.wrapping_add(from), self.at.wrapping_add(from + 16)];
            let exists = [0, 16].map(|i| math::lanes(panel * 32 + i, self.width));
            let (mut lo, mut hi) = (lo, hi);
            if self.add {
                lo = _mm512_add_ps(lo, _mm512_maskz_loadu_ps(exists[0], at[0]));
                hi = _mm512_add_ps(hi, _mm512_maskz_loadu_ps(exists[1], at[1]));
            }
            let [lo, hi] = self.finish.of(panel, lo, hi);
            _mm512_mask_storeu_ps(at[0], exists[0], lo);
            _mm512_mask_storeu_ps(at[1], exists[1], hi);
        }
    }
}
