//! The four shapes of a data set, told apart by what they contain.
//!
//! | shape | sign | audio | text |
//! |---|---|---|---|
//! | Common Voice | a header naming `path` and `sentence` | `clips/` beside the TSV, or beside it | `sentence` |
//! | fairseq | first line a folder, then `path<TAB>samples` | that folder | `.ltr` or `.phn` beside the `.tsv` |
//! | LibriSpeech | a folder with `*.trans.txt` inside | beside each `.trans.txt` | after the utterance id |
//! | plain | `path<TAB>text` | relative to the list | after the first tab |

use super::clips::Skipped;
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
    /// [`Unit::Tokens`] for phone labels (`.phn`), or when that was wanted.
    pub unit: Unit,
    /// Lines that name no clip and text.
    pub broken: Vec<Skipped>,
}

/// Reads a list, whichever of the four shapes it has. With a `unit` that is wanted its labels are taken as such, and of
/// a manifest's two label files the one that has them comes first; without, the list itself decides.
///
/// # Errors
/// A file that cannot be read, or whose shape is none of the four, or without one good line: where, and what was
/// expected.
pub fn read(path: &Path, unit: Option<Unit>) -> Result<List> {
    if path.is_dir() {
        let rows = librispeech(path)?;
        ensure!(
            !rows.is_empty(),
            "{}: a folder without *.trans.txt; give a list or a TSV instead",
            path.display()
        );
        return Ok(List { rows, unit: unit.unwrap_or_default(), broken: Vec::new() });
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read the list {}", path.display()))?;
    // What spreadsheets put before a header.
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let list = if let Some(columns) = Columns::of(first) {
        List::of(common_voice(path, &columns, lines), unit.unwrap_or_default())
    } else if !first.contains('\t') && !first.trim().is_empty() {
        fairseq(path, first, lines, unit)?
    } else {
        List::of(plain(path, text), unit.unwrap_or_default())
    };
    if let (true, Some(first)) = (list.rows.is_empty(), list.broken.first()) {
        bail!("{} {}", path.display(), first.reason);
    }
    ensure!(!list.rows.is_empty(), "{}: the list has no utterance", path.display());
    Ok(list)
}

impl List {
    fn of(lines: Vec<Result<Row, Skipped>>, unit: Unit) -> Self {
        let mut list = Self { rows: Vec::new(), unit, broken: Vec::new() };
        for line in lines {
            match line {
                Ok(row) => list.rows.push(row),
                Err(broken) => list.broken.push(broken),
            }
        }
        list
    }
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
) -> Vec<Result<Row, Skipped>> {
    let folder = beside(list);
    let clips = Some(folder.join("clips")).filter(|c| c.is_dir()).unwrap_or(folder);
    let row = |(at, line): (usize, &str)| {
        let fields: Vec<_> = line.split('\t').collect();
        let (Some(path), Some(text)) = (fields.get(columns.path), fields.get(columns.sentence)) else {
            let reason = format!("line {}: {} columns, the header names more", at + 2, fields.len());
            return Err(Skipped { path: list.to_path_buf(), reason });
        };
        Ok(Row { audio: clips.join(path), text: text.to_string() })
    };
    lines.enumerate().filter(|(_, line)| !line.is_empty()).map(row).collect()
}

fn fairseq<'a>(
    list: &Path,
    root: &str,
    lines: impl Iterator<Item = &'a str>,
    unit: Option<Unit>,
) -> Result<List> {
    let order = if unit == Some(Unit::Tokens) { ["phn", "ltr"] } else { ["ltr", "phn"] };
    let named = order.map(|ext| list.with_extension(ext));
    let Some(labels) = named.iter().find(|p| p.is_file()) else {
        bail!(
            "{}: no tab in the first line, so this is a fairseq manifest, and it has no labels: {} or {} is missing",
            list.display(),
            named[0].display(),
            named[1].display()
        );
    };
    let is_phones = unit == Some(Unit::Tokens) || labels.extension().is_some_and(|e| e == "phn");
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
    let unit = if is_phones { Unit::Tokens } else { Unit::Characters };
    Ok(List { rows, unit, broken: Vec::new() })
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

fn plain(list: &Path, text: &str) -> Vec<Result<Row, Skipped>> {
    let folder = beside(list);
    let expected = "no tab; expected `path<TAB>text`, a Common Voice TSV or a fairseq manifest";
    let row = |(at, line): (usize, &str)| match line.split_once('\t') {
        Some((path, text)) => Ok(Row { audio: folder.join(path), text: text.to_owned() }),
        None => Err(Skipped { path: list.to_path_buf(), reason: format!("line {}: {expected}", at + 1) }),
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
        let list = read(&dir.path().join(list), None).expect("a list");
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
        let phones = read(&dir.path().join("m/phones.tsv"), None).expect("a list");
        assert_eq!((phones.unit, phones.rows[0].text.as_str()), (Unit::Tokens, "h ə l oʊ"));
    }

    #[test]
    fn wanted_tokens_are_not_spelled_out() {
        let dir = folder(&[
            ("train.tsv", "audio\nx.flac\t16000\n"),
            ("train.ltr", "tʃ a |\n"),
            ("both.tsv", "audio\nx.flac\t16000\n"),
            ("both.ltr", "c i a |\n"),
            ("both.phn", "tʃ a\n"),
            ("plain.tsv", "x.flac\ttʃ a\n"),
        ]);
        let read = |name: &str, unit| read(&dir.path().join(name), unit).expect("a list");
        for (name, text) in [("train.tsv", "tʃ a |"), ("both.tsv", "tʃ a"), ("plain.tsv", "tʃ a")] {
            let list = read(name, Some(Unit::Tokens));
            assert_eq!((list.unit, list.rows[0].text.as_str()), (Unit::Tokens, text), "{name}");
        }
        let letters = read("both.tsv", None);
        assert_eq!((letters.unit, letters.rows[0].text.as_str()), (Unit::Characters, "cia"));
    }

    #[test]
    fn a_broken_line_is_named_and_costs_only_itself() {
        let header = "client_id\tpath\tsentence\n";
        let dir = folder(&[
            ("cv.tsv", &format!("\u{feff}{header}x\ta.mp3\tone\nx\tb.mp3\nx\tc.mp3\tthree\n")),
            ("plain.tsv", "a.mp3\tone\ntwo words\nc.mp3\tthree\n"),
        ]);
        for (list, line) in [("cv.tsv", "line 3"), ("plain.tsv", "line 2")] {
            assert_eq!(rows(&dir, list).len(), 2);
            let broken = read(&dir.path().join(list), None).expect("a list").broken;
            assert!(broken.len() == 1 && broken[0].reason.contains(line), "{broken:?}");
        }
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
            ("a.tsv", "\ntwo words\n"),
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
            let error = read(&dir.path().join(list), None).expect_err(list).to_string();
            assert!(error.contains(words), "{list}: {error}");
        }
    }
}
