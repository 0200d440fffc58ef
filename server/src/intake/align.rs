//! The parameters of `/align`.

use super::{
    audio,
    values::{Values, names},
};
use crate::error::{ApiError, Result};
use s3router_core::audio::RawFormat;
use std::{sync::LazyLock, time::Duration};

/// The parameters of this route alone, as the document shows them; [`Ask::parse`] reads them.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub struct Parameters {
    /// Language, under any of its names.
    #[param(example = "tr")]
    lang: String,
    /// What is said, in the language's own spelling; a long one is better sent as a form field.
    #[param(example = "merhaba dünya")]
    text: String,
}

/// What is shown is what is read.
static NAMES: LazyLock<Vec<String>> =
    LazyLock::new(|| names::<Parameters>().chain(names::<audio::Parameters>()).collect());

/// An alignment as the client wants it.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The language under one of its names.
    pub lang: String,
    /// What is said.
    pub text: String,
    /// How a body without a header is to be read.
    pub raw: Option<RawFormat>,
    /// When to give up.
    pub deadline: Option<Duration>,
}

impl Ask {
    /// Reads the query and the form's fields.
    ///
    /// # Errors
    /// 400 that names the parameter.
    pub fn parse(pairs: &[(String, String)]) -> Result<Self> {
        let values = Values::new(pairs, &NAMES)?;
        let needed = |name: &str, why: &str| match values.get(name)? {
            Some(value) if !value.trim().is_empty() => Ok(value.to_owned()),
            _ => Err(ApiError::invalid(name, format!("`{name}` is missing: {why}"))),
        };
        let lang = needed("lang", "say which language, `lang=en`; GET /v1/packs lists them")?;
        if lang == "auto" {
            return Err(ApiError::invalid(
                "lang",
                "a text that is known has a language that is known: name it",
            ));
        }
        Ok(Self {
            lang,
            text: needed("text", "send what is said, as a form field or in the query")?,
            raw: values.raw()?,
            deadline: values.deadline()?,
        })
    }
}
