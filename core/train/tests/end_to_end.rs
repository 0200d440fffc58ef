//! The program as a user runs it, on a tiny backbone and made-up speech: every letter a tone.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail")]

mod support;

use s3router_core::{
    Precision, decode,
    gate::{Gates, Segment},
    model::ops,
};
use s3router_train::{
    checkpoint::RunFolder,
    data::list,
    features::{self, collate},
    learner::Learner,
    trained::Trained,
};
use std::{fs, process::Command, sync::Arc};
use support::{Place, backbone, evaluate, fixture, succeeded};

#[test]
fn a_common_voice_folder_becomes_a_pack() {
    let place = Place::new();
    let finished = succeeded(&place.run("tr.safetensors", &["--sparsity", "0.2"]));
    let opened = s3router_masks::open_path(&place.path("tr.safetensors")).expect("a pack that opens");
    let meta = &opened.pack.meta;
    assert_eq!((meta.language.as_str(), meta.covers.as_str()), ("tr", "ffn"));
    assert!((meta.density - 0.8).abs() < 0.01, "{}", meta.density);
    assert_eq!(meta.vocab[0], "<pad>");
    assert!(["|", "a", "ı", "i", "ş"].iter().all(|s| meta.vocab.iter().any(|v| v == s)), "{:?}", meta.vocab);
    assert_eq!(meta.training["clips"], 14);

    let report = succeeded(&evaluate(&place, "tr.safetensors", "xlsr"));
    for field in ["wer", "cer", "insertions", "deletions", "substitutions", "utterances", "hours"] {
        assert!(report[field].is_number(), "no {field} in {report}");
    }
    assert_eq!(report["cer"], finished["valid"]["cer"]);
    let svg = fs::read_to_string(place.path("tr.run/curve.svg")).expect("a curve");
    assert!(svg.contains("<polyline"));
}

#[test]
fn logits_before_export_are_logits_after() {
    let place = Place::new();
    succeeded(&place.run("tr.safetensors", &["--covers", "ffn+attention", "--sparsity", "0.3"]));
    let backbone = backbone("xlsr");
    let (_, at) =
        RunFolder::of(&place.path("tr.safetensors")).load().expect("readable").expect("a checkpoint");
    let learner = Learner::new(&at.config, &backbone, &at.vocab, None).expect("a learner");
    RunFolder::of(&place.path("tr.safetensors")).load_best(&learner).expect("the best moment");
    let after = Trained::open(&place.path("tr.safetensors"), &backbone).expect("the pack");

    let list = list::read(&place.path("tr/valid.tsv")).expect("a list");
    let (clips, _) =
        features::extract(&backbone, &list, "tr", &at.config.data, None, || ()).expect("features");
    let features = collate(&clips, &candle_core::Device::Cpu).expect("a batch");
    let logits = |gates: Gates, head: (candle_core::Tensor, candle_core::Tensor)| {
        let segments = [Segment { rows: 0..clips.len(), gates: Arc::new(gates) }];
        let hidden = backbone.encode(&features, &segments, None).expect("hidden states");
        ops::linear(&hidden.detach(), &head.0, &head.1, Precision::F32)
            .and_then(|l| Ok(l.flatten_all()?.to_vec1::<f32>()?))
            .expect("logits")
    };
    let soft = logits(learner.gates().expect("gates"), learner.head());
    let packed = logits(after.gates(), (after.head_weight.clone(), after.head_bias.clone()));
    let largest = soft.iter().fold(0f32, |m, x| m.max(x.abs()));
    let worst = soft.iter().zip(&packed).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst <= 1e-5 * largest, "{worst} of {largest}");
    assert!(decode::Vocab::new(after.meta.vocab, after.meta.word_separator.as_deref()).is_ok());
}

#[test]
fn every_control_runs_and_is_measured() {
    let place = Place::new();
    for method in ["head", "magnitude", "random", "finetune", "bitfit", "delta1"] {
        let out = format!("{method}.safetensors");
        let finished = succeeded(&place.run(&out, &["--method", method, "--updates", "3"]));
        let report = succeeded(&evaluate(&place, &out, "xlsr"));
        assert_eq!(report["cer"], finished["valid"]["cer"], "{method}");
        let is_pack = s3router_masks::open_path(&place.path(&out)).is_ok();
        assert_eq!(is_pack, matches!(method, "head" | "magnitude" | "random"), "{method}");
    }
    let mut prune = Command::new(env!("CARGO_BIN_EXE_s3router-train"));
    prune.args(["prune", "--language", "tr", "--json", "--updates", "3", "--sparsity", "0.7"]);
    prune.arg("--train").arg(place.path("tr/train.tsv")).arg("--valid").arg(place.path("tr/valid.tsv"));
    prune.arg("--backbone").arg(fixture("xlsr")).arg("--config").arg(place.path("quick.toml"));
    prune
        .arg("--start")
        .arg(place.path("finetune.safetensors"))
        .arg("--out")
        .arg(place.path("pruned.safetensors"));
    let finished = succeeded(&prune.output().expect("the program"));
    let report = succeeded(&evaluate(&place, "pruned.safetensors", "xlsr"));
    assert_eq!(report["cer"], finished["valid"]["cer"]);
}

#[test]
fn another_languages_mask_is_a_start() {
    let place = Place::new();
    succeeded(&place.run("tr.safetensors", &["--sparsity", "0.3"]));
    // No update to speak of: the mask that comes out is the one that went in.
    fs::write(place.path("quick.toml"), "[updates]\nscore_rate = 0.0\n[select]\nevery = 3\n")
        .expect("settings");
    let start = place.path("tr.safetensors");
    let flags = ["--sparsity", "0.3", "--updates", "3", "--start", start.to_str().expect("a path")];
    succeeded(&place.run("az.safetensors", &flags));
    let masks = |name: &str| s3router_masks::open_path(&place.path(name)).expect("a pack").pack.masks;
    assert_eq!(masks("az.safetensors"), masks("tr.safetensors"));
    succeeded(&place.run("fresh.safetensors", &flags[..4]));
    assert_ne!(masks("fresh.safetensors"), masks("tr.safetensors"));
}

#[test]
fn a_stopped_run_can_be_exported() {
    let place = Place::new();
    succeeded(&place.run("tr.safetensors", &[]));
    let mut export = Command::new(env!("CARGO_BIN_EXE_s3router-train"));
    export.arg("export").arg(place.path("tr.run")).arg("--out").arg(place.path("again.safetensors"));
    assert!(export.output().expect("the program").status.success());
    let masks = |name: &str| s3router_masks::open_path(&place.path(name)).expect("a pack").pack.masks;
    assert_eq!(masks("again.safetensors"), masks("tr.safetensors"));
}
