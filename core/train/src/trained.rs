//! What a run leaves behind: a pack, or a weights file when the backbone itself was changed.
//!
//! A mask and a head make a pack, which every server opens. Fine-tuned weights cannot ride on the shared
//! backbone, so they go to a safetensors file of our own: `weight.<name>` (the backbone's shapes),
//! `mask.<name>` and `head.*` as in a pack, the pack's metadata under `meta`, `format` =
//! `s3router-weights/1`. `evaluate` reads both, `--start` takes both.

use crate::{learner::Learner, store};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use s3router_core::{
    gate::{Gate, Gates},
    learn::vocab::Unit,
    model::Backbone,
};
use s3router_masks::{BitMask, Codec, Head, Kind, Meta, Pack};
use std::{collections::BTreeMap, path::Path, sync::Arc};

const FORMAT: &str = "s3router-weights/1";

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Trained {
    /// As in a pack.
    pub meta: Meta,
    /// By weight name.
    pub masks: BTreeMap<String, BitMask>,
    /// Parameters that stand in for the backbone's; empty for a pack.
    pub weights: BTreeMap<String, Tensor>,
    /// `(V, D)`.
    pub head_weight: Tensor,
    /// `(V,)`.
    pub head_bias: Tensor,
}

/// What the metadata of a result says beside what its tensors tell.
pub struct About<'a> {
    /// Language id in any spelling.
    pub language: &'a str,
    /// Symbols by index.
    pub vocab: &'a [String],
    /// The symbol between words.
    pub separator: Option<&'a str>,
    /// `ffn`, ...
    pub covers: String,
    /// Data, steps, seed, measured rates.
    pub training: serde_json::Value,
}

impl Trained {
    /// The learner's present state.
    ///
    /// # Errors
    /// None unless the tensor library fails.
    pub fn of(learner: &Learner, backbone: &Backbone, about: About) -> Result<Self> {
        let masks = learner.masks()?;
        let (all, kept) = masks.values().fold((0, 0), |(a, k), m| (a + m.len(), k + m.count_ones()));
        let (head_weight, head_bias) = learner.head();
        let meta = Meta {
            language: s3router_masks::language::canonical(about.language),
            aliases: Vec::new(),
            kind: Kind::Ctc,
            backbone_sha256: Some(fingerprint(backbone, &masks)?),
            density: if all == 0 { 1.0 } else { kept as f64 / all as f64 },
            covers: about.covers,
            vocab: about.vocab.to_vec(),
            word_separator: about.separator.map(str::to_owned),
            training: about.training,
            license: None,
        };
        Ok(Self { meta, masks, weights: learner.weights(), head_weight, head_bias })
    }

    /// Writes a pack if the backbone was left as it is, else a weights file; atomically.
    ///
    /// # Errors
    /// The file cannot be written: the old one is untouched.
    pub fn write(&self, path: &Path) -> Result<()> {
        if self.weights.is_empty() {
            s3router_masks::write(path, &self.pack()?, Codec::Raw)?;
            return Ok(());
        }
        let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
        tensors.extend(self.weights.iter().map(|(name, t)| (format!("weight.{name}"), t.clone())));
        for (name, mask) in &self.masks {
            let bytes = Tensor::from_slice(mask.bytes(), (mask.rows(), mask.stride()), &Device::Cpu)?;
            tensors.insert(format!("mask.{name}"), bytes);
        }
        tensors.insert("head.weight".into(), self.head_weight.clone());
        tensors.insert("head.bias".into(), self.head_bias.clone());
        let m = &self.meta;
        let meta = serde_json::json!({
            "language": m.language, "density": m.density, "covers": m.covers, "vocab": m.vocab,
            "word_separator": m.word_separator, "training": m.training, "backbone_sha256": m.backbone_sha256,
        });
        store::save(path, tensors, &[("format", FORMAT.into()), ("meta", meta.to_string())])
    }

    fn pack(&self) -> Result<Pack> {
        let head = Head {
            weight: self.head_weight.flatten_all()?.to_vec1()?,
            bias: self.head_bias.to_vec1()?,
            dim: self.head_weight.dim(1)?,
        };
        Ok(Pack { meta: self.meta.clone(), masks: self.masks.clone(), head })
    }

