//! What a mask *is*: bits, the pack file that carries them, and a directory of packs.
//!
//! A **mask** is one bit per maskable weight of the shared backbone; a **pack** is a mask, a CTC head
//! and a vocabulary in one safetensors file. This crate knows nothing of tensors libraries, audio or
//! HTTP: it is testable on bytes alone.

pub mod bits;
pub mod error;
pub mod language;
pub mod pack;

pub use bits::BitMask;
pub use error::{Error, Result};
pub use pack::{Head, Kind, Meta, Pack};
