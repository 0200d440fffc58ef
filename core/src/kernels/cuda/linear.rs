//! The masked linear layer on a GPU.

use super::{
    Ahead, BUSY, DeviceMask, EXPAND, MASKED_GEMM,
    launch::{Arg, SEGMENTS, Segment, Segments, address, filled, launch, launch_on, type_name},
    machine,
    plan::{Task, Way},
    rows::bias_act,
};
use crate::kernels::Activation;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor,
    backend::BackendStorage, bail, cuda_backend::cudarc::driver::CudaStream,
};
use std::ops::Range;

/// x (B, T, in) to y (B, T, out) in W's type; `segments` are runs of B in order, each with its mask or none. With
/// `ahead` W ⊙ M may be made beside the product before.
///
/// # Errors
/// Shapes that do not fit, the device's.
pub fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    activation: Activation,
    segments: &[(Range<usize>, Option<&DeviceMask>)],
    ahead: Option<&Ahead>,
) -> Result<Tensor> {
    let (b, t, k) = x.dims3()?;
    let n = weight.dim(0)?;
    let x = x.to_dtype(weight.dtype())?.reshape((b * t, k))?.contiguous()?;
    let bytes = weight.dtype().size_in_bytes();
    let rows: Vec<_> = segments.iter().map(|(rows, mask)| (rows.len() * t, mask.is_some())).collect();
    let task = Task { segments: &rows, n, k, bytes, ahead: ahead.is_some() };
    let y = match task.choose(&machine(x.device())?) {
        Way::Fused => fused(&x, weight, bias, activation, segments, t)?,
        way => {
            let ahead = ahead.filter(|_| way == Way::Ahead);
            let parts = segments.iter().map(|(rows, mask)| {
                let x = x.narrow(0, rows.start * t, rows.len() * t)?;
                match (mask, ahead) {
                    (Some(mask), Some(ahead)) => ahead.product(&x, weight, mask),
                    (Some(mask), None) => x.matmul(&expand(weight, mask)?.t()?),
                    (None, _) => x.matmul(&weight.t()?),
                }
            });
            let parts = parts.collect::<Result<Vec<_>>>()?;
            let y = if let [one] = parts.as_slice() { one.clone() } else { Tensor::cat(&parts, 0)? };
            bias_act(&y, bias, activation)?;
            y
        }
    };
    y.reshape((b, t, n))
}

/// W ⊙ M in new memory.
///
/// # Errors
/// Shapes that do not fit, the device's.
pub fn expand(weight: &Tensor, mask: &DeviceMask) -> Result<Tensor> {
    mask.bits.apply_op2_no_bwd(&weight.contiguous()?, &Expand { mask })
}

/// All segments by the fused kernel, as few launches as it takes.
///
/// # Errors
/// Shapes that do not fit, the device's.
pub fn fused(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    activation: Activation,
    segments: &[(Range<usize>, Option<&DeviceMask>)],
    times: usize,
) -> Result<Tensor> {
    let op = Fused { segments, times, activation };
    x.apply_op3_no_bwd(&weight.contiguous()?, &bias.contiguous()?, &op)
}

/// A weight and the bits to see it through, as they lie on the device.
pub(super) struct Masked<'a> {
    pub(super) mask: &'a DeviceMask,
    pub(super) bits: &'a CudaStorage,
    pub(super) bits_layout: &'a Layout,
    pub(super) weight: &'a CudaStorage,
    pub(super) layout: &'a Layout,
}

/// W ⊙ M on a stream, to an address that has room for it.
pub(super) fn masked(from: &Masked<'_>, stream: &CudaStream, to: u64) -> Result<()> {
    let (rows, cols) = (from.mask.rows(), from.mask.cols());
    let bytes = rows * cols.div_ceil(8);
    if from.layout.dims() != [rows, cols] || from.bits_layout.dims() != [bytes] {
        bail!(
            "a mask ({rows}, {cols}) of {:?} bytes on a weight {:?}",
            from.bits_layout.dims(),
            from.layout.shape()
        );
    }
    let (mask, _read) = address(from.bits, from.bits_layout, stream)?;
    let (weight, _read_too) = address(from.weight, from.layout, stream)?;
    let name = format!("expand_b{}", 8 * from.weight.dtype().size_in_bytes());
    let [mask, weight, to] = [mask, weight, to].map(Arg::Address);
    let args = [mask, weight, to, Arg::U32(rows as u32), Arg::U32(cols as u32)];
    let blocks = (bytes.div_ceil(256).clamp(1, BUSY), 1);
    launch_on(stream, from.weight.device(), &EXPAND, &name, blocks, 256, &args)
}

