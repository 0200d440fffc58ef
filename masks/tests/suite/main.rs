//! The pack file from outside: what opens, what is refused and why.

// A test may fail by panicking; clippy's own exception reaches `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attacks;
mod backbone;
mod folder;
mod golden;
mod mutation;
mod roundtrip;
mod support;
