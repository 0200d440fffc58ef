//! An allocator that counts what any thread takes while it is told to.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    backtrace::Backtrace,
    cell::Cell,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

/// The system's allocator, counted.
pub(crate) struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
/// Where the last one came from, while [`TELLS`].
static PLACE: Mutex<Option<Backtrace>> = Mutex::new(None);
static TELLS: AtomicBool = AtomicBool::new(false);

/// What was taken from the heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) calls: usize,
    pub(crate) bytes: usize,
}

fn count(bytes: usize) {
    thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });
    if !COUNTS.load(SeqCst) || INSIDE.get() {
        return;
    }
    CALLS.fetch_add(1, SeqCst);
    BYTES.fetch_add(bytes, SeqCst);
    if TELLS.load(SeqCst) {
        INSIDE.set(true);
        *PLACE.lock().unwrap() = Some(Backtrace::force_capture());
        INSIDE.set(false);
    }
}

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(at, layout) }
    }
}

/// What all threads take while `f` runs.
pub(crate) fn during<R>(f: impl FnOnce() -> R) -> (Taken, R) {
    CALLS.store(0, SeqCst);
    BYTES.store(0, SeqCst);
    COUNTS.store(true, SeqCst);
    let result = f();
    COUNTS.store(false, SeqCst);
    (Taken { calls: CALLS.load(SeqCst), bytes: BYTES.load(SeqCst) }, result)
}

/// Equal rounds must come to take exactly `expected`, three times in a row: which thread meets which task is chance, so
/// how soon each has its buffers is chance too, but what a round always takes it takes in every round.
pub(crate) fn settles(what: &str, expected: Taken, round: impl FnMut()) {
    if let Err(last) = settled(expected, round) {
        let place = PLACE.lock().unwrap().take();
        panic!("{what}: a round goes on taking {last:?}, not {expected:?}; the last at\n{place:?}");
    }
}

/// Or what the last of a hundred took.
pub(crate) fn settled(expected: Taken, mut round: impl FnMut()) -> Result<(), Taken> {
    const ROUNDS: usize = 100;
    let (mut in_a_row, mut last) = (0, Taken::default());
    for i in 0..ROUNDS {
        TELLS.store(i + 1 == ROUNDS, SeqCst);
        last = during(&mut round).0;
        in_a_row = if last == expected { in_a_row + 1 } else { 0 };
        if in_a_row == 3 {
            return Ok(());
        }
    }
    TELLS.store(false, SeqCst);
    Err(last)
}
