//! Samples in, words out, under a mask: one pretrained backbone, shared by every language.
//!
//! The way of an utterance: [`audio`] (container bytes → 16 kHz samples) → [`engine`] (a mixed-language
//! batch) → [`model`] (samples → hidden states, each masked weight seen through its [`gate`]) → head →
//! [`decode`] (logits → text with word times). [`learn`] adjusts scores until a better mask appears;
//! it meets serving at the gate and at the pack file, nowhere else. [`stream`] turns audio without an end into
//! utterances.
//!
//! Shapes: `B` utterances in a batch, `S` samples (16 kHz), `T` frames (20 ms), `C` channels of the
//! extractor, `D` hidden width, `V` vocabulary. Nothing here is async, prints, or reads the environment.

pub mod audio;
pub mod cancel;
pub mod decode;
pub mod demo;
pub mod device;
pub mod engine;
pub mod error;
pub mod fleet;
pub mod gate;
pub mod identify;
pub mod kernels;
pub mod learn;
pub mod linear;
mod lock;
pub mod model;
pub mod packs;
pub mod piece;
pub mod precision;
pub mod reading;
pub mod residency;
pub mod stream;
pub mod window;

pub use cancel::Cancel;
pub use engine::{Engine, Utterance};
pub use error::{Error, Kind, Result};
pub use fleet::Fleet;
pub use precision::Precision;
pub use residency::Residency;
