//! Features to hidden states: projection, positional convolution, transformer.

mod serving;

pub(crate) use serving::Room;

use super::{
    block::{Block, Norm, Pass, linear},
    config::Config,
    noise::Site,
    ops,
    positional::Positional,
    schema::Weights,
};
use crate::{Result, kernels::Layout, linear::GatedLinear};
use candle_core::{DType, Tensor};
#[cfg(feature = "cuda")]
use {crate::kernels::cuda, candle_core::Device, std::sync::Arc};

/// Who looks on while the layers run.
pub(crate) enum Watch<'a> {
    /// Nobody.
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
        if let Self::Inputs(each) = self {
            each(x);
        }
        self.pause()
    }

    /// What is due before every layer, where nobody wants to see its input.
    pub(crate) fn pause(&mut self) -> Result<()> {
        match self {
            Self::Pauses(pause) => pause(),
            Self::Nobody | Self::Inputs(_) => Ok(()),
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
        for stage in 1..=self.blocks.len() {
            watch.look(&x)?;
            x = self.stage(stage, &x, pass)?;
        }
        watch.look(&x)?;
        self.stage(self.blocks.len() + 1, &x, pass)
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
            all.extend(conv.cast(dtype)?);
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

    /// Packs all but the linears for the kernels, and names the weights so replaced.
    pub(crate) fn pack(&mut self, layout: Layout) -> Result<Vec<String>> {
        self.projection_norm.iter_mut().chain([&mut self.norm]).try_for_each(Norm::pack)?;
        self.blocks.iter_mut().try_for_each(Block::pack_norms)?;
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
