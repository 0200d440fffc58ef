//! `s3router packs list`.

use super::{
    source::{Found, PackSource},
    table, write_json,
};
use anyhow::Result;
use serde_json::{Value, json};
use std::io::Write;

/// Flags of `packs list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    source: PackSource,
    /// Machine-readable.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ListArgs, out: &mut dyn Write) -> Result<()> {
    let packs = args.source.open()?;
    if args.json {
        let broken =
            packs.broken.iter().map(|b| json!({"file": b.origin, "reason": b.reason.cause().to_string()}));
        let value = json!({
            "packs": packs.sound.iter().map(describe).collect::<Vec<_>>(),
            "quarantined": broken.collect::<Vec<_>>(),
        });
        return write_json(out, &value);
    }
    let mut rows = vec![table::row([
        "language",
        "kind",
        "symbols",
        "density",
        "file",
        "in memory",
        "test CER",
        "test WER",
        "sha256",
    ])];
    for found in &packs.sound {
        let pack = &found.opened.pack;
        let measured = |rate: &str| match pack.meta.training[rate]["test"].as_f64() {
            Some(percent) => format!("{percent} %"),
            None => "-".into(),
        };
        rows.push(vec![
            found.language().into(),
            kind(found).into(),
            pack.meta.vocab.len().to_string(),
            table::percent(pack.density()),
            table::bytes(found.opened.bytes),
            table::bytes(pack.resident_bytes()),
            measured("cer"),
            measured("wer"),
            found.opened.sha256[..12].into(),
        ]);
    }
    table::write(out, &rows)?;
    for broken in &packs.broken {
        writeln!(out, "quarantined: {}: {}", broken.origin, broken.reason.cause())?;
    }
    Ok(())
}

/// What `list` and `inspect` say of a pack.
pub(super) fn describe(found: &Found) -> Value {
    let pack = &found.opened.pack;
    let (covered, kept) = pack.weights();
    json!({
        "language": pack.meta.language,
        "aliases": pack.meta.aliases,
        "kind": kind(found),
        "origin": found.origin,
        "sha256": found.opened.sha256,
        "bytes": found.opened.bytes,
        "resident_bytes": pack.resident_bytes(),
        "codec": found.opened.codec.name(),
        "sealed": found.opened.sealed,
        "backbone_sha256": pack.meta.backbone_sha256,
        "covers": pack.meta.covers,
        "weights_covered": covered,
        "weights_kept": kept,
        "density": pack.density(),
        "symbols": pack.meta.vocab.len(),
        "word_separator": pack.meta.word_separator,
        "training": pack.meta.training,
        "license": pack.meta.license,
    })
}

fn kind(found: &Found) -> &'static str {
    match found.opened.pack.meta.kind {
        s3router_masks::Kind::Ctc => "ctc",
        s3router_masks::Kind::Classifier => "classifier",
    }
}
