//! A folder of packs, by language. A broken pack is set aside with its reason; the others serve.

use crate::{Error, Opened, Result, language, open_path};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The packs of a folder.
#[derive(Debug, Default)]
pub struct Registry {
    /// Packs that opened, in the order of their ids.
    pub packs: Vec<Entry>,
    /// Packs that did not, in the order of their file names.
    pub quarantined: Vec<Quarantined>,
}

/// A pack and its file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub opened: Opened,
}

/// A file that claims to be a pack and is not usable.
#[derive(Debug)]
pub struct Quarantined {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: Error,
}

impl Registry {
    /// Opens every `*.safetensors` of a folder; hidden files and sub-folders are passed over.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be read, [`Error::DuplicateLanguage`] when two packs answer
    /// to one name: which of them serves must not depend on chance.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::collect(pack_files(folder)?.into_iter().map(|path| {
            let opened = open_path(&path);
            (path, opened)
        }))
    }

    /// A registry of files that were opened elsewhere: inside the program, from an object store.
    ///
    /// # Errors
    /// [`Error::DuplicateLanguage`] as [`open`](Self::open).
    pub fn collect(files: impl IntoIterator<Item = (PathBuf, Result<Opened>)>) -> Result<Self> {
        let mut registry = Self::default();
        for (path, opened) in files {
            match opened {
                Ok(opened) => registry.packs.push(Entry { path, opened }),
                Err(reason) => registry.quarantined.push(Quarantined { path, reason }),
            }
        }
        registry.refuse_duplicates()?;
        registry.packs.sort_by(|a, b| a.opened.pack.meta.language.cmp(&b.opened.pack.meta.language));
        Ok(registry)
    }

    /// The pack that a request for `language` means.
    ///
    /// # Errors
    /// [`language::Unknown`] with the nearest id.
    pub fn get(&self, language: &str) -> Result<&Entry, language::Unknown> {
        let names: Vec<_> = self
            .packs
            .iter()
            .map(|e| language::Names {
                id: &e.opened.pack.meta.language,
                aliases: &e.opened.pack.meta.aliases,
            })
            .collect();
        Ok(&self.packs[language::resolve(language, &names)?])
    }

    fn refuse_duplicates(&self) -> Result<()> {
        let mut owners: BTreeMap<String, &Path> = BTreeMap::new();
        for Entry { path, opened } in &self.packs {
            let meta = &opened.pack.meta;
            for name in std::iter::once(&meta.language).chain(&meta.aliases) {
                match owners.insert(language::canonical(name).to_lowercase(), path) {
                    Some(first) if first != path => {
                        let (name, first, second) = (name.clone(), first.into(), path.clone());
                        return Err(Error::DuplicateLanguage { name, first, second });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn pack_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| Error::Io { path: folder.into(), source };
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(io)? {
        let path = entry.map_err(io)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.extension().is_some_and(|e| e == "safetensors") && !hidden && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
