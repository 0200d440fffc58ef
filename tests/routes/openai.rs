//! OpenAI's dialect.

use crate::support::{Server, assert_error, clip};
use reqwest::blocking::{
    Response,
    multipart::{Form, Part},
};
use s3router_proto::ErrorKind;
use serde_json::Value;

fn create(lang: &str, fields: &[(&'static str, &'static str)]) -> (Response, String) {
    let (audio, text) = clip(lang);
    let mut form = Form::new().part("file", Part::bytes(audio).file_name("clip.wav"));
    for &(name, value) in fields {
        form = form.text(name, value);
    }
    (Server::demo().post("/v1/audio/transcriptions").multipart(form).send().unwrap(), text)
}

#[test]
fn all_five_formats_carry_the_text() {
    for format in ["json", "text", "srt", "verbose_json", "vtt"] {
        let (response, text) = create("tr", &[("model", "s3router-tr"), ("response_format", format)]);
        assert_eq!(response.status(), 200);
        assert!(response.headers().contains_key("x-s3router-pack"));
        let body = response.text().unwrap();
        let found = match format {
            "json" | "verbose_json" => {
                serde_json::from_str::<Value>(&body).unwrap()["text"].as_str().unwrap().to_owned()
            }
            _ => body.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        assert!(text.split(' ').all(|word| found.contains(word)), "{format}: {found}");
    }
}

#[test]
fn granularities_are_words_segments_or_both() {
    let verbose = [("model", "whisper-1"), ("language", "es"), ("response_format", "verbose_json")];
    let get = |more: &[(&'static str, &'static str)]| {
        create("es", &[&verbose[..], more].concat()).0.json::<Value>().unwrap()
    };
    let plain = get(&[]);
    assert_eq!((plain["task"].as_str(), plain["language"].as_str()), (Some("transcribe"), Some("es")));
    assert!(plain.get("words").is_none() && plain["segments"][0]["avg_logprob"].as_f64().unwrap() <= 0.0);
    let words = get(&[("timestamp_granularities[]", "word")]);
    assert!(words["words"].as_array().unwrap().len() > 2 && words.get("segments").is_none());
    let both = get(&[("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")]);
    assert!(both["words"].is_array() && both["segments"].is_array());
    for field in
        ["id", "seek", "start", "end", "text", "tokens", "temperature", "compression_ratio", "no_speech_prob"]
    {
        assert!(both["segments"][0].get(field).is_some(), "{field}");
    }
}

#[test]
fn a_stream_ends_with_the_text_that_its_deltas_make() {
    let (response, text) = create("it", &[("model", "s3router-it"), ("stream", "true")]);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let body = response.text().unwrap();
    let events: Vec<Value> = body
        .split_terminator("\n\n")
        .map(|e| serde_json::from_str(e.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    let (done, deltas) = events.split_last().unwrap();
    assert_eq!((&done["type"], &done["text"]), (&"transcript.text.done".into(), &text.clone().into()));
    assert_eq!(deltas.iter().map(|d| d["delta"].as_str().unwrap()).collect::<String>(), text);
}

#[test]
fn its_errors_come_from_the_same_list() {
    assert_error(create("tr", &[("language", "tr")]).0, ErrorKind::InvalidRequest);
    assert_error(create("tr", &[("model", "s3router-xx")]).0, ErrorKind::LanguageNotFound);
    let bare = Server::demo().post("/v1/audio/transcriptions").body("RIFF").send().unwrap();
    assert_error(bare, ErrorKind::InvalidRequest);
}

#[test]
fn models_are_the_server_and_its_languages() {
    let list = Server::demo().json("/v1/models");
    assert_eq!((&list["object"], list["data"].as_array().unwrap().len()), (&"list".into(), 12));
    assert_eq!((&list["data"][0]["id"], &list["data"][9]["id"]), (&"s3router".into(), &"s3router-tr".into()));
}
