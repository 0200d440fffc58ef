//! Several devices as one engine: each holds all the weights, a batch is cut between them.
//!
//! One queue feeds the fleet as it feeds an engine, so order and fairness are the scheduler's as before. The shares of
//! a batch are even in audio and run side by side. Packs are bound to the first device; the others copy each as they
//! meet it, under a memory limit of their own. A device that fails costs time, not answers: another does its share
//! again. One beside the first is out until it is rebuilt. The first cannot be rebuilt here, since packs are bound to
//! it: it is [suspect](Fleet::suspect) until it has done a share, and who owns the fleet has it examined. What a suspect
//! fails at is the batch's own error, as it would be with one engine.

use crate::{
    Error, Result,
    engine::Engine,
    lock::lock,
    packs::LoadedPack,
    piece::{Part, Piece},
};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

/// How often in a row a device is rebuilt before it stays out.
const REBUILDS: u32 = 3;

/// Makes an engine over the fleet's backbone on a device of its own; asked again when that device failed.
pub type Build = Box<dyn Fn() -> Result<Engine> + Send + Sync>;

/// One engine per device.
#[derive(Debug)]
pub struct Fleet {
    first: Arc<Engine>,
    /// The first failed at its last share.
    suspect: AtomicBool,
    others: Vec<Arc<Member>>,
}

impl Fleet {
    /// A fleet of the engine that packs are bound to, and of others by name.
    ///
    /// # Errors
    /// A device that cannot be used.
    pub fn new(first: Arc<Engine>, others: Vec<(String, Build)>) -> Result<Self> {
        let others = others.into_iter().map(|(name, build)| Member::new(name, build).map(Arc::new));
        Ok(Self { first, suspect: AtomicBool::new(false), others: others.collect::<Result<_>>()? })
    }

    /// How many devices work now.
    pub fn devices(&self) -> usize {
        usize::from(!self.suspect()) + self.working().count()
    }

    /// Whether the first failed at its last share, which another did.
    pub fn suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    fn working(&self) -> impl Iterator<Item = (&Arc<Member>, Arc<Worker>)> {
        self.others.iter().filter_map(|member| Some((member, member.worker()?)))
    }

    /// The engine that packs are bound to: it also cuts utterances and reads what was computed.
    pub fn first(&self) -> &Engine {
        &self.first
    }

    /// [`Engine::compute`], each device its share. `pause` is called by the first, on this thread; what ends there
    /// ends the batch as soon as the others are through with theirs.
    ///
    /// # Errors
    /// The first device's, if it was suspect before or no other is at work.
    pub fn compute(&self, pieces: &[&Piece], pause: &mut dyn FnMut() -> Result<()>) -> Result<Vec<Part>> {
        if pieces.is_empty() {
            return self.first.compute(pieces, pause);
        }
        // As it stood at the beginning: what cuts in between two layers may find out first.
        let (suspect, working) = (self.suspect(), self.working().collect::<Vec<_>>());
        let lengths: Vec<_> = pieces.iter().map(|piece| piece.samples()).collect();
        let shares = shares(&lengths, 1 + working.len());
        let (mine, theirs) = shares.split_at(1);
        let (mut parts, mut lost) = (Vec::with_capacity(pieces.len()), Vec::new());
        let mut keep = |share: &[usize], found: Vec<Part>| parts.extend(share.iter().copied().zip(found));

        thread::scope(|scope| {
            let busy = working.iter().zip(theirs).filter(|(_, share)| !share.is_empty());
            let busy = busy.map(|((member, worker), share)| {
                (member, worker, share, scope.spawn(move || worker.compute(&pick(pieces, share))))
            });
            let busy: Vec<_> = busy.collect();
            let first = guarded(|| self.first.compute(&pick(pieces, &mine[0]), pause));
            for (member, worker, share, thread) in busy {
                match thread.join().unwrap_or_else(|_| Err(panicked())) {
                    Ok(found) => {
                        member.failures.store(0, Ordering::Relaxed);
                        keep(share, found);
                    }
                    Err(error) => {
                        member.failed(worker, &error);
                        lost.extend_from_slice(share);
                    }
                }
            }
            match first {
                Ok(found) => {
                    self.suspect.store(false, Ordering::Relaxed);
                    keep(&mine[0], found);
                }
                Err(error) => {
                    self.first_failed(error, suspect)?;
                    lost.extend_from_slice(&mine[0]);
                }
            }
            Ok::<_, Error>(())
        })?;
        if !lost.is_empty() {
            keep(&lost, self.again(&pick(pieces, &lost), pause)?);
        }
        parts.sort_by_key(|(place, _)| *place);
        Ok(parts.into_iter().map(|(_, part)| part).collect())
    }

