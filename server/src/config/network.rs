use std::{net::IpAddr, path::PathBuf};

/// What stands between the server and its clients.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub struct Network {
    /// Certificate chain, PEM: the server speaks TLS then. Read again when the file changes.
    #[arg(long, env = "S3ROUTER_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[arg(long, env = "S3ROUTER_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Web page that may call this server from a browser, such as `https://app.example`; `*` lets every page. May be
    /// repeated; without it only pages of the server itself may.
    #[arg(long = "cors-origin", env = "S3ROUTER_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// Requests a minute from one address (one /64 of IPv6); past it 429. 0 lifts the limit, and whoever is on this
    /// machine has none.
    #[arg(long, env = "S3ROUTER_ADDRESS_PER_MINUTE", value_name = "N", default_value_t = Network::default().address_per_minute)]
    pub address_per_minute: u32,
    /// Proxy whose `X-Forwarded-For` is believed. May be repeated.
    #[arg(long = "trusted-proxy", env = "S3ROUTER_TRUSTED_PROXY", value_name = "IP", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpAddr>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            tls_cert: None,
            tls_key: None,
            cors_origins: Vec::new(),
            address_per_minute: 6_000,
            trusted_proxies: Vec::new(),
        }
    }
}
