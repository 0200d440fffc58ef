//! `calibrate` as a user runs it, on two of the demo's packs and clips.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail")]

use s3router_core::{decode::confidence::Calibration, demo, identify::Ear};
use s3router_masks::open_path;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const LANGUAGES: [&str; 2] = ["ru", "tr"];

/// The packs, and a list for each in which a clip is said to hold its words, and then others.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("packs")).unwrap();
    for (pack, clip) in demo::PACKS.iter().zip(demo::CLIPS) {
        if !LANGUAGES.contains(&clip.language) {
            continue;
        }
        let at = |name: String| folder.path().join(name);
        fs::write(at(format!("packs/{}.safetensors", clip.language)), pack).unwrap();
        fs::write(at(clip.file.into()), clip.bytes).unwrap();
        let list = format!("{0}\t{1}\n{0}\tşşş жжж\n", clip.file, clip.reference);
        fs::write(at(format!("{}.tsv", clip.language)), list).unwrap();
    }
    folder
}

fn calibrate(folder: &Path, list: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3router-train"));
    command.args(["calibrate", "--json", "--write", "--packs"]).arg(folder.join("packs"));
    command.arg("--valid").arg(folder.join(list)).arg("--test").arg(folder.join(list));
    command.arg("--plot").arg(folder.join("{}.svg")).output().unwrap()
}

#[test]
fn packs_learn_what_their_numbers_mean() {
    let folder = folder();
    let file = |lang: &str| folder.path().join(format!("packs/{lang}.safetensors"));
    let before = LANGUAGES.map(|lang| open_path(&file(lang)).unwrap());
    let output = calibrate(folder.path(), "{}.tsv");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = &report["languages"];
    assert_eq!((told["accuracy"].as_f64(), told["judged"].as_u64()), (Some(1.0), Some(4)), "{told}");
    assert_eq!(told["confusion"], serde_json::json!([[2, 0], [0, 2]]));
    for (i, (lang, before)) in LANGUAGES.iter().zip(before).enumerate() {
        let words = &report["words"][i];
        assert!(words["language"] == *lang && words["words"].as_u64() > Some(5), "{words}");
        assert!(
            words["after"].as_f64() < words["before"].as_f64(),
            "fitted on what it is judged by: {words}"
        );
        let after = open_path(&file(lang)).unwrap();
        let training = &after.pack.meta.training;
        assert!(Calibration::from_training(training).unwrap().is_some());
        assert!(Ear::from_training(training).unwrap().is_some());
        assert_eq!(
            (&after.pack.masks, after.codec),
            (&before.pack.masks, before.codec),
            "nothing else changes"
        );
        assert_eq!(training["cer"], before.pack.meta.training["cer"]);
    }
    for plot in ["ru", "tr", "all"] {
        let picture = fs::read_to_string(folder.path().join(format!("{plot}.svg"))).unwrap();
        assert!(picture.contains("<circle") && !picture.contains("NaN"), "{plot}");
    }
}

#[test]
fn several_packs_need_lists_of_their_own() {
    let folder = folder();
    let output = calibrate(folder.path(), "tr.tsv");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("{}"), "{said}");
}
