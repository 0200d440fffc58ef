//! What is to be heard: files, the files of folders, standard input.

use crate::commands::manifest::Job;
use anyhow::{Context, Result, ensure};
use std::{
    ffi::OsStr,
    io::Read,
    path::{Path, PathBuf},
};

/// One thing to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Input {
    /// The language it is in.
    pub(super) lang: String,
    /// A file; standard input to its end without one.
    file: Option<PathBuf>,
}

impl Input {
    /// Its bytes.
    pub(super) fn read(&self) -> Result<Vec<u8>> {
        match &self.file {
            Some(path) => std::fs::read(path).context("cannot be read"),
            None => {
                let mut bytes = Vec::new();
                std::io::stdin().lock().read_to_end(&mut bytes).context("cannot be read")?;
                Ok(bytes)
            }
        }
    }

    /// Whether it is standard input.
    pub(super) fn is_stdin(&self) -> bool {
        self.file.is_none()
    }

    /// As the user knows it.
    pub(super) fn name(&self) -> String {
        self.file.as_ref().map_or("-".into(), |path| path.display().to_string())
    }

    /// Of an answer file.
    pub(super) fn stem(&self) -> &OsStr {
        match &self.file {
            Some(path) => path.file_stem().unwrap_or(path.as_os_str()),
            None => OsStr::new("stdin"),
        }
    }
}

/// What a manifest names.
pub(super) fn of_manifest(jobs: Vec<Job>) -> Vec<Input> {
    jobs.into_iter().map(|Job { file, lang }| Input { lang, file: Some(file) }).collect()
}

/// Every file named, and every file of every folder named, at any depth, in order; hidden ones left out.
pub(super) fn expand(named: &[PathBuf], lang: &str) -> Result<Vec<Input>> {
    let mut files = Vec::new();
    for path in named {
        if path.as_os_str() == "-" {
            files.push(None);
        } else if path.is_dir() {
            let before = files.len();
            walk(path, &mut files)?;
            ensure!(files.len() > before, "{} holds no file", path.display());
        } else {
            files.push(Some(path.clone()));
        }
    }
    ensure!(files.iter().filter(|f| f.is_none()).count() <= 1, "standard input can be heard once only");
    Ok(files.into_iter().map(|file| Input { lang: lang.into(), file }).collect())
}

fn walk(folder: &Path, files: &mut Vec<Option<PathBuf>>) -> Result<()> {
    let entries = std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut paths: Vec<PathBuf> = entries
        .with_context(|| format!("cannot read the folder {}", folder.display()))?
        .into_iter()
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    for path in paths {
        // A link to a folder could lead in circles.
        if path.is_dir() && !path.is_symlink() {
            walk(&path, files)?;
        } else if path.is_file() {
            files.push(Some(path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_walked_in_order_and_hidden_files_left_out() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir_all(at("b/deep")).unwrap();
        for file in ["c.wav", "a.wav", ".hidden", "b/deep/x.mp3"] {
            std::fs::write(at(file), "").unwrap();
        }
        let found = expand(&[at("c.wav"), root.path().into(), "-".into()], "tr").unwrap();
        let files = [Some("c.wav"), Some("a.wav"), Some("b/deep/x.mp3"), Some("c.wav"), None];
        let expected = files.map(|f| Input { lang: "tr".into(), file: f.map(at) });
        assert_eq!(found, expected);
        assert!(expand(&["-".into(), "-".into()], "tr").is_err());
        std::fs::create_dir(at("empty")).unwrap();
        assert!(expand(&[at("empty")], "tr").unwrap_err().to_string().contains("empty"));
    }
}
