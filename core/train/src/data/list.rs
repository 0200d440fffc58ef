//! The four shapes of a data set, told apart by what they contain.
//!
//! | shape | sign | audio | text |
//! |---|---|---|---|
//! | Common Voice | a header naming `path` and `sentence` | `clips/` beside the TSV, or beside it | `sentence` |
//! | fairseq | first line a folder, then `path<TAB>samples` | that folder | `.ltr` or `.phn` beside the `.tsv` |
//! | LibriSpeech | a folder with `*.trans.txt` inside | beside each `.trans.txt` | after the utterance id |
//! | plain | `path<TAB>text` | relative to the list | after the first tab |

use anyhow::{Context, Result, bail, ensure};
use s3router_core::learn::vocab::Unit;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// One utterance as listed: where its audio lies and what is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The audio file.
    pub audio: PathBuf,
    /// As written, not normalised.
    pub text: String,
}

/// A list and what its texts consist of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// In the order of the file.
    pub rows: Vec<Row>,
    /// [`Unit::Tokens`] for phone labels (`.phn`).
    pub unit: Unit,
}

/// Reads a list, whichever of the four shapes it has.
///
/// # Errors
/// A file that cannot be read, or whose shape or line is none of the four: where, and what was expected.
pub fn read(path: &Path) -> Result<List> {
    if path.is_dir() {
        let rows = librispeech(path)?;
        ensure!(
            !rows.is_empty(),
            "{}: a folder without *.trans.txt; give a list or a TSV instead",
            path.display()
        );
        return Ok(List { rows, unit: Unit::Characters });
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read the list {}", path.display()))?;
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let list = if let Some(columns) = Columns::of(first) {
        List { rows: common_voice(path, &columns, lines)?, unit: Unit::Characters }
    } else if !first.contains('\t') && !first.trim().is_empty() {
        fairseq(path, first, lines)?
    } else {
        List { rows: plain(path, &text)?, unit: Unit::Characters }
    };
    ensure!(!list.rows.is_empty(), "{}: the list has no utterance", path.display());
    Ok(list)
}

/// Where Common Voice keeps what matters; other columns come and go between releases.
struct Columns {
    path: usize,
    sentence: usize,
}

impl Columns {
    fn of(header: &str) -> Option<Self> {
        let find = |name| header.split('\t').position(|column| column == name);
        Some(Self { path: find("path")?, sentence: find("sentence")? })
    }
}

fn common_voice<'a>(
    list: &Path,
    columns: &Columns,
    lines: impl Iterator<Item = &'a str>,
) -> Result<Vec<Row>> {
    let folder = beside(list);
    let clips = Some(folder.join("clips")).filter(|c| c.is_dir()).unwrap_or(folder);
    let row = |(at, line): (usize, &str)| {
        let fields: Vec<_> = line.split('\t').collect();
        let (Some(path), Some(text)) = (fields.get(columns.path), fields.get(columns.sentence)) else {
            bail!("{} line {}: {} columns, the header names more", list.display(), at + 2, fields.len());
        };
        Ok(Row { audio: clips.join(path), text: text.to_string() })
    };
    lines.enumerate().filter(|(_, line)| !line.is_empty()).map(row).collect()
}

fn fairseq<'a>(list: &Path, root: &str, lines: impl Iterator<Item = &'a str>) -> Result<List> {
    let named = ["ltr", "phn"].map(|ext| list.with_extension(ext));
    let Some(labels) = named.iter().find(|p| p.is_file()) else {
        bail!(
            "{}: no tab in the first line, so this is a fairseq manifest, and it has no labels: {} or {} is missing",
            list.display(),
            named[0].display(),
            named[1].display()
        );
    };
    let is_phones = labels.extension().is_some_and(|e| e == "phn");
    let texts = fs::read_to_string(labels).with_context(|| format!("cannot read {}", labels.display()))?;
    let audio: Vec<_> = lines.filter(|l| !l.is_empty()).collect();
    ensure!(
        audio.len() == texts.lines().count(),
        "{} lists {} files, {} has {} lines: they must run in parallel",
        list.display(),
        audio.len(),
        labels.display(),
        texts.lines().count()
    );
    // A relative root is taken from the list's own folder, so a data set may move.
    let root = beside(list).join(root.trim());
    let row = |(file, labels): (&str, &str)| Row {
        audio: root.join(file.split('\t').next().unwrap_or(file)),
        text: if is_phones { labels.trim().to_owned() } else { spelled(labels) },
    };
    let rows = audio.into_iter().zip(texts.lines()).map(row).collect();
    Ok(List { rows, unit: if is_phones { Unit::Tokens } else { Unit::Characters } })
}

/// `H E L L O | W O R L D |` → `HELLO WORLD`.
fn spelled(letters: &str) -> String {
    let joined: String = letters.split_whitespace().map(|c| if c == "|" { " " } else { c }).collect();
    joined.trim().to_owned()
}

