//! The dialect of the Vosk server: every binary frame is answered by one message, as its clients wait for one.
//!
//! `{"config":{"sample_rate","words","max_alternatives","model"}}`, 16-bit PCM, `{"reset":1}`, `{"eof":1}` →
//! `{"partial"}`, `{"text","result":[{"word","start","end","conf"}]}`. The language is `?lang=tr` or
//! `config.model`. An answer tells what is known by then: a final that is not ready comes with a later frame, and
//! with `eof` or `reset` at the latest.

use super::{
    Input, Output, Wish,
    socket::{Dialect, Link, Step},
    wish::language,
};
use crate::{error::ApiError, render::mean};
use axum::body::Bytes;
use s3router_core::{
    audio::{Encoding, RATES_HZ, RawFormat},
    decode::Word,
    packs::LoadedPack,
    stream::Event,
};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::{collections::VecDeque, sync::Arc};

/// One connection.
pub(crate) struct Vosk {
    lang: Option<String>,
    config: Config,
    open: bool,
    /// Finals that no frame has asked for yet: text and words.
    finals: VecDeque<(String, Vec<Word>)>,
    partial: String,
    space: &'static str,
}

/// Fields that mean something here; others (`phrase_list`, ...) are Vosk's own and are let through.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    #[serde(deserialize_with = "rate")]
    sample_rate: Option<u32>,
    #[serde(deserialize_with = "truth")]
    words: bool,
    #[serde(deserialize_with = "truth")]
    max_alternatives: bool,
    model: Option<String>,
}

/// Clients write 8000, 8000.0 and "8000".
fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let value = Value::deserialize(from)?;
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
    Ok(number.map(|rate| rate as u32))
}

/// Clients write `true` and `1`.
fn truth<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(value.as_bool().unwrap_or_else(|| value.as_f64().is_some_and(|n| n != 0.0)))
}

impl Vosk {
    /// With the language of the query.
    pub(crate) fn new(lang: Option<String>) -> Self {
        let finals = VecDeque::new();
        Self { lang, config: Config::default(), open: false, finals, partial: String::new(), space: " " }
    }

    fn open(&mut self, link: &Link) -> Result<Vec<Step>, ApiError> {
        if self.open {
            return Ok(Vec::new());
        }
        let asked = self.lang.as_deref().or(self.config.model.as_deref());
        let pack = language(asked, &link.app).map_err(|mut e| {
            e.message.push_str(" (`/vosk?lang=en`, or `model` in `config`)");
            e
        })?;
        let rate_hz = self.config.sample_rate.unwrap_or(16_000);
        if !RATES_HZ.contains(&rate_hz) {
            let message = format!("`sample_rate` is {rate_hz}: expected 8000 to 192000 Hz");
            return Err(ApiError::invalid("sample_rate", message));
        }
        self.space = if pack.meta.word_separator.is_some() { " " } else { "" };
        self.open = true;
        let mut wish = Wish::new(pack);
        wish.raw = Some(RawFormat { encoding: Encoding::PcmS16le, rate_hz, channels: 1 });
        Ok(vec![Step::Open(Box::new(wish))])
    }

    /// What is known now: the oldest final that was not told, else the partial.
    fn answer(&mut self) -> Step {
        match self.finals.pop_front() {
            Some((text, words)) => self.result(&text, &words),
            None => Step::Say(json!({ "partial": self.partial }).to_string()),
        }
    }

    /// All finals that were not told, as one.
    fn rest(&mut self) -> Step {
        let (texts, words): (Vec<_>, Vec<_>) = self.finals.drain(..).unzip();
        let text = texts.into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join(self.space);
        self.result(&text, &words.concat())
    }

    fn result(&self, text: &str, words: &[Word]) -> Step {
        let list: Vec<Value> = words
            .iter()
            .map(|w| json!({ "word": w.word, "start": w.start, "end": w.end, "conf": w.confidence }))
            .collect();
        let mut result = json!({ "text": text });
        if self.config.words && !list.is_empty() {
            result["result"] = Value::Array(list);
        }
        if self.config.max_alternatives {
            result["confidence"] = json!(mean(words.iter().map(|w| w.confidence)));
            result = json!({ "alternatives": [result] });
        }
        Step::Say(result.to_string())
    }

    fn event(&mut self, event: Event<Arc<LoadedPack>>) -> Vec<Step> {
        match event {
            Event::Partial { stable, unstable, .. } => self.partial = stable + &unstable,
            Event::Final { text, words, .. } => {
                self.partial.clear();
                if !text.is_empty() {
                    self.finals.push_back((text, words));
                }
            }
            Event::Flushed | Event::Closed { .. } => return vec![self.rest()],
            Event::Began { .. } | Event::Ended { .. } => {}
        }
        Vec::new()
    }
}

impl Dialect for Vosk {
    fn hello(&mut self, _: &Link) -> Result<Vec<Step>, ApiError> {
        Ok(Vec::new())
    }

    fn text(&mut self, text: &str, link: &Link) -> Result<Vec<Step>, ApiError> {
        #[derive(Deserialize)]
        struct Message {
            config: Option<Config>,
            eof: Option<Value>,
            reset: Option<Value>,
        }
        let message: Message = serde_json::from_str(text).map_err(|e| {
            ApiError::invalid("config", format!("this control message is not understood: {e}"))
        })?;
        let mut steps = Vec::new();
        if let Some(config) = message.config {
            self.config = config;
        }
        if message.reset.is_some() || message.eof.is_some() {
            steps = self.open(link)?;
            steps.push(Step::Do(if message.eof.is_some() { Input::Stop } else { Input::Flush }));
        }
        Ok(steps)
    }

    fn audio(&mut self, bytes: Bytes, link: &Link) -> Result<Vec<Step>, ApiError> {
        let mut steps = self.open(link)?;
        steps.extend([Step::Do(Input::Audio(bytes)), self.answer()]);
        Ok(steps)
    }

    fn tell(&mut self, output: Output, link: &Link) -> Vec<Step> {
        match output {
            Output::Event(event) => self.event(event),
            Output::Failed(error) => self.fail(&error, link).into_iter().map(Step::Say).collect(),
            Output::Lagging(_) | Output::Hungry => Vec::new(),
        }
    }

    fn fail(&mut self, error: &ApiError, link: &Link) -> Vec<String> {
        vec![serde_json::to_string(&error.body(&link.request_id)).unwrap_or_default()]
    }
}
