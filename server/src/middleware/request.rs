//! The outermost layer: names a request, watches it, and writes down once how it went.

use crate::{app::App, error::ApiError, grpc, metrics::Metrics, schedule::Tenant, telemetry};
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use s3router_proto::{ErrorKind, Timing};
use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Instant,
};
use tracing::{Instrument, Span, field::Empty};

/// The header that carries a request's name, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request as its handlers and its log line see it.
#[derive(Clone, Debug)]
pub struct Trace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    begun: Instant,
    stage: Mutex<&'static str>,
    lang: OnceLock<String>,
    tenant: OnceLock<Arc<Tenant>>,
    timing: OnceLock<Timing>,
    failure: OnceLock<ApiError>,
}

impl Trace {
    fn new(headers: &HeaderMap) -> Self {
        let id = headers.get(REQUEST_ID).and_then(sane).unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        Self(Arc::new(Inner {
            id,
            begun: Instant::now(),
            stage: Mutex::new("start"),
            lang: OnceLock::new(),
            tenant: OnceLock::new(),
            timing: OnceLock::new(),
            failure: OnceLock::new(),
        }))
    }

    /// The request's name.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// When its head had been read.
    pub fn begun(&self) -> Instant {
        self.0.begun
    }

    /// How far it has come: upload, decode, engine.
    pub fn enter(&self, stage: &'static str) {
        *self.0.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// The canonical id of the language that answers.
    pub fn speaks(&self, lang: &str) {
        let _ = self.0.lang.set(lang.to_owned());
    }

    /// Whose key came with it.
    pub fn belongs_to(&self, tenant: &Arc<Tenant>) {
        let _ = self.0.tenant.set(Arc::clone(tenant));
    }

    /// Who asks.
    pub fn tenant(&self) -> Arc<Tenant> {
        self.0.tenant.get().map_or_else(Tenant::anybody, Arc::clone)
    }

    /// Where the time went.
    pub fn took(&self, timing: Timing) {
        let _ = self.0.timing.set(timing);
    }

    /// Why it failed, where the answer itself has been made already.
    pub(crate) fn fails(&self, error: ApiError) {
        let _ = self.0.failure.set(error);
    }

    fn stage(&self) -> &'static str {
        *self.0.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lang(&self) -> &str {
        self.0.lang.get().map_or("none", String::as_str)
    }
}

/// A name that may stand in a log and a header: printable, no spaces, not long.
fn sane(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let fits = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

/// Counts a request in; if it is dropped before it is answered, its client has left.
struct InFlight<'a> {
    metrics: &'a Metrics,
    route: &'a str,
    trace: &'a Trace,
    answered: bool,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.with_label_values(&[self.route]).dec();
        if !self.answered {
            let stage = self.trace.stage();
            self.metrics.cancelled.with_label_values(&[stage]).inc();
            tracing::info!(request_id = self.trace.id(), stage, "client left during {stage}");
        }
    }
}

/// Names the request, runs it, writes its error envelope if it failed, records and logs it.
pub async fn observe(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let trace = Trace::new(request.headers());
    let route = route(&request);
    let is_call = grpc::is_call(request.headers());
    let what = format!("{} {}", request.method(), request.uri().path());
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{} {route}", request.method()),
        otel.kind = "server",
        otel.status_code = Empty,
        request_id = trace.id(),
        http.route = route,
        http.response.status_code = Empty,
        lang = Empty,
        code = Empty,
    );
    telemetry::join(&span, request.headers());
    request.extensions_mut().insert(trace.clone());

    app.metrics.in_flight.with_label_values(&[&route]).inc();
    let mut guard = InFlight { metrics: &app.metrics, route: &route, trace: &trace, answered: false };
    let mut response = next.run(request).instrument(span.clone()).await;
    guard.answered = true;
    drop(guard);

    let mut failure = response.extensions_mut().remove::<ApiError>();
    if is_call {
        // Of the speech service only: health has codes of its own.
        if route.starts_with(grpc::SPEECH) {
            failure = failure.or_else(|| grpc::own_words(&response));
        }
        if let Some(error) = &failure {
            response = grpc::refusal(error, trace.id()).into_http();
        }
        failure = failure.or_else(|| trace.0.failure.get().cloned());
    } else if let Some(error) = &failure {
        let headers = std::mem::take(response.headers_mut());
        response = error.respond(trace.id(), headers);
    }
    if let Ok(id) = HeaderValue::from_str(trace.id()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    describe(&span, &trace, &response, failure.as_ref());
    record(&app.metrics, &route, &trace, failure.as_ref());
    log(&what, &route, &trace, &response, failure.as_ref());
    response
}

/// What a collector of traces sees.
fn describe(span: &Span, trace: &Trace, response: &Response, failure: Option<&ApiError>) {
    span.record("http.response.status_code", response.status().as_u16());
    span.record("lang", trace.lang());
    if let Some(error) = failure {
        span.record("code", error.kind.code());
        if response.status().is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// The pattern of the route, or the call; never a text that a client makes up.
fn route(request: &Request) -> String {
    const CALLS: [&str; 4] = ["Recognize", "StreamingRecognize", "Identify", "ListPacks"];
    let matched = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str);
    match request.uri().path().strip_prefix(grpc::SPEECH) {
        Some(call) if CALLS.contains(&call) => format!("{}{call}", grpc::SPEECH),
        _ => matched.to_owned(),
    }
}

fn record(metrics: &Metrics, route: &str, trace: &Trace, failure: Option<&ApiError>) {
    let lang = trace.lang();
    let code = failure.map_or("ok", |e| e.kind.code());
    metrics.requests.with_label_values(&[route, lang, code]).inc();
    metrics.request_seconds.with_label_values(&[route, lang]).observe(trace.begun().elapsed().as_secs_f64());
    if let Some(ErrorKind::QueueFull | ErrorKind::Loading | ErrorKind::Draining | ErrorKind::Unauthorized) =
        failure.map(|e| e.kind)
    {
        metrics.rejected.with_label_values(&[code]).inc();
    }
    if let Some(timing) = trace.0.timing.get() {
        metrics.record(timing);
    }
}

/// One line that reads alone, and the same as fields. Probes and pages that went well only at debug level.
fn log(what: &str, route: &str, trace: &Trace, response: &Response, failure: Option<&ApiError>) {
    let (request_id, lang, status) = (trace.id(), trace.lang(), response.status().as_u16());
    let ms = trace.begun().elapsed().as_millis() as u64;
    match (failure, trace.0.timing.get()) {
        (Some(e), _) if status >= 500 && e.kind != ErrorKind::Loading && e.kind != ErrorKind::Draining => {
            tracing::error!(request_id, route, lang, status, ms, "{what} {status} in {ms} ms: {}", e.message);
        }
        (Some(e), _) => {
            tracing::info!(request_id, route, lang, status, ms, "{what} {status} in {ms} ms: {}", e.message)
        }
        (None, Some(t)) => tracing::info!(
            request_id,
            route,
            lang,
            status,
            ms,
            queue_ms = t.queue_ms,
            infer_ms = t.infer_ms,
            rtfx = t.rtfx,
            "{what} {status} in {ms} ms, {lang}"
        ),
        (None, None) => tracing::debug!(request_id, route, status, ms, "{what} {status} in {ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_request_id_is_kept_only_when_it_is_sane() {
        let id = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            Trace::new(&headers).id().to_owned()
        };
        assert_eq!(id("order-66"), "order-66");
        for odd in ["two words", "", "ümlaut", &"x".repeat(129)] {
            assert_eq!(id(odd).len(), 36, "{odd:?} is replaced by a UUID");
        }
    }
}
