//! gRPC on the port of HTTP: `speech` is the service, `proto/s3router.proto` its contract.
//!
//! The calls pass the same middleware as any request (name, key, metrics, log) and end in the same functions; only
//! the envelope differs. `refusal` is how every error of the closed list leaves here.

mod health;
mod messages;
mod speech;
mod streaming;

use crate::{
    app::App,
    error::{ApiError, grpc_code},
    middleware::request::Trace,
};
use axum::{
    Router,
    http::{HeaderMap, header},
    response::Response,
};
use s3router_proto::{ErrorKind, grpc};
use std::{sync::Arc, time::Duration};
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};

/// Where the calls of the speech service are.
pub(crate) const SPEECH: &str = "/s3router.v1.Speech/";
/// What a message may have beside its audio, bytes.
const ENVELOPE: usize = 64 * 1024;

/// The speech service; what guards other routes guards it too.
pub(crate) fn speech(app: &Arc<App>) -> Router<Arc<App>> {
    let service = grpc::speech_server::SpeechServer::new(speech::Speech(Arc::clone(app)));
    let most = app.config.limits.max_body_bytes.saturating_add(ENVELOPE);
    Router::new().route_service(&format!("{SPEECH}{{*call}}"), service.max_decoding_message_size(most))
}

/// Health and reflection, open to all as `/readyz` and `/docs` are.
///
/// # Errors
/// Descriptors that do not belong together: a bug that any test finds.
pub(crate) fn open(app: &Arc<App>) -> Result<Router<Arc<App>>, tonic_reflection::server::Error> {
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(grpc::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let health = tonic_health::pb::health_server::HealthServer::new(health::Health(Arc::clone(app)));
    Ok(Router::new()
        .route_service("/grpc.health.v1.Health/{*call}", health)
        .route_service("/grpc.reflection.v1.ServerReflection/{*call}", described().build_v1()?)
        .route_service("/grpc.reflection.v1alpha.ServerReflection/{*call}", described().build_v1alpha()?))
}

/// Whether a request is a gRPC call.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    kind.is_some_and(|kind| kind == "application/grpc" || kind.starts_with("application/grpc+"))
}

/// An error as a status, with what HTTP sends in its envelope as metadata.
pub(crate) fn refusal(error: &ApiError, request_id: &str) -> Status {
    let mut details = MetadataMap::new();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = MetadataValue::try_from(value) {
            details.insert(name, value);
        }
    };
    set("s3router-code", error.kind.code());
    set(REQUEST_ID_NAME, request_id);
    if let Some(param) = &error.param {
        set("s3router-param", param);
    }
    if matches!(error.kind, ErrorKind::QueueFull | ErrorKind::Loading | ErrorKind::Draining) {
        set("retry-after", &error.pressure.map_or(1, |p| p.retry_after).to_string());
    }
    let envelope = serde_json::to_vec(&error.body(request_id)).unwrap_or_default();
    details.insert_bin("s3router-error-bin", MetadataValue::from_bytes(&envelope));
    Status::with_metadata(grpc_code(error.kind), error.message.clone(), details)
}

const REQUEST_ID_NAME: &str = "x-request-id";

/// The error of a finished answer that tonic itself refused (a message too large, garbage, no such call), in our own
/// terms.
pub(crate) fn own_words(response: &Response) -> Option<ApiError> {
    let headers = response.headers();
    if headers.contains_key("s3router-code") {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    let kind = match status.code() {
        Code::Ok => return None,
        Code::OutOfRange => ErrorKind::PayloadTooLarge,
        Code::Unimplemented => ErrorKind::MethodNotAllowed,
        _ => ErrorKind::InvalidRequest,
    };
    Some(ApiError::new(kind, status.message()))
}

/// The request as its log line sees it; the middleware has put it there.
fn trace<T>(request: &tonic::Request<T>) -> Result<Trace, Status> {
    let trace = request.extensions().get::<Trace>().cloned();
    trace.ok_or_else(|| Status::internal("a call that did not pass the middleware"))
}

/// Tells the log and the metrics of a failure, then the client.
fn failed(trace: &Trace, error: ApiError) -> Status {
    let status = refusal(&error, trace.id());
    trace.fails(error);
    status
}

/// The client's `grpc-timeout`: at most eight digits and a unit.
fn deadline<T>(request: &tonic::Request<T>) -> Option<Duration> {
    let text = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_the_whole_envelope() {
        let error = ApiError::invalid("keyterm", "`ñ` is not in the vocabulary");
        let status = refusal(&error, "order-66");
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, error.message.as_str()));
        assert_eq!(status.metadata().get("s3router-code").unwrap(), "invalid_request");
        assert_eq!(status.metadata().get(REQUEST_ID_NAME).unwrap(), "order-66");
        let bytes = status.metadata().get_bin("s3router-error-bin").unwrap().to_bytes().unwrap();
        let body: s3router_proto::ErrorBody = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(body, error.body("order-66"));
    }

    #[test]
    fn a_timeout_is_read_as_grpc_writes_it() {
        let read = |text: &str| {
            let mut request = tonic::Request::new(());
            request.metadata_mut().insert("grpc-timeout", text.parse().unwrap());
            deadline(&request)
        };
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("1500m"), Some(Duration::from_millis(1500)));
        for odd in ["", "S", "5", "-1S", "123456789S", "5s"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
