//! Audio as it comes: containers, headers that lie, limits, resampling, and anything at all.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod formats;
mod garbage;
mod limits;
mod live;
mod pcm;
mod refusals;
mod resampling;

use s3router_core::audio::{Channels, Limits, decode};
use s3router_core::{Error, Result};

/// A file of `fixtures/audio`, as a client would send it: bytes without a name.
fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/audio/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Mixed to one channel within the usual limits.
fn mixed(bytes: &[u8]) -> Result<Vec<f32>> {
    decode(bytes, None, Channels::Mix, &Limits::default()).map(|mut channels| channels.remove(0))
}

/// The message of an error of the expected kind.
macro_rules! refused {
    ($result:expr, $kind:ident) => {
        match $result {
            Err(crate::Error::$kind(message)) => message,
            other => panic!("{} expected, got {other:?}", stringify!($kind)),
        }
    };
}
use refused;

/// A RIFF/WAVE file with a 16-byte `fmt ` chunk and these header fields, lengths as they should be.
fn wav(tag: u16, channels: u16, rate_hz: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let align = channels.wrapping_mul(bits / 8);
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
    file.extend(tag.to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(rate_hz.to_le_bytes());
    file.extend(rate_hz.wrapping_mul(u32::from(align)).to_le_bytes());
    file.extend(align.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    let length = (file.len() - 8) as u32;
    file[4..8].copy_from_slice(&length.to_le_bytes());
    file
}

/// 16-bit mono at 16 kHz.
fn wav16(samples: &[i16]) -> Vec<u8> {
    wav(1, 1, 16_000, 16, &samples.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<_>>())
}
