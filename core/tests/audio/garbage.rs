//! Anything at all, sent as audio: an answer, never a panic and never a wait.

use crate::fixture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use s3router_core::audio::{Channels, Encoding, Limits, RawFormat, decode};

const FIXTURES: [&str; 12] =
    ["wav", "ulaw.wav", "flac", "mp3", "ogg", "opus", "webm", "mka", "m4a", "mp4", "aac", "aiff"];
const LIMITS: Limits = Limits { max_seconds: 5.0 };

/// What came out is finite, of equal lengths, and within the limit.
fn survives(bytes: &[u8], raw: Option<&RawFormat>, channels: Channels) -> bool {
    let Ok(decoded) = decode(bytes, raw, channels, &LIMITS) else { return false };
    assert!(decoded.iter().all(|c| c.len() == decoded[0].len() && c.len() <= 5 * 16_000));
    assert!(decoded.iter().flatten().all(|x| x.is_finite()));
    true
}

/// One to five small wounds, half of them in the header, where lengths, rates and counts stand.
fn mutate(bytes: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..6) {
        let length = bytes.len();
        if length < 16 {
            return;
        }
        let reach = if random.random() { length.min(300) } else { length };
        let at = random.random_range(0..reach);
        let end = (at + random.random_range(1..64)).min(length);
        match random.random_range(0..8) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes.truncate(at.max(8)),
            3 => drop(bytes.drain(at..end)),
            4 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            5 => bytes[at..(at + 4).min(length)].fill(0xff),
            6 => bytes[at..(at + 4).min(length)].fill(0),
            _ => random.fill(&mut bytes[at..end]),
        }
    }
}

#[test]
fn thousands_of_broken_files_are_answered() {
    let originals = FIXTURES.map(|name| fixture(&format!("speech.{name}")));
    let mut random = StdRng::seed_from_u64(22);
    let mut decoded = 0;
    for round in 0..3_000 {
        let mut bytes = originals[round % originals.len()].clone();
        mutate(&mut bytes, &mut random);
        let channels = if random.random() { Channels::Mix } else { Channels::Split };
        decoded += usize::from(survives(&bytes, None, channels));
    }
    // Wounds that all killed, or none, would test one path only.
    assert!((300..2_700).contains(&decoded), "{decoded} of 3000 decoded");
}

#[test]
fn noise_after_every_magic_number_is_answered() {
    let magics: [&[u8]; 10] = [
        b"RIFF\xff\xff\xff\xffWAVEfmt ",
        b"RF64\xff\xff\xff\xffWAVEds64",
        b"fLaC",
        b"OggS\0\x02",
        b"\x1a\x45\xdf\xa3",
        b"\0\0\0\x18ftyp",
        b"\xff\xfb\x90",
        b"\xff\xf1\x50",
        b"FORM\0\0\xff\xffAIFF",
        b"caff\0\x01\0\0",
    ];
    let mut random = StdRng::seed_from_u64(3);
    for round in 0..500 {
        let mut bytes = magics[round % magics.len()].to_vec();
        bytes.extend((0..random.random_range(0..4096)).map(|_| random.random::<u8>()));
        survives(&bytes, None, Channels::Mix);
    }
}

#[test]
fn noise_is_pcm_when_it_is_said_to_be() {
    let mut random = StdRng::seed_from_u64(4);
    for &encoding in Encoding::ALL {
        let bytes: Vec<u8> = (0..4001).map(|_| random.random()).collect();
        let format = RawFormat { encoding, rate_hz: 8_000, channels: 3 };
        let floats = matches!(encoding, Encoding::PcmF32le | Encoding::PcmF64le);
        assert!(survives(&bytes, Some(&format), Channels::Split) || floats, "{encoding}");
    }
}
