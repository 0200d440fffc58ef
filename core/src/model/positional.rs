//! The positional convolution: what tells the transformer where in time a frame stands.

use super::{
    block::Norm,
    config::Config,
    ops,
    schema::{Weights, positional_name},
};
use crate::{
    Result,
    gate::Gates,
    kernels::{self, Layout, PackedWeight, Tier, conv, norm::layer_norm, tensor},
    linear::Param,
};
use candle_core::{DType, Tensor};
use std::sync::{Arc, OnceLock};

/// Convolution and GELU; in data2vec-audio a norm without parameters between them.
#[derive(Clone, Debug)]
pub(super) struct Positional {
    weight: PositionalWeight,
    bias: Param,
    groups: usize,
    norm: Option<Norm>,
}

/// The one resident copy of the weight, as in [`GatedLinear`](crate::linear::GatedLinear).
#[derive(Clone, Debug)]
enum PositionalWeight {
    /// And, from its first pass without a gradient, the same packed: a hundredth of the model.
    Tensor(Param, OnceLock<Arc<Vec<PackedWeight>>>),
    /// One weight per group.
    Packed { name: String, groups: Arc<Vec<PackedWeight>>, shape: [usize; 3] },
}

impl Positional {
    pub(super) fn new(config: &Config, weights: &Weights, layer: usize) -> Result<Self> {
        let name = positional_name(config, layer);
        let bias = weights.param(&format!("{name}.bias"))?;
        let device = weights.tensor(&format!("{name}.bias"))?.device().clone();
        Ok(Self {
            weight: PositionalWeight::Tensor(weights.param(&format!("{name}.weight"))?, OnceLock::new()),
            bias,
            groups: config.positional.groups,
            norm: (config.positional.layers > 1)
                .then(|| Norm::plain(config.hidden, 1e-5, &device))
                .transpose()?,
        })
    }

    /// Packs the weight for the kernels, and names what is replaced by that.
    pub(super) fn pack(&mut self, layout: Layout) -> Result<String> {
        self.bias.pack()?;
        self.norm.iter_mut().try_for_each(Norm::pack)?;
        let PositionalWeight::Tensor(param, _) = &self.weight else { return Ok(String::new()) };
        let open = Gates::default();
        let (name, weight) = (param.name().to_owned(), param.get(&open));
        let (d, inner, kernel) = weight.dims3()?;
        let shape = [d / self.groups, inner, kernel];
        let groups = Arc::new(pack_groups(layout, weight, self.groups)?);
        self.weight = PositionalWeight::Packed { name: name.clone(), groups, shape };
        Ok(name)
    }

    /// Keeps a weight that is a tensor in another type, for serving on a GPU, and gives it by name.
    pub(super) fn cast(&mut self, dtype: DType) -> Result<Option<(String, Tensor)>> {
        let PositionalWeight::Tensor(param, _) = &mut self.weight else { return Ok(None) };
        let weight = param.get(&Gates::default()).to_dtype(dtype)?;
        *param = Param::new(param.name(), weight.clone());
        Ok(Some((param.name().to_owned(), weight)))
    }

    /// Whether [`run`](Self::run) can be called.
    pub(super) fn is_packed(&self) -> bool {
        matches!(self.weight, PositionalWeight::Packed { .. })
    }

    /// [`forward`](Self::forward) of open gates by the kernels alone, once packed: x `(B, T, D)` to y `(B, T, D)`.
    pub(super) fn run(&self, batch: usize, x: &[f32], y: &mut [f32]) -> Result<()> {
        let PositionalWeight::Packed { groups, shape: [.., kernel], .. } = &self.weight else {
            return Err(crate::Error::Model("a positional convolution that is not packed".into()));
        };
        let norm = self.norm.as_ref().and_then(Norm::kernel);
        let (bias, gelu) = (self.bias.values(), norm.is_none());
        conv::positional(&kernels::Positional { weights: groups, bias, kernel: *kernel, gelu }, batch, x, y)?;
        norm.map_or(Ok(()), |norm| layer_norm(Tier::best(), &norm, true, y))
    }

    pub(super) fn forward(&self, x: &Tensor, gates: &Gates) -> Result<Tensor> {
        let bias = self.bias.get(gates);
        let weight = match &self.weight {
            PositionalWeight::Tensor(param, packed) => {
                let weight = param.get(gates);
                if gates.replaced(param.name()).is_none() && tensor::serves(&[x, bias, weight]) {
                    if packed.get().is_none() {
                        let _ = packed.set(Arc::new(pack_groups(Tier::best().into(), weight, self.groups)?));
                    }
                    if let Some(groups) = packed.get() {
                        return self.fast(x, groups, bias, weight.dim(2)?);
                    }
                }
                weight.clone()
            }
            PositionalWeight::Packed { name, groups, shape: [out, inner, kernel] } => {
                let replaced = gates.replaced(name);
                if replaced.is_none() && tensor::serves(&[x, bias]) {
                    return self.fast(x, groups, bias, *kernel);
                }
                match replaced {
                    Some(weight) => weight.clone(),
                    None => {
                        let values: Vec<f32> = groups.iter().flat_map(|g| g.unpack_conv(*kernel)).collect();
                        Tensor::from_vec(values, (out * groups.len(), *inner, *kernel), x.device())?
                    }
                }
            }
        };
        self.finish(ops::positional_conv(x, &weight, bias, self.groups, gates.precision())?, false)
    }

    fn fast(&self, x: &Tensor, groups: &[PackedWeight], bias: &Tensor, kernel: usize) -> Result<Tensor> {
        let gelu = self.norm.is_none();
        self.finish(tensor::positional(x, groups, bias, kernel, gelu)?, gelu)
    }

    /// The norm, if any, and GELU, unless done.
    fn finish(&self, x: Tensor, gelu: bool) -> Result<Tensor> {
        if gelu {
            return Ok(x);
        }
        ops::gelu(&match &self.norm {
            Some(norm) => norm.forward(&x, &Gates::default(), DType::F32)?,
            None => x,
        })
    }
}

/// A positional weight (D, D / groups, kernel) as one packed weight per group.
fn pack_groups(layout: Layout, weight: &Tensor, groups: usize) -> Result<Vec<PackedWeight>> {
    let (d, inner, kernel) = weight.dims3()?;
    let shape = [d / groups, inner, kernel];
    let values = weight.flatten_all()?.to_vec1::<f32>()?;
    let pack = |part: &[f32]| PackedWeight::from_conv(layout, shape, part);
    values.chunks_exact(shape.iter().product()).map(pack).collect()
}
