//! The form of OpenAI's `/v1/audio/transcriptions`.

use super::query::Format;
use crate::error::{ApiError, Result};

/// Fields that mean something to an autoregressive model only: accepted, because every client sends them.
const WITHOUT_EFFECT: [&str; 6] =
    ["prompt", "temperature", "chunking_strategy", "keywords[]", "user", "languages[]"];

/// A transcription as OpenAI's client wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The language under one of its names.
    pub lang: String,
    /// Form of the answer.
    pub format: Format,
    /// `timestamp_granularities[]` has `word`.
    pub words: bool,
    /// `timestamp_granularities[]` has `segment`, or is not given.
    pub segments: bool,
    /// Server-sent events instead of one body.
    pub stream: bool,
}

impl Ask {
    /// Reads the form's fields. `language` wins over the one in `model=s3router-tr`.
    ///
    /// # Errors
    /// 400 that names the field.
    pub fn parse(fields: &[(String, String)]) -> Result<Self> {
        let mut ask =
            Self { lang: String::new(), format: Format::Json, words: false, segments: false, stream: false };
        let (mut model, mut timed) = (None, false);
        for (name, value) in fields {
            let wrong =
                |expected| Err(ApiError::invalid(name, format!("`{name}={value}`: expected {expected}")));
            match (name.as_str(), value.as_str()) {
                ("model", _) => model = Some(value.as_str()),
                ("language", _) => ask.lang.clone_from(value),
                ("response_format", _) => match value.parse() {
                    Ok(format) => ask.format = format,
                    Err(_) => return wrong("json, text, srt, verbose_json or vtt"),
                },
                ("timestamp_granularities[]" | "timestamp_granularities", granularity) => {
                    timed = true;
                    match granularity {
                        "word" => ask.words = true,
                        "segment" => ask.segments = true,
                        _ => return wrong("word or segment"),
                    }
                }
                ("stream", "true" | "True" | "1") => ask.stream = true,
                ("stream", "false" | "False" | "0" | "") => {}
                ("stream", _) => return wrong("true or false"),
                (name, _) if WITHOUT_EFFECT.contains(&name) => {}
                _ => return Err(ApiError::invalid(name, format!("unknown parameter `{name}`"))),
            }
        }
        let Some(model) = model else {
            return Err(ApiError::invalid(
                "model",
                "`model` is missing: `s3router`, or `s3router-tr` for Turkish",
            ));
        };
        if ask.lang.is_empty() {
            ask.lang = model.strip_prefix("s3router-").unwrap_or_default().to_owned();
        }
        if ask.lang.is_empty() || ask.lang == "auto" {
            let message = "`language` is missing, and telling the language from the audio is not built yet: \
                           send `language=tr`, or `model=s3router-tr`; GET /v1/models lists them";
            return Err(ApiError::invalid("language", message));
        }
        if timed && ask.format != Format::VerboseJson {
            let message = "`timestamp_granularities[]` needs `response_format=verbose_json`";
            return Err(ApiError::invalid("timestamp_granularities[]", message));
        }
        ask.segments |= !timed;
        Ok(ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(fields: &[(&str, &str)]) -> Result<Ask> {
        Ask::parse(&fields.iter().map(|&(k, v)| (k.into(), v.into())).collect::<Vec<_>>())
    }

    #[test]
    fn the_language_field_wins_over_the_models_name() {
        assert_eq!(ask(&[("model", "s3router-tr")]).unwrap().lang, "tr");
        assert_eq!(ask(&[("model", "s3router-tr"), ("language", "ru")]).unwrap().lang, "ru");
        assert_eq!(ask(&[("model", "whisper-1"), ("language", "ru")]).unwrap().lang, "ru");
    }

    #[test]
    fn what_cannot_be_answered_is_refused_by_name() {
        let tr = ("language", "tr");
        let model = ("model", "s3router");
        for (fields, param) in [
            (vec![tr], "model"),
            (vec![model], "language"),
            (vec![model, tr, ("response_format", "diarized_json")], "response_format"),
            (vec![model, tr, ("timestamp_granularities[]", "word")], "timestamp_granularities[]"),
            (vec![model, tr, ("include[]", "logprobs")], "include[]"),
            (vec![model, tr, ("stream", "maybe")], "stream"),
        ] {
            assert_eq!(ask(&fields).unwrap_err().param.as_deref(), Some(param), "{fields:?}");
        }
    }

    #[test]
    fn segments_are_the_default_granularity() {
        let verbose = ("response_format", "verbose_json");
        let base = [("model", "s3router-tr"), verbose];
        let plain = ask(&base).unwrap();
        assert!(plain.segments && !plain.words);
        let words = ask(&[base[0], verbose, ("timestamp_granularities[]", "word")]).unwrap();
        assert!(words.words && !words.segments);
    }
}
