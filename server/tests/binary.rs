//! The program itself: started, asked, told to leave.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail")]

#[path = "binary/client.rs"]
mod client;
#[path = "binary/outside.rs"]
mod outside;
#[path = "binary/sources.rs"]
mod sources;

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

fn s3router(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3router"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A started server and the address it logged. Killed when dropped, so that a failed test leaves nothing behind.
struct Running(Child, String);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(args: &[&str]) -> Running {
    serve_with(args, &[])
}

fn serve_with(args: &[&str], variables: &[(&str, &str)]) -> Running {
    let mut command = s3router(&[&["serve", "--listen", "127.0.0.1:0"], args].concat());
    let mut child = command.envs(variables.iter().copied()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.by_ref().find(|l| l.contains("listening on ")).expect("a line that names the address");
    // Someone must read on, or a full pipe would stop the server.
    std::thread::spawn(move || lines.for_each(drop));
    let (before, address) = line.split_once("://").unwrap();
    let scheme = if before.ends_with("https") { "https" } else { "http" };
    let address = address.split([',', '"']).next().unwrap();
    let running = Running(child, format!("{scheme}://{address}"));
    let end = Instant::now() + Duration::from_secs(60);
    let tls = ureq::tls::TlsConfig::builder().disable_verification(true).build();
    let client = ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).build();
    let client = ureq::Agent::from(client);
    while client.get(format!("{}/readyz", running.1)).call().unwrap().status() != 200 {
        assert!(Instant::now() < end, "never ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    running
}

/// Nine seconds of 8 kHz µ-law silence.
fn ask(url: &str) -> reqwest::Result<reqwest::blocking::Response> {
    let url = format!("{url}/transcribe?lang=en&encoding=mulaw&rate=8000");
    reqwest::blocking::Client::new().post(url).body(vec![0xff; 72_000]).send()
}

fn in_work(url: &str) -> u32 {
    let metrics = reqwest::blocking::get(format!("{url}/metrics")).unwrap().text().unwrap();
    let gauge =
        metrics.lines().find_map(|l| l.strip_prefix("s3router_requests_in_flight{route=\"/transcribe\"} "));
    gauge.map_or(0, |n| n.parse().unwrap())
}

#[cfg(unix)]
#[test]
fn sigterm_ends_it_with_success_and_every_accepted_request_answered() {
    let mut server = serve(&["--log-format", "json"]);
    let url = server.1.clone();
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let url = url.clone();
            std::thread::spawn(move || {
                let response = ask(&url).expect("an answer, not a closed connection");
                let status = response.status();
                assert_eq!(response.text().unwrap().contains("\"text\""), status == 200, "a whole answer");
                status.as_u16()
            })
        })
        .collect();
    while in_work(&url) < 4 {
        assert!(clients.iter().any(|c| !c.is_finished()), "all done before anything could be interrupted");
    }
    let pid = server.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let answers: Vec<u16> = clients.into_iter().map(|c| c.join().unwrap()).collect();
    assert!(answers.iter().all(|a| [200, 503].contains(a)) && answers.contains(&200), "{answers:?}");
    assert!(server.0.wait().unwrap().success());
}

#[cfg(unix)]
#[test]
fn sigterm_makes_final_what_open_streams_have_sent() {
    let mut server = serve(&[]);
    let address = server.1.strip_prefix("http://").unwrap();
    let tcp = std::net::TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let url = format!("ws://{address}/transcribe/stream?lang=tr&endpointing_ms=0");
    let (mut socket, _) = tungstenite::client(url, tcp).unwrap();
    let clip = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/demo/clips/tr.wav")).unwrap();
    socket.send(tungstenite::Message::binary(clip)).unwrap();
    let mut next = || loop {
        match socket.read().unwrap() {
            tungstenite::Message::Text(text) => {
                let message: serde_json::Value = serde_json::from_str(&text).unwrap();
                return (message["type"].as_str().unwrap().to_owned(), message);
            }
            tungstenite::Message::Close(frame) => {
                return ("close".into(), u16::from(frame.unwrap().code).into());
            }
            _ => {}
        }
    };
    // The audio has arrived when a partial shows it.
    while next().0 != "partial" {}
    let pid = server.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut told = Vec::new();
    while told.last().is_none_or(|(kind, _): &(String, _)| kind != "close") {
        told.push(next());
    }
    let said: Vec<_> = told.iter().filter(|(kind, m)| kind == "final" && m["text"] != "").collect();
    assert_eq!(said.len(), 1, "{told:?}");
    let kinds: Vec<&str> = told.iter().rev().take(3).map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["close", "closed", "error"], "{told:?}");
    assert_eq!(told.last().unwrap().1, 1013);
    assert!(server.0.wait().unwrap().success());
}

