//! One file per noun, one function per endpoint; each takes, does one thing, and returns.

pub mod align;
pub mod health;
pub mod identify;
pub mod metrics;
pub mod openai;
pub mod packs;
pub mod page;
pub mod stream;
pub mod transcribe;
