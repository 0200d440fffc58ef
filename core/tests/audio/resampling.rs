//! The resampler against what a band-limited one must do: flat below, nothing folded, aligned, exact length.

use s3router_core::audio::{RATE_HZ, Resampler, resample};
use std::f64::consts::TAU;

const RATES: [u32; 12] =
    [8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000];

fn sine(hz: f64, rate_hz: u32, seconds: f64) -> Vec<f32> {
    let n = (seconds * f64::from(rate_hz)) as usize;
    (0..n).map(|i| (TAU * hz * i as f64 / f64::from(rate_hz)).sin() as f32 * 0.5).collect()
}

fn rms_db(samples: impl Iterator<Item = f32>, n: usize) -> f64 {
    10.0 * (samples.map(|x| f64::from(x).powi(2)).sum::<f64>() / n as f64 + 1e-20).log10()
}

/// The middle of a clip: a clip's ends are edges, and edges have every frequency.
fn middle(samples: &[f32]) -> std::ops::Range<usize> {
    samples.len() / 4..samples.len() * 3 / 4
}

/// The ideal answer to a sine is the same sine at 16 kHz: level and phase, so also alignment, hold to −70 dB.
#[test]
fn the_passband_is_flat_and_aligned() {
    for rate in RATES {
        let nyquist = f64::from(rate.min(RATE_HZ)) / 2.0;
        for part in [0.01, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.93] {
            let hz = nyquist * part;
            let got = resample(&sine(hz, rate, 1.0), rate).unwrap();
            let want = sine(hz, RATE_HZ, 1.0);
            let range = middle(&want);
            let error =
                rms_db(got[range.clone()].iter().zip(&want[range.clone()]).map(|(g, w)| g - w), range.len());
            let level = rms_db(want[range.clone()].iter().copied(), range.len());
            assert!(error - level < -70.0, "{rate} Hz, sine of {hz:.0} Hz: {:.1} dB", error - level);
        }
    }
}

/// A sine above 8 kHz would come back mirrored, as a tone that was never said.
#[test]
fn what_would_fold_is_rejected() {
    for rate in RATES.into_iter().filter(|&rate| rate > RATE_HZ) {
        let top = f64::from(rate) / 2.0;
        for hz in [8_050.0, 8_200.0, 9_000.0, 10_000.0, 15_900.0, 20_000.0, 40_000.0, 80_000.0] {
            if hz < top {
                let tone = sine(hz, rate, 1.0);
                let got = resample(&tone, rate).unwrap();
                let range = middle(&got);
                let (n, before) = (range.len(), rms_db(tone.iter().copied(), tone.len()));
                let after = rms_db(got[range].iter().copied(), n);
                assert!(after - before < -80.0, "{rate} Hz, {hz} Hz: {:.1} dB left", after - before);
            }
        }
    }
}

#[test]
fn the_length_is_exact_at_every_rate() {
    for rate in RATES.into_iter().chain([8_001, 16_000, 44_056, 47_999, 191_999]) {
        for n in [0usize, 1, 2, 3, 159, 441, 1000, 4801] {
            let want = (n as f64 * 16_000.0 / f64::from(rate)).round() as usize;
            assert_eq!(resample(&vec![0.1; n], rate).unwrap().len(), want, "{n} samples at {rate} Hz");
        }
    }
}

#[test]
fn pieces_of_any_size_give_the_same_samples_as_the_whole() {
    for rate in [8_000, 16_000, 44_100, 48_000] {
        let clip: Vec<f32> =
            sine(440.0, rate, 0.7).iter().zip(sine(3_000.0, rate, 0.7)).map(|(a, b)| a + b).collect();
        let whole = resample(&clip, rate).unwrap();
        for size in [1, 7, 320, 960, 5_000] {
            let mut resampler = Resampler::new(rate).unwrap();
            let mut got = Vec::new();
            clip.chunks(size).for_each(|piece| resampler.push(piece, &mut got).unwrap());
            resampler.finish(&mut got).unwrap();
            assert_eq!(got, whole, "{rate} Hz in pieces of {size}");
        }
    }
}

/// An impulse stays where it was, so words keep their times.
#[test]
fn an_impulse_keeps_its_time() {
    for rate in RATES.into_iter().chain([8_001, 47_999]) {
        let mut clip = vec![0.0; rate as usize];
        clip[rate as usize / 2] = 1.0;
        let got = resample(&clip, rate).unwrap();
        let at = (0..got.len()).max_by(|&a, &b| got[a].abs().total_cmp(&got[b].abs())).unwrap();
        assert!(at.abs_diff(8_000) <= 1, "{rate} Hz: at {at} of {}", got.len());
    }
}
