//! The parameters of `/align`.

use super::values::Values;
use crate::error::{ApiError, Result};
use s3router_core::audio::RawFormat;
use std::time::Duration;

/// The parameters, as the document shows them; [`Ask::parse`] reads them.
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
    /// For headerless PCM: `pcm_s16le`, `pcm_f32le`, `mulaw`, ... Needs `rate`.
    encoding: Option<String>,
    /// For headerless PCM: sampling rate, Hz. Needs `encoding`.
    #[param(minimum = 8000, maximum = 192000)]
    rate: Option<u32>,
    /// For headerless PCM: interleaved channels.
    #[param(minimum = 1, maximum = 255, default = 1)]
    channel_count: Option<u16>,
    /// Give up after this many milliseconds with 504; counts from the head of the request.
    #[param(minimum = 1)]
    deadline_ms: Option<u64>,
}

const NAMES: [&str; 6] = ["lang", "text", "encoding", "rate", "channel_count", "deadline_ms"];

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
