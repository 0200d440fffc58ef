//! A way to stop work that nobody waits for any more: client gone, deadline passed.
//!
//! Whoever computes for longer than a moment looks at it between two steps (a block of audio, a frame of logits), so
//! that it ends within milliseconds. Looking is one relaxed load.

use crate::{Error, Result};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Shared by who computes and who waits; [`Default`] is never cancelled unless somebody does.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    cancelled: AtomicBool,
    #[cfg(test)]
    looks: counted::Looks,
}

impl Cancel {
    /// Ends the work at its next step.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// Cancels when it is dropped: for the future that waits.
    #[must_use]
    pub fn on_leave(&self) -> OnLeave {
        OnLeave(self.clone())
    }

    /// # Errors
    /// [`Error::Abandoned`] once cancelled.
    pub fn check(&self) -> Result<()> {
        #[cfg(test)]
        if self.0.looks.is_last() {
            self.cancel();
        }
        if self.0.cancelled.load(Ordering::Relaxed) { Err(Error::Abandoned) } else { Ok(()) }
    }
}

/// Of [`Cancel::on_leave`].
#[derive(Debug)]
pub struct OnLeave(Cancel);

impl Drop for OnLeave {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Tests want to know that work ends at once, wherever it is: they cancel at its n-th look and count the looks.
#[cfg(test)]
pub(crate) mod counted {
    use super::Cancel;
    use crate::{Error, Result};
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    #[derive(Debug, Default)]
    pub(super) struct Looks {
        taken: AtomicU64,
        last: AtomicU64,
    }

    impl Looks {
        pub(super) fn is_last(&self) -> bool {
            self.taken.fetch_add(1, Ordering::Relaxed) + 1 == self.last.load(Ordering::Relaxed)
        }
    }

    fn at(last: u64) -> Cancel {
        let cancel = Cancel::default();
        cancel.0.looks.last.store(last, Ordering::Relaxed);
        cancel
    }

    /// Holds `work` to ending at the very look that says so, for each of its looks, of which there must be `least`.
    pub(crate) fn ends_at_any_look<T: std::fmt::Debug>(least: u64, work: impl Fn(&Cancel) -> Result<T>) {
        let all = at(0);
        work(&all).unwrap();
        let looks = |cancel: &Cancel| Arc::clone(&cancel.0).looks.taken.load(Ordering::Relaxed);
        assert!(looks(&all) >= least, "{} looks of {least}", looks(&all));
        for last in 1..=looks(&all) {
            let cancel = at(last);
            assert!(matches!(work(&cancel), Err(Error::Abandoned)), "cancelled at look {last}");
            assert_eq!(looks(&cancel), last, "work went on after look {last}");
        }
    }
}
