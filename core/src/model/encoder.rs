//! Features to hidden states: projection, positional convolution, transformer.

use super::{
    block::{Block, Norm, NormValues, Pass, linear},
    config::Config,
    noise::Site,
    ops,
    schema::{Weights, positional_name},
};
use crate::{
    Result,
    gate::Gates,
    kernels::{Layout, PackedWeight, Stack, Tier, tensor},
    linear::{GatedLinear, Param},
};
use candle_core::{DType, Tensor};
use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};
#[cfg(feature = "cuda")]
use {crate::kernels::cuda, candle_core::Device};

/// Who looks on while the layers run.
pub(crate) enum Watch<'a> {
    /// Nobody: all layers may be one call.
    Nobody,
    /// Sees the input of every layer and the output of the last.
    Inputs(&'a mut dyn FnMut(&Tensor)),
    /// Is called before every layer, and may end it all with an error.
    Pauses(&'a mut dyn FnMut() -> Result<()>),
}

impl Watch<'_> {
    /// The same watch, for a part of the way.
    pub(crate) fn again(&mut self) -> Watch<'_> {
        match self {
            Self::Nobody => Watch::Nobody,
            Self::Inputs(each) => Watch::Inputs(&mut **each),
            Self::Pauses(pause) => Watch::Pauses(&mut **pause),
        }
    }

    fn look(&mut self, x: &Tensor) -> Result<()> {
        match self {
            Self::Nobody => Ok(()),
            Self::Inputs(each) => {
                each(x);
                Ok(())
            }
            Self::Pauses(pause) => pause(),
        }
    }
}

/// Everything after the extractor.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    projection_norm: Option<Norm>,
    projection: GatedLinear,
    positional: Vec<Positional>,
    norm: Norm,
    blocks: Vec<Block>,
    pre_norm: bool,
}

impl Encoder {
    pub(crate) fn new(config: &Config, weights: &Weights) -> Result<Self> {
        let projection_norm = "feature_projection.layer_norm";
        Ok(Self {
            projection_norm: match config.projection_norm {
                true => Some(Norm::new(weights, projection_norm, config.norm_eps)?),
                false => None,
            },
            projection: linear(weights, "feature_projection.projection")?,
            positional: (0..config.positional.layers)
                .map(|i| Positional::new(config, weights, i))
                .collect::<Result<_>>()?,
            norm: Norm::new(weights, "encoder.layer_norm", config.norm_eps)?,
            blocks: (0..config.layers).map(|i| Block::new(config, weights, i)).collect::<Result<_>>()?,
            pre_norm: config.pre_norm,
        })
    }

    /// Features (B, T, C) to the final hidden state (B, T, D), while `watch` looks on.
    pub(crate) fn forward(
        &self,
        features: &Tensor,
        pass: &mut Pass<'_>,
        mut watch: Watch<'_>,
    ) -> Result<Tensor> {
        let mut x = self.embed(features, pass)?;
        let layers = self.blocks.len();
        let mut at = 0;
        while at < layers {
            watch.look(&x)?;
            let ahead = match &watch {
                Watch::Nobody => at..layers,
                Watch::Pauses(_) => at..at + 1,
                Watch::Inputs(_) => at..at,
            };
            if !ahead.is_empty()
                && let Some(y) = self.stacked(&x, pass, ahead.clone())?
            {
                (x, at) = (y, ahead.end);
                if at == layers {
                    return Ok(x);
                }
                continue;
            }
            x = self.stage(at + 1, &x, pass)?;
            at += 1;
        }
        watch.look(&x)?;
        self.stage(layers + 1, &x, pass)
    }

    /// Stages of [`forward`](Self::forward): the embedding, each layer, the final norm.
    pub(crate) fn stages(&self) -> usize {
        self.blocks.len() + 2
    }

    /// One stage, from the output of the one before.
    pub(crate) fn stage(&self, stage: usize, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        match stage.checked_sub(1).map(|layer| (layer, self.blocks.get(layer))) {
            None => self.embed(x, pass),
            Some((layer, Some(block))) if pass.noise.keep_layer(layer) => block.forward(x, pass),
            Some((_, None)) if self.pre_norm => self.norm.forward(x, pass.gates(), DType::F32),
            Some(_) => Ok(x.clone()),
        }
    }

    /// Some layers in one call of the kernels, where they can, the norm behind the last of all included; the same
    /// as layer by layer but for rounding.
    fn stacked(&self, x: &Tensor, pass: &mut Pass<'_>, some: Range<usize>) -> Result<Option<Tensor>> {
        let replaced = pass.segments.iter().any(|s| s.gates.replaces());
        if replaced || !pass.noise.silent() || !tensor::serves(&[x]) {
            return Ok(None);
        }
        let blocks = &self.blocks[some.clone()];
        let norms = blocks.iter().map(|b| b.norms(pass.gates())).collect::<Result<Vec<_>>>()?;
        let layers = blocks.iter().zip(&norms).map(|(b, norms)| b.layer(norms, pass.segments));
        let Some(layers) = layers.collect::<Result<Option<Vec<_>>>>()? else { return Ok(None) };
        let ends = some.end == self.blocks.len() && self.pre_norm;
        let last = ends.then(|| self.norm.values(pass.gates())).transpose()?;
        let segments: Vec<_> = pass.segments.iter().map(|s| s.rows.clone()).collect();
        let stack = Stack {
            layers: &layers,
            pre_norm: self.pre_norm,
            heads: self.blocks[0].heads(),
            last: last.as_ref().map(NormValues::as_kernel),
            segments: &segments,
            lengths: pass.lengths,
        };
        Ok(Some(tensor::stack(x, &stack)?))
    }

