//! Who may ask: the address first, so that keys cannot be guessed quickly, then the key.

use super::{addresses::too_fast, request::Trace};
use crate::{
    app::App,
    error::{ApiError, Result},
    intake::body,
};
use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use s3router_proto::ErrorKind;
use std::sync::Arc;

/// Lets a request through when its address may ask now, and no key is asked for or it brings a right one.
///
/// # Errors
/// 401 without a key, with a wrong one, or for a foreign page's WebSocket; 429 when the address or the key asks too often.
pub async fn require_key(
    State(app): State<Arc<App>>,
    Extension(trace): Extension<Trace>,
    request: Request,
    next: Next,
) -> Result<Response> {
    if let Err(error) = check(&app, &trace, &request) {
        body::forget(request).await;
        return Err(error);
    }
    Ok(next.run(request).await)
}

fn check(app: &App, trace: &Trace, request: &Request) -> Result<()> {
    app.addresses.check(request)?;
    app.origins.check_socket(request)?;
    if app.keys.required() {
        let refuse = |why| Err(ApiError::new(ErrorKind::Unauthorized, why));
        let Some(key) = key(request.headers()) else {
            return refuse("no API key: send it as `Authorization: Bearer KEY`");
        };
        let Some(tenant) = app.keys.find(key) else { return refuse("this API key is not known here") };
        if let Some((limit, wait)) = tenant.too_fast() {
            return Err(too_fast("with this key", "its `per_minute` in the file of keys", limit, wait));
        }
        trace.belongs_to(tenant);
    }
    Ok(())
}

/// `Bearer` is OpenAI's and everybody's, `Token` Deepgram's. A browser cannot send headers with a WebSocket, so
/// that its key comes as a subprotocol.
pub(crate) fn key(headers: &HeaderMap) -> Option<&str> {
    let Some(header) = headers.get(header::AUTHORIZATION) else {
        return protocols(headers).find_map(|p| KEYS.iter().find_map(|prefix| p.strip_prefix(prefix)));
    };
    let (scheme, key) = header.to_str().ok()?.split_once(' ')?;
    let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
    known.then_some(key.trim())
}

/// Ours, and OpenAI's.
const KEYS: [&str; 2] = ["s3router.key.", "openai-insecure-api-key."];

/// The subprotocols that a WebSocket's client offers.
pub(crate) fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|p| !p.is_empty())
}

/// Whether a subprotocol is a key in disguise.
pub(crate) fn is_key(protocol: &str) -> bool {
    KEYS.iter().any(|prefix| protocol.starts_with(prefix))
}
