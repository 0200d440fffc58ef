//! The shared weights: read, packed, asked; `forward` is the way through them.

mod forward;

use super::{
    batch::Level,
    checkpoint::{Checkpoint, OwnHead, Source},
    config::Config,
    encoder::Encoder,
    extractor::Extractor,
    head::Head,
    schema::{Weights, schema},
};
use crate::{
    Result,
    gate::Gate,
    kernels::{Layout, PanelMask, cuda::DeviceMask},
    precision::Precision,
};
use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng, rngs::StdRng};
use s3router_masks::BitMask;
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

/// A pretrained speech model, loaded once, shared by every language and every thread.
#[derive(Debug)]
pub struct Backbone {
    config: Config,
    device: Device,
    pub(super) weights: Weights,
    extractor: Extractor,
    encoder: Encoder,
    lm_head: Option<Head>,
    own_head: Option<OwnHead>,
    pub(super) identity: OnceLock<s3router_masks::Backbone>,
    packed: Option<Precision>,
}

impl Backbone {
    /// Loads the embedded demo, a directory or file, or a model of the Hugging Face hub.
    ///
    /// # Errors
    /// A file that is missing, broken or of another architecture: what, where and how to mend it.
    pub fn load(source: &Source, device: &Device) -> Result<Self> {
        Self::read(source, device, None)
    }

    /// [`load`](Self::load), then [`packed`](Self::packed), but weight by weight: memory never holds the
    /// whole of them twice, nor at bf16 the whole of them in f32.
    ///
    /// # Errors
    /// As both.
    pub fn load_packed(source: &Source, device: &Device, precision: Precision) -> Result<Self> {
        Self::read(source, device, Some(precision.resolve(device)?))
    }

    fn read(source: &Source, device: &Device, precision: Option<Precision>) -> Result<Self> {
        let checkpoint = source.open()?;
        let config = checkpoint.config()?;
        let lm_head = checkpoint.lm_head(device)?.map(|[weight, bias]| Head::new(weight, bias));
        let own_head = checkpoint.own_head(config.hidden, device)?;
        let tensor = |name: &str| checkpoint.parameter(name);
        Ok(Self { lm_head, own_head, ..Self::build(config, device, precision, tensor)? })
    }

    /// A backbone from tensors at hand, under any spelling that a checkpoint may use.
    ///
    /// # Errors
    /// A missing or misshapen tensor: its name and both shapes.
    pub fn from_tensors(config: Config, tensors: HashMap<String, Tensor>, device: &Device) -> Result<Self> {
        let checkpoint = Checkpoint::from_tensors(tensors);
        Self::build(config.check()?, device, None, |name| checkpoint.parameter(name))
    }

    /// Random weights, equal for equal seeds: for tests, and for timing a shape without its checkpoint.
    /// Matrices are uniform within ±sqrt(3 / fan-in) (variance 1 / fan-in), norms near 1, biases near 0.
    ///
    /// # Errors
    /// A config that contradicts itself.
    pub fn random(config: Config, seed: u64, device: &Device) -> Result<Self> {
        let config = config.check()?;
        let mut random = random(&config, seed);
        Self::build(config, device, None, |_| random.next().map(|(_, tensor)| tensor).transpose())
    }

    /// [`random`](Self::random), then [`packed`](Self::packed), weight by weight as
    /// [`load_packed`](Self::load_packed) does it.
    ///
    /// # Errors
    /// As both.
    pub fn random_packed(config: Config, seed: u64, device: &Device, precision: Precision) -> Result<Self> {
        let (config, precision) = (config.check()?, precision.resolve(device)?);
        let mut random = random(&config, seed);
        Self::build(config, device, Some(precision), |_| random.next().map(|(_, tensor)| tensor).transpose())
    }

    /// The checkpoint of [`random`](Self::random), on the CPU.
    ///
    /// # Errors
    /// A config that contradicts itself.
    pub fn random_tensors(config: &Config, seed: u64) -> Result<HashMap<String, Tensor>> {
        random(&config.clone().check()?, seed).map(|(name, tensor)| Ok((name, tensor?))).collect()
    }

    /// Reads every weight through `tensor`, asked in the schema's order, and packs it at once if so wished.
    fn build(
        config: Config,
        device: &Device,
        precision: Option<Precision>,
        tensor: impl FnMut(&str) -> Result<Option<Tensor>>,
    ) -> Result<Self> {
        let layout = precision.filter(|_| device.is_cpu()).map(Layout::of);
        let mut weights = Weights::collect(&config, device, layout, tensor)?;
        let identity = weights.hashes().map_or_else(OnceLock::new, OnceLock::from);
        let backbone = Self { identity, ..Self::new(config, weights, device)? };
        match precision {
            Some(precision) => backbone.packed(precision),
            None => Ok(backbone),
        }
    }

    fn new(config: Config, mut weights: Weights, device: &Device) -> Result<Self> {
        Ok(Self {
            extractor: Extractor::new(&config, &mut weights)?,
            encoder: Encoder::new(&config, &weights)?,
            device: device.clone(),
            config,
            weights,
            lm_head: None,
            own_head: None,
            identity: OnceLock::new(),
            packed: None,
        })
    }

