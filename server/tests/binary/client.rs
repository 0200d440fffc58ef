//! `s3router transcribe`: by itself, and asking a server.

use super::{fails, s3router, serve, serve_with};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::Stdio,
};

const CLIPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/demo/clips");

fn says(args: &[&str]) -> String {
    let output = s3router(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_server_hears_what_the_program_hears_by_itself() {
    let server = serve_with(&[], &[("S3ROUTER_API_KEYS", "sesame")]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("deep")).unwrap();
    std::fs::copy(format!("{CLIPS}/tr.wav"), folder.path().join("a.wav")).unwrap();
    std::fs::copy(format!("{CLIPS}/tr.wav"), folder.path().join("deep/b.wav")).unwrap();
    let files = folder.path().to_str().unwrap();
    let remote = ["--server", server.1.as_str(), "--api-key", "sesame"];
    for form in ["text", "json"] {
        let ask = ["transcribe", files, "--lang", "tr", "--format", form];
        let (here, there) = (says(&ask), says(&[&ask[..], &remote].concat()));
        assert_eq!((here.lines().count(), there.lines().count()), (2, 2), "{here}{there}");
        if form == "text" {
            assert_eq!(here, there);
            assert!(here.lines().next().unwrap().contains("a.wav\t"), "{here}");
        }
    }
    let out = folder.path().join("srt");
    let ask = ["transcribe", files, "--lang", "tr", "--format", "srt", "--out", out.to_str().unwrap()];
    assert_eq!(says(&[&ask[..], &remote].concat()), "");
    let subtitles = std::fs::read_to_string(out.join("a.srt")).unwrap();
    assert!(subtitles.starts_with("1\n00:00:0") && out.join("b.srt").exists(), "{subtitles}");

    let clip = format!("{CLIPS}/tr.wav");
    let line = fails(&["transcribe", &clip, "--lang", "tr", "--server", &server.1, "--api-key", "wrong"]);
    assert!(line.contains("not transcribed"), "{line}");
}

#[test]
fn a_recording_comes_through_standard_input_as_a_whole_where_its_form_asks_for_that() {
    let clip = format!("{CLIPS}/tr.wav");
    let bytes = std::fs::read(&clip).unwrap();
    let from = |bytes: &[u8], args: &[&str]| {
        let ask = [&["transcribe", "-", "--lang", "tr"][..], args].concat();
        let mut child = s3router(&ask).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    let subtitles = says(&["transcribe", &clip, "--lang", "tr", "--format", "srt"]);
    assert_eq!(from(&bytes, &["--format", "srt"]), subtitles);
    assert!(!from(&bytes, &[]).trim().is_empty(), "as text a line an utterance");
    let quiet = from(&vec![0; 32_000], &["--encoding", "pcm_s16le", "--rate", "16000", "--format", "json"]);
    let told: serde_json::Value = serde_json::from_str(quiet.trim()).unwrap();
    assert_eq!((&told["type"], &told["text"], &told["end"]), (&"final".into(), &"".into(), &1.0.into()));
}

/// Lines that a child writes, as they come.
fn lines(child: &mut std::process::Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok)
}

/// Speaks twice into an open microphone; the lines that came of it. The first came while it was still open.
fn speak(args: &[&str]) -> Vec<String> {
    let clip = std::fs::read(format!("{CLIPS}/tr.wav")).unwrap();
    let rate = u32::from_le_bytes(clip[24..28].try_into().unwrap()).to_string();
    assert_eq!(&clip[20..24], [1, 0, 1, 0], "16-bit PCM, one channel");
    let speech = [&clip[44..], &[0; 48_000]].concat();
    let flags = ["transcribe", "-", "--lang", "tr", "--encoding", "pcm_s16le", "--rate", &rate];
    let mut child = s3router(&[&flags[..], args].concat()).stdin(Stdio::piped()).spawn().unwrap();
    let mut microphone = child.stdin.take().unwrap();
    let mut said = lines(&mut child);
    microphone.write_all(&speech).unwrap();
    microphone.flush().unwrap();
    let first = said.next().unwrap();
    microphone.write_all(&speech).unwrap();
    drop(microphone);
    let rest: Vec<String> = said.collect();
    assert!(!first.is_empty() && !rest.is_empty() && child.wait().unwrap().success(), "{first} {rest:?}");
    std::iter::once(first).chain(rest).collect()
}

#[test]
fn a_live_microphone_is_heard_while_it_speaks_here_as_by_a_server() {
    let server = serve_with(&[], &[("S3ROUTER_API_KEYS", "sesame")]);
    let url = server.1.as_str();
    let remote = ["--server", url, "--api-key", "sesame"];
    assert_eq!(speak(&remote), speak(&[]));
    for args in [&remote[..], &[]] {
        let told = speak(&[&["--format", "json"][..], args].concat());
        let last: serde_json::Value = serde_json::from_str(told.last().unwrap()).unwrap();
        assert_eq!((&last["type"], &last["lang"]), (&"final".into(), &"tr".into()));
    }
    assert!(fails(&["transcribe", "-", "--lang", "tlh"]).contains("tlh"));

    let wrong = |args: &[&str]| {
        let output = s3router(&[&["transcribe", "-", "--server", url][..], args].concat()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(wrong(&["--lang", "tlh", "--api-key", "sesame"]).contains("tlh"));
    let refused = wrong(&["--lang", "tr", "--api-key", "wrong"]);
    assert!(refused.contains("not known") && refused.contains("401"), "{refused}");
}

#[test]
fn a_server_with_a_certificate_of_the_house_is_asked_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = serve(&["--tls-cert", &cert, "--tls-key", &key]);
    let url = format!("https://localhost:{}", server.1.rsplit(':').next().unwrap());
    let vouched = ["--server", url.as_str(), "--ca-cert", &cert];
    assert_eq!(speak(&vouched), speak(&[]));
    let clip = format!("{CLIPS}/tr.wav");
    let ask = ["transcribe", clip.as_str(), "--lang", "tr"];
    assert_eq!(says(&[&ask[..], &vouched].concat()), says(&ask));

    for input in ["-", clip.as_str()] {
        let stranger = ["transcribe", input, "--lang", "tr", "--retries", "0", "--server", &url];
        let line = s3router(&stranger).output().unwrap();
        let line = String::from_utf8(line.stderr).unwrap();
        assert!(line.contains("no answer from") && line.contains("ertificate"), "{line}");
    }
    let nothing = fails(&["transcribe", "-", "--lang", "tr", "--server", &url, "--ca-cert", &key]);
    assert!(nothing.contains("--ca-cert"), "{nothing}");
}

/// A server that is busy once and asks for a second's patience, then lets nobody in.
#[test]
fn a_stream_knocks_again_when_the_server_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let answers = [
            "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        ];
        answers.map(|answer| {
            let mut socket = BufReader::new(listener.accept().unwrap().0);
            let came = std::time::Instant::now();
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                socket.read_line(&mut head).unwrap();
            }
            socket.get_mut().write_all(answer.as_bytes()).unwrap();
            (came, head)
        })
    });
    let line = fails(&["transcribe", "-", "--lang", "tr", "--server", &url, "--api-key", "sesame"]);
    assert!(line.contains("401"), "{line}");
    let [first, second] = server.join().unwrap();
    assert!(second.0 - first.0 >= std::time::Duration::from_secs(1));
    let head = second.1.to_ascii_lowercase();
    assert!(
        head.starts_with("get /transcribe/stream ") && head.contains("authorization: bearer sesame"),
        "{head}"
    );
}

/// A server that is busy once and asks for a second's patience.
#[test]
fn a_busy_server_is_asked_again_when_it_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let answers = [
            "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nmerhaba\n",
        ];
        answers.map(|answer| {
            let mut socket = BufReader::new(listener.accept().unwrap().0);
            let came = std::time::Instant::now();
            let (mut line, mut length) = (String::new(), 0);
            while line != "\r\n" {
                line.clear();
                socket.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            socket.read_exact(&mut vec![0; length]).unwrap();
            socket.get_mut().write_all(answer.as_bytes()).unwrap();
            came
        })
    });
    assert_eq!(
        says(&["transcribe", &format!("{CLIPS}/tr.wav"), "--lang", "tr", "--server", &url]),
        "merhaba\n"
    );
    let [first, second] = server.join().unwrap();
    assert!(second - first >= std::time::Duration::from_secs(1));
    let line =
        fails(&["transcribe", &format!("{CLIPS}/tr.wav"), "--lang", "tr", "--server", "ftp://nowhere"]);
    assert!(line.contains("--server"), "{line}");
}
