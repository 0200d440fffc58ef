//! Turns packs that `core/train/recipes/demo.py` learnt into the shipped ones: entropy-coded, under the names
//! users know, with what was measured in their metadata.
//!
//! `cargo run --release -p s3router-masks --example seal_demo -- PACKS BACKBONE RESULTS OUT`
//!
//! PACKS is the recipe's folder of packs, BACKBONE the `model.safetensors` they were learnt on, RESULTS the recipe's
//! `results.json`, OUT the folder to write (`core/demo/packs`).
#![allow(clippy::print_stdout)]

use s3router_masks::{Backbone, Codec, Meta, Registry, write};
use safetensors::{Dtype, SafeTensors};
use serde_json::json;
use std::{error::Error, fs, path::Path};

const NAMES: [(&str, &[&str]); 11] = [
    ("en", &["eng", "English"]),
    ("es", &["spa", "Spanish"]),
    ("fr", &["fra", "French"]),
    ("it", &["ita", "Italian"]),
    ("ky", &["kir", "Kyrgyz"]),
    ("nl", &["nld", "Dutch"]),
    ("ru", &["rus", "Russian"]),
    ("sv_SE", &["swe", "Swedish"]),
    ("tr", &["tur", "Turkish"]),
    ("tt", &["tat", "Tatar"]),
    ("zh_TW", &["zh-Hant-TW", "cmn-Hant-TW", "Taiwanese Mandarin"]),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [packs, backbone, results, out] = arguments.as_slice() else {
        return Err("usage: seal_demo PACKS BACKBONE RESULTS OUT".into());
    };
    let backbone = read_backbone(Path::new(backbone))?;
    let results: serde_json::Value = serde_json::from_str(&fs::read_to_string(results)?)?;
    let registry = Registry::open(Path::new(packs))?;
    // Controls lie beside the packs (`tr.finetune.safetensors`) and are none themselves.
    let is_language =
        |path: &Path| NAMES.iter().any(|(id, _)| path.file_stem().is_some_and(|stem| stem == *id));
    if let Some(broken) = registry.quarantined.into_iter().find(|q| is_language(&q.path)) {
        return Err(broken.reason.into());
    }
    for entry in registry.packs.into_iter().filter(|entry| is_language(&entry.path)) {
        let mut pack = entry.opened.pack;
        backbone.bind(&mut pack)?;
        pack.meta.backbone_sha256 = Some(backbone.sha256(pack.masks.keys().map(String::as_str))?);
        pack.meta.license = Some("MIT OR Apache-2.0".into());
        pack.meta.training = training(&pack.meta, &results)?;
        let names =
            NAMES.iter().find(|(id, _)| *id == pack.meta.language).map_or(&[][..], |(_, names)| names);
        pack.meta.aliases = names.iter().map(|&name| name.to_owned()).collect();
        let path = Path::new(out).join(format!("{}.safetensors", pack.meta.language));
        let written = write(&path, &pack, Codec::Rans)?;
        println!(
            "{}: {} → {} bytes, density {:.4}",
            path.display(),
            entry.opened.bytes,
            written.bytes,
            pack.density()
        );
    }
    Ok(())
}

/// How a pack was learnt, and what `evaluate` found on its test list, in percent.
fn training(meta: &Meta, results: &serde_json::Value) -> Result<serde_json::Value, Box<dyn Error>> {
    let name = format!("{}.mask", meta.language);
    let report = results.get(&name).ok_or(format!("the results lack {name}"))?;
    let percent = |share: &serde_json::Value| share.as_f64().map(|x| (x * 1e4).round() / 100.0);
    let (run, valid) = (&meta.training, &meta.training["valid"]);
    Ok(json!({
        "data": "synthetic speech (espeak-ng 1.51) of Common Voice prompts; unseen voices and sentences in validation and test",
        "method": run["method"],
        "clips": run["clips"],
        "hours": run["hours"],
        "updates": run["steps"],
        "sparsity": (1e4 * (1.0 - meta.density)).round() / 1e4,
        "recipe": report["recipe"],
        "unit": "characters",
        "decoder": "greedy",
        "cer": { "valid": percent(&valid["cer"]), "test": percent(&report["cer"]) },
        "wer": { "valid": percent(&valid["wer"]), "test": percent(&report["wer"]) },
    }))
}

fn read_backbone(path: &Path) -> Result<Backbone, Box<dyn Error>> {
    let bytes = fs::read(path)?;
    let mut backbone = Backbone::new();
    for (name, tensor) in SafeTensors::deserialize(&bytes)?.iter() {
        if !name.ends_with("weight") {
            continue;
        }
        let values: Vec<f32> = match tensor.dtype() {
            Dtype::F16 => {
                tensor.data().as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect()
            }
            Dtype::BF16 => {
                tensor.data().as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect()
            }
            Dtype::F32 => tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            other => return Err(format!("tensor `{name}` is {other:?}, expected a float").into()),
        };
        backbone.add(name, tensor.shape(), &values)?;
    }
    Ok(backbone)
}
