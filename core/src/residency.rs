//! Which packs' masks are in memory: all of them, or as many as a byte budget holds.
//!
//! A pack's vocabulary and head always stay. Its mask bits, nearly all of its bytes, can be read again from the
//! file they came from, so they may give way: the engine leases them batch by batch, and what was leased least
//! recently goes first. A batch in work keeps what it leased. Pinned languages lie beyond the budget and never go.

use crate::{
    Error, Result,
    gate::Gates,
    lock::lock,
    model::Backbone,
    packs::{LoadedPack, gates},
};
use s3router_masks::{Opened, open_path};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, Weak},
};

/// The masks of one pack, in memory or in their file.
#[derive(Debug)]
pub(crate) struct Masks {
    held: Mutex<Option<Arc<Gates>>>,
    /// Without one they stay in memory.
    file: Option<PathBuf>,
}

impl Masks {
    pub(crate) fn new(gates: Gates) -> Self {
        Self { held: Mutex::new(Some(Arc::new(gates))), file: None }
    }

    pub(crate) fn of_file(self, file: PathBuf) -> Self {
        Self { file: Some(file), ..self }
    }

    /// The same masks as `gates` of another device, read again from the same file.
    pub(crate) fn copy(&self, gates: Gates) -> Self {
        Self { file: self.file.clone(), ..Self::new(gates) }
    }

    pub(crate) fn is_held(&self) -> bool {
        lock(&self.held).is_some()
    }

    /// The gates, read again if they had gone; who asks meanwhile waits for the same reading.
    pub(crate) fn get(&self, sha256: &str, backbone: &Backbone) -> Result<Arc<Gates>> {
        let mut held = lock(&self.held);
        if let Some(gates) = &*held {
            return Ok(Arc::clone(gates));
        }
        let mut opened = self.reopen(sha256)?;
        backbone.identity()?.bind(&mut opened.pack)?;
        Ok(Arc::clone(held.insert(Arc::new(gates(opened.pack.masks, backbone)))))
    }

    fn reopen(&self, sha256: &str) -> Result<Opened> {
        let file = self
            .file
            .as_deref()
            .ok_or_else(|| Error::Model("a pack without a file lost its masks".into()))?;
        let opened = open_path(file)?;
        if opened.sha256 != sha256 {
            return Err(Error::Model(format!(
                "{} is another file than the pack in service (sha256 {}, was {sha256}): reload the packs",
                file.display(),
                opened.sha256
            )));
        }
        Ok(opened)
    }

    /// Lets the gates go; whether there were any that can be read again.
    fn evict(&self) -> bool {
        self.file.is_some() && lock(&self.held).take().is_some()
    }
}

/// How much memory masks may take, and whose stay whatever happens. The default: everything stays.
#[derive(Debug, Default)]
pub struct Residency {
    budget: Option<u64>,
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// Packs in the order of their last lease, the latest last.
    order: Vec<Weak<LoadedPack>>,
    /// Languages that never go.
    pins: BTreeSet<String>,
}

impl Residency {
    /// At most `budget` bytes of packs that are not pinned; without a budget everything stays.
    pub fn new(budget: Option<u64>) -> Self {
        Self { budget, shelf: Mutex::default() }
    }

    /// The packs of this language (its canonical id) stay from now on, beyond the budget.
    pub fn pin(&self, language: &str) {
        lock(&self.shelf).pins.insert(language.to_owned());
    }

    /// The masks of `pack`, for as long as the answer is held; others may have to go for them.
    ///
    /// # Errors
    /// Masks that had gone and cannot be read again: the file is missing, broken or another one.
    pub fn lease(&self, pack: &Arc<LoadedPack>, backbone: &Backbone) -> Result<Arc<Gates>> {
        let gates = pack.gates(backbone)?;
        self.admit(pack);
        Ok(gates)
    }

    /// Counts `pack` as the latest, and lets go what no longer fits; `pack` itself stays, however large. A pack
    /// that is loaded ahead of its first lease is told of here.
    pub fn admit(&self, pack: &Arc<LoadedPack>) {
        let Some(budget) = self.budget else { return };
        let Shelf { order, pins } = &mut *lock(&self.shelf);
        // Replaced packs vanish here, with their last lease.
        order.retain(|other| other.strong_count() > 0 && !std::ptr::eq(other.as_ptr(), Arc::as_ptr(pack)));
        order.push(Arc::downgrade(pack));
        let mut bytes = 0;
        let held = order.iter().rev().filter_map(Weak::upgrade);
        for held in held.filter(|p| p.is_resident() && !pins.contains(&p.meta.language)) {
            bytes += held.bytes;
            if bytes > budget && !Arc::ptr_eq(&held, pack) && held.masks.evict() {
                tracing::debug!(language = held.meta.language, "masks evicted");
            }
        }
    }
}

#[cfg(test)]
mod tests;
