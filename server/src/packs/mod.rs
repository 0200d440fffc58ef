//! The packs in service, changed while requests run.
//!
//! A generation is immutable. Requests read [`PackStore::now`], a snapshot, and lease what they found in it
//! (`Arc<LoadedPack>`); a change builds another snapshot and swaps it in whole, so nobody waits and nobody sees
//! half a change. Changes come from the admin listener ([`PackStore::put`], [`PackStore::remove`]) and from the
//! [`source`] itself ([`PackStore::reload`]); one at a time, each under its [`condition`]. N-grams that lie beside a
//! pack belong to its generation.

#[cfg(feature = "s3")]
mod bucket;
pub mod condition;
mod model;
pub mod source;

use crate::error::{ApiError, Result};
use arc_swap::ArcSwap;
use condition::Condition;
use model::Stamp;
use s3router_core::{
    Engine,
    packs::{LoadedPack, Packs},
};
use s3router_masks::{Meta, Opened, language, open_bytes, write_bytes};
use s3router_proto::{ErrorKind, Reloaded};
use source::PackSource;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What is in service, and where it comes from.
#[derive(Debug)]
pub struct PackStore {
    now: ArcSwap<Packs>,
    engine: ArcSwap<Engine>,
    source: PackSource,
    ledger: Mutex<Ledger>,
}

/// What only those who change something need; its lock makes changes take turns.
#[derive(Debug, Default)]
struct Ledger {
    /// The last generation of each language, in service or not: a number never comes back.
    generations: BTreeMap<String, u64>,
    /// The file of each language.
    files: BTreeMap<String, PathBuf>,
    /// The n-grams that each language was opened with.
    models: BTreeMap<String, Stamp>,
}

/// A pack that was put into service.
#[derive(Debug)]
pub struct Installed {
    /// The new generation.
    pub pack: Arc<LoadedPack>,
    /// Whether its language was in service before.
    pub replaced: bool,
    /// Whether it was written into the folder too, and so outlives this process.
    pub persisted: bool,
}

impl PackStore {
    /// Opens what the source holds. A pack that is broken or of another backbone is quarantined.
    ///
    /// # Errors
    /// A source that cannot be read, or two packs that answer to one name.
    pub fn open(source: PackSource, engine: Arc<Engine>) -> anyhow::Result<Self> {
        let engine = ArcSwap::new(engine);
        let store = Self { now: ArcSwap::default(), engine, source, ledger: Mutex::default() };
        store.reload()?;
        Ok(store)
    }

    /// Goes on with the engine of another store, for one that was rebuilt on the same device: packs in service
    /// stay, generations too.
    pub(crate) fn adopt(&self, rebuilt: &Self) {
        self.engine.store(rebuilt.engine.load_full());
    }

    /// What is in service now; stays as it is for whoever holds it.
    pub fn now(&self) -> Arc<Packs> {
        self.now.load_full()
    }

    /// Puts the pack of a file into service under `lang`, in the place of the generation before. With a folder of
    /// packs it is written there first.
    ///
    /// # Errors
    /// 412 when `condition` does not hold; 400 for bytes that are no pack, a pack of another language, of another
    /// backbone, or with a name that another pack answers to; 500 when it cannot be written. Nothing has changed then.
    pub fn put(&self, lang: &str, bytes: &[u8], condition: Condition) -> Result<Installed> {
        let mut ledger = self.lock();
        let mut packs = Packs::clone(&self.now());
        let before = packs.exact(lang).map(|p| p.generation);
        condition.check(lang, before)?;
        let opened = open_bytes(bytes).map_err(|e| refused(lang, &e))?;
        check_names(lang, &opened.pack.meta, &packs)?;
        let file = self.file_of(&opened.pack.meta.language, &ledger)?;
        let pack = self.bind(opened, file.as_deref(), &ledger).map_err(|e| refused(lang, &e))?;
        if let Some(file) = &file {
            write_bytes(file, bytes).map_err(|e| unwritable(&e))?;
            packs.absolve(&name_of(file));
        }
        let model = file.as_deref().and_then(Stamp::beside);
        let pack = Arc::new(pack.with_lm(model.as_ref().and_then(|m| m.open(&mut packs))));
        self.engine.load().admit(&pack);
        ledger.record(&pack, file.as_deref(), model);
        packs.insert(Arc::clone(&pack));
        self.now.store(Arc::new(packs));
        tracing::info!(lang = pack.meta.language, generation = pack.generation, "pack put into service");
        Ok(Installed { pack, replaced: before.is_some(), persisted: file.is_some() })
    }

