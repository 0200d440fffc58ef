//! Device memory's functions: allocations, copies, fills.

use super::{INVALID_VALUE, answer, put, streams::number, with_heap};
use crate::memory::Heap;
use std::ffi::c_int;

/// # Safety
/// `to` is null or valid for a write, as the driver's own functions ask.
unsafe fn allocate(to: *mut u64, bytes: usize, heap: &mut Heap) -> c_int {
    if bytes == 0 {
        return INVALID_VALUE; // as the real one
    }
    // SAFETY: the caller's.
    unsafe { put(to, heap.allocate(bytes)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(to: *mut u64, bytes: usize) -> c_int {
    // SAFETY: the driver's own contract.
    with_heap(|heap| unsafe { allocate(to, bytes, heap) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(to: *mut u64, bytes: usize, stream: usize) -> c_int {
    with_heap(|heap| {
        heap.order.begin(number(stream));
        // SAFETY: the driver's own contract.
        match unsafe { allocate(to, bytes, heap) } {
            // To have it is to have written it: whoever else uses it must have waited for this stream.
            // SAFETY: `allocate` has just written there.
            0 => answer(heap.touch(unsafe { to.read() }, 0, true).map(drop), INVALID_VALUE),
            code => code,
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> c_int {
    answer(
        with_heap(|heap| {
            heap.order.host_waits_for_all();
            heap.free(address)
        }),
        INVALID_VALUE,
    )
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(address: u64, stream: usize) -> c_int {
    let free = |heap: &mut Heap| {
        heap.order.begin(number(stream));
        heap.touch(address, 0, true)?;
        heap.free(address)
    };
    answer(with_heap(free), INVALID_VALUE)
}

/// An operation on a stream, which writes `bytes` at `to`.
fn written(to: u64, bytes: usize, stream: usize, fill: impl FnOnce(&mut [u8])) -> c_int {
    let work = |heap: &mut Heap| {
        heap.order.begin(number(stream));
        heap.touch(to, bytes, true).map(fill)
    };
    if bytes == 0 { 0 } else { answer(with_heap(work), INVALID_VALUE) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const u8, bytes: usize, stream: usize) -> c_int {
    // SAFETY: `from` holds `bytes` bytes, says the driver's contract.
    written(to, bytes, stream, |to| to.copy_from_slice(unsafe { std::slice::from_raw_parts(from, bytes) }))
}

/// To memory that is not pinned, as candle's: the host goes on when it has arrived.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut u8, from: u64, bytes: usize, stream: usize) -> c_int {
    if bytes == 0 {
        return 0;
    }
    // SAFETY: `to` has room for `bytes` bytes, says the driver's contract.
    let to = unsafe { std::slice::from_raw_parts_mut(to, bytes) };
    let copy = |heap: &mut Heap| {
        heap.order.begin(number(stream));
        to.copy_from_slice(heap.touch(from, bytes, false)?);
        heap.order.host_waits(number(stream));
        Ok(())
    };
    answer(with_heap(copy), INVALID_VALUE)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: usize) -> c_int {
    let copy = |heap: &mut Heap| {
        heap.order.begin(number(stream));
        let from = heap.touch(from, bytes, false)?.to_vec();
        heap.touch(to, bytes, true)?.copy_from_slice(&from);
        Ok(())
    };
    if bytes == 0 { 0 } else { answer(with_heap(copy), INVALID_VALUE) }
}

// All devices share the one memory.
#[unsafe(no_mangle)]
extern "C" fn cuMemcpyPeerAsync(
    to: u64,
    _there: usize,
    from: u64,
    _here: usize,
    bytes: usize,
    stream: usize,
) -> c_int {
    cuMemcpyDtoDAsync_v2(to, from, bytes, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(to: u64, value: u8, bytes: usize, stream: usize) -> c_int {
    written(to, bytes, stream, |to| to.fill(value))
}
