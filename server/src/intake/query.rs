//! The parameters of `/transcribe`: strict, because a misspelled one that is ignored costs an afternoon.

use crate::error::{ApiError, Result};
use s3router_core::audio::{Channels, Encoding, RATES_HZ, RawFormat};
use std::{fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};

/// The parameters, as the document shows them; [`Ask::parse`] reads them.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub struct Parameters {
    /// Language, under any of its names: `zh_TW`, `zh-TW`, `sv`. `GET /v1/packs` lists what is loaded.
    #[param(example = "tr")]
    lang: String,
    /// Form of the answer.
    #[param(inline, default = "json")]
    format: Option<Format>,
    /// Whether `json` lists words with times and confidences.
    #[param(default = true)]
    words: Option<bool>,
    /// Readings to list, best first. One is all that greedy decoding has.
    #[param(minimum = 0, maximum = 1, default = 0)]
    alternatives: Option<u8>,
    /// How logits become text; `beam` is not built yet.
    #[param(default = "greedy", pattern = "^greedy$")]
    decoder: Option<String>,
    /// For headerless PCM: `pcm_s16le`, `pcm_f32le`, `mulaw`, ... Needs `rate`.
    #[param(example = "pcm_s16le")]
    encoding: Option<String>,
    /// For headerless PCM: sampling rate, Hz. Needs `encoding`.
    #[param(minimum = 8000, maximum = 192000)]
    rate: Option<u32>,
    /// For headerless PCM: interleaved channels.
    #[param(minimum = 1, maximum = 255, default = 1)]
    channel_count: Option<u16>,
    /// `mix` hears all channels as one, `split` each by itself.
    #[param(default = "mix", pattern = "^(mix|split)$")]
    channels: Option<String>,
    /// Give up after this many milliseconds with 504; counts from the head of the request.
    #[param(minimum = 1)]
    deadline_ms: Option<u64>,
}

/// Every name that [`Ask::parse`] takes.
pub const NAMES: [&str; 10] = [
    "lang",
    "format",
    "words",
    "alternatives",
    "decoder",
    "encoding",
    "rate",
    "channel_count",
    "channels",
    "deadline_ms",
];

/// What people of other services write, and what it is called here.
const ELSEWHERE: [(&str, &str); 8] = [
    ("language", "lang"),
    ("model", "lang"),
    ("response_format", "format"),
    ("sample_rate", "rate"),
    ("word_timestamps", "words"),
    ("multichannel", "channels"),
    ("timeout", "deadline_ms"),
    ("max_alternatives", "alternatives"),
];

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, utoipa::ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Format {
    /// The answer with its proof.
    #[default]
    Json,
    /// The same with segments.
    VerboseJson,
    /// The text alone.
    Text,
    /// SubRip subtitles.
    Srt,
    /// WebVTT subtitles.
    Vtt,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "json" => Self::Json,
            "verbose_json" => Self::VerboseJson,
            "text" => Self::Text,
            "srt" => Self::Srt,
            "vtt" => Self::Vtt,
            _ => return Err("expected json, verbose_json, text, srt or vtt".into()),
        })
    }
}

/// A transcription as the client wants it.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The language under one of its names.
    pub lang: String,
    /// Form of the answer.
    pub format: Format,
    /// Whether words are listed.
    pub words: bool,
    /// Whether readings are listed.
    pub alternatives: bool,
    /// How a body without a header is to be read.
    pub raw: Option<RawFormat>,
    /// What becomes of channels.
    pub channels: Channels,
    /// When to give up.
    pub deadline: Option<Duration>,
}

impl Ask {
    /// Reads the query and the form's fields.
    ///
    /// # Errors
    /// 400 that names the parameter: unknown, doubled, out of range, missing, or not built yet.
    pub fn parse(pairs: &[(String, String)]) -> Result<Self> {
        let values = Values(pairs);
        values.check_names()?;
        match values.get("lang")? {
            None => {
                return Err(ApiError::invalid(
                    "lang",
                    "`lang` is missing: say which language, `?lang=en`; GET /v1/packs lists them",
                ));
            }
            Some("auto") => {
                return Err(ApiError::invalid(
                    "lang",
                    "`lang=auto` is not built yet: name the language, `?lang=en`; GET /v1/packs lists them",
                ));
            }
            Some(_) => {}
        }
        values.parsed::<String>("decoder", |d| match d {
            "greedy" => Ok(d.into()),
            "beam" => Err("beam search is not built yet: use greedy".into()),
            _ => Err("expected greedy".into()),
        })?;
        Ok(Self {
            lang: values.get("lang")?.unwrap_or_default().to_owned(),
            format: values.parsed("format", str::parse)?.unwrap_or_default(),
            words: values.parsed("words", boolean)?.unwrap_or(true),
            alternatives: values.parsed("alternatives", |n| number(n, 0..=1u8))?.unwrap_or(0) == 1,
            raw: values.raw()?,
            channels: values.parsed("channels", channels)?.unwrap_or_default(),
            deadline: values
                .parsed("deadline_ms", |n| number(n, 1..=86_400_000u64))?
                .map(Duration::from_millis),
        })
    }
}

