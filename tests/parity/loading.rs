//! Checkpoints that are broken, bare or fine-tuned; and conversion.

use crate::support::{all, fixture, speech, tensors};
use candle_core::{DType, Device, Tensor};
use s3router_core::model::{Backbone, Config, Source, convert};
use std::{collections::HashMap, fs, path::Path, sync::Arc};

fn load(path: &Path) -> Result<Backbone, String> {
    Backbone::load(&Source::Path(path.into()), &Device::Cpu).map_err(|e| e.to_string())
}

/// A copy of the XLS-R fixture whose tensors `change` may alter.
fn altered(change: impl FnOnce(&mut HashMap<String, Tensor>)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut all = tensors("parity/xlsr/model.safetensors");
    change(&mut all);
    candle_core::safetensors::save(&all, dir.path().join("model.safetensors")).unwrap();
    fs::copy(fixture("parity/xlsr/config.json"), dir.path().join("config.json")).unwrap();
    dir
}

fn hidden(backbone: &Backbone) -> Vec<f32> {
    let features = backbone.extract(&backbone.prepare(&[&speech(6000, 1)]).unwrap()).unwrap();
    let hidden = backbone.encode(&features, &all(1, &Arc::default()), None).unwrap();
    hidden.flatten_all().unwrap().to_vec1().unwrap()
}

const WEIGHT: &str = "wav2vec2.encoder.layers.1.attention.v_proj.weight";

#[test]
fn a_missing_tensor_is_named_with_its_shape() {
    let dir = altered(|all| drop(all.remove(WEIGHT)));
    let error = load(dir.path()).unwrap_err();
    assert!(
        error.contains("encoder.layers.1.attention.v_proj.weight") && error.contains("[48, 48]"),
        "{error}"
    );
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    let dir = altered(|all| {
        let half = all[WEIGHT].narrow(0, 0, 24).unwrap();
        all.insert(WEIGHT.into(), half);
    });
    let error = load(dir.path()).unwrap_err();
    assert!(error.contains("[24, 48]") && error.contains("[48, 48]"), "{error}");
}

#[test]
fn bare_names_half_precision_and_extras_are_accepted() {
    let whole = load(&fixture("parity/xlsr")).unwrap();
    let dir = altered(|all| {
        *all = all
            .drain()
            .map(|(name, t)| (name.replace("wav2vec2.", ""), t.to_dtype(DType::BF16).unwrap()))
            .chain([(
                "quantizer.codevectors".into(),
                Tensor::zeros((1, 4, 8), DType::F32, &Device::Cpu).unwrap(),
            )])
            .collect();
    });
    let half = load(dir.path()).unwrap();
    let worst = hidden(&whole).iter().zip(hidden(&half)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst > 0.0 && worst < 0.2, "{worst}");
}

#[test]
fn shards_named_by_an_index_are_one_model() {
    let dir = altered(|all| all.clear());
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let mut map = serde_json::Map::new();
    let (mut first, mut second) = (HashMap::new(), HashMap::new());
    for (i, (name, tensor)) in tensors("parity/xlsr/model.safetensors").into_iter().enumerate() {
        let (shard, file) =
            if i % 2 == 0 { (&mut first, "a.safetensors") } else { (&mut second, "b.safetensors") };
        map.insert(name.clone(), file.into());
        shard.insert(name, tensor);
    }
    candle_core::safetensors::save(&first, dir.path().join("a.safetensors")).unwrap();
    candle_core::safetensors::save(&second, dir.path().join("b.safetensors")).unwrap();
    let index = serde_json::json!({ "weight_map": map });
    fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    assert_eq!(hidden(&load(dir.path()).unwrap()), hidden(&load(&fixture("parity/xlsr")).unwrap()));
}

#[test]
fn a_cut_file_of_any_format_is_an_error() {
    for (architecture, file) in [
        ("xlsr", "model.safetensors"),
        ("xlsr", "pytorch_model.bin"),
        ("xlsr", "fairseq.pt"),
        ("wav2vec2-base", "fairseq-legacy.pt"),
    ] {
        let folder = format!("parity/{architecture}");
        let whole = fs::read(fixture(&format!("{folder}/{file}"))).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::copy(fixture(&format!("{folder}/config.json")), dir.path().join("config.json")).unwrap();
        for keep in [0, 1, 20, 4000, whole.len() / 2, whole.len() - 1] {
            fs::write(dir.path().join(file), &whole[..keep]).unwrap();
            let error = load(&dir.path().join(file)).unwrap_err();
            assert!(error.contains(file), "{file} cut to {keep}: {error}");
        }
    }
}

