//! The driver's functions that candle and cudarc call, by their names.
//!
//! Environment: `S3ROUTER_EMULATED_GPUS` devices (1), of compute capability `S3ROUTER_EMULATED_CAPABILITY` (80), with
//! `S3ROUTER_EMULATED_PROCESSORS` multiprocessors (108), for whoever plans by them.
//! `S3ROUTER_EMULATED_DEAF` is the number of a stream that waits for nobody, from the first one made (1) on: a mutant.

#![allow(unsafe_code, reason = "these are the C functions of a driver: their callers hand over raw pointers")]
#![allow(non_snake_case, reason = "the driver's names")]

mod memory;
mod streams;

use crate::{
    blas::{self, Matrix},
    memory::Heap,
    ptx::{Kernel, Module, Type},
    run::{Grid, launch},
};
use half::f16;
use std::{
    collections::HashMap,
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    sync::{Mutex, MutexGuard, PoisonError},
};
use streams::number;

const INVALID_VALUE: c_int = 1;
const OUT_OF_RANGE: c_int = 101;
const BAD_IMAGE: c_int = 218;
const NOT_FOUND: c_int = 500;
const LAUNCH_FAILED: c_int = 719;
const NOT_SUPPORTED: c_int = 801;

static HEAP: Mutex<Option<Heap>> = Mutex::new(None);

fn with_heap<T>(work: impl FnOnce(&mut Heap) -> T) -> T {
    let mut heap: MutexGuard<'_, Option<Heap>> = HEAP.lock().unwrap_or_else(PoisonError::into_inner);
    work(heap.get_or_insert_default())
}

/// Says on standard error what went wrong, as a debugger would, and gives the driver's code for it.
fn answer(outcome: Result<(), String>, code: c_int) -> c_int {
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("emulated GPU: {error}");
            code
        }
    }
}

fn setting(name: &str, default: c_int) -> c_int {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// # Safety
/// `to` is null or valid for a write, as the driver's own functions ask.
unsafe fn put<T>(to: *mut T, value: T) -> c_int {
    if to.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: the caller's.
    unsafe { to.write(value) };
    0
}

macro_rules! always {
    ($code:expr; $($name:ident),*) => { $(#[unsafe(no_mangle)] extern "C" fn $name() -> c_int { $code })* };
}
/// Functions that put one value where their first argument points.
macro_rules! gives {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty = $value:expr;)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(to: *mut $out, $($arg: $ty),*) -> c_int {
            // SAFETY: the driver's own contract for this function.
            unsafe { put(to, $value) }
        }
    )* };
}

always!(0; cuInit, cuCtxSetCurrent, cuCtxDestroy_v2, cuDevicePrimaryCtxRelease_v2, cuStreamDestroy_v2, cuModuleUnload,
    cublasDestroy_v2, curandDestroyGenerator, curandSetStream, curandSetPseudoRandomGeneratorSeed);
