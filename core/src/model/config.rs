//! What shape a backbone has: `config.json` of Hugging Face, or recognised from the tensors.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How the convolutional extractor normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtractorNorm {
    /// Layer 0 only, each channel over time (wav2vec2-base, HuBERT base). Padding would change it.
    Group,
    /// Every layer, over channels (XLS-R, wav2vec2 large LV-60, data2vec-audio).
    Layer,
}

/// The positional convolution in front of the transformer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionalConv {
    /// Convolutions in a row: 1, or data2vec-audio's 5 (each with a norm of its own).
    pub layers: usize,
    /// Taps.
    pub kernel: usize,
    /// Channel groups.
    pub groups: usize,
}

/// One shape for XLS-R / wav2vec 2.0, HuBERT and data2vec-audio.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Output channels of each extractor convolution.
    pub conv_dim: Vec<usize>,
    /// Their taps.
    pub conv_kernel: Vec<usize>,
    /// Their strides, in input samples or frames.
    pub conv_stride: Vec<usize>,
    /// Whether they have a bias.
    pub conv_bias: bool,
    /// How they are normalised.
    pub extractor_norm: ExtractorNorm,
    /// Whether a LayerNorm stands before the feature projection (all but some HuBERTs).
    pub projection_norm: bool,
    /// The positional convolution.
    pub positional: PositionalConv,
    /// Width D of the transformer.
    pub hidden: usize,
    /// Transformer layers L.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Inner width of the feed-forward blocks.
    pub feed_forward: usize,
    /// Norms before the blocks and one at the end (XLS-R), instead of after each block.
    pub pre_norm: bool,
    /// Epsilon of the transformer's norms; the extractor's are always 1e-5, PyTorch's default.
    pub norm_eps: f64,
    /// Whether each utterance is brought to zero mean and unit variance first (preprocessor_config.json).
    pub normalize: bool,
}

impl Config {
    /// XLS-R 300M: 24 layers of 1024, 315 M parameters.
    pub fn xlsr_300m() -> Self {
        Self { hidden: 1024, layers: 24, heads: 16, feed_forward: 4096, ..Self::xlsr_family() }
    }

    /// XLS-R 1B: 48 layers of 1280.
    pub fn xlsr_1b() -> Self {
        Self { hidden: 1280, layers: 48, heads: 16, feed_forward: 5120, ..Self::xlsr_family() }
    }

    /// A two-layer XLS-R for tests, a few thousand parameters, 20 ms frames like its elder sisters.
    pub fn tiny() -> Self {
        Self {
            conv_dim: vec![16, 24, 32],
            conv_kernel: vec![20, 8, 8],
            conv_stride: vec![10, 8, 4],
            positional: PositionalConv { layers: 1, kernel: 8, groups: 4 },
            hidden: 32,
            layers: 2,
            heads: 4,
            feed_forward: 72,
            ..Self::xlsr_family()
        }
    }

    /// A three-layer XLS-R for tests, wide enough to fill the kernels' tiles.
    pub fn small() -> Self {
        Self { conv_dim: vec![40, 32, 64], hidden: 128, layers: 3, feed_forward: 160, ..Self::tiny() }
    }

    fn xlsr_family() -> Self {
        Self {
            conv_dim: vec![512; 7],
            conv_kernel: vec![10, 3, 3, 3, 3, 2, 2],
            conv_stride: vec![5, 2, 2, 2, 2, 2, 2],
            conv_bias: true,
            extractor_norm: ExtractorNorm::Layer,
            projection_norm: true,
            positional: PositionalConv { layers: 1, kernel: 128, groups: 16 },
            hidden: 0,
            layers: 0,
            heads: 0,
            feed_forward: 0,
            pre_norm: true,
            norm_eps: 1e-5,
            normalize: true,
        }
    }

    /// Channels C of the extractor's output.
    pub fn channels(&self) -> usize {
        self.conv_dim.last().copied().unwrap_or(1)
    }

    /// Frames of `samples` at 16 kHz: `floor((n - kernel) / stride) + 1` for each convolution in turn;
    /// 0 when shorter than the receptive field.
    pub fn frames(&self, samples: usize) -> usize {
        self.conv_kernel
            .iter()
            .zip(&self.conv_stride)
            .fold(samples, |n, (kernel, stride)| n.checked_sub(*kernel).map_or(0, |rest| rest / stride + 1))
    }

