//! `s3router convert`.

use anyhow::Result;
use s3router_core::model::{Source, convert};
use std::path::PathBuf;

/// Flags of `convert`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3router convert xlsr2_300m.pt xlsr-300m
  s3router convert hf:facebook/wav2vec2-xls-r-300m xlsr-300m
  s3router serve --backbone xlsr-300m --packs packs/")]
pub struct ConvertArgs {
    /// A checkpoint: directory, pytorch_model.bin, fairseq's .pt, safetensors, or hf:ORG/NAME
    #[arg(value_name = "IN")]
    input: Source,
    /// The directory to write; it must not exist yet
    #[arg(value_name = "OUT")]
    output: PathBuf,
}

/// Writes any checkpoint as one clean safetensors directory.
///
/// # Errors
/// A checkpoint that cannot be read, or an output that exists.
pub fn run(args: ConvertArgs) -> Result<()> {
    convert(&args.input, &args.output)?;
    eprintln!("{} written to {}", args.input, args.output.display());
    Ok(())
}