always!(NOT_SUPPORTED; cuGetExportTable, cuGetProcAddress, cuGetProcAddress_v2, cuModuleLoad);
always!(15; cublasDgemmStridedBatched); // CUBLAS_STATUS_NOT_SUPPORTED
always!(201; curandGenerateNormal, curandGenerateNormalDouble, curandGenerateUniform);
gives! {
    cuDriverGetVersion() -> c_int = 13_000;
    cuDeviceGetCount() -> c_int = setting("S3ROUTER_EMULATED_GPUS", 1);
    cuDevicePrimaryCtxRetain(device: c_int) -> usize = 16 + device as usize;
    cuCtxGetCurrent() -> usize = 16;
    cuEventCreate(_flags: c_uint) -> usize = streams::handle(&streams::EVENTS);
    cuStreamCreate(_flags: c_uint) -> usize = streams::handle(&streams::STREAMS);
    cublasCreate_v2() -> usize = streams::handle(&streams::BLAS);
    curandCreateGenerator(_kind: c_int) -> usize = 8;
    cuDeviceTotalMem_v2(_device: c_int) -> usize = 1 << 34;
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamIsCapturing(_stream: usize, to: *mut c_int) -> c_int {
    // SAFETY: the driver's own contract.
    unsafe { put(to, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(to: *mut c_int, ordinal: c_int) -> c_int {
    match (0..setting("S3ROUTER_EMULATED_GPUS", 1)).contains(&ordinal) {
        // SAFETY: the driver's own contract.
        true => unsafe { put(to, ordinal) },
        false => OUT_OF_RANGE,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(to: *mut c_int, attribute: c_int, _device: c_int) -> c_int {
    let capability = setting("S3ROUTER_EMULATED_CAPABILITY", 80);
    let value = match attribute {
        10 => 32, // warp size
        16 => setting("S3ROUTER_EMULATED_PROCESSORS", 108),
        115 => 1, // memory pools: allocations in the order of a stream
        75 => capability / 10,
        76 => capability % 10,
        _ => 0,
    };
    // SAFETY: the driver's own contract.
    unsafe { put(to, value) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(to: *mut c_char, len: c_int, _device: c_int) -> c_int {
    let name = c"emulated GPU (no speed)".to_bytes_with_nul();
    if to.is_null() || (len as usize) < name.len() {
        return INVALID_VALUE;
    }
    // SAFETY: `to` holds `len` bytes, and the name fits.
    unsafe { std::ptr::copy_nonoverlapping(name.as_ptr().cast(), to, name.len()) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> c_int {
    // SAFETY: the driver's own contract.
    unsafe { put(free, 1 << 34) | put(total, 1 << 34) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(_code: c_int, to: *mut *const c_char) -> c_int {
    // SAFETY: the driver's own contract.
    unsafe { put(to, c"an error of the emulated GPU: its reason is on standard error".as_ptr()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(_code: c_int, to: *mut *const c_char) -> c_int {
    // SAFETY: the driver's own contract.
    unsafe { put(to, c"CUDA_ERROR_EMULATED".as_ptr()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(to: *mut *const Module, image: *const c_char) -> c_int {
    // SAFETY: PTX is text that ends in 0; candle loads nothing else.
    let text = unsafe { CStr::from_ptr(image) };
    match text.to_str().map_err(|e| e.to_string()).and_then(Module::parse) {
        // SAFETY: the driver's own contract. A module stays for the life of the process.
        Ok(module) => unsafe { put(to, Box::leak(Box::new(module))) },
        Err(error) => answer(Err(error), BAD_IMAGE),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(
    to: *mut *const Kernel,
    module: *const Module,
    name: *const c_char,
) -> c_int {
    // SAFETY: a module of cuModuleLoadData, and text that ends in 0.
    let (module, name) = unsafe { (&*module, CStr::from_ptr(name)) };
    match name.to_str().ok().and_then(|name| module.kernel(name)) {
        // SAFETY: the driver's own contract.
        Some(kernel) => unsafe { put(to, kernel) },
        None => answer(Err(format!("no kernel {name:?} in this module")), NOT_FOUND),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    kernel: *const Kernel,
    gx: c_uint,
    gy: c_uint,
    gz: c_uint,
    bx: c_uint,
    by: c_uint,
    bz: c_uint,
    shared: c_uint,
    stream: usize,
    params: *const *const u8,
    _extra: *const c_void,
) -> c_int {
    // SAFETY: a kernel of cuModuleGetFunction.
    let kernel = unsafe { &*kernel };
    let arguments: Vec<&[u8]> = kernel
        .params
        .iter()
        .enumerate()
        // SAFETY: one pointer per parameter, each to as many bytes as the parameter has.
        .map(|(i, (_, size))| unsafe { std::slice::from_raw_parts(*params.add(i), *size) })
        .collect();
    let grid = Grid { blocks: [gx, gy, gz], threads: [bx, by, bz], shared: shared as usize };
    let run = |heap: &mut Heap| {
        heap.order.begin(number(stream));
        launch(kernel, &grid, &kernel.pack(&arguments)?, heap)
    };
    answer(with_heap(run), LAUNCH_FAILED)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasGemmStridedBatchedEx(
    handle: usize,
    transa: c_int,
    transb: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const c_void,
    a: u64,
    a_type: c_int,
    lda: c_int,
    a_stride: i64,
    b: u64,
    b_type: c_int,
    ldb: c_int,
    b_stride: i64,
    beta: *const c_void,
    c: u64,
    c_type: c_int,
    ldc: c_int,
    c_stride: i64,
    batches: c_int,
    compute: c_int,
    _algorithm: c_int,
) -> c_int {
    let types = HashMap::from([(0, Type::F32), (2, Type::F16), (14, Type::BF16)]);
    let matrix = |address, ty, leading: c_int, stride: i64, transposed: c_int| {
        let ty = *types.get(&ty).ok_or_else(|| format!("a product of type {ty}"))?;
        let (leading, stride) = (leading as usize, stride as usize);
        Ok::<_, String>(Matrix { address, ty, leading, stride, transposed: transposed != 0 })
    };
    let scale = |at: *const c_void| match compute {
        // SAFETY: both point to a number of the type in which cuBLAS computes.
        64 => unsafe { at.cast::<f16>().read().to_f32() },
        _ => unsafe { at.cast::<f32>().read() },
    };
    let work = || {
        if scale(beta) != 0.0 {
            return Err("a product that adds to what is there".to_owned());
        }
        let operands = [
            matrix(a, a_type, lda, a_stride, transa)?,
            matrix(b, b_type, ldb, b_stride, transb)?,
            matrix(c, c_type, ldc, c_stride, 0)?,
        ];
        let size = [m, n, k].map(|n| n as usize);
        with_heap(|heap| {
            heap.order.begin(streams::of_blas(handle));
            blas::product(heap, size, scale(alpha), operands, batches as usize)
        })
    };
    answer(work(), 13) // CUBLAS_STATUS_EXECUTION_FAILED
}
