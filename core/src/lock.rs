//! Mutexes that outlive a panic: what they hold here (lists, options, buffers) is never half-written.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The lock, whatever became of those who held it before.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
