//! OpenAI's forms of an answer.

use super::{Heard, cues, native, subtitles};
use crate::intake::{openai::Ask, query::Format};
use axum::{
    Json,
    http::header,
    response::{IntoResponse, Response},
};
use s3router_proto::{
    self as proto,
    openai::{Segment, Transcription, TranscriptionVerbose, Usage, Word},
};
use serde_json::json;

/// Body and headers; the proof is in the headers, because OpenAI's bodies have no place for it.
pub fn render(heard: &Heard, ask: &Ask) -> Response {
    let words = heard.words();
    let segments = cues::segments(&words, heard.space);
    let body = |kind: &'static str, body: String| ([(header::CONTENT_TYPE, kind)], body).into_response();
    let response = match ask.format {
        Format::Json | Format::Text if ask.stream => body("text/event-stream", events(heard, &segments)),
        Format::Json => Json(Transcription { text: heard.text(), usage: usage(heard) }).into_response(),
        Format::VerboseJson => Json(verbose(heard, ask, &words, &segments)).into_response(),
        Format::Text => body("text/plain; charset=utf-8", heard.text() + "\n"),
        Format::Srt => body("text/plain; charset=utf-8", subtitles::srt(&segments)),
        Format::Vtt => body("text/vtt; charset=utf-8", subtitles::vtt(&segments)),
    };
    native::with_proof(response, heard)
}

/// One delta a segment, then the whole; the deltas joined are the text.
fn events(heard: &Heard, segments: &[proto::Segment]) -> String {
    let deltas = segments.iter().enumerate().map(|(i, s)| {
        let space = if i == 0 { "" } else { heard.space };
        json!({"type": "transcript.text.delta", "delta": format!("{space}{}", s.text)})
    });
    let done = json!({"type": "transcript.text.done", "text": heard.text(), "usage": usage(heard)});
    deltas.chain([done]).map(|event| format!("data: {event}\n\n")).collect()
}

fn verbose(
    heard: &Heard,
    ask: &Ask,
    words: &[proto::Word],
    segments: &[proto::Segment],
) -> TranscriptionVerbose {
    let word = |w: &proto::Word| Word { word: w.word.clone(), start: w.start, end: w.end };
    TranscriptionVerbose {
        task: "transcribe".into(),
        language: heard.lang.clone(),
        duration: heard.duration,
        text: heard.text(),
        words: ask.words.then(|| words.iter().map(word).collect()),
        segments: ask.segments.then(|| segments.iter().map(segment).collect()),
        usage: usage(heard),
    }
}

fn segment(s: &proto::Segment) -> Segment {
    Segment {
        id: s.id,
        seek: 0,
        start: s.start,
        end: s.end,
        text: s.text.clone(),
        tokens: Vec::new(),
        temperature: 0.0,
        avg_logprob: f64::from(s.confidence.max(f32::MIN_POSITIVE)).ln(),
        compression_ratio: 1.0,
        no_speech_prob: 0.0,
    }
}

fn usage(heard: &Heard) -> Usage {
    Usage { r#type: "duration".into(), seconds: heard.duration.ceil() as u64 }
}
