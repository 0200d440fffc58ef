//! Leaving in order, and clients that leave early.

use crate::support::{Server, assert_error, small, tone, wait_for};
use s3router_proto::ErrorKind;
use s3router_server::{Config, config::Bind, config::Seconds, lifecycle::Phase};
use std::{
    io::Write,
    net::Shutdown,
    sync::{Mutex, mpsc},
};

/// A server whose engine waits for a word before each batch but the first; says when one waits.
pub(crate) fn gated(config: Config) -> (Server, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (free, freed) = mpsc::channel::<()>();
    let (begun, began) = mpsc::channel::<()>();
    let gate = Mutex::new((freed, false));
    let server = Server::with(
        config,
        Box::new(move |_, engine| {
            {
                let mut gate = gate.lock().unwrap();
                if std::mem::replace(&mut gate.1, true) {
                    let _ = begun.send(());
                    let _ = gate.0.recv();
                }
            }
            engine()
        }),
    );
    (server, began, free)
}

#[test]
fn accepted_requests_are_answered_and_new_ones_refused_while_draining() {
    let (mut server, began, free) = gated(small());
    let url = server.url("/transcribe?lang=en");
    let accepted = std::thread::spawn(move || {
        reqwest::blocking::Client::new().post(url).body(tone(0.5)).send().unwrap().status()
    });
    began.recv().unwrap();
    server.begin_stop();
    wait_for("draining", || server.app.lifecycle.phase() == Phase::Draining);
    assert_error(server.get("/readyz"), ErrorKind::Draining);
    assert_error(server.transcribe("lang=en", &tone(0.1)), ErrorKind::Draining);
    assert_eq!(server.get("/livez").status(), 200);
    free.send(()).unwrap();
    assert_eq!(accepted.join().unwrap(), 200);
    server.stop().unwrap();
    assert!(std::net::TcpStream::connect(server.address).is_err(), "the port is closed");
}

#[test]
fn a_shutdown_that_outlasts_its_deadline_is_an_error() {
    let bind = Bind { shutdown_seconds: Seconds::new(0.1), ..Bind::default() };
    let (mut server, began, _free) = gated(Config { bind, ..small() });
    let url = server.url("/transcribe?lang=en");
    let stuck =
        std::thread::spawn(move || reqwest::blocking::Client::new().post(url).body(tone(0.5)).send().is_ok());
    began.recv().unwrap();
    assert!(server.stop().unwrap_err().contains("--shutdown-seconds"));
    assert!(!stuck.join().unwrap(), "its connection is closed without an answer");
}

#[test]
fn a_client_that_leaves_costs_nothing_further() {
    let (server, began, free) = gated(small());
    let waiting = |n: &str| {
        server
            .get("/metrics")
            .text()
            .unwrap()
            .lines()
            .any(|l| l == format!("s3router_queue_depth{{lang=\"en\"}} {n}"))
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| server.transcribe("lang=en", &tone(0.5)).status());
        began.recv().unwrap();
        let mut leaver = server.socket();
        let audio = tone(0.5);
        write!(
            leaver,
            "POST /transcribe?lang=en HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            audio.len()
        )
        .unwrap();
        leaver.write_all(&audio).unwrap();
        wait_for("the second job", || waiting("1"));
        leaver.shutdown(Shutdown::Both).unwrap();
        wait_for("the cancellation", || {
            server.get("/metrics").text().unwrap().contains("s3router_cancelled_total{stage=\"engine\"} 1")
        });
        free.send(()).unwrap();
        assert_eq!(first.join().unwrap(), 200);
    });
    wait_for("an empty queue", || {
        // The queue is swept when the next batch is formed.
        free.send(()).unwrap();
        server.transcribe("lang=en", &tone(0.1)).status() == 200 && waiting("0")
    });
    let busy = server.get("/metrics").text().unwrap();
    let rows: f64 = value(&busy, "s3router_batch_size_sum");
    let answered: f64 =
        value(&busy, "s3router_requests_total{code=\"ok\",lang=\"en\",route=\"/transcribe\"}");
    assert_eq!(rows, answered, "only answered requests ever reached the engine");
}

fn value(metrics: &str, name: &str) -> f64 {
    let line =
        metrics.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("{name} in\n{metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
