//! How a stream shall be read, as the query of `/transcribe/stream` says it: the fields of its `start`.

use super::values::{Values, boolean};
use crate::error::Result;
use s3router_proto::stream::Start;
use std::{str::FromStr, sync::LazyLock};
use utoipa::{
    PartialSchema,
    openapi::{RefOr, schema::Schema},
};

/// What the document shows is what is read; and what POST calls the same.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut names: Vec<String> = match Start::schema() {
        RefOr::T(Schema::Object(object)) => object.properties.into_keys().collect(),
        _ => Vec::new(),
    };
    names.extend(["rate", "channels"].map(String::from));
    names
});

/// Reads the query.
///
/// # Errors
/// 400 that names the parameter: unknown, doubled, or not of its kind. Ranges are looked at with the rest of `start`.
pub fn parse(pairs: &[(String, String)]) -> Result<Start> {
    let values = Values::new(pairs, &NAMES)?;
    let text = |name| values.get(name).map(|value| value.map(String::from));
    let several = |list: Vec<String>| (!list.is_empty()).then_some(list);
    Ok(Start {
        lang: text("lang")?,
        languages: several(values.list("languages")),
        encoding: text("encoding")?,
        sample_rate: any(&values, "sample_rate")?.or(any(&values, "rate")?),
        channel_count: any(&values, "channel_count")?.or(any(&values, "channels")?),
        interim: values.parsed("interim", boolean)?,
        endpointing_ms: any(&values, "endpointing_ms")?,
        words: values.parsed("words", boolean)?,
        alternatives: any(&values, "alternatives")?,
        decoder: text("decoder")?,
        beam: any(&values, "beam")?,
        keyterm: several(values.all("keyterm").map(String::from).collect()),
        boost: any(&values, "boost")?,
        lm_weight: any(&values, "lm_weight")?,
    })
}

fn any<T: FromStr>(values: &Values, name: &str) -> Result<Option<T>> {
    values
        .parsed(name, |n| n.parse().map_err(|_| "expected a number: /asyncapi.json has its range".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Result<Start> {
        parse(&pairs.iter().map(|&(k, v)| (k.into(), v.into())).collect::<Vec<_>>())
    }

    #[test]
    fn every_field_of_start_may_stand_in_the_query() {
        let all = serde_json::json!({
            "lang": "auto", "languages": ["tr", "ru"], "encoding": "mulaw", "sample_rate": 8000, "channel_count": 2,
            "interim": false, "endpointing_ms": 300, "words": false, "alternatives": 3, "decoder": "beam", "beam": 8,
            "keyterm": ["Ankara", "on iki"], "boost": -1.5, "lm_weight": 0.5,
        });
        let mut pairs = vec![("languages", "tr,ru"), ("keyterm", "Ankara"), ("keyterm", "on iki")];
        let texts: Vec<(&String, String)> = all
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, v)| !v.is_array())
            .map(|(k, v)| (k, v.as_str().map_or_else(|| v.to_string(), String::from)))
            .collect();
        pairs.extend(texts.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        let start = query(&pairs).unwrap();
        assert_eq!(serde_json::to_value(&start).unwrap(), all);
        let fields = NAMES.len() - 2;
        assert_eq!(all.as_object().unwrap().len(), fields, "a new field belongs into this test");
        assert_eq!(query(&[("rate", "8000")]).unwrap().sample_rate, Some(8000));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, value, says) in [
            ("langauge", "en", "did you mean `lang"),
            ("sample_rate", "fast", "expected a number"),
            ("interim", "maybe", "true or false"),
        ] {
            let error = query(&[(name, value)]).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(name));
            assert!(error.message.contains(says), "{}", error.message);
        }
    }
}
