//! Streams in trouble: an engine that fails, a server that is behind, a client that leaves, a key that has enough.

use crate::{
    routes::lifecycle::gated,
    support::{
        Server, assert_error, clip, samples, small,
        socket::{Ended, Socket, of, pcm},
        tone, wait_for, wav,
    },
};
use s3router_core::Error;
use s3router_proto::ErrorKind;
use s3router_server::{
    Config,
    config::{Auth, Batching},
    lifecycle::Phase,
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const PATH: &str = "/transcribe/stream";
const QUERY: &str = "lang=tr&encoding=pcm_s16le&endpointing_ms=0&interim=false";

/// A server whose next batches fail where the plan says `true`.
fn planned() -> (Server, Arc<Mutex<VecDeque<bool>>>) {
    let plan = Arc::new(Mutex::new(VecDeque::new()));
    let mine = Arc::clone(&plan);
    let server = Server::with(
        Config::default(),
        Box::new(move |_, engine| {
            let fails = mine.lock().unwrap().pop_front();
            if fails == Some(true) { Err(Error::Batch("a fault of the test".into())) } else { engine() }
        }),
    );
    (server, plan)
}

fn restarts(server: &Server) -> bool {
    server.get("/metrics").text().unwrap().contains("s3router_device_restarts_total 1\n")
}

/// A stream on which one clip has become final.
fn begun(server: &Server, audio: &[u8]) -> (Socket, Value) {
    let mut socket = Socket::open(server, &format!("{PATH}?{QUERY}"));
    socket.expect("ready");
    socket.send(audio);
    socket.say(&json!({ "type": "flush", "id": 1 }));
    let first = socket.expect("final");
    socket.expect("flushed");
    (socket, first)
}

#[test]
fn an_engine_that_breaks_once_costs_a_stream_nothing() {
    let (server, plan) = planned();
    let audio = pcm(&clip("tr").0);
    let (mut socket, first) = begun(&server, &audio);
    // The batch, and the probe that follows it: the engine is rebuilt.
    plan.lock().unwrap().extend([true, true]);
    socket.send(&audio);
    let ends = socket.stop();
    assert_eq!(of(&ends, "final")[0]["text"], first["text"], "read again by the new engine");
    assert!(of(&ends, "error").is_empty() && restarts(&server), "{ends:?}");
}

#[test]
fn an_engine_that_fails_again_ends_the_stream_in_order_and_the_next_one_works() {
    let (server, plan) = planned();
    let audio = pcm(&clip("tr").0);
    let (mut socket, first) = begun(&server, &audio);
    // Batch; the probe is well; batch again; now the probe fails too.
    plan.lock().unwrap().extend([true, false, true, true]);
    socket.send(&audio);
    socket.say(&json!({ "type": "flush", "id": 2 }));
    let Ended { messages, code } = socket.end();
    let kinds: Vec<&str> = messages.iter().map(|m| m["type"].as_str().unwrap()).collect();
    assert_eq!((kinds.as_slice(), code), (["error", "closed"].as_slice(), 1011), "{messages:?}");
    let (error, closed) = (&messages[0], &messages[1]);
    assert_eq!((&error["error"]["code"], &error["fatal"]), (&json!("internal"), &json!(true)));
    assert!(
        !error["error"]["message"].as_str().unwrap().is_empty()
            && !error["request_id"].as_str().unwrap().is_empty()
    );
    assert_eq!(closed["finals"], 1, "the first was told, and stays");
    wait_for("a mended engine", || server.app.lifecycle.phase() == Phase::Ready);
    assert!(restarts(&server));
    assert_eq!(begun(&server, &audio).1["text"], first["text"]);
}

#[test]
fn a_server_that_is_behind_says_so_once_and_loses_nothing() {
    let batching = Batching { max_batch: 1, ..Batching::default() };
    let server = Server::with(
        Config { batching, ..Config::default() },
        Box::new(|_, engine| {
            std::thread::sleep(Duration::from_millis(400));
            engine()
        }),
    );
    let one = [samples(&clip("tr").0), vec![0.0; 16_000]].concat();
    let long = one.repeat(8);
    let mut socket = Socket::open(&server, &format!("{PATH}?lang=tr&interim=false"));
    socket.expect("ready");
    socket.send_all(&wav(&[&long]), 64 * 1024);
    let messages = socket.stop();
    let warnings = of(&messages, "warning");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0]["code"], "lagging");
    assert!(
        warnings[0]["lag_ms"].as_f64() > Some(2000.0)
            && warnings[0]["message"].as_str().unwrap().contains("behind")
    );
    let mut told = 0.0;
    for end in of(&messages, "final") {
        assert_eq!(end["start"], told);
        told = end["end"].as_f64().unwrap();
    }
    assert_eq!(told, long.len() as f64 / 16_000.0);
    let lags = server.get("/metrics").text().unwrap();
    assert!(lags.contains("s3router_stream_final_latency_seconds_count"), "{lags}");
}

