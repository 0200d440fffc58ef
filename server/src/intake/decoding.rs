//! How logits shall become text, as a client says it.

use super::values::{Values, number};
use crate::{
    error::{ApiError, Result},
    tongue::Tongue,
};
use s3router_core::{decode::KeyTerms, packs::LoadedPack, reading::Reading};
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

/// The parameters, as the document shows them; [`Decoding::of`] reads them.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub struct Parameters {
    /// Readings to list, best first, with scores; more than one needs the beam.
    #[param(minimum = 0, maximum = 10, default = 0)]
    alternatives: Option<u8>,
    /// How logits become text; what needs the beam chooses it.
    #[param(default = "greedy", pattern = "^(greedy|beam)$")]
    decoder: Option<String>,
    /// Prefixes that the beam keeps.
    #[param(minimum = 1, maximum = 256, default = 32)]
    beam: Option<u16>,
    /// A phrase to expect; may be repeated, 100 at most.
    #[param(example = "Ankara")]
    keyterm: Option<Vec<String>>,
    /// Nats added for each symbol of a key term that is heard; negative makes it less likely.
    #[param(minimum = -10, maximum = 10, default = 1.5)]
    boost: Option<f32>,
    /// Weight of the n-grams that lie beside the pack, if any; 0 leaves them out.
    #[param(minimum = 0, maximum = 5)]
    lm_weight: Option<f32>,
}

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
        Self::of(&Values::of_ours(&pairs))
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

    /// Holds the wishes to the packs that may read: a term must be spelled by one of them at least.
    ///
    /// # Errors
    /// 400 for a key term that no vocabulary can spell, or a classifier asked for more than its label.
    pub fn check(&self, tongue: &Tongue) -> Result<()> {
        let packs = tongue.candidates();
        if self.beam.is_none() {
            return Ok(());
        }
        if let Some(pack) = packs.iter().find(|p| p.meta.kind == s3router_masks::Kind::Classifier) {
            let message = format!("`{}` is a classifier: it answers one label, greedily", pack.meta.language);
            return Err(ApiError::invalid("decoder", message));
        }
        for term in &self.terms {
            let mut spelled = packs.iter().map(|pack| self.spell(std::slice::from_ref(term), pack));
            if let Some(Err(why)) = spelled.next()
                && !spelled.any(|s| s.is_ok())
            {
                return Err(ApiError { param: Some("keyterm".into()), ..why.into() });
            }
        }
        Ok(())
    }

    /// The same in a pack's own symbols; `None` where the engine's best path is all that is wanted. Of several
    /// languages that were [checked](Self::check) each expects the terms that it can spell.
    ///
    /// # Errors
    /// None after a check.
    pub fn reading(&self, pack: &LoadedPack) -> Result<Option<Reading>> {
        if self.beam.is_none() {
            return Ok(None);
        }
        let own = |term: &&String| self.spell(std::slice::from_ref(*term), pack).is_ok();
        let own: Vec<String> = self.terms.iter().filter(own).cloned().collect();
        let terms = if own.is_empty() { None } else { Some(Arc::new(self.spell(&own, pack)?)) };
        Ok(Some(Reading {
            beam: self.beam,
            terms,
            lm_weight: self.lm_weight,
            best: self.alternatives.max(1),
        }))
    }

    fn spell(&self, terms: &[String], pack: &LoadedPack) -> s3router_core::Result<KeyTerms> {
        pack.key_terms(terms, self.boost)
    }
}
