//! The form of OpenAI's `/v1/audio/transcriptions`.

use super::query::Format;
use crate::{
    error::{ApiError, Result},
    tongue::Spoken,
};

/// Fields that mean something to an autoregressive model only: accepted, because every client sends them.
const WITHOUT_EFFECT: [&str; 5] = ["prompt", "temperature", "chunking_strategy", "keywords[]", "user"];

/// A transcription as OpenAI's client wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The language, or which to choose from.
    pub spoken: Spoken,
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
        let mut ask = Self {
            spoken: Spoken::Heard(Vec::new()),
            format: Format::Json,
            words: false,
            segments: false,
            stream: false,
        };
        let (mut model, mut timed, mut lang, mut among) = (None, false, "", Vec::new());
        for (name, value) in fields {
            let wrong =
                |expected| Err(ApiError::invalid(name, format!("`{name}={value}`: expected {expected}")));
            match (name.as_str(), value.as_str()) {
                ("model", _) => model = Some(value.as_str()),
                ("language", named) => lang = named,
                ("languages[]" | "languages", one) => among.push(one.to_owned()),
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
        if lang.is_empty() {
            lang = model.strip_prefix("s3router-").unwrap_or_default();
        }
        // OpenAI's own clients send the candidates beside a language too; the language wins.
        ask.spoken = match lang {
            "" | "auto" => Spoken::Heard(among),
            named => Spoken::Named(named.into()),
        };
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
        let named = |lang: &str| Spoken::Named(lang.into());
        assert_eq!(ask(&[("model", "s3router-tr")]).unwrap().spoken, named("tr"));
        assert_eq!(ask(&[("model", "s3router-tr"), ("language", "ru")]).unwrap().spoken, named("ru"));
        assert_eq!(ask(&[("model", "whisper-1"), ("language", "ru")]).unwrap().spoken, named("ru"));
        assert_eq!(ask(&[("model", "whisper-1")]).unwrap().spoken, Spoken::Heard(Vec::new()));
        let two = ask(&[("model", "s3router"), ("languages[]", "tr"), ("languages[]", "ru")]).unwrap();
        assert_eq!(two.spoken, Spoken::Heard(vec!["tr".into(), "ru".into()]));
    }

    #[test]
    fn what_cannot_be_answered_is_refused_by_name() {
        let tr = ("language", "tr");
        let model = ("model", "s3router");
        for (fields, param) in [
            (vec![tr], "model"),
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
