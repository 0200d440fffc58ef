//! Packs from elsewhere, each from a stand-in on loopback: what S3 and the Hugging Face hub answer to their clients.

use super::{fails_with, serve_with};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, Request},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use std::collections::HashMap;

/// Serves `routes` on loopback until the process ends.
fn stand_in(routes: Router) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, routes).await.unwrap();
        });
    });
    url
}

fn pack(lang: &str) -> Bytes {
    std::fs::read(format!("{}/../core/demo/packs/{lang}", env!("CARGO_MANIFEST_DIR"))).unwrap().into()
}

fn packs_of(url: &str) -> serde_json::Value {
    reqwest::blocking::get(format!("{url}/v1/packs")).unwrap().json().unwrap()
}

/// A bucket of two packs, one of them cut short, and what is no pack; only for who signs.
fn bucket() -> Router {
    let list = async |Query(query): Query<HashMap<String, String>>| {
        assert_eq!((query["list-type"].as_str(), query["prefix"].as_str()), ("2", "eleven/"));
        let object = |key: &str| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>1</Size></Contents>"
            )
        };
        let objects: String =
            ["eleven/README.md", "eleven/ru.safetensors", "eleven/tr.safetensors"].map(object).concat();
        format!(
            "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>"
        )
    };
    let object = async |Path(key): Path<String>| {
        let file = pack(key.strip_prefix("eleven/").unwrap());
        let bytes = if key.contains("ru") { file.slice(..5000) } else { file };
        ([(header::LAST_MODIFIED, "Thu, 01 Jan 2026 00:00:00 GMT"), (header::ETAG, "\"1\"")], bytes)
    };
    let signed = async |request: Request, next: Next| {
        let by = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or("");
        if !by.starts_with("AWS4-HMAC-SHA256 Credential=somebody/") {
            return StatusCode::FORBIDDEN.into_response();
        }
        next.run(request).await
    };
    Router::new()
        .route("/speech", get(list))
        .route("/speech/{*key}", get(object))
        .layer(middleware::from_fn(signed))
}

#[test]
fn packs_come_from_a_bucket_and_a_broken_one_is_quarantined() {
    let endpoint = stand_in(bucket());
    let keys = |id| {
        [
            ("AWS_ENDPOINT", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", id),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "eu-north-1"),
        ]
    };
    let server = serve_with(&["--packs", "s3://speech/eleven"], &keys("somebody"));
    let packs = packs_of(&server.1);
    assert_eq!(
        (packs["packs"][0]["language"].as_str(), packs["packs"][0]["state"].as_str()),
        (Some("tr"), Some("ready"))
    );
    assert_eq!(packs["packs"][1]["state"], "quarantined");

    let line =
        fails_with(&["serve", "--listen", "127.0.0.1:0", "--packs", "s3://speech/eleven"], &keys("else"));
    assert!(line.starts_with("error: ") && line.contains("s3://speech/eleven"), "{line}");
}

/// A repository of two packs; the client asks for one byte first, to learn size and commit.
fn hub() -> Router {
    let info = async || {
        Json(json!({
            "sha": "c0ffee",
            "siblings": [{ "rfilename": "README.md" }, { "rfilename": "tr.safetensors" }, { "rfilename": "nl.safetensors" }],
        }))
    };
    let file = async |Path(name): Path<String>, headers: HeaderMap| -> Response {
        let bytes = pack(&name);
        let range = headers.get(header::RANGE).map_or("0-", |r| &r.to_str().unwrap()["bytes=".len()..]);
        let (start, end) = range.split_once('-').unwrap();
        let start: usize = start.parse().unwrap();
        let end: usize = end.parse().map_or(bytes.len() - 1, |end: usize| end.min(bytes.len() - 1));
        let sent = bytes.slice(start..=end);
        let about = [
            (header::CONTENT_RANGE.as_str(), format!("bytes {start}-{end}/{}", bytes.len())),
            (header::ETAG.as_str(), format!("\"{name}\"")),
            ("x-repo-commit", "c0ffee".into()),
        ];
        (StatusCode::PARTIAL_CONTENT, about, sent).into_response()
    };
    Router::new()
        .route("/api/models/org/packs/revision/main", get(info))
        .route("/org/packs/resolve/main/{name}", get(file))
}

#[test]
fn packs_come_from_the_hub_and_from_its_cache_when_it_is_gone() {
    let cache = tempfile::tempdir().unwrap();
    let home = cache.path().to_str().unwrap();
    let languages = |endpoint: &str| {
        let server =
            serve_with(&["--packs", "hf:org/packs"], &[("HF_ENDPOINT", endpoint), ("HF_HOME", home)]);
        let packs = packs_of(&server.1);
        packs["packs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["language"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(languages(&stand_in(hub())), ["nl", "tr"]);
    assert_eq!(languages("http://127.0.0.1:9"), ["nl", "tr"], "nobody answers there: the cached packs serve");

    let empty = tempfile::tempdir().unwrap();
    let nowhere = [("HF_ENDPOINT", "http://127.0.0.1:9"), ("HF_HOME", empty.path().to_str().unwrap())];
    let line = fails_with(&["serve", "--listen", "127.0.0.1:0", "--packs", "hf:org/packs"], &nowhere);
    assert!(line.starts_with("error: ") && line.contains("hf:org/packs"), "{line}");
}
