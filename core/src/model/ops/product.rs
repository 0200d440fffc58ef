//! `x Wᵀ` that knows which of the two is learnt.

use crate::Result;
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result as Outcome, Shape, Tensor, backend::BackendStorage};

/// `x` (B, T, in) times `weight` (out, in) transposed: (B, T, out).
///
/// candle's own matmul computes both gradients always; for a frozen weight the larger half of that work
/// would be thrown away, so here a weight without a gradient costs none.
///
/// # Errors
/// Shapes that do not fit.
pub fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (b, t, inner) = x.dims3()?;
    let rows = x.to_dtype(weight.dtype())?.reshape((b * t, inner))?;
    let y = if x.track_op() && !weight.track_op() {
        rows.apply_op2(weight, Product)?
    } else {
        rows.matmul(&weight.t()?)?
    };
    Ok(y.reshape((b, t, ()))?)
}

struct Product;

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Outcome<(CpuStorage, Shape)> {
        multiply(x, x_layout, weight, weight_layout)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Outcome<(CudaStorage, Shape)> {
        multiply(x, x_layout, weight, weight_layout)
    }

    fn bwd(
        &self,
        _x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Outcome<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.contiguous()?.matmul(weight)?), None))
    }
}

fn multiply<S: BackendStorage>(
    x: &S,
    x_layout: &Layout,
    weight: &S,
    weight_layout: &Layout,
) -> Outcome<(S, Shape)> {
    let (m, k) = x_layout.shape().dims2()?;
    let (n, inner) = weight_layout.shape().dims2()?;
    if k != inner {
        candle_core::bail!("a product of rows {k} wide with a weight {inner} wide");
    }
    let y = x.matmul(weight, (1, m, n, k), x_layout, &weight_layout.transpose(0, 1)?)?;
    Ok((y, (m, n).into()))
}
