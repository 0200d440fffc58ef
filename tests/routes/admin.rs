//! The admin listener: packs changed while requests run.

use crate::{
    routes::lifecycle::gated,
    support::{ADMIN_TOKEN, Server, administered, assert_error, clip, small, tone, wait_for},
};
use reqwest::{Method, blocking::Response};
use s3router_masks::{Codec, Opened, open_bytes, open_path, to_bytes};
use s3router_proto::{ErrorKind, PackInstalled, PackList, PackState, Reloaded};
use s3router_server::{Config, config::Bind, config::Seconds, lifecycle::Phase};
use std::{fs, io::Read, path::Path};
use tempfile::TempDir;

const DEMO_PACKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/demo/packs");

fn demo(lang: &str) -> Opened {
    open_path(&Path::new(DEMO_PACKS).join(format!("{lang}.safetensors"))).unwrap()
}

fn bytes(lang: &str) -> Vec<u8> {
    fs::read(Path::new(DEMO_PACKS).join(format!("{lang}.safetensors"))).unwrap()
}

/// Turkish under Russian's mask: reads the golden clip differently.
fn another_turkish() -> Vec<u8> {
    let (mut pack, other) = (demo("tr").pack, demo("ru").pack);
    pack.masks = other.masks;
    pack.meta.density = pack.density();
    to_bytes(&pack, Codec::Rans).unwrap()
}

/// A folder with the demo's packs of some languages.
fn folder(langs: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for lang in langs {
        fs::write(folder.path().join(format!("{lang}.safetensors")), bytes(lang)).unwrap();
    }
    folder
}

impl Server {
    fn put(&self, lang: &str, pack: Vec<u8>, condition: Option<(&str, &str)>) -> Response {
        let mut request = self.admin(Method::PUT, &format!("packs/{lang}")).body(pack);
        if let Some((name, value)) = condition {
            request = request.header(name, value);
        }
        request.send().unwrap()
    }

    fn reload(&self) -> Reloaded {
        self.admin(Method::POST, "reload").send().unwrap().json().unwrap()
    }

    fn generation(&self, lang: &str) -> Option<u64> {
        let list: PackList = self.get("/v1/packs").json().unwrap();
        list.packs.into_iter().find(|p| p.language == lang)?.generation
    }
}

#[test]
fn a_pack_is_replaced_only_at_the_generation_that_was_looked_at() {
    let folder = folder(&["tr", "ru"]);
    let server = Server::start(administered(folder.path()));
    let (audio, text) = clip("tr");
    assert_eq!(server.answer("lang=tr", &audio).text, text);

    let response = server.put("tr", another_turkish(), Some(("if-match", "\"1\"")));
    assert_eq!((response.status().as_u16(), &response.headers()["etag"]), (200, &"\"2\"".parse().unwrap()));
    let told: PackInstalled = response.json().unwrap();
    assert_eq!((told.pack.generation, told.pack.state, told.persisted), (Some(2), PackState::Ready, true));
    let answer = server.answer("lang=tr", &audio);
    assert_ne!(answer.text, text);
    assert_eq!((answer.pack.generation, Some(answer.pack.sha256)), (2, told.pack.sha256));
    assert_eq!(fs::read(folder.path().join("tr.safetensors")).unwrap(), another_turkish());
    assert!(
        server.get("/metrics").text().unwrap().contains("s3router_mask_info{generation=\"2\",lang=\"tr\"")
    );

    for stale in ["\"1\"", "\"3\""] {
        let body = assert_error(
            server.put("tr", bytes("tr"), Some(("if-match", stale))),
            ErrorKind::GenerationMismatch,
        );
        assert!(body.error.message.contains("generation 2"), "{}", body.error.message);
    }
    assert_error(server.put("tr", bytes("tr"), Some(("if-none-match", "*"))), ErrorKind::GenerationMismatch);
    assert_error(server.put("en", bytes("en"), Some(("if-match", "*"))), ErrorKind::GenerationMismatch);
    let odd =
        assert_error(server.put("tr", bytes("tr"), Some(("if-match", "two"))), ErrorKind::InvalidRequest);
    assert_eq!(odd.error.param.as_deref(), Some("If-Match"));
    assert_eq!(server.generation("tr"), Some(2));
    assert_eq!(fs::read(folder.path().join("tr.safetensors")).unwrap(), another_turkish());

    assert_eq!(server.put("en", bytes("en"), Some(("if-none-match", "*"))).status(), 201, "a new language");
    let (audio, text) = clip("en");
    assert_eq!(server.answer("lang=en", &audio).text, text);
}

