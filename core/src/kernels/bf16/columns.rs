//! Rows of bf16 as columns of 32 channels, `[channel / 32][time][32]`: what a convolution reads.
#![allow(unsafe_code)]

use super::{product::Left, rows::narrow_row};
use crate::kernels::Aligned;

/// Bytes of 32 channels of one moment.
const LINE: usize = 64;

/// A time-major signal and the way its one reader, a convolution, takes through it.
#[derive(Default)]
pub(super) struct Columns {
    data: Aligned,
    /// Rows of a column, surplus counted.
    tall: usize,
    channels: usize,
    stride: usize,
    steps: Vec<u32>,
}

impl Columns {
    /// Makes room for `times` moments of `channels`, of unspecified content, to be read by `taps` taps every
    /// `stride`; behind the last lie rows that a reader's whole tiles touch and that mean nothing.
    pub(super) fn fit(&mut self, times: usize, channels: usize, taps: usize, stride: usize) {
        // An odd number of lines, or all columns would fight over the same lines of L1.
        let tall = (times + 32 * stride) | 1;
        let columns = channels.div_ceil(32);
        self.data.at_least(columns * tall * LINE / 4);
        let offset = |tap: usize, column: usize| ((column * tall + tap) * LINE) as u32;
        self.steps.clear();
        self.steps.extend((0..taps).flat_map(|tap| (0..columns).map(move |column| offset(tap, column))));
        (self.tall, self.channels, self.stride) = (tall, channels, stride);
    }

    /// The 32 channels of one step at a moment.
    #[inline(always)]
    pub(super) fn line(&mut self, time: usize, step: usize) -> *mut u8 {
        self.data.as_mut_ptr().cast::<u8>().wrapping_add((step * self.tall + time) * LINE)
    }

    /// Sets the rows from `first` on to those of x, rounded.
    pub(super) fn narrow(&mut self, first: usize, x: &[f32]) {
        for (i, row) in x.chunks_exact(self.channels).enumerate() {
            // SAFETY: the caller counted these rows in `times`; AMX machines have AVX-512.
            unsafe { narrow_row(row, |s| self.line(first + i, s)) };
        }
    }

    /// The left side of the reader's product from its output `first` on.
    pub(super) fn from(&self, first: usize) -> Left<'_> {
        let at = self.data.as_ptr().cast::<u8>().wrapping_add(first * self.stride * LINE);
        Left { at, row: self.stride * LINE, half: 16 * self.stride * LINE, steps: &self.steps }
    }
}
