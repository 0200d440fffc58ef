//! Where a failure becomes an answer: one closed list, one table to HTTP status.
//!
//! Inside a request everything returns [`ApiError`]; outside (starting, loading) `anyhow`. Nothing but this
//! file spells a failing status code.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use s3router_core as core;
use s3router_proto::{ErrorBody, ErrorDetail, ErrorKind};
use std::collections::BTreeMap;
use utoipa::openapi::{RefOr, content::ContentBuilder, response};

/// `Result` of everything inside a request.
pub type Result<T, E = ApiError> = std::result::Result<T, E>;

/// A failed request.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Which of the closed list.
    pub kind: ErrorKind,
    /// One line: what, where, how to mend it.
    pub message: String,
    /// The parameter at fault.
    pub param: Option<String>,
    /// `queue_full`: the limit, the current use, and when to come back.
    pub pressure: Option<Pressure>,
}

/// Why there is no room now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// What is scarce.
    pub what: &'static str,
    /// Where the operator set the limit.
    pub cure: &'static str,
    /// In work at once, at most.
    pub limit: u64,
    /// In work now.
    pub in_use: u64,
    /// When to try again, seconds.
    pub retry_after: u64,
}

impl ApiError {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None, pressure: None }
    }

    /// 400 that names the parameter.
    pub fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::new(ErrorKind::InvalidRequest, message) }
    }

    /// 429 with the numbers a client needs to wait well.
    pub fn queue_full(pressure: Pressure) -> Self {
        let Pressure { what, cure, limit, in_use, retry_after } = pressure;
        let message = format!(
            "{in_use} {what} are in work and {limit} is the limit: try again in {retry_after} s, \
             or raise {cure}"
        );
        Self { pressure: Some(pressure), ..Self::new(ErrorKind::QueueFull, message) }
    }

    /// 429: another stream would be one too many.
    pub fn streams_full(limit: u32) -> Self {
        let message =
            format!("{limit} streams are open and {limit} is the limit: try again, or raise --max-streams");
        let limit = limit.into();
        Self {
            pressure: Some(Pressure {
                what: "streams",
                cure: "--max-streams",
                limit,
                in_use: limit,
                retry_after: 5,
            }),
            ..Self::new(ErrorKind::QueueFull, message)
        }
    }

    /// 503: the server is leaving.
    pub fn draining() -> Self {
        Self::new(
            ErrorKind::Draining,
            "the server is shutting down: send this to another one, or try again soon",
        )
    }

    /// 500; the cause goes to the log, not to the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!("internal error: {cause}");
        Self::new(
            ErrorKind::Internal,
            "the server failed on this request; its log says why, under this request_id",
        )
    }

    /// The envelope.
    pub fn body(&self, request_id: &str) -> ErrorBody {
        ErrorBody {
            error: ErrorDetail {
                message: self.message.clone(),
                r#type: self.kind.family().into(),
                param: self.param.clone(),
                code: self.kind,
                limit: self.pressure.map(|p| p.limit),
                in_use: self.pressure.map(|p| p.in_use),
            },
            request_id: request_id.into(),
        }
    }

    /// The whole answer; `base` may bring headers such as `Allow`.
    pub fn respond(&self, request_id: &str, base: header::HeaderMap) -> Response {
        let mut answer = (status(self.kind), Json(self.body(request_id))).into_response();
        if let Some(allow) = base.get(header::ALLOW) {
            answer.headers_mut().insert(header::ALLOW, allow.clone());
        }
        match self.kind {
            ErrorKind::Unauthorized => {
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            ErrorKind::QueueFull | ErrorKind::Loading | ErrorKind::Draining => {
                let wait = self.pressure.map_or(1, |p| p.retry_after);
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
            }
            // The rest of the body may still be under way and nobody will read it.
            ErrorKind::BodyTimeout | ErrorKind::PayloadTooLarge => {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        answer
    }
}

/// THE table.
pub fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::EmptyAudio => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::LanguageNotFound | ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorKind::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorKind::GenerationMismatch => StatusCode::PRECONDITION_FAILED,
        ErrorKind::PayloadTooLarge | ErrorKind::AudioTooLong => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorKind::UndecodableAudio => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::QueueFull => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::Loading | ErrorKind::Draining => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// The same table for gRPC.
pub fn grpc_code(kind: ErrorKind) -> tonic::Code {
    use tonic::Code;
    match kind {
        ErrorKind::InvalidRequest
        | ErrorKind::EmptyAudio
        | ErrorKind::UnsupportedMedia
        | ErrorKind::UndecodableAudio => Code::InvalidArgument,
        ErrorKind::Unauthorized => Code::Unauthenticated,
        ErrorKind::LanguageNotFound => Code::NotFound,
        ErrorKind::NotFound | ErrorKind::MethodNotAllowed => Code::Unimplemented,
        ErrorKind::BodyTimeout | ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::GenerationMismatch => Code::Aborted,
        ErrorKind::PayloadTooLarge | ErrorKind::AudioTooLong | ErrorKind::QueueFull => {
            Code::ResourceExhausted
        }
        ErrorKind::Internal => Code::Internal,
        ErrorKind::Loading | ErrorKind::Draining => Code::Unavailable,
    }
}

impl From<core::Error> for ApiError {
    fn from(error: core::Error) -> Self {
        let kind = match error.kind() {
            core::Kind::InvalidRequest => ErrorKind::InvalidRequest,
            core::Kind::EmptyAudio => ErrorKind::EmptyAudio,
            core::Kind::AudioTooLong => ErrorKind::AudioTooLong,
            core::Kind::UnsupportedMedia => ErrorKind::UnsupportedMedia,
            core::Kind::UndecodableAudio => ErrorKind::UndecodableAudio,
            core::Kind::LanguageNotFound => {
                return Self {
                    param: Some("lang".into()),
                    ..Self::new(ErrorKind::LanguageNotFound, error.to_string())
                };
            }
            core::Kind::Model | core::Kind::Internal => return Self::internal(error),
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for ApiError {
    /// An empty answer that carries the error; the request middleware, which knows the request's id, writes it.
    fn into_response(self) -> Response {
        let mut answer = status(self.kind).into_response();
        answer.extensions_mut().insert(self);
        answer
    }
}

/// Every error in the OpenAPI document, straight from the table.
pub(crate) struct Errors;

impl utoipa::IntoResponses for Errors {
    fn responses() -> BTreeMap<String, RefOr<response::Response>> {
        let mut codes: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for kind in ErrorKind::ALL {
            codes.entry(status(kind).as_u16()).or_default().push(kind.code());
        }
        let schema = RefOr::Ref(utoipa::openapi::Ref::from_schema_name("ErrorBody"));
        let answer = |codes: Vec<&str>| {
            response::ResponseBuilder::new()
                .description(codes.join(", "))
                .content("application/json", ContentBuilder::new().schema(Some(schema.clone())).build())
                .build()
        };
        codes.into_iter().map(|(status, codes)| (status.to_string(), answer(codes).into())).collect()
    }
}
