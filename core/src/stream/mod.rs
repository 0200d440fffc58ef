//! Audio without an end → utterances, partial texts and finals: one state machine, no clock, socket or thread.
//!
//! ```text
//! push(samples) ─▶ voice (is anybody speaking?) ─▶ endpoint (where does the utterance end?) ─▶ due() / interim()
//!                                                                                                 │ engine
//! event() ◀─ finals in order, partials with what is settled (agree) ◀──────────────── heard(read, transcript)
//! ```
//!
//! The owner calls [`Stream::push`] with 16 kHz samples as they come (`audio::Live` makes them of any encoding),
//! hands every [`Read`] of [`Stream::due`] to the engine and, when there is power to spare, that of
//! [`Stream::interim`]; it returns each transcript by [`Stream::heard`] and passes on what [`Stream::event`] says.
//!
//! What holds, whatever the order of answers, the cut of the audio and the speed:
//! - Finals tile the time line: each begins where the one before ended, the first at 0, the last at [`Stream::stop`].
//! - A final is read from the whole utterance and is a function of the audio, the language and the places of
//!   [`Stream::flush`] alone: no partial, no lag and no cut into pieces can change it.
//! - `stable` only grows within an utterance.
//! - No utterance is longer than [`Settings::longest`], and interim readings are spaced by a tenth of the utterance at
//!   least: reading costs a bounded multiple of the audio's length.
//! - Memory is bounded by `longest` and by what the owner leaves unread ([`Stream::backlog`]).

mod agree;
mod answers;
mod endpoint;
mod event;
mod voice;

#[cfg(test)]
mod tests;

pub use event::{Cause, Event, Heard, Language, Read, Settings, Ticket};

use crate::{audio::RATE_HZ, engine::Transcript};
use agree::Agreement;
use answers::{Item, Utterance};
use endpoint::{Endpointer, Turn};
use std::{collections::VecDeque, time::Duration};
use voice::{FRAME, Voice};

/// Samples per frame of every backbone: utterances begin on one, so that frames fall where those of the whole would.
const HOP: u64 = 320;
/// Of a forced utterance, the part that is certainly in it; the cut is looked for after.
const CERTAIN: f64 = 0.6;
/// The least audio worth an interim reading, samples: 0.32 s.
const SOME: u64 = 5120;

/// One stream; see the module.
#[derive(Debug)]
pub struct Stream<L> {
    settings: Settings,
    voice: Voice,
    ends: Endpointer,
    language: L,
    next_language: Option<L>,
    /// The samples from `base` on.
    buffer: Vec<f32>,
    base: u64,
    /// Where the open stretch begins: the end of the last closed one.
    start: u64,
    /// Where the audio begins that its final is read from: the lead of its speech, or, while nobody speaks, the
    /// first sample that is still held.
    speech: u64,
    /// Closed utterances so far, so also the id of the open one.
    closed: u64,
    /// Finals so far.
    told: u64,
    agreement: Agreement,
    /// How far the open utterance has been read.
    read_to: u64,
    reading: bool,
    pending: VecDeque<Item<L>>,
    due: VecDeque<Read<L>>,
    events: VecDeque<Event<L>>,
    /// When the samples up to here had come.
    arrivals: VecDeque<(u64, Duration)>,
}

impl<L: Language> Stream<L> {
    /// A stream that begins with `language`.
    pub fn new(settings: Settings, language: L) -> Self {
        Self {
            voice: Voice::default(),
            ends: Endpointer::new(settings.threshold, settings.pause.map(samples)),
            settings,
            language,
            next_language: None,
            buffer: Vec::new(),
            base: 0,
            start: 0,
            speech: 0,
            closed: 0,
            told: 0,
            agreement: Agreement::default(),
            read_to: 0,
            reading: false,
            pending: VecDeque::new(),
            due: VecDeque::new(),
            events: VecDeque::new(),
            arrivals: VecDeque::new(),
        }
    }

    /// Takes samples (16 kHz, mono, about -1..=1) that came at `now`, a time on any steady clock.
    pub fn push(&mut self, mut samples: &[f32], now: Duration) {
        if samples.is_empty() {
            return;
        }
        self.arrivals.push_back((self.end() + samples.len() as u64, now));
        while !samples.is_empty() {
            let (piece, rest) = samples.split_at(self.voice.step(samples.len()));
            samples = rest;
            self.buffer.extend_from_slice(piece);
            if let Some(frame) = self.voice.push(piece) {
                match self.ends.take(frame) {
                    Turn::None => {}
                    Turn::Began(at) => self.began(at),
                    Turn::Ended => self.close(self.end(), Cause::Pause),
                }
                self.bound();
            }
        }
    }

    /// Ends the open utterance here; [`Event::Flushed`] follows its final.
    pub fn flush(&mut self) {
        self.close_rest(Cause::Flush);
        self.pending.push_back(Item::Flushed);
        self.tell(Duration::ZERO);
    }

    /// Reads the next utterance under `language`; an open one keeps the language it began with.
    pub fn switch(&mut self, language: L) {
        if self.ends.speaking() { self.next_language = Some(language) } else { self.language = language }
    }

    /// Another pause from here on.
    pub fn wait(&mut self, pause: Option<Duration>) {
        self.settings.pause = pause;
        self.ends.wait(pause.map(samples));
    }

