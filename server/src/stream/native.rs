//! `s3router.v1`, the house's own protocol: [`s3router_proto::stream`] has the messages and the rules.

use super::{
    Input, LONGEST_S, Output, Speech, Wish,
    socket::{Dialect, Link, Step},
    wish::speech,
};
use crate::{
    error::ApiError,
    intake::decoding::Decoding,
    render::{mean, native::reading},
};
use axum::body::Bytes;
use s3router_core::{
    decode,
    stream::{Cause, Event},
};
use s3router_proto::{
    Alternative, Word,
    stream::{ClientMessage, ServerMessage, Start, StreamLimits},
};
use serde_json::Value;
use std::{collections::VecDeque, time::Duration};

/// One connection.
pub(crate) struct Native {
    query: Result<Start, ApiError>,
    words: bool,
    decoding: Decoding,
    open: bool,
    /// Audio has come: it is too late for another `start`.
    begun: bool,
    seq: u64,
    /// Of flushes not answered yet.
    flushes: VecDeque<Value>,
}

impl Native {
    /// With what the query said.
    pub(crate) fn new(query: Result<Start, ApiError>) -> Self {
        let (decoding, flushes) = (Decoding::default(), VecDeque::new());
        Self { query, words: true, decoding, open: false, begun: false, seq: 0, flushes }
    }

    fn open(&mut self, start: &Start, link: &Link) -> Result<Vec<Step>, ApiError> {
        let wish = Wish::read(start, &link.app)?;
        self.words = start.words.unwrap_or(true);
        self.decoding = wish.decoding.clone();
        self.open = true;
        let config = &link.app.config;
        let ready = ServerMessage::Ready {
            seq: self.next(),
            session: link.request_id.clone(),
            lang: wish.speech.lang().into(),
            pack: wish.speech.proof(),
            limits: StreamLimits {
                max_audio_s: config.streams.max_stream_seconds.get(),
                max_utterance_s: LONGEST_S,
                idle_s: config.streams.stream_idle_seconds.get(),
                max_frame_bytes: config.limits.max_body_bytes as u64,
            },
        };
        Ok(vec![Step::Open(Box::new(wish)), say(&ready)])
    }

    fn next(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    fn error(&mut self, error: &ApiError, fatal: bool, link: &Link) -> ServerMessage {
        ServerMessage::Error { seq: self.next(), body: error.body(&link.request_id), fatal }
    }

    fn complain(&mut self, error: &ApiError, link: &Link) -> Vec<Step> {
        vec![say(&self.error(error, false, link))]
    }

    fn begin(&mut self, start: Start, link: &Link) -> Result<Vec<Step>, ApiError> {
        if self.begun {
            let message =
                "`start` comes before the audio: this stream has begun; `lang` switches the language";
            return Ok(self.complain(&ApiError::invalid("type", message), link));
        }
        self.open(&start.or(self.query.clone().unwrap_or_default()), link)
    }

    fn flush(&mut self, id: Value, link: &Link) -> Vec<Step> {
        if id.is_object() || id.is_array() {
            return self.complain(&ApiError::invalid("id", "`id` of a flush is a number or a string"), link);
        }
        self.flushes.push_back(id);
        vec![Step::Do(Input::Flush)]
    }

    /// A session's event as a message; `None` for what this protocol leaves out.
    fn event(&mut self, event: Event<Speech>) -> Option<ServerMessage> {
        Some(match event {
            Event::Began { .. } | Event::Ended { .. } => return None,
            Event::Partial { utterance, start, end, stable, unstable, language, lag } => {
                ServerMessage::Partial {
                    seq: self.next(),
                    utterance,
                    start,
                    end,
                    stable,
                    unstable,
                    lang: language.lang().into(),
                    lag_ms: ms(lag),
                }
            }
            Event::Final {
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
            } => {
                let confidence = mean(words.iter().map(|w| w.confidence));
                let best = || vec![Alternative { text: text.clone(), confidence, score: None }];
                let listed = (self.decoding.alternatives > 0).then(|| match alternatives.is_empty() {
                    true => best(),
                    false => alternatives.iter().map(reading).collect(),
                });
                ServerMessage::Final {
                    seq: self.next(),
                    utterance,
                    start,
                    end,
                    text,
                    lang: language.lang().into(),
                    pack: language.proof(),
                    languages: language.languages(),
                    confidence,
                    alternatives: listed,
                    words: self.words.then(|| words.into_iter().map(word).collect()),
                    speech_final: cause != Cause::Length,
                    revised,
                    lag_ms: ms(lag),
                }
            }
            Event::Flushed => {
                ServerMessage::Flushed { seq: self.next(), id: self.flushes.pop_front().unwrap_or_default() }
            }
            Event::Closed { seconds, finals } => {
                ServerMessage::Closed { seq: self.next(), audio_s: seconds, finals }
            }
        })
    }
}

impl Dialect for Native {
    fn hello(&mut self, link: &Link) -> Result<Vec<Step>, ApiError> {
        match self.query.clone()? {
            start if start.lang.is_some() => self.open(&start, link),
            _ => Ok(Vec::new()),
        }
    }

