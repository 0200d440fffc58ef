//! LayerNorm, softmax, bias and GELU on a GPU: numbers of any type in memory, f32 while computing.

use super::{
    BUSY, ROWS,
    launch::{Arg, BATCH, Lengths, address, filled, launch, type_name},
};
use crate::kernels::Activation;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp3, DType, InplaceOp2, Layout, Result, Shape, Tensor,
    backend::BackendStorage, bail,
};

/// LayerNorm over the last dimension, then GELU if asked; `to` is x's type, or a half type where x is f32.
///
/// # Errors
/// Shapes that do not fit, the device's.
pub fn layer_norm(
    x: &Tensor,
    [gamma, beta]: [&Tensor; 2],
    eps: f64,
    to: DType,
    activation: Activation,
) -> Result<Tensor> {
    let op = LayerNorm { eps: eps as f32, to, activation };
    x.contiguous()?.apply_op3_no_bwd(&gamma.contiguous()?, &beta.contiguous()?, &op)
}

/// Softmax of `scale` · x, x (B, H, T, K) in f32, over the first `lengths[b]` keys; the result in type `to`.
///
/// # Errors
/// Shapes that do not fit, the device's.
pub fn softmax(x: &Tensor, lengths: &[usize], scale: f64, to: DType) -> Result<Tensor> {
    x.contiguous()?.apply_op1_no_bwd(&Softmax { lengths, scale: scale as f32, to })
}

/// act(y + bias) in the place of y (rows, n), which nobody else may hold.
///
/// # Errors
/// Shapes that do not fit, the device's.
pub(super) fn bias_act(y: &Tensor, bias: &Tensor, activation: Activation) -> Result<()> {
    y.inplace_op2(&bias.contiguous()?, &BiasAct { activation })
}

/// What the CPU's kernels do themselves.
fn no_cpu<T>(name: &str) -> Result<T> {
    bail!("{name} of kernels::cuda is for GPUs")
}

struct LayerNorm {
    eps: f32,
    to: DType,
    activation: Activation,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
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
        no_cpu(self.name())
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        layout: &Layout,
        gamma: &CudaStorage,
        gamma_layout: &Layout,
        beta: &CudaStorage,
        beta_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let cols = *layout.dims().last().unwrap_or(&0);
        let elements = layout.shape().elem_count();
        if cols == 0 || gamma_layout.dims() != [cols] || beta_layout.dims() != [cols] {
            bail!("layer-norm of {:?} by {:?}", layout.shape(), gamma_layout.shape());
        }
        let rows = elements / cols;
        let device = x.device();
        let stream = device.cuda_stream();
        let (from, _read) = address(x, layout, &stream)?;
        let (gamma, _read_too) = address(gamma, gamma_layout, &stream)?;
        let (beta, _read_three) = address(beta, beta_layout, &stream)?;
        let name = format!("layer_norm_{}_{}", type_name(x.dtype())?, type_name(self.to)?);
        let gelu = u32::from(self.activation == Activation::Gelu);
        let out = filled(device, self.to, elements, |to| {
            let [from, gamma, beta, to] = [from, gamma, beta, to].map(Arg::Address);
            let [rows_arg, cols, act] = [rows as u32, cols as u32, gelu].map(Arg::U32);
            let args = [from, gamma, beta, to, rows_arg, cols, Arg::F32(self.eps), act];
            launch(device, &ROWS, &name, (rows.div_ceil(4), 1), 128, &args)
        })?;
        Ok((out, layout.shape().clone()))
    }
}

struct Softmax<'a> {
    lengths: &'a [usize],
    scale: f32,
    to: DType,
}

impl CustomOp1 for Softmax<'_> {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_cpu(self.name())
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (b, heads, t, keys) = layout.shape().dims4()?;
        if self.lengths.len() != b {
            bail!("softmax of {b} rows, {} lengths", self.lengths.len());
        }
        let per = heads * t;
        let device = x.device();
        let stream = device.cuda_stream();
        let (from, _read) = address(x, layout, &stream)?;
        let name = format!("softmax_{}", type_name(self.to)?);
        let width = [x.dtype(), self.to].map(|t| t.size_in_bytes());
        let out = filled(device, self.to, layout.shape().elem_count(), |to| {
            for (part, lengths) in self.lengths.chunks(BATCH).enumerate() {
                let mut table = Lengths { at: [0; BATCH] };
                table.at.iter_mut().zip(lengths).for_each(|(to, n)| *to = (*n).min(keys) as u32);
                let (rows, done) = (lengths.len() * per, part * BATCH * per * keys);
                let at = |base: u64, width: usize| Arg::Address(base + (done * width) as u64);
                let [r, k, p] = [rows, keys, per].map(|n| Arg::U32(n as u32));
                let args = [
                    at(from, width[0]),
                    at(to, width[1]),
                    Arg::Lengths(&table),
                    r,
                    k,
                    p,
                    Arg::F32(self.scale),
                ];
                launch(device, &ROWS, &name, (rows.div_ceil(4), 1), 128, &args)?;
            }
            Ok(())
        })?;
        Ok((out, layout.shape().clone()))
    }
}

struct BiasAct {
    activation: Activation,
}

impl InplaceOp2 for BiasAct {
    fn name(&self) -> &'static str {
        "bias-act"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        no_cpu(self.name())
    }

    fn cuda_fwd(&self, y: &mut CudaStorage, layout: &Layout, bias: &CudaStorage, of: &Layout) -> Result<()> {
        let (rows, cols) = layout.shape().dims2()?;
        if of.dims() != [cols] {
            bail!("bias {:?} on {:?}", of.shape(), layout.shape());
        }
        if rows * cols == 0 {
            return Ok(());
        }
        let device = y.device().clone();
        let stream = device.cuda_stream();
        let (at, _written) = address(y, layout, &stream)?;
        let (bias, _read) = address(bias, of, &stream)?;
        let gelu = u32::from(self.activation == Activation::Gelu);
        let [r, c, act] = [rows as u32, cols as u32, gelu].map(Arg::U32);
        let args = [Arg::Address(at), Arg::Address(bias), r, c, act];
        let name = format!("bias_act_{}", type_name(y.dtype())?);
        launch(&device, &ROWS, &name, ((rows * cols).div_ceil(256).clamp(1, BUSY), 1), 256, &args)
    }
}
