//! Names and values as they came: strict, because a misspelled one that is ignored costs an afternoon.

use crate::error::{ApiError, Result};
use s3router_core::audio::{Channels, Encoding, RATES_HZ, RawFormat};
use std::{fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};

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

/// The parameters of one request to a route that takes `known` and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    pairs: &'a [(String, String)],
    known: &'a [&'static str],
}

impl<'a> Values<'a> {
    /// Takes parameters that are all known.
    ///
    /// # Errors
    /// 400 for an unknown one, with the nearest that is known.
    pub fn new(pairs: &'a [(String, String)], known: &'a [&'static str]) -> Result<Self> {
        let values = Self { pairs, known };
        let Some((name, _)) = pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) else {
            return Ok(values);
        };
        let theirs = ELSEWHERE.iter().find(|(theirs, ours)| theirs == name && known.contains(ours));
        let message = match theirs.map(|&(_, ours)| ours).or_else(|| values.nearest(name)) {
            Some(near) => format!("unknown parameter `{name}`; did you mean `{near}`?"),
            None => format!("unknown parameter `{name}`: known are {}", known.join(", ")),
        };
        Err(ApiError::invalid(name, message))
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
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
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
        let items = self.all(name).flat_map(|value| value.split(','));
        items.map(str::trim).filter(|item| !item.is_empty()).map(String::from).collect()
    }

    /// How headerless bytes are to be read.
    ///
    /// # Errors
    /// 400 for half a description.
    pub fn raw(&self) -> Result<Option<RawFormat>> {
        let encoding = self.parsed("encoding", |e| e.parse::<Encoding>().map_err(|e| e.to_string()))?;
        let rate = self.parsed("rate", |r| number(r, RATES_HZ))?;
        let count = self.parsed("channel_count", |c| number(c, 1..=255u16))?;
        match (encoding, rate) {
            (Some(encoding), Some(rate_hz)) => {
                Ok(Some(RawFormat { encoding, rate_hz, channels: count.unwrap_or(1) }))
            }
            (Some(_), None) => {
                Err(ApiError::invalid("rate", "`encoding` needs `rate`, the sampling rate in Hz"))
            }
            (None, Some(_)) => Err(ApiError::invalid(
                "encoding",
                "`rate` needs `encoding`: both describe PCM without a header",
            )),
            (None, None) if count.is_some() => Err(ApiError::invalid(
                "channel_count",
                "`channel_count` needs `encoding` and `rate`: a header tells its own",
            )),
            (None, None) => Ok(None),
        }
    }

    /// When to give up.
    ///
    /// # Errors
    /// 400 for anything but milliseconds of at most a day.
    pub fn deadline(&self) -> Result<Option<Duration>> {
        Ok(self.parsed("deadline_ms", |n| number(n, 1..=86_400_000u64))?.map(Duration::from_millis))
    }

    /// The known name nearest to a misspelled one, if any is near.
    fn nearest(&self, name: &str) -> Option<&'static str> {
        let near = |known: &&&str| strsim::jaro_winkler(known, name);
        let best = self.known.iter().max_by(|a, b| near(a).total_cmp(&near(b)))?;
        (strsim::jaro_winkler(best, name) > 0.8).then_some(*best)
    }
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
