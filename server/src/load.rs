//! What an operator names → an engine with its packs.

use crate::{
    app::Loaded,
    config::EngineConfig,
    packs::{PackStore, source::PackSource},
};
use anyhow::{Context, ensure};
use candle_core::Device;
use s3router_core::{
    Engine, Fleet, Residency,
    fleet::Build,
    model::{Backbone, Source},
};
use std::sync::{Arc, OnceLock};

/// Loads the backbone and its packs; again on the same `devices`, so that packs bound before still fit. Several
/// devices each hold the backbone and work as one engine.
///
/// # Errors
/// When the backbone cannot be found, read or put on a device, or the packs cannot be read.
pub fn load(config: &EngineConfig, devices: &OnceLock<Vec<Device>>) -> anyhow::Result<Loaded> {
    let choices = config.devices()?;
    let open = || choices.iter().map(|choice| choice.open()).collect::<s3router_core::Result<_>>();
    let opened = devices.get().cloned().map_or_else(open, Ok)?;
    let devices = devices.get_or_init(|| opened);
    let (engine, packs) = open_on(config, &devices[0])?;
    if devices.len() == 1 {
        return Ok(Loaded { model: engine, packs });
    }
    let pinned = config.pins.iter().map(|pin| Ok(packs.now().get(pin)?.meta.language.clone()));
    let pinned = pinned.collect::<anyhow::Result<Vec<_>>>()?;
    let others = devices.iter().zip(choices).skip(1).map(|(device, choice)| {
        let (config, device, pinned) = (config.clone(), device.clone(), pinned.clone());
        let build = move || {
            let residency = Residency::new(config.pack_memory);
            pinned.iter().for_each(|language| residency.pin(language));
            Ok(Engine::new(backbone(&config, &device)?).with_residency(residency))
        };
        (choice.to_string(), Box::new(build) as Build)
    });
    let fleet = Fleet::new(engine, others.collect())?;
    tracing::info!(devices = fleet.devices(), "one queue, several devices");
    Ok(Loaded { model: Arc::new(fleet), packs })
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

/// The engine and its packs on the first device named, for commands that look at both.
///
/// # Errors
/// As [`load`].
pub fn open(config: &EngineConfig) -> anyhow::Result<(Arc<Engine>, PackStore)> {
    open_on(config, &config.devices()?[0].open()?)
}

fn backbone(config: &EngineConfig, device: &Device) -> s3router_core::Result<Backbone> {
    let Ok(source) = config.backbone.parse::<Source>();
    Backbone::load_packed(&source, device, config.precision)
}

fn open_on(config: &EngineConfig, device: &Device) -> anyhow::Result<(Arc<Engine>, PackStore)> {
    let Ok(source) = config.backbone.parse::<Source>();
    let engine = Engine::new(backbone(config, device)?);
    let engine = Arc::new(engine.with_residency(Residency::new(config.pack_memory)));
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
