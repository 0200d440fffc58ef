//! Whether the process lives, and whether it can work.

use crate::{app::App, error::Result};
use axum::{Json, extract::State};
use s3router_proto::{ErrorBody, Probe};
use std::sync::Arc;

/// The process lives. Says nothing of load: a busy server is not a sick one.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = Probe)))]
pub async fn livez() -> Json<Probe> {
    Json(Probe { status: "alive".into() })
}

/// A real warm-up transcription has succeeded, and the server is not leaving.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, body = Probe), (status = 503, body = ErrorBody, description = "loading, draining")))]
pub async fn readyz(State(app): State<Arc<App>>) -> Result<Json<Probe>> {
    app.lifecycle.check()?;
    Ok(Json(Probe { status: "ready".into() }))
}
