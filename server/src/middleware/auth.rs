//! API keys, where the operator set some.

use crate::{
    app::App,
    error::{ApiError, Result},
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use s3router_proto::ErrorKind;
use std::sync::Arc;

/// Lets a request through when no key is asked for or it brings a right one.
///
/// # Errors
/// 401 without a key or with a wrong one.
pub async fn require_key(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response> {
    if app.keys.required() {
        let refuse = |why| Err(ApiError::new(ErrorKind::Unauthorized, why));
        match key(request.headers()) {
            None => return refuse("no API key: send it as `Authorization: Bearer KEY`"),
            Some(key) if !app.keys.contains(key) => return refuse("this API key is not known here"),
            Some(_) => {}
        }
    }
    Ok(next.run(request).await)
}

/// `Bearer` is OpenAI's and everybody's, `Token` Deepgram's.
pub(crate) fn key(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
    known.then_some(key.trim())
}
