//! `/transcribe/stream`: every message and every rule of `s3router.v1`.

use crate::support::{
    LANGUAGES, Server, clip, samples, small,
    socket::{Ended, Socket, of, pcm},
    tone, wav,
};
use s3router_server::{
    Config,
    config::{Auth, Seconds, Streams},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATH: &str = "/transcribe/stream";

/// A server for streams, with its usual limits.
fn start() -> Server {
    Server::start(Config::default())
}

/// What a client hears that sends a clip in pieces.
fn stream(server: &Server, query: &str, bytes: &[u8], piece: usize) -> Vec<Value> {
    let mut socket = Socket::open(server, &format!("{PATH}?{query}"));
    socket.expect("ready");
    socket.send_all(bytes, piece);
    socket.stop()
}

/// Start, end, text, language and pack of each final.
fn finals(messages: &[Value]) -> Vec<Value> {
    let only = |f: &Value| json!([f["start"], f["end"], f["text"], f["lang"], f["pack"], f["words"]]);
    of(messages, "final").into_iter().map(only).collect()
}

fn text(messages: &[Value]) -> String {
    let texts =
        of(messages, "final").into_iter().filter_map(|f| f["text"].as_str().filter(|t| !t.is_empty()));
    texts.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_clip_of_each_language_is_heard_as_over_http_and_proves_its_pack() {
    let server = start();
    for lang in LANGUAGES {
        let (audio, _) = clip(lang);
        let messages = stream(&server, &format!("lang={lang}&endpointing_ms=0"), &audio, 3000);
        let whole = server.answer(&format!("lang={lang}"), &audio);
        assert_eq!(text(&messages), whole.text, "{lang}");
        let last = of(&messages, "final")[0];
        assert_eq!(last["pack"], serde_json::to_value(&whole.pack).unwrap());
        assert_eq!(last["lang"], lang);
    }
}

#[test]
fn any_cut_and_any_encoding_gives_the_same_finals() {
    let server = start();
    let (audio, _) = clip("tr");
    let long = wav(&[&[samples(&audio), vec![0.0; 12_000], samples(&audio)].concat()]);
    let whole = finals(&stream(&server, "lang=tr", &long, long.len()));
    assert!(whole.len() >= 2, "{whole:?}");
    for piece in [long.len() / 3, 4096, 999] {
        assert_eq!(finals(&stream(&server, "lang=tr", &long, piece)), whole, "pieces of {piece} bytes");
    }
    let floats: Vec<u8> = samples(&long).iter().flat_map(|x| x.to_le_bytes()).collect();
    for query in ["lang=tr&encoding=pcm_f32le&sample_rate=16000", "lang=tr&encoding=f32le&interim=false"] {
        assert_eq!(finals(&stream(&server, query, &floats, 5001)), whole, "{query}");
    }
}

#[test]
fn containers_that_browsers_record_are_heard() {
    let server = start();
    for clip in
        s3router_core::demo::CLIPS.iter().filter(|c| c.file.ends_with("webm") || c.file.ends_with("opus"))
    {
        let encoding = if clip.file.ends_with("webm") { "webm_opus" } else { "ogg_opus" };
        let query = format!("lang={}&encoding={encoding}&endpointing_ms=0", clip.language);
        let messages = stream(&server, &query, clip.bytes, 700);
        let whole = server.answer(&format!("lang={}", clip.language), clip.bytes);
        assert_eq!(text(&messages), whole.text, "{}", clip.file);
    }
}

#[test]
fn seq_rises_stable_grows_and_finals_tile_the_audio() {
    let server = start();
    let (audio, _) = clip("en");
    let speech = pcm(&audio);
    let mut socket = Socket::open(&server, &format!("{PATH}?lang=en&encoding=pcm_s16le"));
    let mut messages = vec![socket.expect("ready")];
    assert_eq!(messages[0]["limits"]["max_utterance_s"], 20.0);
    // At twice the speed of speech, so that partials come between.
    for piece in speech.chunks(3200) {
        socket.send(piece);
        std::thread::sleep(Duration::from_millis(50));
    }
    socket.send_all(&[0; 32_000], 3200);
    messages.extend(socket.stop());
    let seqs: Vec<u64> = messages.iter().map(|m| m["seq"].as_u64().unwrap()).collect();
    assert!(seqs.windows(2).all(|w| w[1] == w[0] + 1), "{seqs:?}");
    let partials = of(&messages, "partial");
    assert!(!partials.is_empty());
    for pair in partials.windows(2).filter(|p| p[0]["utterance"] == p[1]["utterance"]) {
        let (before, after) = (pair[0]["stable"].as_str().unwrap(), pair[1]["stable"].as_str().unwrap());
        assert!(after.starts_with(before), "{before:?} became {after:?}");
    }
    let mut told = 0.0;
    for end in of(&messages, "final") {
        assert_eq!(end["start"], told);
        told = end["end"].as_f64().unwrap();
    }
    let seconds = (speech.len() + 32_000) as f64 / 32_000.0;
    assert_eq!(told, seconds);
    let closed = messages.last().unwrap();
    assert_eq!(
        (closed["audio_s"].as_f64(), closed["finals"].as_u64()),
        (Some(seconds), Some(of(&messages, "final").len() as u64))
    );
    let metrics = server.get("/metrics").text().unwrap();
    assert!(metrics.contains("s3router_stream_first_partial_seconds_count 1"), "{metrics}");
}

#[test]
fn flush_makes_final_and_the_next_utterance_speaks_the_new_language() {
    let server = start();
    let mut socket = Socket::open(&server, PATH);
    socket.say(&json!({ "type": "start", "lang": "tr", "encoding": "wav" }));
    let ready = socket.expect("ready");
    assert_eq!((&ready["lang"], &ready["pack"]["id"]), (&json!("tr"), &json!("tr")));
    let (turkish, russian) = (clip("tr").0, clip("ru").0);
    // One WAV that never ends: the header's length is unknown.
    let mut head = turkish.clone();
    let data = head.len() - samples(&turkish).len() * 4;
    head[data - 4..data].copy_from_slice(&u32::MAX.to_le_bytes());
    socket.send(&head);
    socket.say(&json!({ "type": "flush", "id": 7 }));
    let first = socket.until("final");
    assert_eq!(socket.until("flushed")["id"], 7);
    socket.say(&json!({ "type": "lang", "lang": "ru-RU" }));
    socket.send(&russian[data..]);
    socket.say(&json!({ "type": "flush", "id": "last" }));
    let second = socket.until("final");
    assert_eq!((&first["lang"], &second["lang"]), (&json!("tr"), &json!("ru")));
    assert_ne!(first["pack"]["sha256"], second["pack"]["sha256"]);
    assert_eq!(second["start"], first["end"]);
    assert_eq!(socket.until("flushed")["id"], "last");
    assert!(of(&socket.stop(), "final").is_empty(), "everything was final already");
}

#[test]
fn start_wins_over_the_query_and_an_empty_stream_ends_at_once() {
    let server = start();
    let mut socket = Socket::open(&server, &format!("{PATH}?lang=tr&words=false"));
    assert_eq!(socket.expect("ready")["lang"], "tr");
    socket.say(&json!({ "type": "start", "lang": "sv-SE" }));
    assert_eq!(socket.expect("ready")["lang"], "sv_SE");
    socket.say(&json!({ "type": "keepalive" }));
    let messages = socket.stop();
    assert_eq!(messages.len(), 1);
    assert_eq!((&messages[0]["audio_s"], &messages[0]["finals"]), (&json!(0.0), &json!(0)));

    let mut unbegun = Socket::open(&server, PATH);
    unbegun.say(&json!({ "type": "stop" }));
    assert_eq!(unbegun.end().code, 1000);

    let messages = stream(&server, "lang=tr&words=false", &clip("tr").0, 4000);
    assert!(of(&messages, "final").iter().all(|f| f.get("words").is_none()));
}

#[test]
fn silence_and_much_audio_at_once_are_covered_without_loss() {
    let server = start();
    let (audio, _) = clip("es");
    let speech = samples(&audio);
    let one: Vec<f32> = [speech.clone(), vec![0.0; 16_000]].concat();
    let minutes = one.repeat(1 + 100 * 16_000 / one.len());
    let begun = Instant::now();
    let messages = stream(&server, "lang=es", &wav(&[&minutes]), 1 << 20);
    let ends = of(&messages, "final");
    let mut told = 0.0;
    for end in &ends {
        assert_eq!(end["start"], told);
        told = end["end"].as_f64().unwrap();
    }
    assert_eq!(told, minutes.len() as f64 / 16_000.0, "after {:?}", begun.elapsed());
    assert!(ends.len() > 10);
}

#[test]
fn a_wrong_control_message_is_told_and_does_not_end_the_stream() {
    let server = start();
    let mut socket = Socket::open(&server, &format!("{PATH}?lang=en&encoding=pcm_s16le"));
    socket.expect("ready");
    let mut complaint = |message: &str, code: &str, says: &str| {
        socket.say_text(message);
        let error = socket.expect("error");
        assert_eq!((&error["error"]["code"], &error["fatal"]), (&json!(code), &json!(false)), "{error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(says), "{error}");
        assert!(!error["request_id"].as_str().unwrap().is_empty());
    };
    complaint("{nonsense", "invalid_request", "not understood");
    complaint(r#"{"type":"finalize"}"#, "invalid_request", "finalize");
    complaint(r#"{"type":"start","langauge":"en"}"#, "invalid_request", "langauge");
    complaint(r#"{"type":"lang","lang":"tlh"}"#, "language_not_found", "tlh");
    complaint(r#"{"type":"flush","id":{}}"#, "invalid_request", "id");
    socket.send(&[0; 640]);
    socket.say_text(r#"{"type":"start","lang":"tr"}"#);
    assert_eq!(socket.expect("error")["fatal"], false, "too late for a start");
    assert_eq!(of(&socket.stop(), "final")[0]["lang"], "en");
}

/// A stream that ends by an error: its code, the close code, and what was final before.
#[track_caller]
fn fails(server: &Server, query: &str, play: impl FnOnce(&mut Socket)) -> (String, Ended) {
    let mut socket = Socket::open(server, &format!("{PATH}{query}"));
    play(&mut socket);
    let ended = socket.end();
    let errors: Vec<_> = ended.of("error").into_iter().filter(|e| e["fatal"] == true).collect();
    assert_eq!(errors.len(), 1, "{ended:?}");
    assert_eq!(ended.messages.last().unwrap()["type"], "closed", "{ended:?}");
    (errors[0]["error"]["code"].as_str().unwrap().to_owned(), ended)
}

#[test]
fn what_cannot_begin_is_told_from_the_closed_list_with_its_close_code() {
    let server = start();
    let (code, ended) = fails(&server, "?lang=tlh", |_| {});
    assert_eq!((code.as_str(), ended.code), ("language_not_found", 4404));
    for query in [
        "?lang=en&encoding=mp5",
        "?lang=en&sample_rate=1",
        "?lang=en&languages=tr",
        "?langauge=en",
        "?lang=en&endpointing_ms=99999",
    ] {
        let (code, ended) = fails(&server, query, |_| {});
        assert_eq!((code.as_str(), ended.code), ("invalid_request", 4400), "{query}");
    }
    let (code, _) = fails(&server, "", |s| s.send(&[0; 640]));
    assert_eq!(code, "invalid_request", "audio before start");
    let (code, _) = fails(&server, "", |s| s.say(&json!({ "type": "start" })));
    assert_eq!(code, "invalid_request", "a start without a language");
    let (code, ended) = fails(&server, "?lang=en", |s| s.send(b"this is text and certainly no audio"));
    assert_eq!((code.as_str(), ended.code), ("unsupported_media", 4415));
}

#[test]
fn audio_that_breaks_is_told_after_the_finals_of_what_came_before() {
    let server = start();
    let (audio, _) = clip("it");
    let mut floats: Vec<u8> = samples(&audio).iter().flat_map(|x| x.to_le_bytes()).collect();
    let good = floats.len();
    floats.extend_from_slice(&f32::NAN.to_le_bytes());
    let (code, ended) = fails(&server, "?lang=it&encoding=pcm_f32le", |s| s.send_all(&floats, good));
    assert_eq!((code.as_str(), ended.code), ("undecodable_audio", 4422));
    assert!(!text(&ended.messages).is_empty(), "{ended:?}");
}

#[test]
fn limits_are_held() {
    let config = Config { streams: Streams::for_testing(), ..small() };
    let server = Server::start(config);
    let (code, ended) = fails(&server, "?lang=en", |s| s.send(&tone(9.0)));
    assert_eq!((code.as_str(), ended.code), ("audio_too_long", 4413));
    assert!(ended.of("final").last().unwrap()["end"].as_f64().unwrap() > 8.0, "what was taken is told");

    let (code, ended) = fails(&server, "?lang=en&encoding=pcm_s16le", |s| s.send(&vec![0; 5 << 20]));
    assert_eq!((code.as_str(), ended.code), ("payload_too_large", 1009));

    let begun = Instant::now();
    let (code, ended) = fails(&server, "?lang=en&encoding=pcm_s16le", |s| s.send(&[0; 3200]));
    assert_eq!((code.as_str(), ended.code), ("body_timeout", 4408));
    assert!(begun.elapsed() > Duration::from_millis(900) && ended.of("final").len() == 1);

    // A stream counts until its socket is down on both sides, a moment after the client has read the close.
    let end = Instant::now() + Duration::from_secs(10);
    while !server.get("/metrics").text().unwrap().contains("s3router_stream_sessions 0") {
        assert!(Instant::now() < end, "a stream that ended still counts");
        std::thread::sleep(Duration::from_millis(20));
    }
    let first = Socket::open(&server, PATH);
    let _second = Socket::open(&server, PATH);
    let (status, body) = Socket::connect(&server, PATH, &[]).err().unwrap();
    assert_eq!(
        (status, &body["error"]["code"], &body["error"]["limit"]),
        (429, &json!("queue_full"), &json!(2))
    );
    first.leave();
    let end = Instant::now() + Duration::from_secs(10);
    while Socket::connect(&server, PATH, &[]).is_err() {
        assert!(Instant::now() < end, "a client that left still counts");
    }
}

#[test]
fn a_silent_peer_is_given_up() {
    let config = Config {
        streams: Streams { stream_idle_seconds: Seconds::new(60.0), ..Streams::for_testing() },
        ..small()
    };
    let server = Server::start(config);
    let socket = Socket::open(&server, &format!("{PATH}?lang=en"));
    // Nobody reads, so nobody answers the pings.
    let end = Instant::now() + Duration::from_secs(10);
    while server.get("/metrics").text().unwrap().contains("s3router_stream_sessions 1") {
        assert!(Instant::now() < end, "a dead peer is kept");
        std::thread::sleep(Duration::from_millis(20));
    }
    socket.patience(Duration::from_secs(5));
    assert!(socket.end().code == 1006);
}

#[test]
fn keys_and_subprotocols_are_settled_before_the_upgrade() {
    let auth = Auth { api_keys: vec!["secret".into()], ..Auth::default() };
    let server = Server::start(Config { auth, ..small() });
    for path in [PATH, "/v1/realtime", "/vosk"] {
        let refused = Socket::connect(&server, path, &[]).err().unwrap();
        assert_eq!((refused.0, &refused.1["error"]["code"]), (401, &json!("unauthorized")), "{path}");
    }
    let protocol = "sec-websocket-protocol";
    let opened = |headers: &[(&str, &str)]| Socket::connect(&server, PATH, headers);
    let with = opened(&[("authorization", "Bearer secret"), (protocol, "s3router.v1")]).ok().unwrap();
    assert_eq!(with.response.headers()[protocol], "s3router.v1");
    drop(with);
    let browser = opened(&[(protocol, "s3router.v1, s3router.key.secret")]).ok().unwrap();
    assert_eq!(browser.response.headers()[protocol], "s3router.v1", "the key is not sent back");
    drop(browser);
    assert_eq!(opened(&[(protocol, "s3router.v1, s3router.key.wrong")]).err().unwrap().0, 401);
    let other = opened(&[("authorization", "Bearer secret"), (protocol, "graphql-ws")]).err().unwrap();
    assert_eq!((other.0, &other.1["error"]["code"]), (400, &json!("invalid_request")));
    let plain = server.get(PATH);
    assert_eq!(plain.status(), 401);
}

#[test]
fn a_plain_request_learns_that_this_is_a_websocket() {
    let answer = Server::demo().get(PATH);
    assert_eq!(answer.status(), 400);
    assert!(answer.text().unwrap().contains("WebSocket"));
}

#[test]
fn a_drain_makes_final_what_was_sent_and_says_why() {
    let mut server = start();
    let (audio, expected) = clip("tr");
    let mut socket = Socket::open(&server, &format!("{PATH}?lang=tr&endpointing_ms=0"));
    socket.expect("ready");
    let idle = Socket::open(&server, PATH);
    socket.send(&audio);
    // The audio has arrived when a partial shows it; the pause is off, so nothing is final yet.
    socket.until("partial");
    server.begin_stop();
    let ended = socket.end();
    assert_eq!(text(&ended.messages), expected);
    assert_eq!(ended.of("error")[0]["error"]["code"], "draining");
    assert_eq!((ended.messages.last().unwrap()["type"].as_str(), ended.code), (Some("closed"), 1013));
    assert_eq!(idle.end().code, 1013, "one that had not begun is told as well");
    server.stop().unwrap();
}

#[test]
fn the_asyncapi_document_has_a_snapshot_and_no_loose_ends() {
    let document = Server::demo().json("/asyncapi.json");
    let text = document.to_string();
    for part in text.split("\"$ref\":\"#/").skip(1) {
        let path = part.split('"').next().unwrap();
        assert!(document.pointer(&format!("/{path}")).is_some(), "{path} leads nowhere");
    }
    insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false }, {
        insta::assert_json_snapshot!("asyncapi", document);
    });
}
