//! Headerless PCM, as the query's `encoding` and `rate` describe it.

use super::intake::Intake;
use crate::{Error, Result};
use std::str::FromStr;
use symphonia::core::audio::Channels as Layout;
use symphonia::core::codecs::audio::well_known as id;
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder};
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};
use symphonia::default::codecs::PcmDecoder;

/// How a body without a header is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFormat {
    /// The form of a sample.
    pub encoding: Encoding,
    /// The sampling rate, Hz.
    pub rate_hz: u32,
    /// Interleaved channels.
    pub channels: u16,
}

macro_rules! encodings {
    ($($(#[$doc:meta])* $name:ident = $id:ident, $bytes:literal, $($spelling:literal)+;)+) => {
        /// The form of one sample of headerless PCM.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Encoding { $($(#[$doc])* $name,)+ }

        impl Encoding {
            /// Every encoding, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The canonical name, first of those that [`FromStr`] takes.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => [$($spelling),+][0],)+ }
            }

            /// Bytes of one sample.
            pub fn bytes(self) -> usize {
                match self { $(Self::$name => $bytes,)+ }
            }

            fn codec(self) -> AudioCodecId {
                match self { $(Self::$name => id::$id,)+ }
            }

            fn named(name: &str) -> Option<Self> {
                match name { $($($spelling)|+ => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

encodings! {
    /// 16-bit signed, little-endian.
    PcmS16le = CODEC_ID_PCM_S16LE, 2, "pcm_s16le" "s16le" "s16" "linear16" "l16" "pcm16" "pcm" "int16";
    /// 16-bit signed, big-endian (as RFC 3551 sends L16).
    PcmS16be = CODEC_ID_PCM_S16BE, 2, "pcm_s16be" "s16be";
    /// 32-bit float, little-endian.
    PcmF32le = CODEC_ID_PCM_F32LE, 4, "pcm_f32le" "f32le" "f32" "linear32" "float32" "float";
    /// 64-bit float, little-endian.
    PcmF64le = CODEC_ID_PCM_F64LE, 8, "pcm_f64le" "f64le" "f64" "float64";
    /// 8-bit signed.
    PcmS8 = CODEC_ID_PCM_S8, 1, "pcm_s8" "s8" "int8";
    /// 8-bit unsigned.
    PcmU8 = CODEC_ID_PCM_U8, 1, "pcm_u8" "u8" "uint8";
    /// 24-bit signed, little-endian, packed.
    PcmS24le = CODEC_ID_PCM_S24LE, 3, "pcm_s24le" "s24le" "s24" "linear24" "l24";
    /// 32-bit signed, little-endian.
    PcmS32le = CODEC_ID_PCM_S32LE, 4, "pcm_s32le" "s32le" "s32" "int32";
    /// G.711 µ-law.
    Mulaw = CODEC_ID_PCM_MULAW, 1, "mulaw" "pcm_mulaw" "ulaw" "mu-law" "u-law" "g711_ulaw" "pcmu";
    /// G.711 A-law.
    Alaw = CODEC_ID_PCM_ALAW, 1, "alaw" "pcm_alaw" "a-law" "g711_alaw" "pcma";
}

impl FromStr for Encoding {
    type Err = Error;

    /// The names that ffmpeg, Deepgram and OpenAI use, in any case.
    fn from_str(name: &str) -> Result<Self> {
        Self::named(&name.trim().to_ascii_lowercase()).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|e| e.name()).collect();
            Error::InvalidRequest(format!("unknown encoding `{name}`: known are {}", known.join(", ")))
        })
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Frames handed on at a time.
const BLOCK_FRAMES: usize = 4096;

/// Decodes headerless PCM as a request describes it.
pub(super) fn decode(
    bytes: &[u8],
    format: &RawFormat,
    open: impl Fn(u32, usize) -> Result<Intake>,
) -> Result<Vec<Vec<f32>>> {
    let mut pcm = Pcm::described(format, open)?;
    pcm.push(bytes)?;
    pcm.finish()
}

/// Decodes PCM samples; a last frame that is not whole is left out.
pub(super) fn samples(
    bytes: &[u8],
    format: &RawFormat,
    open: impl Fn(u32, usize) -> Result<Intake>,
) -> Result<Vec<Vec<f32>>> {
    let mut pcm = Pcm::new(format, open)?;
    pcm.push(bytes)?;
    pcm.finish()
}

/// PCM that arrives in pieces of any size.
pub(super) struct Pcm {
    decoder: PcmDecoder,
    intake: Intake,
    encoding: Encoding,
    frame_bytes: usize,
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
    block: Vec<f32>,
}

impl Pcm {
    pub(super) fn new(format: &RawFormat, open: impl Fn(u32, usize) -> Result<Intake>) -> Result<Self> {
        let channels = usize::from(format.channels);
        let intake = open(format.rate_hz, channels)?;
        let mut params = AudioCodecParameters::new();
        params.for_codec(format.encoding.codec()).with_sample_rate(format.rate_hz);
        params
            .with_channels(Layout::Discrete(format.channels))
            .with_max_frames_per_packet(BLOCK_FRAMES as u64);
        let decoder =
            PcmDecoder::try_new(&params, &Default::default()).map_err(|e| unreadable(format.encoding, &e))?;
        let frame_bytes = format.encoding.bytes() * channels;
        let (rest, block) = (Vec::new(), Vec::new());
        Ok(Self { decoder, intake, encoding: format.encoding, frame_bytes, rest, block })
    }

    /// As a request describes it: an impossible rate is the request's fault, not the audio's.
    pub(super) fn described(format: &RawFormat, open: impl Fn(u32, usize) -> Result<Intake>) -> Result<Self> {
        Self::new(format, open).map_err(|e| match e {
            Error::UndecodableAudio(why) => Error::InvalidRequest(why),
            other => other,
        })
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        if !self.rest.is_empty() {
            let missing = (self.frame_bytes - self.rest.len()).min(bytes.len());
            self.rest.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.rest.len() < self.frame_bytes {
                return Ok(());
            }
            let frame = std::mem::take(&mut self.rest);
            self.take(&frame)?;
        }
        let whole = bytes.len() - bytes.len() % self.frame_bytes;
        for chunk in bytes[..whole].chunks(BLOCK_FRAMES * self.frame_bytes) {
            self.take(chunk)?;
        }
        self.rest.extend_from_slice(&bytes[whole..]);
        Ok(())
    }

    /// Of the samples as they come, Hz.
    pub(super) fn rate_hz(&self) -> u32 {
        self.intake.rate_hz()
    }

    /// The samples of the first channel so far, taken out.
    pub(super) fn drain(&mut self) -> Vec<f32> {
        self.intake.drain()
    }

    pub(super) fn finish(self) -> Result<Vec<Vec<f32>>> {
        self.intake.finish()
    }

    /// Whole frames, a block at most.
    fn take(&mut self, frames: &[u8]) -> Result<()> {
        let packet = PacketRef::new(0, Timestamp::ZERO, Duration::ZERO, frames);
        let decoded = self.decoder.decode_ref(&packet).map_err(|e| unreadable(self.encoding, &e))?;
        decoded.copy_to_vec_interleaved::<f32>(&mut self.block);
        self.intake.take(&self.block)
    }
}

impl std::fmt::Debug for Pcm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pcm").field("encoding", &self.encoding).finish_non_exhaustive()
    }
}

fn unreadable(encoding: Encoding, why: &symphonia::core::errors::Error) -> Error {
    Error::UndecodableAudio(format!("cannot read {encoding} samples: {why}"))
}
