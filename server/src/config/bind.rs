use super::Seconds;
use std::net::SocketAddr;

/// Where the server listens and how it leaves.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Listening")]
pub struct Bind {
    /// Address and port; port 0 takes a free one. 0.0.0.0:8080 serves the network: set API keys then.
    #[arg(long, env = "S3ROUTER_LISTEN", value_name = "ADDR", default_value_t = Bind::default().listen)]
    pub listen: SocketAddr,
    /// After SIGTERM or Ctrl-C, how long accepted requests may take to finish. New ones get 503 draining.
    #[arg(long, env = "S3ROUTER_SHUTDOWN_SECONDS", value_name = "S", default_value_t = Bind::default().shutdown_seconds)]
    pub shutdown_seconds: Seconds,
}

impl Default for Bind {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), shutdown_seconds: Seconds::new(30.0) }
    }
}
