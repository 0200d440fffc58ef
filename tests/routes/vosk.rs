//! `/vosk`: one message for each frame, as the Vosk server's clients wait for it.

use crate::support::{
    Server, clip, small,
    socket::{Socket, pcm},
};
use serde_json::{Value, json};

/// What `vosk-server`'s test client does: a frame, an answer, a frame, an answer; then the end.
fn play(server: &Server, path: &str, config: &Value, audio: &[u8]) -> (Vec<Value>, Value) {
    let mut socket = Socket::open(server, path);
    socket.say(&json!({ "config": config }));
    let mut answers = Vec::new();
    for piece in audio.chunks(8000) {
        socket.send(piece);
        answers.push(socket.next().unwrap());
    }
    socket.say_text("{\"eof\" : 1}");
    let last = socket.next().unwrap();
    let ended = socket.end();
    assert_eq!((ended.messages.len(), ended.code), (0, 1000));
    (answers, last)
}

#[test]
fn every_frame_is_answered_and_the_texts_together_are_what_was_said() {
    let server = Server::start(small());
    let (audio, expected) = clip("tr");
    let (answers, last) =
        play(&server, "/vosk?lang=tr", &json!({ "sample_rate": 16000.0, "words": 1 }), &pcm(&audio));
    let told = answers.iter().chain([&last]).filter_map(|a| a["text"].as_str()).filter(|t| !t.is_empty());
    let told = told.collect::<Vec<_>>().join(" ");
    assert_eq!(told, expected, "{answers:?} {last}");
    assert!(answers.iter().all(|a| a.get("partial").is_some() || a.get("text").is_some()));
    let words = last["result"].as_array().unwrap();
    assert!(
        words.iter().all(|w| w["end"].as_f64() > w["start"].as_f64() && w["conf"].as_f64().unwrap() > 0.0)
    );
}

#[test]
fn the_language_may_be_the_model_and_reset_tells_what_there_is() {
    let server = Server::start(small());
    let (audio, _) = clip("ru");
    let mut socket = Socket::open(&server, "/vosk");
    socket.say(&json!({ "config": { "sample_rate": "16000", "model": "ru", "max_alternatives": 1, "phrase_list": ["да"] } }));
    socket.send(&pcm(&audio));
    socket.next().unwrap();
    socket.say(&json!({ "reset": 1 }));
    let heard = socket.next().unwrap();
    // The phrase is expected, as a key term would be.
    let query = "lang=ru&keyterm=%D0%B4%D0%B0&encoding=pcm_s16le&rate=16000";
    assert_eq!(heard["alternatives"][0]["text"], server.answer(query, &pcm(&audio)).text);
    socket.say(&json!({ "eof": 1 }));
    assert_eq!(socket.next().unwrap()["alternatives"][0]["text"], "");
    assert_eq!(socket.end().code, 1000);
}

#[test]
fn what_cannot_be_is_told_in_our_words() {
    let server = Server::demo();
    for (path, message, code) in [
        ("/vosk", json!({ "eof": 1 }), "invalid_request"),
        ("/vosk?lang=tlh", json!({ "eof": 1 }), "language_not_found"),
        ("/vosk?lang=en", json!({ "config": { "sample_rate": 5 }, "eof": 1 }), "invalid_request"),
        ("/vosk?lang=en", json!([1]), "invalid_request"),
    ] {
        let mut socket = Socket::open(server, path);
        socket.say(&message);
        let ended = socket.end();
        assert_eq!(ended.messages[0]["error"]["code"], code, "{path} {message}");
        assert!(ended.code > 4000);
    }
}
