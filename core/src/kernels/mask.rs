//! A mask in the order in which the kernel meets the weights.

use super::Layout;
use rayon::prelude::*;
use s3router_masks::BitMask;

/// A [`BitMask`] in panel order: bit `j` of word `[panel][k]` keeps weight `(panel · COLS + j, k)`.
///
/// A word is `COLS / 8` bytes, little-endian; the size is the pack's own, rounded up to whole panels.
#[derive(Clone, PartialEq, Eq)]
pub struct PanelMask {
    layout: Layout,
    rows: usize,
    cols: usize,
    words: Vec<u8>,
}

impl PanelMask {
    /// Re-orders `mask` for `layout`, as [`PackedWeight::new`](super::PackedWeight::new) does; once per pack.
    pub fn new(layout: impl Into<Layout>, mask: &BitMask) -> Self {
        let layout = layout.into().or_scalar();
        let panel = layout.cols();
        let (rows, cols, stride) = (mask.rows(), mask.cols(), mask.stride());
        let bytes = panel / 8;
        let mut words = vec![0u8; rows.div_ceil(panel) * cols * bytes];
        if cols > 0 {
            words.par_chunks_mut(cols * bytes).enumerate().for_each(|(index, words)| {
                for byte in 0..bytes {
                    let first = index * panel + byte * 8;
                    for column in 0..stride {
                        // Eight rows' bits of eight columns, turned: byte k then holds column k, bit j row j.
                        let rows = std::array::from_fn(|j| match first + j < rows {
                            true => mask.bytes()[(first + j) * stride + column],
                            false => 0,
                        });
                        let turned = transpose(u64::from_le_bytes(rows)).to_le_bytes();
                        for (k, bits) in turned.into_iter().enumerate().take(cols - column * 8) {
                            words[(column * 8 + k) * bytes + byte] = bits;
                        }
                    }
                }
            });
        }
        Self { layout, rows, cols, words }
    }

    /// The mask in the pack file's order.
    pub fn to_bits(&self) -> BitMask {
        let (panel, bytes) = (self.layout.cols(), self.layout.cols() / 8);
        BitMask::from_fn(self.rows, self.cols, |n, k| {
            let word = &self.words[(n / panel * self.cols + k) * bytes..];
            word[n % panel / 8] >> (n % 8) & 1 == 1
        })
    }

    /// The order of the bits.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Resident bytes.
    pub fn bytes(&self) -> usize {
        self.words.len()
    }

    /// The words of panel after panel.
    pub(super) fn words(&self) -> &[u8] {
        &self.words
    }
}

impl std::fmt::Debug for PanelMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PanelMask(({}, {}), {})", self.rows, self.cols, self.layout.name())
    }
}

/// Turns an 8 × 8 bit matrix (Hacker's Delight 7-3): bit `8 i + j` goes to `8 j + i`.
fn transpose(mut x: u64) -> u64 {
    for (shift, mask) in
        [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
    {
        let swap = (x ^ (x >> shift)) & mask;
        x ^= swap ^ (swap << shift);
    }
    x
}
