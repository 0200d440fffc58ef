//! What goes into a stream and what comes out.

use crate::{decode::Word, engine::Transcript, packs::LoadedPack, reading::Candidate};
use std::{sync::Arc, time::Duration};

/// How a stream is cut and read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Silence that ends an utterance; `None` leaves that to `flush` and `longest`.
    pub pause: Option<Duration>,
    /// Score above which the voice detector is believed, 0..=1.
    pub threshold: f32,
    /// Audio before the onset that is read too.
    pub lead: Duration,
    /// Longest utterance; one that goes on is cut where it is quietest.
    pub longest: Duration,
    /// Least new audio between two interim readings.
    pub every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pause: Some(Duration::from_millis(500)),
            threshold: 0.5,
            lead: Duration::from_millis(500),
            longest: Duration::from_secs(20),
            every: Duration::from_millis(400),
        }
    }
}

/// What reads an utterance: a pack, several of which one will, or whatever a test makes of it.
pub trait Language: Clone {
    /// What stands between two words.
    fn space(&self) -> &str;
}

impl Language for Arc<LoadedPack> {
    fn space(&self) -> &str {
        if self.vocab.separator().is_some() { " " } else { "" }
    }
}

/// Audio that the engine shall read.
#[derive(Clone, Debug)]
pub struct Read<L> {
    /// `(S,)`, 16 kHz.
    pub samples: Arc<[f32]>,
    /// Under which language.
    pub language: L,
    /// To be returned with the transcript.
    pub ticket: Ticket,
}

/// What the engine made of it.
#[derive(Clone, Debug)]
pub struct Heard<L> {
    /// What read it, of what was asked for.
    pub language: L,
    /// Text and words, on the clock of what was read.
    pub transcript: Transcript,
    /// Several ways to read it, best first, where they were asked for.
    pub alternatives: Vec<Candidate>,
}

/// Which reading a transcript answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(super) utterance: u64,
    /// Where what was read begins, samples of the stream; grows from utterance to utterance.
    pub from: u64,
    /// Where it ends.
    pub(super) to: u64,
    /// Whether it was the whole utterance.
    pub whole: bool,
}

/// Why an utterance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A pause after speech.
    Pause,
    /// It was too long and goes on in the next; or a long time in which nobody spoke.
    Length,
    /// The client asked for what there is.
    Flush,
    /// The stream is over.
    Stop,
}

/// What a stream has to tell. Times are seconds from its first sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<L> {
    /// Somebody began to speak.
    Began {
        /// Counts from 0.
        utterance: u64,
        /// Where.
        at: f64,
    },
    /// An utterance is closed; its final follows when it has been read.
    Ended {
        /// Which.
        utterance: u64,
        /// Where its final begins.
        start: f64,
        /// Where its final ends.
        end: f64,
        /// Why.
        cause: Cause,
    },
    /// What the open utterance sounds like so far: `stable` followed by `unstable`.
    Partial {
        /// Which.
        utterance: u64,
        /// Where its audio begins.
        start: f64,
        /// How far it was read.
        end: f64,
        /// Settled: the next partial of this utterance begins with it.
        stable: String,
        /// May still change; begins with the space that parts it from `stable`.
        unstable: String,
        /// What read it.
        language: L,
        /// How long ago the last sample that was read had come.
        lag: Duration,
    },
    /// What was said. Never changes.
    Final {
        /// Which.
        utterance: u64,
        /// The end of the final before.
        start: f64,
        /// Where it ends.
        end: f64,
        /// The text.
        text: String,
        /// Words, on the stream's clock.
        words: Vec<Word>,
        /// Several ways to read it, best first, where they were asked for.
        alternatives: Vec<Candidate>,
        /// What read it; of silence that nothing read, what was asked for.
        language: L,
        /// Why it ended.
        cause: Cause,
        /// The text does not begin with what was last called stable.
        revised: bool,
        /// How long ago its last sample had come.
        lag: Duration,
    },
    /// Everything before the oldest unanswered flush is final.
    Flushed,
    /// Every final has been told.
    Closed {
        /// Audio, seconds.
        seconds: f64,
        /// How many there were.
        finals: u64,
    },
}
