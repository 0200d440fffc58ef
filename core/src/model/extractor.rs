//! The convolutional extractor: samples to one vector per 20 ms.

use super::{
    config::{Config, ExtractorNorm},
    ops,
    schema::Weights,
};
use crate::{
    Result,
    kernels::{After, Conv, Layout, Norm, PackedWeight, Tier, tensor},
};
use candle_core::{DType, Tensor};

const EPS: f64 = 1e-5;

/// Convolution, norm, GELU; repeated. On the CPU in the kernels' form, else as tensors.
#[derive(Debug)]
pub(crate) enum Extractor {
    Packed(Vec<Packed>, ExtractorNorm),
    Tensors(Vec<Tensors>, ExtractorNorm),
}

#[derive(Debug)]
pub(crate) struct Packed {
    weight: PackedWeight,
    bias: Option<Vec<f32>>,
    norm: Option<[Vec<f32>; 2]>,
    kernel: usize,
    stride: usize,
}

#[derive(Debug)]
pub(crate) struct Tensors {
    /// (out, kernel · in), taps outermost, as [`ops::conv`] reads it.
    weight: Tensor,
    bias: Option<Tensor>,
    norm: Option<[Tensor; 2]>,
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
            let bias = weights.get(&format!("{layer}.conv.bias")).cloned();
            Ok(Tensors { weight, bias, norm, kernel: *kernel, stride: *stride })
        });
        let blocks = blocks.collect::<Result<Vec<_>>>()?;
        if blocks.iter().all(|block| tensor::serves(&[&block.weight])) {
            let blocks = blocks.into_iter().map(Packed::new).collect::<Result<_>>()?;
            return Ok(Self::Packed(blocks, config.extractor_norm));
        }
        Ok(Self::Tensors(blocks, config.extractor_norm))
    }

    /// Keeps the weights that are tensors in another type, for serving on a GPU.
    pub(crate) fn cast(&mut self, dtype: DType) -> Result<()> {
        if let Self::Tensors(blocks, _) = self {
            for block in blocks {
                block.weight = block.weight.to_dtype(dtype)?;
            }
        }
        Ok(())
    }

    /// Packs the convolutions in another layout.
    pub(crate) fn pack(&mut self, layout: Layout) -> Result<()> {
        let Self::Packed(blocks, _) = self else { return Ok(()) };
        // All behind the first or none: a chain goes through one kernel.
        let narrow = blocks.iter().skip(1).any(|b| b.weight.inputs() / b.kernel < 32);
        let layout = if narrow { Layout::Panels(Tier::best()) } else { layout };
        for block in blocks.iter_mut().filter(|b| b.weight.layout() != layout) {
            let (out, channels) = (block.weight.outputs(), block.weight.inputs() / block.kernel);
            let values = block.weight.unpack_conv(block.kernel);
            block.weight = PackedWeight::from_conv(layout, [out, channels, block.kernel], &values)?;
        }
        Ok(())
    }

    /// (B, S) to (B, T, C).
    pub(crate) fn forward(&self, samples: &Tensor) -> Result<Tensor> {
        let x = samples.unsqueeze(2)?;
        match self {
            Self::Tensors(blocks, over) => blocks.iter().try_fold(x, |x, block| block.forward(&x, *over)),
            Self::Packed(blocks, ExtractorNorm::Layer) => {
                let layers: Vec<_> = blocks.iter().map(|b| b.layer(true)).collect();
                Ok(tensor::chain(&x, &layers, None)?)
            }
            // The first norm looks at all of time, so the chain is cut behind it.
            Self::Packed(blocks, ExtractorNorm::Group) => {
                let layers: Vec<_> = blocks.iter().map(|b| b.layer(false)).collect();
                let over_time = blocks.first().and_then(Packed::norm);
                let after = if over_time.is_some() { After::None } else { After::Gelu };
                let x = tensor::chain(&x, &[Conv { after, ..layers[0] }], over_time.as_ref())?;
                match &layers[1..] {
                    [] => Ok(x),
                    rest => Ok(tensor::chain(&x, rest, None)?),
                }
            }
        }
    }
}

impl Packed {
    fn new(block: Tensors) -> Result<Self> {
        let (out, inner) = block.weight.dims2()?;
        let values = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
        Ok(Self {
            weight: PackedWeight::new(Tier::best(), out, inner, &values(&block.weight)?)?,
            bias: block.bias.as_ref().map(values).transpose()?,
            norm: block.norm.map(|[a, b]| Ok::<_, crate::Error>([values(&a)?, values(&b)?])).transpose()?,
            kernel: block.kernel,
            stride: block.stride,
        })
    }

    fn norm(&self) -> Option<Norm<'_>> {
        self.norm.as_ref().map(|[gamma, beta]| Norm { gamma, beta, eps: EPS as f32 })
    }

    fn layer(&self, norm: bool) -> Conv<'_> {
        Conv {
            weight: &self.weight,
            bias: self.bias.as_deref(),
            kernel: self.kernel,
            stride: self.stride,
            after: self.norm().filter(|_| norm).map_or(After::Gelu, After::NormGelu),
        }
    }
}

impl Tensors {
    fn forward(&self, x: &Tensor, over: ExtractorNorm) -> Result<Tensor> {
        let x = ops::conv(x, &self.weight, self.bias.as_ref(), self.kernel, self.stride)?;
        match (&self.norm, over) {
            (None, _) => ops::gelu(&x),
            (Some([weight, bias]), ExtractorNorm::Layer) => ops::layer_norm_gelu(&x, weight, bias, EPS),
            (Some([weight, bias]), ExtractorNorm::Group) => {
                ops::gelu(&ops::channel_norm(&x, weight, bias, EPS)?)
            }
        }
    }
}
