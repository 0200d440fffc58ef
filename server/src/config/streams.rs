use super::Seconds;

/// What one stream may cost, and how many there may be.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Streams")]
pub struct Streams {
    /// Streams open at once; the next one gets 429 queue_full.
    #[arg(long, env = "S3ROUTER_MAX_STREAMS", value_name = "N", default_value_t = Streams::default().max_streams,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_streams: u32,
    /// Longest stream, in seconds of audio.
    #[arg(long, env = "S3ROUTER_MAX_STREAM_SECONDS", value_name = "S", default_value_t = Streams::default().max_stream_seconds)]
    pub max_stream_seconds: Seconds,
    /// Longest time without audio or keepalive.
    #[arg(long, env = "S3ROUTER_STREAM_IDLE_SECONDS", value_name = "S", default_value_t = Streams::default().stream_idle_seconds)]
    pub stream_idle_seconds: Seconds,
    /// Seconds between pings; a peer that is silent for twice as long is gone.
    #[arg(long, env = "S3ROUTER_PING_SECONDS", value_name = "S", default_value_t = Streams::default().ping_seconds)]
    pub ping_seconds: Seconds,
    /// Interim readings in work at once, all streams together: finals never wait behind more of them.
    #[arg(long, env = "S3ROUTER_MAX_INTERIM", value_name = "N", default_value_t = Streams::default().max_interim,
          value_parser = clap::value_parser!(u32).range(0..=4096))]
    pub max_interim: u32,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            max_streams: 512,
            max_stream_seconds: Seconds::new(3.0 * 60.0 * 60.0),
            stream_idle_seconds: Seconds::new(120.0),
            ping_seconds: Seconds::new(10.0),
            max_interim: 16,
        }
    }
}

impl Streams {
    /// Small enough to run into within a test.
    pub fn for_testing() -> Self {
        Self {
            max_streams: 2,
            max_stream_seconds: Seconds::new(8.0),
            stream_idle_seconds: Seconds::new(1.0),
            ping_seconds: Seconds::new(0.2),
            ..Self::default()
        }
    }
}
