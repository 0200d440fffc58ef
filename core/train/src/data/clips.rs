//! Rows → decoded clips. A clip that cannot be used is counted and named, never fatal, never silent.

use super::list::Row;
use crate::config::Limits;
use anyhow::{Result, ensure};
use s3router_core::{
    audio::{self, RATE_HZ},
    learn::vocab::{self, Unit},
};
use std::{fs, path::PathBuf};

/// A clip left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// The audio file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What a model should read in a row's audio.
///
/// # Errors
/// Nothing is left of the text.
pub fn text(row: &Row, language: &str, unit: Unit) -> Result<String> {
    let text = match unit {
        Unit::Characters => vocab::normalize(&row.text, language),
        Unit::Tokens => row.text.trim().to_owned(),
    };
    ensure!(!text.is_empty(), "no text is left of `{}`", row.text);
    Ok(text)
}

/// Decodes a row's audio: `(S,)`, 16 kHz.
///
/// # Errors
/// Why the clip cannot be used.
pub fn samples(row: &Row, limits: &Limits) -> Result<Vec<f32>> {
    let bytes = fs::read(&row.audio)?;
    let decoding = audio::Limits { max_seconds: limits.max_seconds };
    let samples = audio::decode(&bytes, None, audio::Channels::Mix, &decoding)?.swap_remove(0);
    long_enough(samples.len(), limits)?;
    ensure!(samples.iter().any(|s| *s != 0.0), "every sample is 0");
    Ok(samples)
}

/// Seconds of so many samples, if the limits allow them.
///
/// # Errors
/// They do not.
pub fn long_enough(samples: usize, limits: &Limits) -> Result<f64> {
    let seconds = samples as f64 / f64::from(RATE_HZ);
    let Limits { min_seconds: least, max_seconds: most } = *limits;
    ensure!(seconds >= least, "{seconds:.2} s long, the shortest allowed is {least} s");
    ensure!(seconds <= most, "{seconds:.2} s long, the longest allowed is {most} s");
    Ok(seconds)
}