#[test]
fn of_many_who_replace_one_generation_one_wins() {
    let folder = folder(&["tr"]);
    let server = Server::start(administered(folder.path()));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let put = || server.put("tr", another_turkish(), Some(("if-match", "\"1\""))).status().as_u16();
        let all: Vec<_> = (0..6).map(|_| scope.spawn(put)).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let won = statuses.iter().filter(|s| **s == 200).count();
    assert_eq!((won, statuses.iter().filter(|s| **s == 412).count()), (1, 5), "{statuses:?}");
    assert_eq!(server.generation("tr"), Some(2));
}

#[test]
fn a_request_in_flight_keeps_the_pack_it_began_with() {
    let folder = folder(&["tr"]);
    let (server, began, free) = gated(administered(folder.path()));
    let (audio, text) = clip("tr");
    std::thread::scope(|scope| {
        let early = scope.spawn(|| server.answer("lang=tr", &audio));
        began.recv().unwrap();
        assert_eq!(server.put("tr", another_turkish(), None).status(), 200);
        assert_eq!(server.admin(Method::DELETE, "packs/tr").send().unwrap().status(), 204);
        assert_error(server.transcribe("lang=tr", &tone(0.1)), ErrorKind::LanguageNotFound);
        free.send(()).unwrap();
        let early = early.join().unwrap();
        assert_eq!((early.text, early.pack.generation, early.pack.sha256), (text, 1, demo("tr").sha256));
    });
    assert_eq!(server.put("tr", bytes("tr"), None).status(), 201);
    assert_eq!(server.generation("tr"), Some(3), "a generation never comes back");
}

