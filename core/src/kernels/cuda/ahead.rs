//! W ⊙ M ahead of its product: made on a stream of its own, beside the product before.
//!
//! An expansion waits for memory and a GEMM of many rows for the tensor cores, so the two share a GPU well. The host asks
//! for both in turn and runs ahead of the device; the second stream has two scratches, so it may be one product ahead.
//!
//! Three waits keep that safe. cudarc has two events for each allocation (last written, last read), and every use by way
//! of `device_ptr` or `device_ptr_mut` waits for them and records them on the stream that it names:
//!
//! | who | waits for | because |
//! |---|---|---|
//! | the GEMM | its scratch's writing | the expansion is on another stream |
//! | the expansion | its scratch's last reading | the GEMM before last may still be at it |
//! | the second stream, once | all that the first was asked before | weights were cast there, by kernels of candle, which record no writing |
//!
//! `core/tests/gpu/ahead.rs` runs this behind an emulated driver that sees a wait left out.

use super::{
    DeviceMask,
    launch::address_mut,
    linear::{Masked, masked},
};
use crate::lock::lock;
use candle_core::{
    CpuStorage, CudaStorage, DType, Device, InplaceOp3, Layout, Result, Tensor,
    backend::BackendStorage,
    bail,
    cuda_backend::{WrapErr, cudarc::driver::CudaStream},
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// The second stream of a device, and its two scratches.
#[derive(Debug)]
pub struct Ahead {
    stream: Arc<CudaStream>,
    scratch: [Mutex<Tensor>; 2],
    turn: AtomicUsize,
}

impl Ahead {
    /// For weights of one type that are on the device by now, the largest of so many `elements`.
    ///
    /// # Errors
    /// The device's: no memory.
    pub fn new(device: &Device, dtype: DType, elements: usize) -> Result<Self> {
        let scratch = || Tensor::zeros(elements, dtype, device).map(Mutex::new);
        let scratch = [scratch()?, scratch()?];
        let stream = device.as_cuda_device()?.cuda_stream().fork().w()?;
        Ok(Self { stream, scratch, turn: AtomicUsize::new(0) })
    }

    /// x (rows, in) (W ⊙ M)ᵀ, the bracket made ahead.
    ///
    /// # Errors
    /// Shapes and types that do not fit, the device's.
    pub fn product(&self, x: &Tensor, weight: &Tensor, mask: &DeviceMask) -> Result<Tensor> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.scratch.len();
        // Held until the product is asked for as well: another thread must not fill this scratch between.
        let scratch = lock(&self.scratch[turn]);
        let made = scratch.narrow(0, 0, weight.elem_count())?.reshape(weight.shape())?;
        made.inplace_op3(&mask.bits, weight, &Fill { mask, stream: &self.stream })?;
        x.matmul(&made.t()?)
    }
}

struct Fill<'a> {
    mask: &'a DeviceMask,
    stream: &'a CudaStream,
}

impl InplaceOp3 for Fill<'_> {
    fn name(&self) -> &'static str {
        "expand-ahead"
    }

    fn cpu_fwd(
        &self,
        _: &mut CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<()> {
        bail!("{} is for GPUs; the CPU's kernels mask as they multiply", self.name())
    }

    fn cuda_fwd(
        &self,
        to: &mut CudaStorage,
        to_layout: &Layout,
        bits: &CudaStorage,
        bits_layout: &Layout,
        weight: &CudaStorage,
        layout: &Layout,
    ) -> Result<()> {
        if to.dtype() != weight.dtype() {
            bail!("a scratch of {:?} for weights of {:?}", to.dtype(), weight.dtype());
        }
        let (to, _written) = address_mut(to, to_layout, self.stream)?;
        masked(&Masked { mask: self.mask, bits, bits_layout, weight, layout }, self.stream, to)
    }
}
