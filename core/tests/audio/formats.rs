//! Every container of `fixtures/audio` against the WAV that all were made from (`make.sh` there).

use crate::fixture;
use s3router_core::audio::{Channels, Limits, RATE_HZ, decode};

/// The channels of a fixture.
fn channels_of(name: &str, channels: Channels) -> Vec<Vec<f32>> {
    decode(&fixture(name), None, channels, &Limits::default()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn original() -> Vec<f32> {
    let file = fixture("speech.wav");
    let samples = hound::WavReader::new(&file[..]).unwrap().into_samples::<i16>();
    samples.map(|s| f32::from(s.unwrap()) / 32768.0).collect()
}

/// Signal over error, dB, with `got` shifted to the left by `lag` samples.
fn snr_db(want: &[f32], got: &[f32], lag: isize) -> f64 {
    let (mut signal, mut error) = (0.0, 1e-12);
    for (i, &w) in want.iter().enumerate() {
        let g = usize::try_from(i as isize + lag).ok().and_then(|j| got.get(j)).copied().unwrap_or(0.0);
        signal += f64::from(w).powi(2);
        error += (f64::from(w) - f64::from(g)).powi(2);
    }
    10.0 * (signal / error).log10()
}

/// The copy has the original's samples, aligned, to within `least_db`, and its length to within `longer` samples.
fn assert_alike(name: &str, want: &[f32], got: &[f32], least_db: f64, longer: usize) {
    let at_zero = snr_db(want, got, 0);
    let (best, lag) =
        (-2000..2000).map(|lag| (snr_db(want, got, lag), lag)).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    // libopus's own decoder puts its low-rate modes 1/16 ms early, too.
    assert!(lag.abs() <= 1, "{name}: shifted by {lag} samples ({best:.1} dB there, {at_zero:.1} dB at 0)");
    assert!(best >= least_db, "{name}: {best:.1} dB, {least_db} expected");
    assert!((want.len()..=want.len() + longer).contains(&got.len()), "{name}: {} samples", got.len());
}

#[test]
fn every_container_gives_the_samples_of_its_original() {
    let want = original();
    let table = [
        // (file, least signal-to-error ratio in dB, samples it may be longer: padding its container cannot tell)
        ("speech.wav", 120.0, 0),
        ("speech.aiff", 120.0, 0),
        ("speech.caf", 120.0, 0),
        ("speech.ulaw.wav", 30.0, 0),
        ("speech.mp3", 23.0, 0),
        ("speech.ogg", 20.0, 0),
        ("speech.opus", 18.0, 0),
        ("speech.mka", 18.0, 320),
        ("speech.m4a", 20.0, 372),
    ];
    for (name, least_db, longer) in table {
        let got = channels_of(name, Channels::Mix);
        assert_eq!(got.len(), 1);
        assert_alike(name, &want, &got[0], least_db, longer);
    }
}

#[test]
fn split_gives_each_channel_and_mix_their_mean() {
    let left = original();
    let right: Vec<f32> = left.iter().rev().copied().collect();
    let mean: Vec<f32> = left.iter().zip(&right).map(|(l, r)| (l + r) / 2.0).collect();
    for (name, least_db, longer) in [("speech.flac", 85.0, 0), ("speech.webm", 22.0, 320)] {
        let split = channels_of(name, Channels::Split);
        assert_eq!(split.len(), 2, "{name}");
        assert_alike(name, &left, &split[0], least_db, longer);
        assert_alike(name, &right, &split[1], least_db, longer);
        assert_alike(name, &mean, &channels_of(name, Channels::Mix)[0], least_db, longer);
    }
}

/// ADTS has no place for the encoder's delay and this fragmented MP4 has no edit list, so nobody can take it off:
/// 1024 samples at 44.1 kHz.
#[test]
fn an_encoders_delay_that_is_not_written_down_stays() {
    let want = original();
    let delay = (1024.0 * f64::from(RATE_HZ) / 44_100.0).round() as isize;
    for name in ["speech.aac", "speech.mp4"] {
        let got = channels_of(name, Channels::Mix).remove(0);
        let (best, lag) =
            (0..2000).map(|l| (snr_db(&want, &got, l), l)).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        assert!((lag - delay).abs() <= 1 && best > 12.0, "{name}: {lag} samples, {best:.1} dB");
    }
}
