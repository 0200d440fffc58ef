//! `POST /align`: a known text over its audio.

use crate::support::{Server, assert_error, clip, tone};
use reqwest::blocking::{
    Response,
    multipart::{Form, Part},
};
use s3router_proto::{Alignment, ErrorKind};

fn align(lang: &str, text: &str, audio: Vec<u8>) -> Response {
    let form = Form::new().part("file", Part::bytes(audio).file_name("a.wav")).text("text", text.to_owned());
    Server::demo().post(&format!("/align?lang={lang}")).multipart(form).send().unwrap()
}

#[test]
fn each_word_and_character_has_its_time() {
    for lang in ["tr", "zh-TW", "ru"] {
        let (audio, text) = clip(&lang.replace('-', "_"));
        let heard = Server::demo().answer(&format!("lang={lang}"), &audio);
        let aligned: Alignment = align(lang, &text, audio).json().unwrap();
        assert_eq!((aligned.pack, aligned.lang), (heard.pack, heard.lang.clone()));
        let words: Vec<&str> = aligned.words.iter().map(|w| w.word.as_str()).collect();
        assert_eq!(words.join(if lang == "zh-TW" { "" } else { " " }), text);
        let mut last = 0.0;
        for (word, greedy) in aligned.words.iter().zip(heard.words.unwrap()) {
            let spelled: String = word.characters.iter().map(|c| c.character.as_str()).collect();
            assert_eq!(spelled, word.word);
            assert!(
                (word.start - greedy.start).abs() < 0.2 && (word.end - greedy.end).abs() < 0.2,
                "{word:?} {greedy:?}"
            );
            for c in &word.characters {
                assert!(last <= c.start && c.start < c.end && c.end <= aligned.duration + 0.02, "{word:?}");
                last = c.end;
            }
        }
        assert!(aligned.score < 0.0 && aligned.timing.total_ms > 0.0);
    }
}

#[test]
fn what_was_not_said_is_not_believed() {
    let (audio, text) = clip("es");
    let said: Alignment = align("es", &text, audio.clone()).json().unwrap();
    let other: Alignment = align("es", "zapato verde", audio).json().unwrap();
    assert!(said.score > other.score + 0.5, "{} is not clearly above {}", said.score, other.score);
}

#[test]
fn what_cannot_be_aligned_is_refused_by_name() {
    let long = "a ".repeat(200);
    for (lang, text, param) in
        [("tr", "Ω", "text"), ("tr", long.as_str(), "text"), ("tr", "  ", "text"), ("auto", "a", "lang")]
    {
        let body = assert_error(align(lang, text, tone(0.5)), ErrorKind::InvalidRequest);
        assert_eq!(body.error.param.as_deref(), Some(param), "{}", body.error.message);
    }
    assert_error(align("xx", "a", tone(0.5)), ErrorKind::LanguageNotFound);
    let bare = Server::demo().post("/align?lang=tr").body(tone(0.5)).send().unwrap();
    assert_eq!(assert_error(bare, ErrorKind::InvalidRequest).error.param.as_deref(), Some("text"));
    let query = Server::demo().post("/align?lang=tr&text=a").body(tone(0.5)).send().unwrap();
    assert_eq!(query.status(), 200);
}
