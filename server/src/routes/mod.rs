//! One file per noun, one function per endpoint; each takes, does one thing, and returns.

pub mod health;
pub mod metrics;
pub mod openai;
pub mod packs;
pub mod page;
pub mod transcribe;
