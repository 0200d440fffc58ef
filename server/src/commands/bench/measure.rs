//! What is measured, loaded once; and the timing of it.

use super::BenchArgs;
use crate::commands::random;
use anyhow::{Context, Result, bail, ensure};
use s3router_core::{
    Engine, Utterance,
    audio::RATE_HZ,
    model::{Backbone, Config},
    packs::{LoadedPack, Packs},
};
use s3router_masks::{Codec, Opened, Pack, open_path, write};
use std::{path::Path, sync::Arc, time::Instant};

/// Weights kept by a random mask: S3-Router's usual 92 %.
const DENSITY: f64 = 0.92;

/// An engine with its packs, and how long it took to get there.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) engine: Engine,
    pub(super) packs: Vec<Arc<LoadedPack>>,
    registry: Packs,
    pub(super) load_ms: f64,
    /// One of each pack.
    pub(super) pack_load_ms: Vec<f64>,
    /// Giving back the masks of a pack that nobody leases.
    pub(super) evict_ms: f64,
}

/// Milliseconds of rounds.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    pub(super) ms: Vec<f64>,
    /// Of the same utterances all in one language; empty where `ms` has no other.
    pub(super) one_language_ms: Vec<f64>,
}

impl Subject {
    pub(super) fn load(args: &BenchArgs) -> Result<Self> {
        let start = Instant::now();
        let engine = Engine::new(backbone(args)?);
        engine.backbone().identity()?;
        let mut subject = Self {
            engine,
            packs: Vec::new(),
            registry: Packs::default(),
            load_ms: ms(start),
            pack_load_ms: Vec::new(),
            evict_ms: 0.0,
        };
        match &args.packs {
            Some(folder) => subject.take(folder, args.languages)?,
            None if args.open => subject.take_open()?,
            None => {
                let folder = tempfile::tempdir().context("cannot make a folder for the packs")?;
                for number in 0..args.languages {
                    let path = folder.path().join(format!("{}.safetensors", random::language(number)));
                    write(&path, &random::pack(subject.engine.backbone(), number, DENSITY), Codec::Raw)?;
                }
                subject.take(folder.path(), args.languages)?;
            }
        }
        subject.packs = subject.registry.iter().cloned().collect();
        Ok(subject)
    }

    /// The first packs of a folder, each from disk to ready.
    fn take(&mut self, folder: &Path, count: usize) -> Result<()> {
        let listed = folder.read_dir().with_context(|| folder.display().to_string())?;
        let mut files = listed.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        files.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
        files.sort();
        ensure!(
            files.len() >= count,
            "{} has {} packs, --languages asks for {count}",
            folder.display(),
            files.len()
        );
        files.truncate(count);
        if let Some(path) = files.first() {
            let pack = LoadedPack::bind(open_path(path)?, self.engine.backbone(), 1)?;
            let start = Instant::now();
            drop(pack);
            self.evict_ms = ms(start);
        }
        for path in files {
            let start = Instant::now();
            let pack = LoadedPack::bind(open_path(&path)?, self.engine.backbone(), 1)?;
            self.pack_load_ms.push(ms(start));
            self.registry.insert(pack);
        }
        Ok(())
    }

    /// A pack without masks: no file holds one, so it is bound as it is made.
    fn take_open(&mut self) -> Result<()> {
        let backbone = self.engine.backbone();
        let masked = random::pack(backbone, 0, 1.0);
        let pack = Pack { masks: Default::default(), ..masked };
        let opened = Opened { pack, sha256: String::new(), bytes: 0, codec: Codec::Raw, sealed: false };
        let start = Instant::now();
        let pack = LoadedPack::bind(opened, backbone, 1)?;
        self.pack_load_ms.push(ms(start));
        self.registry.insert(pack);
        Ok(())
    }

    /// Rounds of `batch` utterances `seconds` long, languages in turn; where there are several, each round is
    /// followed by one of the same utterances in one language.
    pub(super) fn time(&self, seconds: f64, batch: usize, rounds: usize) -> Result<Rounds> {
        let samples = random::noise((seconds * f64::from(RATE_HZ)) as usize);
        let in_turn = |languages: usize| -> Vec<Utterance> {
            let pack = |row| &self.packs[row % languages];
            (0..batch).map(|row| Utterance::new(Arc::clone(&samples), pack(row))).collect()
        };
        let several = self.packs.len() > 1 && batch > 1;
        let (mixed, alone) = (in_turn(self.packs.len()), in_turn(1));
        // One that does not count. Long audio comes in windows, of which the first warm up for the rest.
        if seconds <= 60.0 {
            self.engine.emissions(&mixed)?;
        }
        let mut found = Rounds::default();
        for _ in 0..rounds {
            found.ms.push(self.round(&mixed)?);
            if several {
                found.one_language_ms.push(self.round(&alone)?);
            }
        }
        Ok(found)
    }

    fn round(&self, batch: &[Utterance]) -> Result<f64> {
        let start = Instant::now();
        self.engine.emissions(batch)?;
        Ok(ms(start))
    }

    /// Milliseconds of each of 1000 changes of language: finding the pack and leasing it. No weight is touched.
    pub(super) fn switches(&self) -> Result<Vec<f64>> {
        let names: Vec<&str> = self.packs.iter().map(|p| p.meta.language.as_str()).collect();
        let switch = |i: usize| {
            let start = Instant::now();
            self.registry.get(names[i % names.len()])?;
            Ok(ms(start))
        };
        (0..1000).map(switch).collect()
    }
}

fn backbone(args: &BenchArgs) -> Result<Backbone> {
    let device = args.device.open()?;
    let config = match args.backbone.strip_prefix("random:") {
        Some("xlsr-300m") => Config::xlsr_300m(),
        Some("xlsr-1b") => Config::xlsr_1b(),
        Some(other) => {
            bail!("random backbone `{other}` is unknown: there is random:xlsr-300m and random:xlsr-1b")
        }
        None => return Ok(Backbone::load_packed(&args.backbone.parse()?, &device, args.precision)?),
    };
    Ok(Backbone::random_packed(config, 1, &device, args.precision)?)
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
