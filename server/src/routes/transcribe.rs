//! `POST /transcribe`.

use crate::{
    app::App,
    error::{Errors, Result},
    intake::{
        audio, decoding,
        query::{Ask, Parameters},
        upload::{self, Upload},
        values::Pairs,
    },
    middleware::request::Trace,
    render::native,
    tongue::{Spoken, Tongue},
    transcription::{self, Wish},
};
use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Query, State},
    http::HeaderMap,
    response::Response,
};
use s3router_proto::Answer;
use std::sync::Arc;

/// Transcribes one clip.
///
/// The body is the audio itself in any common container (told by its content, never by its name or type),
/// or `multipart/form-data` with the audio as `file`; form fields are parameters too.
#[utoipa::path(post, path = "/transcribe", tag = "transcription", params(Parameters, decoding::Parameters, audio::Parameters),
    request_body(content((Vec<u8> = "application/octet-stream"), (AudioForm = "multipart/form-data"))),
    responses((status = 200, content((Answer = "application/json"), (String = "text/plain"),
        (String = "application/x-subrip"), (String = "text/vtt")),
        description = "What was said, and which pack heard it",
        headers(("x-s3router-pack" = String, description = "Id, generation and SHA-256 of the pack"),
                ("server-timing" = String, description = "Milliseconds of each stage"))), Errors),
    security((), ("key" = [])))]
pub async fn transcribe(
    State(app): State<Arc<App>>,
    Extension(trace): Extension<Trace>,
    Query(pairs): Query<Pairs>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let understand = |pairs: &Pairs| {
        let ask = Ask::parse(pairs)?;
        let tongue = lease(&app, &trace, &ask.spoken)?;
        // A key term that cannot be spelled is refused before the audio is sent.
        ask.decoding.check(&tongue)?;
        Ok((ask, tongue))
    };
    let Upload { working: _working, asked: (ask, tongue), audio } =
        upload::receive(&app, &trace, pairs, &headers, body, understand).await?;
    let wish = Wish {
        audio,
        tongue,
        decoding: ask.decoding.clone(),
        raw: ask.raw,
        channels: ask.channels,
        deadline: ask.deadline,
    };
    let heard = transcription::transcribe(&app, &trace, wish).await?;
    Ok(native::render(&heard, &ask, trace.id()))
}

/// The lease on what a request speaks, made known to its log line where it is known already.
pub(crate) fn lease(app: &App, trace: &Trace, spoken: &Spoken) -> Result<Tongue> {
    let tongue = spoken.lease(&*app.packs()?)?;
    if let Tongue::Known(pack) = &tongue {
        trace.speaks(&pack.meta.language);
    }
    Ok(tongue)
}

/// The form of a multipart upload.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct AudioForm {
    /// The audio.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    file: Bytes,
}
