//! `StreamingRecognize` over the streams that WebSocket clients use: only the messages differ.

use super::{failed, messages};
use crate::{
    app::App,
    error::{ApiError, Result},
    intake::decoding::Decoding,
    middleware::request::Trace,
    render::{mean, native::reading, proto_word},
    stream::{Input, Output, Session, Slot, Speech, Wish},
    tongue::Spoken,
};
use futures_util::stream::{self, BoxStream, StreamExt};
use s3router_core::stream::{Cause, Event};
use s3router_proto::grpc::{
    Closed, Final, Flush, Partial, Ready, StreamingRecognizeRequest as Request,
    StreamingRecognizeResponse as Response, streaming_recognize_request::Message as Asked,
    streaming_recognize_response::Message as Told,
};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tonic::{Status, Streaming};

/// The longest `endpointing_ms`.
const PAUSE_MS: u32 = 10_000;

/// One call at work.
struct Call {
    app: Arc<App>,
    trace: Trace,
    asked: Streaming<Request>,
    slot: Option<Slot>,
    session: Option<Session>,
    /// How finals become text.
    decoding: Decoding,
    /// Of flushes not answered yet.
    flushes: VecDeque<u64>,
    seq: u64,
    /// Why it will end, once what was taken has been told.
    failure: Option<ApiError>,
    /// Nothing follows.
    over: bool,
}

/// Takes up a stream; its answers follow as it is polled.
///
/// # Errors
/// 503 while loading and while draining, 429 when too many are open.
pub(super) fn open(
    app: Arc<App>,
    trace: Trace,
    asked: Streaming<Request>,
) -> Result<BoxStream<'static, Result<Response, Status>>> {
    let slot = Some(Slot::take(&app, &trace.tenant())?);
    let call = Call {
        app,
        trace,
        asked,
        slot,
        session: None,
        decoding: Decoding::default(),
        flushes: VecDeque::new(),
        seq: 0,
        failure: None,
        over: false,
    };
    Ok(stream::unfold(call, async |mut call| {
        let told = call.next().await?;
        Some((told, call))
    })
    .boxed())
}

impl Call {
    /// The next message, or the status that ends the call; `None` after either end.
    async fn next(&mut self) -> Option<Result<Response, Status>> {
        if self.over {
            let error = self.failure.take()?;
            return Some(Err(failed(&self.trace, error)));
        }
        let told = match self.session {
            None => self.begin().await.map(Some),
            Some(_) => self.go_on().await,
        };
        match told {
            Ok(Some(message)) => Some(Ok(Response { message: Some(message) })),
            Ok(None) => None,
            Err(error) => {
                self.over = true;
                Some(Err(failed(&self.trace, error)))
            }
        }
    }

    /// The first message opens the session.
    async fn begin(&mut self) -> Result<Told> {
        let first = self.asked.message().await.map_err(broken)?.and_then(|request| request.message);
        let Some(Asked::Config(config)) = first else {
            return Err(ApiError::invalid("config", "the first message of a stream is its `config`"));
        };
        let (wish, slot) = (self.wish(config)?, self.slot.take());
        let slot = slot.ok_or_else(|| ApiError::internal("a stream was opened twice"))?;
        let pack = wish.speech.proof().map(messages::pack_ref);
        if let Some(pack) = &pack {
            self.trace.speaks(&pack.id);
        }
        self.decoding = wish.decoding.clone();
        self.session = Some(Session::open(&self.app, slot, wish)?);
        Ok(Told::Ready(Ready { session: self.trace.id().into(), pack }))
    }

    fn wish(&self, config: s3router_proto::grpc::StreamingConfig) -> Result<Wish> {
        let asked = messages::needed(config.config)?;
        let decoding = messages::decoding(&asked)?;
        let mut wish = Wish::new(self.speech(&asked.language, asked.languages.clone(), &decoding)?);
        wish.decoding = decoding;
        wish.raw = messages::raw(asked.raw.as_ref())?;
        wish.interim = config.interim;
        if config.endpointing_ms > PAUSE_MS {
            let message = format!("`endpointing_ms` is {}: at most {PAUSE_MS}", config.endpointing_ms);
            return Err(ApiError::invalid("endpointing_ms", message));
        }
        if config.endpointing_ms > 0 {
            wish.settings.pause = Some(Duration::from_millis(config.endpointing_ms.into()));
        }
        Ok(wish)
    }

