//! How logits shall become text, as a client says it.

use super::values::{Values, number};
use crate::error::{ApiError, Result};
use s3router_core::{packs::LoadedPack, reading::Reading};
use std::sync::Arc;

/// Prefixes the beam keeps unless told otherwise.
const WIDTH: usize = 32;
/// Nats for each symbol of a key term unless told otherwise.
const BOOST: f32 = 1.5;
/// Key terms of one request, and characters of one: bounds what a request may build.
const TERMS: usize = 100;
const TERM_LENGTH: usize = 100;

/// Readings that may be asked for.
pub const ALTERNATIVES: usize = 10;

/// Wishes that hold for any pack; [`Decoding::reading`] spells them for one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoding {
    /// Width of the beam; `None` takes the best path.
    pub beam: Option<usize>,
    /// Phrases to expect.
    pub terms: Vec<String>,
    /// Nats for each of their symbols.
    pub boost: f32,
    /// Weight of the pack's n-grams.
    pub lm_weight: Option<f32>,
    /// Readings to list; 0 lists none.
    pub alternatives: usize,
}

impl Decoding {
    /// Reads `decoder`, `beam`, `keyterm`, `boost`, `lm_weight` and `alternatives`.
    ///
    /// # Errors
    /// 400 for what is out of range, or needs the beam while `decoder=greedy` forbids it.
    pub fn of(values: &Values) -> Result<Self> {
        let decoder = values.parsed("decoder", |d| match d {
            "greedy" => Ok(false),
            "beam" => Ok(true),
            _ => Err("expected greedy or beam".into()),
        })?;
        let width = values.parsed("beam", |n| number(n, 1..=256usize))?;
        let boost = values.parsed("boost", |n| number(n, -10.0..=10.0f32))?;
        let lm_weight = values.parsed("lm_weight", |n| number(n, 0.0..=5.0f32))?;
        let alternatives = values.parsed("alternatives", |n| number(n, 0..=ALTERNATIVES))?.unwrap_or(0);
        let terms: Vec<String> = values.all("keyterm").map(String::from).collect();
        if boost.is_some() && terms.is_empty() {
            return Err(ApiError::invalid("boost", "`boost` needs a `keyterm` to boost"));
        }
        let needs = [
            ("beam", width.is_some()),
            ("lm_weight", lm_weight.is_some()),
            ("keyterm", !terms.is_empty()),
            ("alternatives", alternatives > 1),
        ];
        let needing = needs.iter().find(|(_, given)| *given).map(|(name, _)| *name);
        Self::checked(
            decoder,
            needing,
            Self { beam: width, terms, boost: boost.unwrap_or(BOOST), lm_weight, alternatives },
        )
    }

    /// Wishes that came as fields of a message: empty and 0 mean "not said".
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn from_fields(decoder: &str, terms: &[String], boost: f32, alternatives: usize) -> Result<Self> {
        let mut pairs: Vec<(String, String)> = terms.iter().map(|t| ("keyterm".into(), t.clone())).collect();
        let said = [
            ("decoder", !decoder.is_empty(), decoder.to_owned()),
            ("boost", boost != 0.0, boost.to_string()),
            ("alternatives", alternatives != 0, alternatives.to_string()),
        ];
        pairs.extend(
            said.into_iter().filter(|(_, said, _)| *said).map(|(name, _, value)| (name.into(), value)),
        );
        Self::of(&Values::new(&pairs, &["decoder", "keyterm", "boost", "alternatives"])?)
    }

    fn checked(decoder: Option<bool>, needing: Option<&str>, mut wish: Self) -> Result<Self> {
        match (decoder, needing) {
            (Some(false), Some(name)) => {
                return Err(ApiError::invalid(
                    name,
                    format!("`{name}` needs `decoder=beam`, and you asked for greedy"),
                ));
            }
            (Some(true), _) | (_, Some(_)) => wish.beam = wish.beam.or(Some(WIDTH)),
            _ => {}
        }
        if wish.terms.len() > TERMS || wish.terms.iter().any(|t| t.chars().count() > TERM_LENGTH) {
            let message = format!("at most {TERMS} key terms of at most {TERM_LENGTH} characters each");
            return Err(ApiError::invalid("keyterm", message));
        }
        Ok(wish)
    }

    /// The same in a pack's own symbols; `None` where the engine's best path is all that is wanted.
    ///
    /// # Errors
    /// 400 for a key term that the pack's vocabulary cannot spell, or a classifier asked for more than its label.
    pub fn reading(&self, pack: &LoadedPack) -> Result<Option<Reading>> {
        if self.beam.is_none() {
            return Ok(None);
        }
        if pack.meta.kind == s3router_masks::Kind::Classifier {
            return Err(ApiError::invalid(
                "decoder",
                format!("`{}` is a classifier: it answers one label, greedily", pack.meta.language),
            ));
        }
        let named = |e: s3router_core::Error| ApiError { param: Some("keyterm".into()), ..e.into() };
        let terms = match self.terms.is_empty() {
            true => None,
            false => Some(Arc::new(pack.key_terms(&self.terms, self.boost).map_err(named)?)),
        };
        Ok(Some(Reading {
            beam: self.beam,
            terms,
            lm_weight: self.lm_weight,
            best: self.alternatives.max(1),
        }))
    }
}
