//! The page at `/`: a few small files inside the program, nothing from elsewhere.

use crate::error::{ApiError, Result};
use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
};
use s3router_proto::ErrorKind;

macro_rules! files {
    ($($name:literal as $kind:literal),*) => {
        [$(($name, $kind, include_bytes!(concat!("../page/", $name)).as_slice())),*]
    };
}

/// Name, type, content.
const FILES: [(&str, &str, &[u8]); 8] = files![
    "index.html" as "text/html; charset=utf-8",
    "style.css" as "text/css; charset=utf-8",
    "icon.svg" as "image/svg+xml",
    "app.js" as "text/javascript; charset=utf-8",
    "live.js" as "text/javascript; charset=utf-8",
    "subtitles.js" as "text/javascript; charset=utf-8",
    "wave.js" as "text/javascript; charset=utf-8",
    "worklet.js" as "text/javascript; charset=utf-8"
];

/// Only what this server serves may be loaded, and nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src blob:; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page.
pub async fn index() -> Result<Response> {
    serve("index.html")
}

/// Its style, scripts and icon.
pub async fn asset(Path(name): Path<String>) -> Result<Response> {
    serve(&name)
}

fn serve(asked: &str) -> Result<Response> {
    let Some((_, kind, content)) = FILES.iter().find(|(name, ..)| *name == asked) else {
        return Err(ApiError::new(ErrorKind::NotFound, format!("the page has no file {asked}")));
    };
    let headers = [
        (header::CONTENT_TYPE, *kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // A new server may bring new files.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, *content).into_response())
}
