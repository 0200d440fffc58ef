//! `s3router health`: the question of a container's health check, without a shell or curl in the image.

use crate::config::{Bind, Seconds};
use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Flags of `health`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3router health                       # exit 0 when /readyz answers 200
  s3router health --live --listen 0.0.0.0:9000")]
pub struct HealthArgs {
    /// The server's own --listen; an address that means all interfaces is asked on the loopback one.
    #[arg(long, env = "S3ROUTER_LISTEN", value_name = "ADDR", default_value_t = Bind::default().listen)]
    listen: SocketAddr,
    /// Ask /livez (the process answers) instead of /readyz (it transcribes).
    #[arg(long)]
    live: bool,
    /// Longest wait for the answer.
    #[arg(long, value_name = "S", default_value_t = Seconds::new(3.0))]
    timeout: Seconds,
}

/// Succeeds when the server does.
///
/// # Errors
/// When nobody listens, the answer takes too long, or it says why the server is not ready.
pub fn run(args: HealthArgs) -> Result<()> {
    let url = format!("http://{}/{}", reachable(args.listen), if args.live { "livez" } else { "readyz" });
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(args.timeout.duration()))
        .http_status_as_error(false)
        // A proxy named in the environment has no say about our own loopback.
        .proxy(None)
        .build();
    let mut response = ureq::Agent::new_with_config(config)
        .get(&url)
        .call()
        .with_context(|| format!("no answer from {url}"))?;
    let said = response.body_mut().read_to_string().unwrap_or_default();
    anyhow::ensure!(response.status() == 200, "{url} says {}: {said}", response.status());
    Ok(())
}

fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_all_interfaces_is_asked_on_the_loopback() {
        for (listen, asked) in
            [("0.0.0.0:8080", "127.0.0.1:8080"), ("[::]:8080", "[::1]:8080"), ("10.1.2.3:80", "10.1.2.3:80")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
