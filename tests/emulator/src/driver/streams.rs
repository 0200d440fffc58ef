//! Streams and events: nothing ever waits, but what has not been waited for is known (`order`).

use super::{setting, with_heap};
use std::{
    collections::HashMap,
    ffi::{c_int, c_uint},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many of each there were.
pub(super) static STREAMS: AtomicUsize = AtomicUsize::new(0);
pub(super) static EVENTS: AtomicUsize = AtomicUsize::new(0);
pub(super) static BLAS: AtomicUsize = AtomicUsize::new(0);

/// Handles below stand for the default stream, and that of a thread, which is taken for the same.
const MADE: usize = 16;

/// A new handle.
pub(super) fn handle(of: &AtomicUsize) -> usize {
    MADE + 1 + of.fetch_add(1, Ordering::Relaxed)
}

/// The number of a stream: from 1 as they were made, 0 is the default one.
pub(super) fn number(stream: usize) -> usize {
    stream.saturating_sub(MADE)
}

static OF_BLAS: Mutex<Option<HashMap<usize, usize>>> = Mutex::new(None);

fn with_blas<T>(work: impl FnOnce(&mut HashMap<usize, usize>) -> T) -> T {
    work(OF_BLAS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// The number of the stream that a handle of cuBLAS works on.
pub(super) fn of_blas(handle: usize) -> usize {
    with_blas(|streams| streams.get(&handle).copied().unwrap_or(0))
}

#[unsafe(no_mangle)]
extern "C" fn cublasSetStream_v2(handle: usize, stream: usize) -> c_int {
    with_blas(|streams| streams.insert(handle, number(stream)));
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: usize, stream: usize) -> c_int {
    with_heap(|heap| heap.order.record(event, number(stream)));
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: usize, event: usize, _flags: c_uint) -> c_int {
    if number(stream) as c_int != setting("S3ROUTER_EMULATED_DEAF", -1) {
        with_heap(|heap| heap.order.wait(number(stream), event));
    }
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: usize) -> c_int {
    with_heap(|heap| heap.order.forget(event));
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: usize) -> c_int {
    with_heap(|heap| heap.order.host_waits_for_event(event));
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: usize) -> c_int {
    with_heap(|heap| heap.order.host_waits(number(stream)));
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> c_int {
    with_heap(|heap| heap.order.host_waits_for_all());
    0
}
