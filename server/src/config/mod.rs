//! What an operator may decide: one small struct per concern, each flag with its environment name.
//!
//! A flag beats its `S3ROUTER_*` variable, the variable beats the default; `Default` is the one home of
//! every default, and what `--help` shows is read from there.

mod admin;
mod auth;
mod batching;
mod bind;
mod engine;
mod limits;
mod network;
mod seconds;
mod streams;
mod telemetry;

pub use admin::{Admin, Token};
pub use auth::{Auth, Keys};
pub use batching::Batching;
pub use bind::Bind;
pub use engine::EngineConfig;
pub use limits::Limits;
pub use network::Network;
pub use seconds::Seconds;
pub use streams::Streams;
pub use telemetry::{LogFormat, Telemetry};

/// All of `s3router serve`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Config {
    /// Where it listens.
    #[command(flatten)]
    pub bind: Bind,
    /// Which backbone and packs, on which device.
    #[command(flatten)]
    pub engine: EngineConfig,
    /// How jobs become batches.
    #[command(flatten)]
    pub batching: Batching,
    /// What one request may cost.
    #[command(flatten)]
    pub limits: Limits,
    /// What streams may cost.
    #[command(flatten)]
    pub streams: Streams,
    /// What stands between it and its clients.
    #[command(flatten)]
    pub network: Network,
    /// Who may ask.
    #[command(flatten)]
    pub auth: Auth,
    /// Who may change what it serves.
    #[command(flatten)]
    pub admin: Admin,
    /// What it says of itself.
    #[command(flatten)]
    pub telemetry: Telemetry,
}
