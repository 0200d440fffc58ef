//! `s3router packs random`: made-up packs for a real backbone, to measure memory, loading and switching with.

use super::source::BackboneSource;
use crate::commands::random;
use anyhow::{Context, Result, ensure};
use s3router_masks::{Codec, write};
use std::{io::Write, path::PathBuf};

/// Flags of `packs random`.
#[derive(Debug, clap::Args)]
pub(super) struct RandomArgs {
    /// Folder to write `random0.safetensors`, `random1.safetensors`, … to; it is made if it is missing
    folder: PathBuf,
    #[command(flatten)]
    backbone: BackboneSource,
    /// How many
    #[arg(long, default_value_t = 1)]
    languages: usize,
    /// Share of every feed-forward weight that is kept
    #[arg(long, default_value_t = 0.92)]
    density: f64,
}

pub(super) fn run(args: &RandomArgs, out: &mut dyn Write) -> Result<()> {
    ensure!((0.0..=1.0).contains(&args.density), "--density lies in 0..=1, it is {}", args.density);
    let named = || format!("cannot make {}", args.folder.display());
    std::fs::create_dir_all(&args.folder).with_context(named)?;
    let backbone = args.backbone.load()?;
    for number in 0..args.languages {
        let mut pack = random::pack(&backbone, number, args.density);
        pack.meta.backbone_sha256 = Some(backbone.identity()?.sha256(pack.masks.keys().map(String::as_str))?);
        let path = args.folder.join(format!("{}.safetensors", pack.meta.language));
        write(&path, &pack, Codec::Raw)?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}
