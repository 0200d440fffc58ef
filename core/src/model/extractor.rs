//! The convolutional extractor: samples to one vector per 20 ms.

use super::{
    config::{Config, ExtractorNorm},
    ops,
    schema::Weights,
};
use crate::Result;
use candle_core::Tensor;

const EPS: f64 = 1e-5;

/// Convolution, norm, GELU; repeated.
#[derive(Clone, Debug)]
pub(crate) struct Extractor(Vec<ConvBlock>);

#[derive(Clone, Debug)]
struct ConvBlock {
    /// (out, kernel · in), taps outermost, as [`ops::conv`] reads it.
    weight: Tensor,
    bias: Option<Tensor>,
    norm: Option<[Tensor; 2]>,
    over: ExtractorNorm,
    kernel: usize,
    stride: usize,
}

impl Extractor {
    /// Takes the extractor's parameters out of `weights`: nobody gates or replaces them, so they are
    /// kept once, rearranged.
    pub(crate) fn new(config: &Config, weights: &mut Weights) -> Result<Self> {
        let blocks = config.conv_kernel.iter().zip(&config.conv_stride).enumerate();
        let blocks = blocks.map(|(i, (kernel, stride))| {
            let layer = format!("feature_extractor.conv_layers.{i}");
            let weight = weights.tensor(&format!("{layer}.conv.weight"))?;
            let (out, inner, _) = weight.dims3()?;
            let weight = weight.transpose(1, 2)?.contiguous()?.reshape((out, kernel * inner))?;
            weights.remove(&format!("{layer}.conv.weight"));
            let norm = match weights.get(&format!("{layer}.layer_norm.weight")) {
                Some(scale) => Some([scale.clone(), weights.tensor(&format!("{layer}.layer_norm.bias"))?]),
                None => None,
            };
            Ok(ConvBlock {
                weight,
                bias: weights.get(&format!("{layer}.conv.bias")).cloned(),
                norm,
                over: config.extractor_norm,
                kernel: *kernel,
                stride: *stride,
            })
        });
        Ok(Self(blocks.collect::<Result<_>>()?))
    }

    /// (B, S) to (B, T, C).
    pub(crate) fn forward(&self, samples: &Tensor) -> Result<Tensor> {
        self.0.iter().try_fold(samples.unsqueeze(2)?, |x, block| block.forward(&x))
    }
}

impl ConvBlock {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = ops::conv(x, &self.weight, self.bias.as_ref(), self.kernel, self.stride)?;
        let x = match (&self.norm, self.over) {
            (None, _) => x,
            (Some([weight, bias]), ExtractorNorm::Layer) => ops::layer_norm(&x, weight, bias, EPS)?,
            (Some([weight, bias]), ExtractorNorm::Group) => ops::channel_norm(&x, weight, bias, EPS)?,
        };
        ops::gelu(&x)
    }
}
