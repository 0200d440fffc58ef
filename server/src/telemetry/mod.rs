//! Log lines: on standard error, so that standard output stays the commands' own. And traces, where somebody
//! collects them.

#[cfg(feature = "otlp")]
mod otlp;

use crate::config::{LogFormat, Telemetry};
use anyhow::{Context, Result};
use axum::http::HeaderMap;
use tracing::Span;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Sends what is left when dropped.
#[must_use = "traces end with it"]
pub struct Telling(
    #[cfg(feature = "otlp")]
    #[allow(dead_code)]
    Option<otlp::Exporting>,
);

/// Starts logging, and tracing if asked for, for the whole process; a panic becomes a log line of its own.
///
/// # Errors
/// When the filter cannot be read, or the collector's address is none. Starting twice is no error: the first
/// stays.
pub fn init(telemetry: &Telemetry) -> Result<Telling> {
    let filter = EnvFilter::try_new(&telemetry.log)
        .with_context(|| format!("--log `{}` is no log filter: try `info`", telemetry.log))?;
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match telemetry.log_format {
        LogFormat::Text => Box::new(lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_current_span(false)),
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
    // An earlier subscriber (a second server in one process) keeps its place.
    #[cfg(feature = "otlp")]
    let telling = {
        let (traces, exporting) = otlp::layer(telemetry)?.unzip();
        let _ = subscriber.with(traces).try_init();
        Telling(exporting)
    };
    #[cfg(not(feature = "otlp"))]
    let telling = {
        let _ = subscriber.try_init();
        Telling()
    };
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(
            at = panic.location().map(tracing::field::display),
            "a bug: {}",
            message(panic.payload())
        );
    }));
    Ok(telling)
}

/// Makes `span` part of the caller's trace, if the request names one (W3C `traceparent`).
pub(crate) fn join(span: &Span, headers: &HeaderMap) {
    #[cfg(feature = "otlp")]
    otlp::join(span, headers);
    #[cfg(not(feature = "otlp"))]
    let _ = (span, headers);
}

/// What a panic said.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panicked without a message")
}
