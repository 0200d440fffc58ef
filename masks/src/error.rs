//! Everything that can be wrong with a pack; each message names the tensor and both numbers.

use std::path::PathBuf;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a pack, a mask or a language tag was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A tensor has another shape than its place demands.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// The shape that fits.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A bit past the last column is set.
    #[error("mask `{name}` sets a bit past column {cols} in row {row}: unused tail bits must be 0")]
    TailBits {
        /// The mask.
        name: String,
        /// Its first offending row.
        row: usize,
        /// Columns the mask covers.
        cols: usize,
    },
}
