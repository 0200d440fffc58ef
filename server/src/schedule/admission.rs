//! Who may have work in here at all: decided before any work is done, and counted until it is over.

use super::tenant::Tenant;
use crate::{
    config::Batching,
    error::{ApiError, Pressure, Result},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for requests and for their audio.
#[derive(Debug)]
pub(super) struct Admission {
    slots: Arc<Semaphore>,
    limit: u32,
    audio: Arc<AtomicU64>,
    audio_limit: Duration,
    pace: Pace,
}

/// A place under a key, in use until this is dropped.
#[derive(Debug)]
pub struct Seat {
    _own: Option<OwnedSemaphorePermit>,
    tenant: Arc<Tenant>,
}

/// Room for one request, in the house and under its key. The channels of one file share it; the last one to
/// finish gives it back.
#[derive(Clone, Debug)]
pub struct Permit(Arc<Held>);

#[derive(Debug)]
struct Held {
    _slot: OwnedSemaphorePermit,
    seat: Arc<Seat>,
}

impl Permit {
    /// Who asks.
    pub fn tenant(&self) -> &Tenant {
        &self.0.seat.tenant
    }
}

/// Audio in work, counted until this is dropped.
#[derive(Debug)]
pub struct Audio {
    counted: Arc<AtomicU64>,
    length: Duration,
}

impl Drop for Audio {
    fn drop(&mut self) {
        self.counted.fetch_sub(millis(self.length), Ordering::Relaxed);
    }
}

impl Admission {
    pub(super) fn new(batching: &Batching) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(batching.queue as usize)),
            limit: batching.queue,
            audio: Arc::default(),
            audio_limit: batching.queue_seconds.duration(),
            pace: Pace::default(),
        }
    }

    /// Room for one more request of `tenant`.
    pub(super) fn admit(&self, tenant: &Arc<Tenant>) -> Result<Permit> {
        self.check_room()?;
        self.admit_seated(&self.seat(tenant)?)
    }

    /// A place under the key of `tenant`.
    pub(super) fn seat(&self, tenant: &Arc<Tenant>) -> Result<Arc<Seat>> {
        let own = match &tenant.slots {
            None => None,
            Some((limit, slots)) => {
                Some(Arc::clone(slots).try_acquire_owned().map_err(|_| self.tenant_full(*limit))?)
            }
        };
        Ok(Arc::new(Seat { _own: own, tenant: Arc::clone(tenant) }))
    }

    /// Room for one more request of who has a seat already.
    pub(super) fn admit_seated(&self, seat: &Arc<Seat>) -> Result<Permit> {
        self.check_room()?;
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| self.full())?;
        Ok(Permit(Arc::new(Held { _slot: slot, seat: Arc::clone(seat) })))
    }

    /// Whether there is room for one more request, whoever asks.
    pub(super) fn check_room(&self) -> Result<()> {
        if self.slots.available_permits() == 0 {
            return Err(self.full());
        }
        if self.audio.load(Ordering::Relaxed) >= millis(self.audio_limit) {
            return Err(self.too_much_audio());
        }
        Ok(())
    }

    /// Room for audio whose length is known now. Alone, any length that may be decoded has room.
    pub(super) fn take_audio(&self, length: Duration) -> Result<Audio> {
        let before = self.audio.fetch_add(millis(length), Ordering::Relaxed);
        let taken = Audio { counted: Arc::clone(&self.audio), length };
        if before > 0 && before + millis(length) > millis(self.audio_limit) {
            drop(taken);
            return Err(self.too_much_audio());
        }
        Ok(taken)
    }

    /// A batch of so much audio took so long.
    pub(super) fn record(&self, audio: Duration, spent: Duration) {
        self.pace.record(audio, spent);
    }

    fn full(&self) -> ApiError {
        let in_use = u64::from(self.limit).saturating_sub(self.slots.available_permits() as u64);
        self.refuse("requests", "--queue", self.limit.into(), in_use)
    }

    fn tenant_full(&self, limit: u32) -> ApiError {
        self.refuse(
            "requests of this key",
            "its `concurrent` in the file of keys",
            limit.into(),
            limit.into(),
        )
    }

    fn too_much_audio(&self) -> ApiError {
        let in_use = self.audio.load(Ordering::Relaxed) / 1000;
        self.refuse("seconds of audio", "--queue-seconds", self.audio_limit.as_secs(), in_use)
    }

    fn refuse(&self, what: &'static str, cure: &'static str, limit: u64, in_use: u64) -> ApiError {
        let waiting = Duration::from_millis(self.audio.load(Ordering::Relaxed));
        let retry_after = self.pace.time_for(waiting).as_secs().clamp(1, 60);
        ApiError::queue_full(Pressure { what, cure, limit, in_use, retry_after })
    }
}

/// Engine time per audio time lately: a moving average, so that `Retry-After` means something.
#[derive(Debug, Default)]
struct Pace(AtomicU64);

impl Pace {
    fn record(&self, audio: Duration, spent: Duration) {
        let audio = u64::try_from(audio.as_millis()).unwrap_or(u64::MAX).max(1);
        let now = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX) / audio;
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(if before == 0 { now } else { before - before / 8 + now / 8 }, Ordering::Relaxed);
    }

    fn time_for(&self, audio: Duration) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed).saturating_mul(millis(audio)))
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Seconds;

    fn admission(queue: u32, seconds: f64) -> Admission {
        let batching = Batching { queue, queue_seconds: Seconds::new(seconds), ..Batching::default() };
        Admission::new(&batching)
    }

    #[test]
    fn audio_is_counted_until_it_is_dropped_and_a_lone_giant_has_room() {
        let house = admission(8, 10.0);
        let giant = house.take_audio(Duration::from_secs(60)).unwrap();
        let refused = house.take_audio(Duration::from_secs(1)).unwrap_err().pressure.unwrap();
        assert_eq!((refused.limit, refused.in_use), (10, 60), "the refused second is not counted");
        assert!(house.admit(&Tenant::anybody()).is_err(), "no work is begun that could not be queued");
        drop(giant);
        let _nine = house.take_audio(Duration::from_secs(9)).unwrap();
        assert!(house.take_audio(Duration::from_secs(2)).is_err());
        assert!(house.take_audio(Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn a_key_has_its_own_room_within_the_houses() {
        let house = admission(8, 10.0);
        let narrow = Arc::new(Tenant::named(1, "narrow").concurrent(1));
        let held = house.admit(&narrow).unwrap();
        let refused = house.admit(&narrow).unwrap_err();
        assert!(refused.message.contains("of this key"), "{}", refused.message);
        assert!(house.admit(&Tenant::anybody()).is_ok());
        drop(held);
        assert!(house.admit(&narrow).is_ok());
    }

    #[test]
    fn a_wait_is_told_from_the_pace_of_late() {
        let house = admission(1, 1000.0);
        house.record(Duration::from_secs(1), Duration::from_secs(2));
        let _audio = house.take_audio(Duration::from_secs(5)).unwrap();
        let _permit = house.admit(&Tenant::anybody()).unwrap();
        assert_eq!(house.admit(&Tenant::anybody()).unwrap_err().pressure.unwrap().retry_after, 10);
    }
}
