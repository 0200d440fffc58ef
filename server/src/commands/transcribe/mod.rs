//! `s3router transcribe`: files to text, by an engine of one's own or by a server.

mod inputs;
mod live;
mod local;
mod remote;

use crate::{
    commands::{
        manifest::{Shard, read},
        output::Output,
    },
    config::EngineConfig,
    intake::query::Format,
};
use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use inputs::Input;
use s3router_core::audio::{Encoding, RawFormat};
use std::{
    collections::BTreeMap,
    io::{IsTerminal, stderr},
    path::PathBuf,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

/// Flags of `transcribe`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3router transcribe clip.wav --lang tr
  s3router transcribe *.mp3 --lang zh_TW --format json     # one JSON object a line
  s3router transcribe talk.m4a --lang en --format srt > talk.srt
  s3router transcribe --manifest clips.tsv --shard 3/16 --format json --output part-3.jsonl
  s3router transcribe recordings/ --lang nl --server http://gpu:8080 --format srt --out subtitles/
  arecord -f S16_LE -r 16000 | s3router transcribe - --lang en
  arecord -t raw -f S16_LE -r 16000 | s3router transcribe - --lang en --server http://gpu:8080 --encoding pcm_s16le --rate 16000")]
pub struct TranscribeArgs {
    /// Audio of any common container; a folder stands for every file in it, `-` for standard input, which is
    /// heard as it comes, as text or JSON: a line an utterance, and what is being said on the terminal.
    #[arg(required_unless_present = "manifest", value_name = "FILE|FOLDER|-")]
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
    /// Folder for one answer file per audio file, instead of standard output.
    #[arg(long, value_name = "FOLDER", conflicts_with = "output")]
    out: Option<PathBuf>,
    /// For headerless PCM: `pcm_s16le`, `pcm_f32le`, `mulaw`, ...
    #[arg(long, requires = "rate")]
    encoding: Option<Encoding>,
    /// For headerless PCM: sampling rate, Hz.
    #[arg(long, requires = "encoding")]
    rate: Option<u32>,
    #[command(flatten)]
    remote: remote::RemoteArgs,
    #[command(flatten)]
    engine: EngineConfig,
}

/// One input's answer in the form asked for, or why there is none.
type Heard = Result<String>;

/// Transcribes each file; a broken one is told on stderr and does not stop the others.
///
/// # Errors
/// When the model, the language or the server cannot be had, or any file failed.
pub fn run(args: TranscribeArgs) -> Result<()> {
    let inputs = inputs(&args)?;
    let subtitles = matches!(args.format, Format::Srt | Format::Vtt);
    ensure!(
        inputs.len() == 1 || !subtitles || args.out.is_some(),
        "{} files would share one stream of subtitles: --out FOLDER writes one file each",
        inputs.len()
    );
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let raw = args.encoding.zip(args.rate);
    let raw = raw.map(|(encoding, rate_hz)| RawFormat { encoding, rate_hz, channels: 1 });
    match args.remote.server() {
        None if is_live(&args, &inputs) => {
            let mut out = Output::open(args.output.as_deref())?;
            live::hear(&args.engine, &wish(&args, &inputs, raw), &mut out)?;
            out.close()
        }
        None => {
            let ear = local::Ear::open(&args.engine, &inputs)?;
            each(&args, &inputs, 1, |input| ear.hear(input, raw.as_ref(), args.format))
        }
        Some(url) if is_live(&args, &inputs) => {
            let mut out = Output::open(args.output.as_deref())?;
            live::ask(&args.remote, url, &wish(&args, &inputs, raw), &mut out)?;
            out.close()
        }
        Some(url) => {
            let client = args.remote.client(url, args.format, raw.as_ref())?;
            each(&args, &inputs, args.remote.parallel(), |input| client.hear(input))
        }
    }
}

/// Whether it can be told while it comes: subtitles and segments are of the whole.
fn is_live(args: &TranscribeArgs, inputs: &[Input]) -> bool {
    matches!(inputs, [one] if one.is_stdin())
        && args.out.is_none()
        && matches!(args.format, Format::Text | Format::Json)
}

fn wish<'a>(args: &TranscribeArgs, inputs: &'a [Input], raw: Option<RawFormat>) -> live::Wish<'a> {
    live::Wish { lang: &inputs[0].lang, raw, format: args.format }
}

