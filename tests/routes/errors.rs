//! The closed list of errors, each provoked over a real socket.

use crate::support::{Around, Server, assert_error, clip, small, tone, wait_for, wav};
use reqwest::blocking::multipart::{Form, Part};
use s3router_core::{Engine, Error, piece};
use s3router_proto::ErrorKind;
use s3router_server::{
    App, Config,
    app::{Loaded, Model},
    config::Auth,
    config::Batching,
    config::Seconds,
    load,
};
use std::{
    io::{Read, Write},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

#[test]
fn invalid_request_names_the_parameter() {
    for (query, param) in
        [("lang=en&langauge=en", "langauge"), ("", "lang"), ("lang=en&decoder=best", "decoder")]
    {
        let body = assert_error(Server::demo().transcribe(query, &tone(0.1)), ErrorKind::InvalidRequest);
        assert_eq!(body.error.param.as_deref(), Some(param));
    }
    let form = Form::new().part("audio", Part::bytes(tone(0.1)).file_name("a.wav"));
    let response = Server::demo().post("/transcribe?lang=en").multipart(form).send().unwrap();
    assert_eq!(assert_error(response, ErrorKind::InvalidRequest).error.param.as_deref(), Some("audio"));
}

#[test]
fn empty_audio() {
    assert_error(Server::demo().transcribe("lang=en", &[]), ErrorKind::EmptyAudio);
    assert_error(Server::demo().transcribe("lang=en", &wav(&[&[]])), ErrorKind::EmptyAudio);
}

#[test]
fn unauthorized_without_the_key_only() {
    let auth = Auth { api_keys: vec!["sesame".into()], ..Auth::default() };
    let server = Server::start(Config { auth, ..small() });
    let response = server.get("/v1/packs");
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_error(response, ErrorKind::Unauthorized);
    assert_error(server.transcribe("lang=en", &tone(0.1)), ErrorKind::Unauthorized);
    let with =
        |key: &str| server.post("/transcribe?lang=en").bearer_auth(key).body(tone(0.1)).send().unwrap();
    assert_error(with("sesam"), ErrorKind::Unauthorized);
    assert_eq!(with("sesame").status(), 200);
    for open in ["/livez", "/readyz", "/metrics", "/docs/", "/"] {
        assert_eq!(server.get(open).status(), 200, "{open}");
    }
}

#[test]
fn language_not_found_lists_and_suggests() {
    let body = assert_error(Server::demo().transcribe("lang=trr", &tone(0.1)), ErrorKind::LanguageNotFound);
    assert!(
        body.error.message.contains("en, es, fr") && body.error.message.contains("`tr`"),
        "{}",
        body.error.message
    );
    assert_eq!(body.error.param.as_deref(), Some("lang"));
}

#[test]
fn unknown_routes_and_wrong_methods_have_the_same_shape() {
    assert_error(Server::demo().get("/transcribes"), ErrorKind::NotFound);
    let response = Server::demo().get("/transcribe");
    assert_eq!(response.headers()["allow"], "POST");
    assert_error(response, ErrorKind::MethodNotAllowed);
}

#[test]
fn body_timeout_ends_a_slow_upload() {
    let mut socket = Server::demo().socket();
    write!(socket, "POST /transcribe?lang=en HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nRIFF")
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains(r#""code":"body_timeout""#), "{answer}");
}

#[test]
fn body_timeout_ends_a_trickle_that_never_pauses() {
    let mut socket = Server::demo().socket();
    write!(socket, "POST /transcribe?lang=en HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n").unwrap();
    let mut trickle = socket.try_clone().unwrap();
    std::thread::spawn(move || {
        while trickle.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(100))
        }
    });
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    let mut socket = Server::demo().socket();
    write!(socket, "POST /transcribe?lang=en HTTP/1.1\r\nhost: x\r\n").unwrap();
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn payload_too_large_declared_or_not() {
    let mut socket = Server::demo().socket();
    write!(socket, "POST /transcribe?lang=en HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n")
        .unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413", "before a byte of the body is read");

    let bytes = small().limits.max_body_bytes + 1;
    let chunked = reqwest::blocking::Body::new(std::io::repeat(0).take(bytes as u64));
    let response = Server::demo().post("/transcribe?lang=en").body(chunked).send().unwrap();
    assert_error(response, ErrorKind::PayloadTooLarge);
}

#[test]
fn audio_too_long_counts_decoded_seconds() {
    let quiet = vec![0xd5; 8000 * 11];
    let response = Server::demo().transcribe("lang=en&encoding=alaw&rate=8000", &quiet);
    let body = assert_error(response, ErrorKind::AudioTooLong);
    assert!(body.error.message.contains("10 s"), "{}", body.error.message);
}

#[test]
fn unsupported_media_and_undecodable_audio() {
    assert_error(
        Server::demo().transcribe("lang=en", b"dear server, please transcribe"),
        ErrorKind::UnsupportedMedia,
    );
    let (audio, _) = clip("en");
    assert_error(Server::demo().transcribe("lang=en", &audio[..20]), ErrorKind::UndecodableAudio);
}

#[test]
fn queue_full_says_how_full_and_when_to_come_back() {
    let (free, freed) = mpsc::channel::<()>();
    let (begun, began) = mpsc::channel::<()>();
    let gate = Mutex::new((freed, false));
    let batching = Batching { queue: 1, ..Batching::default() };
    let server = Server::with(
        Config { batching, ..small() },
        Box::new(move |_, engine| {
            {
                let mut gate = gate.lock().unwrap();
                // The first batch is the warm-up.
                if std::mem::replace(&mut gate.1, true) {
                    begun.send(()).unwrap();
                    gate.0.recv().unwrap();
                }
            }
            engine()
        }),
    );
    std::thread::scope(|scope| {
        let first = scope.spawn(|| server.transcribe("lang=en", &tone(0.5)));
        began.recv().unwrap();
        let response = server.transcribe("lang=en", &tone(0.5));
        let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait));
        let error = assert_error(response, ErrorKind::QueueFull).error;
        assert_eq!((error.limit, error.in_use), (Some(1), Some(1)));
        free.send(()).unwrap();
        assert_eq!(first.join().unwrap().status(), 200);
    });
    free.send(()).unwrap();
    assert_eq!(server.transcribe("lang=en", &tone(0.5)).status(), 200, "the room is free again");
}

