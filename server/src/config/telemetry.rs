/// Ours at `info`; other crates only when something is wrong (demuxers tell of every stream they find).
const DEFAULT_LOG: &str = "warn,s3router=info,s3router_server=info,s3router_core=info";

/// What the server says of itself.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logging")]
pub struct Telemetry {
    /// Lines for people, or JSON objects for a log collector; always on standard error.
    #[arg(long, env = "S3ROUTER_LOG_FORMAT", value_enum, default_value_t = Telemetry::default().log_format)]
    pub log_format: LogFormat,
    /// What to log: a level, or filters such as `info,s3router_server=debug`.
    #[arg(long, env = "S3ROUTER_LOG", value_name = "FILTER", default_value_t = Telemetry::default().log)]
    pub log: String,
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
        Self { log_format: LogFormat::Text, log: DEFAULT_LOG.into() }
    }
}
