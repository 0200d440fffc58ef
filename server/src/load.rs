//! What an operator names → an engine with its packs.

use crate::{app::Loaded, config::EngineConfig};
use anyhow::bail;

/// Loads the backbone and its packs.
///
/// # Errors
/// When the backbone cannot be found, read or put on the device.
pub fn load(config: &EngineConfig) -> anyhow::Result<Loaded> {
    bail!("backbone `{}`: loading is not wired yet", config.backbone)
}
