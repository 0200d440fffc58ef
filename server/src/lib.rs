//! One resident backbone, many languages, HTTP.
//!
//! The way of a request: [`mod@router`] → [`middleware`] → [`routes`] (a handler of ten lines) → [`intake`]
//! (query and body) → [`transcription`], or a [`stream`] without an end, (permit, decoding on a blocking thread) → [`schedule`] (queue, policy,
//! the engine's thread) → [`render`] (the format asked for). Errors are one closed list and meet a status code
//! in [`error`] alone; metrics are recorded once, in [`middleware::request`].

pub mod admin;
pub mod app;
pub mod cli;
pub mod commands;
pub mod config;
mod engine;
pub mod error;
pub mod grpc;
pub mod intake;
pub mod lifecycle;
pub mod listen;
pub mod load;
mod memory;
pub mod metrics;
pub mod middleware;
pub mod packs;
pub mod render;
pub mod router;
pub mod routes;
pub mod schedule;
pub mod stream;
pub mod telemetry;
mod tls;
pub mod tongue;
pub mod transcription;

pub use app::{App, Loaded};
pub use config::Config;
pub use listen::serve;
pub use router::router;
