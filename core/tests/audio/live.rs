//! Audio that arrives in pieces: any cut gives what the whole gives.

use crate::fixture as file;
use proptest::prelude::*;
use s3router_core::{
    Error,
    audio::{Channels, Encoding, Limits, Live, RawFormat, decode},
};
use std::time::{Duration, Instant};

fn fed(bytes: &[u8], raw: Option<RawFormat>, cuts: &[usize]) -> s3router_core::Result<Vec<f32>> {
    let mut live = Live::new(raw)?;
    let (mut samples, mut rest) = (Vec::new(), bytes);
    for cut in cuts.iter().cycle() {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        samples.extend(live.push(piece)?);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    samples.extend(live.finish()?);
    Ok(samples)
}

fn whole(bytes: &[u8], raw: Option<&RawFormat>) -> Vec<f32> {
    decode(bytes, raw, Channels::Mix, &Limits::default()).unwrap().swap_remove(0)
}

fn rates() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_cut_of_any_container_gives_the_samples_of_the_whole(
        cuts in prop::collection::vec(1usize..3000, 1..12),
    ) {
        for name in ["speech.wav", "speech.ulaw.wav", "speech.ogg", "speech.opus", "speech.webm", "speech.flac", "speech.mp3"] {
            let bytes = file(name);
            prop_assert!(fed(&bytes, None, &cuts).unwrap() == whole(&bytes, None), "{}", name);
        }
    }

    #[test]
    fn any_cut_of_pcm_gives_the_samples_of_the_whole(
        bytes in prop::collection::vec(any::<u8>(), 0..20_000),
        cuts in prop::collection::vec(1usize..700, 1..12),
        rate_hz in rates(),
        channels in 1u16..4,
    ) {
        let raw = RawFormat { encoding: Encoding::PcmS16le, rate_hz, channels };
        let fed = fed(&bytes, Some(raw), &cuts).unwrap();
        if fed.is_empty() {
            prop_assert!(bytes.len() < 2 * usize::from(channels));
        } else {
            prop_assert_eq!(fed, whole(&bytes, Some(&raw)));
        }
    }

    /// A flush parts the audio as if each part were a recording of its own: nothing is held back, nothing leaks over.
    #[test]
    fn what_lies_between_two_flushes_is_read_as_a_recording_of_its_own(
        samples in prop::collection::vec(any::<i16>(), 1..12_000),
        flushes in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        cut in 1usize..700,
        rate_hz in rates(),
    ) {
        let raw = RawFormat { encoding: Encoding::PcmS16le, rate_hz, channels: 1 };
        let bytes: Vec<u8> = samples.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut ends: Vec<usize> = flushes.iter().map(|at| at.index(samples.len())).collect();
        ends.push(samples.len());
        ends.sort_unstable();
        let mut live = Live::new(Some(raw)).unwrap();
        let mut from = 0;
        for to in ends {
            let part = &bytes[2 * from..2 * to];
            let mut heard = Vec::new();
            for piece in part.chunks(cut) {
                heard.extend(live.push(piece).unwrap());
            }
            heard.extend(live.flush().unwrap());
            if !part.is_empty() {
                prop_assert_eq!(heard, whole(part, Some(&raw)));
            }
            from = to;
        }
        prop_assert!(live.finish().unwrap().is_empty());
    }

    #[test]
    fn garbage_is_refused_or_heard_and_never_hangs(
        head in prop::sample::select(vec!["speech.wav", "speech.ogg", "speech.opus", "speech.webm", "speech.flac", "speech.mp3", "speech.mp4"]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
        cuts in prop::collection::vec(1usize..5000, 1..6),
    ) {
        let mut bytes = file(head);
        for (at, value) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        let begun = Instant::now();
        let _ = fed(&bytes, None, &cuts);
        prop_assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn samples_come_while_the_container_is_still_arriving() {
    for name in ["speech.webm", "speech.opus", "speech.ogg", "speech.wav"] {
        let bytes = file(name);
        let mut live = Live::new(None).unwrap();
        let mut early = 0;
        for piece in bytes[..bytes.len() * 3 / 4].chunks(200) {
            early += live.push(piece).unwrap().len();
        }
        let all = whole(&bytes, None).len();
        assert!(early > all / 3, "{name}: {early} of {all} after three quarters of the bytes");
    }
}

#[test]
fn a_flush_gets_all_that_a_container_has_given() {
    for name in ["speech.opus", "speech.webm", "speech.ogg", "speech.mp3"] {
        let bytes = file(name);
        let (head, rest) = bytes.split_at(bytes.len() / 2);
        let mut live = Live::new(None).unwrap();
        let pushed = live.push(head).unwrap().len();
        let tail = live.flush().unwrap().len();
        let after = live.push(rest).unwrap().len() + live.finish().unwrap().len();
        let all = whole(&bytes, None).len();
        assert!(all.abs_diff(pushed + tail + after) <= 1, "{name}: {pushed} + {tail} + {after} of {all}");
        // Opus is at 48 kHz, so that the resampler holds something.
        assert!(tail > 0 || !["speech.opus", "speech.webm"].contains(&name), "{name}");
    }
}

#[test]
fn a_header_wins_over_what_was_said_and_a_wav_ends_where_it_says() {
    let mut bytes = file("speech.wav");
    let all = whole(&bytes, None);
    bytes.extend_from_slice(b"LIST\x04\0\0\0abcd");
    let raw = RawFormat { encoding: Encoding::PcmS16le, rate_hz: 48_000, channels: 1 };
    assert_eq!(fed(&bytes, Some(raw), &[777]).unwrap(), all);
}

#[test]
fn what_is_no_audio_is_refused_as_soon_as_it_shows() {
    let mut live = Live::new(None).unwrap();
    assert!(live.push(b"{\"type\"").unwrap().is_empty(), "too little to tell");
    assert!(matches!(live.push(b": \"start\"}"), Err(Error::UnsupportedMedia(_))));
    assert!(live.push(b"more").unwrap().is_empty(), "it is over");
    assert!(live.finish().unwrap().is_empty());

    let cut = Live::new(None).unwrap();
    assert!(cut.finish().unwrap().is_empty(), "nothing came, nothing is wrong");
    let mut cut = Live::new(None).unwrap();
    cut.push(&file("speech.wav")[..30]).unwrap();
    assert!(matches!(cut.finish(), Err(Error::UndecodableAudio(_))));
    let wrong = RawFormat { encoding: Encoding::PcmS16le, rate_hz: 1, channels: 1 };
    assert!(matches!(Live::new(Some(wrong)), Err(Error::InvalidRequest(_))));
}

#[test]
fn a_sample_that_is_no_number_ends_the_stream() {
    let raw = RawFormat { encoding: Encoding::PcmF32le, rate_hz: 16_000, channels: 1 };
    let mut live = Live::new(Some(raw)).unwrap();
    let bytes: Vec<u8> = [0.5f32, 0.25, 0.1, f32::NAN].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert!(matches!(live.push(&bytes), Err(Error::UndecodableAudio(_))));
}
