//! Audio that is still arriving: bytes in pieces of any size → the 16 kHz samples they complete.
//!
//! PCM, bare or in a WAV, is read where it stands. Containers are read by the same readers as whole files, which
//! ask for bytes when they want them; so each runs on a thread of its own in lockstep with [`Live::push`]: it works
//! while `push` waits, and waits while nothing is pushed. What comes out does not depend on how the bytes were cut.
//!
//! Either gives samples at the rate of the audio. They are resampled here, where [`Live::flush`] can get at the last.

use super::{
    Channels, Container, Intake, Limits, RawFormat, Resampler, raw::Pcm, reader::Reader, sniff, wav,
};
use crate::{Cancel, Error, Result};

/// Enough to tell any container.
const HEAD_BYTES: usize = 12;
/// The longest header that is waited for: tags with pictures come before an MP3.
const MAX_HEADER_BYTES: usize = 4 * 1024 * 1024;
/// A live stream has no length; what it may cost is its owner's business.
const ENDLESS: Limits = Limits { max_seconds: f64::INFINITY };

/// A decoder that is fed.
#[derive(Debug)]
pub struct Live {
    raw: Option<RawFormat>,
    state: State,
    /// From the rate of the audio to ours; there is none before the first samples.
    resampler: Option<Resampler>,
}

#[derive(Debug)]
enum State {
    /// Too little has come to tell what it is.
    Unknown(Vec<u8>),
    /// PCM, and the bytes of it still to come where the header says.
    Pcm(Box<Pcm>, Option<u64>),
    Container(Reader),
    /// The audio is over; what follows is not looked at.
    Over,
}

/// Samples as they were recorded.
pub(super) struct Recorded {
    /// `(S,)`, mixed to one channel.
    pub(super) samples: Vec<f32>,
    pub(super) rate_hz: u32,
}

impl Live {
    /// A decoder for what `raw` describes, or for whatever container the first bytes show. The header of a
    /// container wins over `raw`, as it does for whole files.
    ///
    /// # Errors
    /// An impossible `raw`.
    pub fn new(raw: Option<RawFormat>) -> Result<Self> {
        if let Some(format) = &raw {
            Pcm::described(format, open)?;
        }
        Ok(Self { raw, state: State::Unknown(Vec::new()), resampler: None })
    }

    /// Takes bytes and returns the samples that they complete, mixed to one channel.
    ///
    /// # Errors
    /// [`Error::UnsupportedMedia`] as soon as the bytes are no known audio, [`Error::UndecodableAudio`] once they
    /// are broken; the stream is over then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<f32>> {
        let outcome = self.advance(bytes, false).and_then(|recorded| self.resample(recorded));
        if outcome.is_err() {
            self.state = State::Over;
        }
        outcome
    }

    /// The samples of what was pushed that are still in the resampler (up to 48 ms, none at 16 kHz), as if the audio
    /// ended here. What is pushed next is resampled like the beginning of another recording.
    ///
    /// # Errors
    /// None on any input, as those of the resampler.
    pub fn flush(&mut self) -> Result<Vec<f32>> {
        let mut tail = Vec::new();
        // Of PCM the first bytes wait until they are too many for a header; here they wait no longer.
        if self.raw.is_some()
            && matches!(&self.state, State::Unknown(h) if (1..HEAD_BYTES).contains(&h.len()))
        {
            let recorded = self.advance(&[], true)?;
            tail = self.resample(recorded)?;
        }
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(&mut tail)?;
        }
        Ok(tail)
    }

    /// Whether pushing is little more than copying; a container has codecs to run, and may start a thread.
    pub fn is_light(&self) -> bool {
        matches!(self.state, State::Pcm(..) | State::Over)
    }

    /// The samples still inside: nothing more will come.
    ///
    /// # Errors
    /// As [`Live::push`]: a header may have been cut short.
    pub fn finish(mut self) -> Result<Vec<f32>> {
        let mut samples = Vec::new();
        if matches!(&self.state, State::Unknown(head) if !head.is_empty()) {
            let recorded = self.advance(&[], true)?;
            samples = self.resample(recorded)?;
        }
        let last = match std::mem::replace(&mut self.state, State::Over) {
            State::Unknown(head) if !head.is_empty() => {
                return Err(Error::UndecodableAudio("the audio ends inside its header: was it cut?".into()));
            }
            State::Container(reader) => reader.finish()?,
            // A last frame that is not whole is left out.
            State::Unknown(_) | State::Pcm(..) | State::Over => None,
        };
        samples.extend(self.resample(last)?);
        samples.extend(self.flush()?);
        Ok(samples)
    }

    fn resample(&mut self, recorded: Option<Recorded>) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        let Some(Recorded { samples, rate_hz }) = recorded else { return Ok(out) };
        let resampler = match &mut self.resampler {
            Some(resampler) => resampler,
            none => none.insert(Resampler::new(rate_hz)?),
        };
        resampler.push(&samples, &mut out)?;
        Ok(out)
    }

    fn advance(&mut self, bytes: &[u8], last: bool) -> Result<Option<Recorded>> {
        match &mut self.state {
            State::Over => Ok(None),
            State::Pcm(pcm, left) => {
                let taken =
                    left.map_or(bytes.len(), |n| bytes.len().min(usize::try_from(n).unwrap_or(usize::MAX)));
                if let Some(left) = left {
                    *left -= taken as u64;
                }
                pcm.push(&bytes[..taken])?;
                Ok(Some(Recorded { samples: pcm.drain(), rate_hz: pcm.rate_hz() }))
            }
            State::Container(reader) => reader.push(bytes),
            State::Unknown(head) => {
                head.extend_from_slice(bytes);
                if head.len() < HEAD_BYTES && !last {
                    return Ok(None);
                }
                let head = std::mem::take(head);
                let Some((state, rest)) = recognise(&head, self.raw.as_ref(), last)? else {
                    self.state = State::Unknown(head);
                    return Ok(None);
                };
                self.state = state;
                self.advance(&head[rest..], last)
            }
        }
    }
}

/// What `head` begins, and where its audio starts; `None` while that cannot be told.
fn recognise(head: &[u8], raw: Option<&RawFormat>, last: bool) -> Result<Option<(State, usize)>> {
    let patient = !last && head.len() < MAX_HEADER_BYTES;
    let container = match (raw, sniff(head)) {
        (Some(_), Ok(container)) if container.has_clear_header() => container,
        (Some(format), _) => return Ok(Some((State::Pcm(Box::new(Pcm::described(format, open)?), None), 0))),
        (None, Ok(container)) => container,
        (None, Err(_)) if patient && head.starts_with(b"ID3") => return Ok(None),
        (None, Err(error)) => return Err(error),
    };
    if container == Container::Wav {
        match wav::head(head) {
            wav::Head::Incomplete if patient => return Ok(None),
            wav::Head::Pcm { format, start, length } => {
                return Ok(Some((State::Pcm(Box::new(Pcm::new(&format, open)?), length), start)));
            }
            wav::Head::Incomplete | wav::Head::Other => {}
        }
    }
    let start = head.len() - sniff::skip_tags(head).len();
    Ok(Some((State::Container(Reader::start(container)?), start)))
}

pub(super) fn open(rate_hz: u32, channels: usize) -> Result<Intake> {
    Intake::new(rate_hz, channels, Channels::Mix, &ENDLESS, Cancel::default())?.at_its_own_rate()
}
