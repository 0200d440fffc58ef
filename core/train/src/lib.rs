//! Learn a new language's mask: recordings and texts in, a pack out.
//!
//! The way of a run ([`run`]): a [`data`] list → [`features`] (the frozen extractor, once per clip, then from
//! the [`cache`]) → a
//! [`learner`] (scores and head, or a control's parameters) → [`mod@step`], over and over, each with its own
//! [`noise`] → [`evaluate`] on the validation list, [`checkpoint`], [`log`] → the best moment as a
//! [`trained`] pack. The method itself lives in [`s3router_core::learn`].

pub mod cache;
pub mod calibrate;
pub mod checkpoint;
pub mod cli;
pub mod commands;
pub mod config;
pub mod data;
pub mod dataset;
pub mod evaluate;
pub mod features;
pub mod learner;
pub mod log;
pub mod noise;
pub mod plot;
pub mod presets;
pub mod process;
pub mod progress;
pub mod push;
pub mod room;
pub mod run;
pub mod step;
pub mod store;
pub mod trained;
