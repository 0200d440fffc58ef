//! Where packs come from: a folder, a repository of the hub, an object store, the program itself.

use anyhow::Context;
use s3router_core::{demo, model};
use s3router_masks::{Registry, open_bytes};
use std::{
    convert::Infallible,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// A place that holds packs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackSource {
    /// The embedded demo's eleven.
    Demo,
    /// None but the head that a fine-tuned checkpoint brings.
    Own,
    /// A folder of `<language>.safetensors`; the only one that is written to.
    Folder(PathBuf),
    /// `ORG/NAME` of the Hugging Face hub.
    Hub(String),
    /// `s3://BUCKET/PREFIX` of an object store.
    Bucket(String),
}

impl PackSource {
    /// The folder, where it is one.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            _ => None,
        }
    }

    /// Reads every pack there is. Blocks.
    ///
    /// # Errors
    /// When the place cannot be read, or two packs answer to one name.
    pub fn read(&self) -> anyhow::Result<Registry> {
        match self {
            Self::Own => Ok(Registry::default()),
            Self::Demo => {
                let files = demo::PACKS.iter().enumerate();
                Ok(Registry::collect(
                    files.map(|(i, bytes)| (format!("demo {i}").into(), open_bytes(bytes))),
                )?)
            }
            Self::Folder(folder) => Ok(Registry::open(folder)?),
            Self::Hub(name) => {
                let folder = model::hub_packs(name)?;
                Registry::open(&folder).with_context(|| format!("packs of hf:{name}"))
            }
            #[cfg(feature = "s3")]
            Self::Bucket(url) => super::bucket::read(url),
            #[cfg(not(feature = "s3"))]
            Self::Bucket(url) => {
                anyhow::bail!("{url}: this build has no object store; build it with --features s3")
            }
        }
    }
}

impl FromStr for PackSource {
    type Err = Infallible;

    /// `hf:ORG/NAME`, `s3://BUCKET/PREFIX`; anything else is a folder.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix("hf:") {
            Some(name) => Self::Hub(name.into()),
            None if text.starts_with("s3://") => Self::Bucket(text.into()),
            None => Self::Folder(text.into()),
        })
    }
}

impl From<&Path> for PackSource {
    fn from(folder: &Path) -> Self {
        Self::Folder(folder.into())
    }
}

impl fmt::Display for PackSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Demo => f.write_str("the embedded demo"),
            Self::Own => f.write_str("the checkpoint's own head"),
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Hub(name) => write!(f, "hf:{name}"),
            Self::Bucket(url) => f.write_str(url),
        }
    }
}