    /// Forgets the open utterance: what has not been closed will be in no final. Returns where it began, seconds.
    pub fn clear(&mut self) -> f64 {
        let begun = seconds(self.start);
        self.reopen(self.end());
        begun
    }

    /// The stream is over: closes what is open, and [`Event::Closed`] follows the last final.
    pub fn stop(&mut self) {
        self.close_rest(Cause::Stop);
        self.pending.push_back(Item::Closed);
        self.tell(Duration::ZERO);
    }

    /// The next closed utterance for the engine. Every one must be answered by [`heard`](Self::heard).
    pub fn due(&mut self) -> Option<Read<L>> {
        self.due.pop_front()
    }

    /// The open utterance for the engine, if a look at it is due and the last one has been answered.
    pub fn interim(&mut self) -> Option<Read<L>> {
        let (end, length) = (self.end(), self.end() - self.speech);
        let every = (samples(self.settings.every) as u64).max(length / 10);
        let fresh = end - self.read_to.max(self.speech);
        if !self.ends.speaking() || self.reading || length < SOME || fresh < every {
            return None;
        }
        (self.reading, self.read_to) = (true, end);
        Some(self.read(self.closed, self.speech, end, false))
    }

    /// Audio taken so far.
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(seconds(self.end()))
    }

    /// Whether somebody is speaking.
    pub fn speaking(&self) -> bool {
        self.ends.speaking()
    }

    fn end(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    fn began(&mut self, at: u64) {
        let lead = samples(self.settings.lead) as u64;
        self.speech = (at.saturating_sub(lead) / HOP * HOP).max(self.speech);
        self.read_to = self.speech;
        // What came before is in the final's time, but will not be read.
        self.buffer.drain(..(self.speech - self.base) as usize);
        self.base = self.speech;
        let at = seconds(at.max(self.start));
        self.events.push_back(Event::Began { utterance: self.closed, at });
    }

    /// Nothing grows for ever: long speech is cut, and a long time without is closed.
    fn bound(&mut self) {
        let (end, longest) = (self.end(), samples(self.settings.longest) as u64);
        if self.ends.speaking() && end - self.speech >= longest {
            let certain = self.speech + (longest as f64 * CERTAIN) as u64;
            let cut = self.ends.quietest(certain, end);
            self.close(cut, Cause::Length);
            self.ends.go_on(cut);
            (self.speech, self.read_to) = (cut, cut);
        } else if !self.ends.speaking() && end - self.start >= longest {
            // What may turn out to be the lead of speech stays.
            self.close(end - samples(self.settings.lead) as u64, Cause::Length);
        } else if !self.ends.audible() {
            self.forget_silence();
        }
    }

    /// Of plain silence only what may be the lead of speech is held.
    fn forget_silence(&mut self) {
        let held = samples(self.settings.lead) + 4 * FRAME;
        if self.buffer.len() > held + RATE_HZ as usize {
            let gone = self.buffer.len() - held;
            self.buffer.drain(..gone);
            self.base += gone as u64;
            (self.speech, self.read_to) = (self.base, self.base);
            self.ends.forget(self.base);
        }
    }

    fn close_rest(&mut self, cause: Cause) {
        if self.end() > self.start {
            self.close(self.end(), cause);
        }
    }

    /// Closes the open stretch at `end`.
    fn close(&mut self, end: u64, cause: Cause) {
        let id = self.closed;
        let read = self.ends.audible() && end > self.speech;
        if read {
            let read = self.read(id, self.speech, end, true);
            self.due.push_back(read);
        }
        let silence = || Heard {
            language: self.language.clone(),
            transcript: Transcript {
                text: String::new(),
                words: Vec::new(),
                seconds: seconds(end - self.start),
                emissions: None,
            },
            alternatives: Vec::new(),
        };
        let utterance = Utterance {
            id,
            start: self.start,
            end,
            cause,
            agreement: std::mem::take(&mut self.agreement),
            heard: (!read).then(silence),
        };
        let (start, until) = (seconds(self.start), seconds(end));
        self.events.push_back(Event::Ended { utterance: id, start, end: until, cause });
        self.pending.push_back(Item::Utterance(utterance));
        self.closed += 1;
        self.reopen(end);
        if !read {
            self.tell(Duration::ZERO);
        }
    }

    /// An empty stretch begins at `start`.
    fn reopen(&mut self, start: u64) {
        self.buffer.drain(..(start - self.base) as usize);
        (self.base, self.start, self.speech, self.read_to) = (start, start, start, start);
        (self.agreement, self.reading) = (Agreement::default(), false);
        self.ends.begin(start);
        if let Some(language) = self.next_language.take() {
            self.language = language;
        }
    }

    fn read(&self, utterance: u64, from: u64, to: u64, whole: bool) -> Read<L> {
        let samples = &self.buffer[(from - self.base) as usize..(to - self.base) as usize];
        let ticket = Ticket { utterance, from, to, whole };
        Read { samples: samples.into(), language: self.language.clone(), ticket }
    }
}

fn samples(time: Duration) -> usize {
    (time.as_secs_f64() * f64::from(RATE_HZ)) as usize
}

fn seconds(samples: u64) -> f64 {
    samples as f64 / f64::from(RATE_HZ)
}
