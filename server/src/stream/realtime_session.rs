//! The session object of `/v1/realtime`: defaults, updates, and what they mean for a stream.

use super::{
    Input, Speech, Wish,
    socket::Link,
    wish::{pause, speech},
};
use crate::{error::ApiError, intake::decoding::Decoding};
use s3router_core::audio::{Encoding, RATES_HZ, RawFormat};
use s3router_proto::realtime::{
    Audio, Format, Input as InputSession, InputUpdate, Session, SessionUpdate, Transcription, TurnDetection,
};
use std::time::Duration;

/// As a client finds it: 16-bit PCM at 24 kHz, turns by voice activity.
pub(super) fn new(id: &str, transcription: Transcription) -> Session {
    let input = InputSession {
        transcription,
        turn_detection: Some(TurnDetection::default()),
        ..InputSession::default()
    };
    Session {
        r#type: "transcription".into(),
        object: "realtime.transcription_session".into(),
        id: format!("sess_{id}"),
        audio: Audio { input },
    }
}

/// Applies an update whole or not at all; returns what a running stream must be told.
///
/// # Errors
/// 400 and 404 that name the field.
pub(super) fn update(
    session: &mut Session,
    update: SessionUpdate,
    running: bool,
    link: &Link,
) -> Result<Vec<Input>, ApiError> {
    let earlier = InputUpdate {
        format: update.input_audio_format.map(|name| format_named(&name)).transpose()?,
        transcription: update.input_audio_transcription,
        turn_detection: update.turn_detection,
    };
    let mut next = session.audio.input.clone();
    for change in update.audio.map(|audio| audio.input).into_iter().chain([earlier]) {
        if let Some(format) = change.format {
            if running && format != next.format {
                let message = "the format of the audio cannot change after the first append";
                return Err(ApiError::invalid("session.audio.input.format", message));
            }
            next.format = format;
        }
        if let Some(transcription) = change.transcription {
            next.transcription = transcription;
        }
        if let Some(turns) = change.turn_detection {
            next.turn_detection = turns;
        }
    }
    raw(&next.format)?;
    let pause = pause_of(&next)?;
    let changed = next.transcription != session.audio.input.transcription;
    let speech = changed.then(|| spoken(&next.transcription, link)).transpose()?;
    session.audio.input = next;
    let mut inputs = vec![Input::Pause(pause)];
    inputs.extend(speech.map(Input::Language));
    Ok(inputs)
}

/// The stream that the session describes.
///
/// # Errors
/// 400 and 404 that name the field.
pub(super) fn wish(session: &Session, link: &Link) -> Result<Wish, ApiError> {
    let input = &session.audio.input;
    let mut wish = Wish::new(spoken(&input.transcription, link)?);
    wish.raw = Some(raw(&input.format)?);
    wish.settings.pause = pause_of(input)?;
    if let Some(turns) = &input.turn_detection {
        wish.settings.threshold = turns.threshold.clamp(0.05, 0.95);
        wish.settings.lead = Duration::from_millis(turns.prefix_padding_ms.min(2_000).into());
    }
    Ok(wish)
}

/// What is named, by the language or by a model such as `s3router-tr`; else whatever is heard.
fn spoken(transcription: &Transcription, link: &Link) -> Result<Speech, ApiError> {
    let Transcription { model, language, languages } = transcription;
    let named = language.as_deref().filter(|lang| !lang.is_empty());
    let lang = named.or_else(|| model.as_deref()?.strip_prefix("s3router-")).unwrap_or("auto");
    // Candidates beside a language are its client's second thought; the language wins, as in the form.
    let among = if lang == "auto" { languages.clone() } else { Vec::new() };
    speech(Some(lang), among, &Decoding::default(), &link.app)
}

fn pause_of(input: &InputSession) -> Result<Option<Duration>, ApiError> {
    const NAME: &str = "session.audio.input.turn_detection";
    match &input.turn_detection {
        None => Ok(None),
        Some(turns) if turns.r#type == "server_vad" => {
            pause(&format!("{NAME}.silence_duration_ms"), turns.silence_duration_ms.max(1))
        }
        Some(turns) => {
            let message = format!("turn detection `{}` is not known: server_vad, or null", turns.r#type);
            Err(ApiError::invalid(NAME, message))
        }
    }
}

fn raw(format: &Format) -> Result<RawFormat, ApiError> {
    let (encoding, usual) = match format.r#type.as_str() {
        "audio/pcm" => (Encoding::PcmS16le, 24_000),
        "audio/pcmu" => (Encoding::Mulaw, 8_000),
        "audio/pcma" => (Encoding::Alaw, 8_000),
        other => {
            let message = format!("`{other}`: expected audio/pcm, audio/pcmu or audio/pcma");
            return Err(ApiError::invalid("session.audio.input.format", message));
        }
    };
    let rate_hz = format.rate.unwrap_or(usual);
    if !RATES_HZ.contains(&rate_hz) {
        let message = format!("a rate of {rate_hz} Hz: expected 8000 to 192000");
        return Err(ApiError::invalid("session.audio.input.format", message));
    }
    Ok(RawFormat { encoding, rate_hz, channels: 1 })
}

fn format_named(name: &str) -> Result<Format, ApiError> {
    let (r#type, rate) = match name {
        "pcm16" => ("audio/pcm", Some(24_000)),
        "g711_ulaw" => ("audio/pcmu", None),
        "g711_alaw" => ("audio/pcma", None),
        _ => {
            let message = format!("`{name}`: expected pcm16, g711_ulaw or g711_alaw");
            return Err(ApiError::invalid("session.input_audio_format", message));
        }
    };
    Ok(Format { r#type: r#type.into(), rate })
}
