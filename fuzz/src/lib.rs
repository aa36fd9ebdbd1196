//! What the fuzz targets share: an allocator that counts, so that "no allocation larger than a small multiple of the
//! input" is asserted and not hoped for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn count(grown: usize, shrunk: usize) {
    let _ = LIVE.try_with(|live| {
        let now = live.get().wrapping_add(grown).wrapping_sub(shrunk);
        live.set(now);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now)));
    });
}

// SAFETY: every call is passed on to the system allocator unchanged; counting touches only thread-local cells.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps `GlobalAlloc`'s contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(p, layout) }
    }
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(p, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Runs `f` and asserts that it never held more than 64 times the input and 64 KiB.
pub fn bounded(input: &[u8], f: impl FnOnce()) {
    LIVE.with(|l| l.set(0));
    PEAK.with(|p| p.set(0));
    f();
    // A peak that wrapped is memory freed that was taken before: not ours.
    let peak = PEAK.with(Cell::get);
    let limit = 64 * input.len() + (64 << 10);
    assert!(peak <= limit || peak > usize::MAX / 2, "{peak} bytes held for an input of {}", input.len());
}
