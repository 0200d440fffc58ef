//! Loading → ready → draining, and who may still work.

use crate::error::{ApiError, Result};
use s3router_proto::ErrorKind;
use std::sync::Arc;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, watch};

/// Where a server is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The port answers, the backbone is not there yet.
    Loading,
    /// A real warm-up transcription has succeeded.
    Ready,
    /// A batch failed: the engine is examined and if need be rebuilt. Requests are accepted and wait.
    Mending,
    /// Accepted requests finish, new ones are refused.
    Draining,
    /// The backbone could not be loaded, or not be mended; the process ends with this message.
    Failed(String),
}

/// The phase, and a count of requests in work (a lock that each request holds for reading).
#[derive(Debug)]
pub struct Lifecycle {
    phase: watch::Sender<Phase>,
    work: Arc<RwLock<()>>,
}

/// A request in work; draining waits until the last is dropped.
#[derive(Debug)]
pub struct Working(#[allow(dead_code)] OwnedRwLockReadGuard<()>);

impl Default for Lifecycle {
    fn default() -> Self {
        Self { phase: watch::Sender::new(Phase::Loading), work: Arc::default() }
    }
}

impl Lifecycle {
    /// Where it is now.
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Every change of it.
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Takes up a request.
    ///
    /// # Errors
    /// 503 while loading and while draining.
    pub fn enter(&self) -> Result<Working> {
        if *self.phase.borrow() != Phase::Mending {
            self.check()?;
        }
        // A drain that began this instant already waits for the lock, and new readers fail.
        Arc::clone(&self.work).try_read_owned().map(Working).map_err(|_| ApiError::draining())
    }

    /// What `/readyz` says.
    ///
    /// # Errors
    /// 503 while loading and while draining.
    pub fn check(&self) -> Result<()> {
        match &*self.phase.borrow() {
            Phase::Ready => Ok(()),
            Phase::Loading => Err(ApiError::new(
                ErrorKind::Loading,
                "the backbone is still loading: try again in a moment, /readyz says when",
            )),
            Phase::Mending => Err(ApiError::new(
                ErrorKind::Loading,
                "a batch failed and the engine is being examined, and rebuilt if need be: what is sent now waits",
            )),
            Phase::Draining => Err(ApiError::draining()),
            Phase::Failed(why) => {
                Err(ApiError::new(ErrorKind::Loading, format!("there is no engine: {why}")))
            }
        }
    }

    /// Loading is over, one way or the other. A drain that has begun meanwhile stays.
    pub(crate) fn loaded(&self, outcome: anyhow::Result<()>) {
        self.phase.send_if_modified(|phase| {
            let loading = *phase == Phase::Loading;
            if loading {
                *phase = outcome.map_or_else(|e| Phase::Failed(format!("{e:#}")), |()| Phase::Ready);
            }
            loading
        });
    }

    /// A batch failed; `/readyz` says no until [`mended`](Self::mended).
    pub(crate) fn mending(&self) {
        self.change(&Phase::Ready, Phase::Mending);
    }

    /// The engine is well again.
    pub(crate) fn mended(&self) {
        self.change(&Phase::Mending, Phase::Ready);
    }

    /// The engine could not be mended: nobody can be answered any more, draining or not.
    pub(crate) fn broken(&self, why: &anyhow::Error) {
        self.phase.send_replace(Phase::Failed(format!("{why:#}")));
    }

    fn change(&self, from: &Phase, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let right = phase == from;
            if right {
                *phase = to;
            }
            right
        });
    }

    /// Resolves when the warm-up has succeeded.
    ///
    /// # Errors
    /// When loading failed, or the server drains before it was ever ready.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let mut phase = self.phase.subscribe();
        match &*phase.wait_for(|p| *p != Phase::Loading).await? {
            Phase::Failed(why) => anyhow::bail!("{why}"),
            Phase::Draining => anyhow::bail!("the server is shutting down"),
            _ => Ok(()),
        }
    }

    /// Resolves with the reason if loading or mending fails, else never.
    pub async fn failed(&self) -> anyhow::Error {
        let mut phase = self.phase.subscribe();
        match phase.wait_for(|p| matches!(p, Phase::Failed(_))).await.as_deref() {
            Ok(Phase::Failed(why)) => anyhow::anyhow!("{why}"),
            _ => std::future::pending().await,
        }
    }

    /// Resolves when the server begins to leave.
    pub async fn draining(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives as long as `self`: there is no error to tell.
        let _ = phase.wait_for(|p| *p == Phase::Draining).await;
    }

    /// Refuses new work from now on and resolves when the accepted work is done.
    pub async fn drain(&self) {
        self.phase.send_replace(Phase::Draining);
        drop(self.work.write().await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_drain_waits_for_accepted_work_and_refuses_new() {
        let life = Arc::new(Lifecycle::default());
        assert_eq!(life.enter().unwrap_err().kind, ErrorKind::Loading);
        life.loaded(Ok(()));
        let working = life.enter().unwrap();

        let draining = tokio::spawn({
            let life = Arc::clone(&life);
            async move { life.drain().await }
        });
        while life.phase() != Phase::Draining {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(life.enter().unwrap_err().kind, ErrorKind::Draining);
        assert!(!draining.is_finished());
        drop(working);
        draining.await.unwrap();
    }

    #[tokio::test]
    async fn a_failed_load_is_told_once_and_for_all() {
        let life = Lifecycle::default();
        life.loaded(Err(anyhow::anyhow!("no such folder")));
        assert_eq!(life.failed().await.to_string(), "no such folder");
        assert!(life.ready().await.is_err());
        life.loaded(Ok(()));
        assert!(life.check().is_err());
    }
}