    /// Every linear.
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut GatedLinear> {
        self.blocks.iter_mut().flat_map(Block::linears_mut).chain([&mut self.projection])
    }

    /// Keeps every matrix that is a tensor in another type, for serving on a GPU; gives them by name.
    pub(crate) fn cast(&mut self, dtype: DType) -> Result<Vec<(String, Tensor)>> {
        let mut all = Vec::new();
        for linear in self.linears_mut() {
            if let Some(weight) = linear.cast(dtype)? {
                all.push((linear.name().to_owned(), weight));
            }
        }
        for conv in &mut self.positional {
            if let PositionalWeight::Tensor(param, _) = &mut conv.weight {
                let weight = param.get(&Gates::default()).to_dtype(dtype)?;
                *param = Param::new(param.name(), weight.clone());
                all.push((param.name().to_owned(), weight));
            }
        }
        Ok(all)
    }

    /// Lets masked weights be expanded beside the product before, once they are on the GPU in their type.
    #[cfg(feature = "cuda")]
    pub(crate) fn expand_ahead(&mut self, device: &Device) -> Result<()> {
        let of = |linear: &GatedLinear| linear.tensor().map(|w| (w.elem_count(), w.dtype()));
        let Some((elements, dtype)) = self.linears_mut().filter_map(|l| of(l)).max_by_key(|(n, _)| *n) else {
            return Ok(());
        };
        let ahead = Arc::new(cuda::Ahead::new(device, dtype, elements)?);
        self.linears_mut().for_each(|linear| linear.expand_ahead(&ahead));
        Ok(())
    }

    /// Packs the positional convolutions for the kernels, and names the weights so replaced.
    pub(crate) fn pack_positional(&mut self, layout: Layout) -> Result<Vec<String>> {
        self.positional.iter_mut().map(|p| p.pack(layout)).collect()
    }

    fn embed(&self, features: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let x = match &self.projection_norm {
            Some(norm) => norm.forward(features, pass.gates(), self.projection.dtype())?,
            None => features.clone(),
        };
        let x = self.projection.forward(&x, pass.segments)?.to_dtype(DType::F32)?;
        let x = pass.noise.dropout(x, Site::Input)?;
        let x = pass.noise.spec_augment(x, pass.lengths)?;
        let x = ops::zero_beyond(&x, pass.lengths)?;
        // The convolutions mix neighbours: what stands past a row's end must be nothing before each.
        // (transformers clears it before the first of data2vec-audio's five only, so that there a
        // padded row differs from the row alone.)
        let position = self.positional.iter().try_fold(x.clone(), |x, conv| {
            conv.forward(&ops::zero_beyond(&x, pass.lengths)?, pass.gates())
        })?;
        let mut x = (x + position)?;
        if !self.pre_norm {
            x = self.norm.forward(&x, pass.gates(), DType::F32)?;
        }
        pass.noise.dropout(x, Site::Embedding)
    }
}

/// Convolution and GELU; in data2vec-audio a norm without parameters between them.
#[derive(Clone, Debug)]
struct Positional {
    weight: PositionalWeight,
    bias: Param,
    groups: usize,
    norm: Option<[Tensor; 2]>,
}

/// The one resident copy of the weight, as in [`GatedLinear`].
#[derive(Clone, Debug)]
enum PositionalWeight {
    /// And, from its first pass without a gradient, the same packed: a hundredth of the model.
    Tensor(Param, OnceLock<Arc<Vec<PackedWeight>>>),
    /// One weight per group.
    Packed { name: String, groups: Arc<Vec<PackedWeight>>, shape: [usize; 3] },
}

impl Positional {
    fn new(config: &Config, weights: &Weights, layer: usize) -> Result<Self> {
        let name = positional_name(config, layer);
        let bias = weights.param(&format!("{name}.bias"))?;
        let device = weights.tensor(&format!("{name}.bias"))?.device().clone();
        let plain = |one: bool| {
            if one {
                Tensor::ones(config.hidden, DType::F32, &device)
            } else {
                Tensor::zeros(config.hidden, DType::F32, &device)
            }
        };
        Ok(Self {
            weight: PositionalWeight::Tensor(weights.param(&format!("{name}.weight"))?, OnceLock::new()),
            bias,
            groups: config.positional.groups,
            norm: (config.positional.layers > 1)
                .then(|| Ok::<_, crate::Error>([plain(true)?, plain(false)?]))
                .transpose()?,
        })
    }

    fn pack(&mut self, layout: Layout) -> Result<String> {
        let PositionalWeight::Tensor(param, _) = &self.weight else { return Ok(String::new()) };
        let open = Gates::default();
        let (name, weight) = (param.name().to_owned(), param.get(&open));
        let (d, inner, kernel) = weight.dims3()?;
        let shape = [d / self.groups, inner, kernel];
        let groups = Arc::new(pack_groups(layout, weight, self.groups)?);
        self.weight = PositionalWeight::Packed { name: name.clone(), groups, shape };
        Ok(name)
    }

    fn forward(&self, x: &Tensor, gates: &Gates) -> Result<Tensor> {
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
            Some([weight, bias]) => ops::layer_norm(&x, weight, bias, 1e-5, DType::F32)?,
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
