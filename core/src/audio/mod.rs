//! Container bytes → 16 kHz samples, one `Vec` per returned channel.
//!
//! A whole clip goes through [`decode`], one that is still arriving through [`Live`].
//!
//! The way of a clip: [`sniff()`] (what is it, from its first bytes) → `demux` (containers and codecs, by
//! symphonia; Opus by `opus`) or `raw` (headerless PCM) → `intake` (checks every block, mixes, stops at the
//! length limit) → [`Resampler`] (band-limited, to 16 kHz). Blocks flow through; only 16 kHz output is kept,
//! so a small file cannot become hours in memory.
//!
//! | cut short | answer |
//! |---|---|
//! | WAV, raw PCM, FLAC, MP3, AAC (ADTS), Ogg, WebM, fragmented MP4 | what arrived is used |
//! | MP4/M4A in one piece, AIFF, CAF | `UndecodableAudio`: their tables need the rest |
//! | any, inside its header | `UndecodableAudio` |
//!
//! A damaged packet inside a stream counts as silence of its length, so that later word times hold; when more
//! than a quarter of the packets are damaged the answer is `UndecodableAudio`.

mod demux;
mod intake;
mod live;
mod mp4;
mod opus;
mod raw;
mod reader;
mod resample;
mod sniff;
mod wav;

pub use live::Live;
pub use raw::{Encoding, RawFormat};
pub use resample::{Resampler, resample};
pub use sniff::{Container, sniff};

use crate::{Cancel, Error, Result};
use intake::Intake;

/// The sampling rate of every backbone, Hz.
pub const RATE_HZ: u32 = 16_000;

/// Sampling rates that can be decoded, Hz.
pub const RATES_HZ: std::ops::RangeInclusive<u32> = 8_000..=192_000;

/// The most channels that [`Channels::Split`] returns: 8 × 10 minutes at 16 kHz are 307 MB.
pub const MAX_SPLIT_CHANNELS: usize = 8;

/// The most channels that are decoded at all: what a container other than WAV can name.
pub const MAX_CHANNELS: usize = 255;

/// What decoding may cost, in decoded terms: a compressed file says nothing about its length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Seconds of audio per channel, checked while decoding.
    pub max_seconds: f64,
}

impl Default for Limits {
    /// Ten minutes.
    fn default() -> Self {
        Self { max_seconds: 10.0 * 60.0 }
    }
}

/// What becomes of a clip's channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// Their mean: one channel.
    #[default]
    Mix,
    /// Each by itself, as in a call with one speaker a side.
    Split,
}

/// Whether these bytes hold their samples one by one, WAV or headerless PCM: what [`decode`] does with them is
/// known from their number.
pub fn is_plain(bytes: &[u8], raw: Option<&RawFormat>) -> bool {
    matches!(Kind::of(bytes, raw), Ok(Kind::Contained(Container::Wav) | Kind::Headerless(_)))
}

/// How bytes are to be read.
enum Kind<'a> {
    Contained(Container),
    Headerless(&'a RawFormat),
}

impl<'a> Kind<'a> {
    /// By their first bytes; where these may be headerless PCM's, as the sender says.
    fn of(bytes: &[u8], raw: Option<&'a RawFormat>) -> Result<Self> {
        match (raw, sniff(bytes)) {
            (Some(_), Ok(container)) if container.has_clear_header() => Ok(Self::Contained(container)),
            (Some(format), _) => Ok(Self::Headerless(format)),
            (None, found) => found.map(Self::Contained),
        }
    }
}

/// Decodes `bytes` to 16 kHz samples, full scale ±1: one `Vec` for [`Channels::Mix`], one per channel for
/// [`Channels::Split`].
///
/// `raw` describes headerless PCM; it is needed only there, and a body that starts with the header of a
/// container is decoded as that container.
///
/// # Errors
/// [`Error::EmptyAudio`] without a sample, [`Error::AudioTooLong`] past the limit (noticed while decoding),
/// [`Error::UnsupportedMedia`] for bytes of no known container or codec, [`Error::UndecodableAudio`] for a
/// broken one or for samples that are not finite, [`Error::InvalidRequest`] for an impossible `raw` or more
/// than [`MAX_SPLIT_CHANNELS`] to split.
pub fn decode(
    bytes: &[u8],
    raw: Option<&RawFormat>,
    channels: Channels,
    limits: &Limits,
) -> Result<Vec<Vec<f32>>> {
    decode_until(bytes, raw, channels, limits, &Cancel::default())
}

/// As [`decode`], until cancelled: it ends at the next block.
///
/// # Errors
/// As [`decode`], and [`Error::Abandoned`] once cancelled.
pub fn decode_until(
    bytes: &[u8],
    raw: Option<&RawFormat>,
    channels: Channels,
    limits: &Limits,
    cancel: &Cancel,
) -> Result<Vec<Vec<f32>>> {
    if bytes.is_empty() {
        return Err(Error::EmptyAudio);
    }
    let open = |rate_hz, count| Intake::new(rate_hz, count, channels, limits, cancel.clone());
    match Kind::of(bytes, raw)? {
        Kind::Contained(container) => demux::decode(bytes, container, open),
        Kind::Headerless(format) => raw::decode(bytes, format, open),
    }
}
