//! A small file cannot become hours: decoded seconds are counted while decoding.

use crate::{wav, wav16};
use s3router_core::Error;
use s3router_core::audio::{Channels, Encoding, Limits, RawFormat, decode};

fn too_long(bytes: &[u8], raw: Option<&RawFormat>, max_seconds: f64) -> bool {
    match decode(bytes, raw, Channels::Mix, &Limits { max_seconds }) {
        Err(Error::AudioTooLong { limit_seconds }) => limit_seconds == max_seconds,
        Ok(_) => false,
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn the_limit_is_inclusive_and_counted_at_the_files_own_rate() {
    for rate in [8_000u32, 16_000, 44_100, 192_000] {
        let second = vec![0; 2 * rate as usize];
        let just = wav(1, 1, rate, 16, &second);
        let over = wav(1, 1, rate, 16, &[&second[..], &[0, 0]].concat());
        assert!(!too_long(&just, None, 1.0), "{rate}");
        assert!(too_long(&over, None, 1.0), "{rate}");
    }
    let format = RawFormat { encoding: Encoding::Mulaw, rate_hz: 8_000, channels: 1 };
    assert!(!too_long(&[0x7f; 8_000], Some(&format), 1.0));
    assert!(too_long(&[0x7f; 8_001], Some(&format), 1.0));
}

/// Eleven minutes of eight silent channels are 175 kB of FLAC, and 1 GB of samples.
#[test]
fn a_decompression_bomb_stops_at_the_limit() {
    let bomb = flac_of_silence(7_000);
    assert!(bomb.len() < 200_000, "{} bytes", bomb.len());
    assert!(too_long(&bomb, None, 600.0), "11 minutes of 8 channels in {} bytes", bomb.len());
    assert!(too_long(&bomb, None, 0.5));
    let short = flac_of_silence(3);
    let got = decode(&short, None, Channels::Split, &Limits::default()).unwrap();
    assert_eq!((got.len(), got[0].len()), (8, 3 * 4608 / 3), "48 kHz to 16 kHz");
    assert!(got.iter().flatten().all(|&x| x == 0.0));
}

#[test]
fn a_limit_of_nothing_and_a_limit_without_end_hold() {
    let file = wav16(&[1; 160]);
    for max_seconds in [0.0, -1.0] {
        assert!(too_long(&file, None, max_seconds));
    }
    assert!(!too_long(&file, None, f64::INFINITY));
}

/// `frames` FLAC frames of 4608 silent samples, 8 channels, 48 kHz: constant subframes, 8 × 2 bytes each.
fn flac_of_silence(frames: u32) -> Vec<u8> {
    let mut file = b"fLaC\x80\0\0\x22".to_vec();
    file.extend([0x12, 0x00, 0x12, 0x00, 0, 0, 0, 0, 0, 0]);
    // 20 bits rate, 3 bits channels − 1, 5 bits width − 1, 36 bits total samples (0: unknown).
    file.extend((48_000u64 << 44 | 7 << 41 | 7 << 36).to_be_bytes());
    file.extend([0; 16]);
    for number in 0..frames {
        let start = file.len();
        // Sync, fixed block size; 4608 samples, 48 kHz; 8 channels, 8 bits.
        file.extend([0xff, 0xf8, 0x5a, 0x72]);
        file.extend(char::from_u32(number).unwrap_or('\u{20000}').to_string().bytes());
        file.push(crc8(&file[start..]));
        // Subframe header "constant", then the 8-bit value.
        file.extend([0; 16]);
        file.extend(crc16(&file[start..]).to_be_bytes());
    }
    file
}

fn crc8(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |crc, b| (0..8).fold(crc ^ b, |c, _| if c & 0x80 != 0 { c << 1 ^ 0x07 } else { c << 1 }))
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &b| {
        (0..8).fold(crc ^ u16::from(b) << 8, |c, _| if c & 0x8000 != 0 { c << 1 ^ 0x8005 } else { c << 1 })
    })
}
