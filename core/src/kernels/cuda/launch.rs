//! From tensors to a launch: addresses, arguments, the module a kernel is in.
#![allow(unsafe_code)]

use candle_core::{
    CudaDevice, CudaStorage, DType, Layout, Result, bail,
    cuda_backend::{
        CudaDType, WrapErr,
        cudarc::driver::{
            CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg, SyncOnDrop,
        },
    },
};
use half::{bf16, f16};

/// A file of PTX, and the name under which the device keeps it once loaded.
pub(super) struct Module {
    pub(super) name: &'static str,
    pub(super) ptx: &'static str,
}

/// An argument of a kernel.
pub(super) enum Arg<'a> {
    Address(u64),
    U32(u32),
    U64(u64),
    F32(f32),
    Segments(&'a Segments),
    Lengths(&'a Lengths),
}

/// Segments in one launch of the fused kernel.
pub(super) const SEGMENTS: usize = 32;
/// Rows of a batch in one launch of the softmax.
pub(super) const BATCH: usize = 128;

/// `Segment` of masked_gemm.cuh.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Segment {
    pub(super) begin: u32,
    pub(super) end: u32,
    pub(super) mask: u64,
}

/// `Segments` of masked_gemm.cuh.
#[repr(C)]
pub(super) struct Segments {
    pub(super) at: [Segment; SEGMENTS],
    pub(super) count: u32,
}

/// `Lengths` of rows.cuh.
#[repr(C)]
pub(super) struct Lengths {
    pub(super) at: [u32; BATCH],
}

// SAFETY: plain data in C's layout, as the kernels declare it; 520 and 512 bytes there and here.
unsafe impl DeviceRepr for Segments {}
// SAFETY: as above.
unsafe impl DeviceRepr for Lengths {}
const _: () = assert!(size_of::<Segments>() == 520 && size_of::<Lengths>() == 512);

/// Launches a kernel of `threads` threads a block.
///
/// # Errors
/// The driver's.
pub(super) fn launch(
    device: &CudaDevice,
    module: &Module,
    kernel: &str,
    (x, y): (usize, usize),
    threads: u32,
    args: &[Arg<'_>],
) -> Result<()> {
    let function = device.get_or_load_custom_func(kernel, module.name, module.ptx)?;
    let mut builder = function.builder();
    for arg in args {
        match arg {
            Arg::Address(v) => builder.arg(v),
            Arg::U32(v) => builder.arg(v),
            Arg::U64(v) => builder.arg(v),
            Arg::F32(v) => builder.arg(v),
            Arg::Segments(v) => builder.arg(*v),
            Arg::Lengths(v) => builder.arg(*v),
        };
    }
    let grid_dim = (u32::try_from(x).map_err(candle_core::Error::wrap)?, y as u32, 1);
    let config = LaunchConfig { grid_dim, block_dim: (threads, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: the arguments are the kernel's, in its order; each address comes from `address` or `filled`, whose
    // tensors hold what the kernel is told they hold, and lives until the guards of those are dropped.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}

/// Where a contiguous tensor begins on the device. The guard tells its stream that it is being read.
pub(super) fn address<'a>(
    storage: &'a CudaStorage,
    layout: &Layout,
    stream: &'a CudaStream,
) -> Result<(u64, SyncOnDrop<'a>)> {
    let Some((start, _)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous tensor, got strides {:?}", layout.stride())
    };
    fn at<'a, T: CudaDType + 'static>(
        s: &'a CudaStorage,
        stream: &'a CudaStream,
    ) -> Result<(u64, SyncOnDrop<'a>)> {
        Ok(s.as_cuda_slice::<T>()?.device_ptr(stream))
    }
    use candle_core::backend::BackendStorage;
    let (base, guard) = match storage.dtype() {
        DType::U8 => at::<u8>(storage, stream),
        DType::F32 => at::<f32>(storage, stream),
        DType::F16 => at::<f16>(storage, stream),
        DType::BF16 => at::<bf16>(storage, stream),
        other => bail!("no kernel for {other:?}"),
    }?;
    Ok((base + (start * storage.dtype().size_in_bytes()) as u64, guard))
}

/// New memory for `n` elements, written by `fill` at the address it is given.
pub(super) fn filled(
    device: &CudaDevice,
    dtype: DType,
    n: usize,
    fill: impl FnOnce(u64) -> Result<()>,
) -> Result<CudaStorage> {
    fn typed<T: CudaDType + DeviceRepr>(
        device: &CudaDevice,
        n: usize,
        fill: impl FnOnce(u64) -> Result<()>,
    ) -> Result<CudaStorage> {
        // SAFETY: every kernel here writes each element of its result.
        let mut out = unsafe { device.alloc::<T>(n)? };
        let stream = device.cuda_stream();
        let (at, guard) = out.device_ptr_mut(&stream);
        fill(at)?;
        drop(guard);
        Ok(CudaStorage::wrap_cuda_slice(out, device.clone()))
    }
    match dtype {
        DType::F32 => typed::<f32>(device, n, fill),
        DType::F16 => typed::<f16>(device, n, fill),
        DType::BF16 => typed::<bf16>(device, n, fill),
        other => bail!("no kernel for {other:?}"),
    }
}

/// `f32`, `f16`, `bf16`, as kernels are called.
pub(super) fn type_name(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::F16 => Ok("f16"),
        DType::BF16 => Ok("bf16"),
        other => bail!("no kernel for {other:?}"),
    }
}