    fn text(&mut self, text: &str, link: &Link) -> Result<Vec<Step>, ApiError> {
        let message = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => {
                let message = format!("this control message is not understood: {error}");
                return Ok(self.complain(&ApiError::invalid("type", message), link));
            }
        };
        match message {
            ClientMessage::Start(start) => self.begin(start, link),
            ClientMessage::Keepalive => Ok(vec![Step::Do(Input::Keepalive)]),
            ClientMessage::Stop if !self.open => Ok(vec![
                say(&ServerMessage::Closed { seq: self.next(), audio_s: 0.0, finals: 0 }),
                Step::Close,
            ]),
            ClientMessage::Stop => Ok(vec![Step::Do(Input::Stop)]),
            _ if !self.open => Err(unopened()),
            ClientMessage::Flush { id } => Ok(self.flush(id, link)),
            ClientMessage::Lang { lang, languages } => {
                match speech(Some(&lang), languages, &self.decoding, &link.app) {
                    Ok(speech) => Ok(vec![Step::Do(Input::Language(speech))]),
                    Err(error) => Ok(self.complain(&error, link)),
                }
            }
        }
    }

    fn audio(&mut self, bytes: Bytes, _: &Link) -> Result<Vec<Step>, ApiError> {
        if !self.open {
            return Err(unopened());
        }
        self.begun = true;
        Ok(vec![Step::Do(Input::Audio(bytes))])
    }

    fn tell(&mut self, output: Output, link: &Link) -> Vec<Step> {
        let message = match output {
            Output::Event(event) => self.event(event),
            Output::Hungry => None,
            Output::Failed(error) => Some(self.error(&error, true, link)),
            Output::Lagging(lag) => Some(ServerMessage::Warning {
                seq: self.next(),
                code: "lagging".into(),
                message: format!(
                    "the texts are {:.1} s behind the audio: the server is busy",
                    lag.as_secs_f64()
                ),
                lag_ms: ms(lag),
            }),
        };
        message.iter().map(say).collect()
    }

    fn fail(&mut self, error: &ApiError, link: &Link) -> Vec<String> {
        let error = self.error(error, true, link);
        let closed = ServerMessage::Closed { seq: self.next(), audio_s: 0.0, finals: 0 };
        [error, closed].iter().map(json).collect()
    }
}

fn unopened() -> ApiError {
    ApiError::invalid(
        "type",
        "the stream has not begun: send `{\"type\":\"start\",\"lang\":\"en\"}` first, or `?lang=en`",
    )
}

fn say(message: &ServerMessage) -> Step {
    Step::Say(json(message))
}

fn json(message: &ServerMessage) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

fn word(w: decode::Word) -> Word {
    // Twentieths of a millisecond are plenty, and keep the JSON short.
    let round = |t: f64| (t * 1e4).round() / 1e4;
    Word { word: w.word, start: round(w.start), end: round(w.end), confidence: w.confidence, channel: None }
}

fn ms(lag: Duration) -> f64 {
    (lag.as_secs_f64() * 1e4).round() / 10.0
}
