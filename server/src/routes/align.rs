//! `POST /align`.

use crate::{
    app::App,
    error::{ApiError, Errors, Result},
    intake::{
        align::{Ask, Parameters},
        audio,
        upload::{self, Upload},
        values::Pairs,
    },
    middleware::request::Trace,
    routes::transcribe::{AudioForm, lease},
    schedule::Permit,
    tongue::{Spoken, Tongue, pack_ref},
    transcription::{compute, decode, timing, within},
};
use axum::{
    Extension, Json,
    body::{Body, Bytes},
    extract::{Query, State},
    http::HeaderMap,
};
use s3router_core::{
    Cancel, Utterance, audio::Channels, decode::Word, engine::Emissions, packs::LoadedPack, reading::Aligned,
};
use s3router_proto::{AlignedCharacter, AlignedWord, Alignment, ErrorKind};
use std::{sync::Arc, time::Instant};

/// Lays a known text over its audio: when each word and each character is said.
///
/// `text` may be a field of the form. What was not said is aligned all the same, with a confidence near 0.
#[utoipa::path(post, path = "/align", tag = "transcription", params(Parameters, audio::Parameters),
    request_body(content((Vec<u8> = "application/octet-stream"), (AudioForm = "multipart/form-data"))),
    responses((status = 200, body = Alignment), Errors), security((), ("key" = [])))]
pub async fn align(
    State(app): State<Arc<App>>,
    Extension(trace): Extension<Trace>,
    Query(pairs): Query<Pairs>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Alignment>> {
    let understand = |pairs: &Pairs| {
        let ask = Ask::parse(pairs)?;
        let tongue = lease(&app, &trace, &Spoken::Named(ask.lang.clone()))?;
        Ok((ask, tongue))
    };
    let Upload { working: _working, asked: (ask, tongue), audio } =
        upload::receive(&app, &trace, pairs, &headers, body, understand).await?;
    let deadline = ask.deadline;
    within(&app, &trace, deadline, work(&app, &trace, ask, &tongue, audio)).await.map(Json)
}

async fn work(app: &App, trace: &Trace, ask: Ask, tongue: &Tongue, audio: Bytes) -> Result<Alignment> {
    let upload = trace.begun().elapsed();
    let permit = app.scheduler.admit(&trace.tenant())?;
    let [pack] = tongue.candidates() else {
        return Err(ApiError::internal("more than one pack"));
    };
    trace.enter("decode");
    let begun = Instant::now();
    let samples = decode(app, audio, ask.raw, Channels::Mix).await?.pop().unwrap_or_default();
    let decoded = begun.elapsed();
    trace.enter("engine");
    let done = app.scheduler.submit(Utterance::for_emissions(samples, pack), permit.clone()).await?;
    let begun = Instant::now();
    let (queue, mut infer, duration) = (done.queue, done.infer, done.transcript.seconds);
    let aligned = lay(app, pack, done.transcript.emissions.unwrap_or_default(), ask.text, permit).await?;
    infer += begun.elapsed();
    let timing = timing(upload, decoded, queue, infer, trace.begun().elapsed(), duration);
    trace.took(timing);
    Ok(Alignment {
        lang: pack.meta.language.clone(),
        duration,
        score: aligned.score,
        words: aligned.words.into_iter().map(word).collect(),
        request_id: trace.id().into(),
        pack: pack_ref(pack),
        timing,
    })
}

async fn lay(
    app: &App,
    pack: &Arc<LoadedPack>,
    emissions: Emissions,
    text: String,
    permit: Permit,
) -> Result<Aligned> {
    let pack = Arc::clone(pack);
    let lay = move |cancel: &Cancel| {
        // As of a search: in use for as long as there is work.
        let _permit = permit;
        pack.align(&emissions, &text, cancel)
    };
    let of_the_text = |e: ApiError| match e.kind {
        ErrorKind::InvalidRequest => ApiError { param: Some("text".into()), ..e },
        _ => e,
    };
    compute(app, "align", lay).await.map_err(of_the_text)
}

fn word((whole, characters): (Word, Vec<Word>)) -> AlignedWord {
    let character = |c: Word| AlignedCharacter {
        character: c.word,
        start: c.start,
        end: c.end,
        confidence: c.confidence,
    };
    AlignedWord {
        word: whole.word,
        start: whole.start,
        end: whole.end,
        confidence: whole.confidence,
        characters: characters.into_iter().map(character).collect(),
    }
}
