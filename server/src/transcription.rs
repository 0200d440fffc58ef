//! The one way from a body to words, shared by every dialect.

use crate::{
    app::App,
    error::{ApiError, Result},
    intake::decoding::Decoding,
    middleware::request::Trace,
    render::Heard,
    schedule::{Permit, job::Done, queue},
    tongue::{Identified, Tongue, identify, pack_ref},
};
use axum::body::Bytes;
use futures_util::future::try_join_all;
use s3router_core::{
    self as core, Cancel, Utterance,
    audio::{self, Channels, RawFormat},
    packs::LoadedPack,
    reading::{Candidate, Reading},
};
use s3router_proto::{ErrorKind, Timing};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::Instrument;

/// What shall be transcribed, and how.
#[derive(Debug)]
pub struct Wish {
    /// The bytes as they came.
    pub audio: Bytes,
    /// The lease on the language's pack, or on those it may be.
    pub tongue: Tongue,
    /// How logits become text.
    pub decoding: Decoding,
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
    wish.decoding.check(&wish.tongue)?;
    let permit = app.scheduler.admit(&trace.tenant())?;
    within(app, trace, wish.deadline, work(app, trace, wish, permit, upload)).await
}

/// Holds work to the server's deadline, and to the request's own.
///
/// # Errors
/// 504 past either, and the work's own.
pub(crate) async fn within<T>(
    app: &App,
    trace: &Trace,
    asked: Option<Duration>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let own = app.config.limits.deadline.duration();
    let limit = asked.map_or(own, |asked| asked.min(own));
    tokio::time::timeout_at((trace.begun() + limit).into(), work).await.map_err(|_| {
        ApiError::new(ErrorKind::DeadlineExceeded, format!("no answer within {} ms", limit.as_millis()))
    })?
}

async fn work(app: &App, trace: &Trace, wish: Wish, permit: Permit, upload: Duration) -> Result<Heard> {
    let split = wish.channels == Channels::Split;
    trace.enter("decode");
    let begun = Instant::now();
    let channels = decode(app, wish.audio, wish.raw, wish.channels).await?;
    let decode = begun.elapsed();

    trace.enter("engine");
    let (pack, identified) = choose(app, &wish.tongue, &channels, &permit).await?;
    trace.speaks(&pack.meta.language);
    let reading = wish.decoding.reading(&pack)?;
    let hearing: Vec<_> = channels
        .into_iter()
        .map(|samples| hear(app, samples.into(), &pack, reading.as_ref(), permit.clone()))
        .collect();
    drop(permit);
    let (done, mut readings): (Vec<Done>, Vec<_>) = try_join_all(hearing).await?.into_iter().unzip();

    let longest = |pick: fn(&Done) -> Duration| done.iter().map(pick).max().unwrap_or_default();
    let (mut queue, mut infer) = (longest(|d| d.queue), longest(|d| d.infer));
    if let Some(identified) = &identified {
        (queue, infer) = (queue + identified.queue, infer + identified.infer);
    }
    let duration = done.iter().map(|d| d.transcript.seconds).fold(0.0, f64::max);
    let heard = Heard {
        lang: pack.meta.language.clone(),
        pack: pack_ref(&pack),
        duration,
        channels: done.into_iter().map(|d| d.transcript).collect(),
        split,
        space: if pack.meta.word_separator.is_some() { " " } else { "" },
        // There is but one channel where several readings are asked for.
        readings: readings.pop().unwrap_or_default(),
        languages: identified.map(|i| i.scores(crate::intake::identify::TOP)),
        timing: timing(upload, decode, queue, infer, trace.begun().elapsed(), duration),
    };
    trace.took(heard.timing);
    app.metrics.transcribed(&heard.lang, heard.channels.iter().map(|c| c.seconds).sum());
    Ok(heard)
}

/// A body of so many bytes (3 s in 16 bits at 16 kHz), of which each comes to a sample or two, is decoded in a fraction
/// of a millisecond: not worth two changes of thread.
const SHORT_BYTES: usize = 2 * 3 * audio::RATE_HZ as usize;

