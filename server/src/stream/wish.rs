//! What a client asks of a stream, understood.

use super::Speech;
use crate::{
    app::App,
    error::{ApiError, Result},
    intake::{decoding::Decoding, values::Values},
    tongue::Spoken,
};
use s3router_core::{
    audio::{Encoding, RATE_HZ, RATES_HZ, RawFormat},
    stream::Settings,
};
use s3router_proto::stream::Start;
use std::time::Duration;

/// Names of what is told by its content anyway.
const CONTAINERS: [&str; 10] =
    ["wav", "ogg_opus", "opus_ogg", "webm_opus", "opus_webm", "ogg", "opus", "webm", "flac", "mp3"];

/// A stream as a session opens it.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What reads the first utterance: the lease on its pack, or on those it may be.
    pub speech: Speech,
    /// How logits become text.
    pub decoding: Decoding,
    /// How headerless audio is to be read; a container is told by its content.
    pub raw: Option<RawFormat>,
    /// Whether partials are wanted.
    pub interim: bool,
    /// Where utterances end.
    pub settings: Settings,
}

impl Wish {
    /// 16-bit PCM at 16 kHz, or a container; with partials.
    pub fn new(speech: Speech) -> Self {
        Self {
            speech,
            decoding: Decoding::default(),
            raw: None,
            interim: true,
            settings: Settings::default(),
        }
    }

    /// Reads the `start` message, or the query that says the same.
    ///
    /// # Errors
    /// 400 and 404 that name the field.
    pub fn read(start: &Start, app: &App) -> Result<Self> {
        let decoding = decoding(start)?;
        let languages = start.languages.clone().unwrap_or_default();
        let mut wish = Self::new(speech(start.lang.as_deref(), languages, &decoding, app)?);
        wish.decoding = decoding;
        wish.raw = encoding(start)?;
        wish.interim = start.interim.unwrap_or(true);
        if let Some(ms) = start.endpointing_ms {
            wish.settings.pause = pause("endpointing_ms", ms)?;
        }
        Ok(wish)
    }
}

/// What reads a language, or whichever of `languages` is spoken, and can spell what `decoding` expects.
///
/// # Errors
/// 400 without a name, or for key terms that cannot be spelled; 404 for a language that is not there.
pub(crate) fn speech(
    asked: Option<&str>,
    languages: Vec<String>,
    decoding: &Decoding,
    app: &App,
) -> Result<Speech> {
    let Some(lang) = asked.filter(|lang| !lang.is_empty()) else {
        let message = "`lang` is missing: say which language, or `auto`; GET /v1/packs lists them";
        return Err(ApiError::invalid("lang", message));
    };
    let tongue = Spoken::of(lang, languages)?.lease(&*app.packs()?)?;
    decoding.check(&tongue)?;
    Ok(tongue.into())
}

/// By the rules of `/transcribe`.
fn decoding(start: &Start) -> Result<Decoding> {
    let Start { alternatives, decoder, beam, keyterm, boost, lm_weight, .. } = start;
    let said = [
        ("alternatives", alternatives.map(|n| n.to_string())),
        ("decoder", decoder.clone()),
        ("beam", beam.map(|n| n.to_string())),
        ("boost", boost.map(|n| n.to_string())),
        ("lm_weight", lm_weight.map(|n| n.to_string())),
    ];
    let said = said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let terms = keyterm.iter().flatten().map(|term| ("keyterm".to_owned(), term.clone()));
    Decoding::of(&Values::of_ours(&said.chain(terms).collect::<Vec<_>>()))
}

/// The silence that ends an utterance; none for 0.
pub(crate) fn pause(name: &str, ms: u32) -> Result<Option<Duration>> {
    if ms > 10_000 {
        return Err(ApiError::invalid(name, format!("`{name}={ms}`: expected 0 to 10000 milliseconds")));
    }
    Ok((ms > 0).then(|| Duration::from_millis(ms.into())))
}

fn encoding(start: &Start) -> Result<Option<RawFormat>> {
    let named = start.encoding.as_deref().map(str::trim).map(str::to_ascii_lowercase);
    let encoding = match named.as_deref() {
        None if start.sample_rate.is_none() => return Ok(None),
        Some(name) if CONTAINERS.contains(&name) => return Ok(None),
        None => Encoding::PcmS16le,
        Some(name) => name.parse().map_err(|e: s3router_core::Error| {
            ApiError::invalid("encoding", format!("{e}, and the containers {}", CONTAINERS[..4].join(", ")))
        })?,
    };
    let rate_hz = start.sample_rate.unwrap_or(RATE_HZ);
    if !RATES_HZ.contains(&rate_hz) {
        let (least, most) = (RATES_HZ.start(), RATES_HZ.end());
        let message = format!("`sample_rate={rate_hz}`: expected {least} to {most} Hz");
        return Err(ApiError::invalid("sample_rate", message));
    }
    let channels = start.channel_count.unwrap_or(1);
    if !(1..=255).contains(&channels) {
        return Err(ApiError::invalid(
            "channel_count",
            format!("`channel_count={channels}`: expected 1 to 255"),
        ));
    }
    Ok(Some(RawFormat { encoding, rate_hz, channels }))
}
