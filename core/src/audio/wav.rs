//! WAV as it is found: with lengths written before anyone knew them, or by a recorder that never came back.
//!
//! hound and symphonia each refuse some of what ffmpeg, browsers and telephone systems write (a length of 0 or
//! 2^32 − 1, RF64, G.711 with the short header, odd chunks, more than 32 channels), so the two chunks that matter are
//! looked up here and PCM is read as if it were headerless. What is not PCM (ADPCM) is left to symphonia.

use super::{Encoding, RawFormat};

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const ALAW: u16 = 6;
const MULAW: u16 = 7;
/// The tag proper stands in the first two bytes of the sub-format's GUID.
const EXTENSIBLE: u16 = 0xfffe;

/// The format and the samples of a PCM WAV; None for other codecs and for headers that end too early.
///
/// The samples go to the end of the file where their length is unknown: 0 while the RIFF length is wrong as well, or
/// more than there is. RF64 has it in its `ds64` chunk.
pub(super) fn pcm(bytes: &[u8]) -> Option<(RawFormat, &[u8])> {
    let (length, format) = chunk(bytes, b"fmt ")?;
    let format = read_format(format.get(..length)?)?;
    let (mut length, samples) = chunk(bytes, b"data")?;
    if length == 0 && u32_at(bytes, 4)? as usize != bytes.len() - 8 {
        length = usize::MAX;
    }
    if let Some((_, sizes)) = chunk(bytes, b"ds64").filter(|_| length == u32::MAX as usize) {
        length = usize::try_from(u64::from_le_bytes(*sizes.get(8..)?.first_chunk()?)).unwrap_or(usize::MAX);
    }
    Some((format, &samples[..length.min(samples.len())]))
}

/// The beginning of a WAV that is still arriving.
pub(super) enum Head {
    /// Its samples have not begun yet.
    Incomplete,
    /// PCM from byte `start` on, for `length` bytes where the header knows.
    Pcm { format: RawFormat, start: usize, length: Option<u64> },
    /// Another codec.
    Other,
}

/// What `bytes`, the first of a WAV, say. A recorder that streams writes a length of 0 or 2^32 − 1: not known.
pub(super) fn head(bytes: &[u8]) -> Head {
    let found = |tag| chunk(bytes, tag);
    let (Some((length, format)), Some((size, samples))) = (found(b"fmt "), found(b"data")) else {
        return Head::Incomplete;
    };
    let Some(format) = format.get(..length).and_then(read_format) else { return Head::Other };
    let length = (1..u32::MAX as usize - 1024).contains(&size).then_some(size as u64);
    Head::Pcm { format, start: bytes.len() - samples.len(), length }
}

/// Fields of `fmt `: tag, channels, rate (4), bytes per second (4), bytes per frame, bits, extension.
fn read_format(format: &[u8]) -> Option<RawFormat> {
    let (mut tag, channels, rate_hz) = (u16_at(format, 0)?, u16_at(format, 2)?, u32_at(format, 4)?);
    if tag == EXTENSIBLE {
        tag = u16_at(format, 24)?;
    }
    // 20 bits in 3 bytes are left-justified: the width of the container is what counts.
    let encoding = match (tag, u16_at(format, 14)?.div_ceil(8)) {
        (PCM, 1) => Encoding::PcmU8,
        (PCM, 2) => Encoding::PcmS16le,
        (PCM, 3) => Encoding::PcmS24le,
        (PCM, 4) => Encoding::PcmS32le,
        (FLOAT, 4) => Encoding::PcmF32le,
        (FLOAT, 8) => Encoding::PcmF64le,
        (ALAW, 1) => Encoding::Alaw,
        (MULAW, 1) => Encoding::Mulaw,
        _ => return None,
    };
    Some(RawFormat { encoding, rate_hz, channels })
}

/// The length that the first chunk `tag` claims, and everything after its header.
fn chunk<'a>(bytes: &'a [u8], tag: &[u8; 4]) -> Option<(usize, &'a [u8])> {
    let mut rest = bytes.get(12..)?;
    loop {
        let (length, content) = (u32_at(rest, 4)? as usize, rest.get(8..)?);
        if rest.starts_with(tag) {
            return Some((length, content));
        }
        rest = content.get(length.checked_next_multiple_of(2)?..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
