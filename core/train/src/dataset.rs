//! What a run learns from and selects on: both lists, extracted and labelled, and the symbols.

use crate::{
    cache::{Cache, hex},
    checkpoint::{Progress, RunFolder},
    config::TrainConfig,
    data::{clips::Skipped, list},
    evaluate::Reader,
    features::{self, Utterance},
    learner::Learner,
    progress::Bar,
    run::Job,
    store,
};
use anyhow::{Context, Result, bail, ensure};
use s3router_core::{
    Precision, decode,
    learn::vocab::{SEPARATOR, Unit, Vocab},
    model::Backbone,
};
use sha2::{Digest, Sha256};
use std::{collections::HashSet, path::Path, sync::Arc};

/// Everything a run learns from and selects on.
pub struct DataSet {
    /// Training utterances, labelled.
    pub train: Vec<Utterance>,
    /// Validation utterances.
    pub valid: Vec<Utterance>,
    /// Symbols of the head.
    pub vocab: Vocab,
    /// What a symbol is.
    pub unit: Unit,
}

impl DataSet {
    /// Reads, decodes and extracts both lists; `skipped.jsonl` in `folder` names every clip left out.
    ///
    /// # Errors
    /// Lists that cannot be read or do not go together; not one usable clip.
    pub fn load(job: &Job, config: &TrainConfig, backbone: &Backbone, folder: &RunFolder) -> Result<Self> {
        let wanted = Some(config.data.unit).filter(|unit| *unit == Unit::Tokens);
        let mut lists = [list::read(&job.train, wanted)?, list::read(&job.valid, wanted)?];
        if let Some(first) = config.data.first {
            lists[0].rows.truncate(first);
        }
        let unit = lists[0].unit;
        let given = job.vocab.as_deref().map(|path| given(path, unit)).transpose()?;
        ensure!(
            lists[1].unit == unit,
            "the training list has {unit:?}, the validation list {:?}",
            lists[1].unit
        );
        let open = |folder: &std::path::PathBuf| Cache::open(folder, backbone, job.features_limit);
        let cache = job.features.as_ref().map(open).transpose()?;
        let cache = cache.as_ref();
        let bar = Bar::clips(lists.iter().map(|l| l.rows.len()).sum());
        let [train, valid] = lists;
        let (mut train, mut skipped) =
            features::extract(backbone, &train, &job.language, &config.data, cache, || bar.tick())?;
        let (valid, more) =
            features::extract(backbone, &valid, &job.language, &config.data, cache, || bar.tick())?;
        bar.done();
        skipped.extend(more);
        let texts = || train.iter().map(|u| u.text.as_str());
        let vocab = given.unwrap_or_else(|| Vocab::count(texts(), &job.language, unit, config.data.rare));
        tell_unknown(&vocab, texts())?;
        tell_shared(&train, &valid);
        skipped.extend(features::label(&mut train, &vocab));
        tell(&skipped, &folder.file("skipped.jsonl"))?;
        ensure!(
            !train.is_empty(),
            "no training clip is long enough to spell its text: see {}",
            folder.file("skipped.jsonl").display()
        );
        Ok(Self { train, valid, vocab, unit })
    }

    /// Hours of training audio.
    pub fn hours(&self) -> f64 {
        self.train.iter().map(|u| u.seconds).sum::<f64>() / 3600.0
    }

    /// What the curve is called.
    pub fn title(&self, job: &Job, config: &TrainConfig) -> String {
        format!("{} · {:?} · {:.2} h · seed {}", job.language, config.method, self.hours(), config.seed)
    }

