//! q kᵀ of half-precision queries and keys, in f32: a softmax of scores in bf16 would be off by per cents.
#![allow(unsafe_code)]

use super::launch::{address, filled};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, DType, Layout, Result, Shape, Tensor,
    backend::BackendStorage,
    bail,
    cuda_backend::{WrapErr, cudarc::cublas},
};

/// q (B, H, T, d) and k (B, H, K, d) to (B, H, T, K) in f32.
///
/// # Errors
/// Shapes that do not fit, the device's.
pub fn scores(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    q.contiguous()?.apply_op2_no_bwd(&k.contiguous()?, &Scores)
}

struct Scores;

impl CustomOp2 for Scores {
    fn name(&self) -> &'static str {
        "scores"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("{} of kernels::cuda is for GPUs", self.name())
    }

    fn cuda_fwd(
        &self,
        q: &CudaStorage,
        ql: &Layout,
        k: &CudaStorage,
        kl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let ((b, heads, t, d), (b2, heads2, keys, d2)) = (ql.shape().dims4()?, kl.shape().dims4()?);
        if (b, heads, d) != (b2, heads2, d2) || q.dtype() != k.dtype() {
            bail!("scores of {:?} and {:?}", ql.shape(), kl.shape());
        }
        let ty = match q.dtype() {
            DType::F32 => cublas::sys::cudaDataType_t::CUDA_R_32F,
            DType::F16 => cublas::sys::cudaDataType_t::CUDA_R_16F,
            DType::BF16 => cublas::sys::cudaDataType_t::CUDA_R_16BF,
            other => bail!("no scores of {other:?}"),
        };
        let device = q.device();
        let stream = device.cuda_stream();
        let (q_at, _read) = address(q, ql, &stream)?;
        let (k_at, _read_too) = address(k, kl, &stream)?;
        let blas = device.cublas_handle();
        let (one, zero) = (1f32, 0f32);
        let out = filled(device, DType::F32, b * heads * t * keys, |to| {
            // cuBLAS counts columns first, so the (T, K) rows are its (K, T) = Kᵀᵀ · qᵀ.
            // SAFETY: contiguous matrices of these shapes, alive while the guards are; alpha and beta are f32 as the
            // type of the computation asks.
            unsafe {
                cublas::result::gemm_strided_batched_ex(
                    *blas.handle(),
                    cublas::sys::cublasOperation_t::CUBLAS_OP_T,
                    cublas::sys::cublasOperation_t::CUBLAS_OP_N,
                    keys as i32,
                    t as i32,
                    d as i32,
                    (&raw const one).cast(),
                    k_at as *const _,
                    ty,
                    d as i32,
                    (keys * d) as i64,
                    q_at as *const _,
                    ty,
                    d as i32,
                    (t * d) as i64,
                    (&raw const zero).cast(),
                    to as *mut _,
                    cublas::sys::cudaDataType_t::CUDA_R_32F,
                    keys as i32,
                    (t * keys) as i64,
                    (b * heads) as i32,
                    cublas::sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                    cublas::sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
                )
            }
            .w()
        })?;
        Ok((out, (b, heads, t, keys).into()))
    }
}
