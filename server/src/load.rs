//! What an operator names → an engine with its packs.

use crate::{
    app::Loaded,
    config::EngineConfig,
    packs::{PackStore, source::PackSource},
};
use s3router_core::{
    Engine, Precision,
    device::DeviceChoice,
    model::{Backbone, Source},
};
use std::sync::Arc;

/// Loads the backbone and its packs.
///
/// # Errors
/// When the backbone cannot be found, read or put on the device, or the packs cannot be read.
pub fn load(config: &EngineConfig) -> anyhow::Result<Loaded> {
    let (engine, packs) = open(config)?;
    Ok(Loaded { transcribe: Box::new(move |batch| engine.transcribe(batch)), packs })
}

/// The engine and its packs, for commands that look at both.
///
/// # Errors
/// As [`load`].
pub fn open(config: &EngineConfig) -> anyhow::Result<(Arc<Engine>, PackStore)> {
    let device = config.device.parse::<DeviceChoice>().map_err(anyhow::Error::msg)?.open()?;
    let Ok(source) = config.backbone.parse::<Source>();
    // A GPU halves what it can; the CPU's answers stay those of f32.
    let precision = if device.is_cpu() { Precision::F32 } else { Precision::Auto };
    let engine = Arc::new(Engine::new(Backbone::load_packed(&source, &device, precision)?));
    let packs = match (&config.packs, source) {
        (Some(named), _) => named.clone(),
        (None, Source::Demo) => PackSource::Demo,
        (None, _) => {
            anyhow::ensure!(
                engine.backbone().own_head().is_some(),
                "this backbone has no head of its own: --packs names a folder of packs for it"
            );
            PackSource::Own
        }
    };
    let packs = PackStore::open(packs, Arc::clone(&engine))?;
    Ok((engine, packs))
}
