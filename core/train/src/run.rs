//! A whole run, from lists to a pack: data, learner, loop, result.

use crate::{
    checkpoint::{Best, Progress, RunFolder},
    config::{Method, Metric, TrainConfig},
    data::batches,
    dataset::DataSet,
    evaluate::Report,
    features::collate,
    learner::Learner,
    log::{self, Log},
    noise::StepNoise,
    progress::Bar,
    step::{Batch, step},
    store,
    trained::{About, Trained},
};
use anyhow::{Context, Result, ensure};
use s3router_core::{
    Precision,
    audio::RATE_HZ,
    device::DeviceChoice,
    model::{Backbone, Source},
};
use s3router_masks::language_id;
use serde_json::json;
use std::{path::PathBuf, time::Instant};

/// Updates after which the speed is known and `max_minutes` becomes a number of updates.
pub const PACE: usize = 20;
/// Share of the remaining time that is planned for updates; the rest is for evaluations.
const FOR_UPDATES: f64 = 0.85;
/// Frames by which lengths are jittered before batches are cut.
const JITTER: usize = 15;
/// Seconds between checkpoints.
const SAVE_EVERY: f64 = 60.0;

/// What to learn from, and where the result goes.
#[derive(Clone, Debug)]
pub struct Job {
    /// Training list.
    pub train: PathBuf,
    /// Validation list: selects the moment, stops the run. Never the test list.
    pub valid: PathBuf,
    /// Language id.
    pub language: String,
    /// The shared weights.
    pub backbone: Source,
    /// Where to learn.
    pub device: DeviceChoice,
    /// The pack, or the weights file.
    pub out: PathBuf,
    /// Another run's result to start from.
    pub start: Option<PathBuf>,
    /// The result has to be a pack.
    pub pack_only: bool,
    /// A given vocabulary: a JSON array, the blank first.
    pub vocab: Option<PathBuf>,
    /// Forget an earlier checkpoint of the same `out`.
    pub fresh: bool,
    /// Folder of features that earlier runs kept; `None` keeps nothing.
    pub features: Option<PathBuf>,
    /// Most bytes in that folder.
    pub features_limit: Option<u64>,
}

/// What a run came to.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Finished {
    /// The pack or weights file.
    pub out: PathBuf,
    /// The update that became it.
    pub update: usize,
    /// Its rates on the validation list.
    pub valid: Report,
    /// Audio seconds learnt from per second of work.
    pub rtfx: f64,
}

