//! Who asks: the unit of fairness, and of limits.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock};
use std::{
    num::NonZeroU32,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::sync::Semaphore;

/// One API key as the scheduler sees it, or everybody who needs none.
#[derive(Debug)]
pub struct Tenant {
    /// Tells tenants apart; 0 is everybody without a key.
    pub id: u64,
    /// For log lines; never the key.
    pub name: String,
    /// Its part of a busy engine, against others'.
    pub weight: u32,
    pub(super) slots: Option<(u32, Arc<Semaphore>)>,
    rate: Option<(u32, DefaultDirectRateLimiter)>,
}

impl Tenant {
    /// Without limits of its own.
    pub fn named(id: u64, name: &str) -> Self {
        Self { id, name: name.into(), weight: 1, slots: None, rate: None }
    }

    /// Everybody without a key.
    pub fn anybody() -> Arc<Self> {
        static ANYBODY: LazyLock<Arc<Tenant>> = LazyLock::new(|| Arc::new(Tenant::named(0, "anybody")));
        Arc::clone(&ANYBODY)
    }

    /// At most so many requests in work at once.
    #[must_use]
    pub fn concurrent(self, requests: u32) -> Self {
        Self { slots: Some((requests, Arc::new(Semaphore::new(requests as usize)))), ..self }
    }

    /// At most so many requests a minute; as many may come at once.
    #[must_use]
    pub fn per_minute(self, requests: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN));
        Self { rate: Some((requests, RateLimiter::direct(quota))), ..self }
    }

    /// Counts a request; if it comes too soon, the limit a minute and when to come back.
    pub(crate) fn too_fast(&self) -> Option<(u32, Duration)> {
        let (limit, limiter) = self.rate.as_ref()?;
        let early = limiter.check().err()?;
        Some((*limit, early.wait_time_from(limiter.clock().now())))
    }
}
