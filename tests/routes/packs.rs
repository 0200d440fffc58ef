//! `GET /v1/packs`: what is loaded, what was refused and why.

use crate::support::{LANGUAGES, Server, assert_error, clip, small, tone};
use s3router_proto::{ErrorKind, PackList, PackState};
use s3router_server::{Config, config::EngineConfig};
use std::path::Path;

const DEMO_PACKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/demo/packs");

#[test]
fn the_demo_lists_its_eleven_packs_and_says_what_it_is() {
    let list: PackList = Server::demo().get("/v1/packs").json().unwrap();
    assert_eq!(list.packs.iter().map(|p| p.language.as_str()).collect::<Vec<_>>(), LANGUAGES);
    assert!(list.notice.unwrap().contains("synthetic"));
    for pack in &list.packs {
        assert_eq!((pack.state, pack.generation), (PackState::Ready, Some(1)));
        assert!((0.75..0.85).contains(&pack.density.unwrap()) && pack.bytes.unwrap() > 100_000);
        assert_eq!(pack.sha256.as_deref().unwrap().len(), 64);
    }
}

#[test]
fn a_broken_pack_is_quarantined_and_the_others_answer() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| std::fs::read(Path::new(DEMO_PACKS).join(name)).unwrap();
    std::fs::write(folder.path().join("tr.safetensors"), copy("tr.safetensors")).unwrap();
    let mut broken = copy("ru.safetensors");
    broken.truncate(broken.len() / 2);
    std::fs::write(folder.path().join("ru.safetensors"), broken).unwrap();

    let engine = EngineConfig { packs: Some(folder.path().into()), ..EngineConfig::default() };
    let server = Server::start(Config { engine, ..small() });
    let list: PackList = server.get("/v1/packs").json().unwrap();
    let states: Vec<_> = list.packs.iter().map(|p| (p.language.as_str(), p.state)).collect();
    assert_eq!(states, [("tr", PackState::Ready), ("ru.safetensors", PackState::Quarantined)]);
    assert!(!list.packs[1].reason.as_deref().unwrap().is_empty());

    let (audio, text) = clip("tr");
    assert_eq!(server.answer("lang=tr", &audio).text, text);
    assert_error(server.transcribe("lang=ru", &tone(0.1)), ErrorKind::LanguageNotFound);
}
