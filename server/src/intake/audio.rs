//! The parameters of every route that takes audio: how headerless bytes are to be read, and when to give up.

use super::values::{Values, number};
use crate::error::{ApiError, Result};
use s3router_core::audio::{Encoding, RATES_HZ, RawFormat};
use std::time::Duration;

/// The parameters, as the document shows them.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub struct Parameters {
    /// For headerless PCM: `pcm_s16le`, `pcm_f32le`, `mulaw`, ... Needs `rate`.
    #[param(example = "pcm_s16le")]
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

impl Values<'_> {
    /// How headerless bytes are to be read.
    ///
    /// # Errors
    /// 400 for half a description.
    pub fn raw(&self) -> Result<Option<RawFormat>> {
        let encoding = self.parsed("encoding", |e| e.parse::<Encoding>().map_err(|e| e.to_string()))?;
        let rate = self.parsed("rate", |r| number(r, RATES_HZ))?;
        let count = self.parsed("channel_count", |c| number(c, 1..=255u16))?;
        match (encoding, rate) {
            (Some(encoding), Some(rate_hz)) => {
                Ok(Some(RawFormat { encoding, rate_hz, channels: count.unwrap_or(1) }))
            }
            (Some(_), None) => {
                Err(ApiError::invalid("rate", "`encoding` needs `rate`, the sampling rate in Hz"))
            }
            (None, Some(_)) => Err(ApiError::invalid(
                "encoding",
                "`rate` needs `encoding`: both describe PCM without a header",
            )),
            (None, None) if count.is_some() => Err(ApiError::invalid(
                "channel_count",
                "`channel_count` needs `encoding` and `rate`: a header tells its own",
            )),
            (None, None) => Ok(None),
        }
    }

    /// When to give up.
    ///
    /// # Errors
    /// 400 for anything but milliseconds of at most a day.
    pub fn deadline(&self) -> Result<Option<Duration>> {
        Ok(self.parsed("deadline_ms", |n| number(n, 1..=86_400_000u64))?.map(Duration::from_millis))
    }
}
