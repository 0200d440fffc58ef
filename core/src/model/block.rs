//! One transformer layer, pre-norm (XLS-R) or post-norm (base models): the same parts in another order.

use super::{config::Config, noise::Noise, noise::Site, ops, schema::Weights};
use crate::{
    Result,
    gate::{Gates, Segment},
    kernels::{self, Layer, PanelMask, tensor},
    linear::{GatedLinear, Param},
};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;

/// Where the forward pass stands: what every layer needs besides its input.
pub(crate) struct Pass<'a> {
    /// Real frames of each row.
    pub lengths: &'a [usize],
    /// The rows' gates.
    pub segments: &'a [Segment],
    /// Silence when serving.
    pub noise: &'a mut dyn Noise,
}

impl Pass<'_> {
    /// Gates that may replace a parameter: those of the only segment (see `Backbone::encode`).
    pub(crate) fn gates(&self) -> &Gates {
        &self.segments[0].gates
    }

    /// Whether half a layer may run as one operation (`kernels::blocks`): no dropout inside, of all its parameters
    /// only weights are learnt.
    fn takes_halves<const N: usize>(
        &self,
        x: &Tensor,
        linears: [&GatedLinear; N],
        norm: Option<&Norm>,
        sites: [Site; 2],
    ) -> bool {
        let gates = self.gates();
        let learnt = |norm: &Norm| norm.weight.get(gates).track_op() || norm.bias.get(gates).track_op();
        self.takes_tensors(x, linears)
            && sites.into_iter().all(|site| self.noise.silent_at(site))
            && !linears.iter().any(|l| l.bias(gates).track_op())
            && !norm.is_some_and(learnt)
    }

    /// Whether the kernels with gradients may run: one language on the CPU, weights not packed for serving.
    fn takes_tensors<const N: usize>(&self, x: &Tensor, linears: [&GatedLinear; N]) -> bool {
        self.segments.len() == 1
            && tensor::on_cpu(&[x])
            && !linears.iter().any(|l| l.is_packed() || l.dtype() != DType::F32)
    }
}

/// The input of a half.
fn normed(x: &Tensor, norm: Option<&Norm>, pass: &Pass<'_>, to: DType) -> Result<Tensor> {
    norm.map_or_else(|| Ok(x.clone()), |norm| norm.forward(x, pass.gates(), to))
}

/// LayerNorm whose scale and shift can be replaced.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    weight: Param,
    bias: Param,
    eps: f64,
}

impl Norm {
    pub(crate) fn new(weights: &Weights, name: &str, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: weights.param(&format!("{name}.weight"))?,
            bias: weights.param(&format!("{name}.bias"))?,
            eps,
        })
    }

    /// One that only normalises: nothing of it is learnt, replaced or stored.
    pub(crate) fn plain(width: usize, eps: f64, device: &Device) -> Result<Self> {
        let weight = Param::new("", Tensor::ones(width, DType::F32, device)?);
        Ok(Self { weight, bias: Param::new("", Tensor::zeros(width, DType::F32, device)?), eps })
    }

    /// `x` normalised, in type `to`: that of the products that read it, or f32 where it is added to.
    pub(crate) fn forward(&self, x: &Tensor, gates: &Gates, to: DType) -> Result<Tensor> {
        ops::layer_norm(x, self.weight.get(gates), self.bias.get(gates), self.eps, to)
    }

    fn tensors(&self, gates: &Gates) -> tensor::NormTensors {
        (self.weight.get(gates).clone(), self.bias.get(gates).clone(), self.eps as f32)
    }

    /// Reads scale and shift out for the kernels.
    pub(crate) fn pack(&mut self) -> Result<()> {
        self.weight.pack()?;
        self.bias.pack()
    }

    /// Scale and shift as the kernels take them, once packed.
    pub(crate) fn kernel(&self) -> Option<kernels::Norm<'_>> {
        let (gamma, beta) = self.weight.values().zip(self.bias.values())?;
        Some(kernels::Norm { gamma, beta, eps: self.eps as f32 })
    }
}

/// A linear of the checkpoint by its name.
pub(crate) fn linear(weights: &Weights, name: &str) -> Result<GatedLinear> {
    let weight = format!("{name}.weight");
    let of = weights.linear(&weight)?;
    Ok(GatedLinear::new(weight, of, weights.param(&format!("{name}.bias"))?))
}

/// Self-attention and feed-forward, each with its norm and its residual.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    qkv: [GatedLinear; 3],
    out: GatedLinear,
    norm: Norm,
    up: GatedLinear,
    down: GatedLinear,
    final_norm: Norm,
    heads: usize,
    pre_norm: bool,
}

impl Block {
    pub(crate) fn new(config: &Config, weights: &Weights, layer: usize) -> Result<Self> {
        let name = |part: &str| format!("encoder.layers.{layer}.{part}");
        let attention = |part: &str| linear(weights, &name(&format!("attention.{part}")));
        Ok(Self {
            qkv: [attention("q_proj")?, attention("k_proj")?, attention("v_proj")?],
            out: attention("out_proj")?,
            norm: Norm::new(weights, &name("layer_norm"), config.norm_eps)?,
            up: linear(weights, &name("feed_forward.intermediate_dense"))?,
            down: linear(weights, &name("feed_forward.output_dense"))?,
            final_norm: Norm::new(weights, &name("final_layer_norm"), config.norm_eps)?,
            heads: config.heads,
            pre_norm: config.pre_norm,
        })
    }

    /// Attention heads.
    pub(crate) fn heads(&self) -> usize {
        self.heads
    }

