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
pub const PACKS: [&[u8]; 11] = packs!["en", "es", "fr", "it", "ky", "nl", "ru", "sv_SE", "tr", "tt", "zh_TW"];

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

/// A clip to show the machine with.
#[derive(Clone, Copy, Debug)]
pub struct Clip {
    /// Canonical id of its language.
    pub language: &'static str,
    /// Its file in `core/demo/clips/`.
    pub file: &'static str,
    /// The file itself, in one of seven containers.
    pub bytes: &'static [u8],
    /// What was said.
    pub reference: &'static str,
}

macro_rules! clips {
    ($($language:literal $file:literal $reference:literal)*) => {
        [$(Clip {
            language: $language,
            file: $file,
            bytes: include_bytes!(concat!("../demo/clips/", $file)),
            reference: $reference,
        }),*]
    };
}

/// One clip a language.
pub const CLIPS: [Clip; 11] = clips! {
    "en" "en.wav" "you could not have visited me she cried looking aghast"
    "es" "es.mp3" "vagaba cual siempre por su labio inquietante sonrisa"
    "fr" "fr.ogg" "elle en avait oublié de rentrer son sein"
    "it" "it.opus" "semplice no e tu cosa hai fatto questo fine settimana"
    "ky" "ky.flac" "буга кабатырланып жаткандыгын айтты деди момбеков"
    "nl" "nl.webm" "de supermarkten moeten hun winstmarges verkleinen"
    "ru" "ru.m4a" "на самом деле с двумя парнями очень тяжело одной находиться"
    "sv_SE" "sv_SE.mp3" "tack engström för du har inte sagt ett ord"
    "tr" "tr.wav" "bu sırada avucumun içinde sıcak bir yaşlık hissettim"
    "tt" "tt.opus" "нәфесне нигә өйрәтсәң шуны куар"
    "zh_TW" "zh_TW.flac" "釋出釋出"
};