    /// Samples that one frame sees: the shortest audio with a frame at all.
    pub fn receptive_field(&self) -> usize {
        self.conv_kernel
            .iter()
            .zip(&self.conv_stride)
            .rev()
            .fold(1, |n, (kernel, stride)| (n - 1) * stride + kernel)
    }

    /// Samples from one frame to the next: 320 for every published model.
    pub fn hop(&self) -> usize {
        self.conv_stride.iter().product()
    }

    /// Reads Hugging Face's `config.json` and, when there is one, `preprocessor_config.json`.
    ///
    /// # Errors
    /// Text that is not such a config, an architecture this model does not compute, or sizes that
    /// contradict each other.
    pub fn from_json(config: &str, preprocessor: Option<&str>) -> Result<Self> {
        let read: HfConfig = parse("config.json", config)?;
        let normalize = match preprocessor {
            Some(text) => parse::<HfPreprocessor>("preprocessor_config.json", text)?.do_normalize,
            None => true,
        };
        read.into_config(normalize)
    }

    /// The two files of a clean Hugging Face directory: `config.json`, `preprocessor_config.json`.
    ///
    /// # Errors
    /// None in practice; serialisation is fallible by type.
    pub fn to_json(&self) -> Result<(String, String)> {
        let pretty = |value| serde_json::to_string_pretty(&value).map_err(|e| Error::Model(e.to_string()));
        let mut config = serde_json::json!(HfConfig::from(self));
        if let Some(fields) = config.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        let preprocessor = serde_json::json!({
            "do_normalize": self.normalize,
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": self.extractor_norm == ExtractorNorm::Layer,
            "sampling_rate": 16000,
        });
        Ok((pretty(config)?, pretty(preprocessor)?))
    }

    /// Refuses sizes that contradict each other before any tensor is touched.
    pub(crate) fn check(self) -> Result<Self> {
        let Self { conv_dim, conv_kernel, conv_stride, hidden, heads, positional, .. } = &self;
        let n = conv_dim.len();
        if n == 0 || conv_kernel.len() != n || conv_stride.len() != n {
            return Err(Error::Model(format!(
                "config: conv_dim, conv_kernel and conv_stride have {n}, {} and {} entries: one of each per convolution, at least one",
                conv_kernel.len(),
                conv_stride.len()
            )));
        }
        let sizes =
            [*hidden, *heads, self.feed_forward, positional.layers, positional.kernel, positional.groups];
        let convs = conv_dim.iter().chain(conv_kernel).chain(conv_stride);
        if convs.chain(&sizes).any(|size| *size == 0 || *size > 1 << 20) {
            return Err(Error::Model("config: a size is zero or beyond 2^20: see conv_*, hidden_size, num_attention_heads, intermediate_size, num_conv_pos_embeddings".into()));
        }
        if hidden % heads != 0 || hidden % positional.groups != 0 {
            return Err(Error::Model(format!(
                "config: hidden_size {hidden} is not a multiple of {heads} attention heads and {} positional groups",
                positional.groups
            )));
        }
        Ok(self)
    }
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| Error::Model(format!("{what}: {e}")))
}

#[derive(Deserialize)]
struct HfPreprocessor {
    #[serde(default = "yes")]
    do_normalize: bool,
}

fn yes() -> bool {
    true
}

/// The fields of `config.json` that decide the computation; names are Hugging Face's.
#[derive(Serialize, Deserialize)]
struct HfConfig {
    model_type: String,
    architectures: Option<Vec<String>>,
    conv_dim: Vec<usize>,
    conv_kernel: Vec<usize>,
    conv_stride: Vec<usize>,
    #[serde(default)]
    conv_bias: bool,
    feat_extract_norm: Option<ExtractorNorm>,
    #[serde(default = "yes")]
    feat_proj_layer_norm: bool,
    #[serde(default)]
    do_stable_layer_norm: bool,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    #[serde(default = "default_eps")]
    layer_norm_eps: f64,
    /// Taps; data2vec-audio counts its convolutions here.
    num_conv_pos_embeddings: usize,
    num_conv_pos_embedding_groups: usize,
    conv_pos_kernel_size: Option<usize>,
    hidden_act: Option<String>,
    feat_extract_activation: Option<String>,
    add_adapter: Option<bool>,
    adapter_attn_dim: Option<usize>,
    conv_pos_batch_norm: Option<bool>,
}

