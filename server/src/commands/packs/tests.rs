//! The commands on the embedded demo, and on folders with something wrong in them.

use super::{PacksArgs, answer};
use clap::Parser;
use s3router_masks::{Codec, Pack, open_bytes, open_path, write};
use serde_json::Value;
use std::{fs, path::Path};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: PacksArgs,
}

/// What `s3router packs LINE` prints, or its error.
fn packs(line: &str) -> Result<String, String> {
    let line =
        Line::try_parse_from(["packs"].into_iter().chain(line.split(' '))).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    answer(line.args, &mut out).map_err(|e| format!("{}\n{e:#}", String::from_utf8_lossy(&out)))?;
    Ok(String::from_utf8(out).unwrap())
}

fn json(line: &str) -> Value {
    serde_json::from_str(&packs(line).unwrap()).unwrap()
}

/// The demo's Turkish pack.
fn turkish() -> Pack {
    open_bytes(include_bytes!("../../../../core/demo/packs/tr.safetensors")).unwrap().pack
}

fn put(folder: &Path, pack: &Pack) {
    write(&folder.join(format!("{}.safetensors", pack.meta.language)), pack, Codec::Raw).unwrap();
}

#[test]
fn the_demo_lists_eleven_packs_for_people_and_programs() {
    let text = packs("list").unwrap();
    assert_eq!(text.lines().count(), 12, "{text}");
    let listed = json("list --json");
    let ids: Vec<_> =
        listed["packs"].as_array().unwrap().iter().map(|p| p["language"].as_str().unwrap()).collect();
    assert_eq!(ids, ["en", "es", "fr", "it", "ky", "nl", "ru", "sv_SE", "tr", "tt", "zh_TW"]);
    for pack in listed["packs"].as_array().unwrap() {
        assert_eq!(pack["sealed"], true);
        assert_eq!(pack["backbone_sha256"].as_str().unwrap().len(), 64);
        assert!(pack["training"]["cer"]["test"].is_number());
    }
}

#[test]
fn a_pack_is_inspected_by_language_or_by_file() {
    let by_language = json("inspect zh-Hant-TW --json");
    assert_eq!(by_language["language"], "zh_TW");
    assert_eq!(by_language["word_separator"], Value::Null);
    assert_eq!(by_language["masks"].as_array().unwrap().len(), 36);
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &turkish());
    let file = folder.path().join("tr.safetensors");
    assert_eq!(json(&format!("inspect {} --json", file.display()))["codec"], "raw");
    assert!(packs("inspect tr").unwrap().contains("encoder.layers.5.feed_forward.output_dense.weight"));
    let error = packs("inspect turkisch").unwrap_err();
    assert!(
        error.contains("no pack for language `turkisch`") && error.contains("did you mean `tr`"),
        "{error}"
    );
}

#[test]
fn verify_proves_the_demo_and_fails_on_one_flipped_bit() {
    let verdicts = json("verify --json");
    assert!(verdicts.as_array().unwrap().iter().all(|v| v["backbone"] == "proved"), "{verdicts}");

    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &turkish());
    let mut tatar = turkish();
    tatar.meta.language = "tt".into();
    tatar.meta.aliases.clear();
    put(folder.path(), &tatar);
    let broken = folder.path().join("tt.safetensors");
    let mut bytes = fs::read(&broken).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&broken, bytes).unwrap();
    let error = packs(&format!("verify --packs {}", folder.path().display())).unwrap_err();
    assert!(error.contains("ok      tr"), "{error}");
    assert!(error.contains("output_dense.weight` has checksum"), "{error}");
    assert!(error.contains("1 of 2 packs cannot be used"), "{error}");
    assert!(packs(&format!("list --packs {}", folder.path().display())).unwrap().contains("quarantined: "));
}

#[test]
fn verify_refuses_a_pack_of_another_backbone() {
    let folder = tempfile::tempdir().unwrap();
    let mut foreign = turkish();
    foreign.meta.backbone_sha256 = Some("ab".repeat(32));
    put(folder.path(), &foreign);
    let line = format!("verify --packs {}", folder.path().display());
    assert!(packs(&line).unwrap_err().contains("pack `tr` was made for backbone abab"));
    packs(&format!("{line} --files-only")).unwrap();
}

#[test]
fn the_report_counts_real_files() {
    let report = json("report --json");
    let counts = &report["counts"];
    let [n, p, covered, heads] =
        ["packs", "backbone", "covered", "heads"].map(|key| counts[key].as_f64().unwrap());
    assert_eq!((n, covered), (11.0, 11.0 * 4_718_592.0));
    let saved = 1.0 - (p + covered / 32.0 + heads) / (n * p + heads);
    assert!((report["parameters"]["saved"].as_f64().unwrap() - saved).abs() < 1e-9);
    assert!(saved > 0.87 && saved < 0.89, "{saved}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/demo/packs");
    let on_disk: u64 = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .map(|path| open_path(&path).unwrap().bytes)
        .sum();
    assert_eq!(counts["file_bytes"], on_disk);
    assert!(packs("report").unwrap().contains("1 − shared / full"));
}

#[test]
fn similarity_is_measured_without_chance() {
    let pairs = json("similarity --json");
    assert_eq!(pairs["pairs"].as_array().unwrap().len(), 55);
    let pair = json("similarity es it --json");
    let [phi, cosine] = ["phi", "cosine"].map(|key| pair[key].as_f64().unwrap());
    assert!(phi < 0.2 && cosine > 0.82, "the cosine is mostly chance: {phi} {cosine}");
    assert_eq!(pair["weights"].as_object().unwrap().len(), 36);
    let same = json("similarity tr Turkish --json");
    assert_eq!((same["phi"].as_f64(), same["differing"].as_f64()), (Some(1.0), Some(0.0)));
    assert!(packs("similarity tr").unwrap_err().contains("a comparison needs two packs"));
}
