//! `POST /identify`.

use crate::{
    app::App,
    error::{Errors, Result},
    intake::{
        audio,
        identify::{Ask, Parameters},
        upload::{self, Upload},
        values::Pairs,
    },
    middleware::request::Trace,
    routes::transcribe::{AudioForm, lease},
    tongue::{Heeding, listen},
};
use axum::{
    Extension, Json,
    body::Body,
    extract::{Query, State},
    http::HeaderMap,
};
use s3router_proto::Identification;
use std::sync::Arc;

/// Says which language is spoken.
///
/// The first seconds are heard under every candidate's mask, as one mixed batch, and ranked by how well each reads
/// them. A heuristic: it always names one of the candidates, whatever is spoken.
#[utoipa::path(post, path = "/identify", tag = "transcription", params(Parameters, audio::Parameters),
    request_body(content((Vec<u8> = "application/octet-stream"), (AudioForm = "multipart/form-data"))),
    responses((status = 200, body = Identification), Errors), security((), ("key" = [])))]
pub async fn identify(
    State(app): State<Arc<App>>,
    Extension(trace): Extension<Trace>,
    Query(pairs): Query<Pairs>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Identification>> {
    let understand = |pairs: &Pairs| {
        let ask = Ask::parse(pairs)?;
        let tongue = lease(&app, &trace, &ask.spoken)?;
        Ok((ask, tongue))
    };
    let Upload { working: _working, asked: (ask, tongue), audio } =
        upload::receive(&app, &trace, pairs, &headers, body, understand).await?;
    let heeding = Heeding { audio, tongue, raw: ask.raw, top: ask.top, deadline: ask.deadline };
    Ok(Json(listen(&app, &trace, heeding).await?))
}
