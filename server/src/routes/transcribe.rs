//! `POST /transcribe`.

use crate::{
    app::App,
    error::{Errors, Result},
    intake::{
        body, form,
        query::{Ask, Parameters},
    },
    middleware::request::Trace,
    render::native,
    transcription::{self, Wish},
};
use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Query, State},
    http::HeaderMap,
    response::Response,
};
use s3router_core::packs::LoadedPack;
use s3router_proto::Answer;
use std::sync::Arc;

/// What a query is before it is understood.
pub(crate) type Pairs = Vec<(String, String)>;

/// Transcribes one clip.
///
/// The body is the audio itself in any common container (told by its content, never by its name or type),
/// or `multipart/form-data` with the audio as `file`; form fields are parameters too.
#[utoipa::path(post, path = "/transcribe", tag = "transcription", params(Parameters),
    request_body(content((Vec<u8> = "application/octet-stream"), (Upload = "multipart/form-data"))),
    responses((status = 200, content((Answer = "application/json"), (String = "text/plain"),
        (String = "application/x-subrip"), (String = "text/vtt")),
        description = "What was said, and which pack heard it",
        headers(("x-s3router-pack" = String, description = "Id, generation and SHA-256 of the pack"),
                ("server-timing" = String, description = "Milliseconds of each stage"))), Errors),
    security((), ("key" = [])))]
pub async fn transcribe(
    State(app): State<Arc<App>>,
    Extension(trace): Extension<Trace>,
    Query(mut pairs): Query<Pairs>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let boundary = form::boundary(&headers);
    let checked = app.enter().and_then(|working| {
        let asked = if boundary.is_none() { Some(understand(&app, &trace, &pairs)?) } else { None };
        Ok((working, asked))
    });
    trace.enter("upload");
    let ((_working, asked), mut audio) = body::read_if(checked, &headers, body, &app.config.limits).await?;
    let (ask, pack) = match (asked, boundary.transpose()?) {
        (Some(asked), _) => asked,
        (None, boundary) => {
            let mut form = form::read(audio, boundary.unwrap_or_default()).await?;
            pairs.append(&mut form.fields);
            audio = form.audio()?;
            understand(&app, &trace, &pairs)?
        }
    };
    let wish = Wish { audio, pack, raw: ask.raw, channels: ask.channels, deadline: ask.deadline };
    let heard = transcription::transcribe(&app, &trace, wish).await?;
    Ok(native::render(&heard, &ask, trace.id()))
}

/// The parameters, and the lease on the pack they name.
fn understand(app: &App, trace: &Trace, pairs: &Pairs) -> Result<(Ask, Arc<LoadedPack>)> {
    let ask = Ask::parse(pairs)?;
    let pack = app.packs()?.get(&ask.lang)?;
    trace.speaks(&pack.meta.language);
    Ok((ask, pack))
}

/// The form of a multipart upload.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
struct Upload {
    /// The audio.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    file: Bytes,
}
