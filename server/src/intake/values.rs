//! Names and values as they came: strict, because a misspelled one that is ignored costs an afternoon.

use crate::error::{ApiError, Result};
use s3router_core::audio::Channels;
use std::{fmt::Display, ops::RangeInclusive, str::FromStr};
use utoipa::IntoParams;

/// What a query is before it is understood.
pub type Pairs = Vec<(String, String)>;

/// What people of other services write, and what it is called here.
const ELSEWHERE: [(&str, &str); 11] = [
    ("language", "lang"),
    ("model", "lang"),
    ("response_format", "format"),
    ("sample_rate", "rate"),
    ("word_timestamps", "words"),
    ("multichannel", "channels"),
    ("timeout", "deadline_ms"),
    ("max_alternatives", "alternatives"),
    ("keywords", "keyterm"),
    ("keyterms", "keyterm"),
    ("hotwords", "keyterm"),
];

/// The names of documented parameters: what is shown is what is read.
pub fn names<P: IntoParams>() -> impl Iterator<Item = String> {
    P::into_params(|| None).into_iter().map(|parameter| parameter.name)
}

/// The parameters of one request.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a>(&'a [(String, String)]);

impl<'a> Values<'a> {
    /// Takes what a client sent to a route that takes `known` and nothing else.
    ///
    /// # Errors
    /// 400 for an unknown one, with the nearest that is known.
    pub fn new(pairs: &'a [(String, String)], known: &[String]) -> Result<Self> {
        let Some((name, _)) = pairs.iter().find(|(name, _)| !known.contains(name)) else {
            return Ok(Self(pairs));
        };
        let theirs =
            ELSEWHERE.iter().find(|(theirs, ours)| theirs == name && known.iter().any(|k| k == ours));
        let message = match theirs.map(|&(_, ours)| ours).or_else(|| nearest(name, known)) {
            Some(near) => format!("unknown parameter `{name}`; did you mean `{near}`?"),
            None => format!("unknown parameter `{name}`: known are {}", known.join(", ")),
        };
        Err(ApiError::invalid(name, message))
    }

    /// Takes names of our own making.
    pub fn of_ours(pairs: &'a [(String, String)]) -> Self {
        Self(pairs)
    }

    /// The one value of a name.
    ///
    /// # Errors
    /// 400 when it is given twice.
    pub fn get(&self, name: &str) -> Result<Option<&'a str>> {
        let mut found = self.all(name);
        let first = found.next();
        if found.next().is_some() {
            return Err(ApiError::invalid(name, format!("`{name}` is given twice")));
        }
        Ok(first)
    }

    /// Every value of a name that may be repeated.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The one value, read.
    ///
    /// # Errors
    /// 400 with what was expected.
    pub fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        parse(value).map(Some).map_err(|why| ApiError::invalid(name, format!("`{name}={value}`: {why}")))
    }

    /// The values of a list, separated by commas or given one by one.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.all(name).flat_map(list).collect()
    }
}

/// The known name nearest to a misspelled one, if any is near.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let near = |known: &&String| strsim::jaro_winkler(known, name);
    let best = known.iter().max_by(|a, b| near(a).total_cmp(&near(b)))?;
    (strsim::jaro_winkler(best, name) > 0.8).then_some(best)
}

/// The items of a list separated by commas.
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(String::from).collect()
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

pub(super) fn channels(text: &str) -> Result<Channels, String> {
    match text {
        "mix" => Ok(Channels::Mix),
        "split" => Ok(Channels::Split),
        _ => Err("expected mix or split".into()),
    }
}

pub(super) fn number<T: FromStr + PartialOrd + Display>(
    text: &str,
    range: RangeInclusive<T>,
) -> Result<T, String> {
    text.parse()
        .ok()
        .filter(|n| range.contains(n))
        .ok_or_else(|| format!("expected a number from {} to {}", range.start(), range.end()))
}
