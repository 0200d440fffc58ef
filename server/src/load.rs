//! What an operator names → an engine with its packs.

use crate::{
    app::Loaded,
    config::EngineConfig,
    packs::{PackStore, source::PackSource},
};
use anyhow::{Context, ensure};
use candle_core::Device;
use s3router_core::{
    Engine, Residency,
    device::DeviceChoice,
    model::{Backbone, Source},
};
use std::sync::{Arc, OnceLock};

/// Loads the backbone and its packs; again on the same `device`, so that packs bound before still fit.
///
/// # Errors
/// When the backbone cannot be found, read or put on the device, or the packs cannot be read.
pub fn load(config: &EngineConfig, device: &OnceLock<Device>) -> anyhow::Result<Loaded> {
    let opened = device.get().cloned().map_or_else(|| open_device(config), Ok)?;
    let device = device.get_or_init(|| opened);
    let (engine, packs) = open_on(config, device)?;
    Ok(Loaded { model: engine, packs })
}

/// Sets the number of threads that compute. One pool serves every request, and candle with it, so that nothing
/// oversubscribes the machine; before anything computes, or it is too late.
///
/// # Errors
/// A pool that is running already, or no threads to be had.
pub fn threads(count: Option<u32>) -> anyhow::Result<()> {
    let Some(count) = count else { return Ok(()) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count as usize);
    pool.build_global().with_context(|| format!("--threads {count}"))
}

/// The engine and its packs, for commands that look at both.
///
/// # Errors
/// As [`load`].
pub fn open(config: &EngineConfig) -> anyhow::Result<(Arc<Engine>, PackStore)> {
    open_on(config, &open_device(config)?)
}

fn open_device(config: &EngineConfig) -> anyhow::Result<Device> {
    Ok(config.device.parse::<DeviceChoice>().map_err(anyhow::Error::msg)?.open()?)
}

fn open_on(config: &EngineConfig, device: &Device) -> anyhow::Result<(Arc<Engine>, PackStore)> {
    let Ok(source) = config.backbone.parse::<Source>();
    let backbone = Backbone::load_packed(&source, device, config.precision)?;
    let engine = Arc::new(Engine::new(backbone).with_residency(Residency::new(config.pack_memory)));
    let packs = match (&config.packs, source) {
        (Some(named), _) => named.clone(),
        (None, Source::Demo) => PackSource::Demo,
        (None, _) => {
            ensure!(
                engine.backbone().own_head().is_some(),
                "this backbone has no head of its own: --packs names a folder of packs for it"
            );
            PackSource::Own
        }
    };
    ensure!(
        config.pack_memory.is_none() || packs.folder().is_some(),
        "--pack-memory needs --packs DIR: only from files of its own can a pack be read again"
    );
    let packs = PackStore::open(packs, Arc::clone(&engine))?;
    for pin in &config.pins {
        engine.pin(&packs.now().get(pin).context("--pin")?)?;
    }
    Ok((engine, packs))
}
