//! What packs' numbers mean: a word's confidence ([`words`]), and which of several packs hears its own language
//! ([`languages`]). Fitted on one list, judged on another, kept in the packs.

pub mod languages;
pub mod words;

use crate::{
    cli::CalibrateArgs,
    config::Data,
    data::{
        clips,
        list::{self, List},
    },
    plot::diagram,
    progress::Bar,
    trained,
};
use anyhow::{Context, Result, ensure};
use languages::Languages;
use rayon::prelude::*;
use s3router_core::{
    Engine, Utterance,
    decode::confidence::{Bin, Calibration},
    identify::Ear,
    model::Backbone,
    packs::LoadedPack,
};
use s3router_masks::{Registry, open_path, write};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use words::Words;

/// What was fitted, and what it is worth on clips that the fit has not seen.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    /// Confidence, pack by pack.
    pub words: Vec<Words>,
    /// Confidence of all packs' words together.
    pub all: Reliability,
    /// Telling the packs' languages apart; with two packs or more.
    pub languages: Option<Languages>,
}

/// A reliability table before and after.
#[derive(Debug, serde::Serialize)]
pub struct Reliability {
    /// Expected calibration error as it is, 0 to 1.
    pub before: f32,
    /// The same once calibrated.
    pub after: f32,
    /// Words judged.
    pub words: usize,
    /// The table before.
    pub bins_before: Vec<Bin>,
    /// The table after.
    pub bins_after: Vec<Bin>,
}

/// A pack and its two lists.
struct Candidate {
    file: PathBuf,
    pack: Arc<LoadedPack>,
    valid: PathBuf,
    test: PathBuf,
}

/// Fits on `--valid`, judges on `--test`, and writes what it was asked to write.
///
/// # Errors
/// Lists without wrong or without right words; what cannot be read or written.
pub fn calibrate(args: &CalibrateArgs) -> Result<Report> {
    let engine = Engine::new(Backbone::load_packed(&args.backbone, &args.device.open()?, args.precision)?);
    let candidates = candidates(args, &engine)?;
    let (mut each, mut seen, mut mapped) = (Vec::new(), Vec::new(), Vec::new());
    for of in &candidates {
        let (words, judged) = words::judge(&engine, of)?;
        mapped.extend(judged.iter().map(|&(c, right)| (words.calibration.map(c), right)));
        seen.extend(judged);
        draw(args.plot.as_deref(), &words.language, &words.reliability)?;
        each.push(words);
    }
    let all = Reliability::of(&seen, &mapped);
    if candidates.len() > 1 {
        draw(args.plot.as_deref(), "all", &all)?;
    }
    let languages = match candidates.len() {
        1 => None,
        _ => Some(languages::judge(&engine, &candidates, args.clips)?),
    };
    if args.write {
        for (i, of) in candidates.iter().enumerate() {
            keep(&of.file, each[i].calibration, languages.as_ref().map(|l| l.ears[i]))?;
        }
    }
    Ok(Report { words: each, all, languages })
}

fn candidates(args: &CalibrateArgs, engine: &Engine) -> Result<Vec<Candidate>> {
    let files = match &args.packs {
        Some(folder) => {
            let registry = Registry::open(folder)?;
            for bad in &registry.quarantined {
                tracing::warn!("left out {}: {}", bad.path.display(), bad.reason);
            }
            registry.packs.into_iter().map(|entry| entry.path).collect()
        }
        None => args.pack.clone(),
    };
    ensure!(!files.is_empty(), "no pack to calibrate: --packs names a folder, --pack a file");
    ensure!(
        files.len() == 1 || [&args.valid, &args.test].iter().all(|l| l.to_string_lossy().contains("{}")),
        "of several packs each needs lists of its own: write {{}} where its language stands, \
         as in --valid 'data/{{}}/valid.tsv'"
    );
    ensure!(
        files.len() == 1 || args.plot.as_ref().is_none_or(|plot| plot.to_string_lossy().contains("{}")),
        "of several packs each needs a plot of its own: write {{}} where its language stands, as in --plot '{{}}.svg'"
    );
    let open = |file: PathBuf| {
        let pack = LoadedPack::bind(open_path(&file)?, engine.backbone(), 1)
            .with_context(|| file.display().to_string())?;
        let (valid, test) = (named(&args.valid, &pack.meta.language), named(&args.test, &pack.meta.language));
        Ok(Candidate { file, pack: Arc::new(pack), valid, test })
    };
    files.into_iter().map(open).collect()
}

/// `{}` in a path is the language.
fn named(path: &Path, language: &str) -> PathBuf {
    path.to_string_lossy().replace("{}", language).into()
}

/// A clip to be heard.
struct Clip {
    /// 16 kHz.
    samples: Vec<f32>,
    /// Normalised.
    text: String,
}

impl Candidate {
    /// Hands on the clips of a list, at most `most` of them, evenly spread over it, `at_once` at a time: no more are in memory.
    /// Those that cannot be used are named.
    fn each(
        &self,
        list: &Path,
        most: usize,
        at_once: usize,
        mut hear: impl FnMut(&[Clip]) -> Result<()>,
    ) -> Result<()> {
        let List { rows, unit, broken } = list::read(list, trained::unit(&self.pack.meta))?;
        broken.iter().for_each(|b| tracing::warn!("left out {}: {}", b.path.display(), b.reason));
        let step = rows.len().div_ceil(most.max(1)).max(1);
        let rows: Vec<_> = rows.iter().step_by(step).collect();
        let limits = Data::default().limits;
        let bar = Bar::clips(rows.len());
        let load = |row: &&list::Row| {
            bar.tick();
            let text = clips::text(row, &self.pack.meta.language, unit);
            let clip = text.and_then(|text| Ok(Clip { samples: clips::samples(row, &limits)?, text }));
            clip.map_err(|e| tracing::warn!("left out {}: {e:#}", row.audio.display()))
        };
        let mut usable = false;
        for rows in rows.chunks(at_once) {
            let clips: Vec<Clip> = rows.par_iter().map(load).filter_map(Result::ok).collect();
            if !clips.is_empty() {
                usable = true;
                hear(&clips)?;
            }
        }
        bar.done();
        ensure!(usable, "{}: none of its clips can be used", list.display());
        Ok(())
    }
}

/// Logits `(T, V)` of utterances, row by row, as serving computes them.
fn logits(engine: &Engine, batch: &[Utterance]) -> Result<Vec<Vec<f32>>> {
    let flat = |t: candle_core::Tensor| Ok(t.flatten_all()?.to_vec1()?);
    engine.emissions(batch)?.into_iter().map(flat).collect()
}

fn draw(plot: Option<&Path>, name: &str, found: &Reliability) -> Result<()> {
    let Some(plot) = plot else { return Ok(()) };
    let plot = named(plot, name);
    let title = match name {
        "all" => format!("all languages: {} words", found.words),
        language => format!("{language}: {} words", found.words),
    };
    fs::write(&plot, diagram(&title, &found.bins_before, &found.bins_after))
        .with_context(|| format!("cannot write {}", plot.display()))
}

/// Into the pack's `training`; masks, head and codec stay as they are.
fn keep(path: &Path, calibration: Calibration, ear: Option<Ear>) -> Result<()> {
    let mut opened = open_path(path)?;
    let training = &mut opened.pack.meta.training;
    if !training.is_object() {
        *training = serde_json::json!({});
    }
    training["calibration"] = serde_json::to_value(calibration)?;
    if let Some(ear) = ear {
        training["identification"] = serde_json::to_value(ear)?;
    }
    write(path, &opened.pack, opened.codec)?;
    Ok(())
}
