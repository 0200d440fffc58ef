//! The answer of `/transcribe`, in all five formats.

use super::{Heard, cues::segments, mean, subtitles};
use crate::intake::query::{Ask, Format};
use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use s3router_core::reading::Candidate;
use s3router_proto::{Alternative, Answer, Channel, Timing};

/// The proof where the body is not JSON: `tr; generation=1; sha256=…`.
const PACK: HeaderName = HeaderName::from_static("x-s3router-pack");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Body and headers.
pub fn render(heard: &Heard, ask: &Ask, request_id: &str) -> Response {
    let kind = match ask.format {
        Format::Json | Format::VerboseJson => "application/json",
        Format::Text => "text/plain; charset=utf-8",
        Format::Srt => "application/x-subrip; charset=utf-8",
        Format::Vtt => "text/vtt; charset=utf-8",
    };
    let body = body(heard, ask.format, ask.words, ask.decoding.alternatives, request_id);
    with_proof(([(header::CONTENT_TYPE, kind)], body).into_response(), heard)
}

/// The body alone, as the command line prints it too.
pub fn body(heard: &Heard, format: Format, words: bool, alternatives: usize, request_id: &str) -> String {
    match format {
        Format::Json | Format::VerboseJson => {
            let answer = answer(heard, format == Format::VerboseJson, words, alternatives, request_id);
            serde_json::to_string(&answer).unwrap_or_default()
        }
        Format::Text => heard.text() + "\n",
        Format::Srt => subtitles::srt(&segments(&heard.words(), heard.space)),
        Format::Vtt => subtitles::vtt(&segments(&heard.words(), heard.space)),
    }
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

fn answer(heard: &Heard, verbose: bool, listed: bool, alternatives: usize, request_id: &str) -> Answer {
    let words = heard.words();
    Answer {
        text: heard.text(),
        lang: heard.lang.clone(),
        duration: heard.duration,
        request_id: request_id.into(),
        pack: heard.pack.clone(),
        segments: verbose.then(|| segments(&words, heard.space)),
        words: listed.then_some(words),
        channels: heard.split.then(|| {
            let texts = heard.channels.iter().map(|c| c.text.clone());
            texts.enumerate().map(|(channel, text)| Channel { channel, text }).collect()
        }),
        alternatives: (alternatives > 0).then(|| self::alternatives(heard, alternatives)),
        languages: heard.languages.clone(),
        timing: heard.timing,
    }
}

/// The readings, best first; greedy decoding has the one.
pub(crate) fn alternatives(heard: &Heard, most: usize) -> Vec<Alternative> {
    if heard.readings.is_empty() {
        return vec![Alternative { text: heard.text(), confidence: heard.confidence(), score: None }];
    }
    heard.readings.iter().take(most).map(reading).collect()
}

/// One of several readings, as it is sent.
pub(crate) fn reading(candidate: &Candidate) -> Alternative {
    Alternative {
        text: candidate.text.clone(),
        confidence: mean(candidate.words.iter().map(|w| w.confidence)),
        score: Some(candidate.score),
    }
}

fn server_timing(t: &Timing) -> String {
    format!(
        "upload;dur={}, decode;dur={}, queue;dur={}, infer;dur={}, total;dur={}",
        t.upload_ms, t.decode_ms, t.queue_ms, t.infer_ms, t.total_ms
    )
}
