//! `/asyncapi.json`: the WebSockets as AsyncAPI 3.0, its schemas straight from the wire types.

use s3router_proto::{
    realtime, stream,
    stream::{SUBPROTOCOL, Start},
};
use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema, openapi::RefOr, openapi::schema::Schema};

/// The document.
pub fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "s3router streams",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": { "here": { "host": "localhost:8080", "protocol": "ws", "security": [{ "$ref": "#/components/securitySchemes/key" }] } },
        "channels": {
            "stream": {
                "address": "/transcribe/stream",
                "title": SUBPROTOCOL,
                "description": NATIVE,
                "bindings": { "ws": { "method": "GET", "query": reference("StreamStart") } },
                "messages": messages(&["StreamClientMessage", "Audio", "StreamServerMessage"]),
            },
            "realtime": {
                "address": "/v1/realtime",
                "title": "OpenAI realtime transcription sessions",
                "description": REALTIME,
                "bindings": { "ws": { "method": "GET", "query": text_fields(&["model", "language", "languages"]) } },
                "messages": messages(&["RealtimeClientEvent", "RealtimeServerMessage"]),
            },
            "vosk": {
                "address": "/vosk",
                "title": "Vosk server",
                "description": VOSK,
                "bindings": { "ws": { "method": "GET", "query": text_fields(&["lang", "languages"]) } },
                "messages": messages(&["VoskClientMessage", "Audio", "VoskServerMessage"]),
            },
        },
        "operations": {
            "streamIn": operation("receive", "stream", &["StreamClientMessage", "Audio"]),
            "streamOut": operation("send", "stream", &["StreamServerMessage"]),
            "realtimeIn": operation("receive", "realtime", &["RealtimeClientEvent"]),
            "realtimeOut": operation("send", "realtime", &["RealtimeServerMessage"]),
            "voskIn": operation("receive", "vosk", &["VoskClientMessage", "Audio"]),
            "voskOut": operation("send", "vosk", &["VoskServerMessage"]),
        },
        "components": {
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer", "description": KEY } },
            "messages": components(),
            "schemas": schemas(),
        },
    })
}

const ABOUT: &str = "Audio without an end in, partial and final texts out. A server that is loading, draining or full, and \
    a wrong key, or one with too much in work, are answered before the upgrade (503, 429, 401, with the error object of \
    the HTTP routes): an open stream counts as one request of its key. Afterwards \
    errors are messages. Close codes: 1000 all is said, 1008 unauthorized, 1009 payload_too_large, 1011 internal, 1013 \
    queue_full, loading, draining; else 4000 + the HTTP status of the error's code. The server pings every 10 seconds and \
    closes after 20 of silence; audio may come faster than real time: it is read as fast as it can be transcribed.";
const NATIVE: &str = "Text frames are control messages, binary frames are audio of any size. The query may say all that \
    `start` says; with `lang` in it the stream begins at once. `seq` rises by one with each message of the server. A final \
    never changes; `stable` only grows within an utterance, and a final is read anew from the whole utterance; finals tile \
    the audio from the first sample to `stop`; `lang` counts from the next utterance on. On SIGTERM what was sent becomes \
    final, then `error` (draining) and `closed` follow. With `lang=auto` each utterance is heard under every candidate's \
    mask and read under the best; its final names it. Should the engine fail on an utterance twice, the finals before it \
    are told, then `error` (internal) and `closed`.";
const REALTIME: &str = "Of OpenAI's realtime API the transcription sessions. An utterance is an item; deltas are settled text; \
    most errors leave the session open. The language is `transcription.language`, or a model such as `s3router-tr`; \
    without either each item is heard for itself, among `transcription.languages` if given.";
const VOSK: &str = "Every binary frame (16-bit PCM) is answered by one message. The language is `?lang=`, or `model` in \
    `config`. A final that is not ready comes with a later frame, and with `reset` or `eof` at the latest. \
    `max_alternatives` lists readings, best first; phrases that cannot be spelled are ignored.";
const KEY: &str = "Only where the operator set keys: `Authorization: Bearer KEY`, or, from a browser, the subprotocol \
    `s3router.key.KEY` beside the real one.";

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn messages(names: &[&str]) -> Value {
    let one = |name: &&str| ((*name).to_owned(), json!({ "$ref": format!("#/components/messages/{name}") }));
    Value::Object(names.iter().map(one).collect())
}

fn operation(action: &str, channel: &str, names: &[&str]) -> Value {
    let message = |name: &&str| json!({ "$ref": format!("#/channels/{channel}/messages/{name}") });
    json!({
        "action": action,
        "channel": { "$ref": format!("#/channels/{channel}") },
        "messages": names.iter().map(message).collect::<Vec<_>>(),
    })
}

fn text_fields(names: &[&str]) -> Value {
    let fields: Map<_, _> = names.iter().map(|n| ((*n).to_owned(), json!({ "type": "string" }))).collect();
    json!({ "type": "object", "properties": fields })
}

fn components() -> Value {
    let wire = ["StreamClientMessage", "StreamServerMessage", "RealtimeClientEvent", "RealtimeServerMessage"];
    let mut all: Map<_, _> = wire
        .iter()
        .map(|name| ((*name).to_owned(), json!({ "name": name, "payload": reference(name) })))
        .collect();
    all.insert("Audio".into(), json!({ "name": "Audio", "contentType": "application/octet-stream", "summary": "Bytes of audio, cut anywhere." }));
    let config = json!({ "type": "object", "properties": {
        "sample_rate": { "type": "number", "default": 16000 },
        "words": { "type": "boolean" },
        "max_alternatives": { "type": "integer", "minimum": 0, "maximum": 10 },
        "phrase_list": { "type": "array", "items": { "type": "string" }, "description": "Phrases to expect." },
        "model": { "type": "string", "description": "The language, or `auto`." },
    } });
    let (one, text) = (json!({ "const": 1 }), json!({ "type": "string" }));
    all.insert(
        "VoskClientMessage".into(),
        json!({ "name": "VoskClientMessage", "payload": { "type": "object",
        "properties": { "config": config, "eof": one, "reset": one } } }),
    );
    let word = json!({ "type": "object", "properties": { "word": text, "start": { "type": "number" },
        "end": { "type": "number" }, "conf": { "type": "number" } } });
    all.insert(
        "VoskServerMessage".into(),
        json!({ "name": "VoskServerMessage", "payload": { "type": "object",
        "properties": { "partial": text, "text": text, "result": { "type": "array", "items": word },
            "alternatives": { "type": "array", "items": { "type": "object", "properties": {
                "text": text, "confidence": { "type": "number" }, "result": { "type": "array" } } } } } } }),
    );
    Value::Object(all)
}

fn schemas() -> Value {
    let mut found: Vec<(String, RefOr<Schema>)> = Vec::new();
    collect::<Start>(&mut found);
    collect::<stream::ClientMessage>(&mut found);
    collect::<stream::ServerMessage>(&mut found);
    collect::<realtime::ClientEvent>(&mut found);
    collect::<realtime::ServerMessage>(&mut found);
    let value = |schema| serde_json::to_value(schema).unwrap_or_default();
    Value::Object(found.into_iter().map(|(name, schema)| (name, value(schema))).collect())
}

fn collect<T: ToSchema + PartialSchema>(found: &mut Vec<(String, RefOr<Schema>)>) {
    found.push((T::name().into_owned(), T::schema()));
    T::schemas(found);
}
