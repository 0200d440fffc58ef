//! What goes wrong for a user: kills, full disks, bad clips, the wrong backbone. Nothing is lost, and one line says
//! how to mend it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail")]

mod support;

use s3router_train::checkpoint::RunFolder;
use std::{fs, process::Stdio, time::Duration};
use support::{Place, evaluate, fixture, refused, succeeded};

#[test]
fn a_killed_run_goes_on_as_if_nothing_had_happened() {
    let place = Place::new();
    let long = ["--updates", "40"];
    succeeded(&place.run("whole.safetensors", &long));
    let mut child = place
        .command("cut.safetensors", &long)
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
    assert_eq!(child.wait().expect("a status").code(), None, "it was killed in the middle");
    let lines = place.curve("cut.run").len();
    fs::write(place.path("cut.run/.tmpAbCdEf"), "half a checkpoint").expect("a file");
    succeeded(&place.run("cut.safetensors", &long));
    assert!(!place.path("cut.run/.tmpAbCdEf").exists(), "what the kill left goes");
    assert_eq!(place.curve("cut.run"), place.curve("whole.run"), "killed after {lines} lines");
    let bytes = |name: &str| fs::read(place.path(name)).expect("a pack");
    assert!(bytes("cut.safetensors") == bytes("whole.safetensors"), "equal runs are equal files");
}

#[test]
fn a_checkpoint_of_other_settings_is_not_taken_up() {
    let place = Place::new();
    succeeded(&place.run("tr.safetensors", &[]));
    refused(&place.run("tr.safetensors", &["--sparsity", "0.5"]), &["configuration", "--fresh"]);
    let list = fs::read_to_string(place.path("tr/valid.tsv")).expect("a list");
    let cut: Vec<_> = list.lines().take(4).collect();
    fs::write(place.path("tr/valid.tsv"), cut.join("\n")).expect("a list");
    refused(&place.run("tr.safetensors", &[]), &["validation set", "--fresh"]);
    fs::write(place.path("tr/valid.tsv"), list).expect("a list");
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
    refused(&place.run("none.safetensors", &[]), &["none of 1 clips"]);
}