/// Names and values as they came.
struct Values<'a>(&'a [(String, String)]);

impl Values<'_> {
    fn check_names(&self) -> Result<()> {
        let Some((name, _)) = self.0.iter().find(|(name, _)| !NAMES.contains(&name.as_str())) else {
            return Ok(());
        };
        let message = if name == "keyterm" {
            "`keyterm` needs beam search, which is not built yet".into()
        } else {
            let near = ELSEWHERE.iter().find(|(theirs, _)| theirs == name).map(|&(_, ours)| ours);
            match near.or_else(|| nearest(name)) {
                Some(near) => format!("unknown parameter `{name}`; did you mean `{near}`?"),
                None => format!("unknown parameter `{name}`: known are {}", NAMES.join(", ")),
            }
        };
        Err(ApiError::invalid(name, message))
    }

    fn get(&self, name: &str) -> Result<Option<&str>> {
        let mut found = self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let first = found.next();
        if found.next().is_some() {
            return Err(ApiError::invalid(name, format!("`{name}` is given twice")));
        }
        Ok(first)
    }

    fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        parse(value).map(Some).map_err(|why| ApiError::invalid(name, format!("`{name}={value}`: {why}")))
    }

    fn raw(&self) -> Result<Option<RawFormat>> {
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
}

/// The known name nearest to a misspelled one, if any is near.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let best = NAMES
        .into_iter()
        .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)))?;
    (strsim::jaro_winkler(best, name) > 0.8).then_some(best)
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

fn channels(text: &str) -> Result<Channels, String> {
    match text {
        "mix" => Ok(Channels::Mix),
        "split" => Ok(Channels::Split),
        _ => Err("expected mix or split".into()),
    }
}

fn number<T: FromStr + PartialOrd + Display>(text: &str, range: RangeInclusive<T>) -> Result<T, String> {
    text.parse()
        .ok()
        .filter(|n| range.contains(n))
        .ok_or_else(|| format!("expected a number from {} to {}", range.start(), range.end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use utoipa::IntoParams;

    fn ask(query: &[(&str, &str)]) -> Result<Ask> {
        Ask::parse(&query.iter().map(|&(k, v)| (k.into(), v.into())).collect::<Vec<_>>())
    }

    #[test]
    fn the_document_lists_exactly_the_names_that_are_read() {
        let shown = Parameters::into_params(|| None);
        assert_eq!(shown.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), NAMES);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, param, says) in [
            (vec![("lang", "en"), ("langauge", "en")], "langauge", "did you mean `lang`"),
            (vec![("language", "en")], "language", "did you mean `lang`"),
            (vec![("lang", "en"), ("formt", "srt")], "formt", "did you mean `format`"),
            (vec![("lang", "en"), ("zzz", "1")], "zzz", "known are lang"),
            (vec![], "lang", "`lang` is missing"),
            (vec![("lang", "auto")], "lang", "not built yet"),
            (vec![("lang", "en"), ("lang", "tr")], "lang", "given twice"),
            (vec![("lang", "en"), ("decoder", "beam")], "decoder", "not built yet"),
            (vec![("lang", "en"), ("keyterm", "Ankara")], "keyterm", "not built yet"),
            (vec![("lang", "en"), ("format", "xml")], "format", "verbose_json"),
            (vec![("lang", "en"), ("words", "maybe")], "words", "true or false"),
            (vec![("lang", "en"), ("alternatives", "2")], "alternatives", "0 to 1"),
            (vec![("lang", "en"), ("encoding", "pcm_s16le")], "rate", "needs `rate`"),
            (vec![("lang", "en"), ("rate", "8000")], "encoding", "needs `encoding`"),
            (vec![("lang", "en"), ("channel_count", "2")], "channel_count", "needs `encoding`"),
            (vec![("lang", "en"), ("encoding", "mp5"), ("rate", "8000")], "encoding", "unknown encoding"),
            (vec![("lang", "en"), ("encoding", "s16le"), ("rate", "1")], "rate", "8000 to 192000"),
            (vec![("lang", "en"), ("channels", "left")], "channels", "mix or split"),
            (vec![("lang", "en"), ("deadline_ms", "0")], "deadline_ms", "from 1"),
        ] {
            let error = ask(&query).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{query:?}");
            assert!(error.message.contains(says), "{query:?}: {}", error.message);
        }
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let plain = ask(&[("lang", "en")]).unwrap();
        assert!(plain.words && !plain.alternatives && plain.raw.is_none() && plain.deadline.is_none());
        assert_eq!((plain.format, plain.channels), (Format::Json, Channels::Mix));
    }
}
