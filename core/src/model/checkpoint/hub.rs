//! `hf:ORG/NAME`: a snapshot of the Hugging Face hub, from its cache or fetched once into it.

use super::{
    Checkpoint,
    source::{WEIGHTS, directory, shards},
};
use crate::{Error, Result};
use hf_hub::{
    Cache, Repo,
    api::sync::{ApiBuilder, ApiError, ApiRepo},
};
use std::path::{Path, PathBuf};

/// Where snapshots are kept, and whether the network may be asked.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub cache: Cache,
    pub offline: bool,
}

impl Access {
    /// The hub's own conventions, shared with its Python tools: `HF_HOME`, `HF_HUB_CACHE`,
    /// `HF_HUB_OFFLINE`.
    pub(super) fn from_env() -> Self {
        let cache = std::env::var_os("HF_HUB_CACHE").map(PathBuf::from);
        let offline = std::env::var("HF_HUB_OFFLINE").unwrap_or_default().to_lowercase();
        Self {
            cache: cache.map_or_else(Cache::from_env, Cache::new),
            offline: matches!(offline.as_str(), "1" | "true" | "yes" | "on"),
        }
    }

    fn repo(&self, name: &str) -> Result<ApiRepo, ApiError> {
        let builder =
            ApiBuilder::from_env().with_cache_dir(self.cache.path().clone()).with_token(self.cache.token());
        Ok(builder.build()?.repo(Repo::model(name.into())))
    }
}

/// Opens `ORG/NAME`: from the cache if it is complete there, else downloads what is missing.
pub(super) fn open(name: &str, access: &Access) -> Result<Checkpoint> {
    check_name(name)?;
    let cached = access.cache.model(name.into()).get("config.json");
    if let Some(dir) = cached.as_deref().and_then(Path::parent).filter(|dir| complete(dir)) {
        return directory(dir);
    }
    if access.offline {
        return Err(Error::Model(format!(
            "`hf:{name}` is not complete in the cache {}, and HF_HUB_OFFLINE forbids fetching it: run once without it, or give a directory",
            access.cache.path().display()
        )));
    }
    directory(&fetch(name, access)?)
}

/// The folder of a repository's packs, `*.safetensors` at its top: the newest, or what is cached of it when the
/// hub cannot be asked.
///
/// # Errors
/// A name that is none, a repository without packs, or no network and nothing cached.
pub fn packs(name: &str) -> Result<PathBuf> {
    packs_with(name, &Access::from_env())
}

fn packs_with(name: &str, access: &Access) -> Result<PathBuf> {
    check_name(name)?;
    let cache = access.cache.model(name.into());
    let main = access.cache.path().join(Repo::model(name.into()).folder_name()).join("refs/main");
    let known = std::fs::read_to_string(main).ok().map(|commit| commit.trim().to_owned());
    let cached = known.as_ref().map(|commit| cache.pointer_path(commit)).filter(|dir| dir.is_dir());
    match (cached, access.offline) {
        (Some(dir), true) => Ok(dir),
        (None, true) => Err(Error::Model(format!(
            "the packs of `hf:{name}` are not in the cache {}, and HF_HUB_OFFLINE forbids fetching them: run once without it, or give a folder",
            access.cache.path().display()
        ))),
        (cached, false) => fetch_packs(name, access, known.as_deref()).or_else(|error| {
            let dir = cached.ok_or_else(|| failed(name, &error))?;
            tracing::warn!(%error, "the hub cannot be asked for hf:{name}: its cached packs serve");
            Ok(dir)
        }),
    }
}

fn fetch_packs(name: &str, access: &Access, known: Option<&str>) -> Result<PathBuf, ApiError> {
    let repo = access.repo(name)?;
    let info = repo.info()?;
    let packs = info.siblings.iter().map(|s| s.rfilename.as_str());
    for file in packs.filter(|file| file.ends_with(".safetensors") && !file.contains('/')) {
        // `get` trusts the cache, which is right only while the repository is as it was.
        if known == Some(&info.sha) {
            repo.get(file)?
        } else {
            repo.download(file)?
        };
    }
    Ok(access.cache.model(name.into()).pointer_path(&info.sha))
}

