//! Streams read as requests are: `lang=auto`, beam, key terms, several readings, calibrated confidence; in every dialect
//! that has a place for it.

use crate::{
    routes::reading::{folder, other_reading},
    support::{
        Server, administered, clip, samples, small,
        socket::{Socket, of, pcm},
        wav,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use s3router_server::Config;
use serde_json::{Value, json};

const PATH: &str = "/transcribe/stream";

/// A server for streams, with its usual limits.
fn start() -> Server {
    Server::start(Config::default())
}

/// Every message of a stream of one clip.
fn stream(server: &Server, query: &str, audio: &[u8]) -> Vec<Value> {
    let mut socket = Socket::open(server, &format!("{PATH}?endpointing_ms=0&{query}"));
    let ready = socket.expect("ready");
    socket.send_all(audio, 4000);
    let mut messages = vec![ready];
    messages.extend(socket.stop());
    messages
}

fn last(messages: &[Value]) -> &Value {
    of(messages, "final").into_iter().rfind(|f| f["text"] != "").expect("something was said")
}

#[test]
fn auto_hears_which_language_an_utterance_is_in() {
    let server = start();
    for lang in ["tr", "ru", "zh_TW"] {
        let (audio, _) = clip(lang);
        let messages = stream(&server, "lang=auto", &audio);
        let (ready, said) = (&messages[0], last(&messages));
        assert_eq!((&ready["lang"], ready.get("pack")), (&json!("auto"), None));
        let whole = server.answer("lang=auto", &audio);
        assert_eq!((&said["lang"], &said["pack"]["id"]), (&json!(lang), &json!(lang)));
        assert_eq!(said["text"], whole.text);
        let heard = said["languages"].as_array().unwrap();
        assert_eq!((heard.len(), &heard[0]["lang"]), (3, &json!(lang)));
        assert!(heard.windows(2).all(|w| w[0]["score"].as_f64() >= w[1]["score"].as_f64()));
    }
    let named = stream(&server, "lang=tr", &clip("tr").0);
    assert!(last(&named).get("languages").is_none());
}

#[test]
fn each_utterance_of_a_stream_is_heard_for_itself_and_silence_is_nobodys() {
    let server = start();
    // The detector takes a moment to notice that nobody speaks any more.
    let spoken = |lang| [pcm(&clip(lang).0), vec![0; 9_600]].concat();
    let (turkish, russian) = (spoken("tr"), spoken("ru"));
    let query = "?lang=auto&languages=tr,ru,es&encoding=pcm_s16le&endpointing_ms=0";
    let mut socket = Socket::open(&server, &format!("{PATH}{query}"));
    socket.expect("ready");
    let mut said = Vec::new();
    for audio in [&turkish, &vec![0; 32_000], &russian] {
        // At several times the speed of speech, so that partials come between.
        for piece in audio.chunks(6400) {
            socket.send(piece);
            std::thread::sleep(std::time::Duration::from_millis(40));
        }
        socket.say(&json!({ "type": "flush", "id": said.len() }));
        let mut partials = Vec::new();
        said.push(loop {
            let message = socket.next().unwrap();
            match message["type"].as_str().unwrap() {
                "partial" => partials.push(message),
                "final" => break message,
                other => panic!("{other}: {message}"),
            }
        });
        assert!(partials.iter().all(|p| p["lang"].as_str().is_some_and(|l| l != "auto")), "{partials:?}");
        socket.expect("flushed");
    }
    let langs: Vec<&str> = said.iter().map(|f| f["lang"].as_str().unwrap()).collect();
    assert_eq!(langs, ["tr", "auto", "ru"]);
    assert_eq!((&said[1]["text"], said[1].get("pack")), (&json!(""), None));

    socket.say(&json!({ "type": "lang", "lang": "tr", "languages": ["ru"] }));
    let error = socket.expect("error");
    assert_eq!((&error["error"]["param"], &error["fatal"]), (&json!("languages"), &json!(false)));
    socket.say(&json!({ "type": "lang", "lang": "auto", "languages": ["es"] }));
    socket.send(&russian);
    assert_eq!(last(&socket.stop())["lang"], "es", "one candidate is no choice");
}

#[test]
fn the_same_audio_is_heard_the_same_with_partials_and_without() {
    let server = start();
    for lang in ["it", "en", "fr"] {
        let audio = wav(&[&samples(&clip(lang).0).repeat(3)]);
        let without = stream(&server, "lang=auto&interim=false", &audio);
        let with = stream(&server, "lang=auto", &audio);
        for field in ["text", "lang", "pack", "start", "end"] {
            assert_eq!(last(&without)[field], last(&with)[field], "{lang}: {field}");
        }
    }
}

#[test]
fn readings_and_key_terms_reach_finals() {
    let server = start();
    let (audio, _) = clip("es");
    let messages = stream(&server, "lang=es&alternatives=10&interim=false", &audio);
    let said = last(&messages);
    let readings: Vec<s3router_proto::Alternative> =
        serde_json::from_value(said["alternatives"].clone()).unwrap();
    assert_eq!((readings.len(), json!(readings[0].text)), (10, said["text"].clone()));
    assert!(readings.windows(2).all(|w| w[0].score.unwrap() >= w[1].score.unwrap()));
    let (_, word) = other_reading(&readings);
    let escaped: String = word.bytes().map(|b| format!("%{b:02x}")).collect();
    for query in [
        format!("lang=es&keyterm=zapato&keyterm={escaped}&boost=8"),
        format!("lang=auto&languages=es,zh_TW&keyterm={escaped}&boost=8"),
    ] {
        let boosted = stream(&server, &query, &audio);
        assert!(last(&boosted)["text"].as_str().unwrap().split(' ').any(|w| w == word), "{query}");
        assert!(last(&boosted).get("alternatives").is_none(), "not asked for");
    }
    let greedy = stream(&server, "lang=es&alternatives=1", &audio);
    let only = &last(&greedy)["alternatives"];
    assert_eq!((only.as_array().unwrap().len(), only[0].get("score")), (1, None));

    let mut socket = Socket::open(&server, &format!("{PATH}?lang=tr"));
    socket.expect("ready");
    socket.say(&json!({ "type": "start", "lang": "es", "keyterms": [word], "boost": 8 }));
    assert_eq!(socket.expect("ready")["lang"], "es");
    socket.send(&audio);
    socket.say(&json!({ "type": "lang", "lang": "zh_TW" }));
    let error = loop {
        let message = socket.next().unwrap();
        if message["type"] == "error" {
            break message;
        }
    };
    assert_eq!((&error["error"]["param"], &error["fatal"]), (&json!("keyterm"), &json!(false)), "{error}");
    assert_eq!(last(&socket.stop())["lang"], "es");
}

#[test]
fn what_cannot_be_read_so_is_refused_by_name() {
    let server = Server::demo();
    for (query, param) in [
        ("lang=tr&keyterm=%CE%A9", "keyterm"),
        ("lang=auto&languages=tr,es&keyterm=%CE%A9", "keyterm"),
        ("lang=tr&keyterm=a&decoder=greedy", "keyterm"),
        ("lang=tr&alternatives=11", "alternatives"),
        ("lang=tr&boost=1", "boost"),
        ("lang=tr&beam=1000", "beam"),
        ("lang=tr&lm_weight=9", "lm_weight"),
        ("lang=tr&languages=ru", "languages"),
        ("lang=auto&languages=tlh", "languages"),
    ] {
        let mut socket = Socket::open(server, &format!("{PATH}?{query}"));
        let error = socket.expect("error");
        assert_eq!((&error["error"]["param"], &error["fatal"]), (&json!(param), &json!(true)), "{query}");
        let code = if query.ends_with("tlh") { 4404 } else { 4400 };
        assert_eq!(socket.end().code, code, "{query}");
    }
}

#[test]
fn confidences_are_calibrated_and_n_grams_used_as_in_requests() {
    let even = json!({ "calibration": { "slope": 0.0, "offset": 0.0 } });
    let calibrated = folder("tr", |pack| pack.meta.training = even);
    let server = Server::start(administered(calibrated.path()));
    let audio = clip("tr").0;
    for query in ["lang=tr", "lang=tr&decoder=beam", "lang=tr&alternatives=2"] {
        let messages = stream(&server, query, &audio);
        let words = last(&messages)["words"].as_array().unwrap();
        assert!(!words.is_empty() && words.iter().all(|w| w["confidence"] == 0.5), "{query}: {words:?}");
        assert_eq!(last(&messages)["confidence"], 0.5);
    }
}

#[test]
fn realtime_sessions_need_no_language() {
    let server = Server::start(small());
    for (query, lang) in [("", "ru"), ("?languages=tr,es", "tr")] {
        let (audio, _) = clip(lang);
        let mut socket = Socket::open(&server, &format!("/v1/realtime{query}"));
        socket.expect("session.created");
        socket.say(&json!({ "type": "session.update", "session": { "type": "transcription",
            "audio": { "input": { "format": { "type": "audio/pcm", "rate": 16_000 }, "turn_detection": null } } } }));
        socket.expect("session.updated");
        socket.say(&json!({ "type": "input_audio_buffer.append", "audio": STANDARD.encode(pcm(&audio)) }));
        socket.say(&json!({ "type": "input_audio_buffer.commit" }));
        let heard = socket.until("conversation.item.input_audio_transcription.completed");
        let whole = server.answer(&format!("lang={lang}"), &audio);
        assert_eq!(heard["transcript"], whole.text, "{lang}");
    }
}

#[test]
fn vosk_lists_readings_expects_phrases_and_hears_the_language() {
    let server = Server::start(small());
    let (audio, _) = clip("es");
    let play = |path: &str, config: Value| {
        let mut socket = Socket::open(&server, path);
        socket.say(&json!({ "config": config }));
        socket.send(&pcm(&audio));
        socket.next().unwrap();
        socket.say(&json!({ "eof": 1 }));
        socket.next().unwrap()
    };
    let heard = play("/vosk?lang=es", json!({ "max_alternatives": 10, "words": true }));
    let readings = heard["alternatives"].as_array().unwrap();
    assert_eq!(readings.len(), 10);
    assert!(
        readings
            .iter()
            .all(|r| r["confidence"].as_f64() > Some(0.0) && !r["result"].as_array().unwrap().is_empty())
    );
    let best: Vec<&str> = readings[0]["text"].as_str().unwrap().split(' ').collect();
    let other = readings
        .iter()
        .flat_map(|r| r["text"].as_str().unwrap().split(' '))
        .find(|w| !best.contains(w))
        .unwrap();

    let phrases = json!({ "phrase_list": [other, "[unk]", "Ω"], "model": "es" });
    assert!(
        play("/vosk", phrases)["text"].as_str().is_some_and(|t| !t.is_empty()),
        "what cannot be spelled is ignored"
    );
    let auto = play("/vosk?lang=auto&languages=es,zh-TW", json!({}));
    assert_eq!(auto["text"], server.answer("lang=auto&languages=es,zh_TW", &audio).text);
}

/// At other rates than 16 kHz the resampler holds the last samples back: a flush gets them out.
#[test]
fn a_flush_covers_every_sample_at_every_rate() {
    let server = start();
    let parts = ["tr", "es"].map(|lang| (lang, samples(&clip(lang).0)));
    for rate in [8_000, 22_050, 44_100, 48_000] {
        let query = format!("encoding=pcm_s16le&sample_rate={rate}");
        let mut socket = Socket::open(&server, &format!("{PATH}?lang=tr&endpointing_ms=0&{query}"));
        socket.expect("ready");
        let mut told = 0.0;
        for (lang, speech) in &parts {
            let audio = at_rate(speech, rate);
            socket.say(&json!({ "type": "lang", "lang": lang }));
            socket.send_all(&audio, 1234);
            socket.say(&json!({ "type": "flush", "id": rate }));
            let end = socket.until("final");
            assert_eq!(socket.until("flushed")["id"], rate);
            let whole = server.answer(&format!("lang={lang}&encoding=pcm_s16le&rate={rate}"), &audio);
            assert_eq!(end["text"], whole.text, "{lang} at {rate} Hz");
            assert_eq!(end["start"], told);
            told += whole.duration;
            assert!(
                (end["end"].as_f64().unwrap() - told).abs() < 1e-9,
                "{lang} at {rate} Hz: {end}, not {told}"
            );
            told = end["end"].as_f64().unwrap();
        }
        assert!(of(&socket.stop(), "final").is_empty(), "nothing was held back at {rate} Hz");
    }
}

/// 16 kHz → 16-bit PCM at another rate, by straight lines.
fn at_rate(samples: &[f32], rate: usize) -> Vec<u8> {
    let n = samples.len() * rate / 16_000;
    let at = |i: usize| {
        let x = i as f64 * 16_000.0 / rate as f64;
        let (a, b) = (samples[x as usize], *samples.get(x as usize + 1).unwrap_or(&0.0));
        a + (b - a) * x.fract() as f32
    };
    (0..n).flat_map(|i| ((at(i) * 32_767.0) as i16).to_le_bytes()).collect()
}
