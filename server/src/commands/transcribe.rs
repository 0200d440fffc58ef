//! `s3router transcribe`: files to text, no server needed.

use crate::{
    commands::{
        manifest::{Job, Shard, read},
        output::Output,
    },
    config::{EngineConfig, Limits},
    intake::query::Format,
    load,
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
  s3router transcribe talk.m4a --lang en --format srt > talk.srt
  s3router transcribe --manifest clips.tsv --shard 3/16 --format json --output part-3.jsonl")]
pub struct TranscribeArgs {
    /// Audio of any common container.
    #[arg(required_unless_present = "manifest", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Files to transcribe, one a line: `path`, or `path<TAB>language`. Paths are relative to the manifest.
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    manifest: Option<PathBuf>,
    /// Take the manifest's lines I, I+N, I+2N, … and leave the rest to others; I counts from 0.
    #[arg(long, value_name = "I/N", requires = "manifest")]
    shard: Option<Shard>,
    /// Language, under any of its names: `zh_TW`, `zh-TW`, `sv`. A language in the manifest beats it.
    #[arg(long, short, required_unless_present = "manifest")]
    lang: Option<String>,
    /// Write here instead of standard output; the file appears when every file has been tried, never half.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
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
    let jobs = jobs(&args)?;
    if jobs.len() > 1 && matches!(args.format, Format::Srt | Format::Vtt) {
        bail!("subtitles are made for one file at a time: {} were given", jobs.len());
    }
    load::threads(args.engine.threads)?;
    let loaded = load::load(&args.engine)?;
    // Every language is looked up before any work: a misspelt one should not be found after an hour.
    let packs = loaded.packs.now();
    let jobs =
        jobs.into_iter().map(|job| Ok((packs.get(&job.lang)?, job.file))).collect::<Result<Vec<_>>>()?;
    let several = jobs.len() > 1 || args.manifest.is_some();
    let mut out = Output::open(args.output.as_deref())?;
    let mut failed = 0;
    for (pack, file) in &jobs {
        match hear(file, pack, &loaded.transcribe) {
            Ok(heard) => out.write(&line(file, &heard, args.format, several))?,
            Err(error) => {
                failed += 1;
                eprintln!("error: {}: {error:#}", file.display());
            }
        }
    }
    out.close()?;
    match failed {
        0 => Ok(()),
        n => bail!("{n} of {} files were not transcribed", jobs.len()),
    }
}

fn jobs(args: &TranscribeArgs) -> Result<Vec<Job>> {
    match &args.manifest {
        Some(manifest) => read(manifest, args.lang.as_deref(), args.shard.unwrap_or_default()),
        None => {
            let lang = args.lang.clone().context("--lang says which language the files are in")?;
            Ok(args.files.iter().map(|file| Job { file: file.clone(), lang: lang.clone() }).collect())
        }
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

fn line(file: &Path, heard: &Heard, format: Format, several: bool) -> String {
    let body = native::body(heard, format, true, 0, &file.display().to_string());
    match format {
        Format::Text if several => format!("{}\t{body}", file.display()),
        Format::Json | Format::VerboseJson => body + "\n",
        _ => body,
    }
}
