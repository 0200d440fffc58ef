//! Transcripts → events: answers come back in any order, finals leave in that of the audio.

use super::{Agreement, Cause, Event, Heard, Language, Stream, Ticket, seconds};
use crate::{decode::Word, engine::Transcript};
use std::time::Duration;

/// What waits for its turn to be told.
#[derive(Debug)]
pub(super) enum Item<L> {
    Utterance(Utterance<L>),
    Flushed,
    Closed,
}

#[derive(Debug)]
pub(super) struct Utterance<L> {
    pub(super) id: u64,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) cause: Cause,
    pub(super) agreement: Agreement,
    pub(super) heard: Option<Heard<L>>,
}

impl<L: Language> Stream<L> {
    /// Takes the engine's answer to one [`Read`](super::Read).
    pub fn heard(&mut self, ticket: Ticket, mut heard: Heard<L>, now: Duration) {
        let offset = seconds(ticket.from);
        let others = heard.alternatives.iter_mut().flat_map(|a| &mut a.words);
        for word in heard.transcript.words.iter_mut().chain(others) {
            (word.start, word.end) = (word.start + offset, word.end + offset);
        }
        if ticket.whole {
            let asked = |item: &&mut Item<L>| matches!(item, Item::Utterance(u) if u.id == ticket.utterance);
            if let Some(Item::Utterance(utterance)) = self.pending.iter_mut().find(asked) {
                utterance.heard = Some(heard);
            }
            self.tell(now);
        } else if self.is_open(ticket) {
            self.reading = false;
            self.partial(ticket, heard, now);
        }
    }

    /// A closed utterance has no answer and will have none: the stream is over once what came before it is told.
    pub fn break_off(&mut self, ticket: Ticket) {
        let lost = |item: &Item<L>| matches!(item, Item::Utterance(u) if u.id == ticket.utterance);
        let Some(at) = self.pending.iter().position(lost) else { return };
        self.pending.truncate(at);
        self.pending.push_back(Item::Closed);
        self.due.retain(|read| read.ticket.utterance < ticket.utterance);
        self.tell(Duration::ZERO);
    }

    /// An interim reading was not answered; it is asked for again when it is due again.
    pub fn skipped(&mut self, ticket: Ticket) {
        if !ticket.whole && self.is_open(ticket) {
            self.reading = false;
        }
    }

    /// What there is to tell next.
    pub fn event(&mut self) -> Option<Event<L>> {
        self.events.pop_front()
    }

    /// Closed audio that has no final yet.
    pub fn backlog(&self) -> Duration {
        let waiting = self.pending.iter().map(|item| match item {
            Item::Utterance(u) => u.end - u.start,
            Item::Flushed | Item::Closed => 0,
        });
        Duration::from_secs_f64(seconds(waiting.sum()))
    }

    /// Whether a reading is of the utterance that is still open, and of what has not been cleared.
    fn is_open(&self, ticket: Ticket) -> bool {
        ticket.utterance == self.closed && ticket.from == self.speech
    }

    fn partial(&mut self, ticket: Ticket, heard: Heard<L>, now: Duration) {
        let Heard { language, transcript, .. } = heard;
        let space = language.space();
        let (stable, rest) = self.agreement.read(transcript.words, seconds(ticket.to));
        let (stable, mut unstable) = (join(stable, space), join(rest, space));
        if !stable.is_empty() && !unstable.is_empty() {
            unstable.insert_str(0, space);
        }
        let lag = self.lag(ticket.to, now);
        let (start, end) = (seconds(self.speech), seconds(ticket.to));
        self.events.push_back(Event::Partial {
            utterance: ticket.utterance,
            start,
            end,
            stable,
            unstable,
            language,
            lag,
        });
    }

    /// Tells what is at the head of the line and known.
    pub(super) fn tell(&mut self, now: Duration) {
        while let Some(item) = self.pending.front() {
            if matches!(item, Item::Utterance(u) if u.heard.is_none()) {
                return;
            }
            match self.pending.pop_front() {
                Some(Item::Utterance(utterance)) => self.finish(utterance, now),
                Some(Item::Flushed) => self.events.push_back(Event::Flushed),
                Some(Item::Closed) => {
                    let seconds = seconds(self.end());
                    self.events.push_back(Event::Closed { seconds, finals: self.told });
                }
                None => return,
            }
        }
    }

    fn finish(&mut self, utterance: Utterance<L>, now: Duration) {
        let Utterance { id, start, end, cause, agreement, heard } = utterance;
        let Some(Heard { language, transcript: Transcript { text, words, .. }, alternatives }) = heard else {
            return;
        };
        self.told += 1;
        let lag = self.lag(end, now);
        while self.arrivals.front().is_some_and(|(to, _)| *to < end) {
            self.arrivals.pop_front();
        }
        let revised = !text.starts_with(&join(agreement.stable(), language.space()));
        let (start, end) = (seconds(start), seconds(end));
        let utterance = id;
        self.events.push_back(Event::Final {
            utterance,
            start,
            end,
            text,
            words,
            alternatives,
            language,
            cause,
            revised,
            lag,
        });
    }

    fn lag(&self, sample: u64, now: Duration) -> Duration {
        let came = self.arrivals.iter().find(|(to, _)| *to >= sample).map_or(now, |(_, came)| *came);
        now.saturating_sub(came)
    }
}

fn join(words: &[Word], space: &str) -> String {
    words.iter().map(|w| w.word.as_str()).collect::<Vec<_>>().join(space)
}
