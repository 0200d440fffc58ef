//! Clients that leave, and deadlines that pass, while logits are read: the work ends and its room is given back.

use crate::support::{
    Server, assert_error, clip, samples, small,
    socket::{Socket, pcm},
    tone, wait_for, wav,
};
use s3router_core::{
    Cancel, Engine, Result as CoreResult, Utterance,
    engine::{Transcript, Wants},
    piece::{Part, Piece},
};
use s3router_proto::ErrorKind;
use s3router_server::{
    App, Config,
    app::{Loaded, Model},
    config::Batching,
    load,
};
use serde_json::json;
use std::{
    io::Write,
    net::{Shutdown, TcpStream},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread::sleep,
    time::Duration,
};

const BARE: &str = "application/octet-stream";
const SEARCH: &str = "/transcribe?lang=tr&decoder=beam&beam=64";

/// The real engine, but an utterance is so long that searching or aligning its logits takes many seconds, and
/// reading its words (of more than 3 s of audio) does not end before it is told to. It counts those readings.
struct Endless(Arc<dyn Model>, Arc<AtomicU32>);

impl Model for Endless {
    fn host(&self) -> &Engine {
        self.0.host()
    }

    fn compute(&self, pieces: &[&Piece], pause: &mut dyn FnMut() -> CoreResult<()>) -> CoreResult<Vec<Part>> {
        self.0.compute(pieces, pause)
    }

    fn read(&self, utterance: &Utterance, parts: Vec<Part>, cancel: &Cancel) -> CoreResult<Transcript> {
        if utterance.samples.len() > 3 * 16_000 && utterance.wants == Wants::Transcript {
            self.1.fetch_add(1, Ordering::SeqCst);
            loop {
                cancel.check()?;
                sleep(Duration::from_millis(1));
            }
        }
        let mut transcript = self.0.read(utterance, parts, cancel)?;
        if let Some(emissions) = &mut transcript.emissions {
            let v = utterance.pack.vocab.len();
            emissions.logits = emissions.logits.repeat(1 + 500_000 * v / emissions.logits.len());
        }
        Ok(transcript)
    }
}

/// With room for one request; and how many utterances' words it has begun to read.
fn endless() -> (Server, Arc<AtomicU32>) {
    let (device, words) = (OnceLock::new(), Arc::<AtomicU32>::default());
    let begun = Arc::clone(&words);
    let config = Config { batching: Batching { queue: 1, ..Batching::default() }, ..small() };
    let app = App::start(config, move |engine| {
        let Loaded { model, packs } = load::load(engine, &device)?;
        Ok(Loaded { model: Arc::new(Endless(model, Arc::clone(&begun))), packs })
    });
    (Server::loading(app.unwrap()).ready(), words)
}

/// A text that takes long to lay over logits that are long.
fn align() -> String {
    format!("/align?lang=tr&text={}", (clip("tr").1 + " ").repeat(20).trim().replace(' ', "+"))
}

fn says(server: &Server, line: &str) -> bool {
    server.get("/metrics").text().unwrap().lines().any(|l| l == line)
}

fn abandoned(server: &Server, stage: &str, times: u32) -> bool {
    says(server, &format!("s3router_abandoned_total{{stage=\"{stage}\"}} {times}"))
}

/// So many utterances' logits are there: whatever reads the last is at work.
fn computed(server: &Server, times: u32) -> bool {
    says(server, &format!("s3router_stage_duration_seconds_count{{stage=\"ctc\"}} {times}"))
}

fn post(server: &Server, path: &str, kind: &str, body: &[u8]) -> TcpStream {
    let mut socket = server.socket();
    let head = format!("host: x\r\ncontent-type: {kind}\r\ncontent-length: {}", body.len());
    write!(socket, "POST {path} HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
    socket.write_all(body).unwrap();
    socket
}

#[test]
fn a_search_or_an_alignment_ends_when_its_client_leaves_and_its_room_is_free_again() {
    let ((server, _), audio) = (endless(), clip("tr").0);
    for (so_far, (path, stage)) in (0..).zip([(SEARCH, "search"), (&*align(), "align")]) {
        let leaver = post(&server, path, BARE, &audio);
        wait_for("its logits", || computed(&server, 1 + 2 * so_far));
        assert_error(server.transcribe("lang=tr", &tone(0.5)), ErrorKind::QueueFull);
        leaver.shutdown(Shutdown::Both).unwrap();
        wait_for("the end of its work", || abandoned(&server, stage, 1));
        assert!(says(&server, &format!("s3router_cancelled_total{{stage=\"engine\"}} {}", so_far + 1)));
        server.answer("lang=tr", &tone(0.5));
    }
}

#[test]
fn a_deadline_that_passes_meanwhile_is_told_and_ends_the_work() {
    let ((server, _), audio) = (endless(), clip("tr").0);
    for (path, stage) in [(SEARCH, "search"), (&*align(), "align")] {
        let answer = server.post(&format!("{path}&deadline_ms=1500")).body(audio.clone()).send().unwrap();
        let body = assert_error(answer, ErrorKind::DeadlineExceeded);
        assert!(body.error.message.contains("1500 ms"), "{}", body.error.message);
        wait_for("the end of its work", || abandoned(&server, stage, 1));
        server.answer("lang=tr", &tone(0.5));
    }
    assert!(says(&server, "s3router_cancelled_total{stage=\"engine\"} 0"), "nobody left");
}

#[test]
fn words_are_read_no_further_once_nobody_waits_for_them() {
    let (server, words) = endless();
    let audio = wav(&[&samples(&clip("tr").0).repeat(2)]);
    let mut form =
        b"--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\ns3router-tr\r\n--b\r\n".to_vec();
    form.extend(b"content-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n");
    form.extend([&*audio, b"\r\n--b--\r\n"].concat());
    let openai = ("/v1/audio/transcriptions", "multipart/form-data; boundary=b", &form);
    for (times, (path, kind, body)) in (1..).zip([("/transcribe?lang=tr", BARE, &audio), openai]) {
        let leaver = post(&server, path, kind, body);
        wait_for("its words", || words.load(Ordering::SeqCst) == times);
        assert_error(server.transcribe("lang=tr", &tone(0.5)), ErrorKind::QueueFull);
        leaver.shutdown(Shutdown::Both).unwrap();
        wait_for("the end of the reading", || abandoned(&server, "read", times));
    }
    server.answer("lang=tr", &tone(0.5));
}

#[test]
fn a_stream_that_is_left_searches_no_further() {
    let (server, _) = endless();
    let query = "lang=tr&encoding=pcm_s16le&interim=false&decoder=beam&beam=64";
    let mut socket = Socket::open(&server, &format!("/transcribe/stream?{query}"));
    socket.expect("ready");
    socket.send(&pcm(&clip("tr").0));
    socket.say(&json!({ "type": "flush", "id": 1 }));
    wait_for("its logits", || computed(&server, 1));
    socket.leave();
    wait_for("the end of its work", || abandoned(&server, "search", 1));
    server.answer("lang=tr", &tone(0.5));
}