#[test]
fn an_internal_error_fails_its_batch_only() {
    let batches = AtomicU32::new(0);
    let server = Server::with(
        small(),
        Box::new(move |_, engine| {
            let before = batches.fetch_add(1, Ordering::Relaxed);
            assert!(before != 1, "the device is gone");
            engine()
        }),
    );
    let body = assert_error(server.transcribe("lang=en", &tone(0.5)), ErrorKind::Internal);
    assert!(!body.error.message.contains("device"), "the cause is for the log: {}", body.error.message);
    assert_eq!(server.transcribe("lang=en", &tone(0.5)).status(), 200);
    assert_eq!(server.get("/readyz").status(), 200);
    let metrics = server.get("/metrics").text().unwrap();
    assert!(metrics.contains("s3router_device_restarts_total 0"), "it was well: the warm-up said so");
}

#[test]
fn a_broken_engine_is_rebuilt_and_what_waits_is_answered() {
    let (free, freed) = mpsc::channel::<()>();
    let (batches, broken, freed) = (AtomicU32::new(0), AtomicBool::new(false), Mutex::new(freed));
    // The engine breaks at its second batch, fails the probe too, and is well again once it was loaded anew.
    let around: Around = Box::new(move |_, engine| {
        match batches.fetch_add(1, Ordering::Relaxed) {
            1 => broken.store(true, Ordering::Relaxed),
            3 => {
                freed.lock().unwrap().recv().unwrap();
                broken.store(false, Ordering::Relaxed);
            }
            _ => {}
        }
        assert!(!broken.load(Ordering::Relaxed), "the device is gone");
        engine()
    });
    let server = Server::with(Config { batching: Batching::default(), ..small() }, around);
    assert_error(server.transcribe("lang=en", &tone(0.5)), ErrorKind::Internal);
    wait_for("/readyz to say so", || server.get("/readyz").status() == 503);
    assert!(assert_error(server.get("/readyz"), ErrorKind::Loading).error.message.contains("rebuilt"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.transcribe("lang=en", &tone(0.5)).status());
        free.send(()).unwrap();
        assert_eq!(waiting.join().unwrap(), 200);
    });
    wait_for("/readyz to be well", || server.get("/readyz").status() == 200);
    assert!(server.get("/metrics").text().unwrap().contains("s3router_device_restarts_total 1"));
}