    /// Takes a language out of service, and its file out of the folder.
    ///
    /// # Errors
    /// 404 when it is not in service, 412 when `condition` does not hold, 500 when its file cannot be deleted.
    pub fn remove(&self, lang: &str, condition: Condition) -> Result<()> {
        let mut ledger = self.lock();
        let mut packs = Packs::clone(&self.now());
        let found = packs.exact(lang).map(|p| (p.meta.language.clone(), p.generation));
        condition.check(lang, found.as_ref().map(|(_, generation)| *generation))?;
        let Some((id, generation)) = found else {
            // An alias is no address: deleting by one would surprise.
            return Err(match packs.get(lang) {
                Err(unknown) => unknown.into(),
                Ok(pack) => ApiError::new(
                    ErrorKind::LanguageNotFound,
                    format!("no pack has the id `{lang}`; did you mean `{}`?", pack.meta.language),
                ),
            });
        };
        if let Some(file) = ledger.files.get(&id) {
            match std::fs::remove_file(file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(unwritable(&e)),
                _ => {}
            }
        }
        ledger.files.remove(&id);
        packs.remove(&id);
        self.now.store(Arc::new(packs));
        tracing::info!(lang = id, generation, "pack taken out of service");
        Ok(())
    }

    /// Makes the service equal to its source again. Equal files keep their generation; a file that has become
    /// unusable is quarantined and the generation before it stays in service.
    ///
    /// # Errors
    /// A source that cannot be read, or two packs that answer to one name. Nothing has changed then.
    pub fn reload(&self) -> anyhow::Result<Reloaded> {
        let mut ledger = self.lock();
        let registry = self.source.read()?;
        let (before, mut after) = (self.now(), Packs::default());
        let mut told = Reloaded::default();
        for broken in registry.quarantined {
            after.quarantine(&broken.path, broken.reason.cause());
            let held = ledger.files.iter().find(|(_, file)| **file == broken.path).map(|(id, _)| id);
            stay(held.and_then(|id| before.exact(id)), &mut after, &mut told);
        }
        for entry in registry.packs {
            let id = &entry.opened.pack.meta.language;
            let old = before.exact(id);
            let file = self.source.folder().map(|_| entry.path.as_path());
            let model = file.and_then(Stamp::beside);
            if let Some(same) = old.filter(|p| p.sha256 == entry.opened.sha256)
                && ledger.models.get(id) == model.as_ref()
            {
                ledger.record(same, file, model);
                stay(old, &mut after, &mut told);
                continue;
            }
            match self.bind(entry.opened, file, &ledger) {
                Ok(pack) => {
                    let pack = Arc::new(pack.with_lm(model.as_ref().and_then(|m| m.open(&mut after))));
                    self.engine.load().admit(&pack);
                    ledger.record(&pack, file, model);
                    let list = if old.is_some() { &mut told.replaced } else { &mut told.added };
                    list.push(pack.meta.language.clone());
                    after.insert(pack);
                }
                Err(reason) => {
                    after.quarantine(&entry.path, &reason);
                    stay(old, &mut after, &mut told);
                }
            }
        }
        if self.source == PackSource::Own
            && let Some(own) = LoadedPack::own(self.engine.load().backbone())?
        {
            after.insert(own);
        }
        let gone = before.iter().filter(|p| after.exact(&p.meta.language).is_none());
        told.removed = gone.map(|p| p.meta.language.clone()).collect();
        told.quarantined = after.quarantined().iter().map(|q| q.file.clone()).collect();
        ledger.files.retain(|id, _| after.exact(id).is_some());
        self.now.store(Arc::new(after));
        Ok(told)
    }

