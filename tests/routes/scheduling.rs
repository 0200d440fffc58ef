//! One engine for everybody: short requests beside long files, and clients that leave between two windows.

use crate::support::{Around, Server, clip, samples, small, tone, wait_for, wav};
use s3router_server::{Config, config::Batching, config::Limits};
use std::{
    io::Write,
    net::Shutdown,
    sync::{Arc, Mutex, mpsc},
};

/// Longest piece of each batch in the order of their beginning, in seconds; the first is the warm-up.
type Seen = Arc<Mutex<Vec<f64>>>;

/// A server that writes down its batches and waits for a word at the beginning of the first longer than 5 s.
fn watched() -> (Server, Seen, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (free, freed) = mpsc::channel::<()>();
    let (begun, began) = mpsc::channel::<()>();
    let (seen, freed) = (Seen::default(), Mutex::new(Some(freed)));
    let book = Arc::clone(&seen);
    let around: Around = Box::new(move |pieces, engine| {
        let longest = pieces.iter().map(|p| p.samples()).max().unwrap_or(0) as f64 / 16_000.0;
        book.lock().unwrap().push(longest);
        if longest > 5.0
            && let Some(freed) = freed.lock().unwrap().take()
        {
            begun.send(()).unwrap();
            freed.recv().unwrap();
        }
        engine()
    });
    let limits = Limits { max_audio_seconds: Limits::default().max_audio_seconds, ..Limits::for_testing() };
    let limits = Limits { max_body_bytes: 100_000_000, ..limits };
    let batching = Batching { batch_seconds: 40, ..Batching::default() };
    let server = Server::with(Config { limits, batching, ..small() }, around);
    (server, seen, began, free)
}

fn waiting(server: &Server, n: u32) -> bool {
    let line = format!("s3router_queue_depth{{lang=\"es\"}} {n}");
    server.get("/metrics").text().unwrap().lines().any(|l| l == line)
}

#[test]
fn a_short_request_cuts_in_on_a_long_file_and_changes_neither_text() {
    let (server, seen, began, free) = watched();
    let (short, text) = clip("es");
    let clips: Vec<f32> = std::iter::repeat_with(|| samples(&clip("es").0)).take(40).flatten().collect();
    let long = wav(&[&clips]);
    let alone = Server::start(Config { limits: server.app.config.limits, ..small() });
    let expected = alone.answer("lang=es", &long).text;
    std::thread::scope(|scope| {
        let file = scope.spawn(|| server.answer("lang=es", &long).text);
        began.recv().unwrap();
        let quick = scope.spawn(|| server.answer("lang=es", &short).text);
        wait_for("the short request in the queue", || waiting(&server, 1));
        free.send(()).unwrap();
        assert_eq!(quick.join().unwrap(), text);
        assert_eq!(file.join().unwrap(), expected);
    });
    let seen = seen.lock().unwrap();
    assert!(seen[1] > 5.0 && seen[2] < 5.0 && seen[3] > 5.0 && seen.len() > 4, "{seen:?}");
}

#[test]
fn a_client_that_leaves_between_windows_has_no_further_window_computed() {
    let (server, seen, began, free) = watched();
    let mut leaver = server.socket();
    let audio = tone(200.0);
    write!(leaver, "POST /transcribe?lang=es HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", audio.len())
        .unwrap();
    leaver.write_all(&audio).unwrap();
    began.recv().unwrap();
    leaver.shutdown(Shutdown::Both).unwrap();
    wait_for("the cancellation", || {
        server.get("/metrics").text().unwrap().contains("s3router_cancelled_total{stage=\"engine\"} 1")
    });
    free.send(()).unwrap();
    assert_eq!(server.transcribe("lang=es", &tone(1.0)).status(), 200);
    let seen = seen.lock().unwrap();
    assert_eq!(
        seen.len(),
        3,
        "warm-up, the window under way when the client left, the next request: {seen:?}"
    );
}
