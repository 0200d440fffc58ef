//! No server: an engine of one's own.

use super::{Heard, inputs::Input};
use crate::{
    config::{EngineConfig, Limits},
    intake::query::Format,
    load,
    render::{self, native},
};
use anyhow::{Context, Result};
use s3router_core::{
    Engine, Utterance,
    audio::{self, Channels, RawFormat},
    packs::{LoadedPack, Packs},
};
use s3router_proto::{PackRef, Timing};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// An engine and its packs.
pub(super) struct Ear {
    engine: Arc<Engine>,
    packs: Arc<Packs>,
}

impl Ear {
    /// Every language is looked up before any work: a misspelt one should not be found after an hour.
    pub(super) fn open(config: &EngineConfig, inputs: &[Input]) -> Result<Self> {
        load::threads(config.threads)?;
        let (engine, packs) = load::open(config)?;
        let packs = packs.now();
        for input in inputs {
            packs.get(&input.lang)?;
        }
        Ok(Self { engine, packs })
    }

    pub(super) fn hear(&self, input: &Input, raw: Option<&RawFormat>, format: Format) -> Heard {
        let heard = self.listen(&input.read()?, raw, &self.packs.get(&input.lang)?)?;
        let body = native::body(&heard, format, true, 0, &input.name());
        Ok(if matches!(format, Format::Json | Format::VerboseJson) { body + "\n" } else { body })
    }

    fn listen(&self, bytes: &[u8], raw: Option<&RawFormat>, pack: &Arc<LoadedPack>) -> Result<render::Heard> {
        let begun = Instant::now();
        let limits = audio::Limits { max_seconds: Limits::default().max_audio_seconds.get() };
        let samples =
            audio::decode(bytes, raw, Channels::Mix, &limits)?.into_iter().next().unwrap_or_default();
        let decode = begun.elapsed();
        let utterance = Utterance::new(samples, pack);
        let transcript =
            self.engine.transcribe(&[utterance]).pop().context("the engine gave no answer")??;
        let total = begun.elapsed();
        let ms = |d: Duration| (d.as_secs_f64() * 1e6).round() / 1e3;
        let rtfx = (transcript.seconds / total.as_secs_f64().max(1e-6) * 10.0).round() / 10.0;
        let meta = &pack.meta;
        Ok(render::Heard {
            lang: meta.language.clone(),
            pack: PackRef {
                id: meta.language.clone(),
                generation: pack.generation,
                sha256: pack.sha256.clone(),
            },
            duration: transcript.seconds,
            channels: vec![transcript],
            split: false,
            space: if meta.word_separator.is_some() { " " } else { "" },
            readings: Vec::new(),
            languages: None,
            timing: Timing {
                decode_ms: ms(decode),
                infer_ms: ms(total - decode),
                total_ms: ms(total),
                rtfx,
                ..Timing::default()
            },
        })
    }
}
