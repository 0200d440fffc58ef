//! A language learnt beside a running server: from a folder of recordings to its first transcript.

use crate::support::{ADMIN_TOKEN, Server, administered, clip};
use clap::Parser;
use s3router_core::{device::DeviceChoice, learn::scores::Density, model::Source};
use s3router_train::{
    cli::Cli,
    commands,
    config::TrainConfig,
    push::push,
    run::{Job, run},
};
use std::{fs, path::Path};

/// The whole way by the command line, on a tiny backbone of its own.
#[test]
fn one_command_learns_a_language_and_brings_it_to_the_server() {
    let (packs, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let backbone = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/parity/xlsr");
    let (audio, text) = clip("tr");
    fs::create_dir(data.path().join("clips")).unwrap();
    fs::write(data.path().join("clips/0.wav"), &audio).unwrap();
    let list = data.path().join("list.tsv");
    fs::write(&list, format!("client_id\tpath\tsentence\nx\t0.wav\t{text}\n")).unwrap();
    let learn = |language: &str, out: &Path, more: &[&str]| {
        let [list, out, backbone] = [&list, out, &backbone].map(|path| path.to_str().unwrap());
        let line =
            ["s3router-train", "run", "--train", list, "--valid", list, "--language", language, "--out", out];
        let settings = ["--backbone", backbone, "--updates", "2", "--no-features", "--device", "cpu"];
        commands::execute(Cli::try_parse_from([&line[..], &settings, more].concat()).unwrap()).unwrap();
    };
    learn("tr", &packs.path().join("tr.safetensors"), &[]);

    let mut config = administered(packs.path());
    config.engine.backbone = backbone.to_str().unwrap().into();
    let server = Server::start(config);
    assert_eq!(server.answer("lang=tr", &audio).lang, "tr");
    assert_eq!(server.transcribe("lang=az", &audio).status(), 404);
    let admin = format!("http://{}", server.admin.unwrap());
    learn("az", &data.path().join("az.safetensors"), &["--push", &admin, "--push-token", ADMIN_TOKEN]);
    assert_eq!(server.answer("lang=az", &audio).lang, "az");
}

#[test]
fn a_pack_is_served_as_soon_as_it_is_learnt_and_pushed() {
    let (packs, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let turkish = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/demo/packs/tr.safetensors");
    fs::copy(&turkish, packs.path().join("tr.safetensors")).unwrap();
    let server = Server::start(administered(packs.path()));
    let (audio, text) = clip("tr");

    // A Common Voice folder of Azerbaijani, which begins as Turkish and learns next to nothing.
    let at = |name: &str| data.path().join(name);
    fs::create_dir(at("clips")).unwrap();
    fs::write(at("clips/0.wav"), &audio).unwrap();
    fs::write(at("train.tsv"), format!("client_id\tpath\tsentence\nx\t0.wav\t{text}\n")).unwrap();
    let start = s3router_masks::open_path(&turkish).unwrap().pack;
    fs::write(at("vocab.json"), serde_json::to_string(&start.meta.vocab).unwrap()).unwrap();
    let job = Job {
        train: at("train.tsv"),
        valid: at("train.tsv"),
        language: "az".into(),
        backbone: Source::Demo,
        device: DeviceChoice::Cpu,
        out: at("az.safetensors"),
        start: Some(turkish),
        pack_only: true,
        vocab: Some(at("vocab.json")),
        fresh: false,
        features: None,
        features_limit: None,
    };
    let mut config = TrainConfig::read("laptop", None).unwrap();
    config.mask.covers = start.meta.covers.clone().try_into().unwrap();
    config.mask.density = Density::Global(start.density());
    (config.updates.count, config.updates.score_rate, config.updates.head_rate) = (2, 1e-6, 1e-6);
    let finished = run(&job, &config).unwrap();

    let admin = format!("http://{}", server.admin.unwrap());
    let refused = format!("{:#}", push(&admin, "az", &finished.out, Some("guess")).unwrap_err());
    assert!(refused.contains("401"), "{refused}");
    assert_eq!(server.transcribe("lang=az", &audio).status(), 404);
    push(&admin, "az", &finished.out, Some(ADMIN_TOKEN)).unwrap();
    assert_eq!(server.answer("lang=az", &audio).text, text);
    assert!(packs.path().join("az.safetensors").exists());

    drop(server);
    let gone = format!("{:#}", push(&admin, "az", &finished.out, Some(ADMIN_TOKEN)).unwrap_err());
    assert!(gone.contains("no answer"), "{gone}");
}
