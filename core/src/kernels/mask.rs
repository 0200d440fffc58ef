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
            Layout::Panels(tier) => match tier.panel() {
                8 => panels::<1>(mask),
                16 => panels::<2>(mask),
                _ => panels::<4>(mask),
            },
            Layout::Tiles(_) => tiles(mask),
        };
        Self { layout, rows: mask.rows(), cols: mask.cols(), words }
    }

    /// The mask in the pack file's order.
    pub fn to_bits(&self) -> BitMask {
        let (panel, steps) = (self.layout.cols(), self.cols.div_ceil(32));
        BitMask::from_fn(self.rows, self.cols, |n, k| {
            let bit = match self.layout {
                Layout::Panels(_) => (n / panel * self.cols + k) * panel + n % panel,
                Layout::Tiles(_) => {
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

/// Blocks of bits turned side by side, so that the compiler turns them in one vector.
const LANES: usize = 8;

/// 32 columns of each of `R` rows, for [`LANES`] steps of 32 columns: word `[row][step]`; zeros beyond the mask.
fn block<const R: usize>(mask: &BitMask, row: usize, step: usize) -> [[u32; LANES]; R] {
    let stride = mask.stride();
    let mut block = [[0; LANES]; R];
    for (lanes, row) in block.iter_mut().zip(row..mask.rows()) {
        let bytes = &mask.bytes()[row * stride + step * 4..(row + 1) * stride];
        for (lane, part) in lanes.iter_mut().zip(bytes.chunks(4)) {
            let mut four = [0; 4];
            four[..part.len()].copy_from_slice(part);
            *lane = u32::from_le_bytes(four);
        }
    }
    block
}

/// Lets bits of rows `size` apart change places, in every block: those of `from`, the columns that stay below, with
/// those `shift` columns further.
fn exchange<const R: usize>(block: &mut [[u32; LANES]; R], size: usize, shift: usize, from: u32) {
    for upper in (0..R).filter(|row| row & size == 0) {
        let (mut a, mut b) = (block[upper], block[upper + size]);
        for (a, b) in a.iter_mut().zip(&mut b) {
            let swap = (*a >> shift ^ *b) & from;
            *b ^= swap;
            *a ^= swap << shift;
        }
        (block[upper], block[upper + size]) = (a, b);
    }
}

/// The words of panels `8 · BYTES` outputs wide; 32 rows, so several narrow panels, are turned at once.
fn panels<const BYTES: usize>(mask: &BitMask) -> Vec<u8> {
    let cols = mask.cols();
    let mut words = vec![0u8; mask.rows().div_ceil(8 * BYTES) * cols * BYTES];
    words.par_chunks_mut((cols * 4).max(1)).enumerate().for_each(|(group, words)| {
        for first in (0..cols.div_ceil(32)).step_by(LANES) {
            let mut block = block::<32>(mask, group * 32, first);
            for (size, from) in
                [(16, 0x0000_ffff), (8, 0x00ff_00ff), (4, 0x0f0f_0f0f), (2, 0x3333_3333), (1, 0x5555_5555)]
            {
                exchange(&mut block, size, size, from);
            }
            // Word `[column][step]` now holds a bit for each of the 32 rows.
            for (panel, words) in words.chunks_mut(cols * BYTES).enumerate() {
                let words = words[first * 32 * BYTES..].as_chunks_mut::<BYTES>().0;
                for (step, words) in words.chunks_mut(32).take(LANES).enumerate() {
                    for (steps, word) in block.iter().zip(words) {
                        let bytes = steps[step].to_le_bytes();
                        word.copy_from_slice(&bytes[panel * BYTES..][..BYTES]);
                    }
                }
            }
        }
    });
    words
}

/// The words of tiles: a word holds 16 outputs' bits of two neighbouring inputs.
fn tiles(mask: &BitMask) -> Vec<u8> {
    let steps = mask.cols().div_ceil(32);
    let mut words = vec![0u8; mask.rows().div_ceil(32) * steps * 128];
    words.par_chunks_mut((steps * 128).max(1)).enumerate().for_each(|(panel, words)| {
        for half in 0..2 {
            for first in (0..steps).step_by(LANES) {
                let mut block = block::<16>(mask, panel * 32 + half * 16, first);
                for (size, from) in [(8, 0x0000_ffff), (4, 0x00ff_00ff), (2, 0x0f0f_0f0f), (1, 0x3333_3333)] {
                    exchange(&mut block, size, 2 * size, from);
                }
                for (step, words) in words[first * 128..].chunks_mut(128).take(LANES).enumerate() {
                    for (steps, word) in block.iter().zip(words[half * 64..].as_chunks_mut::<4>().0) {
                        *word = steps[step].to_le_bytes();
                    }
                }
            }
        }
    });
    words
}
