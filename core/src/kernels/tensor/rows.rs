//! LayerNorm, GELU and softmax as candle operations with gradients.

use super::slice;
use crate::kernels::{Norm, Tier, backward, norm};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

pub(super) struct LayerNorm {
    pub(super) eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        gamma: &CpuStorage,
        gl: &Layout,
        beta: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let norm = Norm { gamma: slice(gamma, gl)?, beta: slice(beta, bl)?, eps: self.eps };
        let mut y = slice(x, xl)?.to_vec();
        norm::layer_norm(Tier::best(), &norm, false, &mut y).map_err(candle_core::Error::wrap)?;
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, gamma: &Tensor, _beta: &Tensor, _y: &Tensor, g: &Tensor) -> Result<Grads> {
        let (x, gamma, g) = (x.contiguous()?, gamma.contiguous()?, g.contiguous()?);
        let both = x.apply_op3_no_bwd(&gamma, &g, &LayerNormBackward { eps: self.eps })?; // (M + 2, C)
        let (rows, c) = (x.elem_count() / gamma.elem_count(), gamma.elem_count());
        let dx = both.narrow(0, 0, rows)?.reshape(x.shape())?;
        let of = |row: usize| both.get(rows + row)?.reshape(c);
        Ok((Some(dx), Some(of(0)?), Some(of(1)?)))
    }
}

pub(super) struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = slice(x, xl)?.to_vec();
        norm::gelu(Tier::best(), &mut y);
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.contiguous()?.apply_op2_no_bwd(&g.contiguous()?, &GeluBackward)?))
    }
}

/// The gradients of x, gamma and beta.
type Grads = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

/// x, gamma, g → dx `(M, C)` with dgamma and dbeta as two further rows.
struct LayerNormBackward {
    eps: f32,
}

impl CustomOp3 for LayerNormBackward {
    fn name(&self) -> &'static str {
        "layer-norm-backward"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        gamma: &CpuStorage,
        gl: &Layout,
        g: &CpuStorage,
        l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let gamma = slice(gamma, gl)?;
        let norm = Norm { gamma, beta: gamma, eps: self.eps };
        let mut y = slice(g, l)?.to_vec();
        let sums = backward::layer_norm(Tier::best(), &norm, slice(x, xl)?, &mut y, true);
        let (dgamma, dbeta) = sums.map_err(candle_core::Error::wrap)?.unwrap_or_default();
        y.extend(dgamma);
        y.extend(dbeta);
        let shape = (y.len() / gamma.len(), gamma.len()).into();
        Ok((CpuStorage::F32(y), shape))
    }
}

struct GeluBackward;

impl CustomOp2 for GeluBackward {
    fn name(&self) -> &'static str {
        "gelu-backward"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        g: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut y = slice(g, gl)?.to_vec();
        backward::gelu(Tier::best(), slice(x, xl)?, &mut y).map_err(candle_core::Error::wrap)?;
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }
}

pub(super) struct Softmax;

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = slice(x, xl)?.to_vec();
        backward::softmax(Tier::best(), xl.dims().last().copied().unwrap_or(1), &mut y);
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(y.contiguous()?.apply_op2_no_bwd(&g.contiguous()?, &SoftmaxBackward)?))
    }
}

struct SoftmaxBackward;

impl CustomOp2 for SoftmaxBackward {
    fn name(&self) -> &'static str {
        "softmax-backward"
    }

    fn cpu_fwd(
        &self,
        p: &CpuStorage,
        pl: &Layout,
        g: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut y = slice(g, gl)?.to_vec();
        let width = pl.dims().last().copied().unwrap_or(1);
        backward::softmax_backward(Tier::best(), width, slice(p, pl)?, &mut y)
            .map_err(candle_core::Error::wrap)?;
        Ok((CpuStorage::F32(y), pl.shape().clone()))
    }
}
