//! A WebSocket and a session, whatever the dialect: back-pressure, pings, limits, the orderly end.

use super::{Input, Output, Session, Slot, Wish};
use crate::{app::App, error::ApiError};
use axum::{
    body::Bytes,
    extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket},
};
use s3router_core::stream::Event;
use s3router_proto::ErrorKind;
use std::{
    collections::VecDeque,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long the peer may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a dialect wants done, in order.
pub(crate) enum Step {
    /// A text frame to the client.
    Say(String),
    /// A session, in the place of one that has not begun.
    Open(Box<Wish>),
    /// Something for the session.
    Do(Input),
    /// Everything is said.
    Close,
}

/// What a dialect knows of its surroundings.
pub(crate) struct Link {
    pub(crate) app: Arc<App>,
    pub(crate) request_id: String,
}

/// A translator between one protocol and [`Session`].
pub(crate) trait Dialect: Send {
    /// The client is there.
    ///
    /// # Errors
    /// One that ends the connection.
    fn hello(&mut self, link: &Link) -> Result<Vec<Step>, ApiError>;

    /// A text frame came.
    ///
    /// # Errors
    /// One that ends the connection; what does not is a [`Step::Say`].
    fn text(&mut self, text: &str, link: &Link) -> Result<Vec<Step>, ApiError>;

    /// A binary frame came.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    fn audio(&mut self, bytes: Bytes, link: &Link) -> Result<Vec<Step>, ApiError>;

    /// The session has something to tell.
    fn tell(&mut self, output: Output, link: &Link) -> Vec<Step>;

    /// An error that ends the connection, without a session to tell it.
    fn fail(&mut self, error: &ApiError, link: &Link) -> Vec<String>;
}

/// Why a connection ends.
enum End {
    /// The peer went away, or is not heard any more.
    Gone,
    /// All is said.
    Done,
    /// With an error that has not been told.
    Failed(ApiError),
}

struct Connection<'a, D> {
    socket: WebSocket,
    dialect: D,
    link: &'a Link,
    slot: Slot,
    session: Option<Session>,
    /// Of the error that was told.
    failed: Option<ErrorKind>,
    begun: Instant,
    heard: Instant,
    patience: Duration,
}

/// Serves one connection to its end.
pub(crate) async fn serve<D: Dialect>(socket: WebSocket, dialect: D, link: Link, slot: Slot) {
    let ping = link.app.config.streams.ping_seconds.duration().max(Duration::from_millis(10));
    let begun = Instant::now();
    let mut connection = Connection {
        socket,
        dialect,
        link: &link,
        slot,
        session: None,
        failed: None,
        begun,
        heard: begun,
        patience: 2 * ping,
    };
    let end = connection.run(ping).await;
    // Nothing of it is worked on any more.
    connection.session = None;
    let code = connection.close(end).await;
    let ms = begun.elapsed().as_millis() as u64;
    tracing::info!(request_id = link.request_id, code, ms, "stream ended with {code} after {ms} ms");
}

