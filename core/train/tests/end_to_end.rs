//! The program as a user runs it, on a tiny backbone and made-up speech: every letter a tone.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail")]

mod support;

use s3router_core::{
    Precision, decode,
    gate::{Gates, Segment},
    learn::scores::Part,
    model::ops,
};
use s3router_train::{
    checkpoint::RunFolder,
    data::list,
    features::{self, collate},
    learner::Learner,
    trained::Trained,
};
use std::{fs, path::Path, process::Command, sync::Arc};
use support::{Place, backbone, evaluate, fixture, refused, succeeded};

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

    let list = list::read(&place.path("tr/valid.tsv"), None).expect("a list");
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
    let masks = |name: &str| s3router_masks::open_path(&place.path(name)).expect("a pack").pack.masks;
    assert_ne!(masks("random.safetensors"), masks("magnitude.safetensors"));
    assert!(masks("head.safetensors").values().all(|mask| mask.count_ones() == mask.len()));
    one_bit_a_weight(&place.path("delta1.safetensors"));
    let prune = |start: &str| {
        let mut prune = Command::new(env!("CARGO_BIN_EXE_s3router-train"));
        prune.args(["prune", "--language", "tr", "--json", "--updates", "3", "--sparsity", "0.7"]);
        prune.arg("--train").arg(place.path("tr/train.tsv")).arg("--valid").arg(place.path("tr/valid.tsv"));
        prune.arg("--backbone").arg(fixture("xlsr")).arg("--config").arg(place.path("quick.toml"));
        prune.arg("--start").arg(place.path(start)).arg("--out").arg(place.path("pruned.safetensors"));
        prune.output().expect("the program")
    };
    refused(&prune("head.safetensors"), &["is a pack"]);
    let finished = succeeded(&prune("finetune.safetensors"));
    let report = succeeded(&evaluate(&place, "pruned.safetensors", "xlsr"));
    assert_eq!(report["cer"], finished["valid"]["cer"]);
}

/// Each matrix is off the backbone by one size, up or down.
fn one_bit_a_weight(file: &Path) {
    let backbone = backbone("xlsr");
    let trained = Trained::open(file, &backbone).expect("weights");
    let values = |t: &candle_core::Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("values");
    let matrices = trained.weights.iter().filter(|(name, _)| Part::of(name).is_some());
    for (name, weight) in matrices {
        let was = values(backbone.weight(name).expect("a weight"));
        let moved: Vec<f32> = values(weight).iter().zip(&was).map(|(a, b)| (a - b).abs()).collect();
        let (least, most) = moved.iter().fold((f32::MAX, 0f32), |(l, m), &x| (l.min(x), m.max(x)));
        assert!(most > 0.0 && most - least < 1e-6, "{name}: {least} to {most}");
    }
}

#[test]
fn phonemes_are_learnt_and_judged_as_they_are() {
    let place = Place::new();
    let settings = fs::read_to_string(place.path("quick.toml")).expect("settings");
    fs::write(place.path("quick.toml"), format!("{settings}[data]\nunit = \"tokens\"\n")).expect("settings");
    for split in ["train", "valid"] {
        let tsv = fs::read_to_string(place.path(&format!("tr/{split}.tsv"))).expect("a list");
        // Phones of two letters and capitals, which no rule for text may touch.
        let phone = |letter: char| match letter {
            'a' => "AA ",
            'ı' => "ʃ ",
            'i' => "tʃ ",
            _ => "iː ",
        };
        let row = |line: &str| {
            let fields: Vec<_> = line.split('\t').collect();
            let word = fields[2].split_once(' ').expect("two words").1.trim_end_matches('.');
            let phones: String = word.chars().chain(word.chars()).map(phone).collect();
            format!("clips/{}\t{phones}\n", fields[1])
        };
        let list: String = tsv.lines().skip(1).map(row).collect();
        fs::write(place.path(&format!("tr/{split}.tsv")), list).expect("a list");
    }
    let finished = succeeded(&place.run("tr.safetensors", &["--updates", "60"]));
    let vocab = s3router_masks::open_path(&place.path("tr.safetensors")).expect("a pack").pack.meta.vocab;
    assert!(["AA", "tʃ", "ʃ", "iː"].iter().all(|phone| vocab.iter().any(|v| v == phone)), "{vocab:?}");
    let report = succeeded(&evaluate(&place, "tr.safetensors", "xlsr"));
    assert_eq!(report["symbols"], "phones");
    assert_eq!(report["cer"], finished["valid"]["cer"]);
    assert!(report["cer"].as_f64().expect("a rate") < 1.0, "some phones are heard: {report}");
}

#[test]
fn a_language_has_one_spelling() {
    let place = Place::new();
    succeeded(&place.run("tr.safetensors", &["--language", "TUR", "--updates", "3"]));
    let meta = s3router_masks::open_path(&place.path("tr.safetensors")).expect("a pack").pack.meta;
    assert_eq!(meta.language, "tr");
    assert!(meta.vocab.iter().any(|s| s == "ı"), "Turkish rules for capital letters: {:?}", meta.vocab);
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
