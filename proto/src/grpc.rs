//! gRPC: messages, client and server of `s3router.proto`, as `proto/tests/generated.rs` makes them.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used, clippy::expect_used)]

include!("generated/s3router.v1.rs");

/// The descriptors of `s3router.proto`, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/s3router.v1.bin");
