//! Features to hidden states: projection, positional convolution, transformer.

use super::{
    block::{Block, Norm, Pass, linear},
    config::Config,
    noise::Site,
    ops,
    schema::{Weights, positional_name},
};
use crate::{
    Result,
    gate::Gates,
    linear::{GatedLinear, Param},
};
use candle_core::{DType, Tensor};

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

    /// Features (B, T, C) to the final hidden state (B, T, D); `each` sees the input of every layer and
    /// the output of the last.
    pub(crate) fn forward(
        &self,
        features: &Tensor,
        pass: &mut Pass<'_>,
        each: &mut dyn FnMut(&Tensor),
    ) -> Result<Tensor> {
        let mut x = self.embed(features, pass)?;
        for (i, block) in self.blocks.iter().enumerate() {
            each(&x);
            if pass.noise.keep_layer(i) {
                x = block.forward(&x, pass)?;
            }
        }
        each(&x);
        if self.pre_norm {
            x = self.norm.forward(&x, pass.gates())?;
        }
        Ok(x)
    }

    fn embed(&self, features: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let x = match &self.projection_norm {
            Some(norm) => norm.forward(features, pass.gates())?,
            None => features.clone(),
        };
        let x = self.projection.forward(&x, pass.segments)?;
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
            x = self.norm.forward(&x, pass.gates())?;
        }
        pass.noise.dropout(x, Site::Embedding)
    }
}

/// Convolution and GELU; in data2vec-audio a norm without parameters between them.
#[derive(Clone, Debug)]
struct Positional {
    weight: Param,
    bias: Param,
    groups: usize,
    norm: Option<[Tensor; 2]>,
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
            weight: weights.param(&format!("{name}.weight"))?,
            bias,
            groups: config.positional.groups,
            norm: (config.positional.layers > 1)
                .then(|| Ok::<_, crate::Error>([plain(true)?, plain(false)?]))
                .transpose()?,
        })
    }

    fn forward(&self, x: &Tensor, gates: &Gates) -> Result<Tensor> {
        let x = ops::positional_conv(x, self.weight.get(gates), self.bias.get(gates), self.groups)?;
        ops::gelu(&match &self.norm {
            Some([weight, bias]) => ops::layer_norm(&x, weight, bias, 1e-5)?,
            None => x,
        })
    }
}
