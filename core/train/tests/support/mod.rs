//! The program on a tiny backbone and made-up speech: every letter a tone.

#![allow(dead_code, reason = "each test program uses its part")]

use candle_core::Device;
use s3router_core::{audio::RATE_HZ, model::Backbone};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const LETTERS: [(char, f32); 4] = [('a', 300.0), ('ı', 700.0), ('i', 1500.0), ('ş', 3000.0)];

pub(crate) struct Place(tempfile::TempDir);

impl Place {
    /// A Common Voice folder `tr/` with `clips/`, a training and a validation TSV.
    pub(crate) fn new() -> Self {
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

    pub(crate) fn path(&self, name: &str) -> PathBuf {
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

    pub(crate) fn command(&self, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3router-train"));
        command.args(["run", "--json", "--seed", "5"]);
        if !more.contains(&"--language") {
            command.args(["--language", "tr"]);
        }
        if !more.contains(&"--updates") {
            command.args(["--updates", "12"]);
        }
        command.arg("--train").arg(self.path("tr/train.tsv")).arg("--valid").arg(self.path("tr/valid.tsv"));
        if !more.contains(&"--backbone") {
            command.arg("--backbone").arg(fixture("xlsr"));
        }
        command.arg("--config").arg(self.path("quick.toml"));
        command.arg("--out").arg(self.path(out)).args(more);
        command
    }

    pub(crate) fn run(&self, out: &str, more: &[&str]) -> Output {
        self.command(out, more).output().expect("the program")
    }

    /// The curve, without what depends on the machine's speed.
    pub(crate) fn curve(&self, run: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path(run).join("log.jsonl")).expect("a log");
        let line = |line: &str| {
            let mut value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            value.as_object_mut().expect("an object").remove("rtfx");
            value
        };
        text.lines().map(line).collect()
    }
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parity").join(name)
}

pub(crate) fn backbone(name: &str) -> Backbone {
    Backbone::load(&fixture(name).to_string_lossy().parse().expect("a path"), &Device::Cpu)
        .expect("a backbone")
}

/// One line of complaint, no panic, and these words in it.
#[track_caller]
pub(crate) fn refused(output: &Output, words: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && !told.contains("panicked"), "{told}");
    for word in words {
        assert!(told.contains(word), "no `{word}` in {told}");
    }
}

#[track_caller]
pub(crate) fn succeeded(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

pub(crate) fn evaluate(place: &Place, pack: &str, on: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3router-train"));
    command.arg("evaluate").arg("--json").arg("--test").arg(place.path("tr/valid.tsv"));
    command
        .arg("--pack")
        .arg(place.path(pack))
        .arg("--backbone")
        .arg(fixture(on))
        .args(["--device", "cpu"])
        .output()
        .expect("the program")
}
