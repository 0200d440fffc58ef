//! `POST /identify` and `lang=auto`.

use crate::support::{LANGUAGES, Server, assert_error, clip, tone, wav};
use reqwest::blocking::multipart::{Form, Part};
use s3router_proto::{ErrorKind, Identification};
use serde_json::Value;

fn identify(query: &str, audio: &[u8]) -> Identification {
    let response = Server::demo().post(&format!("/identify?{query}")).body(audio.to_vec()).send().unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().unwrap());
    response.json().unwrap()
}

#[test]
fn the_language_of_the_demos_clips_is_heard() {
    let heard = LANGUAGES.map(|lang| identify("", &clip(lang).0).languages[0].lang.clone());
    let right = heard.iter().zip(LANGUAGES).filter(|(heard, lang)| heard.as_str() == *lang).count();
    // Of the demo's test clips 96 in 100 are right; chance would be one in eleven.
    assert!(right >= 10, "{right} of 11: {heard:?}");
}

#[test]
fn scores_are_shares_of_the_candidates_best_first_each_with_its_pack() {
    let all = identify("top=100", &clip("fr").0);
    let scores: Vec<f32> = all.languages.iter().map(|l| l.score).collect();
    assert_eq!(scores.len(), 11);
    assert!(scores.windows(2).all(|w| w[0] >= w[1]) && (scores.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    assert!(all.languages.iter().all(|l| l.pack.id == l.lang && l.pack.sha256.len() == 64));
    assert!(all.listened > 1.0 && all.listened <= all.duration && all.timing.infer_ms > 0.0);
    assert_eq!(identify("", &clip("fr").0).languages, all.languages[..3], "three unless asked for more");
}

#[test]
fn candidates_can_be_narrowed() {
    let (audio, _) = clip("fr");
    let heard = identify("languages=tr,sv-SE,zh-TW", &audio);
    let mut among: Vec<&str> = heard.languages.iter().map(|l| l.lang.as_str()).collect();
    among.sort_unstable();
    assert_eq!(among, ["sv_SE", "tr", "zh_TW"]);
    let answer = Server::demo().answer("lang=auto&languages=tr,ru", &audio);
    assert!(["tr", "ru"].contains(&answer.lang.as_str()));
    assert_eq!(Server::demo().answer("lang=auto&languages=tr", &audio).lang, "tr", "one is no choice");
}

#[test]
fn auto_answers_as_the_language_it_heard_would() {
    for lang in ["tr", "ru", "zh_TW"] {
        let (audio, text) = clip(lang);
        let answer = Server::demo().answer("lang=auto", &audio);
        let heard = answer.languages.unwrap();
        assert_eq!((answer.lang.as_str(), heard[0].lang.as_str(), heard.len()), (lang, lang, 3));
        assert_eq!((answer.text, answer.pack.id.as_str()), (text, lang));
    }
    assert!(Server::demo().answer("lang=tr", &clip("tr").0).languages.is_none());
}

#[test]
fn openais_clients_need_not_name_the_language() {
    let (audio, text) = clip("ru");
    let form = |fields: &[(&'static str, &'static str)]| {
        let file = Form::new().part("file", Part::bytes(audio.clone()).file_name("a.wav"));
        let form = fields.iter().fold(file, |form, (name, value)| form.text(*name, *value));
        Server::demo().post("/v1/audio/transcriptions").multipart(form).send().unwrap()
    };
    let heard: Value = form(&[("model", "whisper-1"), ("response_format", "verbose_json")]).json().unwrap();
    assert_eq!((heard["text"].as_str(), heard["language"].as_str()), (Some(text.as_str()), Some("ru")));
    let narrowed = form(&[("model", "s3router"), ("languages[]", "xx")]);
    assert_error(narrowed, ErrorKind::LanguageNotFound);
}

#[test]
fn audio_that_says_nothing_still_has_an_answer() {
    for audio in [wav(&[&[0.0; 16_000]]), wav(&[&[0.0; 100]]), tone(0.3)] {
        let heard = identify("", &audio);
        assert_eq!(heard.languages.len(), 3);
        assert!(heard.languages.iter().all(|l| l.score.is_finite()));
        assert_eq!(Server::demo().transcribe("lang=auto", &audio).status(), 200);
    }
}

#[test]
fn what_is_wrong_is_named() {
    let ask = |path: &str| Server::demo().post(path).body(tone(0.1)).send().unwrap();
    for (path, param) in [
        ("/identify?top=0", "top"),
        ("/identify?lang=tr", "lang"),
        ("/identify?rate=8000", "encoding"),
        ("/transcribe?lang=tr&languages=ru", "languages"),
    ] {
        let body = assert_error(ask(path), ErrorKind::InvalidRequest);
        assert_eq!(body.error.param.as_deref(), Some(param), "{path}");
    }
    for path in ["/identify?languages=tr,xx", "/transcribe?lang=auto&languages=xx"] {
        let body = assert_error(ask(path), ErrorKind::LanguageNotFound);
        assert_eq!(body.error.param.as_deref(), Some("languages"), "{path}");
    }
    let empty = Server::demo().post("/identify").body(Vec::new()).send().unwrap();
    assert_error(empty, ErrorKind::EmptyAudio);
    let late = Server::demo().post("/identify?deadline_ms=1").body(clip("tr").0).send().unwrap();
    assert_error(late, ErrorKind::DeadlineExceeded);
}