    /// The engine that these packs are bound to.
    pub fn engine(&self) -> Arc<Engine> {
        self.engine.load_full()
    }

    fn bind(
        &self,
        opened: Opened,
        file: Option<&Path>,
        ledger: &Ledger,
    ) -> s3router_core::Result<LoadedPack> {
        let last = ledger.generations.get(&opened.pack.meta.language).copied().unwrap_or(0);
        let pack = LoadedPack::bind(opened, self.engine.load().backbone(), last + 1)?;
        Ok(match file {
            Some(file) => pack.of_file(file),
            None => pack,
        })
    }

    /// Where a language is kept: its own file, else `<language>.safetensors`; `None` without a folder.
    fn file_of(&self, id: &str, ledger: &Ledger) -> Result<Option<PathBuf>> {
        let Some(folder) = self.source.folder() else { return Ok(None) };
        if let Some(known) = ledger.files.get(id) {
            return Ok(Some(known.clone()));
        }
        let file = folder.join(format!("{id}.safetensors"));
        match ledger.files.iter().find(|(_, taken)| **taken == file) {
            Some((other, _)) => Err(ApiError::invalid(
                "lang",
                format!("{} holds the pack of `{other}`: rename it, then reload", name_of(&file)),
            )),
            None => Ok(Some(file)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        // A change that panicked has stored nothing: what is in service is whole.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn record(&mut self, pack: &LoadedPack, file: Option<&Path>, model: Option<Stamp>) {
        let id = &pack.meta.language;
        self.generations.insert(id.clone(), pack.generation);
        match file {
            Some(file) => drop(self.files.insert(id.clone(), file.into())),
            None => drop(self.files.remove(id)),
        }
        match model {
            Some(model) => drop(self.models.insert(id.clone(), model)),
            None => drop(self.models.remove(id)),
        }
    }
}

/// A generation that outlives a reload.
fn stay(pack: Option<&Arc<LoadedPack>>, after: &mut Packs, told: &mut Reloaded) {
    if let Some(pack) = pack {
        told.kept.push(pack.meta.language.clone());
        after.insert(Arc::clone(pack));
    }
}

/// The address and the file must agree, and no name may have two owners.
fn check_names(lang: &str, meta: &Meta, packs: &Packs) -> Result<()> {
    let id = &meta.language;
    if language::canonical(lang) != language::canonical(id) {
        let message =
            format!("the pack is of language `{id}`, the address says `{lang}`: put it at /admin/packs/{id}");
        return Err(ApiError::invalid("lang", message));
    }
    let fold = |name: &str| language::canonical(name).to_lowercase();
    let mine: Vec<String> = std::iter::once(id).chain(&meta.aliases).map(|n| fold(n)).collect();
    for other in packs.iter().filter(|p| p.meta.language != *id) {
        let theirs = std::iter::once(&other.meta.language).chain(&other.meta.aliases);
        if let Some(name) = theirs.map(|n| fold(n)).find(|n| mine.contains(n)) {
            let message =
                format!("`{name}` is a name of the pack `{}` already: drop the alias", other.meta.language);
            return Err(ApiError::invalid("lang", message));
        }
    }
    Ok(())
}

fn refused(lang: &str, why: &dyn std::fmt::Display) -> ApiError {
    ApiError::invalid("pack", format!("no usable pack for `{lang}`: {why}"))
}

fn unwritable(why: &dyn std::fmt::Display) -> ApiError {
    tracing::error!("the folder of packs cannot be changed: {why}");
    ApiError::new(
        ErrorKind::Internal,
        format!("the folder of packs cannot be changed, and so nothing was: {why}"),
    )
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}
