//! Memory: cache-line-aligned buffers, and a set of them per thread so that the steady state allocates nothing.
#![allow(unsafe_code)]

use std::cell::Cell;

/// A cache line of floats.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Floats that start on a cache line.
#[derive(Default)]
pub struct Aligned {
    memory: Memory,
    len: usize,
}

enum Memory {
    Lines(Vec<Line>),
    /// Large buffers, in pages of 2 MB where the system grants them: tiles are read from many places at
    /// once, and a thousand small pages would not find their addresses in time.
    Pages(memmap2::MmapMut),
}

impl Default for Memory {
    fn default() -> Self {
        Self::Lines(Vec::new())
    }
}

/// Bytes from which a buffer gets pages of its own.
const LARGE: usize = 2 << 20;

impl Aligned {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let memory = match Self::pages(len * size_of::<f32>()) {
            Some(pages) => Memory::Pages(pages),
            None => Memory::Lines(vec![Line([0.0; 16]); len.div_ceil(16)]),
        };
        Self { memory, len }
    }

    fn pages(bytes: usize) -> Option<memmap2::MmapMut> {
        if bytes < LARGE {
            return None;
        }
        let pages = memmap2::MmapMut::map_anon(bytes).ok()?;
        #[cfg(target_os = "linux")]
        // A wish: without it the buffer works as well.
        let _ = pages.advise(memmap2::Advice::HugePage);
        Some(pages)
    }

    /// `len` floats of unspecified content, in the memory at hand if that is enough.
    pub fn at_least(&mut self, len: usize) -> &mut [f32] {
        if self.len < len {
            *self = Self::zeros(len);
        }
        &mut self[..len]
    }

    fn start(&self) -> *const f32 {
        match &self.memory {
            Memory::Lines(lines) => lines.as_ptr().cast(),
            Memory::Pages(pages) => pages.as_ptr().cast(),
        }
    }

    fn start_mut(&mut self) -> *mut f32 {
        match &mut self.memory {
            Memory::Lines(lines) => lines.as_mut_ptr().cast(),
            Memory::Pages(pages) => pages.as_mut_ptr().cast(),
        }
    }

    /// The same memory as 16-bit numbers, two a float.
    pub(super) fn halves(&self) -> &[u16] {
        // SAFETY: any bits are a u16, and alignment falls.
        unsafe { std::slice::from_raw_parts(self.start().cast(), self.len * 2) }
    }

    /// The same, to be written.
    pub(super) fn halves_mut(&mut self) -> &mut [u16] {
        // SAFETY: as above, any bits are a float, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start_mut().cast(), self.len * 2) }
    }
}

impl std::ops::Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: the memory holds at least `len` initialised floats, contiguous, on a cache line.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start_mut(), self.len) }
    }
}

/// What one thread keeps between calls.
#[derive(Default)]
pub(super) struct Scratch {
    /// Left-hand rows in tile order, and one masked weight panel: the matrix product's.
    pub(super) pack: Pack,
    /// Free for the caller of the matrix product (attention: keys, values, scores).
    pub(super) free: [Aligned; 3],
}

/// The matrix product's own buffers.
#[derive(Default)]
pub(super) struct Pack {
    pub(super) rows: Aligned,
    pub(super) panel: Aligned,
}

/// Lends this thread's buffers to `f`; a nested call gets fresh ones.
pub(super) fn with<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    thread_local!(static MINE: Cell<Option<Box<Scratch>>> = const { Cell::new(None) });
    let mut scratch = MINE.take().unwrap_or_default();
    let result = f(&mut scratch);
    MINE.set(Some(scratch));
    result
}

/// A mutable slice whose parts several threads write, each its own.
#[derive(Clone, Copy)]
pub(super) struct Shared(*mut f32);

// SAFETY: only an address; whoever writes through it vouches that no two threads touch the same float.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn new(slice: &mut [f32]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// The address of float `i`.
    pub(super) fn at(self, i: usize) -> *mut f32 {
        self.0.wrapping_add(i)
    }
}
