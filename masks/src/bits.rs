//! One bit per weight, packed as the pack file stores it.

use crate::{Error, Result};

/// A binary mask over a weight matrix `(rows, cols)` = `(out, in)`.
///
/// Row-major, each row padded to a whole byte: bit `i` of byte `j` of a row is column `8 j + i`
/// (`numpy.unpackbits(..., bitorder="little")`); 1 keeps the weight. Unused tail bits are 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BitMask {
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
}

impl BitMask {
    /// A mask from packed bytes `(rows, ceil(cols / 8))`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the length differs, [`Error::TailBits`] when a bit past `cols` is set.
    pub fn from_bytes(name: &str, rows: usize, cols: usize, bytes: Vec<u8>) -> Result<Self> {
        let stride = cols.div_ceil(8);
        if rows.checked_mul(stride) != Some(bytes.len()) {
            return Err(Error::Shape {
                name: name.into(),
                expected: vec![rows, stride],
                found: vec![bytes.len()],
            });
        }
        let tail = cols % 8;
        if tail != 0 {
            let unused = !((1u8 << tail) - 1);
            if let Some(row) = bytes.chunks_exact(stride).position(|r| r[stride - 1] & unused != 0) {
                return Err(Error::TailBits { name: name.into(), row, cols });
            }
        }
        Ok(Self { rows, cols, bytes })
    }

    /// Takes the weight's shape where the file left the width open (a whole number of bytes).
    ///
    /// # Errors
    /// [`Error::Shape`] when the mask is of another weight, [`Error::TailBits`] as in [`from_bytes`](Self::from_bytes).
    pub(crate) fn fit(&mut self, name: &str, rows: usize, cols: usize) -> Result<()> {
        let padded = self.cols == 8 * cols.div_ceil(8);
        if self.rows != rows || !(self.cols == cols || padded) {
            let found = vec![self.rows, self.cols];
            return Err(Error::Shape { name: name.into(), expected: vec![rows, cols], found });
        }
        *self = Self::from_bytes(name, rows, cols, std::mem::take(&mut self.bytes))?;
        Ok(())
    }

    /// A mask whose bit at `(row, col)` is `keep(row, col)`.
    pub fn from_fn(rows: usize, cols: usize, mut keep: impl FnMut(usize, usize) -> bool) -> Self {
        let stride = cols.div_ceil(8);
        let mut bytes = vec![0u8; rows * stride];
        for r in 0..rows {
            for c in 0..cols {
                bytes[r * stride + c / 8] |= u8::from(keep(r, c)) << (c % 8);
            }
        }
        Self { rows, cols, bytes }
    }

    /// The mask that keeps every weight.
    pub fn ones(rows: usize, cols: usize) -> Self {
        Self::from_fn(rows, cols, |_, _| true)
    }

    /// Output features, the rows of the weight.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features, the columns of the weight.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of one row: `ceil(cols / 8)`.
    pub fn stride(&self) -> usize {
        self.cols.div_ceil(8)
    }

    /// All rows, packed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// One packed row of [`stride`](Self::stride) bytes.
    pub fn row(&self, row: usize) -> &[u8] {
        &self.bytes[row * self.stride()..(row + 1) * self.stride()]
    }

    /// Whether the weight at `(row, col)` is kept.
    pub fn get(&self, row: usize, col: usize) -> bool {
        self.row(row)[col / 8] >> (col % 8) & 1 == 1
    }

    /// Weights kept.
    pub fn count_ones(&self) -> usize {
        let (words, rest) = self.bytes.as_chunks::<8>();
        let of_words: usize = words.iter().map(|w| u64::from_ne_bytes(*w).count_ones() as usize).sum();
        of_words + rest.iter().map(|b| b.count_ones() as usize).sum::<usize>()
    }

    /// Weights covered: `rows × cols`.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether the mask covers no weight at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
