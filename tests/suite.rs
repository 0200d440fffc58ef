//! The whole house held to its word, in one binary.

mod parity;
mod support;
