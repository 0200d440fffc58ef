//! Turns the demo's reference packs (raw, without checksums and fingerprint) into the shipped ones.
//!
//! `cargo run --release -p s3router-masks --example seal_demo -- PACKS BACKBONE README OUT`
//!
//! PACKS is the folder of reference packs, BACKBONE the `model.safetensors` they were learnt on, README the
//! page whose table holds what was measured, OUT the folder to write (`core/demo/packs`).
#![allow(clippy::print_stdout)]

use s3router_masks::{Backbone, Codec, Registry, write};
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
    let [packs, backbone, readme, out] = arguments.as_slice() else {
        return Err("usage: seal_demo PACKS BACKBONE README OUT".into());
    };
    let backbone = read_backbone(Path::new(backbone))?;
    let readme = fs::read_to_string(readme)?;
    let registry = Registry::open(Path::new(packs))?;
    if let Some(broken) = registry.quarantined.into_iter().next() {
        return Err(broken.reason.into());
    }
    for entry in registry.packs {
        let mut pack = entry.opened.pack;
        backbone.bind(&mut pack)?;
        pack.meta.backbone_sha256 = Some(backbone.sha256(pack.masks.keys().map(String::as_str))?);
        pack.meta.license = Some("MIT OR Apache-2.0".into());
        pack.meta.training = training(&pack.meta.language, &readme)?;
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

/// The row `| tr | 3000 | 8.21 | 8.77 | 54.52 |`: clips, valid CER, test CER, test WER.
fn training(language: &str, readme: &str) -> Result<serde_json::Value, Box<dyn Error>> {
    let rows = readme.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let row = rows.into_iter().find(|row| row.len() == 7 && row[1] == language);
    let [_, _, clips, valid_cer, test_cer, test_wer, _] = row.ok_or("the table lacks this language")?[..]
    else {
        return Err("a row of the table has five columns".into());
    };
    Ok(json!({
        "data": "synthetic speech (espeak-ng 1.51) of Common Voice prompts; unseen voices and sentences in validation and test",
        "clips": clips.parse::<u32>()?,
        "updates": 550,
        "seconds_per_update": 48,
        "sparsity": 0.08,
        "init": "weight_rank",
        "decoder": "greedy",
        "cer": { "valid": valid_cer.parse::<f64>()?, "test": test_cer.parse::<f64>()? },
        "wer": { "test": test_wer.parse::<f64>()? },
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
