//! Confidence that means what it says: fitted on one list, judged on another, kept in the pack.

use crate::{
    cli::CalibrateArgs,
    data::list::{self, List},
    evaluate::Reader,
    features,
    plot::diagram,
    trained::Trained,
};
use anyhow::{Context, Result, ensure};
use s3router_core::{
    decode::{
        self, Vocab,
        confidence::{Bin, Calibration, calibration_error, reliability, right_words},
    },
    learn::vocab::Unit,
    model::Backbone,
};
use s3router_masks::{open_path, write};
use std::{path::Path, sync::Arc};

/// Rows of the reliability table.
const BINS: usize = 10;

/// What was fitted, and what it is worth on words that the fit has not seen.
#[derive(Debug, serde::Serialize)]
pub struct Calibrated {
    /// What `training.calibration` holds.
    pub calibration: Calibration,
    /// Expected calibration error of the mean posteriors, 0 to 1.
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

/// Fits on `--valid`, judges on `--test`, and writes what it was asked to write.
///
/// # Errors
/// Lists without wrong or without right words; what cannot be read or written.
pub fn calibrate(args: &CalibrateArgs) -> Result<Calibrated> {
    let backbone = Backbone::load(&args.backbone, &args.device.open()?)?;
    let trained = Trained::open(&args.pack, &backbone)?;
    let (language, meta) = (trained.meta.language.clone(), trained.meta.clone());
    let vocab = Vocab::new(meta.vocab, meta.word_separator.as_deref())?;
    let reader = Reader {
        backbone: &backbone,
        gates: Arc::new(trained.gates()),
        head: (trained.head_weight, trained.head_bias),
        vocab,
        unit: Unit::Characters,
    };
    let judged = |path: &Path| words(&reader, &list::read(path)?, &language);
    let calibration = Calibration::fit(&judged(&args.valid)?)?;
    let test = judged(&args.test)?;
    ensure!(!test.is_empty(), "{} has no word to judge by", args.test.display());
    let mapped: Vec<_> = test.iter().map(|&(c, right)| (calibration.map(c), right)).collect();
    let (bins_before, bins_after) = (reliability(&test, BINS), reliability(&mapped, BINS));
    let done = Calibrated {
        calibration,
        before: calibration_error(&bins_before),
        after: calibration_error(&bins_after),
        words: test.len(),
        bins_before,
        bins_after,
    };
    if let Some(plot) = &args.plot {
        let picture =
            diagram(&format!("{language}: {} words", done.words), &done.bins_before, &done.bins_after);
        std::fs::write(plot, picture).with_context(|| format!("cannot write {}", plot.display()))?;
    }
    if args.write {
        keep(&args.pack, calibration)?;
    }
    Ok(done)
}

/// Every word read, its mean posterior, and whether it is right.
fn words(reader: &Reader, list: &List, language: &str) -> Result<Vec<(f32, bool)>> {
    let (utterances, _) =
        features::extract(reader.backbone, list, language, &crate::config::Data::default(), None, || ())?;
    let mut judged = Vec::new();
    for utterance in &utterances {
        let logits = reader.logits(&[utterance])?.pop().context("no logits of an utterance")?;
        let heard = decode::words(&decode::greedy(&logits, &reader.vocab)?, &reader.vocab, 0.0);
        let texts: Vec<String> = heard.iter().map(|w| w.word.clone()).collect();
        let right = right_words(&texts, &reference(&utterance.text, &reader.vocab));
        judged.extend(heard.iter().map(|w| w.confidence).zip(right));
    }
    Ok(judged)
}

/// The words of a reference as decoding cuts them: characters in scripts without spaces.
fn reference(text: &str, vocab: &Vocab) -> Vec<String> {
    match vocab.separator() {
        Some(_) => text.split_whitespace().map(String::from).collect(),
        None => text.chars().filter(|c| !c.is_whitespace()).map(String::from).collect(),
    }
}

/// Into the pack's `training`; masks, head and codec stay as they are.
fn keep(path: &Path, calibration: Calibration) -> Result<()> {
    let mut opened = open_path(path)?;
    let training = &mut opened.pack.meta.training;
    if !training.is_object() {
        *training = serde_json::json!({});
    }
    training["calibration"] = serde_json::to_value(calibration)?;
    write(path, &opened.pack, opened.codec)?;
    Ok(())
}
