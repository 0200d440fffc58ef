//! Who is next: fair shares over a tree of key → language → job, in virtual time.
//!
//! Self-clocked fair queueing (Golestani 1994) at each level. A branch with work waiting has a start tag; its
//! next unit would finish at `start + cost / weight`, and the earliest finish goes first. A level's clock is the
//! latest finish it has served, and a branch that comes anew starts there: so a fresh short job overtakes the
//! far windows of a long one, while those, whose tags are fixed, are overtaken only until the clock reaches
//! them. Nobody starves, nobody gains by asking in many pieces. Pure: no time, no channel, no thread.

use std::collections::{BTreeMap, VecDeque};

/// The smallest thing that is scheduled: one piece of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Where it belongs.
    pub seat: Seat,
    /// Which piece of the job.
    pub piece: usize,
    /// Whether it is all of its job; a window of long audio is not.
    pub whole: bool,
    /// What it costs: samples the backbone will hear.
    pub samples: usize,
}

/// A job's place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Whose key; who has none shares 0.
    pub tenant: u64,
    /// That key's part against others.
    pub weight: u32,
    /// Which language.
    pub language: u64,
    /// Which job; later ones have larger numbers.
    pub job: u64,
}

impl Seat {
    fn path(&self) -> [(u64, u64); 3] {
        [(self.tenant, self.weight.max(1).into()), (self.language, 1), (self.job, 1)]
    }
}

/// Units that wait.
#[derive(Clone, Debug, Default)]
pub struct Fair(Branch);

impl Fair {
    /// A unit waits, behind those of its own job.
    pub fn push(&mut self, unit: Unit) {
        self.0.push(&unit.seat.path(), unit);
    }

    /// The next unit among those that `fits` lets pass; of each job only its first piece is asked.
    pub fn best(&self, fits: &dyn Fn(&Unit) -> bool) -> Option<Unit> {
        self.0.best(fits).copied()
    }

    /// Takes the first piece of `seat`'s job and charges it to its key, language and job.
    pub fn take(&mut self, seat: Seat) -> Option<Unit> {
        self.0.take(&seat.path())
    }

    /// Forgets the jobs that `keep` does not want, at no charge.
    pub fn retain(&mut self, keep: &dyn Fn(u64) -> bool) {
        self.0.retain(keep);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Virtual time per sample at weight 1: room for weights up to this without rounding to nothing.
const TICKS: u64 = 1_000;

#[derive(Clone, Debug, Default)]
struct Branch {
    weight: u64,
    /// Where this branch's next unit starts, on the clock of the level above.
    start: u64,
    /// The latest finish served below.
    clock: u64,
    branches: BTreeMap<u64, Branch>,
    /// Of a job only.
    units: VecDeque<Unit>,
}

impl Branch {
    fn push(&mut self, path: &[(u64, u64)], unit: Unit) {
        let Some((&(key, weight), rest)) = path.split_first() else { return self.units.push_back(unit) };
        let anew = || Self { start: self.clock, ..Self::default() };
        let branch = self.branches.entry(key).or_insert_with(anew);
        branch.weight = weight;
        branch.push(rest, unit);
    }

    fn best(&self, fits: &dyn Fn(&Unit) -> bool) -> Option<&Unit> {
        if let Some(first) = self.units.front() {
            return fits(first).then_some(first);
        }
        let each = self.branches.values().filter_map(|b| b.best(fits).map(|unit| (b.finish(unit), unit)));
        // Of equal finishes the older job.
        each.min_by_key(|(finish, unit)| (*finish, unit.seat.job)).map(|(_, unit)| unit)
    }

    fn take(&mut self, path: &[(u64, u64)]) -> Option<Unit> {
        let Some((&(key, _), rest)) = path.split_first() else { return self.units.pop_front() };
        let branch = self.branches.get_mut(&key)?;
        let unit = branch.take(rest)?;
        branch.start = branch.finish(&unit);
        self.clock = self.clock.max(branch.start);
        if branch.is_empty() {
            // It would come back at the clock, which is not behind it: nothing is lost by forgetting it.
            self.branches.remove(&key);
        }
        Some(unit)
    }

    fn retain(&mut self, keep: &dyn Fn(u64) -> bool) {
        self.units.retain(|unit| keep(unit.seat.job));
        self.branches.retain(|_, branch| {
            branch.retain(keep);
            !branch.is_empty()
        });
    }

    fn finish(&self, unit: &Unit) -> u64 {
        self.start.saturating_add((unit.samples.max(1) as u64).saturating_mul(TICKS) / self.weight.max(1))
    }

    fn is_empty(&self) -> bool {
        self.units.is_empty() && self.branches.is_empty()
    }
}
