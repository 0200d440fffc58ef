//! A list of files to transcribe, and one worker's share of it.

use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

/// A file and the language it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub file: PathBuf,
    pub lang: String,
}

/// Share `index` of `count`: every `count`-th line, so that neighbours (often of one recording) are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    index: usize,
    count: usize,
}

impl Default for Shard {
    /// Everything.
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parsed {
            Some((index, count)) if index < count => Ok(Self { index, count }),
            _ => Err("expected I/N with I from 0 to N-1, such as 3/16".into()),
        }
    }
}

/// One shard of the manifest's lines; blank lines and lines that begin with `#` do not count.
///
/// # Errors
/// When the manifest cannot be read or is empty, or a line has no language and there is no `default` one.
pub(super) fn read(manifest: &Path, default: Option<&str>, shard: Shard) -> Result<Vec<Job>> {
    let text = fs::read_to_string(manifest)
        .with_context(|| format!("cannot read --manifest {}", manifest.display()))?;
    let base = manifest.parent().unwrap_or(Path::new(""));
    let lines: Vec<_> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .collect();
    ensure!(!lines.is_empty(), "{} names no file: write one a line", manifest.display());
    lines
        .into_iter()
        .skip(shard.index)
        .step_by(shard.count)
        .map(|(number, line)| {
            let mut fields = line.split('\t').map(str::trim);
            let file = base.join(fields.next().unwrap_or_default());
            match (fields.next().filter(|l| !l.is_empty()).or(default), fields.next()) {
                (Some(lang), None) => Ok(Job { file, lang: lang.into() }),
                (None, _) => bail!(
                    "{}:{}: no language: write path<TAB>language, or give --lang",
                    manifest.display(),
                    number + 1
                ),
                (_, Some(_)) => bail!(
                    "{}:{}: more than path<TAB>language: training lists are for s3router-train",
                    manifest.display(),
                    number + 1
                ),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clips.tsv");
        fs::write(&file, text).unwrap();
        (folder, file)
    }

    #[test]
    fn paths_are_relative_to_the_manifest_and_a_line_may_name_its_language() {
        let (folder, file) = written("# ours\na b.wav\ttr\n\n/abs/c.mp3\n");
        let jobs = read(&file, Some("en"), Shard::default()).unwrap();
        assert_eq!(jobs[0], Job { file: folder.path().join("a b.wav"), lang: "tr".into() });
        assert_eq!(jobs[1], Job { file: "/abs/c.mp3".into(), lang: "en".into() });
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let (_folder, file) = written("a.wav\ttr\n\nb.wav\n");
        let error = read(&file, None, Shard::default()).unwrap_err().to_string();
        assert!(error.contains("clips.tsv:3: no language"), "{error}");
        let (_folder, file) = written("a.wav\ttr\tsome words\n");
        assert!(read(&file, None, Shard::default()).unwrap_err().to_string().contains(":1: more than"));
        let (_folder, file) = written("\n# nothing\n");
        assert!(read(&file, Some("en"), Shard::default()).unwrap_err().to_string().contains("no file"));
    }

    #[test]
    fn a_shard_is_one_of_several() {
        for wrong in ["", "3", "16/16", "-1/2", "0/0", "1/x"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_line_belongs_to_exactly_one_shard(lines in 1usize..40, count in 1usize..50) {
            let text: String = (0..lines).map(|i| format!("{i}.wav\n")).collect();
            let (_folder, file) = written(&text);
            let whole = read(&file, Some("en"), Shard::default()).unwrap();
            let mut taken: Vec<Job> = (0..count)
                .flat_map(|i| read(&file, Some("en"), format!("{i}/{count}").parse().unwrap()).unwrap())
                .collect();
            let at = |job: &Job| whole.iter().position(|w| w == job).unwrap();
            taken.sort_by_key(at);
            prop_assert_eq!(taken, whole);
        }
    }
}