#[test]
fn what_no_pack_can_hold_is_told_before_anything_is_learnt() {
    let place = Place::new();
    refused(&place.run("a.safetensors", &["--language", "türkçe"]), &["language", "letters, digits"]);
    assert!(!place.path("a.run").exists());
    let vocab = place.path("vocab.json");
    let flags = ["--vocab", vocab.to_str().expect("a path")];
    for (symbols, words) in [
        (r#"["<pad>", "a", "ı", "a"]"#, ["`a`", "vocab.json"]),
        (r#"["a", "ı", "i", "ş", "|"]"#, ["`a`", "<pad>"]),
    ] {
        fs::write(&vocab, symbols).expect("a vocabulary");
        refused(&place.run("b.safetensors", &flags), &words);
    }
    // Nobody listens there, and nobody is asked.
    let push = ["--push", "http://127.0.0.1:9"];
    refused(&place.run("c.safetensors", &[&push[..], &["--method", "finetune"]].concat()), &["no pack"]);
    fs::write(place.path("quick.toml"), "[also]\nnorms = true\n").expect("settings");
    refused(&place.run("c.safetensors", &push), &["no pack"]);
    assert!(!place.path("c.run").exists());
}

#[test]
fn symbols_that_a_given_vocabulary_lacks_are_named() {
    let place = Place::new();
    let vocab = place.path("vocab.json");
    fs::write(&vocab, r#"["<pad>", "a", "ı", "i", "|"]"#).expect("a vocabulary");
    let learnt = place.run("tr.safetensors", &["--vocab", vocab.to_str().expect("a path")]);
    succeeded(&learnt);
    let told = String::from_utf8_lossy(&learnt.stderr);
    assert!(told.contains("`ş`") && told.contains("not in the vocabulary"), "{told}");
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let place = Place::new();
    let folder = |name: &str| RunFolder::of(&place.path(name));
    let claim = folder("tr.safetensors").claim().expect("a folder of its own");
    refused(&place.run("tr.safetensors", &[]), &["another run", "--out"]);
    drop(claim);
    succeeded(&place.run("tr.safetensors", &["--updates", "3"]));
    assert_eq!(folder("tr-0.08").file("x"), place.path("tr-0.08.run/x"), "a dot is part of the name");
    assert_ne!(folder("tr.s1").file("x"), folder("tr.s2").file("x"));
}

#[test]
fn a_backbone_that_changed_behind_its_path_is_noticed() {
    let place = Place::new();
    let folder = place.path("backbone");
    fs::create_dir(&folder).expect("a folder");
    for name in ["config.json", "preprocessor_config.json", "model.safetensors"] {
        fs::copy(fixture("xlsr").join(name), folder.join(name)).expect("a copy");
    }
    let flags = ["--backbone", folder.to_str().expect("a path"), "--updates", "3"];
    succeeded(&place.run("tr.safetensors", &flags));
    let file = folder.join("model.safetensors");
    let mut weights = candle_core::safetensors::load(&file, &candle_core::Device::Cpu).expect("weights");
    let (name, moved) = weights
        .iter()
        .find(|(name, _)| name.ends_with("layers.0.feed_forward.output_dense.weight"))
        .map(|(name, w)| (name.clone(), (w * 1.5).expect("a product")))
        .expect("a weight that masks cover");
    weights.insert(name, moved);
    candle_core::safetensors::save(&weights, &file).expect("a file");
    refused(&place.run("tr.safetensors", &flags), &["another backbone"]);
    let mut export = std::process::Command::new(env!("CARGO_BIN_EXE_s3router-train"));
    export.arg("export").arg(place.path("tr.run")).arg("--out").arg(place.path("again.safetensors"));
    refused(&export.output().expect("the program"), &["weights have changed"]);
    assert!(!place.path("again.safetensors").exists());
}

#[test]
fn a_pack_of_another_backbone_is_refused() {
    let place = Place::new();
    succeeded(&place.run("tr.safetensors", &[]));
    refused(&evaluate(&place, "tr.safetensors", "hubert-base"), &["was made for backbone"]);
}

/// A process that may write no file larger than `kilobytes` sees what a full disk shows: a failed write.
#[cfg(target_os = "linux")]
fn on_a_full_disk(command: &std::process::Command, kilobytes: usize) -> std::process::Output {
    let mut shell = std::process::Command::new("bash");
    // Ignored, the signal of the limit becomes an error of the write.
    shell.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {kilobytes}; exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args()).output().expect("bash")
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing_and_the_run_goes_on_once_there_is_room() {
    let place = Place::new();
    succeeded(&place.run("whole.safetensors", &[]));
    let best = fs::metadata(place.path("whole.run/best.safetensors")).expect("a best moment").len();
    // Room for the log and the best moment, none for the checkpoint, three times as large.
    let full = on_a_full_disk(&place.command("cut.safetensors", &[]), best as usize / 1024 + 8);
    let words = String::from_utf8_lossy(&full.stderr).into_owned();
    assert!(!full.status.success() && !words.contains("panicked"), "{words}");
    assert!(words.contains("cannot write") && words.contains("state.safetensors"), "{words}");
    assert!(!place.path("cut.safetensors").exists(), "no half of a pack");
    let left = fs::read_dir(place.path("cut.run")).expect("a folder").map(|f| f.expect("a file").file_name());
    let left: Vec<_> = left.map(|n| n.to_string_lossy().into_owned()).collect();
    assert!(left.iter().all(|n| !n.starts_with(".tmp")), "temporary files are left: {left:?}");

    succeeded(&place.run("cut.safetensors", &[]));
    assert_eq!(place.curve("cut.run"), place.curve("whole.run"));
    let bytes = |name: &str| fs::read(place.path(name)).expect("a pack");
    assert!(bytes("cut.safetensors") == bytes("whole.safetensors"), "equal runs are equal files");
}

#[test]
fn a_start_made_on_another_backbone_is_refused() {
    let place = Place::new();
    succeeded(&place.run("tr.safetensors", &["--updates", "3"]));
    let mut other = place.command("other.safetensors", &["--start"]);
    other.arg(place.path("tr.safetensors"));
    let other: Vec<_> = other
        .get_args()
        .map(|a| match a == fixture("xlsr").as_os_str() {
            true => fixture("wav2vec2-base").into_os_string(),
            false => a.to_owned(),
        })
        .collect();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_s3router-train")).args(other).output();
    refused(&output.expect("the program"), &["backbone"]);
}

#[test]
fn a_run_ends_in_its_time_however_slow_its_updates_are() {
    let place = Place::new();
    let finished = succeeded(&place.run("tr.safetensors", &["--updates", "500", "--max-minutes", "0.0001"]));
    assert_eq!(finished["update"], 1);
}

#[test]
fn a_run_that_gets_no_better_stops_early() {
    let place = Place::new();
    let settings = "[updates]\nscore_rate = 0.0\nhead_rate = 0.0\n[select]\nevery = 1\npatience = 2\n";
    fs::write(place.path("quick.toml"), settings).expect("settings");
    let finished = succeeded(&place.run("tr.safetensors", &["--updates", "50"]));
    assert_eq!(finished["update"], 1);
    let last = place.curve("tr.run").last().expect("a line")["update"].clone();
    assert_eq!(last, 3, "one evaluation and two without a better one");
}
