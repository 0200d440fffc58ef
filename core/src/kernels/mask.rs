//! A mask in the order in which the kernel meets the weights.

use super::Layout;
use rayon::prelude::*;
use s3router_masks::BitMask;

/// A [`BitMask`] with a bit for each element of a packed weight, in its order.
///
/// In panels bit `j` of word `[panel][k]`, `COLS / 8` bytes, keeps weight `(panel · COLS + j, k)`; in tiles a
/// word of 4 bytes keeps one row of a tile. Little-endian; the size is the pack's own, rounded up to whole panels.
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
        let words = match layout {
            Layout::Panels(tier) => panels(tier.panel(), mask),
            Layout::Tiles => tiles(mask),
        };
        Self { layout, rows: mask.rows(), cols: mask.cols(), words }
    }

    /// The mask in the pack file's order.
    pub fn to_bits(&self) -> BitMask {
        let (panel, steps) = (self.layout.cols(), self.cols.div_ceil(32));
        BitMask::from_fn(self.rows, self.cols, |n, k| {
            let bit = match self.layout {
                Layout::Panels(_) => (n / panel * self.cols + k) * panel + n % panel,
                Layout::Tiles => {
                    let tile = (n / 32 * steps + k / 32) * 2 + n % 32 / 16;
                    tile * 512 + k % 32 / 2 * 32 + n % 16 * 2 + k % 2
                }
            };
            self.words[bit / 8] >> (bit % 8) & 1 == 1
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

/// The words of panels `panel` outputs wide.
fn panels(panel: usize, mask: &BitMask) -> Vec<u8> {
    let (rows, cols, stride, bytes) = (mask.rows(), mask.cols(), mask.stride(), panel / 8);
    let mut words = vec![0u8; rows.div_ceil(panel) * cols * bytes];
    if cols == 0 {
        return words;
    }
    words.par_chunks_mut(cols * bytes).enumerate().for_each(|(index, words)| {
        for byte in 0..bytes {
            let first = index * panel + byte * 8;
            for column in 0..stride {
                // Eight rows' bits of eight columns, turned: byte k then holds column k, bit j row j.
                let rows = std::array::from_fn(|j| match first + j < rows {
                    true => mask.bytes()[(first + j) * stride + column],
                    false => 0,
                });
                let turned = turn_bits(u64::from_le_bytes(rows)).to_le_bytes();
                for (k, bits) in turned.into_iter().enumerate().take(cols - column * 8) {
                    words[(column * 8 + k) * bytes + byte] = bits;
                }
            }
        }
    });
    words
}

/// Turns an 8 × 8 bit matrix (Hacker's Delight 7-3): bit `8 i + j` goes to `8 j + i`.
fn turn_bits(mut x: u64) -> u64 {
    for (shift, mask) in
        [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
    {
        let swap = (x ^ (x >> shift)) & mask;
        x ^= swap ^ (swap << shift);
    }
    x
}

/// Tiles turned side by side, so that the compiler turns them in one vector.
const LANES: usize = 8;

/// The words of tiles: a word holds 16 outputs' bits of two neighbouring inputs.
fn tiles(mask: &BitMask) -> Vec<u8> {
    let (rows, stride, steps) = (mask.rows(), mask.stride(), mask.cols().div_ceil(32));
    let mut words = vec![0u8; rows.div_ceil(32) * steps * 128];
    if steps == 0 {
        return words;
    }
    words.par_chunks_mut(steps * 128).enumerate().for_each(|(panel, words)| {
        for half in 0..2 {
            for first in (0..steps).step_by(LANES) {
                // Row j's 32 columns of each step: word [j][step].
                let mut block = [[0u32; LANES]; 16];
                for (j, lanes) in block.iter_mut().enumerate() {
                    let row = panel * 32 + half * 16 + j;
                    if row < rows {
                        let bytes = &mask.bytes()[row * stride..(row + 1) * stride];
                        for (lane, part) in lanes.iter_mut().zip(bytes[first * 4..].chunks(4)) {
                            let mut four = [0; 4];
                            four[..part.len()].copy_from_slice(part);
                            *lane = u32::from_le_bytes(four);
                        }
                    }
                }
                turn_pairs(&mut block);
                for (pair, lanes) in block.iter().enumerate() {
                    for (lane, word) in lanes.iter().enumerate().take(steps - first) {
                        let at = (((first + lane) * 2 + half) * 16 + pair) * 4;
                        words[at..at + 4].copy_from_slice(&word.to_le_bytes());
                    }
                }
            }
        }
    });
    words
}

/// Turns 16 × 16 matrices of pairs of bits, one a lane: blocks of 8, then 4, 2 and 1 change places.
fn turn_pairs(block: &mut [[u32; LANES]; 16]) {
    for (size, mask) in [(8, 0x0000_ffff), (4, 0x00ff_00ff), (2, 0x0f0f_0f0f), (1, 0x3333_3333)] {
        for upper in (0..16).filter(|row| row & size == 0) {
            let (mut a, mut b) = (block[upper], block[upper + size]);
            for (a, b) in a.iter_mut().zip(&mut b) {
                let swap = (*a >> (2 * size) ^ *b) & mask;
                *b ^= swap;
                *a ^= swap << (2 * size);
            }
            (block[upper], block[upper + size]) = (a, b);
        }
    }
}
