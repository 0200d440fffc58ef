//! What is sent: the demo's own clips, and languages drawn in several ways.

use anyhow::{Context, Result};
use rand::{Rng, SeedableRng, rngs::StdRng};
use s3router_core::{
    audio::{self, Channels, Limits},
    demo::CLIPS,
};
use std::sync::Arc;

/// A clip as it is sent: 16 kHz, 16 bit.
#[derive(Clone)]
pub(crate) struct Clip {
    /// Its place among the clips.
    pub(crate) number: usize,
    pub(crate) wav: Arc<[u8]>,
    pub(crate) samples: Arc<[f32]>,
}

impl Clip {
    pub(crate) fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(audio::RATE_HZ)
    }
}

/// The demo's clips, each repeated or cut to so many seconds: what differs between languages shall be the mask alone.
pub(crate) fn clips(seconds: f64) -> Result<Vec<Clip>> {
    let length = (seconds * f64::from(audio::RATE_HZ)) as usize;
    let decode = |(number, demo): (usize, &s3router_core::demo::Clip)| {
        let channels = audio::decode(demo.bytes, None, Channels::Mix, &Limits::default())?;
        let samples = channels.into_iter().next().context("no channel")?;
        let samples: Vec<f32> = samples.into_iter().cycle().take(length).collect();
        Ok(Clip { number, wav: wav(&samples)?.into(), samples: samples.into() })
    };
    CLIPS.iter().enumerate().map(decode).collect()
}

/// The languages of the clips.
pub(crate) fn demo_languages() -> Vec<String> {
    CLIPS.iter().map(|clip| clip.language.to_owned()).collect()
}

fn wav(samples: &[f32]) -> Result<Vec<u8>> {
    let (channels, sample_rate, bits_per_sample) = (1, audio::RATE_HZ, 16);
    let sample_format = hound::SampleFormat::Int;
    let spec = hound::WavSpec { channels, sample_rate, bits_per_sample, sample_format };
    let mut file = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec)?;
    for sample in samples {
        writer.write_sample((sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)) as i16)?;
    }
    writer.finalize()?;
    Ok(file.into_inner())
}

/// How languages follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mix {
    /// All clips, heard by one pack.
    One,
    /// Each as likely as any other.
    Uniform,
    /// The n-th language 1/n as often as the first.
    Zipf,
    /// Always another one than before: the worst for whatever is kept per language.
    Adversarial,
}

/// Clips and languages in the order of a mix, the same for the same seed.
pub(crate) struct Deck<'a> {
    clips: &'a [Clip],
    languages: &'a [String],
    mix: Mix,
    rng: StdRng,
    turn: usize,
}

impl<'a> Deck<'a> {
    pub(crate) fn new(clips: &'a [Clip], languages: &'a [String], mix: Mix, seed: u64) -> Self {
        Self { clips, languages, mix, rng: StdRng::seed_from_u64(seed), turn: seed as usize }
    }

    /// The next clip, and the language to ask for: its own, or with one language that.
    pub(crate) fn draw(&mut self) -> (&'a Clip, &'a str) {
        self.turn += 1;
        let n = self.languages.len();
        let at = match self.mix {
            Mix::One | Mix::Uniform => self.rng.random_range(0..n),
            Mix::Zipf => zipf(&mut self.rng, n),
            Mix::Adversarial => self.turn % n,
        };
        let language = if self.mix == Mix::One { &self.languages[0] } else { &self.languages[at] };
        (&self.clips[at % self.clips.len()], language)
    }
}

fn zipf(rng: &mut StdRng, n: usize) -> usize {
    let weight = |i: usize| 1.0 / (i + 1) as f64;
    let mut left = rng.random_range(0.0..(0..n).map(weight).sum::<f64>());
    (0..n)
        .find(|&i| {
            left -= weight(i);
            left < 0.0
        })
        .unwrap_or(0)
}
