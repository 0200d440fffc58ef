//! The parameters of `/identify`.

use super::{
    audio,
    values::{Values, names, number},
};
use crate::{error::Result, tongue::Spoken};
use s3router_core::audio::RawFormat;
use std::{sync::LazyLock, time::Duration};

/// The parameters of this route alone, as the document shows them; [`Ask::parse`] reads them.
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
}

/// What is shown is what is read.
static NAMES: LazyLock<Vec<String>> =
    LazyLock::new(|| names::<Parameters>().chain(names::<audio::Parameters>()).collect());

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
