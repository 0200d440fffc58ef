//! What is known to be over when other work begins: a vector clock for each stream, for each event and for the host.
//!
//! Work runs here at once, in the order in which the host asks for it, so results never show that a wait is missing.
//! Clocks do: of two accesses of an allocation, one of them a write, the later must know that the earlier is over.
//! All threads of the host share one clock, so what one has waited for passes as known to all.

use std::collections::HashMap;

/// How many operations of each stream are over.
type Clock = Vec<u64>;

/// An operation: its stream, and its number there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    stream: usize,
    number: u64,
}

/// Streams by number: 0 is the default one, others count from 1 as they are made.
#[derive(Debug, Default)]
pub(crate) struct Order {
    streams: Vec<Clock>,
    events: HashMap<usize, Clock>,
    host: Clock,
    now: Moment,
    begun: u64,
}

impl Order {
    /// An operation begins on a stream: it knows what the stream has waited for, and the host.
    pub(crate) fn begin(&mut self, stream: usize) {
        let host = self.host.clone();
        let clock = self.clock(stream);
        learn(clock, &host);
        clock[stream] += 1;
        self.now = Moment { stream, number: clock[stream] };
        self.begun += 1;
    }

    /// The operation at work.
    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    /// How many there were on all streams: never twice the same while different ones are at work.
    pub(crate) fn begun(&self) -> u64 {
        self.begun
    }

    /// An event stands for all that a stream has been asked for so far.
    pub(crate) fn record(&mut self, event: usize, stream: usize) {
        let clock = self.clock(stream).clone();
        self.events.insert(event, clock);
    }

    /// What a stream is asked for from now on comes after an event, if that was ever recorded.
    pub(crate) fn wait(&mut self, stream: usize, event: usize) {
        let Some(known) = self.events.get(&event).cloned() else { return };
        learn(self.clock(stream), &known);
    }

    pub(crate) fn forget(&mut self, event: usize) {
        self.events.remove(&event);
    }

    /// The host goes on once a stream has done all that it was asked for.
    pub(crate) fn host_waits(&mut self, stream: usize) {
        let known = self.clock(stream).clone();
        learn(&mut self.host, &known);
    }

    pub(crate) fn host_waits_for_event(&mut self, event: usize) {
        learn(&mut self.host, self.events.get(&event).map_or(&[], Vec::as_slice));
    }

    pub(crate) fn host_waits_for_all(&mut self) {
        (0..self.streams.len()).for_each(|stream| self.host_waits(stream));
    }

    fn clock(&mut self, stream: usize) -> &mut Clock {
        if self.streams.len() <= stream {
            self.streams.resize(stream + 1, Clock::new());
        }
        let clock = &mut self.streams[stream];
        if clock.len() <= stream {
            clock.resize(stream + 1, 0);
        }
        clock
    }

    fn knows(&self, earlier: Moment) -> bool {
        let clock = self.streams.get(self.now.stream);
        earlier.number == 0
            || clock.and_then(|c| c.get(earlier.stream)).is_some_and(|&over| over >= earlier.number)
    }
}

fn learn(clock: &mut Clock, known: &[u64]) {
    if clock.len() < known.len() {
        clock.resize(known.len(), 0);
    }
    clock.iter_mut().zip(known).for_each(|(here, there)| *here = (*here).max(*there));
}

/// Who touched an allocation: whoever wrote it last, and whoever has read it since.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    written: Moment,
    read: Vec<Moment>,
    /// The operations that have been looked at last: a read, a write.
    seen: [u64; 2],
}

impl Touched {
    /// The operation at work touches the allocation.
    ///
    /// # Errors
    /// It may run beside one that it must not run beside.
    pub(crate) fn by(&mut self, order: &Order, write: bool) -> Result<(), String> {
        let seen = &mut self.seen[usize::from(write)];
        if *seen == order.begun() && order.begun() > 0 {
            return Ok(());
        }
        *seen = order.begun();
        let now = order.now();
        let verb = if write { "writes" } else { "reads" };
        let raced = |earlier: Moment, did: &str| {
            Err(format!("stream {} {verb} what stream {} {did}: no wait between", now.stream, earlier.stream))
        };
        if !order.knows(self.written) {
            return raced(self.written, "wrote");
        }
        if !write {
            self.read.retain(|earlier| earlier.stream != now.stream);
            self.read.push(now);
            return Ok(());
        }
        if let Some(&earlier) = self.read.iter().find(|earlier| !order.knows(**earlier)) {
            return raced(earlier, "read");
        }
        (self.written, self.read) = (now, Vec::new());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two streams, a buffer that 1 fills and 2 reads, twice over, with all waits or without one of them.
    fn twice(left_out: Option<usize>) -> Result<(), String> {
        let (mut order, mut buffer) = (Order::default(), Touched::default());
        let (filled, read) = (10, 11);
        for round in 0..2 {
            if left_out != Some(2 * round) {
                order.wait(1, read); // not yet recorded in the first round: nothing to wait for
            }
            order.begin(1);
            buffer.by(&order, true)?;
            order.record(filled, 1);
            if left_out != Some(2 * round + 1) {
                order.wait(2, filled);
            }
            order.begin(2);
            buffer.by(&order, false)?;
            order.record(read, 2);
        }
        Ok(())
    }

    #[test]
    fn a_wait_that_is_left_out_is_seen() {
        assert_eq!(twice(None), Ok(()));
        assert_eq!(twice(Some(0)), Ok(()), "nothing had been read yet");
        assert!(twice(Some(1)).unwrap_err().contains("2 reads what stream 1 wrote"));
        assert!(twice(Some(2)).unwrap_err().contains("1 writes what stream 2 read"));
        assert!(twice(Some(3)).unwrap_err().contains("2 reads what stream 1 wrote"));
    }

    #[test]
    fn what_the_host_has_waited_for_is_over_for_all() {
        let (mut order, mut buffer) = (Order::default(), Touched::default());
        order.begin(1);
        buffer.by(&order, true).unwrap();
        order.host_waits(1);
        order.begin(2);
        buffer.by(&order, true).unwrap();
        order.begin(1);
        assert!(buffer.by(&order, false).is_err(), "2 wrote since");
        order.host_waits_for_all();
        order.begin(1);
        buffer.by(&order, false).unwrap();
    }

    #[test]
    fn waits_are_passed_on_and_an_event_is_what_it_was_when_recorded() {
        let (mut order, mut buffer) = (Order::default(), Touched::default());
        order.begin(1);
        buffer.by(&order, true).unwrap();
        order.record(7, 1);
        order.begin(1);
        buffer.by(&order, true).unwrap();
        order.wait(2, 7);
        order.begin(2);
        assert!(buffer.by(&order, false).is_err(), "the event stood for the first write only");
        order.record(8, 1);
        order.wait(3, 8);
        order.record(9, 3);
        order.wait(2, 9);
        order.begin(2);
        buffer.by(&order, false).unwrap();
    }
}
