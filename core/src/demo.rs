//! The embedded demo: eleven packs and a clip of each language, inside the program.
//!
//! The backbone (`Source::Demo`) is a small XLS-R of our own, pretrained on synthetic speech: it shows the
//! machine, it does not transcribe people. `core/demo/README.md` has provenance and licences.

use crate::{Result, model::Backbone, packs::LoadedPack, packs::Packs};
use s3router_masks::open_bytes;

macro_rules! packs {
    ($($language:literal),*) => {
        [$(include_bytes!(concat!("../demo/packs/", $language, ".safetensors")).as_slice()),*]
    };
}

/// The packs as files at rest, by canonical id.
const PACKS: [&[u8]; 11] = packs!["en", "es", "fr", "it", "ky", "nl", "ru", "sv_SE", "tr", "tt", "zh_TW"];

/// Opens the eleven packs and binds them to the demo backbone.
///
/// # Errors
/// Another backbone than the demo's.
pub fn packs(backbone: &Backbone) -> Result<Packs> {
    let mut packs = Packs::default();
    for bytes in PACKS {
        packs.insert(LoadedPack::bind(open_bytes(bytes)?, backbone, 1)?);
    }
    Ok(packs)
}
