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
    pub(crate) lang: &'static str,
    pub(crate) wav: Arc<[u8]>,
    pub(crate) samples: Arc<[f32]>,
}

impl Clip {
    pub(crate) fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(audio::RATE_HZ)
    }
}

/// The eleven clips, each as long as the others: what differs between languages shall be the mask alone.
pub(crate) fn clips() -> Result<Vec<Clip>> {
    let decoded = CLIPS.iter().map(|clip| {
        let channels = audio::decode(clip.bytes, None, Channels::Mix, &Limits::default())?;
        Ok((clip.language, channels.into_iter().next().context("no channel")?))
    });
    let decoded = decoded.collect::<Result<Vec<_>>>()?;
    let shortest = decoded.iter().map(|(_, samples)| samples.len()).min().unwrap_or(0);
    decoded.into_iter().map(|(lang, samples)| clip(lang, &samples[..shortest])).collect()
}

/// A clip over and over until it lasts so long.
pub(crate) fn long(of: &Clip, seconds: usize) -> Result<Clip> {
    let samples: Vec<f32> =
        of.samples.iter().copied().cycle().take(seconds * audio::RATE_HZ as usize).collect();
    clip(of.lang, &samples)
}

fn clip(lang: &'static str, samples: &[f32]) -> Result<Clip> {
    let (channels, sample_rate, bits_per_sample) = (1, audio::RATE_HZ, 16);
    let sample_format = hound::SampleFormat::Int;
    let spec = hound::WavSpec { channels, sample_rate, bits_per_sample, sample_format };
    let mut file = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec)?;
    for sample in samples {
        writer.write_sample((sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)) as i16)?;
    }
    writer.finalize()?;
    Ok(Clip { lang, wav: file.into_inner().into(), samples: samples.into() })
}

/// How languages follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mix {
    /// All eleven clips, heard by one pack.
    One(&'static str),
    /// Each as likely as any other.
    Uniform,
    /// The n-th language 1/n as often as the first.
    Zipf,
    /// Always another one than before: the worst for whatever is kept per language.
    Adversarial,
}

/// Clips and languages in the order of a mix, the same for the same seed.
pub(crate) struct Deck {
    clips: Vec<Clip>,
    mix: Mix,
    rng: StdRng,
    turn: usize,
}

impl Deck {
    pub(crate) fn new(clips: &[Clip], mix: Mix, seed: u64) -> Self {
        Self { clips: clips.to_vec(), mix, rng: StdRng::seed_from_u64(seed), turn: seed as usize }
    }

    /// The next clip, and the language to ask for.
    pub(crate) fn draw(&mut self) -> (Clip, &'static str) {
        self.turn += 1;
        let n = self.clips.len();
        let any = |rng: &mut StdRng| rng.random_range(0..n);
        let at = match self.mix {
            Mix::One(_) | Mix::Uniform => any(&mut self.rng),
            Mix::Zipf => zipf(&mut self.rng, n),
            Mix::Adversarial => self.turn % n,
        };
        let clip = self.clips[at].clone();
        let lang = if let Mix::One(lang) = self.mix { lang } else { clip.lang };
        (clip, lang)
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
