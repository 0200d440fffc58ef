//! What is seen of the program from outside: traces at a collector, log lines without secrets.

use super::{s3router, serve_with};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::Command,
    sync::mpsc,
};

/// A collector: takes what is posted until its sender is dropped.
fn collector() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, bodies) = mpsc::channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = BufReader::new(socket.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                socket.read_line(&mut line).unwrap();
                let line = line.to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            socket.read_exact(&mut body).unwrap();
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            socket.get_mut().write_all(answer.as_bytes()).unwrap();
            if told.send(body).is_err() {
                return;
            }
        }
    });
    (url, bodies)
}

fn attribute(span: &Span, key: &str) -> Option<Value> {
    span.attributes.iter().find(|a| a.key == key)?.value.clone()?.value
}

#[cfg(unix)]
#[test]
fn a_request_can_be_followed_from_the_socket_to_the_kernel() {
    let (url, bodies) = collector();
    let mut server = serve_with(&["--otlp", &url], &[]);
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/demo/clips/tr.wav");
    let asked = reqwest::blocking::Client::new().post(format!("{}/transcribe?lang=tr", server.1));
    let answer = asked.header("traceparent", caller).body(std::fs::read(clip).unwrap()).send().unwrap();
    assert_eq!(answer.status(), 200);
    Command::new("kill").args(["-TERM", &server.0.id().to_string()]).status().unwrap();
    assert!(server.0.wait().unwrap().success());

    let mut spans = Vec::new();
    while let Ok(body) = bodies.try_recv() {
        let sent = ExportTraceServiceRequest::decode(&body[..]).unwrap();
        let scopes = sent.resource_spans.into_iter().flat_map(|r| r.scope_spans);
        spans.extend(scopes.flat_map(|s| s.spans));
    }
    let ours: Vec<&Span> = spans
        .iter()
        .filter(|s| s.trace_id == 0x0af7651916cd43dd8448eb211c80319c_u128.to_be_bytes())
        .collect();
    let find = |name: &str| {
        *ours.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
    };
    let request = find("POST /transcribe");
    assert_eq!(request.parent_span_id, 0xb7ad6b7169203331_u64.to_be_bytes());
    assert_eq!(attribute(request, "lang"), Some(Value::StringValue("tr".into())));
    let below = |name: &str, parent: &Span| {
        let span = find(name);
        assert_eq!(span.parent_span_id, parent.span_id, "{name}");
        assert!(
            parent.start_time_unix_nano <= span.start_time_unix_nano
                && span.start_time_unix_nano < span.end_time_unix_nano
        );
        span
    };
    for stage in ["upload", "decode", "ctc"] {
        below(stage, request);
    }
    let forward = below("forward", below("engine", request));
    assert!(matches!(attribute(forward, "kernel"), Some(Value::StringValue(k)) if !k.is_empty()));
}

#[test]
fn no_secret_is_ever_logged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, "hunter2 name=acme\n").unwrap();
    let file = file.to_str().unwrap();
    let variables = [("S3ROUTER_API_KEYS", "sesame"), ("S3ROUTER_ADMIN_TOKEN", "abracadabra")];
    let flags = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--log",
        "trace",
        "--api-key-file",
        file,
    ];
    let mut child = s3router(&flags).envs(variables).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    let address = loop {
        let start = seen.len();
        assert!(log.read_line(&mut seen).unwrap() > 0, "{seen}");
        if let Some((_, address)) = seen[start..].split_once("listening on http://") {
            break address.split([',', '"']).next().unwrap().trim().to_owned();
        }
    };
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        rest
    });
    for key in ["sesame", "hunter2", "abracadabra", "wrong-swordfish"] {
        let url = format!("http://{address}/v1/packs");
        // Ready or not: what is logged matters.
        let _ = reqwest::blocking::Client::new().get(url).bearer_auth(key).send().unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    seen += &rest.join().unwrap();
    for secret in ["sesame", "hunter2", "abracadabra", "wrong-swordfish"] {
        assert!(!seen.contains(secret), "{secret} in the log");
    }
}
