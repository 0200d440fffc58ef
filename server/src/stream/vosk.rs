//! The dialect of the Vosk server: every binary frame is answered by one message, as its clients wait for one.
//!
//! `{"config":{"sample_rate","words","max_alternatives","phrase_list","model"}}`, 16-bit PCM, `{"reset":1}`,
//! `{"eof":1}` → `{"partial"}`, `{"text","result":[{"word","start","end","conf"}]}`. The language is `?lang=tr` or
//! `config.model`; the phrases of `phrase_list` are expected, and others may be heard all the same. An answer tells what is known by then: a final that is not ready comes with a later frame, and
//! with `eof` or `reset` at the latest.

use super::{
    Input, Output, Speech, Wish,
    socket::{Dialect, Link, Step},
    wish::speech,
};
use crate::{
    error::ApiError,
    intake::decoding::{ALTERNATIVES, Decoding},
    render::mean,
};
use axum::body::Bytes;
use s3router_core::{
    audio::{Encoding, RATES_HZ, RawFormat},
    decode::Word,
    reading::Candidate,
    stream::{Event, Language},
};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// One connection.
pub(crate) struct Vosk {
    lang: Option<String>,
    languages: Vec<String>,
    config: Config,
    open: bool,
    /// Finals that no frame has asked for yet.
    finals: VecDeque<Said>,
    partial: String,
}

/// A final.
struct Said {
    text: String,
    words: Vec<Word>,
    alternatives: Vec<Candidate>,
    /// Of its script.
    space: String,
}

/// Fields that mean something here; others are Vosk's own and are let through.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    #[serde(deserialize_with = "rate")]
    sample_rate: Option<u32>,
    #[serde(deserialize_with = "truth")]
    words: bool,
    #[serde(deserialize_with = "count")]
    max_alternatives: usize,
    phrase_list: Vec<String>,
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

/// Clients write `true`, 3 and 3.0; more than we list is as many as we list.
fn count<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    let value = Value::deserialize(from)?;
    let number = value.as_f64().unwrap_or(f64::from(u8::from(value == true)));
    Ok((number as usize).min(ALTERNATIVES))
}

impl Vosk {
    /// With the language of the query, or those it may be.
    pub(crate) fn new(lang: Option<String>, languages: Vec<String>) -> Self {
        let finals = VecDeque::new();
        Self { lang, languages, config: Config::default(), open: false, finals, partial: String::new() }
    }

    /// What reads it, with those phrases that it can spell: Vosk ignores words that it does not know, too.
    fn speech(&self, link: &Link) -> Result<(Speech, Decoding), ApiError> {
        let asked = self.lang.as_deref().or(self.config.model.as_deref());
        let with = |terms: &[String]| {
            let decoding = Decoding::from_fields("", terms, 0.0, self.config.max_alternatives)?;
            let speech = speech(asked, self.languages.clone(), &decoding, &link.app)?;
            Ok((speech, decoding))
        };
        with(&[]).map_err(|mut e: ApiError| {
            e.message.push_str(" (`/vosk?lang=en`, or `model` in `config`)");
            e
        })?;
        let known = |phrase: &&String| with(std::slice::from_ref(*phrase)).is_ok();
        with(&self.config.phrase_list.iter().filter(known).cloned().collect::<Vec<_>>())
    }

    fn open(&mut self, link: &Link) -> Result<Vec<Step>, ApiError> {
        if self.open {
            return Ok(Vec::new());
        }
        let (speech, decoding) = self.speech(link)?;
        let rate_hz = self.config.sample_rate.unwrap_or(16_000);
        if !RATES_HZ.contains(&rate_hz) {
            let message = format!("`sample_rate` is {rate_hz}: expected 8000 to 192000 Hz");
            return Err(ApiError::invalid("sample_rate", message));
        }
        self.open = true;
        let mut wish = Wish::new(speech);
        wish.decoding = decoding;
        wish.raw = Some(RawFormat { encoding: Encoding::PcmS16le, rate_hz, channels: 1 });
        Ok(vec![Step::Open(Box::new(wish))])
    }

    /// What is known now: the oldest final that was not told, else the partial.
    fn answer(&mut self) -> Step {
        match self.finals.pop_front() {
            Some(said) => self.result(&said),
            None => Step::Say(json!({ "partial": self.partial }).to_string()),
        }
    }

    /// All finals that were not told, as one.
    fn rest(&mut self) -> Step {
        let none =
            || Said { text: String::new(), words: Vec::new(), alternatives: Vec::new(), space: " ".into() };
        let one = self.finals.drain(..).reduce(|before, said| Said {
            text: before.text + &said.space + &said.text,
            words: [before.words, said.words].concat(),
            // There is no telling how the readings of several stretches go together.
            alternatives: Vec::new(),
            space: said.space,
        });
        self.result(&one.unwrap_or_else(none))
    }

    fn result(&self, said: &Said) -> Step {
        let confidence = |words: &[Word]| json!(mean(words.iter().map(|w| w.confidence)));
        let one = |text: &str, words: &[Word]| {
            let mut result = json!({ "text": text });
            if self.config.words && !words.is_empty() {
                result["result"] = words.iter().map(word).collect();
            }
            result
        };
        if self.config.max_alternatives == 0 {
            return Step::Say(one(&said.text, &said.words).to_string());
        }
        let several = |text: &str, words: &[Word]| {
            let mut result = one(text, words);
            result["confidence"] = confidence(words);
            result
        };
        let readings: Value = match said.alternatives.is_empty() {
            true => [several(&said.text, &said.words)].into_iter().collect(),
            false => said.alternatives.iter().map(|a| several(&a.text, &a.words)).collect(),
        };
        Step::Say(json!({ "alternatives": readings }).to_string())
    }

    fn event(&mut self, event: Event<Speech>) -> Vec<Step> {
        match event {
            Event::Partial { stable, unstable, .. } => self.partial = stable + &unstable,
            Event::Final { text, words, alternatives, language, .. } => {
                self.partial.clear();
                if !text.is_empty() {
                    let space = language.space().to_owned();
                    self.finals.push_back(Said { text, words, alternatives, space });
                }
            }
            Event::Flushed | Event::Closed { .. } => return vec![self.rest()],
            Event::Began { .. } | Event::Ended { .. } => {}
        }
        Vec::new()
    }
}

fn word(w: &Word) -> Value {
    json!({ "word": w.word, "start": w.start, "end": w.end, "conf": w.confidence })
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
