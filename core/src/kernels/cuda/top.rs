//! The mask of the largest scores on a GPU: the limit is found by counting, then all are compared with it.

use super::{
    BUSY, TOPK,
    launch::{Arg, address, filled, launch},
};
use candle_core::{
    CudaDevice, CudaStorage, DType, Layout, Result, backend::BackendStorage, bail,
    cuda_backend::cudarc::driver::DevicePtrMut,
};

/// Shift and width of the parts of a key (topk.cuh) from its top: 31 bits of magnitude, then 32 of index.
const PARTS: [(u32, u32); 6] = [(52, 11), (41, 11), (32, 9), (21, 11), (10, 11), (0, 10)];
/// Scores that a block counts, so that its 2048 counts are few beside them.
const PER_BLOCK: usize = 16_384;

/// 0 for the `dropped` of the scores (f32) that are smallest in magnitude, of equal ones the first; 1 for the others.
///
/// # Errors
/// Scores that are not f32 or not contiguous, more than 2³², the device's.
pub fn top(scores: &CudaStorage, layout: &Layout, dropped: usize) -> Result<CudaStorage> {
    let device = scores.device();
    if scores.dtype() != DType::F32 {
        bail!("top-k of scores in {:?}: f32 only", scores.dtype());
    }
    let n = layout.shape().elem_count();
    let count = u32::try_from(n).map_err(candle_core::Error::wrap)?;
    let stream = device.cuda_stream();
    let (at, _read) = address(scores, layout, &stream)?;
    let limit = if dropped == 0 { 0 } else { limit(device, at, count, dropped)? };
    filled(device, DType::F32, n, |to| {
        let args = [Arg::Address(at), Arg::Address(to), Arg::U32(count), Arg::U64(limit)];
        launch(device, &TOPK, "topk_mask", (n.div_ceil(256).clamp(1, BUSY), 1), 256, &args)
    })
}

/// The least key that is kept; at least one is dropped.
fn limit(device: &CudaDevice, scores: u64, n: u32, dropped: usize) -> Result<u64> {
    let (mut prefix, mut below) = (0, 0);
    for (shift, bits) in PARTS {
        let counts = counts(device, scores, n, (shift, bits), prefix)?;
        let mut value = 0;
        while let Some(&here) = counts.get(value)
            && below + (here as usize) < dropped
        {
            below += here as usize;
            value += 1;
        }
        let Some(&here) = counts.get(value) else { break };
        prefix = prefix << bits | value as u64;
        if below + here as usize == dropped {
            return Ok((prefix + 1) << shift);
        }
    }
    bail!("top-k: {dropped} of {n} scores are to be dropped, and the counts do not add up")
}

/// How many of the keys that begin with `prefix` have each value of the next part.
fn counts(
    device: &CudaDevice,
    scores: u64,
    n: u32,
    (shift, bits): (u32, u32),
    prefix: u64,
) -> Result<Vec<u32>> {
    let mut counts = device.alloc_zeros::<u32>(1 << bits)?;
    let stream = device.cuda_stream();
    let (to, written) = counts.device_ptr_mut(&stream);
    let [n_arg, shift, bits] = [n, shift, bits].map(Arg::U32);
    let args = [Arg::Address(scores), Arg::Address(to), n_arg, shift, bits, Arg::U64(prefix)];
    launch(device, &TOPK, "topk_count", ((n as usize).div_ceil(PER_BLOCK).clamp(1, BUSY), 1), 256, &args)?;
    drop(written);
    device.clone_dtoh(&counts)
}
