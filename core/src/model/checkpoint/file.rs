//! Mapped files and the tensors in them.

use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::{fs::File, ops::Deref, path::Path};

/// The bytes of a checkpoint file.
#[derive(Debug)]
pub(super) enum Bytes {
    Mapped(memmap2::Mmap),
    Embedded(&'static [u8]),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Embedded(bytes) => bytes,
        }
    }
}

impl Bytes {
    /// Lets go of what was read of a mapped tensor, so that a checkpoint read tensor by tensor never counts
    /// as memory in whole.
    #[allow(unsafe_code)]
    pub(super) fn release(&self, entry: &Entry) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self {
            let end = entry.end.min(map.len());
            let start = entry.start.min(end);
            // SAFETY: the map is private and never written, so dropped pages come back from the file as they were.
            // A refusal costs memory only.
            let _ =
                unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
        }
    }
}

/// Maps a checkpoint, so that only the tensors asked for are ever read from disk.
#[allow(unsafe_code)]
pub(super) fn map(path: &Path) -> Result<Bytes> {
    let fail = |e: std::io::Error| Error::Model(format!("{}: {e}", path.display()));
    let file = File::open(path).map_err(fail)?;
    // SAFETY: the map is private and read-only, and lives only while loading; a checkpoint rewritten in
    // place meanwhile would give wrong weights, as with any reader.
    unsafe { memmap2::Mmap::map(&file) }.map(Bytes::Mapped).map_err(fail)
}

/// Where a tensor lies in its file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// Elements from one index to the next, per dimension; row-major when `None`.
    pub strides: Option<Vec<usize>>,
    /// Of the first element.
    pub start: usize,
    /// Of the storage, exclusive.
    pub end: usize,
}

impl Entry {
    /// Reads the tensor to the CPU, checked against the storage's bounds.
    pub(super) fn read(&self, file: &[u8]) -> Result<Tensor, String> {
        let size = self.dtype.size_in_bytes();
        let count = self.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let storage = file.get(self.start..self.end).unwrap_or_default();
        let available = storage.len() / size;
        let beyond = || format!("shape {:?} needs more than the {available} elements stored", self.shape);
        let count = count.ok_or_else(beyond)?;
        let raw = |data: &[u8]| {
            Tensor::from_raw_buffer(data, self.dtype, &self.shape, &Device::Cpu).map_err(|e| e.to_string())
        };
        match self.strides.as_deref().filter(|strides| !row_major(&self.shape, strides)) {
            None if count <= available => raw(&storage[..count * size]),
            Some(strides) if count <= available => {
                let mut data = Vec::with_capacity(count * size);
                for i in 0..count {
                    let at =
                        offset(i, &self.shape, strides).filter(|at| *at < available).ok_or_else(beyond)?;
                    data.extend_from_slice(&storage[at * size..(at + 1) * size]);
                }
                raw(&data)
            }
            _ => Err(beyond()),
        }
    }
}

fn row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(size, stride)| {
        let fits = *size == 1 || *stride == expected;
        expected *= size;
        fits
    })
}

/// Element offset of the `i`-th element in row-major order.
fn offset(mut i: usize, shape: &[usize], strides: &[usize]) -> Option<usize> {
    let mut at = 0usize;
    for (size, stride) in shape.iter().zip(strides).rev() {
        at = at.checked_add((i % size).checked_mul(*stride)?)?;
        i /= size;
    }
    Some(at)
}
