//! A pack's bits on the device.

use crate::Result;
use candle_core::{Device, Tensor};
use s3router_masks::BitMask;

/// A [`BitMask`] as the kernels read it, byte for byte the pack's own: a U8 tensor (out · ceil(in / 8),).
#[derive(Clone, Debug)]
pub struct DeviceMask {
    pub(super) bits: Tensor,
    rows: usize,
    cols: usize,
}

impl DeviceMask {
    /// Uploads a mask.
    ///
    /// # Errors
    /// The device's: no memory.
    pub fn new(mask: &BitMask, device: &Device) -> Result<Self> {
        let bits = Tensor::from_slice(mask.bytes(), mask.bytes().len(), device)?;
        Ok(Self { bits, rows: mask.rows(), cols: mask.cols() })
    }

    /// The mask, brought back.
    ///
    /// # Errors
    /// The device's.
    pub fn to_bits(&self) -> Result<BitMask> {
        let bytes = self.bits.to_vec1::<u8>()?;
        let stride = self.cols.div_ceil(8);
        Ok(BitMask::from_fn(self.rows, self.cols, |n, k| bytes[n * stride + k / 8] >> (k % 8) & 1 == 1))
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }
}
