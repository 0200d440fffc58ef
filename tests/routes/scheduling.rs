//! One engine for everybody: short requests beside long files, and clients that leave between two windows.

use crate::support::{Around, LANGUAGES, Server, clip, samples, small, tone, wait_for, wav};
use s3router_server::{Config, config::Batching, config::Limits};
use std::{
    collections::BTreeSet,
    io::Write,
    net::Shutdown,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
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

/// Three lengths of each language's clip.
fn crowd() -> Vec<(&'static str, Vec<u8>)> {
    let cut = |lang: &'static str| {
        let whole = samples(&clip(lang).0);
        [1.0, 0.61, 0.37].map(|part| (lang, wav(&[&whole[..(part * whole.len() as f64) as usize]])))
    };
    LANGUAGES.iter().flat_map(|lang| cut(lang)).collect()
}

#[test]
fn whoever_rides_along_changes_no_text() {
    let one_by_one = Batching { max_batch: 1, ..Batching::default() };
    let alone = Server::start(Config { batching: one_by_one, ..small() });
    let crowd = crowd();
    let expected: Vec<String> =
        crowd.iter().map(|(lang, audio)| alone.answer(&format!("lang={lang}"), audio).text).collect();

    // The first batch waits until everybody is there, so that the next ones are as mixed as can be.
    let (gate, entered, mixed) = (Arc::default(), Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new((0, 0))));
    let (hold, inside, book): (Arc<Mutex<()>>, _, _) =
        (Arc::clone(&gate), Arc::clone(&entered), Arc::clone(&mixed));
    let around: Around = Box::new(move |pieces, engine| {
        inside.fetch_add(pieces.len() as u32, Ordering::SeqCst);
        drop(hold.lock().unwrap());
        let languages: BTreeSet<&str> = pieces.iter().map(|p| p.pack().meta.language.as_str()).collect();
        let mut book = book.lock().unwrap();
        *book = (*book).max((pieces.len(), languages.len()));
        drop(book);
        engine()
    });
    let server = Server::with(small(), around);
    let held = gate.lock().unwrap();
    let warm_up = entered.load(Ordering::SeqCst);
    std::thread::scope(|scope| {
        let ask = |(lang, audio): &(&str, Vec<u8>)| server.answer(&format!("lang={lang}"), audio).text;
        let asked: Vec<_> = crowd.iter().map(|request| scope.spawn(move || ask(request))).collect();
        wait_for("the crowd", || {
            queued(&server) + entered.load(Ordering::SeqCst) - warm_up >= crowd.len() as u32
        });
        drop(held);
        for ((request, expected), heard) in crowd.iter().zip(&expected).zip(asked) {
            assert_eq!(&heard.join().unwrap(), expected, "{}, {} bytes", request.0, request.1.len());
        }
    });
    let (rows, languages) = *mixed.lock().unwrap();
    assert!(rows >= 6 && languages >= 4, "{rows} rows, {languages} languages in the fullest batch");
}

/// Jobs that wait for the engine, in all languages.
fn queued(server: &Server) -> u32 {
    let metrics = server.get("/metrics").text().unwrap();
    let depth =
        |line: &str| line.strip_prefix("s3router_queue_depth{")?.rsplit(' ').next()?.parse::<u32>().ok();
    metrics.lines().filter_map(depth).sum()
}
