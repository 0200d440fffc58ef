//! One name for each parameter, whoever wrote the checkpoint.

/// Hugging Face's name without the model prefix; an unknown name stays as it is.
///
/// fairseq counts modules where Hugging Face names them; weight norm has two spellings, both end as
/// `weight_g` and `weight_v`.
pub(super) fn canonical(name: &str) -> String {
    let name = ["w2v_encoder.w2v_model.", "wav2vec2.", "hubert.", "data2vec_audio."]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    let parts: Vec<&str> = name.split('.').collect();
    match parts.as_slice() {
        ["w2v_encoder", "proj", rest] => format!("lm_head.{rest}"),
        ["mask_emb"] => "masked_spec_embed".into(),
        ["layer_norm", rest] => format!("feature_projection.layer_norm.{rest}"),
        ["post_extract_proj", rest] => format!("feature_projection.projection.{rest}"),
        ["feature_extractor", "conv_layers", i, "0", rest] => {
            format!("feature_extractor.conv_layers.{i}.conv.{rest}")
        }
        ["feature_extractor", "conv_layers", i, "2", rest]
        | ["feature_extractor", "conv_layers", i, "2", "1", rest] => {
            format!("feature_extractor.conv_layers.{i}.layer_norm.{rest}")
        }
        ["encoder", "pos_conv", "0", rest] => format!("encoder.pos_conv_embed.conv.{rest}"),
        ["encoder", "pos_conv", i, "0", rest] => format!("encoder.pos_conv_embed.layers.{i}.conv.{rest}"),
        ["encoder", "pos_conv_embed", "conv", "parametrizations", "weight", "original0"] => {
            "encoder.pos_conv_embed.conv.weight_g".into()
        }
        ["encoder", "pos_conv_embed", "conv", "parametrizations", "weight", "original1"] => {
            "encoder.pos_conv_embed.conv.weight_v".into()
        }
        ["encoder", "layers", l, rest @ ..] => format!("encoder.layers.{l}.{}", layer_part(rest)),
        _ => name.into(),
    }
}

fn layer_part(parts: &[&str]) -> String {
    let (module, rest) = match parts {
        ["self_attn", rest @ ..] => ("attention", rest),
        ["self_attn_layer_norm", rest @ ..] => ("layer_norm", rest),
        ["fc1", rest @ ..] => ("feed_forward.intermediate_dense", rest),
        ["fc2", rest @ ..] => ("feed_forward.output_dense", rest),
        _ => return parts.join("."),
    };
    format!("{module}.{}", rest.join("."))
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn every_spelling_of_a_parameter_ends_as_one_name() {
        for (spelled, name) in [
            (
                "w2v_encoder.w2v_model.encoder.layers.3.fc1.weight",
                "encoder.layers.3.feed_forward.intermediate_dense.weight",
            ),
            (
                "wav2vec2.encoder.layers.3.feed_forward.intermediate_dense.weight",
                "encoder.layers.3.feed_forward.intermediate_dense.weight",
            ),
            ("encoder.layers.0.self_attn.q_proj.bias", "encoder.layers.0.attention.q_proj.bias"),
            (
                "feature_extractor.conv_layers.2.2.1.weight",
                "feature_extractor.conv_layers.2.layer_norm.weight",
            ),
            ("feature_extractor.conv_layers.0.2.bias", "feature_extractor.conv_layers.0.layer_norm.bias"),
            ("encoder.pos_conv.0.weight_g", "encoder.pos_conv_embed.conv.weight_g"),
            ("encoder.pos_conv.4.0.weight", "encoder.pos_conv_embed.layers.4.conv.weight"),
            ("w2v_encoder.proj.weight", "lm_head.weight"),
            ("layer_norm.weight", "feature_projection.layer_norm.weight"),
            ("encoder.layer_norm.weight", "encoder.layer_norm.weight"),
        ] {
            assert_eq!(canonical(spelled), name);
        }
    }
}