    /// Opens a pack or a weights file, checks that it belongs to this backbone, and puts it on its device.
    ///
    /// # Errors
    /// What is wrong with the file, or that it was made on another backbone.
    pub fn open(path: &Path, backbone: &Backbone) -> Result<Self> {
        let trained = match store::load(path) {
            Ok((tensors, strings)) if strings.get("format").is_some_and(|f| f == FORMAT) => {
                Self::from_weights(tensors, strings.get("meta").map_or("", String::as_str), backbone)
                    .with_context(|| path.display().to_string())?
            }
            _ => Self::from_pack(s3router_masks::open_path(path)?.pack, backbone)?,
        };
        let width = backbone.config().hidden;
        ensure!(
            trained.head_weight.dim(1)? == width,
            "{}: its head is {} wide, the backbone {width}: it belongs to another backbone",
            path.display(),
            trained.head_weight.dim(1)?
        );
        trained.to_device(backbone.device())
    }

    fn from_pack(mut pack: Pack, backbone: &Backbone) -> Result<Self> {
        backbone.identity()?.bind(&mut pack)?;
        let rows = pack.head.bias.len();
        Ok(Self {
            head_weight: Tensor::from_vec(pack.head.weight, (rows, pack.head.dim), &Device::Cpu)?,
            head_bias: Tensor::from_vec(pack.head.bias, rows, &Device::Cpu)?,
            meta: pack.meta,
            masks: pack.masks,
            weights: BTreeMap::new(),
        })
    }

    fn from_weights(tensors: store::Tensors, meta: &str, backbone: &Backbone) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Saved {
            language: String,
            density: f64,
            covers: String,
            vocab: Vec<String>,
            word_separator: Option<String>,
            training: serde_json::Value,
            backbone_sha256: Option<String>,
        }
        let s: Saved = serde_json::from_str(meta).context("its metadata cannot be read")?;
        let (mut masks, mut weights) = (BTreeMap::new(), BTreeMap::new());
        for (name, tensor) in &tensors {
            if let Some(weight) = name.strip_prefix("weight.") {
                match backbone.weight(weight) {
                    Some(own) if own.dims() == tensor.dims() => {
                        weights.insert(weight.to_owned(), tensor.clone())
                    }
                    own => bail!(
                        "`{weight}` is {:?}, the backbone has {:?}: it was made on another one",
                        tensor.dims(),
                        own.map(Tensor::dims)
                    ),
                };
            } else if let Some(weight) = name.strip_prefix("mask.") {
                let Some(&[rows, cols]) = backbone.weight(weight).map(Tensor::dims) else {
                    bail!("mask `{weight}` has no weight in the backbone")
                };
                let bytes = tensor.flatten_all()?.to_vec1::<u8>()?;
                masks.insert(weight.to_owned(), BitMask::from_bytes(weight, rows, cols, bytes)?);
            }
        }
        let found = fingerprint(backbone, &masks)?;
        ensure!(
            s.backbone_sha256.as_ref().is_none_or(|sha| *sha == found),
            "it was made on another backbone: {:?}, this one is {found}",
            s.backbone_sha256
        );
        let head = |name: &str| tensors.get(name).cloned().with_context(|| format!("`{name}` is missing"));
        let meta = Meta {
            language: s.language,
            aliases: Vec::new(),
            kind: Kind::Ctc,
            backbone_sha256: s.backbone_sha256,
            density: s.density,
            covers: s.covers,
            vocab: s.vocab,
            word_separator: s.word_separator,
            training: s.training,
            license: None,
        };
        Ok(Self { meta, masks, weights, head_weight: head("head.weight")?, head_bias: head("head.bias")? })
    }

    /// What the backbone sees of this result: the very masks that serving uses.
    pub fn gates(&self) -> Gates {
        let packed =
            self.masks.iter().map(|(name, bits)| (name.clone(), Gate::Packed(Arc::new(bits.clone()))));
        Gates::new(packed.collect()).with_overrides(self.weights.clone())
    }

    /// The same with its tensors on another device.
    ///
    /// # Errors
    /// The device's.
    pub fn to_device(mut self, device: &Device) -> Result<Self> {
        for tensor in self.weights.values_mut().chain([&mut self.head_weight, &mut self.head_bias]) {
            *tensor = tensor.to_device(device)?;
        }
        Ok(self)
    }
}

/// What a symbol of a pack's vocabulary is; packs from elsewhere do not say.
pub fn unit(meta: &Meta) -> Option<Unit> {
    serde_json::from_value(meta.training.get("unit")?.clone()).ok()
}

/// The fingerprint of the weights that these masks cover; of all maskable weights when there is no mask.
fn fingerprint(backbone: &Backbone, masks: &BTreeMap<String, BitMask>) -> Result<String> {
    if masks.is_empty() {
        return Ok(backbone.whole_fingerprint()?);
    }
    Ok(backbone.fingerprint(masks.keys().map(String::as_str))?)
}
