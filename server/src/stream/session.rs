//! One stream at work: what came in, the decoder, the state machine, readings in the engine, what goes out.

use super::{
    Slot, Speech, Wish,
    speech::{Answer, Listened, hear, whole},
};
use crate::{
    app::App,
    error::{ApiError, Result},
    intake::decoding::Decoding,
};
use axum::body::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use s3router_core::{
    self as core,
    audio::Live,
    stream::{Event, Stream, Ticket},
};
use s3router_proto::ErrorKind;
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::sleep_until,
};

/// Bytes decoded in one go.
const PIECE: usize = 64 * 1024;
/// Closed audio without a final that stops further reading: bounds memory, and so the lag.
const BACKLOG: Duration = Duration::from_secs(40);
/// Behind by this much a client is warned, and again after it was below the half.
const LAGGING: Duration = Duration::from_secs(2);
/// After an interim reading that waited for the engine, pause for so many times its wait: the busier the engine,
/// the rarer the partials.
const MODESTY: u32 = 4;

/// What a client wants of its stream.
#[derive(Clone, Debug)]
pub enum Input {
    /// Audio, cut anywhere.
    Audio(Bytes),
    /// Everything so far shall become final; answered by [`Event::Flushed`].
    Flush,
    /// The next utterance is read under this language.
    Language(Speech),
    /// Another silence ends utterances from here on.
    Pause(Option<Duration>),
    /// The open utterance is to be forgotten.
    Clear,
    /// Still there.
    Keepalive,
    /// No more audio.
    Stop,
}

/// What a client is told.
#[derive(Clone, Debug)]
pub enum Output {
    /// What the stream says; [`Event::Closed`] is always the last.
    Event(Event<Speech>),
    /// The texts are this far behind the audio that was taken.
    Lagging(Duration),
    /// Nothing to tell: what was given is used up, more may be read from the client.
    Hungry,
    /// Why the stream ends here. Every final of what was taken before has been told; if the engine failed, every final
    /// before the utterance that it failed on.
    Failed(ApiError),
}

type Reading = BoxFuture<'static, (Ticket, Result<Answer>)>;
type Decoded = (Option<Live>, core::Result<Vec<f32>>);

