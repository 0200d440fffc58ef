//! The answer of `/transcribe`, in all five formats.

use super::{Heard, cues::segments, subtitles};
use crate::intake::query::{Ask, Format};
use axum::{
    Json,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use s3router_proto::{Alternative, Answer, Channel, Timing};

/// The proof where the body is not JSON: `tr; generation=1; sha256=…`.
const PACK: HeaderName = HeaderName::from_static("x-s3router-pack");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Body and headers.
pub fn render(heard: &Heard, ask: &Ask, request_id: &str) -> Response {
    let text = |kind: &'static str, body: String| ([(header::CONTENT_TYPE, kind)], body).into_response();
    let response = match ask.format {
        Format::Json | Format::VerboseJson => Json(answer(heard, ask, request_id)).into_response(),
        Format::Text => text("text/plain; charset=utf-8", heard.text() + "\n"),
        Format::Srt => text(
            "application/x-subrip; charset=utf-8",
            subtitles::srt(&segments(&heard.words(), heard.space)),
        ),
        Format::Vtt => {
            text("text/vtt; charset=utf-8", subtitles::vtt(&segments(&heard.words(), heard.space)))
        }
    };
    with_proof(response, heard)
}

/// Adds which pack answered and where the time went, for any dialect.
pub fn with_proof(mut response: Response, heard: &Heard) -> Response {
    let pack = &heard.pack;
    let proof = format!("{}; generation={}; sha256={}", pack.id, pack.generation, pack.sha256);
    for (name, value) in [(PACK, proof), (SERVER_TIMING, server_timing(&heard.timing))] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn answer(heard: &Heard, ask: &Ask, request_id: &str) -> Answer {
    let words = heard.words();
    let verbose = ask.format == Format::VerboseJson;
    Answer {
        text: heard.text(),
        lang: heard.lang.clone(),
        duration: heard.duration,
        request_id: request_id.into(),
        pack: heard.pack.clone(),
        segments: verbose.then(|| segments(&words, heard.space)),
        words: ask.words.then_some(words),
        channels: heard.split.then(|| {
            let texts = heard.channels.iter().map(|c| c.text.clone());
            texts.enumerate().map(|(channel, text)| Channel { channel, text }).collect()
        }),
        alternatives: ask
            .alternatives
            .then(|| vec![Alternative { text: heard.text(), confidence: heard.confidence() }]),
        timing: heard.timing,
    }
}

fn server_timing(t: &Timing) -> String {
    format!(
        "upload;dur={}, decode;dur={}, queue;dur={}, infer;dur={}, total;dur={}",
        t.upload_ms, t.decode_ms, t.queue_ms, t.infer_ms, t.total_ms
    )
}
