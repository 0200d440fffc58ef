//! The server held to its word from outside: real sockets, the real engine, the embedded demo.

#[path = "support/server.rs"]
mod support;

mod routes;
