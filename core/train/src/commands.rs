//! One function per command: flags in, a result on standard output.

use crate::{
    cache::{self, Cache},
    calibrate,
    checkpoint::RunFolder,
    cli::{CalibrateArgs, Cli, Command, EvaluateArgs, ExportArgs, RunArgs},
    config::{Data, Limits, Method, TrainConfig},
    data::list,
    evaluate::{Reader, Report},
    features,
    learner::Learner,
    presets::SETTINGS,
    progress::Bar,
    push,
    run::{self, Job},
    trained::{self, Trained},
};
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use s3router_core::{decode, model::Backbone};
use std::{io::Write, sync::Arc};

/// Does what the command line asks for.
///
/// # Errors
/// One line: what, where and how to mend it.
pub fn execute(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Run(args) => train(&args, &args.settings("laptop", None)?),
        Command::Finetune(args) => train(&args, &args.settings("laptop", Some(Method::Finetune))?),
        Command::Prune(args) => {
            let start = args
                .start
                .as_deref()
                .context("prune needs --start FILE, the weights that `finetune` wrote")?;
            ensure!(
                s3router_masks::open_path(start).is_err(),
                "{} is a pack, so its backbone was not fine-tuned: prune needs the weights that `finetune` wrote",
                start.display()
            );
            train(&args, &args.settings("prune-70", Some(Method::Mask))?)
        }
        Command::Evaluate(args) => evaluate(&args),
        Command::Calibrate(args) => calibrated(&args),
        Command::Export(args) => export(&args),
        Command::Settings => print(SETTINGS.trim_end()),
    }
}

fn calibrated(args: &CalibrateArgs) -> Result<()> {
    let report = calibrate::calibrate(args)?;
    if args.json {
        return print(&serde_json::to_string_pretty(&report)?);
    }
    for words in &report.words {
        let (c, r) = (words.calibration, &words.reliability);
        let [before, after] = [r.before, r.after].map(|e| percent(e.into()));
        print(&format!(
            "{}: slope {:.3}, offset {:.3}: calibration error {before} before, {after} after, {} words",
            words.language, c.slope, c.offset, r.words
        ))?;
    }
    match report.languages {
        Some(languages) => print(&format!("\n{languages}")),
        None => Ok(()),
    }
}

fn train(args: &RunArgs, config: &TrainConfig) -> Result<()> {
    let job = Job {
        train: args.train.clone(),
        valid: args.valid.clone(),
        language: args.language.clone(),
        backbone: args.backbone.clone(),
        device: args.device,
        out: args.out.clone(),
        start: args.start.clone(),
        pack_only: args.push.is_some(),
        vocab: args.vocab.clone(),
        fresh: args.fresh,
        features: (!args.no_features)
            .then(|| args.features.clone().unwrap_or_else(|| cache::beside(&args.out))),
        features_limit: args.features_limit,
    };
    let finished = run::run(&job, config)?;
    if let Some(url) = &args.push {
        push::push(
            url,
            &s3router_masks::language::canonical(&job.language),
            &finished.out,
            args.push_token.as_deref(),
        )?;
    }
    if args.json {
        return print(&serde_json::to_string(&finished)?);
    }
    print(&format!(
        "{} (update {}): valid CER {}, WER {}; learnt at {:.0}× real time",
        finished.out.display(),
        finished.update,
        percent(finished.valid.cer),
        percent(finished.valid.wer),
        finished.rtfx
    ))
}

fn evaluate(args: &EvaluateArgs) -> Result<()> {
    let backbone = Backbone::load(&args.backbone, &args.device.open()?)?;
    let trained = Trained::open(&args.pack, &backbone)?;
    let unit = trained::unit(&trained.meta);
    let list = list::read(&args.test, unit)?;
    if let Some(unit) = unit {
        ensure!(
            unit == list.unit,
            "{} spells {unit:?}, {} is in {:?}: give a list of the same",
            args.pack.display(),
            args.test.display(),
            list.unit
        );
    }
    let bar = Bar::clips(list.rows.len());
    let limits = Limits { max_seconds: args.max_seconds, ..Limits::default() };
    let data = Data { limits, ..Data::default() };
    let kept = args.features.clone().or_else(|| Some(cache::beside(&args.pack)).filter(|f| f.is_dir()));
    let cache = kept.map(|folder| Cache::open(&folder, &backbone, None)).transpose()?;
    let (utterances, skipped) =
        features::extract(&backbone, &list, &trained.meta.language, &data, cache.as_ref(), || bar.tick())?;
    bar.done();
    for clip in &skipped {
        tracing::warn!("left out {}: {}", clip.path.display(), clip.reason);
    }
    let reader = Reader {
        backbone: &backbone,
        gates: Arc::new(trained.gates().with_precision(args.precision.for_learning(backbone.device())?)),
        vocab: decode::Vocab::new(trained.meta.vocab.clone(), trained.meta.word_separator.as_deref())?,
        head: (trained.head_weight, trained.head_bias),
        unit: list.unit,
    };
    let report = reader.report(&utterances, skipped.len())?;
    if args.json {
        return print(&serde_json::to_string(&report)?);
    }
    print(&describe(&report))
}

fn describe(r: &Report) -> String {
    let interval = |rate: &s3router_core::learn::metrics::Rate| {
        format!(
            "{} (95 %: {} to {})",
            percent(rate.rate),
            percent(rate.interval[0]),
            percent(rate.interval[1])
        )
    };
    let edits = |e: &s3router_core::learn::metrics::Edits| {
        let [i, d, s] = [e.insertions, e.deletions, e.substitutions];
        format!("{i} inserted, {d} deleted, {s} substituted of {}", e.reference)
    };
    // Phones stand between spaces as words do: there the two rates are one.
    let rates = match r.symbols {
        "phones" => format!("PER {}\nphones: {}", interval(&r.characters), edits(&r.characters.edits)),
        symbols => format!(
            "CER {}\nWER {}\n{symbols}: {}\nwords: {}",
            interval(&r.characters),
            interval(&r.words),
            edits(&r.characters.edits),
            edits(&r.words.edits)
        ),
    };
    format!("{rates}\n{} utterances, {:.2} h, {} left out", r.utterances, r.hours, r.skipped)
}

fn export(args: &ExportArgs) -> Result<()> {
    let folder = RunFolder::at(&args.run);
    let (tensors, at) =
        folder.load()?.with_context(|| format!("{} holds no checkpoint", args.run.display()))?;
    let best = at.best.context("the run was stopped before its first evaluation")?;
    let backbone = Backbone::load(&at.backbone.parse()?, &Device::Cpu)?;
    ensure!(
        backbone.whole_fingerprint()? == at.backbone_sha256,
        "{} is not the backbone that this run learns on: its weights have changed",
        at.backbone
    );
    let start = at.start.as_deref().map(|path| Trained::open(path, &backbone)).transpose()?;
    let learner = Learner::new(&at.config, &backbone, &at.vocab, start.as_ref())?;
    learner.restore(&tensors)?;
    folder.load_best(&learner)?;
    if at.config.method == Method::Delta1 {
        learner.cut_to_signs(&backbone)?;
    }
    Trained::of(&learner, &backbone, at.about(best.update, best.wer, best.cer))?.write(&args.out)?;
    print(&format!("{} (update {}): valid CER {}", args.out.display(), best.update, percent(best.cer)))
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn print(text: &str) -> Result<()> {
    // Not println: a closed pipe is an error here, not a panic.
    writeln!(std::io::stdout(), "{text}").context("cannot write the result to standard output")
}