/// One stream; see the module above.
pub struct Session {
    app: Arc<App>,
    slot: Slot,
    interim: bool,
    /// How finals become text, and how partials do, of which one reading is enough.
    finals: Arc<Decoding>,
    partials: Arc<Decoding>,
    stream: Stream<Speech>,
    /// Away while it decodes; gone when the audio is over.
    live: Option<Live>,
    decoding: Option<JoinHandle<Decoded>>,
    inputs: VecDeque<Input>,
    readings: FuturesUnordered<Reading>,
    /// Which language the open utterance was last heard to be in.
    listened: Option<Listened>,
    outputs: VecDeque<Output>,
    draining: BoxFuture<'static, ()>,
    begun: Instant,
    last_input: Instant,
    next_interim: Instant,
    /// When the open utterance began to be spoken, until its first partial.
    awaited: Option<Instant>,
    lagging: bool,
    /// Whether the owner knows that more may be read.
    told_hungry: bool,
    ending: bool,
    /// Nothing more will be told.
    over: bool,
    failure: Option<ApiError>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Session {
    /// Opens a stream.
    ///
    /// # Errors
    /// 400 for an impossible encoding.
    pub fn open(app: &Arc<App>, slot: Slot, wish: Wish) -> Result<Self> {
        let (drain, now) = (Arc::clone(app), Instant::now());
        Ok(Self {
            app: Arc::clone(app),
            slot,
            interim: wish.interim,
            partials: Arc::new(Decoding { alternatives: 0, ..wish.decoding.clone() }),
            finals: Arc::new(wish.decoding),
            stream: Stream::new(wish.settings, wish.speech),
            live: Some(Live::new(wish.raw)?),
            decoding: None,
            inputs: VecDeque::new(),
            readings: FuturesUnordered::new(),
            listened: None,
            outputs: VecDeque::new(),
            draining: Box::pin(async move { drain.lifecycle.draining().await }),
            begun: now,
            last_input: now,
            next_interim: now,
            awaited: None,
            lagging: false,
            told_hungry: true,
            ending: false,
            over: false,
            failure: None,
        })
    }

    /// Whether more should be read from the client now. While not, leave it in the socket; [`Output::Hungry`] says
    /// when that is over.
    pub fn hungry(&self) -> bool {
        self.inputs.is_empty() && self.decoding.is_none() && !self.full()
    }

    /// Takes what the client sent. After [`Input::Stop`] nothing counts any more.
    pub fn give(&mut self, input: Input) {
        self.last_input = Instant::now();
        self.told_hungry = false;
        if !self.ending {
            self.inputs.push_back(input);
        }
    }

    /// The next thing to tell. Cancel-safe; all work of the stream is done in here.
    pub async fn next(&mut self) -> Output {
        loop {
            self.work();
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            if self.hungry() && !std::mem::replace(&mut self.told_hungry, true) {
                return Output::Hungry;
            }
            let idle = self.last_input + self.app.config.streams.stream_idle_seconds.duration();
            tokio::select! {
                Some(answer) = self.readings.next() => self.answered(answer),
                decoded = finished(&mut self.decoding) => self.decoded(decoded),
                () = &mut self.draining, if !self.ending => self.end(Some(ApiError::draining())),
                () = sleep_until(idle.into()), if !self.ending && self.readings.is_empty() => {
                    let idle = self.app.config.streams.stream_idle_seconds;
                    let message = format!("no audio for {idle} s: send `keepalive` while there is none");
                    self.end(Some(ApiError::new(ErrorKind::BodyTimeout, message)));
                }
            }
        }
    }

    /// Everything that can be done without waiting.
    fn work(&mut self) {
        while !self.over {
            while let Some(read) = self.stream.due() {
                let (app, decoding) = (Arc::clone(&self.app), Arc::clone(&self.finals));
                self.readings.push(Box::pin(whole(
                    app,
                    self.slot.clone(),
                    read,
                    decoding,
                    self.listened.clone(),
                )));
            }
            self.look();
            while let Some(event) = self.stream.event() {
                self.note(event);
            }
            if self.decoding.is_some() || self.full() {
                return;
            }
            let Some(input) = self.inputs.pop_front() else { return };
            match input {
                Input::Audio(bytes) => self.decode(bytes),
                Input::Flush => {
                    self.settle();
                    self.stream.flush();
                }
                Input::Language(language) => self.stream.switch(language),
                Input::Pause(pause) => self.stream.wait(pause),
                Input::Clear => {
                    self.settle();
                    self.stream.clear();
                }
                Input::Keepalive => {}
                Input::Stop => self.end(None),
            }
        }
    }

    fn full(&self) -> bool {
        self.stream.backlog() > BACKLOG
    }

    /// An interim reading, if one is due and the engine has power to spare.
    fn look(&mut self) {
        if !self.interim || self.ending || !self.stream.speaking() || Instant::now() < self.next_interim {
            return;
        }
        let Ok(turn) = Arc::clone(&self.app.interim).try_acquire_owned() else { return };
        let Ok(permit) = self.slot.admit() else { return };
        let Some(read) = self.stream.interim() else { return };
        let (app, decoding, listened) =
            (Arc::clone(&self.app), Arc::clone(&self.partials), self.listened.clone());
        self.readings.push(Box::pin(async move {
            let _turn = turn;
            (read.ticket, hear(&app, &read, &decoding, listened, permit).await)
        }));
    }

    fn answered(&mut self, (ticket, outcome): (Ticket, Result<Answer>)) {
        // The client was not read meanwhile, perhaps.
        self.last_input = Instant::now();
        match outcome {
            Ok(Answer { heard, queue, listened }) => {
                if !ticket.whole {
                    self.next_interim = Instant::now() + queue * MODESTY;
                    self.listened = listened;
                }
                self.stream.heard(ticket, heard, self.begun.elapsed());
            }
            // A partial is a courtesy.
            Err(_) if !ticket.whole => self.stream.skipped(ticket),
            Err(error) => self.break_off(ticket, error),
        }
    }

    /// Starts on a piece of the bytes; the rest goes back to the front.
    fn decode(&mut self, mut bytes: Bytes) {
        let Some(mut live) = self.live.take() else { return };
        let piece = bytes.split_to(bytes.len().min(PIECE));
        if !bytes.is_empty() {
            self.inputs.push_front(Input::Audio(bytes));
        }
        if live.is_light() {
            let samples = live.push(&piece);
            self.decoded((Some(live), samples));
        } else {
            self.decoding = Some(spawn_blocking(move || {
                let samples = live.push(&piece);
                (Some(live), samples)
            }));
        }
    }

    fn decoded(&mut self, (live, samples): Decoded) {
        self.live = live;
        let limit = self.app.config.streams.max_stream_seconds;
        match samples {
            Ok(samples) => self.stream.push(&samples, self.begun.elapsed()),
            Err(error) => self.fail(error.into()),
        }
        if self.stream.length() > limit.duration() {
            let message = format!("the stream is longer than {limit} s, the limit here: open another one");
            self.fail(ApiError::new(ErrorKind::AudioTooLong, message));
        }
        if self.ending {
            self.wind_up();
        }
    }

    /// What the decoder still holds belongs before what comes now.
    fn settle(&mut self) {
        match self.live.as_mut().map(Live::flush) {
            Some(Ok(tail)) => self.stream.push(&tail, self.begun.elapsed()),
            Some(Err(error)) => self.end(Some(error.into())),
            None => {}
        }
    }

    /// Takes no more audio; what was taken is told, then why it ended, if it was not the client's wish.
    fn end(&mut self, failure: Option<ApiError>) {
        self.ending = true;
        self.inputs.clear();
        self.failure = self.failure.take().or(failure);
        self.wind_up();
    }

    fn fail(&mut self, error: ApiError) {
        self.ending = true;
        self.inputs.clear();
        self.failure.get_or_insert(error);
    }

    /// Brings the decoder to its end, then the stream.
    fn wind_up(&mut self) {
        match self.live.take() {
            Some(live) => self.decoding = Some(spawn_blocking(move || (None, live.finish()))),
            None if self.decoding.is_none() => self.stream.stop(),
            // It comes back here.
            None => {}
        }
    }

    /// The engine failed on an utterance: it and what follows cannot be told.
    fn break_off(&mut self, ticket: Ticket, error: ApiError) {
        self.fail(error);
        (self.live, self.decoding) = (None, None);
        self.stream.break_off(ticket);
    }

    /// Records an event and lines it up.
    fn note(&mut self, event: Event<Speech>) {
        let metrics = &self.app.metrics;
        match &event {
            Event::Began { .. } => self.awaited = Some(Instant::now()),
            Event::Partial { lag, .. } => {
                if let Some(begun) = self.awaited.take() {
                    metrics.stream_first_partial.observe(begun.elapsed().as_secs_f64());
                }
                metrics.stream_lag.observe(lag.as_secs_f64());
                self.warn(*lag);
            }
            Event::Final { lag, start, end, language, .. } => {
                metrics.stream_final_latency.observe(lag.as_secs_f64());
                if let Some(pack) = language.pack() {
                    metrics.transcribed(&pack.meta.language, end - start);
                }
                self.warn(*lag);
            }
            Event::Closed { .. } => {
                self.over = true;
                if let Some(error) = self.failure.take() {
                    self.outputs.push_back(Output::Failed(error));
                }
            }
            Event::Ended { .. } | Event::Flushed => {}
        }
        self.outputs.push_back(Output::Event(event));
    }

    fn warn(&mut self, lag: Duration) {
        if lag > LAGGING && !self.lagging {
            self.outputs.push_back(Output::Lagging(lag));
        }
        self.lagging = lag > if self.lagging { LAGGING / 2 } else { LAGGING };
    }
}

/// The decoder's outcome; never, while it does nothing.
async fn finished(decoding: &mut Option<JoinHandle<Decoded>>) -> Decoded {
    let Some(work) = decoding else { return std::future::pending().await };
    let outcome = work.await;
    *decoding = None;
    outcome.unwrap_or_else(|e| {
        (None, Err(core::Error::UndecodableAudio(format!("the decoder broke down: {e}"))))
    })
}
