//! The same model on a GPU: what candle's CUDA backend lacks, and what is better in one pass.
//!
//! | file | kernel | does |
//! |---|---|---|
//! | `expand.cuh` | `expand` | W ⊙ M from bits into a scratch, then cuBLAS: for many rows, beside the product before (`ahead`) |
//! | `masked_gemm.cuh` | `fused` | x (W ⊙ M)ᵀ on the tensor cores, W masked on its way, rows of several languages: for few |
//! | `rows.cuh` | `layer_norm`, `softmax`, bias and GELU | half precision in memory, f32 while computing |
//! | `topk.cuh` | `top` | learning: the mask of the largest scores, exactly the CPU's |
//!
//! [`plan`] chooses between those of a masked product, call by call. `linear` is the door; `crate::linear` and `model::ops` ask
//! for it where tensors live on a GPU and nobody wants a gradient. Resident weights are only read. Learning takes
//! candle's own operations for the rest, since they know their gradients.
//!
//! The `.cuh` files include nothing but each other; the PTX that nvcc 13.0 makes of them is committed, compared in CI
//! (`deploy/cuda/ptx.sh --check`), and compiled for the GPU at hand by its driver. None of this has met a real GPU yet:
//! `tests/emulator` runs the PTX instruction by instruction, and behind the driver's functions the whole forward pass.

mod mask;
pub mod plan;

pub use mask::DeviceMask;

#[cfg(feature = "cuda")]
mod ahead;
#[cfg(feature = "cuda")]
mod launch;
#[cfg(feature = "cuda")]
mod linear;
#[cfg(feature = "cuda")]
mod rows;
#[cfg(feature = "cuda")]
mod scores;
#[cfg(feature = "cuda")]
mod top;

#[cfg(feature = "cuda")]
pub use self::{
    ahead::Ahead,
    linear::{expand, fused, linear},
    rows::{layer_norm, softmax},
    scores::scores,
    top::top,
};

#[cfg(feature = "cuda")]
use {
    candle_core::{
        Device, Tensor, cuda_backend::WrapErr, cuda_backend::cudarc::driver::sys::CUdevice_attribute,
    },
    launch::Module,
    std::{collections::BTreeMap, sync::RwLock},
};

/// Blocks that keep any GPU busy; loops over the rest.
#[cfg(feature = "cuda")]
const BUSY: usize = 16_384;

#[cfg(feature = "cuda")]
const EXPAND: Module = Module { name: "s3router_expand", ptx: include_str!("expand.ptx") };
#[cfg(feature = "cuda")]
const MASKED_GEMM: Module = Module { name: "s3router_masked_gemm", ptx: include_str!("masked_gemm.ptx") };
#[cfg(feature = "cuda")]
const ROWS: Module = Module { name: "s3router_rows", ptx: include_str!("rows.ptx") };
#[cfg(feature = "cuda")]
const TOPK: Module = Module { name: "s3router_topk", ptx: include_str!("topk.ptx") };

/// Whether these kernels can take tensors: on a GPU, no gradient asked.
#[cfg(feature = "cuda")]
pub fn serves(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| t.device().is_cuda() && !t.track_op())
}

/// What the GPU of a device can do; asked of its driver once.
///
/// # Errors
/// The driver's, or a device that is no GPU.
#[cfg(feature = "cuda")]
pub fn machine(device: &Device) -> candle_core::Result<plan::Machine> {
    static KNOWN: RwLock<BTreeMap<usize, plan::Machine>> = RwLock::new(BTreeMap::new());
    let stream = device.as_cuda_device()?.cuda_stream();
    let context = stream.context();
    let ordinal = context.ordinal();
    let known = KNOWN.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&ordinal).copied();
    if let Some(known) = known {
        return Ok(known);
    }
    let processors = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT).w()?;
    let capability = context.compute_capability().w()?;
    let found = plan::Machine::of(&context.name().w()?, capability, processors.max(1) as usize);
    KNOWN.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(ordinal, found);
    Ok(found)
}
