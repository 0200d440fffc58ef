//! The convolutional extractor: samples to one vector per 20 ms.

use super::{
    config::{Config, ExtractorNorm},
    ops,
    schema::Weights,
};
use crate::{
    Error, Result,
    kernels::{After, Aligned, Conv, Layout, Norm, PackedWeight, Tier, conv, norm::group_norm_gelu, tensor},
};
use candle_core::{DType, Tensor};
use smallvec::SmallVec;

const EPS: f64 = 1e-5;

/// Frames made between two pauses: 5 s.
pub(super) const SLICE_FRAMES: usize = 250;

/// What group norm needs, kept for the next batch.
#[derive(Default)]
pub(crate) struct Room {
    /// The first layer's output of a whole row.
    first: Aligned,
    sums: Aligned,
}

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

    /// Whether it [runs](Self::run) on the kernels; else it goes [`forward`](Self::forward).
    pub(crate) fn is_packed(&self) -> bool {
        matches!(self, Self::Packed(..))
    }

    /// (B, S) to (B, T, C), as tensors.
    pub(crate) fn forward(&self, samples: &Tensor) -> Result<Tensor> {
        let Self::Tensors(blocks, over) = self else { return Err(misplaced()) };
        blocks.iter().try_fold(samples.unsqueeze(2)?, |x, block| block.forward(&x, *over))
    }

    /// Samples (B, S), of whose rows `lengths` are real, to y (B, T, C), on the kernels. `pause` is called every few
    /// seconds of long audio: a frame sees no more than its receptive field, so time may be cut.
    ///
    /// Group norm looks at a whole row, so with it rows run one by one and without their padding; a batch then equals
    /// its rows alone, always.
    ///
    /// # Errors
    /// Lengths that do not fit; those of `pause`.
    pub(crate) fn run(
        &self,
        samples: &[f32],
        lengths: &[usize],
        y: &mut [f32],
        room: &mut Room,
        pause: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let Self::Packed(blocks, over) = self else { return Err(misplaced()) };
        let whole = *over == ExtractorNorm::Group;
        let layers: SmallVec<[Conv<'_>; 8]> = blocks.iter().map(|block| block.layer(!whole)).collect();
        let width = samples.len() / lengths.len().max(1);
        let frames = |times: usize| layers.iter().fold(times, |times, layer| layer.frames(times));
        if !whole {
            return (0..frames(width)).step_by(SLICE_FRAMES).try_for_each(|from| {
                pause()?;
                conv::chain_frames(&layers, lengths.len(), samples, y, from..from + SLICE_FRAMES)
            });
        }
        pause()?;
        let field = layers.iter().rev().fold(1, |f, layer| (f - 1) * layer.stride + layer.kernel);
        let (row, channels) =
            (y.len() / lengths.len().max(1), y.len() / (lengths.len() * frames(width)).max(1));
        let over_time = blocks.first().and_then(Packed::norm);
        let rows = samples.chunks_exact(width.max(1)).zip(y.chunks_exact_mut(row.max(1)));
        for ((samples, y), length) in rows.zip(lengths) {
            let real = (*length).max(field).min(width);
            let (y, rest) = y.split_at_mut(frames(real) * channels);
            rest.fill(0.0);
            over_whole_row(&layers, over_time.as_ref(), &samples[..real], y, room)?;
        }
        Ok(())
    }
}

/// A chain whose first norm looks at all of time: cut behind it.
fn over_whole_row(
    layers: &[Conv<'_>],
    over_time: Option<&Norm<'_>>,
    x: &[f32],
    y: &mut [f32],
    Room { first, sums }: &mut Room,
) -> Result<()> {
    let Some(norm) = over_time else { return conv::chain(layers, 1, x, y) };
    let bare = Conv { after: After::None, ..layers[0] };
    let len = bare.frames(x.len() / bare.channels()) * bare.weight.outputs();
    let first = first.at_least(len);
    conv::chain(&[bare], 1, x, first)?;
    group_norm_gelu(Tier::best(), norm, first, sums)?;
    match &layers[1..] {
        [] => y.copy_from_slice(first),
        rest => conv::chain(rest, 1, first, y)?,
    }
    Ok(())
}

fn misplaced() -> Error {
    Error::Model("the extractor is asked for in the form that it does not have".into())
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
