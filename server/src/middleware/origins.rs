//! Pages of other origins: kept out unless the operator lets them in.

use crate::error::{ApiError, Result};
use anyhow::Context;
use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, Method, Uri, header},
};
use s3router_proto::ErrorKind;
use std::time::Duration;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

/// Origins whose pages may use this server from a browser.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    every: bool,
    some: Vec<HeaderValue>,
}

impl Origins {
    /// # Errors
    /// Something that is no origin.
    pub(crate) fn new(named: &[String]) -> anyhow::Result<Self> {
        let mut origins = Self { every: named.iter().any(|o| o == "*"), some: Vec::new() };
        for origin in named.iter().filter(|o| *o != "*") {
            let wrong =
                || format!("--cors-origin `{origin}`: expected an origin such as https://app.example");
            let uri: Uri = origin.parse().with_context(wrong)?;
            let whole = uri.scheme().is_some() && uri.authority().is_some() && !origin.ends_with('/');
            anyhow::ensure!(whole && uri.path() == "/", wrong());
            origins.some.push(HeaderValue::from_str(origin).with_context(wrong)?);
        }
        Ok(origins)
    }

    /// Answers preflights and marks answers; nothing at all while no page is let in.
    pub(crate) fn layer(&self) -> Option<CorsLayer> {
        let origins = match (self.every, self.some.is_empty()) {
            (true, _) => AllowOrigin::from(Any),
            (false, true) => return None,
            (false, false) => AllowOrigin::list(self.some.clone()),
        };
        let ours = ["x-request-id", "x-s3router-pack", "server-timing", "retry-after"];
        Some(
            CorsLayer::new()
                .allow_origin(origins)
                .allow_methods([Method::GET, Method::POST])
                .allow_headers([
                    header::AUTHORIZATION,
                    header::CONTENT_TYPE,
                    HeaderName::from_static("x-request-id"),
                ])
                .expose_headers(ours.map(HeaderName::from_static))
                .max_age(Duration::from_secs(3600)),
        )
    }

    /// Browsers let any page open a WebSocket anywhere and leave it to the server to look at the origin.
    ///
    /// # Errors
    /// 401 for a WebSocket of a page that is neither ours nor let in.
    pub(crate) fn check_socket(&self, request: &Request) -> Result<()> {
        let headers = request.headers();
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        if !headers.contains_key(header::UPGRADE) || self.every || self.some.contains(origin) {
            return Ok(());
        }
        let page = origin.to_str().unwrap_or_default();
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        if page.split_once("://").map(|(_, authority)| authority) == host {
            return Ok(());
        }
        let message = format!("pages of {page} may not use this server: --cors-origin {page} lets them in");
        Err(ApiError::new(ErrorKind::Unauthorized, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn origins(named: &[&str]) -> anyhow::Result<Origins> {
        Origins::new(&named.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_socket_is_opened_for_our_own_pages_and_those_let_in() {
        let socket = |origin: &str| {
            let request = Request::builder().header("upgrade", "websocket").header("host", "here:8080");
            request.header("origin", origin).body(Body::empty()).unwrap()
        };
        let (closed, one, every) =
            (Origins::default(), origins(&["https://a.example"]).unwrap(), origins(&["*"]).unwrap());
        for (origin, verdicts) in [
            ("http://here:8080", [true, true, true]),
            ("https://a.example", [false, true, true]),
            ("https://evil.example", [false, false, true]),
            ("null", [false, false, true]),
        ] {
            let found = [&closed, &one, &every].map(|o| o.check_socket(&socket(origin)).is_ok());
            assert_eq!(found, verdicts, "{origin}");
        }
        let program = Request::builder().header("upgrade", "websocket").body(Body::empty()).unwrap();
        assert!(closed.check_socket(&program).is_ok(), "only browsers name an origin");
    }

    #[test]
    fn what_is_no_origin_is_refused_at_the_start() {
        for wrong in ["app.example", "https://app.example/", "https://app.example/page", "nonsense\n"] {
            assert!(origins(&[wrong]).unwrap_err().to_string().contains("--cors-origin"), "{wrong}");
        }
    }
}
