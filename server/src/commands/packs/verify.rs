//! `s3router packs verify`.

use super::{
    source::{BackboneSource, Broken, Found, PackSource, Packs},
    write_json,
};
use anyhow::{Result, bail};
use s3router_masks::{Binding, open_path};
use serde_json::json;
use std::{io::Write, path::PathBuf};

/// Flags of `packs verify`.
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// Pack files; every pack of `--packs` when none is named.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    source: PackSource,
    #[command(flatten)]
    backbone: BackboneSource,
    /// Check the files alone: no backbone is loaded.
    #[arg(long)]
    files_only: bool,
    /// Machine-readable.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &VerifyArgs, out: &mut dyn Write) -> Result<()> {
    let mut packs = if args.files.is_empty() { args.source.open()? } else { open_files(&args.files) };
    let backbone = if args.files_only { None } else { Some(args.backbone.load()?) };
    let identity = backbone.as_ref().map(|b| b.identity()).transpose()?;
    let mut verdicts = Vec::new();
    for Found { origin, mut opened } in packs.sound {
        let binding = match identity {
            None => None,
            Some(identity) => match identity.bind(&mut opened.pack) {
                Ok(binding) => Some(binding),
                Err(reason) => {
                    packs.broken.push(Broken { origin, reason });
                    continue;
                }
            },
        };
        let mut notes = Vec::new();
        if !opened.sealed {
            notes.push("no checksums: a flipped bit would go unseen");
        }
        if opened.pack.meta.backbone_sha256.is_none() {
            notes.push("names no backbone: only its shapes can be checked");
        }
        verdicts.push(json!({
            "file": origin,
            "language": opened.pack.meta.language,
            "sound": true,
            "sealed": opened.sealed,
            "backbone": binding.map(|b| if b == Binding::Proved { "proved" } else { "shapes fit" }),
            "notes": notes,
        }));
    }
    for Broken { origin, reason } in &packs.broken {
        verdicts.push(json!({"file": origin, "sound": false, "reason": reason.cause().to_string()}));
    }
    if args.json {
        write_json(out, &verdicts)?;
    } else {
        for verdict in &verdicts {
            let (file, language) = (verdict["file"].as_str(), verdict["language"].as_str());
            let (file, language) = (file.unwrap_or_default(), language.unwrap_or_default());
            match verdict["reason"].as_str() {
                Some(reason) => writeln!(out, "BROKEN  {file}: {reason}")?,
                None => {
                    let notes: Vec<_> = verdict["notes"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(|n| n.as_str())
                        .collect();
                    let backbone = verdict["backbone"]
                        .as_str()
                        .map_or("", |b| if b == "proved" { ", backbone proved" } else { ", shapes fit" });
                    let notes =
                        if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
                    writeln!(out, "ok      {language} [{file}]{backbone}{notes}")?;
                }
            }
        }
    }
    match packs.broken.len() {
        0 => Ok(()),
        n => bail!("{n} of {} packs cannot be used", verdicts.len()),
    }
}

fn open_files(files: &[PathBuf]) -> Packs {
    let mut packs = Packs::default();
    for path in files {
        let origin = path.display().to_string();
        match open_path(path) {
            Ok(opened) => packs.sound.push(Found { origin, opened }),
            Err(reason) => packs.broken.push(Broken { origin, reason }),
        }
    }
    packs
}
