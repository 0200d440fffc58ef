//! Where packs and their backbone come from.

use anyhow::{Context, Result, anyhow, bail};
use s3router_core::model::{Backbone, Source};
use s3router_masks::{Error, Opened, Registry, language, open_bytes, open_path};
use std::path::{Path, PathBuf};

/// Which packs a command works on.
#[derive(Debug, clap::Args)]
pub(super) struct PackSource {
    /// Folder of packs (`<language>.safetensors`); the embedded demo's when left out.
    #[arg(long, env = "S3ROUTER_PACKS", value_name = "DIR")]
    pub(super) packs: Option<PathBuf>,
}

/// Which backbone they run on.
#[derive(Debug, clap::Args)]
pub(super) struct BackboneSource {
    /// `demo` (inside the program), a Hugging Face directory, a checkpoint file, or hf:ORG/NAME.
    #[arg(long, env = "S3ROUTER_BACKBONE", value_name = "demo|DIR|FILE|hf:ORG/NAME", default_value = "demo")]
    pub(super) backbone: Source,
}

/// A sound pack and the place it came from.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) origin: String,
    pub(super) opened: Opened,
}

impl Found {
    pub(super) fn language(&self) -> &str {
        &self.opened.pack.meta.language
    }
}

/// A file that is no sound pack.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) origin: String,
    pub(super) reason: Error,
}

/// Sound and broken packs, in a fixed order.
#[derive(Debug, Default)]
pub(super) struct Packs {
    pub(super) sound: Vec<Found>,
    pub(super) broken: Vec<Broken>,
}

impl PackSource {
    pub(super) fn open(&self) -> Result<Packs> {
        let mut packs = Packs::default();
        let Some(folder) = &self.packs else {
            for bytes in s3router_core::demo::PACKS {
                packs.sound.push(Found { origin: "embedded demo".into(), opened: open_bytes(bytes)? });
            }
            return Ok(packs);
        };
        let registry = Registry::open(folder)?;
        let show = |path: &Path| path.display().to_string();
        packs.sound = registry
            .packs
            .into_iter()
            .map(|entry| Found { origin: show(&entry.path), opened: entry.opened })
            .collect();
        packs.broken = registry
            .quarantined
            .into_iter()
            .map(|file| Broken { origin: show(&file.path), reason: file.reason })
            .collect();
        if packs.sound.is_empty() && packs.broken.is_empty() {
            bail!("{}: no *.safetensors file here", folder.display());
        }
        Ok(packs)
    }

    /// The pack of a file or, failing that, of a language.
    pub(super) fn open_one(&self, file_or_language: &str) -> Result<Found> {
        let path = Path::new(file_or_language);
        if path.extension().is_some() || path.exists() {
            return Ok(Found { origin: file_or_language.into(), opened: open_path(path)? });
        }
        let mut sound = self.open()?.sound;
        let index = position(&sound, file_or_language)?;
        Ok(sound.swap_remove(index))
    }
}

impl BackboneSource {
    pub(super) fn load(&self) -> Result<Backbone> {
        Backbone::load(&self.backbone, &candle_core::Device::Cpu)
            .with_context(|| format!("backbone `{}`", self.backbone))
    }
}

/// The index of the pack that answers to `asked`.
pub(super) fn position(packs: &[Found], asked: &str) -> Result<usize> {
    let names: Vec<_> = packs
        .iter()
        .map(|p| language::Names { id: p.language(), aliases: &p.opened.pack.meta.aliases })
        .collect();
    language::resolve(asked, &names).map_err(|unknown| {
        let available: Vec<_> = names.iter().map(|n| n.id).collect();
        let suggestion = unknown.suggestion.map_or(String::new(), |id| format!("; did you mean `{id}`?"));
        anyhow!("no pack for language `{asked}`: there is {}{suggestion}", available.join(", "))
    })
}
