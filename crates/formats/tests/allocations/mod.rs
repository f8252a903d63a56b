//! The largest allocation of a call, and how much of them lives at once.
#![allow(dead_code, reason = "some tests use the one, some the other")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Watched;

static MOST: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn note(more: usize, less: usize) {
    MOST.fetch_max(more, Ordering::Relaxed);
    let live = LIVE.fetch_add(more, Ordering::Relaxed).wrapping_add(more);
    PEAK.fetch_max(live, Ordering::Relaxed);
    LIVE.fetch_sub(less, Ordering::Relaxed);
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature")]
// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What a call returns, and the bytes of the largest allocation that it made, in any thread.
pub(crate) fn most<T>(call: impl FnOnce() -> T) -> (usize, T) {
    MOST.store(0, Ordering::Relaxed);
    let value = call();
    (MOST.load(Ordering::Relaxed), value)
}

/// What a call returns, and by how many bytes more than before lived at once, in all threads.
pub(crate) fn peak<T>(call: impl FnOnce() -> T) -> (usize, T) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let value = call();
    (PEAK.load(Ordering::Relaxed).saturating_sub(before), value)
}
