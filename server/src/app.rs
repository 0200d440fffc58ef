//! The state that every request shares, and the thread that owns the engine.

use crate::{
    config::{Config, EngineConfig, Keys},
    error::{ApiError, Result},
    lifecycle::{Lifecycle, Working},
    metrics::Metrics,
    packs::PackStore,
    schedule::{Scheduler, queue::Queue, worker},
};
use anyhow::Context;
use s3router_core::{self as core, Utterance, audio::RATE_HZ, engine::Transcript, packs::Packs};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::Semaphore;

/// A server's inside, without its socket.
#[derive(Debug)]
pub struct App {
    /// As the operator wants it.
    pub config: Config,
    /// Loading, ready, draining.
    pub lifecycle: Lifecycle,
    /// The way to the engine.
    pub scheduler: Scheduler,
    /// What Prometheus reads.
    pub metrics: Arc<Metrics>,
    pub(crate) keys: Keys,
    pub(crate) admin_tokens: Keys,
    /// One per computing thread: decoding is computing, and more would only take turns.
    pub(crate) decoders: Arc<Semaphore>,
    /// One per stream that may be open.
    pub(crate) streams: Arc<Semaphore>,
    /// One per interim reading that may be in work.
    pub(crate) interim: Arc<Semaphore>,
    pub(crate) started: u64,
    packs: OnceLock<PackStore>,
}

/// A batch in, one result per utterance out: [`Engine::transcribe`], or a wrapper around it.
pub type Transcribe = Box<dyn Fn(&[Utterance]) -> Vec<core::Result<Transcript>> + Send>;

/// What a server serves.
pub struct Loaded {
    /// The resident backbone at work. Tests put faults and delays around the real one here.
    pub transcribe: Transcribe,
    /// Its languages.
    pub packs: PackStore,
}

impl App {
    /// Starts loading what `config` names, on a thread of its own, and returns at once.
    ///
    /// # Errors
    /// When the API keys cannot be read or no thread can be had. A backbone that does not load is told by
    /// [`Lifecycle::failed`].
    pub fn build(config: Config) -> anyhow::Result<Arc<Self>> {
        Self::start(config, crate::load::load)
    }

    /// As [`build`](Self::build), with another way to load: a tiny model in tests.
    ///
    /// # Errors
    /// As `build`.
    pub fn start(
        config: Config,
        load: impl FnOnce(&EngineConfig) -> anyhow::Result<Loaded> + Send + 'static,
    ) -> anyhow::Result<Arc<Self>> {
        let metrics = Arc::new(Metrics::new()?);
        let (scheduler, queue) = Scheduler::new(&config.batching, Arc::clone(&metrics));
        let permits = |n: u32| Arc::new(Semaphore::new(n as usize));
        let app = Arc::new(Self {
            keys: config.auth.keys()?,
            admin_tokens: config.admin.tokens()?,
            streams: permits(config.streams.max_streams),
            interim: permits(config.streams.max_interim),
            config,
            lifecycle: Lifecycle::default(),
            scheduler,
            metrics,
            decoders: Arc::new(Semaphore::new(rayon::current_num_threads())),
            started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            packs: OnceLock::new(),
        });
        let weak = Arc::downgrade(&app);
        let engine_config = app.config.engine.clone();
        std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || {
                // Weak: the thread ends when the app is dropped, not the other way round.
                let loaded = guarded(|| load(&engine_config));
                if let (Some(app), outcome) = (weak.upgrade(), loaded) {
                    own_engine(app, outcome, queue);
                }
            })
            .context("cannot start the engine's thread")?;
        Ok(app)
    }

    /// Takes up a request, if there is room for its work.
    ///
    /// # Errors
    /// 503 while loading and while draining, 429 when the queue is full.
    pub fn enter(&self) -> Result<Working> {
        let working = self.lifecycle.enter()?;
        self.scheduler.check_room()?;
        Ok(working)
    }

    /// The packs in service now.
    ///
    /// # Errors
    /// 503 while loading.
    pub fn packs(&self) -> Result<Arc<Packs>> {
        self.pack_store().map(PackStore::now)
    }

    /// The packs in service, to change them.
    ///
    /// # Errors
    /// 503 while loading.
    pub fn pack_store(&self) -> Result<&PackStore> {
        self.packs.get().ok_or_else(|| {
            self.lifecycle.check().err().unwrap_or_else(|| ApiError::internal("ready without packs"))
        })
    }

    /// Changes the packs on a thread that may block, and shows the outcome to Prometheus.
    ///
    /// # Errors
    /// 503 while loading, and those of `change`.
    pub async fn change_packs<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&PackStore) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let app = Arc::clone(self);
        let changing = tokio::task::spawn_blocking(move || {
            let store = app.pack_store()?;
            let changed = change(store)?;
            app.metrics.packs(store.now().iter().map(AsRef::as_ref));
            Ok(changed)
        });
        changing.await.map_err(|e| ApiError::internal(format!("changing the packs panicked: {e}")))?
    }
}

/// The life of the engine's thread after loading: warm up, then serve until nobody can ask any more.
fn own_engine(app: Arc<App>, loaded: anyhow::Result<Loaded>, queue: Queue) {
    let ready = loaded.and_then(|Loaded { transcribe, packs }| {
        warm_up(&transcribe, &packs.now())?;
        Ok((transcribe, packs))
    });
    match ready {
        Ok((transcribe, packs)) => {
            app.metrics.engine(packs.engine().backbone());
            app.metrics.packs(packs.now().iter().map(AsRef::as_ref));
            tracing::info!(packs = packs.now().len(), "ready: the warm-up transcription succeeded");
            let _ = app.packs.set(packs);
            app.lifecycle.loaded(Ok(()));
            drop(app);
            worker::run(queue, transcribe);
        }
        Err(error) => app.lifecycle.loaded(Err(error)),
    }
}

/// A real transcription of a second of tone; its text does not matter, that it succeeds does.
fn warm_up(transcribe: &Transcribe, packs: &Packs) -> anyhow::Result<()> {
    let pack = packs.iter().next().context("no pack could be loaded: --packs names a folder of packs")?;
    let tone = (0..RATE_HZ).map(|i| 0.1 * (i as f32 * 0.17).sin()).collect::<Vec<f32>>();
    let utterance = Utterance::new(tone, pack);
    for result in guarded(|| Ok(transcribe(&[utterance])))? {
        result.with_context(|| format!("the warm-up transcription in {} failed", pack.meta.language))?;
    }
    Ok(())
}

/// A panic of a third party's parser is a failed start with a message, not a server that loads for ever.
fn guarded<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|p| anyhow::bail!("loading panicked: {}", crate::telemetry::message(p.as_ref())))
}
