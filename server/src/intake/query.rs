//! The parameters of `/transcribe`.

use super::{
    audio,
    decoding::{self, Decoding},
    values::{Values, boolean, channels, names},
};
use crate::{
    error::{ApiError, Result},
    tongue::Spoken,
};
use s3router_core::audio::{Channels, RawFormat};
use std::{str::FromStr, sync::LazyLock, time::Duration};

/// The parameters of this route alone, as the document shows them; [`Ask::parse`] reads them.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub struct Parameters {
    /// Language, under any of its names: `zh_TW`, `zh-TW`, `sv`; `auto` hears which. `GET /v1/packs` lists what is loaded.
    #[param(example = "tr")]
    lang: String,
    /// With `lang=auto`: only these languages are considered, separated by commas.
    #[param(example = "tr,tt,ky")]
    languages: Option<String>,
    /// Form of the answer.
    #[param(inline, default = "json")]
    format: Option<Format>,
    /// Whether `json` lists words with times and confidences.
    #[param(default = true)]
    words: Option<bool>,
    /// `mix` hears all channels as one, `split` each by itself.
    #[param(default = "mix", pattern = "^(mix|split)$")]
    channels: Option<String>,
}

/// What is shown is what is read.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    names::<Parameters>().chain(names::<decoding::Parameters>()).chain(names::<audio::Parameters>()).collect()
});

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

impl Format {
    /// As the query spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::VerboseJson => "verbose_json",
            Self::Text => "text",
            Self::Srt => "srt",
            Self::Vtt => "vtt",
        }
    }
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
    /// The language, or which to choose from.
    pub spoken: Spoken,
    /// Form of the answer.
    pub format: Format,
    /// Whether words are listed.
    pub words: bool,
    /// How logits become text.
    pub decoding: Decoding,
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
    /// 400 that names the parameter: unknown, doubled, out of range, missing, or at odds with another.
    pub fn parse(pairs: &[(String, String)]) -> Result<Self> {
        let values = Values::new(pairs, &NAMES)?;
        let Some(lang) = values.get("lang")? else {
            return Err(ApiError::invalid(
                "lang",
                "`lang` is missing: say which language, `?lang=en`, or `?lang=auto`; GET /v1/packs lists them",
            ));
        };
        let ask = Self {
            spoken: Spoken::of(lang, values.list("languages"))?,
            format: values.parsed("format", str::parse)?.unwrap_or_default(),
            words: values.parsed("words", boolean)?.unwrap_or(true),
            decoding: Decoding::of(&values)?,
            raw: values.raw()?,
            channels: values.parsed("channels", channels)?.unwrap_or_default(),
            deadline: values.deadline()?,
        };
        if ask.channels == Channels::Split && ask.decoding.alternatives > 1 {
            let message = "`alternatives` above 1 needs `channels=mix`: several readings of one channel";
            return Err(ApiError::invalid("alternatives", message));
        }
        Ok(ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &[(&str, &str)]) -> Result<Ask> {
        Ask::parse(&query.iter().map(|&(k, v)| (k.into(), v.into())).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, param, says) in [
            (vec![("lang", "en"), ("langauge", "en")], "langauge", "did you mean `lang"),
            (vec![("language", "en")], "language", "did you mean `lang`"),
            (vec![("lang", "en"), ("formt", "srt")], "formt", "did you mean `format`"),
            (vec![("lang", "en"), ("zzz", "1")], "zzz", "known are lang"),
            (vec![], "lang", "`lang` is missing"),
            (vec![("lang", "en"), ("languages", "tr,ru")], "languages", "lang=auto"),
            (vec![("lang", "en"), ("lang", "tr")], "lang", "given twice"),
            (vec![("lang", "en"), ("decoder", "best")], "decoder", "greedy or beam"),
            (vec![("lang", "en"), ("keyterm", "a"), ("decoder", "greedy")], "keyterm", "decoder=beam"),
            (
                vec![("lang", "en"), ("alternatives", "2"), ("decoder", "greedy")],
                "alternatives",
                "decoder=beam",
            ),
            (
                vec![("lang", "en"), ("alternatives", "2"), ("channels", "split")],
                "alternatives",
                "channels=mix",
            ),
            (vec![("lang", "en"), ("boost", "2")], "boost", "needs a `keyterm`"),
            (vec![("lang", "en"), ("keyterm", "a"), ("boost", "NaN")], "boost", "-10 to 10"),
            (vec![("lang", "en"), ("beam", "0")], "beam", "1 to 256"),
            (vec![("lang", "en"), ("lm_weight", "-1")], "lm_weight", "0 to 5"),
            (vec![("lang", "en"), ("hotwords", "a")], "hotwords", "did you mean `keyterm`"),
            (vec![("lang", "en"), ("format", "xml")], "format", "verbose_json"),
            (vec![("lang", "en"), ("words", "maybe")], "words", "true or false"),
            (vec![("lang", "en"), ("alternatives", "11")], "alternatives", "0 to 10"),
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
        assert!(
            plain.words
                && plain.decoding.beam.is_none()
                && plain.decoding.alternatives == 0
                && plain.raw.is_none()
                && plain.deadline.is_none()
        );
        assert_eq!((plain.format, plain.channels), (Format::Json, Channels::Mix));
    }

    #[test]
    fn what_needs_the_beam_chooses_it() {
        for (name, value) in
            [("decoder", "beam"), ("keyterm", "a"), ("alternatives", "3"), ("lm_weight", "1")]
        {
            assert_eq!(ask(&[("lang", "en"), (name, value)]).unwrap().decoding.beam, Some(32), "{name}");
        }
        assert_eq!(ask(&[("lang", "en"), ("beam", "8")]).unwrap().decoding.beam, Some(8));
        assert_eq!(ask(&[("lang", "en"), ("alternatives", "1")]).unwrap().decoding.beam, None);
        let many: Vec<_> = std::iter::repeat_n(("keyterm", "a"), 101).chain([("lang", "en")]).collect();
        assert_eq!(ask(&many).unwrap_err().param.as_deref(), Some("keyterm"));
    }
}
