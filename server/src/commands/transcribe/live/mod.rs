//! Standard input as it comes: partials while somebody speaks, finals as they are made.
//!
//! `socket` asks a server, over its WebSocket; `own` has an engine here. Both hear by the same state machine and tell the
//! same messages, which `told` prints.

mod own;
mod socket;
mod told;

pub(super) use own::run as hear;
pub(super) use socket::run as ask;

use crate::intake::query::Format;
use axum::body::Bytes;
use s3router_core::audio::RawFormat;
use s3router_proto::stream::Start;
use std::{
    io::{IsTerminal, Read, stderr, stdin},
    time::Duration,
};
use tokio::sync::mpsc;

/// Bytes of standard input on their way; more wait in the pipe.
const PIECES: usize = 16;
const PIECE: usize = 8 * 1024;
/// A stream of which nothing at all is heard is ended.
const QUIET: Duration = Duration::from_secs(20);

/// What shall be heard, and how it shall be told.
pub(super) struct Wish<'a> {
    pub(super) lang: &'a str,
    pub(super) raw: Option<RawFormat>,
    /// Text, or each message as a line of JSON.
    pub(super) format: Format,
}

impl Wish<'_> {
    /// Partials only where somebody sees them.
    fn start(&self) -> Start {
        let raw = self.raw.as_ref();
        Start {
            lang: Some(self.lang.into()),
            encoding: raw.map(|raw| raw.encoding.to_string()),
            sample_rate: raw.map(|raw| raw.rate_hz),
            interim: Some(self.format == Format::Json || stderr().is_terminal()),
            ..Start::default()
        }
    }
}

/// Standard input as it comes. The thread ends with the program: nothing wakes a read that waits.
fn microphone() -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (give, take) = mpsc::channel(PIECES);
    std::thread::spawn(move || {
        let mut input = stdin().lock();
        let mut buffer = vec![0; PIECE];
        loop {
            let piece = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => Ok(Bytes::copy_from_slice(&buffer[..n])),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let broken = piece.is_err();
            if give.blocking_send(piece).is_err() || broken {
                break;
            }
        }
    });
    take
}
