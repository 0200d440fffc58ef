//! The backbone: XLS-R / wav2vec 2.0, HuBERT and data2vec-audio as one model.
//!
//! samples → [`Backbone::prepare`] → [`Backbone::extract`] (convolutions) → [`Backbone::encode`]
//! (transformer, every maskable weight seen through its row's gate) → a pack's head. Weights are loaded
//! once and shared; masks, heads and noise are arguments.

mod backbone;
mod batch;
mod block;
mod checkpoint;
mod config;
mod encoder;
mod extractor;
mod head;
mod identity;
mod noise;
pub mod ops;
mod positional;
mod room;
mod schema;
#[cfg(test)]
mod tests;

pub use backbone::Backbone;
pub use batch::{Batch, Features, Level};
pub use checkpoint::{OwnHead, Source, convert, hub_packs};
pub use config::{Config, ExtractorNorm, PositionalConv};
pub use head::Head;
pub use noise::{Noise, Site};
pub(crate) use room::{Hidden, Room};