    /// This layer as the kernels take it, under `masks`, [those of its linears](Self::masks) one after the other;
    /// `None` where a weight is not packed, or its width is no whole step.
    pub(crate) fn layer<'a>(&'a self, masks: &'a [Option<Arc<PanelMask>>]) -> Option<Layer<'a>> {
        let each = masks.len() / 6;
        let gated = |i: usize, linear: &'a GatedLinear| linear.gated(&masks[i * each..(i + 1) * each]);
        let [q, k, v] = &self.qkv;
        let layer = Layer {
            qkv: [gated(0, q)?, gated(1, k)?, gated(2, v)?],
            out: gated(3, &self.out)?,
            up: gated(4, &self.up)?,
            down: gated(5, &self.down)?,
            norms: [self.norm.kernel()?, self.final_norm.kernel()?],
        };
        layer.serves(self.heads).then_some(layer)
    }

    /// The masks of each linear in turn, one of each segment, in place of what `to` holds.
    pub(crate) fn masks(&self, segments: &[Segment], to: &mut Vec<Option<Arc<PanelMask>>>) -> Result<()> {
        to.clear();
        let [q, k, v] = &self.qkv;
        [q, k, v, &self.out, &self.up, &self.down].into_iter().try_for_each(|l| l.masks(segments, to))
    }

    /// Reads its norms out for the kernels.
    pub(crate) fn pack_norms(&mut self) -> Result<()> {
        self.norm.pack()?;
        self.final_norm.pack()
    }

    /// Its six linears.
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut GatedLinear> {
        self.qkv.iter_mut().chain([&mut self.out, &mut self.up, &mut self.down])
    }

    /// (B, T, D) to (B, T, D), f32 at both ends: what is added to stays whole.
    pub(crate) fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        if self.pre_norm {
            let x = self.attended(x, Some(&self.norm), pass)?;
            self.fed(&x, Some(&self.final_norm), pass)
        } else {
            let x = self.norm.forward(&self.attended(x, None, pass)?, pass.gates(), DType::F32)?;
            self.final_norm.forward(&self.fed(&x, None, pass)?, pass.gates(), DType::F32)
        }
    }

    /// `x + attention(norm(x))`.
    fn attended(&self, x: &Tensor, norm: Option<&Norm>, pass: &mut Pass<'_>) -> Result<Tensor> {
        let [q, k, v] = &self.qkv;
        let sites = [Site::AttentionProbs, Site::AttentionOut];
        if !pass.takes_halves(x, [q, k, v, &self.out], norm, sites) {
            return Ok((x + self.attend(&normed(x, norm, pass, q.dtype())?, pass)?)?);
        }
        let gates = pass.gates();
        let (qkv, bias) = self.qkv_seen(gates)?;
        let (out, out_bias) = self.out.seen(gates)?;
        let norm = norm.map(|n| n.tensors(gates));
        let heads = (self.heads, pass.lengths);
        Ok(tensor::attend_half(x, norm, [&qkv, &bias], [&out, &out_bias], heads, gates.precision())?)
    }

    /// `x + feed(norm(x))`.
    fn fed(&self, x: &Tensor, norm: Option<&Norm>, pass: &mut Pass<'_>) -> Result<Tensor> {
        let sites = [Site::Activation, Site::FeedForwardOut];
        if !pass.takes_halves(x, [&self.up, &self.down], norm, sites) {
            return Ok((x + self.feed(&normed(x, norm, pass, self.up.dtype())?, pass)?)?);
        }
        let gates = pass.gates();
        let ((up, up_bias), (down, down_bias)) = (self.up.seen(gates)?, self.down.seen(gates)?);
        let norm = norm.map(|n| n.tensors(gates));
        Ok(tensor::feed(x, norm, [&up, &up_bias], [&down, &down_bias], gates.precision())?)
    }

    /// Weights (3 D, D) and biases (3 D,) of queries, keys and values, one above the other.
    fn qkv_seen(&self, gates: &Gates) -> Result<(Tensor, Tensor)> {
        let [q, k, v] = &self.qkv;
        let [(q, q_bias), (k, k_bias), (v, v_bias)] = [q.seen(gates)?, k.seen(gates)?, v.seen(gates)?];
        Ok((Tensor::cat(&[q, k, v], 0)?, Tensor::cat(&[q_bias, k_bias, v_bias], 0)?))
    }

    fn attend(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let [q, k, v] = &self.qkv;
        if pass.takes_tensors(x, [q, k, v]) && pass.noise.silent_at(Site::AttentionProbs) {
            let (gates, precision) = (pass.gates(), pass.gates().precision());
            let (qkv, bias) = self.qkv_seen(gates)?;
            let qkv = tensor::linear(x, &qkv, &bias, precision)?;
            let seen = tensor::attend_learning(&qkv, self.heads, pass.lengths, precision)?;
            let out = self.out.forward(&seen, pass.segments)?;
            return pass.noise.dropout(out, Site::AttentionOut);
        }
        let x = &x.to_dtype(q.dtype())?;
        let (q, k, v) =
            (q.forward(x, pass.segments)?, k.forward(x, pass.segments)?, v.forward(x, pass.segments)?);
        let seen = ops::attention([&q, &k, &v], self.heads, pass.lengths, pass.noise)?;
        let out = self.out.forward(&seen, pass.segments)?.to_dtype(DType::F32)?;
        pass.noise.dropout(out, Site::AttentionOut)
    }

    fn feed(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let inner = self.up.forward_gelu(x, pass.segments)?;
        let inner = pass.noise.dropout(inner, Site::Activation)?;
        let out = self.down.forward(&inner, pass.segments)?.to_dtype(DType::F32)?;
        pass.noise.dropout(out, Site::FeedForwardOut)
    }
}