/// Answers its first batch with a device less, as several devices can, and nothing after that.
struct Crippled(Arc<dyn Model>, AtomicU32);

impl Model for Crippled {
    fn host(&self) -> &Engine {
        self.0.host()
    }

    fn compute(
        &self,
        pieces: &[&piece::Piece],
        pause: &mut dyn FnMut() -> s3router_core::Result<()>,
    ) -> s3router_core::Result<Vec<piece::Part>> {
        match self.1.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => self.0.compute(pieces, pause), // the warm-up, the batch
            _ => Err(Error::Batch("a device is gone".into())),
        }
    }

    fn suspect(&self) -> bool {
        self.1.load(Ordering::Relaxed) > 1
    }
}

#[test]
fn a_model_that_answers_and_is_suspect_is_examined_and_rebuilt() {
    let (devices, loads) = (OnceLock::new(), AtomicU32::new(0));
    let app = App::start(small(), move |engine| {
        let Loaded { mut model, packs } = load::load(engine, &devices)?;
        if loads.fetch_add(1, Ordering::Relaxed) == 0 {
            model = Arc::new(Crippled(model, AtomicU32::new(0)));
        }
        Ok(Loaded { model, packs })
    });
    let server = Server::loading(app.unwrap()).ready();
    let first = server.answer("lang=en", &tone(0.5));
    let restarted = || server.get("/metrics").text().unwrap().contains("s3router_device_restarts_total 1\n");
    wait_for("a new engine", || restarted() && server.get("/readyz").status() == 200);
    assert_eq!(server.answer("lang=en", &tone(0.5)).text, first.text);
}

#[test]
fn an_engine_that_cannot_be_mended_ends_the_server_with_its_reason() {
    let batches = AtomicU32::new(0);
    let mut server = Server::with(
        small(),
        Box::new(move |_, engine| {
            assert!(batches.fetch_add(1, Ordering::Relaxed) == 0, "the device is gone");
            engine()
        }),
    );
    assert_error(server.transcribe("lang=en", &tone(0.5)), ErrorKind::Internal);
    assert!(server.ended().unwrap_err().contains("the device is gone"));
}

#[test]
fn loading_until_the_warm_up_has_succeeded() {
    let (go, wait) = mpsc::channel::<()>();
    let app = App::start(small(), move |engine| {
        wait.recv().unwrap();
        load::load(engine, &Default::default())
    });
    let server = Server::loading(app.unwrap());
    assert_eq!(server.get("/livez").status(), 200);
    assert_error(server.get("/readyz"), ErrorKind::Loading);
    assert_error(server.get("/v1/packs"), ErrorKind::Loading);
    assert_error(server.transcribe("lang=en", &tone(0.1)), ErrorKind::Loading);
    go.send(()).unwrap();
    let server = server.ready();
    assert_eq!(server.get("/readyz").status(), 200);
}

#[test]
fn deadline_exceeded_by_the_clients_wish_or_the_servers() {
    let (audio, _) = clip("en");
    assert_error(Server::demo().transcribe("lang=en&deadline_ms=1", &audio), ErrorKind::DeadlineExceeded);
    let mut config = small();
    config.limits.deadline = Seconds::new(0.001);
    let server = Server::start(config);
    assert_error(server.transcribe("lang=en&deadline_ms=60000", &audio), ErrorKind::DeadlineExceeded);
}