    /// Makes the first suspect, unless its failure is the batch's own error.
    fn first_failed(&self, error: Error, before: bool) -> Result<()> {
        if before || matches!(error, Error::Abandoned) || self.working().next().is_none() {
            return Err(error);
        }
        tracing::error!(%error, "the first device failed: others do its share, it is to be examined");
        self.suspect.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// What was lost with a device, by one that is well.
    fn again(&self, lost: &[&Piece], pause: &mut dyn FnMut() -> Result<()>) -> Result<Vec<Part>> {
        if !self.suspect() {
            return self.first.compute(lost, pause);
        }
        let mut reason = Error::Model("no device is left to do a lost share".into());
        for (member, worker) in self.working() {
            match guarded(|| worker.compute(lost)) {
                Ok(parts) => return Ok(parts),
                Err(error) => {
                    member.failed(&worker, &error);
                    reason = error;
                }
            }
        }
        Err(reason)
    }
}

/// A panic of a device's work is its failure.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> Error {
    Error::Model("it panicked".into())
}

/// A device beside the first.
struct Member {
    name: String,
    build: Build,
    /// `None` while it is rebuilt, or for good.
    worker: Mutex<Option<Arc<Worker>>>,
    /// In a row.
    failures: AtomicU32,
}

impl Member {
    fn new(name: String, build: Build) -> Result<Self> {
        let worker = Mutex::new(Some(Arc::new(Worker::new(build()?))));
        Ok(Self { name, build, worker, failures: AtomicU32::new(0) })
    }

    fn worker(&self) -> Option<Arc<Worker>> {
        lock(&self.worker).clone()
    }

    /// Takes `worker` out of service and has it rebuilt, unless another batch has done so already.
    fn failed(self: &Arc<Self>, worker: &Arc<Worker>, error: &Error) {
        if lock(&self.worker).take_if(|at_work| Arc::ptr_eq(at_work, worker)).is_none() {
            return;
        }
        tracing::error!(device = self.name, %error, "a device failed: others do its share, it is rebuilt");
        let member = Arc::clone(self);
        if let Err(error) = thread::Builder::new().name("rebuild".into()).spawn(move || member.rebuild()) {
            tracing::error!(device = self.name, %error, "no thread to rebuild it: it stays out");
        }
    }

    fn rebuild(&self) {
        loop {
            let failures = self.failures.fetch_add(1, Ordering::Relaxed);
            if failures >= REBUILDS {
                tracing::error!(device = self.name, "it stays out until the program starts anew");
                return;
            }
            thread::sleep(Duration::from_millis(50) * 4u32.pow(failures));
            match guarded(&self.build) {
                Ok(engine) => {
                    *lock(&self.worker) = Some(Arc::new(Worker::new(engine)));
                    tracing::info!(device = self.name, "rebuilt and at work again");
                    return;
                }
                Err(error) => tracing::error!(device = self.name, %error, "it cannot be rebuilt"),
            }
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("name", &self.name).field("worker", &self.worker).finish()
    }
}

/// An engine, and what was copied to its device: as long as anybody holds the original.
#[derive(Debug)]
struct Worker {
    engine: Engine,
    copies: Mutex<Vec<(Weak<LoadedPack>, Arc<LoadedPack>)>>,
}

impl Worker {
    fn new(engine: Engine) -> Self {
        Self { engine, copies: Mutex::default() }
    }

    fn compute(&self, pieces: &[&Piece]) -> Result<Vec<Part>> {
        let here = pieces.iter().map(|piece| {
            let pack = self.copy(piece)?;
            let gates = self.engine.lease(&pack)?;
            Ok(piece.under(pack, gates))
        });
        let here: Vec<Piece> = here.collect::<Result<_>>()?;
        self.engine.compute(&here.iter().collect::<Vec<_>>(), &mut || Ok(()))
    }

    /// A piece's pack on this device.
    fn copy(&self, piece: &Piece) -> Result<Arc<LoadedPack>> {
        let mut copies = lock(&self.copies);
        copies.retain(|(original, _)| original.strong_count() > 0);
        let pack = piece.pack();
        if let Some((_, copy)) = copies.iter().find(|(original, _)| original.as_ptr() == Arc::as_ptr(pack)) {
            return Ok(Arc::clone(copy));
        }
        let copy = Arc::new(pack.copy_to(piece.gates(), self.engine.backbone())?);
        copies.push((Arc::downgrade(pack), Arc::clone(&copy)));
        Ok(copy)
    }
}

fn pick<'a>(pieces: &[&'a Piece], share: &[usize]) -> Vec<&'a Piece> {
    share.iter().map(|&i| pieces[i]).collect()
}

/// Indices for each of `devices`, even in length: neighbours in length stay together, since padding costs. The first
/// has something whenever there is anything.
fn shares(lengths: &[usize], devices: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));
    let total: usize = lengths.iter().sum::<usize>().max(1);
    let mut shares = vec![Vec::new(); devices];
    let mut before = 0;
    for i in order {
        // Where the middle of this piece falls if all pieces lie end to end.
        let device = (2 * before + lengths[i]) * devices / (2 * total);
        shares[device.min(devices - 1)].push(i);
        before += lengths[i];
    }
    if let Some(any) = shares.iter().position(|share| !share.is_empty()) {
        shares.swap(0, any);
    }
    shares
}

#[cfg(test)]
mod tests;