#[test]
fn a_deleted_language_is_gone_from_service_and_folder() {
    let folder = folder(&["sv_SE", "tr"]);
    fs::rename(folder.path().join("tr.safetensors"), folder.path().join("turkish-v2.safetensors")).unwrap();
    let server = Server::start(administered(folder.path()));
    let delete = |lang: &str| server.admin(Method::DELETE, &format!("packs/{lang}"));
    assert_error(delete("sv_SE").header("if-match", "\"7\"").send().unwrap(), ErrorKind::GenerationMismatch);
    let body = assert_error(delete("sv").send().unwrap(), ErrorKind::LanguageNotFound);
    assert!(body.error.message.contains("`sv_SE`"), "an alias deletes nothing: {}", body.error.message);
    assert_eq!(delete("sv-SE").header("if-match", "\"1\"").send().unwrap().status(), 204);
    assert_error(delete("sv_SE").send().unwrap(), ErrorKind::LanguageNotFound);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    assert_eq!(server.put("tr", another_turkish(), None).status(), 200);
    assert_eq!(
        fs::read(folder.path().join("turkish-v2.safetensors")).unwrap(),
        another_turkish(),
        "its own file"
    );
    assert_eq!(delete("tr").send().unwrap().status(), 204);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_pack_of_this_language_and_backbone_changes_nothing() {
    let folder = folder(&["tr", "ru"]);
    let server = Server::start(Config {
        admin: s3router_server::config::Admin {
            max_pack_bytes: 2 << 20,
            ..administered(folder.path()).admin
        },
        ..administered(folder.path())
    });
    let mut flipped = bytes("tr");
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let mut stranger = demo("tr").pack;
    stranger.meta.backbone_sha256 = Some("0".repeat(64));
    let mut alias = demo("tr").pack;
    alias.meta.aliases = vec!["RU".into()];
    let write = |pack| to_bytes(pack, Codec::Rans).unwrap();
    for (pack, says) in [
        (b"not a pack".to_vec(), "no usable pack"),
        (Vec::new(), "no usable pack"),
        (flipped, "no usable pack"),
        (bytes("tr")[..1000].to_vec(), "no usable pack"),
        (write(&stranger), "backbone"),
        (bytes("ru"), "the address says `tr`"),
        (write(&alias), "`ru` is a name"),
    ] {
        let body = assert_error(server.put("tr", pack, None), ErrorKind::InvalidRequest);
        assert!(body.error.message.contains(says), "{}", body.error.message);
    }
    let endless = reqwest::blocking::Body::new(std::io::repeat(0).take((2 << 20) + 1));
    let response = server.admin(Method::PUT, "packs/tr").body(endless).send().unwrap();
    let body = assert_error(response, ErrorKind::PayloadTooLarge);
    assert!(body.error.message.contains("--max-pack-bytes"), "{}", body.error.message);
    assert_eq!(server.generation("tr"), Some(1));
    assert_eq!(fs::read(folder.path().join("tr.safetensors")).unwrap(), bytes("tr"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
}

#[test]
fn a_folder_that_cannot_be_written_to_keeps_what_it_had() {
    let folder = folder(&["tr"]);
    let server = Server::start(administered(folder.path()));
    fs::remove_dir_all(folder.path()).unwrap();
    let body = assert_error(server.put("tr", another_turkish(), None), ErrorKind::Internal);
    assert!(body.error.message.contains("cannot be changed"), "{}", body.error.message);
    assert_error(server.admin(Method::POST, "reload").send().unwrap(), ErrorKind::Internal);
    let (audio, text) = clip("tr");
    assert_eq!(server.answer("lang=tr", &audio).text, text);
}

#[test]
fn a_reload_takes_over_what_changed_and_nothing_else() {
    let folder = folder(&["tr", "ru", "en", "nl"]);
    let server = Server::start(administered(folder.path()));
    let file = |lang: &str| folder.path().join(format!("{lang}.safetensors"));
    fs::write(file("es"), bytes("es")).unwrap();
    fs::write(file("tr"), another_turkish()).unwrap();
    fs::write(file("nl"), &bytes("nl")[..5000]).unwrap();
    fs::remove_file(file("en")).unwrap();

    let told = server.reload();
    let list = |langs: &[&str]| langs.iter().map(|l| l.to_string()).collect::<Vec<_>>();
    let expected = Reloaded {
        added: list(&["es"]),
        replaced: list(&["tr"]),
        kept: list(&["nl", "ru"]),
        removed: list(&["en"]),
        quarantined: list(&["nl.safetensors"]),
    };
    assert_eq!(told, expected);
    let packs: PackList = server.get("/v1/packs").json().unwrap();
    let states: Vec<_> = packs.packs.iter().map(|p| (p.language.as_str(), p.generation, p.state)).collect();
    assert_eq!(
        states[..4],
        [
            ("es", Some(1), PackState::Ready),
            ("nl", Some(1), PackState::Ready),
            ("ru", Some(1), PackState::Ready),
            ("tr", Some(2), PackState::Ready),
        ]
    );
    assert_eq!(states[4], ("nl.safetensors", None, PackState::Quarantined));
    assert!(!packs.packs[4].reason.as_deref().unwrap().is_empty());
    let (audio, text) = clip("nl");
    assert_eq!(
        server.answer("lang=nl", &audio).text,
        text,
        "the generation before the broken file serves on"
    );

    assert_eq!(server.put("nl", bytes("nl"), None).status(), 200, "a put mends the broken file");
    assert!(server.reload().quarantined.is_empty());
    assert_eq!(server.generation("nl"), Some(2));
}

#[test]
fn packs_without_a_folder_are_changed_in_memory_until_the_next_reload() {
    let config = Config { admin: administered(Path::new("")).admin, ..small() };
    let server = Server::start(config);
    let told: PackInstalled = server.put("tr", another_turkish(), None).json().unwrap();
    assert_eq!((told.pack.generation, told.persisted), (Some(2), false));
    let told = server.reload();
    assert_eq!((told.replaced, told.kept.len()), (vec!["tr".into()], 10));
    assert_eq!(server.answer("lang=tr", &clip("tr").0).pack.generation, 3);
}

#[test]
fn the_admin_listener_has_its_own_token_and_the_public_port_none_of_its_routes() {
    let folder = folder(&["tr"]);
    let server = Server::start(administered(folder.path()));
    let base = format!("http://{}/admin", server.admin.unwrap());
    let client = reqwest::blocking::Client::new();
    assert_error(client.post(format!("{base}/reload")).send().unwrap(), ErrorKind::Unauthorized);
    for wrong in ["sesame", "", "open sesame!"] {
        let response =
            client.put(format!("{base}/packs/tr")).bearer_auth(wrong).body(bytes("tr")).send().unwrap();
        assert_error(response, ErrorKind::Unauthorized);
    }
    assert_error(server.admin(Method::GET, "nothing").send().unwrap(), ErrorKind::NotFound);
    assert_error(server.admin(Method::GET, "reload").send().unwrap(), ErrorKind::MethodNotAllowed);
    let public = server.post("/admin/reload").bearer_auth(ADMIN_TOKEN).send().unwrap();
    assert_error(public, ErrorKind::NotFound);
    assert_eq!(server.reload().kept, ["tr"]);
}

#[test]
fn a_drain_refuses_new_work_and_answers_when_the_accepted_is_done() {
    let folder = folder(&["tr"]);
    let bind = Bind { shutdown_seconds: Seconds::new(20.0), ..Bind::default() };
    let (server, began, free) = gated(Config { bind, ..administered(folder.path()) });
    std::thread::scope(|scope| {
        let accepted = scope.spawn(|| server.transcribe("lang=tr", &tone(0.5)).status());
        began.recv().unwrap();
        let drained = scope.spawn(|| server.admin(Method::POST, "drain").send().unwrap());
        wait_for("draining", || server.app.lifecycle.phase() == Phase::Draining);
        assert_error(server.transcribe("lang=tr", &tone(0.1)), ErrorKind::Draining);
        assert!(!drained.is_finished());
        free.send(()).unwrap();
        assert_eq!(accepted.join().unwrap(), 200);
        let drained: serde_json::Value = drained.join().unwrap().json().unwrap();
        assert_eq!(drained["status"], "drained");
    });
    assert_error(server.get("/readyz"), ErrorKind::Draining);
}

#[test]
fn a_drain_that_outlasts_its_patience_says_so() {
    let folder = folder(&["tr"]);
    let bind = Bind { shutdown_seconds: Seconds::new(0.1), ..Bind::default() };
    let (server, began, free) = gated(Config { bind, ..administered(folder.path()) });
    std::thread::scope(|scope| {
        scope.spawn(|| server.transcribe("lang=tr", &tone(0.5)));
        began.recv().unwrap();
        assert_error(server.admin(Method::POST, "drain").send().unwrap(), ErrorKind::DeadlineExceeded);
        free.send(()).unwrap();
    });
}

#[test]
fn the_admin_document_is_as_agreed() {
    let folder = folder(&["tr"]);
    let server = Server::start(administered(folder.path()));
    let url = format!("http://{}/openapi.json", server.admin.unwrap());
    let document: serde_json::Value = reqwest::blocking::get(url).unwrap().json().unwrap();
    insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "../snapshots"}, {
        insta::assert_json_snapshot!("admin-openapi", document, { ".info.version" => "[version]" });
    });
}

#[test]
fn what_was_put_is_what_a_restart_opens() {
    let folder = folder(&["tr"]);
    drop({
        let server = Server::start(administered(folder.path()));
        assert_eq!(server.put("tr", another_turkish(), None).status(), 200);
        server
    });
    let server = Server::start(administered(folder.path()));
    let sha256 = open_bytes(&another_turkish()).unwrap().sha256;
    assert_eq!(server.answer("lang=tr", &clip("tr").0).pack.sha256, sha256);
}
