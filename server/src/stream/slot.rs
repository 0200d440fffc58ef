//! Who may have a stream at all.

use crate::{
    app::App,
    error::{ApiError, Result},
    lifecycle::Working,
    schedule::{Permit, Seat, Tenant},
};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Room for one stream; draining waits for it.
#[derive(Clone, Debug)]
pub struct Slot(Arc<Held>);

#[derive(Debug)]
struct Held {
    _working: Working,
    _permit: OwnedSemaphorePermit,
    app: Arc<App>,
    /// One of those that its key has, as a request would take for as long.
    seat: Arc<Seat>,
}

impl Slot {
    /// Takes up a stream of `tenant`, if there is room for one more, in the house and under its key.
    ///
    /// # Errors
    /// 503 while loading and while draining, 429 when too many are open, or the key has too much in work.
    pub fn take(app: &Arc<App>, tenant: &Arc<Tenant>) -> Result<Self> {
        let working = app.lifecycle.enter()?;
        let seat = app.scheduler.seat(tenant)?;
        let limit = app.config.streams.max_streams;
        let permit =
            Arc::clone(&app.streams).try_acquire_owned().map_err(|_| ApiError::streams_full(limit))?;
        app.metrics.stream_sessions.inc();
        Ok(Self(Arc::new(Held { _working: working, _permit: permit, app: Arc::clone(app), seat })))
    }

    /// Room for one utterance; under the key the stream has its own.
    ///
    /// # Errors
    /// 429 when there is none now.
    pub(super) fn admit(&self) -> Result<Permit> {
        self.0.app.scheduler.admit_seated(&self.0.seat)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.app.metrics.stream_sessions.dec();
    }
}