/// Bytes → samples, all but little on a blocking thread, as many at a time as there are cores.
pub(crate) async fn decode(
    app: &App,
    bytes: Bytes,
    raw: Option<RawFormat>,
    channels: Channels,
) -> Result<Vec<Vec<f32>>> {
    let limits = audio::Limits { max_seconds: app.config.limits.max_audio_seconds.get() };
    let short = bytes.len() <= SHORT_BYTES && audio::is_plain(&bytes, raw.as_ref());
    let work = move |cancel: &Cancel| audio::decode_until(&bytes, raw.as_ref(), channels, &limits, cancel);
    if short {
        let decoding = || queue::guarded("decoding", || work(&Cancel::default()));
        return Ok(tracing::info_span!("decode").in_scope(decoding)??);
    }
    compute(app, "decode", work).instrument(tracing::info_span!("decode")).await
}

/// Work that computes, on a blocking thread: a core's worth at a time for each core. It is told to stop when the
/// future that waits for it is dropped: client gone, or deadline passed.
///
/// # Errors
/// The work's own, and 500 for a panic.
pub(crate) async fn compute<T: Send + 'static>(
    app: &App,
    stage: &'static str,
    work: impl FnOnce(&Cancel) -> core::Result<T> + Send + 'static,
) -> Result<T> {
    let cancel = Cancel::default();
    let _leaving = cancel.on_leave();
    let turn = Arc::clone(&app.decoders).acquire_owned().await.map_err(ApiError::internal)?;
    let metrics = Arc::clone(&app.metrics);
    let computed = tokio::task::spawn_blocking(move || {
        // Moved here: a client that leaves does not free a core that is still computing.
        let _turn = turn;
        let outcome = work(&cancel);
        metrics.ended(stage, &outcome);
        outcome
    });
    Ok(computed.await.map_err(|e| ApiError::internal(format!("a computation panicked: {e}")))??)
}

/// The pack that is named, or the one whose language is heard in the loudest channel.
async fn choose(
    app: &App,
    tongue: &Tongue,
    channels: &[Vec<f32>],
    permit: &Permit,
) -> Result<(Arc<LoadedPack>, Option<Identified>)> {
    let packs = match tongue {
        Tongue::Known(pack) => return Ok((Arc::clone(pack), None)),
        Tongue::Among(packs) => packs,
    };
    let energy = |samples: &[f32]| samples.iter().map(|s| f64::from(s * s)).sum::<f64>();
    let loudest = channels.iter().max_by(|a, b| energy(a).total_cmp(&energy(b)));
    let samples = loudest.map_or(&[][..], Vec::as_slice);
    let identified = identify(app, samples, packs, permit).await?;
    let best = identified.ranked.first().map(|(pack, _)| Arc::clone(pack));
    Ok((best.ok_or_else(|| ApiError::internal("no candidate was ranked"))?, Some(identified)))
}

/// One channel, or one utterance of a stream, through the engine and, where more than the best path is wanted, through
/// the search; that counts as inference. With a search comes what it found, best first.
pub(crate) async fn hear(
    app: &App,
    samples: Arc<[f32]>,
    pack: &Arc<LoadedPack>,
    how: Option<&Reading>,
    permit: Permit,
) -> Result<(Done, Vec<Candidate>)> {
    let Some(how) = how.cloned() else {
        let done = app.scheduler.submit(Utterance::new(samples, pack), permit).await?;
        return Ok((done, Vec::new()));
    };
    let mut done = app.scheduler.submit(Utterance::for_emissions(samples, pack), permit.clone()).await?;
    let emissions = done.transcript.emissions.take().unwrap_or_default();
    let (pack, begun) = (Arc::clone(pack), Instant::now());
    let search = move |cancel: &Cancel| {
        // Room in the house is in use for as long as there is work, whoever waits for it.
        let _permit = permit;
        pack.read(&emissions, &how, cancel)
    };
    let readings = compute(app, "search", search).await?;
    if let Some(best) = readings.first() {
        (done.transcript.text, done.transcript.words) = (best.text.clone(), best.words.clone());
    }
    done.infer += begun.elapsed();
    Ok((done, readings))
}

/// Where the time went, rounded for the reader.
pub(crate) fn timing(
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