struct Expand<'a> {
    mask: &'a DeviceMask,
}

impl CustomOp2 for Expand<'_> {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("{} is for GPUs; the CPU's kernels mask as they multiply", self.name())
    }

    fn cuda_fwd(
        &self,
        bits: &CudaStorage,
        bits_layout: &Layout,
        weight: &CudaStorage,
        layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let device = weight.device();
        let from = Masked { mask: self.mask, bits, bits_layout, weight, layout };
        let fill = |to| masked(&from, &device.cuda_stream(), to);
        let out = filled(device, weight.dtype(), layout.shape().elem_count(), fill)?;
        Ok((out, layout.shape().clone()))
    }
}

struct Fused<'a> {
    segments: &'a [(Range<usize>, Option<&'a DeviceMask>)],
    times: usize,
    activation: Activation,
}

impl CustomOp3 for Fused<'_> {
    fn name(&self) -> &'static str {
        "masked-gemm"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        bail!("{} is for GPUs; the CPU's kernels mask as they multiply", self.name())
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let ((m, k), (n, inner)) = (x_layout.shape().dims2()?, layout.shape().dims2()?);
        let covered =
            self.segments.iter().try_fold(0, |at, (rows, _)| (rows.start == at).then_some(rows.end));
        if inner != k || bias_layout.dims() != [n] || covered.map(|rows| rows * self.times) != Some(m) {
            bail!(
                "a product ({m}, {k}) with ({n}, {inner}), bias {:?}, rows {covered:?}",
                bias_layout.dims()
            );
        }
        let masks: Vec<_> = self.segments.iter().map(|s| s.1.map(|m| m.bits.storage_and_layout())).collect();
        let device = weight.device();
        let stream = device.cuda_stream();
        let (mut all, mut guards) = (Vec::new(), Vec::new());
        for ((rows, of), held) in self.segments.iter().zip(&masks) {
            let mask = match (of, held) {
                (Some(of), Some((held, mask_layout))) => {
                    let Storage::Cuda(bits) = &**held else { bail!("a mask that is on no GPU") };
                    if (of.rows(), of.cols()) != (n, k) {
                        bail!("a mask ({}, {}) on a weight ({n}, {k})", of.rows(), of.cols());
                    }
                    let (at, guard) = address(bits, mask_layout, &stream)?;
                    guards.push(guard);
                    at
                }
                _ => 0,
            };
            let [begin, end] = [rows.start, rows.end].map(|r| (r * self.times) as u32);
            all.push(Segment { begin, end, mask });
        }
        let (from, _read) = address(x, x_layout, &stream)?;
        let (w, _read_too) = address(weight, layout, &stream)?;
        let (b, _read_three) = address(bias, bias_layout, &stream)?;
        if from % 16 != 0 || w % 16 != 0 || k % 32 != 0 || n % 2 != 0 {
            bail!(
                "masked-gemm of ({m}, {k}) with ({n}, {k}): inputs go by 32 and outputs by 2, from multiples of 16 bytes"
            );
        }
        let name = format!("masked_gemm_{}", type_name(weight.dtype())?);
        let out = filled(device, weight.dtype(), m * n, |to| {
            for some in all.chunks(SEGMENTS) {
                let mut segments = Segments { at: [Segment::default(); SEGMENTS], count: some.len() as u32 };
                segments.at[..some.len()].copy_from_slice(some);
                let tiles = some.iter().map(|s| (s.end - s.begin).div_ceil(64) as usize).sum();
                let [from, w, b, to] = [from, w, b, to].map(Arg::Address);
                let gelu = u32::from(self.activation == Activation::Gelu);
                let [n_arg, k_arg, act] = [n as u32, k as u32, gelu].map(Arg::U32);
                let args = [from, w, b, to, Arg::Segments(&segments), n_arg, k_arg, act];
                launch(device, &MASKED_GEMM, &name, (n.div_ceil(64), tiles), 128, &args)?;
            }
            Ok(())
        })?;
        Ok((out, (m, n).into()))
    }
}
