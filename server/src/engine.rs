//! The thread that owns the engine: load, warm up, serve; and if a batch fails, see whether the engine is well.

use crate::{
    app::{App, Loaded, Model},
    packs::PackStore,
    schedule::{queue::Queue, worker},
    telemetry,
};
use anyhow::{Context, Result, bail, ensure};
use s3router_core::{Cancel, Utterance, audio::RATE_HZ, engine::Transcript, packs::LoadedPack};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    thread::sleep,
    time::Duration,
};

/// How often a broken engine is rebuilt before the process gives up, for its supervisor to start it anew.
const REBUILDS: u32 = 3;

/// Serves until nobody can ask any more.
pub(crate) fn own(app: &Weak<App>, queue: Queue, load: impl Fn() -> Result<Loaded>) {
    let started = guarded(&load).and_then(|loaded| {
        let packs = loaded.packs.now();
        let first =
            packs.iter().next().context("no pack could be loaded: --packs names a folder of packs")?;
        let probe = Probe::of(&loaded.model, first)?;
        Ok((loaded, probe))
    });
    let Some(alive) = app.upgrade() else { return };
    match started {
        Ok((Loaded { model, packs }, probe)) => {
            ready(&alive, packs);
            drop(alive);
            worker::run(queue, model, |suspect| mend(app, suspect, &probe, &load));
        }
        Err(error) => alive.lifecycle.loaded(Err(error)),
    }
}

fn ready(app: &App, packs: PackStore) {
    app.metrics.engine(packs.engine().backbone());
    app.metrics.packs(packs.now().iter().map(AsRef::as_ref));
    tracing::info!(packs = packs.now().len(), "ready: the warm-up transcription succeeded");
    let _ = app.packs.set(packs);
    app.lifecycle.loaded(Ok(()));
}

/// After a batch failed: the engine if it still answers the probe as it did at first, else a new one.
/// `/readyz` says 503 meanwhile; what is queued waits.
fn mend(
    app: &Weak<App>,
    suspect: Arc<dyn Model>,
    probe: &Probe,
    load: &impl Fn() -> Result<Loaded>,
) -> Option<Arc<dyn Model>> {
    let app = app.upgrade()?;
    app.lifecycle.mending();
    let mut outcome = probe.check(&suspect).map(|()| Arc::clone(&suspect));
    // Two copies may not fit side by side.
    drop(suspect);
    for attempt in 0..REBUILDS {
        let Err(why) = &outcome else { break };
        tracing::error!("the engine is rebuilt: {why:#}");
        app.metrics.device_restarts.inc();
        sleep(Duration::from_millis(50) * 4u32.pow(attempt));
        outcome = guarded(load).and_then(|Loaded { model, packs }| {
            probe.check(&model)?;
            app.pack_store()?.adopt(&packs);
            Ok(model)
        });
    }
    match outcome {
        Ok(well) => {
            app.lifecycle.mended();
            Some(well)
        }
        Err(error) => {
            app.lifecycle.broken(&error);
            None
        }
    }
}

/// A real transcription of a second of tone. Its text does not matter; that it succeeds does, and that it stays
/// the same.
struct Probe {
    utterance: Utterance,
    expected: Transcript,
}

impl Probe {
    fn of(model: &Arc<dyn Model>, pack: &Arc<LoadedPack>) -> Result<Self> {
        let tone = (0..RATE_HZ).map(|i| 0.1 * (i as f32 * 0.17).sin()).collect::<Vec<f32>>();
        let utterance = Utterance::new(tone, pack);
        let expected = transcribe(model, &utterance)
            .with_context(|| format!("the warm-up transcription in {} failed", pack.meta.language))?;
        Ok(Self { utterance, expected })
    }

    fn check(&self, model: &Arc<dyn Model>) -> Result<()> {
        let found = transcribe(model, &self.utterance)?;
        ensure!(found == self.expected, "the engine does not answer the warm-up as it did at first");
        Ok(())
    }
}

fn transcribe(model: &Arc<dyn Model>, utterance: &Utterance) -> Result<Transcript> {
    guarded(|| {
        let pieces = model.cut(utterance)?;
        let parts = model.compute(&pieces.iter().collect::<Vec<_>>(), &mut || Ok(()))?;
        Ok(model.read(utterance, parts, &Cancel::default())?)
    })
}

/// A panic of a third party's code is a failure with a message, not a server that loads for ever.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome,
        Err(panic) => bail!("panicked: {}", telemetry::message(panic.as_ref())),
    }
}
