//! N-grams beside a pack: `tr.arpa` beside `tr.safetensors`, for the beam search.

use s3router_core::{decode::Lm, packs::Packs};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// An ARPA file as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    path: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// The file beside a pack's, if there is one.
    pub(super) fn beside(pack: &Path) -> Option<Self> {
        let path = pack.with_extension("arpa");
        let about = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some(Self { path, bytes: about.len(), modified: about.modified().ok() })
    }

    /// Reads it. A broken one is set aside with its reason, and the language serves without.
    pub(super) fn open(&self, packs: &mut Packs) -> Option<Arc<Lm>> {
        if let Some(name) = self.path.file_name() {
            packs.absolve(&name.to_string_lossy());
        }
        match Lm::open(&self.path) {
            Ok(lm) => Some(Arc::new(lm)),
            Err(reason) => {
                packs.quarantine(&self.path, &reason);
                None
            }
        }
    }
}