fn librispeech(folder: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for entry in sorted(folder)? {
        if entry.is_dir() {
            rows.extend(librispeech(&entry)?);
        } else if entry.to_string_lossy().ends_with(".trans.txt") {
            let text =
                fs::read_to_string(&entry).with_context(|| format!("cannot read {}", entry.display()))?;
            for line in text.lines().filter(|l| !l.is_empty()) {
                let (id, text) = line.split_once(' ').unwrap_or((line, ""));
                let named =
                    ["flac", "wav", "mp3", "ogg", "opus"].map(|ext| folder.join(format!("{id}.{ext}")));
                let audio = named.iter().find(|p| p.is_file()).unwrap_or(&named[0]).clone();
                rows.push(Row { audio, text: text.to_owned() });
            }
        }
    }
    Ok(rows)
}

/// A folder's entries by name: the order of a data set must not depend on the file system.
fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut entries = read().with_context(|| format!("cannot list {}", folder.display()))?;
    entries.sort();
    Ok(entries)
}

fn plain(list: &Path, text: &str) -> Result<Vec<Row>> {
    let folder = beside(list);
    let row = |(at, line): (usize, &str)| match line.split_once('\t') {
        Some((path, text)) => Ok(Row { audio: folder.join(path), text: text.to_owned() }),
        None => bail!(
            "{} line {}: no tab; expected `path<TAB>text`, a Common Voice TSV or a fairseq manifest",
            list.display(),
            at + 1
        ),
    };
    text.lines().enumerate().filter(|(_, line)| !line.is_empty()).map(row).collect()
}

fn beside(list: &Path) -> PathBuf {
    list.parent().map(Path::to_path_buf).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        dir
    }

    fn rows(dir: &tempfile::TempDir, list: &str) -> Vec<(String, String)> {
        let list = read(&dir.path().join(list)).expect("a list");
        let name = |p: &Path| p.strip_prefix(dir.path()).expect("inside").to_string_lossy().into_owned();
        list.rows.iter().map(|r| (name(&r.audio), r.text.clone())).collect()
    }

    #[test]
    fn a_plain_list_is_relative_to_itself() {
        let dir = folder(&[("data/list.tsv", "a.wav\tmerhaba\tdünya\n\nsub/b.mp3\tselam\n")]);
        assert_eq!(
            rows(&dir, "data/list.tsv"),
            [("data/a.wav".into(), "merhaba\tdünya".into()), ("data/sub/b.mp3".into(), "selam".into())]
        );
    }

    #[test]
    fn common_voice_is_known_by_its_header_wherever_the_columns_stand() {
        let tsv = "client_id\tsentence\tup_votes\tpath\nx\tMerhaba, dünya!\t2\tcv_1.mp3\n";
        let dir = folder(&[("tr/train.tsv", tsv), ("tr/clips/cv_1.mp3", "")]);
        assert_eq!(rows(&dir, "tr/train.tsv"), [("tr/clips/cv_1.mp3".into(), "Merhaba, dünya!".into())]);
    }

    #[test]
    fn fairseq_manifests_bring_letters_or_phones() {
        let dir = folder(&[
            ("m/train.tsv", "audio\nx.flac\t16000\ny.flac\t8000\n"),
            ("m/train.ltr", "H E L L O | W O R L D |\nH I |\n"),
            ("m/phones.tsv", "audio\nx.flac\t16000\n"),
            ("m/phones.phn", "h ə l oʊ\n"),
        ]);
        assert_eq!(
            rows(&dir, "m/train.tsv"),
            [("m/audio/x.flac".into(), "HELLO WORLD".into()), ("m/audio/y.flac".into(), "HI".into())]
        );
        let phones = read(&dir.path().join("m/phones.tsv")).expect("a list");
        assert_eq!((phones.unit, phones.rows[0].text.as_str()), (Unit::Tokens, "h ə l oʊ"));
    }

    #[test]
    fn a_librispeech_tree_is_walked_in_order() {
        let dir = folder(&[
            ("dev/84/121/84-121.trans.txt", "84-121-0000 GO\n84-121-0001 STOP NOW\n"),
            ("dev/84/121/84-121-0001.wav", ""),
            ("dev/12/1/12-1.trans.txt", "12-1-0000 FIRST\n"),
        ]);
        assert_eq!(
            rows(&dir, "dev"),
            [
                ("dev/12/1/12-1-0000.flac".into(), "FIRST".into()),
                ("dev/84/121/84-121-0000.flac".into(), "GO".into()),
                ("dev/84/121/84-121-0001.wav".into(), "STOP NOW".into())
            ]
        );
    }

    #[test]
    fn what_is_none_of_the_four_is_told_where() {
        let dir = folder(&[
            ("a.tsv", "x.wav\tone\ntwo words\n"),
            ("b.tsv", "just text\n"),
            ("c.tsv", ""),
            ("d.tsv", "root\na.wav\t1\n"),
            ("d.ltr", "A |\nB |\n"),
            ("e/readme", ""),
        ]);
        for (list, words) in [
            ("a.tsv", "line 2"),
            ("b.tsv", "b.ltr"),
            ("c.tsv", "no utterance"),
            ("d.tsv", "lists 1 files"),
            ("e", "trans.txt"),
            ("missing.tsv", "cannot read"),
        ] {
            let error = read(&dir.path().join(list)).expect_err(list).to_string();
            assert!(error.contains(words), "{list}: {error}");
        }
    }
}