fn default_eps() -> f64 {
    1e-5
}

impl HfConfig {
    fn into_config(self, normalize: bool) -> Result<Config> {
        let data2vec = match self.model_type.as_str() {
            "wav2vec2" | "hubert" => false,
            "data2vec-audio" => true,
            other => {
                return Err(Error::Model(format!(
                    "config.json: model_type `{other}` is none of wav2vec2, hubert, data2vec-audio"
                )));
            }
        };
        for (field, asks) in [
            ("hidden_act", self.hidden_act.as_deref().is_some_and(|a| a != "gelu")),
            ("feat_extract_activation", self.feat_extract_activation.as_deref().is_some_and(|a| a != "gelu")),
            ("add_adapter", self.add_adapter == Some(true)),
            ("adapter_attn_dim", self.adapter_attn_dim.is_some()),
            ("conv_pos_batch_norm", self.conv_pos_batch_norm == Some(true)),
        ] {
            if asks {
                return Err(Error::Model(format!(
                    "config.json: `{field}` asks for what this model does not compute: only exact gelu, no adapters, no batch norm"
                )));
            }
        }
        let positional = if data2vec {
            PositionalConv {
                layers: self.num_conv_pos_embeddings,
                kernel: self.conv_pos_kernel_size.unwrap_or(19),
                groups: self.num_conv_pos_embedding_groups,
            }
        } else {
            PositionalConv {
                layers: 1,
                kernel: self.num_conv_pos_embeddings,
                groups: self.num_conv_pos_embedding_groups,
            }
        };
        let default_norm = if data2vec { ExtractorNorm::Layer } else { ExtractorNorm::Group };
        Config {
            conv_dim: self.conv_dim,
            conv_kernel: self.conv_kernel,
            conv_stride: self.conv_stride,
            conv_bias: self.conv_bias,
            extractor_norm: if data2vec {
                default_norm
            } else {
                self.feat_extract_norm.unwrap_or(default_norm)
            },
            projection_norm: self.feat_proj_layer_norm,
            positional,
            hidden: self.hidden_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            feed_forward: self.intermediate_size,
            pre_norm: !data2vec && self.do_stable_layer_norm,
            norm_eps: self.layer_norm_eps,
            normalize,
        }
        .check()
    }
}

impl From<&Config> for HfConfig {
    fn from(config: &Config) -> Self {
        let data2vec = config.positional.layers > 1;
        let (model_type, class) = match (data2vec, config.projection_norm) {
            (true, _) => ("data2vec-audio", "Data2VecAudioModel"),
            (false, false) => ("hubert", "HubertModel"),
            (false, true) => ("wav2vec2", "Wav2Vec2Model"),
        };
        let PositionalConv { layers, kernel, groups } = config.positional;
        Self {
            model_type: model_type.into(),
            architectures: Some(vec![class.into()]),
            conv_dim: config.conv_dim.clone(),
            conv_kernel: config.conv_kernel.clone(),
            conv_stride: config.conv_stride.clone(),
            conv_bias: config.conv_bias,
            feat_extract_norm: Some(config.extractor_norm),
            feat_proj_layer_norm: config.projection_norm,
            do_stable_layer_norm: config.pre_norm,
            hidden_size: config.hidden,
            num_hidden_layers: config.layers,
            num_attention_heads: config.heads,
            intermediate_size: config.feed_forward,
            layer_norm_eps: config.norm_eps,
            num_conv_pos_embeddings: if data2vec { layers } else { kernel },
            num_conv_pos_embedding_groups: groups,
            conv_pos_kernel_size: data2vec.then_some(kernel),
            hidden_act: Some("gelu".into()),
            feat_extract_activation: Some("gelu".into()),
            add_adapter: None,
            adapter_attn_dim: None,
            conv_pos_batch_norm: None,
        }
    }
}
