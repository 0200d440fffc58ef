//! `s3router transcribe`: files to text, no server needed.

use crate::{
    config::{EngineConfig, Limits},
    intake::query::Format,
    load::load,
    render::{Heard, native},
};
use anyhow::{Context, Result, bail};
use s3router_core::{
    Utterance,
    audio::{self, Channels},
    packs::LoadedPack,
};
use s3router_proto::{PackRef, Timing};
use std::{
    fs,
    io::{Write, stdout},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// Flags of `transcribe`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3router transcribe clip.wav --lang tr
  s3router transcribe *.mp3 --lang zh_TW --format json     # one JSON object a line
  s3router transcribe talk.m4a --lang en --format srt > talk.srt")]
pub struct TranscribeArgs {
    /// Audio of any common container.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Language, under any of its names: `zh_TW`, `zh-TW`, `sv`.
    #[arg(long, short)]
    lang: String,
    /// Form of the answer: text, json, verbose_json, srt or vtt. Several files as text: `path<TAB>text`.
    #[arg(long, default_value = "text", value_name = "FORM")]
    format: Format,
    #[command(flatten)]
    engine: EngineConfig,
}

/// Transcribes each file; a broken one is told on stderr and does not stop the others.
///
/// # Errors
/// When the model or the language cannot be had, or any file failed.
pub fn run(args: TranscribeArgs) -> Result<()> {
    if args.files.len() > 1 && matches!(args.format, Format::Srt | Format::Vtt) {
        bail!("subtitles are made for one file at a time: {} were given", args.files.len());
    }
    let loaded = load(&args.engine)?;
    let pack = loaded.packs.now().get(&args.lang)?;
    let mut out = stdout().lock();
    let mut failed = 0;
    for file in &args.files {
        match hear(file, &pack, &loaded.transcribe) {
            Ok(heard) => write!(out, "{}", line(file, &heard, &args))?,
            Err(error) => {
                failed += 1;
                eprintln!("error: {}: {error:#}", file.display());
            }
        }
    }
    match failed {
        0 => Ok(()),
        n => bail!("{n} of {} files were not transcribed", args.files.len()),
    }
}

fn hear(file: &Path, pack: &Arc<LoadedPack>, transcribe: &crate::app::Transcribe) -> Result<Heard> {
    let begun = Instant::now();
    let bytes = fs::read(file).context("cannot be read")?;
    let limits = audio::Limits { max_seconds: Limits::default().max_audio_seconds.get() };
    let samples = audio::decode(&bytes, None, Channels::Mix, &limits)?.into_iter().next().unwrap_or_default();
    let decode = begun.elapsed();
    let utterance = Utterance::new(samples, pack);
    let transcript = transcribe(&[utterance]).pop().context("the engine gave no answer")??;
    let total = begun.elapsed();
    let ms = |d: Duration| (d.as_secs_f64() * 1e6).round() / 1e3;
    let rtfx = (transcript.seconds / total.as_secs_f64().max(1e-6) * 10.0).round() / 10.0;
    Ok(Heard {
        lang: pack.meta.language.clone(),
        pack: PackRef {
            id: pack.meta.language.clone(),
            generation: pack.generation,
            sha256: pack.sha256.clone(),
        },
        duration: transcript.seconds,
        channels: vec![transcript],
        split: false,
        space: if pack.meta.word_separator.is_some() { " " } else { "" },
        readings: Vec::new(),
        languages: None,
        timing: Timing {
            decode_ms: ms(decode),
            infer_ms: ms(total - decode),
            total_ms: ms(total),
            rtfx,
            ..Timing::default()
        },
    })
}

fn line(file: &Path, heard: &Heard, args: &TranscribeArgs) -> String {
    let body = native::body(heard, args.format, true, 0, &file.display().to_string());
    match args.format {
        Format::Text if args.files.len() > 1 => format!("{}\t{body}", file.display()),
        Format::Json | Format::VerboseJson => body + "\n",
        _ => body,
    }
}