    /// A run that has not begun.
    pub fn beginning(&self, job: &Job, config: &TrainConfig, backbone_sha256: String) -> Progress {
        Progress {
            config: config.clone(),
            language: job.language.clone(),
            backbone: job.backbone.to_string(),
            backbone_sha256,
            start: job.start.clone(),
            vocab: self.vocab.symbols().to_vec(),
            separator: self.vocab.word_separator().map(str::to_owned),
            unit: self.unit,
            lists: [digest(&self.train), digest(&self.valid)],
            utterances: self.train.len(),
            hours: self.hours(),
            updates: 0,
            planned: config.updates.count,
            passes: 0,
            next: (0, 0),
            seconds: 0.0,
            best: None,
            stale: 0,
        }
    }

    /// The learner as evaluation sees it, its masks as bits, its products in `precision`.
    ///
    /// # Errors
    /// None unless the tensor library fails.
    pub fn reader<'a>(
        &self,
        backbone: &'a Backbone,
        learner: &Learner,
        precision: Precision,
    ) -> Result<Reader<'a>> {
        let vocab = decode::Vocab::new(self.vocab.symbols().to_vec(), self.vocab.word_separator())?;
        let gates = Arc::new(learner.sealed()?.with_precision(precision));
        Ok(Reader { backbone, gates, head: learner.head(), vocab, unit: self.unit })
    }
}

fn given(path: &Path, unit: Unit) -> Result<Vocab> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let symbols: Vec<String> = serde_json::from_str(&text)
        .with_context(|| format!("{}: expected a JSON array of symbols, the blank first", path.display()))?;
    let separator = symbols.iter().any(|s| s == SEPARATOR);
    s3router_masks::check_symbols(&symbols, separator.then_some(SEPARATOR))
        .with_context(|| path.display().to_string())?;
    Ok(Vocab::given(symbols, separator, unit))
}

/// Which clips with which texts: their names, since a data set may move, their lengths and what is said.
fn digest(utterances: &[Utterance]) -> String {
    let hash = utterances.iter().fold(Sha256::new(), |hash, u| {
        let name = u.path.file_name().unwrap_or_default().as_encoded_bytes();
        hash.chain_update(name).chain_update([0]).chain_update(u.frames.to_le_bytes()).chain_update(&u.text)
    });
    hex(hash)
}

/// Says which symbols of the texts the vocabulary lacks, the most frequent first.
///
/// # Errors
/// One of them is what a given vocabulary has as its blank.
fn tell_unknown<'a>(vocab: &Vocab, texts: impl Iterator<Item = &'a str>) -> Result<()> {
    let unknown = vocab.unknown(texts);
    if let Some(blank) = vocab.symbols().first().filter(|blank| unknown.iter().any(|(s, _)| s == *blank)) {
        bail!(
            "the vocabulary begins with `{blank}`, which the texts spell: put the blank, such as <pad>, first"
        );
    }
    if !unknown.is_empty() {
        let few: Vec<_> = unknown.iter().take(10).map(|(s, n)| format!("`{s}` ({n}×)")).collect();
        let n = unknown.len();
        tracing::warn!(
            "{n} symbols of the texts are not in the vocabulary, hence not learnt: {}",
            few.join(", ")
        );
    }
    Ok(())
}

/// Says when a clip is both learnt from and selected on.
fn tell_shared(train: &[Utterance], valid: &[Utterance]) {
    let train: HashSet<_> = train.iter().map(|u| &u.path).collect();
    let shared = valid.iter().filter(|u| train.contains(&u.path)).count();
    if shared > 0 {
        tracing::warn!("{shared} validation clips are training clips too: validation will flatter the run");
    }
}

/// Writes every clip left out with its reason, and says how many.
fn tell(skipped: &[Skipped], path: &Path) -> Result<()> {
    let lines = skipped.iter().map(|s| Ok(serde_json::to_string(s)? + "\n")).collect::<Result<String>>()?;
    store::write(path, lines.as_bytes())?;
    if let Some(first) = skipped.first() {
        let (n, clip) = (skipped.len(), first.path.display());
        tracing::warn!(
            "{n} clips left out, listed in {}; the first, {clip}: {}",
            path.display(),
            first.reason
        );
    }
    Ok(())
}