#[test]
fn a_shape_that_tensors_cannot_tell_asks_for_the_config() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(fixture("parity/xlsr/fairseq.pt"), dir.path().join("fairseq.pt")).unwrap();
    let error = load(&dir.path().join("fairseq.pt")).unwrap_err();
    assert!(error.contains("config.json"), "{error}");
}

#[test]
fn a_fairseq_sized_model_is_recognised_without_a_config() {
    // wav2vec 2.0's convolutions at a width with heads of 64, three layers.
    for pre_norm in [true, false] {
        let family = Config::xlsr_300m();
        let config = Config {
            conv_dim: vec![16; 7],
            hidden: 128,
            heads: 2,
            feed_forward: 80,
            layers: 3,
            pre_norm,
            extractor_norm: match pre_norm {
                true => s3router_core::model::ExtractorNorm::Layer,
                false => s3router_core::model::ExtractorNorm::Group,
            },
            conv_bias: pre_norm,
            ..family
        };
        let dir = tempfile::tempdir().unwrap();
        let tensors = Backbone::random_tensors(&config, 3).unwrap();
        candle_core::safetensors::save(&tensors, dir.path().join("alone.safetensors")).unwrap();
        assert_eq!(load(&dir.path().join("alone.safetensors")).unwrap().config(), &config);
    }
}

#[test]
fn a_path_that_is_not_there_says_what_a_backbone_can_be() {
    let error = load(Path::new("no/such/model")).unwrap_err();
    assert!(error.contains("no/such/model") && error.contains("hf:ORG/NAME"), "{error}");
}

#[test]
fn any_checkpoint_converts_to_a_directory_that_computes_the_same() {
    for (architecture, file) in [
        ("xlsr", "pytorch_model.bin"),
        ("wav2vec2-base", "fairseq-legacy.pt"),
        ("hubert-base", "fairseq.pt"),
        ("data2vec-audio", "fairseq.pt"),
    ] {
        let source = fixture(&format!("parity/{architecture}/{file}"));
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("clean");
        convert(&Source::Path(source.clone()), &out).unwrap();
        assert_eq!(hidden(&load(&out).unwrap()), hidden(&load(&source).unwrap()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");

        let again = convert(&Source::Path(source), &out).unwrap_err().to_string();
        assert!(again.contains("exists"), "{again}");
    }
}

#[test]
fn a_fine_tuned_checkpoint_brings_its_head_with_the_blank_moved_to_the_front() {
    let dir = altered(|_| ());
    let config = fs::read_to_string(dir.path().join("config.json")).unwrap();
    let config = config.replace("\"pad_token_id\": 0", "\"pad_token_id\": 28");
    fs::write(dir.path().join("config.json"), config).unwrap();
    let mut vocab: serde_json::Map<String, serde_json::Value> =
        ('a'..='z').enumerate().map(|(i, c)| (c.to_string(), i.into())).collect();
    vocab.extend([("|".into(), 26.into()), ("[UNK]".into(), 27.into()), ("[PAD]".into(), 28.into())]);
    fs::write(dir.path().join("vocab.json"), serde_json::Value::from(vocab).to_string()).unwrap();

    let backbone = load(dir.path()).unwrap();
    let head = backbone.own_head().unwrap();

    assert_eq!(head.vocab[..3], ["<pad>", "a", "b"]);
    assert_eq!(head.vocab[27..], ["|", ""]);
    assert_eq!(head.word_separator.as_deref(), Some("|"));
    let stored = &tensors("parity/xlsr/model.safetensors")["lm_head.weight"];
    let row = |t: &Tensor, i: usize| t.get(i).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(row(&head.weight, 0), row(stored, 28));
    assert_eq!(row(&head.weight, 1), row(stored, 0));
    assert!(load(&fixture("parity/xlsr")).unwrap().own_head().is_none(), "no vocab.json, no language");
}
