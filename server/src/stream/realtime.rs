//! OpenAI's realtime transcription sessions: [`s3router_proto::realtime`] has the events.
//!
//! An utterance is an item: by voice activity, or by `commit`. Deltas are what is settled, so that together they are
//! the transcript; the stretches in which nobody spoke make no item.

use super::{
    Input, Output, Speech, realtime_session,
    socket::{Dialect, Link, Step},
};
use crate::error::ApiError;
use axum::body::Bytes;
use base64::{Engine, engine::general_purpose::STANDARD};
use s3router_core::stream::{Cause, Event};
use s3router_proto::{
    ErrorKind,
    openai::Usage,
    realtime::{ClientEvent, Fault, ServerEvent, ServerMessage, Session, Transcription},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// One connection.
pub(crate) struct Realtime {
    session: Session,
    running: bool,
    events: u64,
    /// Items without a transcript: by utterance, the part of it that was told.
    open: BTreeMap<u64, String>,
    last_item: Option<String>,
    /// A commit has closed something.
    committed: bool,
}

impl Realtime {
    /// With what the query says.
    pub(crate) fn new(
        id: &str,
        model: Option<String>,
        language: Option<String>,
        languages: Vec<String>,
    ) -> Self {
        Self {
            session: realtime_session::new(id, Transcription { model, language, languages }),
            running: false,
            events: 0,
            open: BTreeMap::new(),
            last_item: None,
            committed: false,
        }
    }

    fn say(&mut self, event: ServerEvent) -> Step {
        Step::Say(self.json(event))
    }

    fn json(&mut self, event: ServerEvent) -> String {
        self.events += 1;
        let message = ServerMessage { event_id: format!("event_{}", self.events), event };
        serde_json::to_string(&message).unwrap_or_default()
    }

    fn complain(&mut self, error: &ApiError, event_id: Option<String>) -> Vec<Step> {
        vec![self.say(ServerEvent::Error { error: fault(error, event_id) })]
    }

    fn take(&mut self, event: ClientEvent, link: &Link) -> Result<Vec<Step>, ApiError> {
        match event {
            ClientEvent::SessionUpdate { session } => {
                let inputs = realtime_session::update(&mut self.session, *session, self.running, link)?;
                let updated = ServerEvent::SessionUpdated { session: self.session.clone() };
                let mut steps = vec![self.say(updated)];
                steps.extend(inputs.into_iter().map(Step::Do));
                Ok(steps)
            }
            ClientEvent::Append { audio } => {
                let bytes = STANDARD
                    .decode(audio.trim_end())
                    .map_err(|e| ApiError::invalid("audio", format!("`audio` is not base64: {e}")))?;
                self.append(bytes.into(), link)
            }
            ClientEvent::Commit => {
                let mut steps = self.append(Bytes::new(), link)?;
                steps.push(Step::Do(Input::Flush));
                Ok(steps)
            }
            ClientEvent::Clear => Ok(vec![Step::Do(Input::Clear), self.say(ServerEvent::Cleared {})]),
        }
    }

    fn append(&mut self, bytes: Bytes, link: &Link) -> Result<Vec<Step>, ApiError> {
        let mut steps = Vec::new();
        if !self.running {
            steps.push(Step::Open(Box::new(realtime_session::wish(&self.session, link)?)));
            self.running = true;
        }
        steps.push(Step::Do(Input::Audio(bytes)));
        Ok(steps)
    }

    fn event(&mut self, event: Event<Speech>) -> Vec<Step> {
        match event {
            Event::Began { utterance, at } => {
                self.open.insert(utterance, String::new());
                vec![
                    self.say(ServerEvent::SpeechStarted { item_id: item(utterance), audio_start_ms: ms(at) }),
                ]
            }
            Event::Ended { utterance, end, cause, .. } => self.ended(utterance, end, cause),
            Event::Partial { utterance, stable, .. } => self.delta(utterance, &stable),
            Event::Final { utterance, text, start, end, .. } => self.completed(utterance, text, end - start),
            Event::Flushed if !std::mem::take(&mut self.committed) => {
                let nothing = ApiError::new(ErrorKind::EmptyAudio, "nothing to commit: the buffer is empty");
                self.complain(&nothing, None)
            }
            Event::Flushed | Event::Closed { .. } => Vec::new(),
        }
    }

    fn ended(&mut self, utterance: u64, end: f64, cause: Cause) -> Vec<Step> {
        let spoken = self.open.contains_key(&utterance);
        self.committed |= cause == Cause::Flush;
        if !spoken && cause != Cause::Flush {
            return Vec::new();
        }
        self.open.entry(utterance).or_default();
        let item_id = item(utterance);
        let mut steps = Vec::new();
        if spoken {
            steps.push(
                self.say(ServerEvent::SpeechStopped { item_id: item_id.clone(), audio_end_ms: ms(end) }),
            );
        }
        let previous_item_id = self.last_item.replace(item_id.clone());
        steps.push(self.say(ServerEvent::Committed { item_id, previous_item_id }));
        steps
    }

    /// What `text` adds to what was told of an item; nothing if it contradicts that.
    fn delta(&mut self, utterance: u64, text: &str) -> Vec<Step> {
        let Some(told) = self.open.get_mut(&utterance) else { return Vec::new() };
        let Some(delta) = text.strip_prefix(told.as_str()).filter(|d| !d.is_empty()).map(str::to_owned)
        else {
            return Vec::new();
        };
        told.push_str(&delta);
        vec![self.say(ServerEvent::Delta { item_id: item(utterance), content_index: 0, delta })]
    }

    fn completed(&mut self, utterance: u64, transcript: String, seconds: f64) -> Vec<Step> {
        let mut steps = self.delta(utterance, &transcript);
        if self.open.remove(&utterance).is_some() {
            let usage = Usage { r#type: "duration".into(), seconds: seconds.ceil() as u64 };
            let item_id = item(utterance);
            steps.push(self.say(ServerEvent::Completed { item_id, content_index: 0, transcript, usage }));
        }
        steps
    }
}

impl Dialect for Realtime {
    fn hello(&mut self, _: &Link) -> Result<Vec<Step>, ApiError> {
        let created = ServerEvent::SessionCreated { session: self.session.clone() };
        Ok(vec![self.say(created)])
    }

    fn text(&mut self, text: &str, link: &Link) -> Result<Vec<Step>, ApiError> {
        let event = serde_json::from_str::<Value>(text);
        let id = event.as_ref().ok().and_then(|e| e.get("event_id")?.as_str()).map(str::to_owned);
        let understood = event
            .and_then(serde_json::from_value)
            .map_err(|e| ApiError::invalid("type", format!("this event is not understood: {e}")));
        let done = understood.and_then(|event| self.take(event, link));
        Ok(done.unwrap_or_else(|error| self.complain(&error, id)))
    }

    fn audio(&mut self, _: Bytes, _: &Link) -> Result<Vec<Step>, ApiError> {
        let error =
            ApiError::invalid("type", "audio comes as text here: input_audio_buffer.append, in base64");
        Ok(self.complain(&error, None))
    }

    fn tell(&mut self, output: Output, link: &Link) -> Vec<Step> {
        match output {
            Output::Event(event) => self.event(event),
            Output::Lagging(_) | Output::Hungry => Vec::new(),
            Output::Failed(error) => self.fail(&error, link).into_iter().map(Step::Say).collect(),
        }
    }

    fn fail(&mut self, error: &ApiError, _: &Link) -> Vec<String> {
        let open = std::mem::take(&mut self.open);
        let mut events: Vec<_> = open
            .into_keys()
            .map(|utterance| ServerEvent::Failed {
                item_id: item(utterance),
                content_index: 0,
                error: fault(error, None),
            })
            .collect();
        events.push(ServerEvent::Error { error: fault(error, None) });
        events.into_iter().map(|event| self.json(event)).collect()
    }
}

fn fault(error: &ApiError, event_id: Option<String>) -> Fault {
    Fault {
        r#type: error.kind.family().into(),
        code: error.kind.code().into(),
        message: error.message.clone(),
        param: error.param.clone(),
        event_id,
    }
}

fn item(utterance: u64) -> String {
    format!("item_{utterance}")
}

fn ms(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}
