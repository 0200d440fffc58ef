//! Traces to an OpenTelemetry collector: OTLP over HTTP, protobuf, sent in batches from a thread of its own, so
//! that a collector that is slow or gone slows nobody here.

use crate::config::Telemetry;
use anyhow::{Context, Result};
use async_trait::async_trait;
use axum::http::HeaderMap;
use opentelemetry::{
    propagation::TextMapPropagator,
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use std::{io::Read, time::Duration};
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

/// Ends the export in order when dropped.
pub(super) struct Exporting(SdkTracerProvider);

impl Drop for Exporting {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(Duration::from_secs(5)) {
            tracing::warn!("the last traces were not sent: {error}");
        }
    }
}

/// A layer over any subscriber.
type Traces<S> = Box<dyn Layer<S> + Send + Sync>;

/// The layer that turns our spans into traces, if there is a collector.
pub(super) fn layer<S>(telemetry: &Telemetry) -> Result<Option<(Traces<S>, Exporting)>>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync + 'static,
{
    let Some(url) = &telemetry.otlp else { return Ok(None) };
    let base = url.trim_end_matches('/').trim_end_matches("/v1/traces");
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Ureq::new())
        .with_endpoint(format!("{base}/v1/traces"))
        .build()
        .with_context(|| format!("--otlp `{url}`: expected a collector such as http://127.0.0.1:4318"))?;
    let resource = Resource::builder().with_service_name("s3router");
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.with_attribute(version).build())
        // A caller's own decision stands.
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(telemetry.otlp_ratio))))
        .build();
    let ours = filter_fn(|meta| meta.is_span() && meta.target().starts_with("s3router_server"))
        .with_max_level_hint(Level::INFO);
    let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer("s3router")).with_filter(ours);
    Ok(Some((Box::new(traces), Exporting(provider))))
}

/// As [`super::join`].
pub(super) fn join(span: &Span, headers: &HeaderMap) {
    let caller = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    if caller.span().span_context().is_valid() {
        // It fails when nobody collects traces.
        let _ = span.set_parent(caller);
    }
}

/// The HTTP client that is here already.
#[derive(Debug)]
struct Ureq(ureq::Agent);

impl Ureq {
    fn new() -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10)));
        Self(config.http_status_as_error(false).build().into())
    }
}

#[async_trait]
impl HttpClient for Ureq {
    /// Blocks: the exporter's thread has nothing else to do.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let response = self.0.run(Request::from_parts(head, &body[..]))?;
        let (head, body) = response.into_parts();
        let mut bytes = Vec::new();
        body.into_reader().take(1 << 20).read_to_end(&mut bytes)?;
        Ok(Response::from_parts(head, bytes.into()))
    }
}
