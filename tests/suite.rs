//! The whole house held to its word, in one binary.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail")]

mod parity;
mod support;
