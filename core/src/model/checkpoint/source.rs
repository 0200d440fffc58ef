//! Where a backbone comes from.

use super::{
    Checkpoint,
    file::{self, Bytes},
    hub,
};
use crate::{Error, Result};
use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The embedded demo, a directory or file, or a model of the Hugging Face hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The small backbone inside this program: shows the machine, does not transcribe people.
    Demo,
    /// A Hugging Face directory, or one file: safetensors, `pytorch_model.bin`, fairseq's `.pt`.
    Path(PathBuf),
    /// `ORG/NAME` on the hub, from its cache when it is there.
    Hub(String),
}

impl FromStr for Source {
    type Err = Infallible;

    /// `demo`, `hf:ORG/NAME`, anything else is a path.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match (text, text.strip_prefix("hf:")) {
            ("demo", _) => Self::Demo,
            (_, Some(name)) => Self::Hub(name.into()),
            _ => Self::Path(text.into()),
        })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Demo => f.write_str("demo"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Hub(name) => write!(f, "hf:{name}"),
        }
    }
}

impl Source {
    pub(crate) fn open(&self) -> Result<Checkpoint> {
        match self {
            Self::Demo => demo(),
            Self::Path(path) if path.is_dir() => directory(path),
            Self::Path(path) => one_file(path),
            Self::Hub(name) => hub::open(name, &hub::Access::from_env()),
        }
    }
}

fn demo() -> Result<Checkpoint> {
    let mut checkpoint = Checkpoint {
        config: Some(include_str!("../../../demo/backbone/config.json").into()),
        preprocessor: Some(include_str!("../../../demo/backbone/preprocessor_config.json").into()),
        ..Checkpoint::default()
    };
    let weights = include_bytes!("../../../demo/backbone/model.safetensors");
    checkpoint.add(Bytes::Embedded(weights), Path::new("the embedded demo"))?;
    Ok(checkpoint)
}

/// Weight files by preference; `pytorch_model.bin` last, since it may be a duplicate.
pub(super) const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// A directory as Hugging Face's `save_pretrained` writes it.
pub(super) fn directory(dir: &Path) -> Result<Checkpoint> {
    let mut checkpoint = described(dir)?;
    for name in WEIGHTS {
        let (whole, index) = (dir.join(name), dir.join(format!("{name}.index.json")));
        if whole.is_file() {
            checkpoint.add(file::map(&whole)?, &whole)?;
            return Ok(checkpoint);
        }
        if index.is_file() {
            for shard in shards(&index)? {
                let path = dir.join(shard);
                checkpoint.add(file::map(&path)?, &path)?;
            }
            return Ok(checkpoint);
        }
    }
    Err(Error::Model(format!(
        "{}: no model.safetensors, pytorch_model.bin or index of shards; name the file itself if it is called otherwise",
        dir.display()
    )))
}

/// One file; config.json and vocab.json beside it count if they are there.
fn one_file(path: &Path) -> Result<Checkpoint> {
    let mut checkpoint = described(path.parent().unwrap_or(Path::new("")))?;
    if !path.is_file() {
        return Err(Error::Model(format!(
            "{}: no such file or directory; a backbone is `demo`, a path or hf:ORG/NAME",
            path.display()
        )));
    }
    checkpoint.add(file::map(path)?, path)?;
    Ok(checkpoint)
}

fn described(dir: &Path) -> Result<Checkpoint> {
    let text = |name: &str| -> Result<Option<String>> {
        let path = dir.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        fs::read_to_string(&path).map(Some).map_err(|e| Error::Model(format!("{}: {e}", path.display())))
    };
    Ok(Checkpoint {
        config: text("config.json")?,
        preprocessor: text("preprocessor_config.json")?,
        vocab: text("vocab.json")?,
        ..Checkpoint::default()
    })
}

/// The files that an index names, each once; plain names only, so that no index leads elsewhere.
pub(super) fn shards(index: &Path) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let fail = |e: String| Error::Model(format!("{}: {e}", index.display()));
    let text = fs::read_to_string(index).map_err(|e| fail(e.to_string()))?;
    let index: Index = serde_json::from_str(&text).map_err(|e| fail(e.to_string()))?;
    let mut files: Vec<String> = index.weight_map.into_values().collect();
    files.sort();
    files.dedup();
    match files.iter().find(|f| f.contains(['/', '\\']) || f.starts_with('.')) {
        Some(odd) => Err(fail(format!("shard `{odd}` is not a plain file name"))),
        None => Ok(files),
    }
}
