//! The program as a user runs it, on a tiny backbone and made-up speech: every letter a tone.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail")]

use candle_core::Device;
use s3router_core::{
    audio::RATE_HZ,
    decode,
    gate::{Gates, Segment},
    model::{Backbone, ops},
};
use s3router_train::{
    checkpoint::RunFolder,
    data::list,
    features::{self, collate},
    learner::Learner,
    trained::Trained,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

const LETTERS: [(char, f32); 4] = [('a', 300.0), ('ı', 700.0), ('i', 1500.0), ('ş', 3000.0)];

struct Place(tempfile::TempDir);

impl Place {
    /// A Common Voice folder `tr/` with `clips/`, a training and a validation TSV.
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        fs::create_dir_all(place.path("tr/clips")).expect("a folder");
        let split = |name: &str, from: usize, n: usize| {
            let mut tsv = String::from("client_id\tpath\tsentence\tup_votes\n");
            for i in from..from + n {
                let word: String = (0..3).map(|k| LETTERS[(i / 4usize.pow(k) + i) % 4].0).collect();
                let sentence = format!("{} {word}.", word.to_uppercase().replace('i', "İ"));
                place.wav(&format!("tr/clips/{i}.wav"), &format!("{word} {word}"));
                tsv += &format!("someone\t{i}.wav\t{sentence}\t2\n");
            }
            fs::write(place.path(name), tsv).expect("a list");
        };
        split("tr/train.tsv", 0, 14);
        split("tr/valid.tsv", 14, 4);
        let settings =
            "[updates]\nbatch_seconds = 4.0\nscore_rate = 0.02\nhead_rate = 0.02\n[select]\nevery = 3\n";
        fs::write(place.path("quick.toml"), settings).expect("settings");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn wav(&self, name: &str, text: &str) {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: RATE_HZ,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut out = hound::WavWriter::create(self.path(name), spec).expect("a file");
        for letter in text.chars() {
            let hertz = LETTERS.iter().find(|l| l.0 == letter).map_or(0.0, |l| l.1);
            for t in 0..RATE_HZ / 10 {
                let phase = std::f32::consts::TAU * hertz * t as f32 / RATE_HZ as f32;
                out.write_sample((phase.sin() * 9000.0) as i16).expect("a sample");
            }
        }
        out.finalize().expect("a file");
    }

    fn command(&self, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3router-train"));
        command.args(["run", "--language", "tr", "--json", "--seed", "5"]);
        if !more.contains(&"--updates") {
            command.args(["--updates", "12"]);
        }
        command.arg("--train").arg(self.path("tr/train.tsv")).arg("--valid").arg(self.path("tr/valid.tsv"));
        command.arg("--backbone").arg(fixture("xlsr")).arg("--config").arg(self.path("quick.toml"));
        command.arg("--out").arg(self.path(out)).args(more);
        command
    }

    fn run(&self, out: &str, more: &[&str]) -> Output {
        self.command(out, more).output().expect("the program")
    }

    /// The curve, without what depends on the machine's speed.
    fn curve(&self, run: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path(run).join("log.jsonl")).expect("a log");
        let line = |line: &str| {
            let mut value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            value.as_object_mut().expect("an object").remove("rtfx");
            value
        };
        text.lines().map(line).collect()
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parity").join(name)
}

fn backbone(name: &str) -> Backbone {
    Backbone::load(&fixture(name).to_string_lossy().parse().expect("a path"), &Device::Cpu)
        .expect("a backbone")
}

#[track_caller]
fn succeeded(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

fn evaluate(place: &Place, pack: &str, on: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3router-train"));
    command.arg("evaluate").arg("--json").arg("--test").arg(place.path("tr/valid.tsv"));
    command
        .arg("--pack")
        .arg(place.path(pack))
        .arg("--backbone")
        .arg(fixture(on))
        .output()
        .expect("the program")
}

#[test]
fn a_common_voice_folder_becomes_a_pack() {
    let place = Place::new();
    let finished = succeeded(&place.run("tr.safetensors", &["--sparsity", "0.2"]));
    let opened = s3router_masks::open_path(&place.path("tr.safetensors")).expect("a pack that opens");
    let meta = &opened.pack.meta;
    assert_eq!((meta.language.as_str(), meta.covers.as_str()), ("tr", "ffn"));
    assert!((meta.density - 0.8).abs() < 0.01, "{}", meta.density);
    assert_eq!(meta.vocab[0], "<pad>");
    assert!(["|", "a", "ı", "i", "ş"].iter().all(|s| meta.vocab.iter().any(|v| v == s)), "{:?}", meta.vocab);
    assert_eq!(meta.training["clips"], 14);

    let report = succeeded(&evaluate(&place, "tr.safetensors", "xlsr"));
    for field in ["wer", "cer", "insertions", "deletions", "substitutions", "utterances", "hours"] {
        assert!(report[field].is_number(), "no {field} in {report}");
    }
    assert_eq!(report["cer"], finished["valid"]["cer"]);
    let svg = fs::read_to_string(place.path("tr.run/curve.svg")).expect("a curve");
    assert!(svg.contains("<polyline"));
}

#[test]
fn logits_before_export_are_logits_after() {
    let place = Place::new();
    succeeded(&place.run("tr.safetensors", &["--covers", "ffn+attention", "--sparsity", "0.3"]));
    let backbone = backbone("xlsr");
    let (_, at) =
        RunFolder::of(&place.path("tr.safetensors")).load().expect("readable").expect("a checkpoint");
    let learner = Learner::new(&at.config, &backbone, &at.vocab, None).expect("a learner");
    RunFolder::of(&place.path("tr.safetensors")).load_best(&learner).expect("the best moment");
    let after = Trained::open(&place.path("tr.safetensors"), &backbone).expect("the pack");

    let list = list::read(&place.path("tr/valid.tsv")).expect("a list");
    let (clips, _) = features::extract(&backbone, &list, "tr", &at.config.data, || ()).expect("features");
    let features = collate(&clips).expect("a batch");
    let logits = |gates: Gates, head: (candle_core::Tensor, candle_core::Tensor)| {
        let segments = [Segment { rows: 0..clips.len(), gates: Arc::new(gates) }];
        let hidden = backbone.encode(&features, &segments, None).expect("hidden states");
        ops::linear(&hidden.detach(), &head.0, &head.1)
            .and_then(|l| Ok(l.flatten_all()?.to_vec1::<f32>()?))
            .expect("logits")
    };
    let soft = logits(learner.gates().expect("gates"), learner.head());
    let packed = logits(after.gates(), (after.head_weight.clone(), after.head_bias.clone()));
    let largest = soft.iter().fold(0f32, |m, x| m.max(x.abs()));
    let worst = soft.iter().zip(&packed).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst <= 1e-5 * largest, "{worst} of {largest}");
    assert!(decode::Vocab::new(after.meta.vocab, after.meta.word_separator.as_deref()).is_ok());
}

#[test]
fn a_killed_run_goes_on_as_if_nothing_had_happened() {
    let place = Place::new();
    succeeded(&place.run("whole.safetensors", &[]));
    let mut child = place
        .command("cut.safetensors", &[])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a run");
    let log = place.path("cut.run/log.jsonl");
    // Killed once the checkpoint of update 3 must be there, at whatever point that is.
    while fs::read_to_string(&log).unwrap_or_default().lines().count() < 6 {
        std::thread::sleep(Duration::from_millis(2));
        assert!(child.try_wait().expect("a status").is_none() || log.exists(), "the run ended early");
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("a status");
    let lines = place.curve("cut.run").len();
    succeeded(&place.run("cut.safetensors", &[]));
    assert_eq!(place.curve("cut.run"), place.curve("whole.run"), "killed after {lines} lines");
    let bytes = |name: &str| fs::read(place.path(name)).expect("a pack");
    assert!(bytes("cut.safetensors") == bytes("whole.safetensors"), "equal runs are equal files");
}

#[test]
fn a_checkpoint_of_other_settings_is_not_taken_up() {
    let place = Place::new();
    succeeded(&place.run("tr.safetensors", &[]));
    let other = place.run("tr.safetensors", &["--sparsity", "0.5"]);
    let words = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && words.contains("--fresh"), "{words}");
    succeeded(&place.run("tr.safetensors", &["--sparsity", "0.5", "--fresh"]));
}

#[test]
fn bad_clips_are_left_out_and_named() {
    let place = Place::new();
    let mut tsv = fs::read_to_string(place.path("tr/train.tsv")).expect("a list");
    fs::write(place.path("tr/clips/broken.wav"), b"RIFF\0\0\0\0WAVEjunk").expect("a file");
    tsv += "x\tbroken.wav\taı\t0\nx\tmissing.mp3\taı\t0\nx\t1.wav\t...\t0\n";
    tsv += &format!("x\t2.wav\t{}\t0\n", "aı".repeat(200));
    fs::write(place.path("tr/train.tsv"), tsv).expect("a list");
    succeeded(&place.run("tr.safetensors", &[]));
    let skipped = fs::read_to_string(place.path("tr.run/skipped.jsonl")).expect("a list of clips left out");
    assert_eq!(skipped.lines().count(), 4, "{skipped}");
    for (clip, reason) in
        [("broken.wav", ""), ("missing.mp3", "No such file"), ("1.wav", "no text"), ("2.wav", "400 frames")]
    {
        let named = skipped.lines().any(|l| l.contains(clip) && l.contains(reason));
        assert!(named, "{clip} is not named with `{reason}` in {skipped}");
    }

    fs::write(place.path("tr/valid.tsv"), "missing.wav\taı\n").expect("a list");
    let refused = place.run("none.safetensors", &[]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("none of 1 clips"), "{words}");
}

#[test]
fn a_pack_of_another_backbone_is_refused() {
    let place = Place::new();
    succeeded(&place.run("tr.safetensors", &[]));
    let refused = evaluate(&place, "tr.safetensors", "hubert-base");
    assert!(!refused.status.success());
    assert!(!String::from_utf8_lossy(&refused.stderr).contains("panicked"));
}

#[test]
fn every_control_runs_and_is_measured() {
    let place = Place::new();
    for method in ["head", "magnitude", "random", "finetune", "bitfit", "delta1"] {
        let out = format!("{method}.safetensors");
        let finished = succeeded(&place.run(&out, &["--method", method, "--updates", "3"]));
        let report = succeeded(&evaluate(&place, &out, "xlsr"));
        assert_eq!(report["cer"], finished["valid"]["cer"], "{method}");
        let is_pack = s3router_masks::open_path(&place.path(&out)).is_ok();
        assert_eq!(is_pack, matches!(method, "head" | "magnitude" | "random"), "{method}");
    }
    let mut prune = Command::new(env!("CARGO_BIN_EXE_s3router-train"));
    prune.args(["prune", "--language", "tr", "--json", "--updates", "3", "--sparsity", "0.7"]);
    prune.arg("--train").arg(place.path("tr/train.tsv")).arg("--valid").arg(place.path("tr/valid.tsv"));
    prune.arg("--backbone").arg(fixture("xlsr")).arg("--config").arg(place.path("quick.toml"));
    prune
        .arg("--start")
        .arg(place.path("finetune.safetensors"))
        .arg("--out")
        .arg(place.path("pruned.safetensors"));
    let finished = succeeded(&prune.output().expect("the program"));
    let report = succeeded(&evaluate(&place, "pruned.safetensors", "xlsr"));
    assert_eq!(report["cer"], finished["valid"]["cer"]);
}

#[test]
fn a_stopped_run_can_be_exported() {
    let place = Place::new();
    succeeded(&place.run("tr.safetensors", &[]));
    let mut export = Command::new(env!("CARGO_BIN_EXE_s3router-train"));
    export.arg("export").arg(place.path("tr.run")).arg("--out").arg(place.path("again.safetensors"));
    assert!(export.output().expect("the program").status.success());
    let masks = |name: &str| s3router_masks::open_path(&place.path(name)).expect("a pack").pack.masks;
    assert_eq!(masks("again.safetensors"), masks("tr.safetensors"));
}