fn check_name(name: &str) -> Result<()> {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if name.matches('/').count() > 1 || !name.split('/').all(part) {
        return Err(Error::Model(format!(
            "`hf:{name}` is no repository of the hub: write hf:ORG/NAME, as in hf:facebook/wav2vec2-xls-r-300m"
        )));
    }
    Ok(())
}

fn failed(name: &str, error: &ApiError) -> Error {
    Error::Model(format!(
        "`hf:{name}`: {error}; check the name and the network; a private repository needs `huggingface-cli login`; without a network give a directory"
    ))
}

fn complete(dir: &Path) -> bool {
    WEIGHTS.iter().any(|name| {
        let index = dir.join(format!("{name}.index.json"));
        dir.join(name).is_file()
            || shards(&index).is_ok_and(|files| files.iter().all(|file| dir.join(file).is_file()))
    })
}

/// Downloads description and weights; safetensors where the model has them.
fn fetch(name: &str, access: &Access) -> Result<PathBuf> {
    let fail = |e: ApiError| failed(name, &e);
    let repo = access.repo(name).map_err(fail)?;
    let there: Vec<String> = repo.info().map_err(fail)?.siblings.into_iter().map(|s| s.rfilename).collect();
    let has = |file: &str| there.iter().any(|t| t == file);
    for file in ["preprocessor_config.json", "vocab.json"].into_iter().filter(|file| has(file)) {
        repo.get(file).map_err(fail)?;
    }
    for file in WEIGHTS {
        let index = format!("{file}.index.json");
        if has(file) {
            repo.get(file).map_err(fail)?;
        } else if has(&index) {
            for shard in shards(&repo.get(&index).map_err(fail)?)? {
                repo.get(&shard).map_err(fail)?;
            }
        } else {
            continue;
        }
        let config = repo.get("config.json").map_err(fail)?;
        return Ok(config.parent().unwrap_or(Path::new("")).to_path_buf());
    }
    Err(Error::Model(format!(
        "`hf:{name}` has neither model.safetensors nor pytorch_model.bin: it holds {}",
        there.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Config;

    fn offline(dir: &Path) -> Access {
        Access { cache: Cache::new(dir.into()), offline: true }
    }

    #[test]
    fn a_cached_model_opens_without_a_network() {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = dir.path().join("models--org--name/snapshots/abc");
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir_all(dir.path().join("models--org--name/refs")).unwrap();
        std::fs::write(dir.path().join("models--org--name/refs/main"), "abc").unwrap();
        let demo = super::super::source::Source::Demo.open().unwrap();
        std::fs::write(snapshot.join("config.json"), demo.config.as_ref().unwrap()).unwrap();
        std::fs::write(snapshot.join("model.safetensors"), &*demo.files[0]).unwrap();

        let opened = open("org/name", &offline(dir.path())).unwrap();

        assert_eq!(opened.config().unwrap(), demo.config().unwrap());
        assert_ne!(opened.config().unwrap(), Config::tiny());
    }

    #[test]
    fn cached_packs_open_without_a_network_and_missing_ones_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = packs_with("org/packs", &offline(dir.path())).unwrap_err().to_string();
        assert!(error.contains("HF_HUB_OFFLINE") && error.contains("org/packs"), "{error}");
        let snapshot = dir.path().join("models--org--packs/snapshots/abc");
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir_all(dir.path().join("models--org--packs/refs")).unwrap();
        std::fs::write(dir.path().join("models--org--packs/refs/main"), "abc\n").unwrap();
        assert_eq!(packs_with("org/packs", &offline(dir.path())).unwrap(), snapshot);
        assert!(
            packs_with("../packs", &offline(dir.path())).unwrap_err().to_string().contains("hf:ORG/NAME")
        );
    }

    #[test]
    fn a_model_that_is_not_cached_offline_says_where_it_looked() {
        let dir = tempfile::tempdir().unwrap();
        let error = open("org/name", &offline(dir.path())).unwrap_err().to_string();
        assert!(
            error.contains("HF_HUB_OFFLINE") && error.contains(&dir.path().display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn a_name_cannot_leave_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["../../etc", "org/name/more", "org/..", "", "/name"] {
            let error = open(name, &offline(dir.path())).unwrap_err().to_string();
            assert!(error.contains("write hf:ORG/NAME"), "{name}: {error}");
        }
    }
}
