//! Any rate → 16 kHz, band-limited: rubato's synchronous FFT resampler, fed in pieces of any size.

use super::RATE_HZ;
use crate::{Error, Result};
use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _};

/// The shorter side of one FFT block, samples. It is also the length of the anti-alias filter at the lower rate:
/// 512 keep 0–7.5 kHz flat and reject what would fold, and a stream waits 32 ms for a block and 16 ms for the
/// filter (48 kHz → 16 kHz).
const BLOCK: usize = 512;

/// Resamples one channel that arrives in pieces. The output does not depend on how the input was cut, is aligned
/// with it (the filter's delay is taken off), and has `round(n · 16000 / rate)` samples for `n` given.
pub struct Resampler {
    /// None at 16 kHz, where samples pass through.
    fft: Option<Fft<f32>>,
    /// Input that does not fill a block yet.
    pending: Vec<f32>,
    block: Vec<f32>,
    rate_hz: u32,
    taken: u64,
    given: u64,
    /// Output samples still to drop: the filter's delay.
    delay: usize,
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resampler").field("rate_hz", &self.rate_hz).finish_non_exhaustive()
    }
}

impl Resampler {
    /// A resampler from `rate_hz`.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a rate of 0 Hz.
    pub fn new(rate_hz: u32) -> Result<Self> {
        let (rate, out) = (rate_hz as usize, RATE_HZ as usize);
        let fft = if rate_hz == RATE_HZ {
            None
        } else {
            // The smallest whole number of periods of the ratio that fills a block; even, so that the filter's
            // centre falls on a sample of both sides.
            let period = greatest_common_divisor(rate, out).max(1);
            let (step_in, step_out) = (rate / period, out / period);
            let periods = BLOCK.div_ceil(step_in.min(step_out).max(1)).next_multiple_of(2);
            let fft = Fft::new(rate, out, periods * step_in, 1, FixedSync::Both);
            Some(fft.map_err(|e| Error::InvalidRequest(format!("cannot resample from {rate_hz} Hz: {e}")))?)
        };
        let delay = fft.as_ref().map_or(0, |f| f.output_delay());
        let block = vec![0.0; fft.as_ref().map_or(0, |f| f.output_frames_next())];
        Ok(Self { fft, pending: Vec::new(), block, rate_hz, taken: 0, given: 0, delay })
    }

    /// Takes `samples` and appends to `out` what they complete.
    ///
    /// # Errors
    /// None on any input; the signature leaves room for the library's own.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<()> {
        self.taken += samples.len() as u64;
        if self.fft.is_none() {
            self.given += samples.len() as u64;
            out.extend_from_slice(samples);
            return Ok(());
        }
        self.feed(samples, out)
    }

    /// Appends the tail: silence is taken to follow the last sample. What is pushed next is the beginning of another
    /// recording; it costs no new plan.
    ///
    /// # Errors
    /// As [`Resampler::push`].
    pub fn finish(&mut self, out: &mut Vec<f32>) -> Result<()> {
        let rate = u64::from(self.rate_hz);
        let total = (self.taken * u64::from(RATE_HZ) + rate / 2) / rate;
        // `out` may have been emptied meanwhile.
        let before = out.len() as u64;
        let due = total.saturating_sub(self.given);
        let Some(block_in) = self.fft.as_ref().map(|f| f.input_frames_next()) else {
            self.begin();
            return Ok(());
        };
        let silence = vec![0.0; block_in];
        while self.given < total {
            self.feed(&silence, out)?;
        }
        out.truncate((before + due) as usize);
        self.begin();
        Ok(())
    }

    /// As it was when it was made.
    fn begin(&mut self) {
        self.pending.clear();
        (self.taken, self.given) = (0, 0);
        if let Some(fft) = &mut self.fft {
            fft.reset();
            self.delay = fft.output_delay();
        }
    }

    fn feed(&mut self, mut samples: &[f32], out: &mut Vec<f32>) -> Result<()> {
        let Some(fft) = &mut self.fft else { return Ok(()) };
        let block_in = fft.input_frames_next();
        while self.pending.len() + samples.len() >= block_in {
            let (head, rest) = samples.split_at(block_in - self.pending.len());
            self.pending.extend_from_slice(head);
            samples = rest;
            process(fft, &self.pending, &mut self.block)?;
            self.pending.clear();
            let dropped = self.delay.min(self.block.len());
            self.delay -= dropped;
            self.given += (self.block.len() - dropped) as u64;
            out.extend_from_slice(&self.block[dropped..]);
        }
        self.pending.extend_from_slice(samples);
        Ok(())
    }
}

/// One channel as a whole: `round(n · 16000 / rate)` samples.
///
/// # Errors
/// As [`Resampler::new`].
pub fn resample(samples: &[f32], rate_hz: u32) -> Result<Vec<f32>> {
    let mut resampler = Resampler::new(rate_hz)?;
    let mut out =
        Vec::with_capacity(samples.len() * RATE_HZ as usize / (rate_hz as usize).max(1) + 2 * BLOCK);
    resampler.push(samples, &mut out)?;
    resampler.finish(&mut out)?;
    Ok(out)
}

fn process(fft: &mut Fft<f32>, input: &[f32], output: &mut [f32]) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| Error::UndecodableAudio(format!("cannot resample: {e}"));
    let (len_in, len_out) = (input.len(), output.len());
    let input = SequentialSlice::new(input, 1, len_in).map_err(|e| failed(&e))?;
    let mut output = SequentialSlice::new_mut(output, 1, len_out).map_err(|e| failed(&e))?;
    fft.process_into_buffer(&input, &mut output, None).map_err(|e| failed(&e))?;
    Ok(())
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
