//! The closed list of errors, and the one envelope they travel in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Every way a request can fail, on every protocol. Nothing outside this list ever leaves the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// A parameter contradicts the contract; `param` names it.
    InvalidRequest,
    /// Audio without a single sample.
    EmptyAudio,
    /// No API key, or a wrong one.
    Unauthorized,
    /// No pack of that name; the message lists what there is and suggests the nearest.
    LanguageNotFound,
    /// No such route.
    NotFound,
    /// The route exists under another method.
    MethodNotAllowed,
    /// The body arrived too slowly.
    BodyTimeout,
    /// The pack was replaced meanwhile.
    GenerationMismatch,
    /// More bytes than allowed.
    PayloadTooLarge,
    /// More decoded seconds than allowed.
    AudioTooLong,
    /// No container or codec we know.
    UnsupportedMedia,
    /// A known container with broken content.
    UndecodableAudio,
    /// As many requests as allowed are in work already; try again after `Retry-After` seconds.
    QueueFull,
    /// Our mistake, not yours.
    Internal,
    /// The backbone is still loading.
    Loading,
    /// The server is shutting down.
    Draining,
    /// The deadline passed before the transcript was ready.
    DeadlineExceeded,
}

impl ErrorKind {
    /// The whole list, in the order of the contract.
    pub const ALL: [Self; 17] = [
        Self::InvalidRequest,
        Self::EmptyAudio,
        Self::Unauthorized,
        Self::LanguageNotFound,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BodyTimeout,
        Self::GenerationMismatch,
        Self::PayloadTooLarge,
        Self::AudioTooLong,
        Self::UnsupportedMedia,
        Self::UndecodableAudio,
        Self::QueueFull,
        Self::Internal,
        Self::Loading,
        Self::Draining,
        Self::DeadlineExceeded,
    ];

    /// The machine-readable name: `queue_full`.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::EmptyAudio => "empty_audio",
            Self::Unauthorized => "unauthorized",
            Self::LanguageNotFound => "language_not_found",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyTimeout => "body_timeout",
            Self::GenerationMismatch => "generation_mismatch",
            Self::PayloadTooLarge => "payload_too_large",
            Self::AudioTooLong => "audio_too_long",
            Self::UnsupportedMedia => "unsupported_media",
            Self::UndecodableAudio => "undecodable_audio",
            Self::QueueFull => "queue_full",
            Self::Internal => "internal",
            Self::Loading => "loading",
            Self::Draining => "draining",
            Self::DeadlineExceeded => "deadline_exceeded",
        }
    }

    /// The family, in the names OpenAI's clients know.
    pub fn family(self) -> &'static str {
        match self {
            Self::Unauthorized => "authentication_error",
            Self::QueueFull => "rate_limit_error",
            Self::Internal | Self::Loading | Self::Draining | Self::DeadlineExceeded => "server_error",
            _ => "invalid_request_error",
        }
    }
}

/// Every error answer, whatever went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
    /// Names this request in the server's log; equals the `x-request-id` header.
    pub request_id: String,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// One line for people: what, where, how to mend it.
    #[schema(example = "unknown parameter `langauge`; did you mean `language`?")]
    pub message: String,
    /// The family of the code, in the names OpenAI's clients know.
    #[schema(example = "invalid_request_error")]
    pub r#type: String,
    /// The parameter at fault, where one is.
    pub param: Option<String>,
    /// Which error of the closed list this is.
    pub code: ErrorKind,
    /// `queue_full`: requests in work at once, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub limit: Option<u64>,
    /// `queue_full`: requests in work now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub in_use: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_spelled_the_same_in_json_and_in_code() {
        for kind in ErrorKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.code());
        }
    }

    #[test]
    fn the_list_names_each_kind_once() {
        let mut all = ErrorKind::ALL.to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), ErrorKind::ALL.len());
    }
}
