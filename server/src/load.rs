//! What an operator names → an engine with its packs.

use crate::{app::Loaded, config::EngineConfig};
use s3router_core::{
    Engine, Precision, demo,
    device::DeviceChoice,
    model::{Backbone, Source},
    packs::{LoadedPack, Packs},
};

/// Loads the backbone and its packs.
///
/// # Errors
/// When the backbone cannot be found, read or put on the device, or the folder of packs cannot be read.
pub fn load(config: &EngineConfig) -> anyhow::Result<Loaded> {
    let (backbone, packs) = open(config)?;
    Ok(Loaded::new(Engine::new(backbone), packs))
}

/// The backbone and its packs, for commands that need no engine.
///
/// # Errors
/// As [`load`].
pub fn open(config: &EngineConfig) -> anyhow::Result<(Backbone, Packs)> {
    let device = config.device.parse::<DeviceChoice>().map_err(anyhow::Error::msg)?.open()?;
    let Ok(source) = config.backbone.parse::<Source>();
    let backbone = Backbone::load_packed(&source, &device, Precision::F32)?;
    let packs = match &config.packs {
        Some(directory) => Packs::open(directory, &backbone)?,
        None if source == Source::Demo => demo::packs(&backbone)?,
        None => own(&backbone)?,
    };
    Ok((backbone, packs))
}

/// A fine-tuned checkpoint's own head, as a language with an open gate.
fn own(backbone: &Backbone) -> anyhow::Result<Packs> {
    let mut packs = Packs::default();
    if let Some(pack) = LoadedPack::own(backbone)? {
        packs.insert(pack);
    }
    anyhow::ensure!(
        !packs.is_empty(),
        "this backbone has no head of its own: --packs names a folder of packs for it"
    );
    Ok(packs)
}
