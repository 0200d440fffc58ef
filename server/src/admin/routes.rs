//! Packs put, deleted and reloaded; the server drained.

use crate::{
    app::App,
    error::{ApiError, Errors, Result},
    intake::body::{self, Most},
    packs::condition::Condition,
    routes::packs::ready,
};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use s3router_proto::{ErrorKind, PackInstalled, Probe, Reloaded};
use std::sync::Arc;

/// Puts a pack into service: the body is its file.
///
/// Requests under way keep the generation they began with. With a folder of packs the file is written there
/// first, atomically. `If-Match: "3"` replaces generation 3 and nothing else, `If-None-Match: *` only adds.
#[utoipa::path(put, path = "/admin/packs/{lang}", tag = "admin",
    params(("lang" = String, Path, description = "Id of the language; the pack's own must agree"),
        ("If-Match" = Option<String>, Header, description = "The generation to replace, in quotes, or *"),
        ("If-None-Match" = Option<String>, Header, description = "* puts only what is not there yet")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = PackInstalled, description = "Replaced; `ETag` is the new generation"),
        (status = 201, body = PackInstalled, description = "New; `ETag` is its generation"), Errors),
    security(("key" = [])))]
pub async fn put_pack(
    State(app): State<Arc<App>>,
    Path(lang): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let most = Most { bytes: app.config.admin.max_pack_bytes, mend: "raise --max-pack-bytes" };
    let checked = may_change(&app, &lang, &headers);
    let (condition, bytes): (_, Bytes) =
        body::read_if_within(checked, &headers, body, &app.config.limits, most).await?;
    let installed = app.change_packs(move |store| store.put(&lang, &bytes, condition)).await?;
    let status = if installed.replaced { StatusCode::OK } else { StatusCode::CREATED };
    let tag = format!("\"{}\"", installed.pack.generation);
    let told = PackInstalled { pack: ready(&installed.pack), persisted: installed.persisted };
    Ok((status, [(header::ETAG, tag)], Json(told)).into_response())
}

/// Takes a language out of service, and its file out of the folder.
#[utoipa::path(delete, path = "/admin/packs/{lang}", tag = "admin",
    params(("lang" = String, Path, description = "Id of the language"),
        ("If-Match" = Option<String>, Header, description = "The generation to delete, in quotes, or *")),
    responses((status = 204, description = "Gone; requests under way finish with it"), Errors),
    security(("key" = [])))]
pub async fn delete_pack(
    State(app): State<Arc<App>>,
    Path(lang): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    let condition = Condition::of(&headers)?;
    app.change_packs(move |store| store.remove(&lang, condition)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the packs in service equal to their source again, as SIGHUP does.
#[utoipa::path(post, path = "/admin/reload", tag = "admin",
    responses((status = 200, body = Reloaded), Errors), security(("key" = [])))]
pub async fn reload(State(app): State<Arc<App>>) -> Result<Json<Reloaded>> {
    reload_packs(&app).await.map(Json)
}

/// Refuses new work and answers once all accepted work is done: what a `preStop` hook calls.
#[utoipa::path(post, path = "/admin/drain", tag = "admin",
    responses((status = 200, body = Probe, description = "drained"), Errors), security(("key" = [])))]
pub async fn drain(State(app): State<Arc<App>>) -> Result<Json<Probe>> {
    let patience = app.config.bind.shutdown_seconds;
    tracing::info!("draining: accepted requests have {patience} s to finish");
    tokio::time::timeout(patience.duration(), app.lifecycle.drain()).await.map_err(|_| {
        ApiError::new(
            ErrorKind::DeadlineExceeded,
            format!("accepted requests were not done after {patience} s; new ones stay refused"),
        )
    })?;
    Ok(Json(Probe { status: "drained".into() }))
}

/// The one way to reload, for the route and for SIGHUP.
pub(crate) async fn reload_packs(app: &Arc<App>) -> Result<Reloaded> {
    let told = app.change_packs(|store| {
        store.reload().map_err(|e| {
            tracing::error!("nothing was reloaded: {e:#}");
            ApiError::new(ErrorKind::Internal, format!("nothing was reloaded: {e:#}"))
        })
    });
    let told = told.await?;
    tracing::info!(?told, "packs reloaded");
    Ok(told)
}

/// What can be refused before a pack is sent.
fn may_change(app: &App, lang: &str, headers: &HeaderMap) -> Result<Condition> {
    let condition = Condition::of(headers)?;
    let packs = app.packs()?;
    condition.check(lang, packs.exact(lang).map(|p| p.generation))?;
    Ok(condition)
}