fn inputs(args: &TranscribeArgs) -> Result<Vec<Input>> {
    if let Some(manifest) = &args.manifest {
        let jobs = read(manifest, args.lang.as_deref(), args.shard.unwrap_or_default())?;
        return Ok(inputs::of_manifest(jobs));
    }
    inputs::expand(&args.files, args.lang.as_deref().context("--lang says which language the files are in")?)
}

/// Hears every input, some at a time, and writes what came of each in their order.
fn each(
    args: &TranscribeArgs,
    inputs: &[Input],
    parallel: usize,
    hear: impl Fn(&Input) -> Heard + Sync,
) -> Result<()> {
    let (next, (told, heard)) = (AtomicUsize::new(0), mpsc::channel());
    let bar = progress(inputs.len());
    let mut out = Output::open(args.output.as_deref())?;
    let named = inputs.len() > 1 || args.manifest.is_some();
    std::thread::scope(|scope| {
        for _ in 0..parallel.min(inputs.len()) {
            let (told, next, hear) = (told.clone(), &next, &hear);
            scope.spawn(move || {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(input) = inputs.get(i) else { break };
                    // Nobody listens any more once writing failed.
                    if told.send((i, hear(input))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(told);
        let outcome = in_order(heard, |i, answer| {
            bar.inc(1);
            bar.suspend(|| deliver(args, &inputs[i], named, answer, &mut out))
        });
        bar.finish_and_clear();
        // The rest need not be begun.
        next.store(inputs.len(), Ordering::Relaxed);
        let failed = outcome?;
        out.close()?;
        match failed {
            0 => Ok(()),
            n => bail!("{n} of {} files were not transcribed", inputs.len()),
        }
    })
}

/// Calls `take` for 0, 1, 2, ... as their answers come; counts those it says failed.
fn in_order(
    heard: mpsc::Receiver<(usize, Heard)>,
    mut take: impl FnMut(usize, Heard) -> Result<bool>,
) -> Result<usize> {
    let (mut early, mut next, mut failed) = (BTreeMap::new(), 0, 0);
    for (i, answer) in heard {
        early.insert(i, answer);
        while let Some(answer) = early.remove(&next) {
            failed += usize::from(!take(next, answer)?);
            next += 1;
        }
    }
    Ok(failed)
}

/// Writes one answer where it belongs; false if there is none.
fn deliver(
    args: &TranscribeArgs,
    input: &Input,
    named: bool,
    answer: Heard,
    out: &mut Output<'_>,
) -> Result<bool> {
    let body = match answer {
        Ok(body) => body,
        Err(error) => {
            eprintln!("error: {}: {error:#}", input.name());
            return Ok(false);
        }
    };
    if let Some(folder) = &args.out {
        let path = folder.join(input.stem()).with_extension(extension(args.format));
        let mut file = Output::open(Some(&path))?;
        file.write(&body)?;
        return file.close().map(|()| true);
    }
    match args.format {
        Format::Text if named => out.write(&format!("{}\t{body}", input.name()))?,
        _ => out.write(&body)?,
    }
    Ok(true)
}

fn extension(format: Format) -> &'static str {
    match format {
        Format::Text => "txt",
        Format::Json | Format::VerboseJson => "json",
        Format::Srt => "srt",
        Format::Vtt => "vtt",
    }
}

fn progress(files: usize) -> ProgressBar {
    if files < 2 || !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} files, {elapsed}, {eta} left");
    ProgressBar::new(files as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
