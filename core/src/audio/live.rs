//! Audio that is still arriving: bytes in pieces of any size → the 16 kHz samples they complete.
//!
//! PCM, bare or in a WAV, is read where it stands. Containers are read by the same readers as whole files, which
//! ask for bytes when they want them; so each runs on a thread of its own in lockstep with [`Live::push`]: it works
//! while `push` waits, and waits while nothing is pushed. What comes out does not depend on how the bytes were cut.

use super::{Cancel, Channels, Container, Intake, Limits, RawFormat, demux, raw::Pcm, sniff, wav};
use crate::{Error, Result};
use std::{
    io::Read,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
};

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
        Ok(Self { raw, state: State::Unknown(Vec::new()) })
    }

    /// Takes bytes and returns the samples that they complete, mixed to one channel.
    ///
    /// # Errors
    /// [`Error::UnsupportedMedia`] as soon as the bytes are no known audio, [`Error::UndecodableAudio`] once they
    /// are broken; the stream is over then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<f32>> {
        let outcome = self.advance(bytes, false);
        if outcome.is_err() {
            self.state = State::Over;
        }
        outcome
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
        let mut samples = match &self.state {
            State::Unknown(head) if !head.is_empty() => self.advance(&[], true)?,
            _ => Vec::new(),
        };
        match self.state {
            State::Unknown(head) if head.is_empty() => {}
            State::Unknown(_) => {
                return Err(Error::UndecodableAudio("the audio ends inside its header: was it cut?".into()));
            }
            State::Pcm(pcm, _) => match pcm.finish() {
                Ok(lanes) => samples.extend(lanes.into_iter().flatten()),
                Err(Error::EmptyAudio) => {}
                Err(error) => return Err(error),
            },
            State::Container(reader) => samples.extend(reader.finish()?),
            State::Over => {}
        }
        Ok(samples)
    }

    fn advance(&mut self, bytes: &[u8], last: bool) -> Result<Vec<f32>> {
        match &mut self.state {
            State::Over => Ok(Vec::new()),
            State::Pcm(pcm, left) => {
                let taken =
                    left.map_or(bytes.len(), |n| bytes.len().min(usize::try_from(n).unwrap_or(usize::MAX)));
                if let Some(left) = left {
                    *left -= taken as u64;
                }
                pcm.push(&bytes[..taken])?;
                Ok(pcm.drain())
            }
            State::Container(reader) => reader.push(bytes),
            State::Unknown(head) => {
                head.extend_from_slice(bytes);
                if head.len() < HEAD_BYTES && !last {
                    return Ok(Vec::new());
                }
                let head = std::mem::take(head);
                let Some((state, rest)) = recognise(&head, self.raw.as_ref(), last)? else {
                    self.state = State::Unknown(head);
                    return Ok(Vec::new());
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

fn open(rate_hz: u32, channels: usize) -> Result<Intake> {
    Intake::new(rate_hz, channels, Channels::Mix, &ENDLESS, Cancel::default())
}

/// A container's reader on its thread.
#[derive(Debug)]
struct Reader {
    bytes: Sender<Vec<u8>>,
    told: Receiver<Told>,
    /// The reader has come to the end by itself.
    over: bool,
}

enum Told {
    Samples(Vec<f32>),
    /// All that was given is used up.
    Hungry,
    Over(Result<Vec<f32>>),
}

impl Reader {
    fn start(container: Container) -> Result<Self> {
        let (bytes, given) = channel();
        let (tell, told) = channel();
        let source = Source { given, tell: tell.clone(), piece: Vec::new(), at: 0 };
        std::thread::Builder::new()
            .name("audio".into())
            .spawn(move || {
                let each = |samples| drop(tell.send(Told::Samples(samples)));
                let end = demux::decode_live(Locked(Mutex::new(source)), container, open, each);
                // Nobody may listen any more.
                let _ = tell.send(Told::Over(end));
            })
            .map_err(|e| Error::Batch(format!("no thread for a decoder: {e}")))?;
        let mut reader = Self { bytes, told, over: false };
        reader.gather()?;
        Ok(reader)
    }

    fn push(&mut self, bytes: &[u8]) -> Result<Vec<f32>> {
        if self.over || bytes.is_empty() || self.bytes.send(bytes.to_vec()).is_err() {
            return Ok(Vec::new());
        }
        self.gather()
    }

    fn finish(self) -> Result<Vec<f32>> {
        let Self { bytes, told, over } = self;
        drop(bytes);
        if over {
            return Ok(Vec::new());
        }
        let mut samples = Vec::new();
        loop {
            match told.recv() {
                Ok(Told::Samples(more)) => samples.extend(more),
                // It learns of the end by asking.
                Ok(Told::Hungry) => {}
                Ok(Told::Over(end)) => {
                    samples.extend(end?);
                    return Ok(samples);
                }
                Err(_) => return Err(broke_down()),
            }
        }
    }

    /// What the reader makes of what it has, until it wants more.
    fn gather(&mut self) -> Result<Vec<f32>> {
        let mut samples = Vec::new();
        loop {
            match self.told.recv() {
                Ok(Told::Samples(more)) => samples.extend(more),
                Ok(Told::Hungry) => return Ok(samples),
                Ok(Told::Over(end)) => {
                    self.over = true;
                    samples.extend(end?);
                    return Ok(samples);
                }
                Err(_) => return Err(broke_down()),
            }
        }
    }
}

fn broke_down() -> Error {
    Error::UndecodableAudio("the decoder broke down".into())
}

/// The bytes as the reader's thread sees them.
struct Source {
    given: Receiver<Vec<u8>>,
    tell: Sender<Told>,
    piece: Vec<u8>,
    at: usize,
}

impl Source {
    fn read(&mut self, out: &mut [u8]) -> usize {
        if self.at == self.piece.len() {
            let _ = self.tell.send(Told::Hungry);
            (self.piece, self.at) = (self.given.recv().unwrap_or_default(), 0);
        }
        let n = out.len().min(self.piece.len() - self.at);
        out[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        n
    }
}

/// A source that symphonia may share between threads, though it never does.
struct Locked(Mutex<Source>);

impl Read for Locked {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        Ok(self.0.get_mut().unwrap_or_else(PoisonError::into_inner).read(out))
    }
}
