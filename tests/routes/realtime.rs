//! `/v1/realtime`: OpenAI's transcription sessions.

use crate::support::{
    Server, clip, small,
    socket::{Socket, of, pcm},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// A session in Turkish at 16 kHz.
fn session(server: &Server, turns: &Value) -> Socket {
    let mut socket = Socket::open(server, "/v1/realtime?intent=transcription");
    let created = socket.expect("session.created");
    assert_eq!(created["session"]["audio"]["input"]["format"], json!({ "type": "audio/pcm", "rate": 24000 }));
    socket.say(
        &json!({ "type": "session.update", "session": { "type": "transcription", "audio": { "input": {
        "format": { "type": "audio/pcm", "rate": 16000 },
        "transcription": { "model": "s3router", "language": "tr" },
        "turn_detection": turns,
    } } } }),
    );
    let updated = socket.expect("session.updated");
    assert_eq!(&updated["session"]["audio"]["input"]["turn_detection"], turns);
    socket
}

fn append(socket: &mut Socket, pcm: &[u8]) {
    for piece in pcm.chunks(4800) {
        socket.say(&json!({ "type": "input_audio_buffer.append", "audio": STANDARD.encode(piece) }));
    }
}

/// Every message up to and with the one of this type.
fn until(socket: &mut Socket, kind: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    loop {
        seen.push(socket.next().unwrap_or_else(|| panic!("closed instead of {kind}: {seen:?}")));
        if seen.last().unwrap()["type"] == kind {
            return seen;
        }
    }
}

const COMPLETED: &str = "conversation.item.input_audio_transcription.completed";
const DELTA: &str = "conversation.item.input_audio_transcription.delta";

#[test]
fn a_commit_makes_an_item_whose_deltas_are_its_transcript() {
    let server = Server::start(small());
    let (audio, expected) = clip("tr");
    let mut socket = session(&server, &Value::Null);
    append(&mut socket, &pcm(&audio));
    socket.say(&json!({ "type": "input_audio_buffer.commit" }));
    let seen = until(&mut socket, COMPLETED);
    let committed = of(&seen, "input_audio_buffer.committed")[0];
    let completed = seen.last().unwrap();
    assert_eq!((&completed["transcript"], &completed["item_id"]), (&json!(expected), &committed["item_id"]));
    assert_eq!(completed["usage"]["type"], "duration");
    let deltas: String = of(&seen, DELTA).iter().map(|d| d["delta"].as_str().unwrap()).collect();
    assert_eq!(deltas, expected);
    let ids: std::collections::HashSet<_> = seen.iter().map(|m| m["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), seen.len(), "event ids are unique");

    append(&mut socket, &pcm(&audio)[..32_000]);
    socket.say(&json!({ "type": "input_audio_buffer.clear" }));
    until(&mut socket, "input_audio_buffer.cleared");
    socket.say(&json!({ "type": "input_audio_buffer.commit", "event_id": "mine" }));
    let nothing = until(&mut socket, "error");
    assert_eq!(nothing.last().unwrap()["error"]["code"], "empty_audio");
}

#[test]
fn voice_activity_makes_items_by_itself() {
    let server = Server::start(small());
    let mut socket = session(
        &server,
        &json!({ "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 400 }),
    );
    let speech = [pcm(&clip("tr").0), vec![0; 32_000]].concat();
    append(&mut socket, &speech);
    let seen = until(&mut socket, COMPLETED);
    let kinds: Vec<_> =
        seen.iter().map(|m| m["type"].as_str().unwrap()).filter(|k| k.starts_with("input")).collect();
    assert_eq!(
        &kinds[..3],
        [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed"
        ]
    );
    assert!(!seen.last().unwrap()["transcript"].as_str().unwrap().is_empty());
    append(&mut socket, &speech);
    let seen = until(&mut socket, COMPLETED);
    let second = of(&seen, "input_audio_buffer.committed")[0];
    assert_ne!(second["previous_item_id"], Value::Null);
}

#[test]
fn most_errors_leave_the_session_open_and_name_the_event() {
    let server = Server::demo();
    let mut socket = Socket::open(server, "/v1/realtime");
    socket.expect("session.created");
    let mut wrong = |event: &Value, code: &str, says: &str| {
        socket.say(event);
        let error = socket.expect("error");
        assert_eq!(error["error"]["code"], code, "{error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(says), "{error}");
        assert_eq!(error["error"]["event_id"], event["event_id"]);
    };
    wrong(
        &json!({ "type": "input_audio_buffer.append", "audio": "?" , "event_id": "e2" }),
        "invalid_request",
        "base64",
    );
    wrong(&json!({ "type": "response.create", "event_id": "e3" }), "invalid_request", "response.create");
    let update = |session: Value| json!({ "type": "session.update", "event_id": "e4", "session": session });
    wrong(
        &update(json!({ "audio": { "input": { "transcription": { "language": "tlh" } } } })),
        "language_not_found",
        "tlh",
    );
    wrong(
        &update(json!({ "audio": { "input": { "turn_detection": { "type": "semantic_vad" } } } })),
        "invalid_request",
        "semantic_vad",
    );
    wrong(
        &update(json!({ "audio": { "input": { "format": { "type": "audio/mp3" } } } })),
        "invalid_request",
        "audio/mp3",
    );
    // The earlier spelling.
    socket.say(&json!({ "type": "transcription_session.update", "session": {
        "input_audio_format": "g711_ulaw", "input_audio_transcription": { "model": "s3router-tr" }, "turn_detection": null } }));
    let updated = socket.expect("session.updated");
    assert_eq!(updated["session"]["audio"]["input"]["format"]["type"], "audio/pcmu");
    assert_eq!(updated["session"]["audio"]["input"]["turn_detection"], Value::Null);
    socket.say(&json!({ "type": "input_audio_buffer.append", "audio": STANDARD.encode([0xff; 8000]) }));
    socket.say(&json!({ "type": "input_audio_buffer.commit" }));
    assert_eq!(until(&mut socket, COMPLETED).last().unwrap()["transcript"], "", "a second of silence");
}
