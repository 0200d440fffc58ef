//! From tensors to a launch: addresses, arguments, the module a kernel is in.
#![allow(unsafe_code)]

use candle_core::{
    CudaDevice, CudaStorage, DType, Layout, Result,
    backend::BackendStorage,
    bail,
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

/// Launches a kernel of `threads` threads a block, on the device's own stream.
///
/// # Errors
/// The driver's.
pub(super) fn launch(
    device: &CudaDevice,
    module: &Module,
    kernel: &str,
    blocks: (usize, usize),
    threads: u32,
    args: &[Arg<'_>],
) -> Result<()> {
    launch_on(&device.cuda_stream(), device, module, kernel, blocks, threads, args)
}

/// The same on any stream of the device: the one whose name `address` was given.
///
/// # Errors
/// The driver's.
pub(super) fn launch_on(
    stream: &CudaStream,
    device: &CudaDevice,
    module: &Module,
    kernel: &str,
    (x, y): (usize, usize),
    threads: u32,
    args: &[Arg<'_>],
) -> Result<()> {
    let function = device.get_or_load_custom_func(kernel, module.name, module.ptx)?;
    let mut builder = stream.launch_builder(&function);
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
    // SAFETY: the arguments are the kernel's, in its order; each address comes from `address`, `address_mut` or `filled`, whose
    // tensors hold what the kernel is told they hold, and lives until the guards of those are dropped.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}

/// Calls `$of::<T>($args)` for the type of numbers that `$dtype` is.
macro_rules! typed {
    ($dtype:expr, $of:ident($($args:expr),*)) => {
        match $dtype {
            DType::U8 => $of::<u8>($($args),*),
            DType::F32 => $of::<f32>($($args),*),
            DType::F16 => $of::<f16>($($args),*),
            DType::BF16 => $of::<bf16>($($args),*),
            other => bail!("no kernel for {other:?}"),
        }
    };
}

/// Where a contiguous tensor begins on the device, to be read on `stream`: that waits for its writing, and the guard
/// tells the tensor that it is being read.
pub(super) fn address<'a>(
    storage: &'a CudaStorage,
    layout: &Layout,
    stream: &'a CudaStream,
) -> Result<(u64, SyncOnDrop<'a>)> {
    fn at<'a, T: CudaDType + 'static>(
        s: &'a CudaStorage,
        stream: &'a CudaStream,
    ) -> Result<(u64, SyncOnDrop<'a>)> {
        Ok(s.as_cuda_slice::<T>()?.device_ptr(stream))
    }
    let start = start(layout, storage.dtype())?;
    let (base, guard) = typed!(storage.dtype(), at(storage, stream))?;
    Ok((base + start, guard))
}

/// The same of a tensor to be written: that waits for its reading as well.
pub(super) fn address_mut<'a>(
    storage: &'a mut CudaStorage,
    layout: &Layout,
    stream: &'a CudaStream,
) -> Result<(u64, SyncOnDrop<'a>)> {
    fn at<'a, T: CudaDType + 'static>(
        s: &'a mut CudaStorage,
        stream: &'a CudaStream,
    ) -> Result<(u64, SyncOnDrop<'a>)> {
        Ok(s.as_cuda_slice_mut::<T>()?.device_ptr_mut(stream))
    }
    let dtype = storage.dtype();
    let start = start(layout, dtype)?;
    let (base, guard) = typed!(dtype, at(storage, stream))?;
    Ok((base + start, guard))
}

/// Bytes before a contiguous tensor in its storage.
fn start(layout: &Layout, dtype: DType) -> Result<u64> {
    match layout.contiguous_offsets() {
        Some((start, _)) => Ok((start * dtype.size_in_bytes()) as u64),
        None => bail!("expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}

/// New memory for `n` elements, written by `fill` at the address it is given.
pub(super) fn filled(
    device: &CudaDevice,
    dtype: DType,
    n: usize,
    fill: impl FnOnce(u64) -> Result<()>,
) -> Result<CudaStorage> {
    fn new<T: CudaDType + DeviceRepr>(
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
    typed!(dtype, new(device, n, fill))
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