    fn speech(&self, language: &str, among: Vec<String>, decoding: &Decoding) -> Result<Speech> {
        let tongue = Spoken::of(language, among)?.lease(&*self.app.packs()?)?;
        decoding.check(&tongue)?;
        Ok(tongue.into())
    }

    /// Until there is something to tell: what the client sends goes in, what the session says comes out.
    async fn go_on(&mut self) -> Result<Option<Told>> {
        loop {
            let Some(session) = &mut self.session else { return Ok(None) };
            let hungry = session.hungry();
            let input = tokio::select! {
                output = session.next() => match self.tell(output) {
                    Some(told) => return Ok(Some(told)),
                    None => continue,
                },
                message = self.asked.message(), if hungry => self.input(message.map_err(broken)?)?,
            };
            if let (Some(session), Some(input)) = (&mut self.session, input) {
                session.give(input);
            }
        }
    }

    /// The end of the client's half is the end of the audio.
    fn input(&mut self, message: Option<Request>) -> Result<Option<Input>> {
        let Some(request) = message else { return Ok(Some(Input::Stop)) };
        Ok(Some(match request.message {
            Some(Asked::Audio(bytes)) => Input::Audio(bytes.into()),
            Some(Asked::Flush(flush)) => {
                self.flushes.push_back(flush.id);
                Input::Flush
            }
            Some(Asked::Language(language)) => {
                Input::Language(self.speech(&language, Vec::new(), &self.decoding)?)
            }
            Some(Asked::Config(_)) => {
                return Err(ApiError::invalid(
                    "config",
                    "a stream has one `config`; `language` switches the language",
                ));
            }
            None => return Ok(None),
        }))
    }

    fn tell(&mut self, output: Output) -> Option<Told> {
        let event = match output {
            Output::Event(event) => event,
            Output::Lagging(_) | Output::Hungry => return None,
            Output::Failed(error) => {
                self.failure = Some(error);
                return None;
            }
        };
        Some(match event {
            Event::Began { .. } | Event::Ended { .. } => return None,
            Event::Partial { utterance, start, end, stable, unstable, language, lag } => {
                let (seq, lag_ms, language) = (self.count(), milliseconds(lag), language.lang().into());
                Told::Partial(Partial { seq, utterance, start, end, stable, unstable, lag_ms, language })
            }
            Event::Final {
                utterance, start, end, text, words, alternatives, language, cause, lag, ..
            } => Told::Final(Final {
                seq: self.count(),
                utterance,
                start,
                end,
                text,
                confidence: mean(words.iter().map(|w| w.confidence)),
                words: words.into_iter().map(|w| messages::word(proto_word(w))).collect(),
                language: language.lang().into(),
                pack: language.proof().map(messages::pack_ref),
                // None, where none were asked for.
                alternatives: alternatives
                    .iter()
                    .take(self.decoding.alternatives)
                    .map(reading)
                    .map(messages::alternative)
                    .collect(),
                languages: language.languages().into_iter().flatten().map(messages::language).collect(),
                speech_final: cause != Cause::Length,
                lag_ms: milliseconds(lag),
            }),
            Event::Flushed => Told::Flushed(Flush { id: self.flushes.pop_front().unwrap_or_default() }),
            Event::Closed { seconds, finals } => {
                self.over = true;
                Told::Closed(Closed { audio: seconds, finals })
            }
        })
    }

    fn count(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }
}

fn milliseconds(lag: Duration) -> u64 {
    u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)
}

fn broken(status: Status) -> ApiError {
    ApiError::new(
        s3router_proto::ErrorKind::InvalidRequest,
        format!("the stream broke off: {}", status.message()),
    )
}
