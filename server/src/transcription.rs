//! The one way from a body to words, shared by every dialect.

use crate::{
    app::App,
    error::{ApiError, Result},
    middleware::request::Trace,
    render::Heard,
    schedule::job::{Done, Permit},
};
use axum::body::Bytes;
use futures_util::future::try_join_all;
use s3router_core::{
    Utterance,
    audio::{self, Channels, RawFormat},
    packs::LoadedPack,
};
use s3router_proto::{ErrorKind, PackRef, Timing};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What shall be transcribed, and how.
#[derive(Debug)]
pub struct Wish {
    /// The bytes as they came.
    pub audio: Bytes,
    /// The lease on the language's pack.
    pub pack: Arc<LoadedPack>,
    /// How headerless bytes are to be read.
    pub raw: Option<RawFormat>,
    /// What becomes of channels.
    pub channels: Channels,
    /// When to give up, counted from the head of the request; the server's own limit holds as well.
    pub deadline: Option<Duration>,
}

/// Admission, decoding, engine; the times ride along.
///
/// # Errors
/// 429 when there is no room, 504 past the deadline, and whatever is wrong with the audio.
pub async fn transcribe(app: &App, trace: &Trace, wish: Wish) -> Result<Heard> {
    let upload = trace.begun().elapsed();
    let permit = app.scheduler.admit()?;
    let own = app.config.limits.deadline.duration();
    let limit = wish.deadline.map_or(own, |asked| asked.min(own));
    let work = work(app, trace, wish, permit, upload);
    tokio::time::timeout_at((trace.begun() + limit).into(), work).await.map_err(|_| {
        ApiError::new(ErrorKind::DeadlineExceeded, format!("no transcript within {} ms", limit.as_millis()))
    })?
}

async fn work(app: &App, trace: &Trace, wish: Wish, permit: Permit, upload: Duration) -> Result<Heard> {
    let split = wish.channels == Channels::Split;
    let pack = Arc::clone(&wish.pack);
    trace.enter("decode");
    let begun = Instant::now();
    let channels = decode(app, wish).await?;
    let decode = begun.elapsed();

    trace.enter("engine");
    let jobs = channels.into_iter().map(|samples| {
        let utterance = Utterance { samples: samples.into(), pack: Arc::clone(&pack) };
        app.scheduler.submit(utterance, permit.clone())
    });
    let jobs: Vec<_> = jobs.collect();
    drop(permit);
    let done: Vec<Done> = try_join_all(jobs).await?;

    let heard = hear(&pack, done, split, |queue, infer, audio| {
        timing(upload, decode, queue, infer, trace.begun().elapsed(), audio)
    });
    trace.took(heard.timing);
    app.metrics.transcribed(&heard.lang, heard.channels.iter().map(|c| c.seconds).sum());
    Ok(heard)
}

/// Bytes → samples on a blocking thread, as many at a time as there are cores.
async fn decode(app: &App, wish: Wish) -> Result<Vec<Vec<f32>>> {
    let turn = Arc::clone(&app.decoders).acquire_owned().await.map_err(ApiError::internal)?;
    let limits = audio::Limits { max_seconds: app.config.limits.max_audio_seconds.get() };
    let decoded = tokio::task::spawn_blocking(move || {
        // Moved here: a client that leaves does not free a core that is still decoding.
        let _turn = turn;
        audio::decode(&wish.audio, wish.raw.as_ref(), wish.channels, &limits)
    });
    Ok(decoded.await.map_err(|e| ApiError::internal(format!("decoding panicked: {e}")))??)
}

fn hear(
    pack: &LoadedPack,
    done: Vec<Done>,
    split: bool,
    timing: impl FnOnce(Duration, Duration, f64) -> Timing,
) -> Heard {
    let longest = |pick: fn(&Done) -> Duration| done.iter().map(pick).max().unwrap_or_default();
    let (queue, infer) = (longest(|d| d.queue), longest(|d| d.infer));
    let duration = done.iter().map(|d| d.transcript.seconds).fold(0.0, f64::max);
    Heard {
        lang: pack.meta.language.clone(),
        pack: PackRef {
            id: pack.meta.language.clone(),
            generation: pack.generation,
            sha256: pack.sha256.clone(),
        },
        duration,
        channels: done.into_iter().map(|d| d.transcript).collect(),
        split,
        space: if pack.meta.word_separator.is_some() { " " } else { "" },
        timing: timing(queue, infer, duration),
    }
}

fn timing(
    upload: Duration,
    decode: Duration,
    queue: Duration,
    infer: Duration,
    total: Duration,
    audio: f64,
) -> Timing {
    // Microseconds are plenty, and keep the JSON short.
    let ms = |d: Duration| (d.as_secs_f64() * 1e6).round() / 1e3;
    let rtfx = (audio / total.as_secs_f64().max(1e-6) * 10.0).round() / 10.0;
    Timing {
        upload_ms: ms(upload),
        decode_ms: ms(decode),
        queue_ms: ms(queue),
        infer_ms: ms(infer),
        total_ms: ms(total),
        rtfx,
    }
}