fn fails(args: &[&str]) -> String {
    fails_with(args, &[])
}

fn fails_with(args: &[&str], variables: &[(&str, &str)]) -> String {
    let output = s3router(args).envs(variables.iter().copied()).output();
    let Output { status, stdout, stderr } = output.unwrap();
    assert!(!status.success() && stdout.is_empty());
    String::from_utf8(stderr).unwrap().lines().last().unwrap().to_owned()
}

#[test]
fn what_goes_wrong_is_one_line_that_says_how_to_mend_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = fails(&["serve", "--listen", &address]);
    assert!(
        line.starts_with(&format!("error: cannot listen on {address}")) && line.contains("--listen"),
        "{line}"
    );

    let line = fails(&["serve", "--listen", "127.0.0.1:0", "--backbone", "no/such/folder"]);
    assert!(line.starts_with("error: ") && line.contains("no/such/folder"), "{line}");

    let line = fails(&["serve", "--listen", "127.0.0.1:0", "--device", "abacus"]);
    assert!(line.starts_with("error: ") && line.contains("abacus"), "{line}");
}

#[cfg(unix)]
#[test]
fn a_hangup_reloads_the_folder_of_packs() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/demo/packs");
    let folder = tempfile::tempdir().unwrap();
    let copy = |lang: &str| {
        let name = format!("{lang}.safetensors");
        std::fs::copy(format!("{demo}/{name}"), folder.path().join(name)).unwrap();
    };
    copy("tr");
    let server = serve(&["--packs", folder.path().to_str().unwrap()]);
    let packs = || reqwest::blocking::get(format!("{}/v1/packs", server.1)).unwrap().text().unwrap();
    assert!(!packs().contains("\"ru\""));
    copy("ru");
    let pid = server.0.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    let end = Instant::now() + Duration::from_secs(20);
    while !packs().contains("\"ru\"") {
        assert!(Instant::now() < end, "never reloaded");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_admin_address_without_a_token_is_refused() {
    let line = fails(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    assert!(line.starts_with("error: --admin-listen needs a token"), "{line}");
}

#[test]
fn health_asks_the_address_that_serve_was_given() {
    let server = serve(&[]);
    let listen = server.1.trim_start_matches("http://");
    let asked = s3router(&["health"]).env("S3ROUTER_LISTEN", listen).output().unwrap();
    assert!(asked.status.success() && asked.stderr.is_empty(), "{asked:?}");
    assert!(s3router(&["health", "--live", "--listen", listen]).status().unwrap().success());

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let line = fails(&["health", "--listen", &nobody, "--timeout", "2"]);
    assert!(line.starts_with("error: no answer from") && line.contains(&nobody), "{line}");
}

#[test]
fn shards_of_a_manifest_make_the_whole() {
    let clips = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/demo/clips");
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("clips.tsv");
    std::fs::write(&manifest, format!("{clips}/tr.wav\ttr\n{clips}/ky.flac\tky\n{clips}/en.wav\n")).unwrap();
    let run = |more: &[&str]| {
        let manifest = manifest.to_str().unwrap();
        let out =
            s3router(&["transcribe", "--manifest", manifest, "--lang", "en"]).args(more).output().unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let whole = run(&[]);
    assert_eq!(whole.lines().count(), 3, "{whole}");
    let part = folder.path().join("part-0.tsv");
    assert!(run(&["--shard", "0/2", "--output", part.to_str().unwrap()]).is_empty());
    let parts = [std::fs::read_to_string(&part).unwrap(), run(&["--shard", "1/2"])];
    let mut lines: Vec<_> = parts.iter().flat_map(|p| p.lines()).collect();
    lines.sort_by_key(|l| whole.lines().position(|w| w == *l));
    assert_eq!(lines, whole.lines().collect::<Vec<_>>());

    std::fs::write(&manifest, "a.wav\ttlh\n").unwrap();
    let line = fails(&["transcribe", "--manifest", manifest.to_str().unwrap()]);
    assert!(line.contains("tlh"), "{line}");
}
