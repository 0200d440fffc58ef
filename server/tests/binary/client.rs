//! `s3router transcribe`: by itself, and asking a server.

use super::{fails, s3router, serve_with};
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
fn a_microphone_comes_through_standard_input() {
    let bytes = std::fs::read(format!("{CLIPS}/tr.wav")).unwrap();
    let whole = says(&["transcribe", &format!("{CLIPS}/tr.wav"), "--lang", "tr"]);
    let from = |bytes: &[u8], args: &[&str]| {
        let mut child = s3router(&[&["transcribe", "-", "--lang", "tr"], args].concat())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    assert_eq!(from(&bytes, &[]), whole);
    let quiet = from(&vec![0; 32_000], &["--encoding", "pcm_s16le", "--rate", "16000", "--format", "json"]);
    assert!(quiet.contains("\"duration\":1.0"), "{quiet}");
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
