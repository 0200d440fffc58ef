//! Which parameters a backbone of a given shape has, and the checked set of them.

use super::config::{Config, ExtractorNorm};
use crate::{
    Error, Result,
    kernels::{Layout, PackedWeight},
    linear::{Param, Weight},
};
use candle_core::{DType, Device, Tensor};
use std::{collections::BTreeMap, sync::Arc};

/// Every parameter, Hugging Face's names without the model prefix, with its shape. The positional
/// convolution's weight norm is folded.
pub(crate) fn schema(config: &Config) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut pair = |name: &str, weight: Vec<usize>, bias: bool| {
        let width = weight[0];
        all.push((format!("{name}.weight"), weight));
        if bias {
            all.push((format!("{name}.bias"), vec![width]));
        }
    };
    let d = config.hidden;
    let mut channels = 1;
    for (i, (out, kernel)) in config.conv_dim.iter().zip(&config.conv_kernel).enumerate() {
        let layer = format!("feature_extractor.conv_layers.{i}");
        pair(&format!("{layer}.conv"), vec![*out, channels, *kernel], config.conv_bias);
        if config.extractor_norm == ExtractorNorm::Layer || i == 0 {
            pair(&format!("{layer}.layer_norm"), vec![*out], true);
        }
        channels = *out;
    }
    if config.projection_norm {
        pair("feature_projection.layer_norm", vec![channels], true);
    }
    pair("feature_projection.projection", vec![d, channels], true);
    for i in 0..config.positional.layers {
        let shape = vec![d, d / config.positional.groups, config.positional.kernel];
        pair(&positional_name(config, i), shape, true);
    }
    pair("encoder.layer_norm", vec![d], true);
    for i in 0..config.layers {
        let layer = format!("encoder.layers.{i}");
        for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            pair(&format!("{layer}.attention.{name}"), vec![d, d], true);
        }
        pair(&format!("{layer}.layer_norm"), vec![d], true);
        pair(&format!("{layer}.feed_forward.intermediate_dense"), vec![config.feed_forward, d], true);
        pair(&format!("{layer}.feed_forward.output_dense"), vec![d, config.feed_forward], true);
        pair(&format!("{layer}.final_layer_norm"), vec![d], true);
    }
    all
}

/// The positional convolution's name, without `.weight`; data2vec-audio numbers its own.
pub(crate) fn positional_name(config: &Config, layer: usize) -> String {
    if config.positional.layers > 1 {
        format!("encoder.pos_conv_embed.layers.{layer}.conv")
    } else {
        "encoder.pos_conv_embed.conv".into()
    }
}

/// The parameters of one backbone, complete, each of the right shape: tensors in f32, or, of linears, packed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weights {
    tensors: BTreeMap<String, Tensor>,
    packed: BTreeMap<String, Arc<PackedWeight>>,
    hashes: s3router_masks::Backbone,
}

impl Weights {
    /// Asks `tensor` for every parameter of the schema, in its order; extras are not even looked at. With a
    /// layout each linear's weight is hashed and packed as it comes, so that never two copies of all exist.
    ///
    /// # Errors
    /// A missing tensor, or one of another shape: its name and both shapes.
    pub(crate) fn collect(
        config: &Config,
        device: &Device,
        layout: Option<Layout>,
        mut tensor: impl FnMut(&str) -> Result<Option<Tensor>>,
    ) -> Result<Self> {
        let mut weights = Self::default();
        for (name, shape) in schema(config) {
            let Some(found) = tensor(&name)? else {
                return Err(Error::Model(format!(
                    "tensor `{name}` {shape:?} is missing: the file holds another architecture than its config"
                )));
            };
            if found.dims() != shape {
                return Err(Error::Model(format!(
                    "tensor `{name}` has shape {:?}, the config asks for {shape:?}",
                    found.dims()
                )));
            }
            let found = found.to_dtype(DType::F32)?.to_device(device)?.contiguous()?;
            match (layout, shape.as_slice()) {
                (Some(layout), &[out, inner]) => {
                    let values = found.flatten_all()?.to_vec1::<f32>()?;
                    drop(found);
                    let (hashed, packed) = rayon::join(
                        || weights.hashes.add(&name, &shape, &values),
                        || PackedWeight::new(layout, out, inner, &values),
                    );
                    hashed?;
                    weights.packed.insert(name, Arc::new(packed?));
                }
                _ => drop(weights.tensors.insert(name, found)),
            }
        }
        if let Some(found) = tensor(SPEC_EMBED)?.filter(|t| t.dims() == [config.hidden]) {
            let found = found.to_dtype(DType::F32)?.to_device(device)?;
            weights.tensors.insert(SPEC_EMBED.into(), found);
        }
        Ok(weights)
    }

    /// The hashes of the weights that were packed on the way in.
    pub(crate) fn hashes(&mut self) -> Option<s3router_masks::Backbone> {
        (!self.packed.is_empty()).then(|| std::mem::take(&mut self.hashes))
    }

    /// The weight of a linear, by its full name.
    pub(crate) fn linear(&self, name: &str) -> Result<Weight> {
        match self.packed.get(name) {
            Some(packed) => Ok(Weight::Packed(packed.clone())),
            None => Ok(Weight::Tensor(self.tensor(name)?)),
        }
    }

    /// A parameter that is a tensor.
    pub(crate) fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// A linear's weight, if packed.
    pub(crate) fn packed(&self, name: &str) -> Option<&Arc<PackedWeight>> {
        self.packed.get(name)
    }

    /// Puts the packed form of a linear's weight in the place of its tensor.
    pub(crate) fn replace(&mut self, name: &str, packed: Arc<PackedWeight>) {
        self.tensors.remove(name);
        self.packed.insert(name.into(), packed);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// A parameter of the schema.
    pub(crate) fn tensor(&self, name: &str) -> Result<Tensor> {
        self.get(name).cloned().ok_or_else(|| Error::Model(format!("tensor `{name}` is missing")))
    }

    pub(crate) fn param(&self, name: &str) -> Result<Param> {
        Ok(Param::new(name, self.tensor(name)?))
    }

    /// Puts a tensor in the place of another.
    pub(crate) fn set(&mut self, name: &str, tensor: Tensor) {
        self.tensors.insert(name.into(), tensor);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.tensors.remove(name);
    }
}

/// What SpecAugment puts in place of masked frames; used in learning only, so it may be absent.
pub(crate) const SPEC_EMBED: &str = "masked_spec_embed";
