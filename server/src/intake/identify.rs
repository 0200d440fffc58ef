//! The parameters of `/identify`.

use super::values::{Values, number};
use crate::{error::Result, tongue::Spoken};
use s3router_core::audio::RawFormat;
use std::time::Duration;

/// The parameters, as the document shows them; [`Ask::parse`] reads them.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub struct Parameters {
    /// Only these languages are considered, separated by commas; all that are loaded when left out.
    #[param(example = "tr,tt,ky")]
    languages: Option<String>,
    /// Languages to list.
    #[param(minimum = 1, maximum = 100, default = 3)]
    top: Option<u8>,
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

const NAMES: [&str; 6] = ["languages", "top", "encoding", "rate", "channel_count", "deadline_ms"];

/// Languages listed unless told otherwise.
pub const TOP: usize = 3;

/// An identification as the client wants it.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which to choose from.
    pub spoken: Spoken,
    /// Languages to list.
    pub top: usize,
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
        Ok(Self {
            spoken: Spoken::Heard(values.list("languages")),
            top: values.parsed("top", |n| number(n, 1..=100usize))?.unwrap_or(TOP),
            raw: values.raw()?,
            deadline: values.deadline()?,
        })
    }
}
