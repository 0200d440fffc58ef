/// Ours at `info`; other crates only when something is wrong (demuxers tell of every stream they find).
const DEFAULT_LOG: &str = "warn,s3router=info,s3router_server=info,s3router_core=info";

/// What the server says of itself.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logs and traces")]
pub struct Telemetry {
    /// Lines for people, or JSON objects for a log collector; always on standard error.
    #[arg(long, env = "S3ROUTER_LOG_FORMAT", value_enum, default_value_t = Telemetry::default().log_format)]
    pub log_format: LogFormat,
    /// What to log: a level, or filters such as `info,s3router_server=debug`.
    #[arg(long, env = "S3ROUTER_LOG", value_name = "FILTER", default_value_t = Telemetry::default().log)]
    pub log: String,
    /// OpenTelemetry collector that takes traces over HTTP, such as http://127.0.0.1:4318.
    #[cfg(feature = "otlp")]
    #[arg(long, env = "S3ROUTER_OTLP", value_name = "URL")]
    pub otlp: Option<String>,
    /// Part of the requests that are traced, 0 to 1, where the caller has not decided.
    #[cfg(feature = "otlp")]
    #[arg(long, env = "S3ROUTER_OTLP_RATIO", value_name = "RATIO", default_value_t = Telemetry::default().otlp_ratio)]
    pub otlp_ratio: f64,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For a collector.
    Json,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Text,
            log: DEFAULT_LOG.into(),
            #[cfg(feature = "otlp")]
            otlp: None,
            #[cfg(feature = "otlp")]
            otlp_ratio: 1.0,
        }
    }
}
