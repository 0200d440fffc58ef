//! The shape of a checkpoint without a config: fairseq files carry none that can be read safely.

use super::super::config::{Config, ExtractorNorm, PositionalConv};
use crate::{Error, Result};

/// Sizes from the tensors' shapes; what shapes cannot tell (strides, heads, the norms' place) from the
/// published models.
pub(super) fn config<'a>(shape: impl Fn(&str) -> Option<&'a [usize]>) -> Result<Config> {
    let unknown = |what: &str| Error::Model(format!("{what}: put the model's config.json beside the file"));
    let convs: Vec<&[usize]> =
        (0..).map_while(|i| shape(&format!("feature_extractor.conv_layers.{i}.conv.weight"))).collect();
    let conv = |dim: usize| convs.iter().filter_map(|s| s.get(dim).copied()).collect::<Vec<_>>();
    let (conv_dim, conv_kernel) = (conv(0), conv(2));
    if conv_kernel.is_empty() {
        return Err(unknown(
            "no tensor `feature_extractor.conv_layers.0.conv.weight`, so no speech model that is known here",
        ));
    }
    let conv_stride = match conv_kernel.as_slice() {
        [10, 3, 3, 3, 3, 2, 2] => vec![5, 2, 2, 2, 2, 2, 2],
        [20, 8, 8, 4] => vec![10, 4, 4, 2],
        other => {
            return Err(unknown(&format!(
                "convolutions of {other:?} taps have strides that shapes cannot tell"
            )));
        }
    };
    let layer_norms = shape("feature_extractor.conv_layers.1.layer_norm.weight").is_some();
    let numbered =
        (0..).take_while(|i| shape(&format!("encoder.pos_conv_embed.layers.{i}.conv.weight")).is_some());
    let positional_layers = numbered.count();
    let positional = match positional_layers {
        0 => shape("encoder.pos_conv_embed.conv.weight_v").or(shape("encoder.pos_conv_embed.conv.weight")),
        _ => shape("encoder.pos_conv_embed.layers.0.conv.weight"),
    };
    let Some([hidden, per_group, kernel]) = positional else {
        return Err(unknown("no positional convolution"));
    };
    let heads = match hidden {
        1280 | 1920 => 16,
        _ if hidden % 64 == 0 => hidden / 64,
        _ => {
            return Err(unknown(&format!("a width of {hidden} does not tell the number of attention heads")));
        }
    };
    let layers = (0..)
        .take_while(|i| shape(&format!("encoder.layers.{i}.feed_forward.output_dense.weight")).is_some())
        .count();
    let feed_forward = shape("encoder.layers.0.feed_forward.output_dense.weight").and_then(|s| s.get(1));
    Config {
        conv_dim,
        conv_kernel,
        conv_stride,
        conv_bias: shape("feature_extractor.conv_layers.0.conv.bias").is_some(),
        extractor_norm: if layer_norms { ExtractorNorm::Layer } else { ExtractorNorm::Group },
        projection_norm: shape("feature_projection.layer_norm.weight").is_some(),
        positional: PositionalConv {
            layers: positional_layers.max(1),
            kernel: *kernel,
            groups: hidden / (*per_group).max(1),
        },
        hidden: *hidden,
        layers,
        heads,
        feed_forward: feed_forward.copied().unwrap_or(0),
        // Every published layer-norm extractor stands before a pre-norm transformer, but data2vec's.
        pre_norm: layer_norms && positional_layers == 0,
        norm_eps: 1e-5,
        normalize: true,
    }
    .check()
}