    /// The same backbone for serving: on the CPU, each linear's weight is packed for the kernels and its
    /// tensor dropped, so that one copy stays resident. Learning still works, slowly: weights are
    /// unpacked whenever a gradient asks for them (at bf16: the rounded ones). Once packed it stays as it is.
    ///
    /// # Errors
    /// A precision that the machine lacks.
    pub fn packed(mut self, precision: Precision) -> Result<Self> {
        let precision = precision.resolve(&self.device)?;
        if self.packed.is_some() {
            return Ok(self);
        }
        if !self.device.is_cpu() {
            return self.on_gpu(precision);
        }
        if precision == Precision::Bf16 {
            self.identity()?; // while the weights are whole
        }
        let layout = Layout::of(precision);
        for linear in self.encoder.linears_mut() {
            let weight = linear.pack(layout)?;
            self.weights.replace(linear.name(), weight);
        }
        for name in self.encoder.pack(layout)? {
            self.weights.remove(&name);
        }
        self.extractor.pack(layout)?;
        self.packed = Some(precision);
        Ok(self)
    }

    /// On a GPU, in half precision, the matrices are kept in it, and only so.
    fn on_gpu(mut self, precision: Precision) -> Result<Self> {
        if let Some(half) = precision.half() {
            self.identity()?; // while the weights are whole
            for (name, weight) in self.encoder.cast(half)? {
                self.weights.set(&name, weight);
            }
            self.extractor.cast(half)?;
        }
        #[cfg(feature = "cuda")]
        if self.device.is_cuda() {
            self.encoder.expand_ahead(&self.device)?;
        }
        self.packed = Some(precision);
        Ok(self)
    }

    /// The arithmetic of the heavy products.
    pub fn precision(&self) -> Precision {
        self.packed.unwrap_or(Precision::F32)
    }

    /// What computes them: `amx`, `avx512bf16`, `avx512`, `avx2`, ...; on a GPU its name.
    pub fn kernel(&self) -> &'static str {
        match self.device.is_cpu() {
            true => Layout::of(self.precision()).name(),
            false => "cuda",
        }
    }

    /// A mask in the form that this backbone reads fastest: ask once it is [`packed`](Self::packed). A GPU without
    /// room for it gets it anew with each batch.
    pub fn gate(&self, bits: &BitMask) -> Gate {
        if self.device.is_cpu() {
            return Gate::Panels(Arc::new(PanelMask::new(Layout::of(self.precision()), bits)));
        }
        match DeviceMask::new(bits, &self.device) {
            Ok(mask) => Gate::Device(Arc::new(mask)),
            Err(error) => {
                tracing::warn!(%error, "no room on the GPU for a mask: it stays in the CPU's memory");
                Gate::Packed(Arc::new(bits.clone()))
            }
        }
    }

    /// The shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How many parameters the forward pass uses (a checkpoint's pretraining extras and own head not counted).
    pub fn parameter_count(&self) -> usize {
        schema(&self.config).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Where the weights live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Frames of `samples` at 16 kHz; 0 when shorter than the receptive field.
    pub fn frames(&self, samples: usize) -> usize {
        self.config.frames(samples)
    }

    /// One utterance (S,) at 16 kHz as the model was trained on it: zero mean and unit variance over its
    /// samples, where the config says so.
    pub fn normalise(&self, wave: &[f32]) -> Vec<f32> {
        self.level(wave).apply(wave)
    }

    /// What [`normalise`](Self::normalise) does to an utterance, for those who need it stretch by stretch.
    pub fn level(&self, wave: &[f32]) -> Level {
        if self.config.normalize { Level::of(wave) } else { Level::NONE }
    }

    /// Weights that a mask may cover, with (out, in): the projection after the extractor, then each
    /// layer's attention and feed-forward linears.
    pub fn maskable(&self) -> Vec<(String, (usize, usize))> {
        let linears = schema(&self.config).into_iter().filter(|(_, shape)| shape.len() == 2);
        linears.map(|(name, shape)| (name, (shape[0], shape[1]))).collect()
    }

    /// A frozen parameter in f32 and the checkpoint's shape, by its name without model prefix. The
    /// extractor's convolutions are not among them, nor, once [`packed`](Self::packed), what
    /// [`values`](Self::values) still gives.
    pub fn weight(&self, name: &str) -> Option<&Tensor> {
        self.weights.get(name)
    }

    /// The checkpoint's `lm_head` as it is stored, vocabulary or not: what transformers computes its
    /// logits with.
    pub fn lm_head(&self) -> Option<&Head> {
        self.lm_head.as_ref()
    }

    /// Every frozen parameter that [`weight`](Self::weight) knows, by name.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.weights.iter()
    }

    /// The CTC head and vocabulary of a fine-tuned checkpoint, if this is one.
    pub fn own_head(&self) -> Option<&OwnHead> {
        self.own_head.as_ref()
    }
}

/// Random parameters in the schema's order.
fn random(config: &Config, seed: u64) -> impl Iterator<Item = (String, Result<Tensor>)> + use<> {
    let mut rng = StdRng::seed_from_u64(seed);
    schema(config).into_iter().map(move |(name, shape)| {
        let inner: usize = shape[1..].iter().product();
        let (centre, spread) = match (shape.len(), name.ends_with("weight")) {
            (1, true) => (1.0, 0.1),
            (1, false) => (0.0, 0.1),
            _ => (0.0, (3.0 / inner as f32).sqrt()),
        };
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| centre + spread * rng.random_range(-1.0..1.0f32)).collect();
        (name, Tensor::from_vec(values, shape, &Device::Cpu).map_err(Into::into))
    })
}
