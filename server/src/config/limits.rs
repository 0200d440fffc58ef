use super::Seconds;

/// What one request may cost.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Limits of one request")]
pub struct Limits {
    /// Longest audio, counted while decoding, so that a small file cannot become hours.
    #[arg(long, env = "S3ROUTER_MAX_AUDIO_SECONDS", value_name = "S", default_value_t = Limits::default().max_audio_seconds)]
    pub max_audio_seconds: Seconds,
    /// Largest body, bytes.
    #[arg(long, env = "S3ROUTER_MAX_BODY_BYTES", value_name = "BYTES", default_value_t = Limits::default().max_body_bytes)]
    pub max_body_bytes: usize,
    /// Longest time for the whole body to arrive.
    #[arg(long, env = "S3ROUTER_BODY_TIMEOUT", value_name = "S", default_value_t = Limits::default().body_timeout)]
    pub body_timeout: Seconds,
    /// Longest wait for the head of a request, so also how long an idle connection is kept: keep it longer than
    /// your load balancer keeps its own.
    #[arg(long, env = "S3ROUTER_HEAD_TIMEOUT", value_name = "S", default_value_t = Limits::default().head_timeout)]
    pub head_timeout: Seconds,
    /// Longest silence of the peer while sending its body.
    #[arg(long, env = "S3ROUTER_IDLE_TIMEOUT", value_name = "S", default_value_t = Limits::default().idle_timeout)]
    pub idle_timeout: Seconds,
    /// Longest time from a body's arrival to its answer; a request's `deadline_ms` may only shorten it.
    #[arg(long, env = "S3ROUTER_DEADLINE", value_name = "S", default_value_t = Limits::default().deadline)]
    pub deadline: Seconds,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_audio_seconds: Seconds::new(10.0 * 60.0),
            max_body_bytes: 100 * 1024 * 1024,
            body_timeout: Seconds::new(5.0 * 60.0),
            head_timeout: Seconds::new(75.0),
            idle_timeout: Seconds::new(15.0),
            deadline: Seconds::new(10.0 * 60.0),
        }
    }
}

impl Limits {
    /// Small enough to run into within a test.
    pub fn for_testing() -> Self {
        Self {
            max_audio_seconds: Seconds::new(10.0),
            max_body_bytes: 4 * 1024 * 1024,
            body_timeout: Seconds::new(2.0),
            head_timeout: Seconds::new(0.5),
            idle_timeout: Seconds::new(0.5),
            deadline: Seconds::new(60.0),
        }
    }
}