#[test]
fn a_client_that_leaves_costs_nothing_further() {
    let batches = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&batches);
    let (free, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let held = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let hold = Arc::clone(&held);
    let server = Server::with(
        Config::default(),
        Box::new(move |_, engine| {
            counted.fetch_add(1, Ordering::SeqCst);
            if hold.swap(false, Ordering::SeqCst) {
                let _ = gate.lock().unwrap().recv();
            }
            engine()
        }),
    );
    let before = batches.load(Ordering::SeqCst);
    held.store(true, Ordering::SeqCst);
    let url = server.url("/transcribe?lang=en");
    let other = std::thread::spawn(move || {
        reqwest::blocking::Client::new().post(url).body(tone(0.5)).send().unwrap().status()
    });
    wait_for("somebody else's batch", || batches.load(Ordering::SeqCst) == before + 1);
    let mut socket = Socket::open(&server, &format!("{PATH}?lang=auto&encoding=pcm_s16le&endpointing_ms=0"));
    socket.expect("ready");
    for _ in 0..3 {
        socket.send(&pcm(&clip("tr").0));
        socket.say(&json!({ "type": "flush" }));
    }
    let metric = |name: &str| {
        let text = server.get("/metrics").text().unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<f64>().ok());
        line.unwrap_or(0.0)
    };
    wait_for("its utterances in the queue", || metric("s3router_queue_audio_seconds") > 3.0);
    socket.leave();
    wait_for("the end of its session", || metric("s3router_stream_sessions") == 0.0);
    free.send(()).unwrap();
    assert_eq!(other.join().unwrap(), 200);
    wait_for("an empty queue", || metric("s3router_queue_audio_seconds").abs() < 1e-6);
    // Another request goes through the whole queue, so nothing of the stream can be left in it.
    assert_eq!(server.transcribe("lang=en", &tone(0.5)).status(), 200);
    assert_eq!(batches.load(Ordering::SeqCst), before + 2, "only the two requests were computed");
}

#[test]
fn sigterm_lets_open_streams_finish_what_was_sent() {
    // The program itself is told by a signal in the server crate's `binary` tests; here the gate makes sure that the
    // engine still works on the stream when the end begins.
    let (mut server, began, free) = gated(Config::default());
    let mut socket = Socket::open(&server, &format!("{PATH}?{QUERY}"));
    socket.expect("ready");
    socket.send(&pcm(&clip("tr").0));
    socket.say(&json!({ "type": "flush", "id": 1 }));
    began.recv().unwrap();
    server.begin_stop();
    wait_for("draining", || server.app.lifecycle.phase() == Phase::Draining);
    assert_eq!(Socket::connect(&server, &format!("{PATH}?{QUERY}"), &[]).err().unwrap().0, 503);
    free.send(()).unwrap();
    let ended = socket.end();
    let kinds: Vec<&str> = ended.messages.iter().map(|m| m["type"].as_str().unwrap()).collect();
    assert_eq!((kinds.as_slice(), ended.code), (["final", "flushed", "error", "closed"].as_slice(), 1013));
    assert!(!ended.of("final")[0]["text"].as_str().unwrap().is_empty());
    server.stop().unwrap();
}

fn keyed(keys: &str) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, keys).unwrap();
    let auth = Auth { api_key_file: Some(file), ..Auth::default() };
    (Server::start(Config { auth, ..small() }), folder)
}

#[test]
fn an_open_stream_counts_as_one_request_of_its_key() {
    let (server, _folder) = keyed("narrow concurrent=1\nwide\n");
    let with = |key: &str| {
        Socket::connect(&server, &format!("{PATH}?{QUERY}"), &[("authorization", &format!("Bearer {key}"))])
    };
    let ask = |key: &str| server.post("/transcribe?lang=en").bearer_auth(key).body(tone(0.2)).send().unwrap();
    let mut first = with("narrow").ok().unwrap();
    first.expect("ready");
    let (status, body) = with("narrow").err().unwrap();
    assert_eq!(
        (status, &body["error"]["code"], &body["error"]["limit"]),
        (429, &json!("queue_full"), &json!(1))
    );
    assert!(body["error"]["message"].as_str().unwrap().contains("of this key"), "{body}");
    let refused = assert_error(ask("narrow"), ErrorKind::QueueFull);
    assert!(refused.error.message.contains("of this key"), "{}", refused.error.message);
    assert_eq!(ask("wide").status(), 200);
    let _other = with("wide").ok().unwrap();

    // Its own utterances need no second place.
    first.send(&pcm(&clip("tr").0));
    assert_eq!(of(&first.stop(), "final").len(), 1);
    wait_for("a free place", || ask("narrow").status() == 200);
    wait_for("a free place for a stream", || with("narrow").is_ok());
}

#[test]
fn a_key_opens_as_many_streams_a_minute_as_it_may_ask() {
    let (server, _folder) = keyed("slow per_minute=2\n");
    for path in [PATH, "/vosk"] {
        assert!(Socket::connect(&server, path, &[("authorization", "Bearer slow")]).is_ok());
    }
    for path in [PATH, "/v1/realtime", "/vosk"] {
        let (status, body) =
            Socket::connect(&server, path, &[("authorization", "Bearer slow")]).err().unwrap();
        assert_eq!((status, &body["error"]["code"]), (429, &json!("queue_full")), "{path}");
        assert!(body["error"]["message"].as_str().unwrap().contains("per_minute"), "{body}");
    }
}
