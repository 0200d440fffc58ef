//! Where decoded blocks go, whatever made them: each is checked, mixed or split, and resampled at once.

use super::{Channels, Limits, MAX_CHANNELS, MAX_SPLIT_CHANNELS, RATE_HZ, RATES_HZ, Resampler};
use crate::{Cancel, Error, Result};

/// The largest sample taken for audio: float files scaled as 32-bit integers reach it, garbage exceeds it.
const MAX_MAGNITUDE: f32 = 2_147_483_648.0;

/// Takes interleaved blocks of one rate and channel count, keeps 16 kHz channels.
pub(super) struct Intake {
    rate_hz: u32,
    channels: usize,
    frames: u64,
    max_frames: u64,
    limit_seconds: f64,
    /// One for a mix, one per channel for a split.
    lanes: Vec<Lane>,
    /// One lane's part of the current block.
    plane: Vec<f32>,
    cancel: Cancel,
}

struct Lane {
    resampler: Resampler,
    samples: Vec<f32>,
}

impl Intake {
    /// For blocks of `channels` interleaved channels at `rate_hz`; absurd headers end here.
    pub(super) fn new(
        rate_hz: u32,
        channels: usize,
        mode: Channels,
        limits: &Limits,
        cancel: Cancel,
    ) -> Result<Self> {
        if !RATES_HZ.contains(&rate_hz) {
            return Err(Error::UndecodableAudio(format!(
                "the sampling rate is {rate_hz} Hz: {} to {} Hz can be decoded",
                RATES_HZ.start(),
                RATES_HZ.end()
            )));
        }
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return Err(Error::UndecodableAudio(format!(
                "the audio has {channels} channels: 1 to {MAX_CHANNELS} can be decoded"
            )));
        }
        let lanes = match mode {
            Channels::Mix => 1,
            Channels::Split if channels <= MAX_SPLIT_CHANNELS => channels,
            Channels::Split => {
                return Err(Error::InvalidRequest(format!(
                    "the audio has {channels} channels and at most {MAX_SPLIT_CHANNELS} can be split: ask for \
                     channels=mix"
                )));
            }
        };
        let lane = || Ok(Lane { resampler: Resampler::new(rate_hz)?, samples: Vec::new() });
        Ok(Self {
            rate_hz,
            channels,
            frames: 0,
            // `as` saturates: an infinite limit is u64::MAX, a negative or NaN one is 0.
            max_frames: (limits.max_seconds * f64::from(rate_hz)) as u64,
            limit_seconds: limits.max_seconds,
            lanes: (0..lanes).map(|_| lane()).collect::<Result<_>>()?,
            plane: Vec::new(),
            cancel,
        })
    }

    /// The same, whose samples keep their own rate: whoever takes them resamples.
    pub(super) fn at_its_own_rate(mut self) -> Result<Self> {
        for lane in &mut self.lanes {
            lane.resampler = Resampler::new(RATE_HZ)?;
        }
        Ok(self)
    }

    /// Of the blocks, Hz.
    pub(super) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Whether blocks of this rate and channel count belong here.
    pub(super) fn expects(&self, rate_hz: u32, channels: usize) -> bool {
        (self.rate_hz, self.channels) == (rate_hz, channels)
    }

    /// Seconds taken so far.
    pub(super) fn seconds(&self) -> f64 {
        self.frames as f64 / f64::from(self.rate_hz)
    }

    /// Takes a block of whole interleaved frames.
    pub(super) fn take(&mut self, block: &[f32]) -> Result<()> {
        self.cancel.check()?;
        let frames = (block.len() / self.channels) as u64;
        if self.frames + frames > self.max_frames {
            return Err(Error::AudioTooLong { limit_seconds: self.limit_seconds });
        }
        self.check(block)?;
        self.frames += frames;
        let mix = self.lanes.len() == 1;
        for (channel, lane) in self.lanes.iter_mut().enumerate() {
            if self.channels == 1 {
                lane.resampler.push(block, &mut lane.samples)?;
                continue;
            }
            let scale = 1.0 / self.channels as f32;
            let rows = block.chunks_exact(self.channels);
            self.plane.clear();
            if mix {
                self.plane.extend(rows.map(|row| row.iter().sum::<f32>() * scale));
            } else {
                self.plane.extend(rows.map(|row| row[channel]));
            }
            lane.resampler.push(&self.plane, &mut lane.samples)?;
        }
        Ok(())
    }

    /// Takes silence where a packet was lost.
    pub(super) fn take_silence(&mut self, frames: u64) -> Result<()> {
        let frames = frames.min(self.max_frames.saturating_add(1)) as usize;
        self.take(&vec![0.0; frames.saturating_mul(self.channels)])
    }

    /// One sum tells a clean block; only a suspicious one is searched for the culprit.
    fn check(&self, block: &[f32]) -> Result<()> {
        let Some(at) = block.iter().position(|x| !x.is_finite() || x.abs() > MAX_MAGNITUDE) else {
            return Ok(());
        };
        let seconds = (self.frames + (at / self.channels) as u64) as f64 / f64::from(self.rate_hz);
        Err(Error::UndecodableAudio(format!(
            "the sample at {seconds:.4} s of channel {} is {}: samples must be finite and at most 2^31",
            at % self.channels + 1,
            block[at]
        )))
    }

    /// The samples of the first lane so far, taken out.
    pub(super) fn drain(&mut self) -> Vec<f32> {
        self.lanes.first_mut().map(|lane| std::mem::take(&mut lane.samples)).unwrap_or_default()
    }

    /// The 16 kHz channels; an error without a single sample.
    pub(super) fn finish(self) -> Result<Vec<Vec<f32>>> {
        if self.frames == 0 {
            return Err(Error::EmptyAudio);
        }
        self.lanes
            .into_iter()
            .map(|Lane { mut resampler, mut samples }| resampler.finish(&mut samples).map(|()| samples))
            .collect()
    }
}
