//! A run's whole state in one file, so that a killed run goes on exactly where it was.

use crate::{config::TrainConfig, learner::Learner, room, store};
use anyhow::{Context, Result, bail, ensure};
use s3router_core::learn::{adam::Adam, vocab::Unit};
use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

/// Where a run stands; with variables and moments this decides all that follows.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Settings of the run.
    pub config: TrainConfig,
    /// Canonical language id.
    pub language: String,
    /// The backbone, as given.
    pub backbone: String,
    /// Fingerprint of all of its maskable weights: what lies behind a path may change.
    pub backbone_sha256: String,
    /// Another run's result that this one began from.
    pub start: Option<PathBuf>,
    /// Symbols by index.
    pub vocab: Vec<String>,
    /// The symbol between words.
    pub separator: Option<String>,
    /// What a symbol is.
    pub unit: Unit,
    /// SHA-256 of the clips and texts learnt from, and of those selected on.
    pub lists: [String; 2],
    /// Utterances in training.
    pub utterances: usize,
    /// Their audio, hours.
    pub hours: f64,
    /// Updates done.
    pub updates: usize,
    /// Updates of the whole run, once fitted to `max_minutes`.
    pub planned: usize,
    /// Backward passes done: the place in the order of batches and of noise.
    pub passes: u64,
    /// Epoch of the next batch, and its place in that epoch.
    pub next: (u64, usize),
    /// Working seconds so far.
    pub seconds: f64,
    /// Best evaluation so far.
    pub best: Option<Best>,
    /// Evaluations since.
    pub stale: usize,
}

/// The evaluation that would become the pack now.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Best {
    /// After this many updates.
    pub update: usize,
    /// The selected rate on the validation list.
    pub rate: f64,
    /// Word error rate.
    pub wer: f64,
    /// Character (or phone) error rate.
    pub cer: f64,
}

/// The files of a run, beside its pack: `tr.safetensors` → `tr.run/`, and `tr-0.08` → `tr-0.08.run/`.
#[derive(Clone, Debug)]
pub struct RunFolder(PathBuf);

/// Held by the one run that works in a folder; the system gives it back however the process ends.
#[must_use]
pub struct Claim(#[expect(dead_code, reason = "it is the lock")] File);

impl RunFolder {
    /// The folder that belongs to a result file.
    pub fn of(out: &Path) -> Self {
        if out.extension().is_some_and(|ext| ext == "safetensors") {
            return Self(out.with_extension("run"));
        }
        let mut name = out.as_os_str().to_owned();
        name.push(".run");
        Self(name.into())
    }

    /// An existing run's folder.
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_path_buf())
    }

    /// Makes the folder, for this process alone, and clears it of what a killed one left half written.
    ///
    /// # Errors
    /// No right to, or another run works there.
    pub fn claim(&self) -> Result<Claim> {
        let folder = self.0.display();
        std::fs::create_dir_all(&self.0).with_context(|| format!("cannot make the folder {folder}"))?;
        let path = self.file("lock");
        let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => room::sweep_folder(&self.0, Duration::ZERO),
            Err(TryLockError::WouldBlock) => {
                bail!("another run works in {folder}: wait for it, or give this one another --out")
            }
            // A file system without locks.
            Err(TryLockError::Error(error)) => tracing::warn!("{folder} cannot be locked: {error}"),
        }
        Ok(Claim(lock))
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Saves variables, moments and progress.
    ///
    /// # Errors
    /// The file cannot be written; the last checkpoint stays.
    pub fn save(&self, learner: &Learner, optimizer: &Adam, progress: &Progress) -> Result<()> {
        let mut tensors: BTreeMap<_, _> = optimizer.state()?.into_iter().collect();
        tensors.extend(learner.state().into_iter().map(|(name, var)| (name, var.as_detached_tensor())));
        store::save(
            &self.file("state.safetensors"),
            tensors,
            &[("progress", serde_json::to_string(progress)?)],
        )
    }

    /// The last checkpoint, if there is one.
    ///
    /// # Errors
    /// A file that is there but cannot be read.
    pub fn load(&self) -> Result<Option<(store::Tensors, Progress)>> {
        let path = self.file("state.safetensors");
        if !path.exists() {
            return Ok(None);
        }
        let (tensors, strings) = store::load(&path)?;
        let progress = strings.get("progress").map_or("", String::as_str);
        let progress = serde_json::from_str(progress).with_context(|| {
            format!("{} is no checkpoint of this program; --fresh starts anew", path.display())
        })?;
        Ok(Some((tensors, progress)))
    }

    /// Saves the learner as the best so far.
    ///
    /// # Errors
    /// The file cannot be written; the last best stays.
    pub fn save_best(&self, learner: &Learner) -> Result<()> {
        let tensors =
            learner.state().into_iter().map(|(name, var)| (name, var.as_detached_tensor())).collect();
        store::save(&self.file("best.safetensors"), tensors, &[])
    }

    /// Brings the learner back to its best.
    ///
    /// # Errors
    /// No best was saved, or it is another run's.
    pub fn load_best(&self, learner: &Learner) -> Result<()> {
        learner.restore(&store::load(&self.file("best.safetensors"))?.0)
    }
}

impl Progress {
    /// Whether a checkpoint belongs to this very run.
    ///
    /// # Errors
    /// What differs, and how to go on.
    pub fn ensure_same_run(&self, now: &Self) -> Result<()> {
        let advice = "run it with the settings it began with, give another --out, or start anew with --fresh";
        let same = |what: &str, same: bool| -> Result<()> {
            ensure!(same, "the checkpoint of this --out has another {what}: {advice}");
            Ok(())
        };
        same("language", self.language == now.language)?;
        same("backbone", self.backbone == now.backbone && self.backbone_sha256 == now.backbone_sha256)?;
        same("start", self.start == now.start)?;
        same("vocabulary", self.vocab == now.vocab)?;
        same("training set", self.lists[0] == now.lists[0])?;
        same("validation set", self.lists[1] == now.lists[1])?;
        same("configuration", self.config == now.config)
    }
}
