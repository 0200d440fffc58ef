//! Safetensors headers; the safetensors crate checks them.

use super::file::Entry;
use candle_core::DType;
use safetensors::{Dtype, SafeTensors};

/// Every floating-point tensor of the file.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<(String, Entry)>, String> {
    let (header, metadata) = SafeTensors::read_metadata(bytes)
        .map_err(|e| format!("neither safetensors ({e}) nor a PyTorch checkpoint: is the file complete?"))?;
    let data = header + 8;
    let entries = metadata.tensors().into_iter().filter_map(|(name, info)| {
        let (from, to) = info.data_offsets;
        let entry = Entry {
            dtype: dtype(info.dtype)?,
            shape: info.shape.clone(),
            strides: None,
            start: data + from,
            end: data + to,
        };
        Some((name, entry))
    });
    Ok(entries.collect())
}

fn dtype(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        Dtype::F32 => Some(DType::F32),
        Dtype::F64 => Some(DType::F64),
        _ => None,
    }
}