/// Runs a job to its end, from its last checkpoint if there is one.
///
/// # Errors
/// Data, settings, backbone or disk that do not allow it; the last checkpoint stays.
pub fn run(job: &Job, config: &TrainConfig) -> Result<Finished> {
    config.check()?;
    // One spelling for the text's rules, the checkpoint and the pack.
    let job = &Job { language: language_id(&job.language)?, ..job.clone() };
    let device = job.device.open()?;
    // A checkpoint says what a run was made with.
    let config = &TrainConfig { precision: config.precision.for_learning(&device)?, ..config.clone() };
    let begun = Instant::now();

    // ---- data -------------------------------------------------------------------------------
    let backbone = Backbone::load(&job.backbone, &device)?;
    let start = job.start.as_deref().map(|path| Trained::open(path, &backbone)).transpose()?;
    ensure!(
        !job.pack_only || config.keeps_backbone() && start.as_ref().is_none_or(|s| s.weights.is_empty()),
        "--push needs a pack, and this run changes the backbone itself: no pack can hold that"
    );
    let folder = RunFolder::of(&job.out);
    let _claim = folder.claim()?;
    let set = DataSet::load(job, config, &backbone, &folder)?;
    let frames: Vec<usize> = set.train.iter().map(|u| u.frames).collect();
    let budget =
        (config.updates.batch_seconds * f64::from(RATE_HZ) / backbone.config().hop() as f64) as usize;

    // ---- learner ----------------------------------------------------------------------------
    let learner = Learner::new(config, &backbone, set.vocab.symbols(), start.as_ref())?;
    let mut optimizer = learner.optimizer(config);
    let mut at = set.beginning(job, config, backbone.whole_fingerprint()?);
    if job.fresh {
        let _ = std::fs::remove_file(folder.file("state.safetensors"));
    }
    if let Some((tensors, saved)) = folder.load()? {
        saved.ensure_same_run(&at)?;
        learner.restore(&tensors)?;
        optimizer.restore(&tensors)?;
        at = saved;
        tracing::info!(update = at.updates, "resumed from the last checkpoint");
    }
    let mut log = Log::open(folder.file("log.jsonl"), at.updates)?;
    let mask_embedding = backbone.weight("masked_spec_embed");

    // ---- loop -------------------------------------------------------------------------------
    let before = at.seconds;
    let (mut order, mut saved, first) = (Order::default(), Instant::now(), (Instant::now(), at.updates));
    let bar = Bar::updates(at.planned, at.updates);
    let (mut learnt, mut working) = (0.0, 0.0);
    while at.updates < at.planned && !(config.select.patience > 0 && at.stale >= config.select.patience) {
        let clock = Instant::now();
        let mut passes = Vec::with_capacity(config.updates.accumulate);
        for _ in 0..config.updates.accumulate {
            let picked = order.next(&mut at.next, &frames, budget, config.seed);
            learnt += picked.iter().map(|&i| set.train[i].seconds).sum::<f64>();
            let rows = || picked.iter().map(|&i| &set.train[i]);
            let batch = Batch {
                features: collate(rows(), &device)?,
                labels: rows().map(|u| u.labels.clone()).collect(),
            };
            passes.push((batch, StepNoise::new(config, mask_embedding, at.passes)));
            at.passes += 1;
        }
        let factor = config.updates.schedule.factor(at.updates, at.planned);
        let outcome = step(&backbone, &learner, &mut optimizer, &mut passes, config.updates.clip, factor)?;
        at.updates += 1;
        if !outcome.norm.is_finite() {
            tracing::warn!(update = at.updates, "no finite gradient: the update moved nothing");
        }
        working += clock.elapsed().as_secs_f64();
        at.seconds = before + begun.elapsed().as_secs_f64();
        log.add(log::update(at.updates, outcome.loss, outcome.norm, factor, learnt / working))?;
        bar.update(at.updates, at.planned, outcome.loss, at.best.map(|b| b.cer), learnt / working);

        if let Some(minutes) = config.updates.max_minutes {
            let left = (60.0 * minutes - at.seconds).max(0.0);
            // Updates so long that the time is over before their pace is known end it too.
            if at.updates == PACE || (at.updates < PACE && left == 0.0) {
                let each = first.0.elapsed().as_secs_f64() / (at.updates - first.1) as f64;
                at.planned = (at.updates + (FOR_UPDATES * left / each) as usize).min(at.planned);
            }
        }
        if at.updates % config.select.every == 0 || at.updates == at.planned {
            let report = set.reader(&backbone, &learner, config.precision)?.report(&set.valid, 0)?;
            log.add(json!({ "update": at.updates, "wer": report.wer, "cer": report.cer }))?;
            if at.improves(config.select.metric, &report) {
                folder.save_best(&learner)?;
            }
            store::write(&folder.file("curve.svg"), log.curve(&set.title(job, config)).as_bytes())?;
            folder.save(&learner, &optimizer, &at)?;
            saved = Instant::now();
        } else if saved.elapsed().as_secs_f64() > SAVE_EVERY {
            folder.save(&learner, &optimizer, &at)?;
            saved = Instant::now();
        }
    }
    bar.done();

    // ---- result -----------------------------------------------------------------------------
    let best = at.best.context("no evaluation took place")?;
    folder.load_best(&learner)?;
    if config.method == Method::Delta1 {
        learner.cut_to_signs(&backbone)?;
    }
    // The moments were compared in the run's own precision; what is reported is exact.
    let valid = set.reader(&backbone, &learner, Precision::F32)?.report(&set.valid, 0)?;
    let trained = Trained::of(&learner, &backbone, at.about(best.update, valid.wer, valid.cer))?;
    trained.write(&job.out)?;
    Ok(Finished { out: job.out.clone(), update: best.update, valid, rtfx: learnt / working.max(1e-9) })
}

impl Progress {
    /// Takes note of an evaluation; true when it is the best.
    fn improves(&mut self, metric: Metric, report: &Report) -> bool {
        let rate = match metric {
            Metric::Cer => report.cer,
            Metric::Wer => report.wer,
        };
        let better = self.best.is_none_or(|b| rate < b.rate);
        if better {
            self.best = Some(Best { update: self.updates, rate, wer: report.wer, cer: report.cer });
        }
        self.stale = if better { 0 } else { self.stale + 1 };
        better
    }

    /// What the result's metadata says.
    pub fn about(&self, update: usize, wer: f64, cer: f64) -> About<'_> {
        let hours = (self.hours * 1e4).round() / 1e4;
        About {
            language: &self.language,
            vocab: &self.vocab,
            separator: self.separator.as_deref(),
            covers: String::from(self.config.mask.covers.clone()),
            training: json!({
                "method": self.config.method, "clips": self.utterances, "hours": hours, "steps": update,
                "seed": self.config.seed, "backbone": self.backbone, "valid": { "cer": cer, "wer": wer },
                "unit": self.unit,
            }),
        }
    }
}

/// The endless seeded sequence of batches; its place is two numbers.
#[derive(Default)]
struct Order {
    epoch: Option<u64>,
    batches: Vec<Vec<usize>>,
}

impl Order {
    fn next(&mut self, place: &mut (u64, usize), frames: &[usize], budget: usize, seed: u64) -> Vec<usize> {
        if self.epoch != Some(place.0) {
            self.batches = batches::epoch(frames, budget, JITTER, seed, place.0);
            self.epoch = Some(place.0);
        }
        let batch = self.batches[place.1].clone();
        *place = if place.1 + 1 < self.batches.len() { (place.0, place.1 + 1) } else { (place.0 + 1, 0) };
        batch
    }
}
