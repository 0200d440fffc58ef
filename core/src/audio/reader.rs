//! A container's reader on a thread of its own, in lockstep with its owner.

use super::{
    Container, demux,
    live::{Recorded, open},
};
use crate::{Error, Result};
use std::{
    io::Read,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
};

/// A reader that is given bytes and works while its owner waits.
#[derive(Debug)]
pub(super) struct Reader {
    bytes: Sender<Vec<u8>>,
    told: Receiver<Told>,
    /// Of the audio; known once a packet has been decoded.
    rate_hz: Option<u32>,
    /// The reader has come to the end by itself.
    over: bool,
}

enum Told {
    Rate(u32),
    Samples(Vec<f32>),
    /// All that was given is used up.
    Hungry,
    Over(Result<Vec<f32>>),
}

impl Reader {
    pub(super) fn start(container: Container) -> Result<Self> {
        let (bytes, given) = channel();
        let (tell, told) = channel();
        let source = Source { given, tell: tell.clone(), piece: Vec::new(), at: 0 };
        // Nobody may listen any more, to any of it.
        let work = move || {
            let open = |rate_hz, channels| {
                let _ = tell.send(Told::Rate(rate_hz));
                open(rate_hz, channels)
            };
            let each = |samples| drop(tell.send(Told::Samples(samples)));
            let end = demux::decode_live(Locked(Mutex::new(source)), container, open, each);
            let _ = tell.send(Told::Over(end));
        };
        let started = std::thread::Builder::new().name("audio".into()).spawn(work);
        started.map_err(|e| Error::Batch(format!("no thread for a decoder: {e}")))?;
        let mut reader = Self { bytes, told, rate_hz: None, over: false };
        reader.gather(false)?;
        Ok(reader)
    }

    /// What `bytes` complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Option<Recorded>> {
        if self.over || bytes.is_empty() || self.bytes.send(bytes.to_vec()).is_err() {
            return Ok(None);
        }
        self.gather(false)
    }

    /// What is left when there are no more bytes.
    pub(super) fn finish(mut self) -> Result<Option<Recorded>> {
        // It learns of the end by asking.
        self.bytes = channel().0;
        if self.over { Ok(None) } else { self.gather(true) }
    }

    /// What the reader makes of what it has, until it wants more, or `to_the_end`.
    fn gather(&mut self, to_the_end: bool) -> Result<Option<Recorded>> {
        let mut samples = Vec::new();
        loop {
            match self.told.recv() {
                Ok(Told::Rate(rate_hz)) => self.rate_hz = Some(rate_hz),
                Ok(Told::Samples(more)) => samples.extend(more),
                Ok(Told::Hungry) if to_the_end => {}
                Ok(Told::Hungry) => break,
                Ok(Told::Over(end)) => {
                    self.over = true;
                    samples.extend(end?);
                    break;
                }
                Err(_) => return Err(Error::UndecodableAudio("the decoder broke down".into())),
            }
        }
        Ok(self.rate_hz.map(|rate_hz| Recorded { samples, rate_hz }))
    }
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
