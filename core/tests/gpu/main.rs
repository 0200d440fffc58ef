//! The kernels of a GPU, and the whole model on it, against the CPU's. Needs `--features cuda` and a device: a real one
//! (`tests/gpu/run.sh`), or the emulated one behind the same driver functions (`deploy/cuda/check.sh`).

#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

mod ahead;
mod device;
mod kernels;
mod learn;
mod model;

use candle_core::{DType, Device, Tensor};
use device::gpu;
use s3router_masks::BitMask;

/// Numbers between -1 and 1 that are the same on each run.
fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let n = shape.iter().product();
    Tensor::from_vec((0..n).map(|_| next()).collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
}

fn mask(rows: usize, cols: usize, seed: usize) -> BitMask {
    BitMask::from_fn(rows, cols, |n, k| !(n * 7 + k * 13 + n * k + seed).is_multiple_of(5))
}

/// Largest difference over the largest magnitude expected.
fn distance(found: &Tensor, expected: &Tensor) -> f32 {
    let found = found.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    assert_eq!(found.dims(), expected.dims());
    let largest =
        |t: &Tensor| t.flatten_all().unwrap().abs().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
    let distance = largest(&(found - expected).unwrap()) / largest(expected);
    if distance.is_nan() { f32::INFINITY } else { distance }
}

/// What rounding to a type may cost, relative to the largest value.
fn allowed(dtype: DType) -> f32 {
    match dtype {
        DType::F32 => 2e-6,
        DType::F16 => 1e-3,
        _ => 8e-3,
    }
}
