//! What a mask *is*: bits, the pack file that carries them, and a directory of packs.
//!
//! A **mask** is one bit per maskable weight of the shared backbone; a **pack** is a mask, a CTC head
//! and a vocabulary in one safetensors file. This crate knows nothing of tensors libraries, audio or
//! HTTP: it is testable on bytes alone.

#![doc = include_str!("../FORMAT.md")]

pub mod bits;
pub mod codec;
pub mod compare;
pub mod error;
pub mod fingerprint;
pub mod language;
pub mod open;
pub mod pack;
pub mod registry;
pub mod write;

mod container;
mod digest;
mod meta;

pub use bits::BitMask;
pub use codec::Codec;
pub use compare::{Comparison, Overlap, compare};
pub use error::{Error, Result};
pub use fingerprint::{Backbone, Binding};
pub use meta::{FORMAT, check_symbols, language_id};
pub use open::{Opened, open_bytes, open_path};
pub use pack::{Head, Kind, Meta, Pack};
pub use registry::Registry;
pub use write::{to_bytes, write, write_bytes};
