//! Log lines: on standard error, so that standard output stays the commands' own.

use crate::config::{LogFormat, Telemetry};
use anyhow::{Context, Result};
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging for the whole process; a panic becomes a log line of its own.
///
/// # Errors
/// When the filter cannot be read. Starting twice is no error: the first stays.
pub fn init(telemetry: &Telemetry) -> Result<()> {
    let filter = EnvFilter::try_new(&telemetry.log)
        .with_context(|| format!("--log `{}` is no log filter: try `info`", telemetry.log))?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // An earlier subscriber (a second server in one process) keeps its place.
    let _ = match telemetry.log_format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(
            at = panic.location().map(tracing::field::display),
            "a bug: {}",
            message(panic.payload())
        );
    }));
    Ok(())
}

/// What a panic said.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panicked without a message")
}
