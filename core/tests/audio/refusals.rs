//! Every way to be refused: which error, and that its message helps.

use crate::{fixture, mixed, refused, wav, wav16};
use s3router_core::audio::{Channels, Container, Encoding, Limits, RawFormat, decode, decode_until, sniff};
use s3router_core::{Cancel, Error, Kind};

#[test]
fn nothing_is_empty_audio() {
    assert!(matches!(mixed(&[]), Err(Error::EmptyAudio)));
    assert!(matches!(mixed(&wav16(&[])), Err(Error::EmptyAudio)));
    let format = RawFormat { encoding: Encoding::PcmS16le, rate_hz: 16_000, channels: 1 };
    for body in [&[][..], &[1]] {
        let got = decode(body, Some(&format), Channels::Mix, &Limits::default());
        assert!(matches!(got, Err(Error::EmptyAudio)), "{got:?}");
    }
}

#[test]
fn what_is_not_audio_is_told_what_it_looks_like() {
    let table: [(&[u8], &str); 10] = [
        (b"<!doctype html><html><body>502 Bad Gateway", "HTML or XML"),
        (b"{\"audio\": \"UklGRiQAAABXQVZF\"}", "JSON"),
        (b"PK\x03\x04\x14\0\0\0\x08\0", "zip"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
        (b"data:audio/wav;base64,UklGRg==", "data: URL"),
        (b"please transcribe this for me", "text"),
        (b"--boundary\r\nContent-Disposition: form-data", "multipart"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image"),
        (b"#!AMR-WB\n\x04", "AMR"),
        (b"\x01\x02\x03\x04\x05\x06\x07\x08", "nothing known"),
    ];
    for (body, looks_like) in table {
        let error = mixed(body).unwrap_err();
        assert_eq!(error.kind(), Kind::UnsupportedMedia);
        let message = error.to_string();
        assert!(message.contains(looks_like), "{message}");
        assert!(
            ["WAV", "FLAC", "MP3", "Opus", "WebM", "M4A"].iter().all(|f| message.contains(f)),
            "{message}"
        );
        assert!(!message.contains('\n'), "one line: {message}");
    }
}

#[test]
fn containers_are_known_by_their_bytes() {
    for (name, container) in [
        ("speech.wav", Container::Wav),
        ("speech.flac", Container::Flac),
        ("speech.mp3", Container::Mp3),
        ("speech.ogg", Container::Ogg),
        ("speech.opus", Container::Ogg),
        ("speech.webm", Container::Matroska),
        ("speech.m4a", Container::Mp4),
        ("speech.mp4", Container::Mp4),
        ("speech.aac", Container::Adts),
        ("speech.aiff", Container::Aiff),
        ("speech.caf", Container::Caf),
    ] {
        assert_eq!(sniff(&fixture(name)).unwrap(), container, "{name}");
    }
    // An ID3v2 tag of 300 bytes (synchsafe 0x02 0x2c) before FLAC, as some players write.
    let mut tagged = b"ID3\x04\0\0\0\0\x02\x2c".to_vec();
    tagged.extend([0; 300]);
    tagged.extend(fixture("speech.flac"));
    assert_eq!(sniff(&tagged).unwrap(), Container::Flac);
    assert_eq!(mixed(&tagged).unwrap(), mixed(&fixture("speech.flac")).unwrap());
}

#[test]
fn absurd_headers_are_refused_with_both_numbers() {
    for (file, number, bound) in [
        (wav(1, 1, 0, 16, &[0; 64]), "0 Hz", "8000"),
        (wav(1, 1, 4_000_000_000, 16, &[0; 64]), "4000000000 Hz", "192000"),
        (wav(1, 1, 7_999, 16, &[0; 64]), "7999 Hz", "8000"),
        (wav(1, 300, 16_000, 16, &[0; 6000]), "300 channels", "255"),
    ] {
        let message = refused!(mixed(&file), UndecodableAudio);
        assert!(message.contains(number) && message.contains(bound), "{message}");
    }
    for (channels, bits) in [(0, 16), (65535, 16), (65535, 32), (1, 0), (1, 40), (1, 65535)] {
        let error = mixed(&wav(1, channels, 16_000, bits, &[0; 200_000])).unwrap_err();
        assert!(
            matches!(error.kind(), Kind::UndecodableAudio | Kind::UnsupportedMedia),
            "{channels} channels of {bits} bits: {error:?}"
        );
    }
    for (rate_hz, channels) in [(0, 1), (4_000_000_000, 1), (16_000, 0), (16_000, 65_535)] {
        let format = RawFormat { encoding: Encoding::PcmS16le, rate_hz, channels };
        refused!(decode(&[0; 64], Some(&format), Channels::Mix, &Limits::default()), InvalidRequest);
    }
}

#[test]
fn more_channels_than_can_be_split_are_a_bad_request() {
    let file = wav(1, 9, 16_000, 16, &[0; 18 * 4]);
    let message = refused!(decode(&file, None, Channels::Split, &Limits::default()), InvalidRequest);
    assert!(message.contains("9 channels") && message.contains("channels=mix"), "{message}");
    assert_eq!(mixed(&file).unwrap().len(), 4);
}

#[test]
fn a_sample_that_is_not_a_number_is_named_with_its_place() {
    for (poison, shown) in
        [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf"), (3e38, "3")]
    {
        let mut samples = vec![0.25f32; 2 * 16_000];
        samples[2 * 8_000 + 1] = poison;
        let data: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        let message = refused!(mixed(&wav(3, 2, 16_000, 32, &data)), UndecodableAudio);
        assert!(message.contains("0.5000 s of channel 2") && message.contains(shown), "{message}");
    }
}

/// What can be streamed may end anywhere: the part that arrived is used. The others need their end to be read.
#[test]
fn a_cut_stream_gives_its_part_and_a_cut_file_with_its_table_at_the_end_does_not() {
    let whole = |name: &str| mixed(&fixture(name)).unwrap().len();
    for name in ["wav", "flac", "mp3", "aac", "ogg", "opus", "webm", "mka", "mp4", "ulaw.wav"] {
        let name = format!("speech.{name}");
        let bytes = fixture(&name);
        let got = mixed(&bytes[..bytes.len() * 7 / 10]).unwrap_or_else(|e| panic!("{name}: {e}")).len();
        assert!((1..whole(&name)).contains(&got), "{name}: {got} samples");
    }
    for name in ["speech.m4a", "speech.caf", "speech.aiff"] {
        let bytes = fixture(name);
        let message = refused!(mixed(&bytes[..bytes.len() * 7 / 10]), UndecodableAudio);
        assert!(message.contains("cut"), "{name}: {message}");
    }
}

#[test]
fn a_file_cut_inside_its_header_is_undecodable() {
    for name in ["wav", "flac", "mp3", "ogg", "opus", "webm", "mp4", "m4a", "aiff", "caf"] {
        let error = mixed(&fixture(&format!("speech.{name}"))[..24]).unwrap_err();
        assert!(matches!(error.kind(), Kind::UndecodableAudio | Kind::EmptyAudio), "{name}: {error:?}");
    }
}

#[test]
fn damaged_packets_are_silence_until_they_are_too_many() {
    let whole = mixed(&fixture("speech.mka")).unwrap();
    // Opus packets start with their configuration; 0xff claims 48 frames of 20 ms, more than 120 ms.
    let hurt = |every: usize| {
        let mut bytes = fixture("speech.mka");
        // SimpleBlock: 0xa3, length (7 bits in a byte or 14 in two), track 0x81, time (2), flags 0x80, packet.
        let mut at = (0..bytes.len() - 6)
            .find(|&i| bytes[i] == 0xa3 && bytes[i + 2..].starts_with(&[0x81, 0, 0]))
            .unwrap();
        let mut blocks = 0;
        while bytes.get(at) == Some(&0xa3) {
            let (header, length) = match bytes[at + 1] {
                short @ 0x80.. => (2, usize::from(short & 0x7f)),
                long => (3, usize::from(long & 0x3f) << 8 | usize::from(bytes[at + 2])),
            };
            if blocks % every == 3 % every {
                bytes[at + header + 4..at + header + 6].copy_from_slice(&[0xff, 0x3f]);
            }
            (at, blocks) = (at + header + length, blocks + 1);
        }
        assert!(blocks > 25, "{blocks} blocks");
        mixed(&bytes)
    };
    assert_eq!(hurt(8).unwrap().len(), whole.len(), "later words keep their times");
    let message = refused!(hurt(2), UndecodableAudio);
    assert!(message.contains("damaged"), "{message}");
}

#[test]
fn a_decoding_that_nobody_waits_for_ends_at_its_next_block() {
    let cancel = Cancel::default();
    let quiet = vec![0; 16_000];
    let raw = RawFormat { encoding: Encoding::PcmS16le, rate_hz: 16_000, channels: 1 };
    let decode = || decode_until(&quiet, Some(&raw), Channels::Mix, &Limits::default(), &cancel);
    assert_eq!(decode().unwrap()[0].len(), 8_000);
    cancel.cancel();
    assert!(matches!(decode(), Err(Error::Abandoned)));
}
