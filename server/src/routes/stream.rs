//! The WebSockets: three dialects over one kind of session.

use crate::{
    app::App,
    error::{ApiError, Result},
    intake::{
        start,
        values::{Pairs, list},
    },
    middleware::{auth, request::Trace},
    stream::{
        Slot, asyncapi,
        native::Native,
        realtime::Realtime,
        socket::{self, Dialect, Link},
        vosk::Vosk,
    },
};
use axum::{
    Extension, Json,
    extract::{
        Query, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, header},
    response::Response,
};
use s3router_proto::stream::SUBPROTOCOL;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

type Upgrade = std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// `GET /transcribe/stream`: `s3router.v1`.
pub async fn native(
    State(app): State<Arc<App>>,
    Extension(trace): Extension<Trace>,
    Query(pairs): Query<Pairs>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response> {
    let offered = auth::protocols(&headers).filter(|p| !auth::is_key(p)).collect::<Vec<_>>();
    if !offered.is_empty() && !offered.contains(&SUBPROTOCOL) {
        let message =
            format!("no subprotocol of {} is spoken here: offer {SUBPROTOCOL}, or none", offered.join(", "));
        return Err(ApiError::invalid("Sec-WebSocket-Protocol", message));
    }
    open(app, &trace, upgrade?, &[SUBPROTOCOL], Native::new(start::parse(&pairs)))
}

/// What the query of `/v1/realtime` may say.
#[derive(Deserialize)]
pub struct RealtimeQuery {
    model: Option<String>,
    #[serde(alias = "lang")]
    language: Option<String>,
    #[serde(default)]
    languages: String,
}

/// `GET /v1/realtime`: OpenAI's transcription sessions.
pub async fn realtime(
    State(app): State<Arc<App>>,
    Extension(trace): Extension<Trace>,
    Query(query): Query<RealtimeQuery>,
    upgrade: Upgrade,
) -> Result<Response> {
    let dialect = Realtime::new(trace.id(), query.model, query.language, list(&query.languages));
    open(app, &trace, upgrade?, &["realtime"], dialect)
}

/// What the query of `/vosk` may say.
#[derive(Deserialize)]
pub struct VoskQuery {
    #[serde(alias = "language")]
    lang: Option<String>,
    #[serde(default)]
    languages: String,
}

/// `GET /vosk`: the dialect of the Vosk server.
pub async fn vosk(
    State(app): State<Arc<App>>,
    Extension(trace): Extension<Trace>,
    Query(query): Query<VoskQuery>,
    upgrade: Upgrade,
) -> Result<Response> {
    open(app, &trace, upgrade?, &[], Vosk::new(query.lang, list(&query.languages)))
}

/// `GET /asyncapi.json`.
pub async fn document() -> Json<Value> {
    Json(asyncapi::document())
}

/// What can be refused is refused before the upgrade, by an answer that every client can read.
fn open(
    app: Arc<App>,
    trace: &Trace,
    upgrade: WebSocketUpgrade,
    protocols: &'static [&'static str],
    dialect: impl Dialect + 'static,
) -> Result<Response> {
    let slot = Slot::take(&app, &trace.tenant())?;
    // Frames up to twice the limit are read and refused in words; the library breaks off at larger ones.
    let limit = app.config.limits.max_body_bytes.saturating_mul(2);
    let link = Link { app, request_id: trace.id().to_owned() };
    Ok(upgrade
        .protocols(protocols.iter().copied())
        .max_message_size(limit)
        .max_frame_size(limit)
        .on_upgrade(|socket| socket::serve(socket, dialect, link, slot)))
}

impl From<WebSocketUpgradeRejection> for ApiError {
    fn from(rejection: WebSocketUpgradeRejection) -> Self {
        let message =
            format!("this route is a WebSocket ({}): /asyncapi.json describes it", rejection.body_text());
        Self::invalid(header::UPGRADE.as_str(), message)
    }
}
