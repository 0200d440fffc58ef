//! The server held to its word from outside: real sockets, the real engine, the embedded demo.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail")]

#[path = "support/server.rs"]
mod support;

mod routes;
