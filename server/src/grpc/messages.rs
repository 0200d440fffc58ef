//! Our answers in gRPC's messages, and the other way round.

use crate::{
    error::{ApiError, Result},
    intake::{decoding::Decoding, values::Values},
    render::{Heard, native},
};
use s3router_core::audio::RawFormat;
use s3router_proto as proto;
use s3router_proto::grpc;

/// How headerless bytes are to be read; `None` for containers.
pub(super) fn raw(format: Option<&grpc::RawFormat>) -> Result<Option<RawFormat>> {
    let Some(format) = format else { return Ok(None) };
    let mut pairs = vec![
        ("encoding".to_owned(), format.encoding.clone()),
        ("rate".to_owned(), format.sample_rate.to_string()),
    ];
    if format.channel_count != 0 {
        pairs.push(("channel_count".into(), format.channel_count.to_string()));
    }
    Values::of_ours(&pairs).raw()
}

/// How text is wanted.
pub(super) fn decoding(config: &grpc::RecognitionConfig) -> Result<Decoding> {
    Decoding::from_fields(&config.decoder, &config.keyterms, config.boost, config.alternatives as usize)
}

/// The config that a call cannot do without.
pub(super) fn needed(config: Option<grpc::RecognitionConfig>) -> Result<grpc::RecognitionConfig> {
    match config {
        Some(config) if !config.language.is_empty() => Ok(config),
        _ => Err(ApiError::invalid(
            "language",
            "`config.language` is missing: say which language; ListPacks has them",
        )),
    }
}

pub(super) fn pack_ref(pack: proto::PackRef) -> grpc::PackRef {
    grpc::PackRef { id: pack.id, generation: pack.generation, sha256: pack.sha256 }
}

pub(super) fn word(word: proto::Word) -> grpc::Word {
    grpc::Word { word: word.word, start: word.start, end: word.end, confidence: word.confidence }
}

pub(super) fn timing(timing: proto::Timing) -> grpc::Timing {
    grpc::Timing {
        decode_ms: timing.decode_ms,
        queue_ms: timing.queue_ms,
        infer_ms: timing.infer_ms,
        total_ms: timing.total_ms,
        rtfx: timing.rtfx,
    }
}

pub(super) fn recognized(heard: Heard, alternatives: usize, request_id: &str) -> grpc::RecognizeResponse {
    let words = heard.words();
    let listed = if alternatives > 0 { native::alternatives(&heard, alternatives) } else { Vec::new() };
    grpc::RecognizeResponse {
        text: heard.text(),
        language: heard.lang,
        duration: heard.duration,
        request_id: request_id.into(),
        pack: Some(pack_ref(heard.pack)),
        words: words.into_iter().map(word).collect(),
        alternatives: listed.into_iter().map(alternative).collect(),
        timing: Some(timing(heard.timing)),
        languages: heard.languages.unwrap_or_default().into_iter().map(language).collect(),
    }
}

pub(super) fn alternative(a: proto::Alternative) -> grpc::Alternative {
    grpc::Alternative { text: a.text, confidence: a.confidence, score: a.score.unwrap_or_default() }
}

pub(super) fn language(score: proto::LanguageScore) -> grpc::LanguageScore {
    grpc::LanguageScore { language: score.lang, score: score.score, pack: Some(pack_ref(score.pack)) }
}

pub(super) fn pack(pack: proto::Pack) -> grpc::Pack {
    let state = match pack.state {
        proto::PackState::Ready => grpc::PackState::Ready,
        proto::PackState::Quarantined => grpc::PackState::Quarantined,
    };
    grpc::Pack {
        language: pack.language,
        state: state.into(),
        reason: pack.reason.unwrap_or_default(),
        aliases: pack.aliases,
        kind: pack.kind.unwrap_or_default(),
        generation: pack.generation.unwrap_or_default(),
        sha256: pack.sha256.unwrap_or_default(),
        density: pack.density.unwrap_or_default(),
        covers: pack.covers.unwrap_or_default(),
        vocab_size: pack.vocab_size.unwrap_or_default() as u32,
        bytes: pack.bytes.unwrap_or_default(),
    }
}
