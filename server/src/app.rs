//! The state that every request shares.

use crate::{
    config::{Config, EngineConfig, Keys},
    engine,
    error::{ApiError, Result},
    lifecycle::{Lifecycle, Working},
    metrics::Metrics,
    middleware::{addresses::Addresses, origins::Origins},
    packs::PackStore,
    schedule::Scheduler,
};
use anyhow::Context;
use s3router_core::{
    self as core, Cancel, Engine, Fleet, Utterance,
    engine::Transcript,
    packs::Packs,
    piece::{Part, Piece},
};
use std::{
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
    pub(crate) addresses: Addresses,
    pub(crate) origins: Origins,
    /// One per computing thread: decoding is computing, and more would only take turns.
    pub(crate) decoders: Arc<Semaphore>,
    /// One per stream that may be open.
    pub(crate) streams: Arc<Semaphore>,
    /// One per interim reading that may be in work.
    pub(crate) interim: Arc<Semaphore>,
    pub(crate) started: u64,
    pub(crate) packs: OnceLock<PackStore>,
}

/// What the scheduler needs of an engine. Tests put faults and delays around the real one here.
pub trait Model: Send + Sync {
    /// The engine that packs are bound to.
    fn host(&self) -> &Engine;

    /// [`Engine::cut`].
    ///
    /// # Errors
    /// As the engine's.
    fn cut(&self, utterance: &Utterance) -> core::Result<Vec<Piece>> {
        self.host().cut(utterance)
    }

    /// [`Engine::compute`]. In `pause` it may be called again, on the same thread.
    ///
    /// # Errors
    /// As the engine's.
    fn compute(
        &self,
        pieces: &[&Piece],
        pause: &mut dyn FnMut() -> core::Result<()>,
    ) -> core::Result<Vec<Part>> {
        self.host().compute(pieces, pause)
    }

    /// [`Engine::read`].
    ///
    /// # Errors
    /// As the engine's.
    fn read(&self, utterance: &Utterance, parts: Vec<Part>, cancel: &Cancel) -> core::Result<Transcript> {
        self.host().read(utterance, parts, cancel)
    }

    /// How many devices work now.
    fn devices(&self) -> usize {
        1
    }

    /// Whether it answered, and yet should be examined as after a batch that failed.
    fn suspect(&self) -> bool {
        false
    }
}

impl Model for Engine {
    fn host(&self) -> &Engine {
        self
    }
}

impl Model for Fleet {
    fn host(&self) -> &Engine {
        self.first()
    }

    fn compute(
        &self,
        pieces: &[&Piece],
        pause: &mut dyn FnMut() -> core::Result<()>,
    ) -> core::Result<Vec<Part>> {
        self.compute(pieces, pause)
    }

    fn devices(&self) -> usize {
        self.devices()
    }

    fn suspect(&self) -> bool {
        self.suspect()
    }
}

/// What a server serves.
pub struct Loaded {
    /// The resident backbone at work.
    pub model: Arc<dyn Model>,
    /// Its languages.
    pub packs: PackStore,
}

impl App {
    /// Starts loading what `config` names, on a thread of its own, and returns at once.
    ///
    /// # Errors
    /// When the API keys or origins cannot be read or no thread can be had. A backbone that does not load is told by
    /// [`Lifecycle::failed`].
    pub fn build(config: Config) -> anyhow::Result<Arc<Self>> {
        let devices = OnceLock::new();
        Self::start(config, move |engine| crate::load::load(engine, &devices))
    }

    /// As [`build`](Self::build), with another way to load: a tiny model in tests. It is used again when the
    /// engine has to be rebuilt.
    ///
    /// # Errors
    /// As `build`.
    pub fn start(
        config: Config,
        load: impl Fn(&EngineConfig) -> anyhow::Result<Loaded> + Send + 'static,
    ) -> anyhow::Result<Arc<Self>> {
        let metrics = Arc::new(Metrics::new()?);
        // What is wrong with their names, loading tells.
        let devices = config.engine.devices().map_or(1, |devices| devices.len());
        let (scheduler, queue) = Scheduler::new(&config.batching, devices, Arc::clone(&metrics));
        let permits = |n: u32| Arc::new(Semaphore::new(n as usize));
        let app = Arc::new(Self {
            keys: config.auth.keys()?,
            admin_tokens: config.admin.tokens()?,
            streams: permits(config.streams.max_streams),
            interim: permits(config.streams.max_interim),
            addresses: Addresses::new(&config.network),
            origins: Origins::new(&config.network.cors_origins)?,
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
            // Weak: the thread ends when the app is dropped, not the other way round.
            .spawn(move || engine::own(&weak, queue, || load(&engine_config)))
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