impl<D: Dialect> Connection<'_, D> {
    async fn run(&mut self, ping: Duration) -> End {
        let mut ticks = interval(ping);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let hello = self.dialect.hello(self.link);
        if let Err(end) = self.perform(hello).await {
            return end;
        }
        let app = Arc::clone(&self.link.app);
        let mut draining = pin!(app.lifecycle.draining());
        loop {
            let hungry = self.session.as_ref().is_none_or(Session::hungry);
            let done = tokio::select! {
                output = next(&mut self.session) => self.tell(output).await,
                message = self.socket.recv(), if hungry => {
                    self.heard = Instant::now();
                    self.take(message).await
                }
                _ = ticks.tick() => self.ping(hungry).await,
                // A session says so itself, after its finals.
                () = &mut draining, if self.session.is_none() => Err(End::Failed(ApiError::draining())),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn take(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let limit = self.link.app.config.limits.max_body_bytes;
        let too_large = || {
            let message = format!("a frame is larger than {limit} bytes, the limit here: cut the audio");
            Err(ApiError::new(ErrorKind::PayloadTooLarge, message))
        };
        let steps = match message {
            None | Some(Ok(Message::Close(_))) => return Err(End::Gone),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Text(text))) if text.len() <= limit => self.dialect.text(&text, self.link),
            Some(Ok(Message::Binary(bytes))) if bytes.len() <= limit => self.dialect.audio(bytes, self.link),
            Some(Ok(_)) => too_large(),
            Some(Err(error)) if is_too_large(&error) => too_large(),
            Some(Err(_)) => return Err(End::Gone),
        };
        self.perform(steps).await
    }

    async fn tell(&mut self, output: Output) -> Result<(), End> {
        match &output {
            Output::Hungry => return Ok(()),
            Output::Failed(error) => self.failed = Some(error.kind),
            Output::Event(_) | Output::Lagging(_) => {}
        }
        let last = matches!(output, Output::Event(Event::Closed { .. }));
        let steps = self.dialect.tell(output, self.link);
        self.perform(Ok(steps)).await?;
        if last { Err(End::Done) } else { Ok(()) }
    }

    async fn perform(&mut self, steps: Result<Vec<Step>, ApiError>) -> Result<(), End> {
        let mut steps = VecDeque::from(steps.map_err(End::Failed)?);
        while let Some(step) = steps.pop_front() {
            match step {
                Step::Say(text) => self.send(Message::Text(text.into())).await?,
                Step::Close => return Err(End::Done),
                Step::Do(input) => {
                    if let Some(session) = &mut self.session {
                        session.give(input);
                    }
                }
                Step::Open(wish) => {
                    let opened = Session::open(&self.link.app, self.slot.clone(), *wish);
                    self.session = Some(opened.map_err(End::Failed)?);
                }
            }
        }
        Ok(())
    }

    async fn ping(&mut self, reading: bool) -> Result<(), End> {
        if !reading {
            // Its pongs wait behind the audio that we leave in the socket.
            self.heard = Instant::now();
        }
        let idle = self.link.app.config.streams.stream_idle_seconds;
        if self.session.is_none() && self.begun.elapsed() > idle.duration() {
            let message = format!("the stream has not begun after {idle} s");
            return Err(End::Failed(ApiError::new(ErrorKind::BodyTimeout, message)));
        }
        if self.heard.elapsed() > self.patience {
            Err(End::Gone)
        } else {
            self.send(Message::Ping(Bytes::new())).await
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(self.patience, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    /// Says why, closes, and reads on for a moment: closing with unread audio would take our last words away.
    async fn close(&mut self, end: End) -> u16 {
        match end {
            End::Gone => return 1006,
            End::Done => {}
            End::Failed(error) => {
                self.failed = Some(error.kind);
                for text in self.dialect.fail(&error, self.link) {
                    if self.send(Message::Text(text.into())).await.is_err() {
                        return 1006;
                    }
                }
            }
        }
        let (code, reason) = self.failed.map_or((1000, ""), |kind| (close_code(kind), kind.code()));
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        if self.send(Message::Close(Some(frame))).await.is_ok() {
            let goodbye = async { while let Some(Ok(_)) = self.socket.recv().await {} };
            let _ = timeout(FAREWELL, goodbye).await;
        }
        code
    }
}

async fn next(session: &mut Option<Session>) -> Output {
    match session {
        Some(session) => session.next().await,
        None => std::future::pending().await,
    }
}

/// The library tells it in words only.
fn is_too_large(error: &axum::Error) -> bool {
    error.to_string().contains("too long")
}

/// RFC 6455's codes where one fits, else 4000 + the HTTP status.
fn close_code(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::Unauthorized => 1008,
        ErrorKind::PayloadTooLarge => 1009,
        ErrorKind::Internal => 1011,
        ErrorKind::QueueFull | ErrorKind::Loading | ErrorKind::Draining => 1013,
        other => 4000 + crate::error::status(other).as_u16(),
    }
}
