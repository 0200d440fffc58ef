//! OpenAI's routes, for the clients that people already have.

use crate::{
    app::App,
    error::{ApiError, Errors, Result},
    intake::{body, decoding::Decoding, form, openai::Ask},
    middleware::request::Trace,
    render::openai,
    routes::transcribe::lease,
    transcription::{self, Wish},
};
use axum::{
    Extension, Json,
    body::{Body, Bytes},
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use s3router_core::audio::Channels;
use s3router_proto::{
    ErrorKind,
    openai::{Model, ModelList, Transcription, TranscriptionVerbose},
};
use std::sync::Arc;

/// The languages as models: `s3router-tr` answers Turkish.
#[utoipa::path(get, path = "/v1/models", tag = "openai", responses((status = 200, body = ModelList), Errors),
    security((), ("key" = [])))]
pub async fn list_models(State(app): State<Arc<App>>) -> Result<Json<ModelList>> {
    let packs = app.packs()?;
    let languages = packs.iter().map(|p| format!("s3router-{}", p.meta.language));
    let data =
        std::iter::once("s3router".to_owned()).chain(languages).map(|id: String| model(&app, &id)).collect();
    Ok(Json(ModelList { object: "list".into(), data }))
}

/// One of them.
#[utoipa::path(get, path = "/v1/models/{model}", tag = "openai",
    params(("model" = String, Path, description = "`s3router`, or `s3router-tr`", example = "s3router-tr")),
    responses((status = 200, body = Model), Errors), security((), ("key" = [])))]
pub async fn get_model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Model>> {
    let packs = app.packs()?;
    match id.strip_prefix("s3router") {
        Some("") => Ok(Json(model(&app, "s3router"))),
        Some(rest) if rest.starts_with('-') => {
            let pack = packs.get(&rest[1..])?;
            Ok(Json(model(&app, &format!("s3router-{}", pack.meta.language))))
        }
        _ => Err(packs.get(&id).err().map_or_else(
            || {
                ApiError::new(
                    ErrorKind::LanguageNotFound,
                    format!("no model `{id}`; did you mean `s3router-{id}`?"),
                )
            },
            ApiError::from,
        )),
    }
}

fn model(app: &App, id: &str) -> Model {
    Model { id: id.into(), object: "model".into(), created: app.started, owned_by: "s3router".into() }
}

/// OpenAI's file transcription.
#[utoipa::path(post, path = "/v1/audio/transcriptions", tag = "openai",
    request_body(content = TranscriptionForm, content_type = "multipart/form-data"),
    responses((status = 200, content((Transcription = "application/json"), (TranscriptionVerbose = "application/json"),
        (String = "text/plain"), (String = "text/vtt"), (String = "text/event-stream")),
        description = "What was said, in the `response_format` asked for",
        headers(("x-s3router-pack" = String, description = "Id, generation and SHA-256 of the pack"))), Errors),
    security((), ("key" = [])))]
pub async fn create_transcription(
    State(app): State<Arc<App>>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    trace.enter("upload");
    let (_working, bytes) = body::read_if(app.enter(), &headers, body, &app.config.limits).await?;
    let boundary = form::boundary(&headers).unwrap_or_else(|| {
        Err(ApiError::new(
            ErrorKind::InvalidRequest,
            "expected multipart/form-data; POST /transcribe takes bare audio",
        ))
    })?;
    let form = form::read(bytes, boundary).await?;
    let ask = Ask::parse(&form.fields)?;
    let wish = Wish {
        tongue: lease(&app, &trace, &ask.spoken)?,
        audio: form.audio()?,
        decoding: Decoding::default(),
        raw: None,
        channels: Channels::Mix,
        deadline: None,
    };
    let heard = transcription::transcribe(&app, &trace, wish).await?;
    Ok(openai::render(&heard, &ask))
}

/// The form, as the document shows it.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
struct TranscriptionForm {
    /// The audio.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    file: Bytes,
    /// `s3router-<language>`; any other name leaves the choice to `language`.
    #[schema(example = "s3router-tr")]
    model: String,
    /// Wins over the language in `model`; with neither the language is heard.
    language: Option<String>,
    /// Where the language is to be heard: only these are considered.
    #[schema(rename = "languages[]")]
    languages: Option<Vec<String>>,
    /// `json`, `text`, `srt`, `verbose_json` or `vtt`.
    response_format: Option<String>,
    /// `word`, `segment`; needs `verbose_json`.
    #[schema(rename = "timestamp_granularities[]")]
    timestamp_granularities: Option<Vec<String>>,
    /// Server-sent events, for `json` and `text`.
    stream: Option<bool>,
}
