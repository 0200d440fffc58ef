//! Rows → decoded clips. A clip that cannot be used is counted and named, never fatal, never silent.

use super::list::Row;
use crate::config::Limits;
use anyhow::{Result, ensure};
use s3router_core::{
    audio::{self, RATE_HZ},
    learn::vocab::{self, Unit},
};
use std::{fs, path::PathBuf};

/// Audio and the text that a model should read in it.
#[derive(Clone, Debug)]
pub struct Clip {
    /// Where it came from.
    pub path: PathBuf,
    /// `(S,)`, 16 kHz.
    pub samples: Vec<f32>,
    /// Normalised.
    pub text: String,
}

/// A clip left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// The audio file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Decodes one row.
///
/// # Errors
/// Why the clip cannot be used.
pub fn load(row: &Row, language: &str, unit: Unit, limits: &Limits) -> Result<Clip> {
    let text = match unit {
        Unit::Characters => vocab::normalize(&row.text, language),
        Unit::Tokens => row.text.clone(),
    };
    ensure!(!text.is_empty(), "no text is left of `{}`", row.text);
    let bytes = fs::read(&row.audio)?;
    let decoding = audio::Limits { max_seconds: limits.max_seconds };
    let samples = audio::decode(&bytes, None, audio::Channels::Mix, &decoding)?.swap_remove(0);
    let seconds = samples.len() as f64 / f64::from(RATE_HZ);
    ensure!(
        seconds >= limits.min_seconds,
        "{seconds:.2} s long, the shortest allowed is {} s",
        limits.min_seconds
    );
    ensure!(samples.iter().any(|s| *s != 0.0), "every sample is 0");
    Ok(Clip { path: row.audio.clone(), samples, text })
}
