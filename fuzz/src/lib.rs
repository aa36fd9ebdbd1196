//! What the fuzz targets share: an allocator that counts and a clock of CPU time, so that "no allocation larger than a small
//! multiple of the input" and "linear time" are asserted and not hoped for.
//!
//! [`linear`] runs a check on the input as it is; and, for one input in [`STRETCH_ONE_IN`], also on the input stretched to 48 KiB by repeating
//! a piece of it. What costs n² costs seconds there, against an allowance of a tenth of a second, whatever the machine.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

fn count(grown: usize, shrunk: usize) {
    let _ = LIVE.try_with(|live| {
        let now = live.get().wrapping_add(grown).wrapping_sub(shrunk);
        live.set(now);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now)));
        let _ = TAKEN.try_with(|taken| taken.set(taken.get().wrapping_add(grown)));
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

/// How many inputs pass until one is also run stretched.
pub const STRETCH_ONE_IN: u64 = 512;
/// How long a stretched input is.
const STRETCHED_LEN: usize = 48 << 10;
/// Bytes that a check may hold at once for any input.
const HELD_ANYWAY: usize = 64 << 10;
/// Bytes that a check may hold at once per byte of input.
pub const HELD: usize = 64;
/// The same for JSON, where an object of a few numbers is a tree of names and values.
pub const HELD_AS_JSON: usize = 512;
/// Bytes that a check may take over its whole life, per byte of input, and for any input: an upper bound of what is copied.
const TAKEN_MAX: (usize, usize) = (16 << 10, 4 << 20);
/// CPU time that a check may take, per byte of input, and for any input; with AddressSanitizer and coverage.
const NS: (u64, u64) = (4_000, 20_000_000);

/// What one run of a check cost.
struct Cost {
    held: usize,
    taken: usize,
    cpu: Duration,
}

/// CPU time of this thread: a busy machine does not count.
fn cpu_now() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a timespec that the call fills in.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    assert_eq!(rc, 0);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

fn cost(run: impl FnOnce()) -> Cost {
    LIVE.with(|l| l.set(0));
    PEAK.with(|p| p.set(0));
    TAKEN.with(|t| t.set(0));
    let start = cpu_now();
    run();
    let cpu = cpu_now() - start;
    // A peak that wrapped is memory freed that was taken before: not ours.
    let held = Some(PEAK.with(Cell::get)).filter(|p| *p <= usize::MAX / 2).unwrap_or(0);
    Cost { held, taken: TAKEN.with(Cell::get), cpu }
}

/// Runs `check` on `input` and asserts its bounds of memory and time. `check` gives the bytes it was in fact asked to handle: its input's,
/// or more where a short input stands for long messages.
fn bounded(input: &[u8], held_max: usize, check: &impl Fn(&[u8]) -> usize) {
    let mut n = input.len();
    let Cost { held, taken, mut cpu } = cost(|| n = check(input));
    assert!(held <= held_max * n + HELD_ANYWAY, "{held} bytes held at once for an input of {n}");
    assert!(taken <= TAKEN_MAX.0 * n + TAKEN_MAX.1, "{taken} bytes taken in all for an input of {n}");
    let allowed = Duration::from_nanos(NS.0 * n as u64 + NS.1);
    // The host may have been away in between: slow is what is slow each time.
    for _ in 0..4 {
        if cpu <= allowed {
            break;
        }
        cpu = cpu.min(cost(|| n = check(input)).cpu);
    }
    assert!(cpu <= allowed, "{cpu:?} for an input of {n} bytes; {allowed:?} is allowed");
    if std::env::var_os("FUZZ_COSTS").is_some() {
        thread_local! { static WORST: Cell<(u64, usize)> = const { Cell::new((0, 0)) }; }
        let per_byte = (cpu.as_nanos() as u64 / (n as u64 + 256), taken / (n + 256));
        WORST.with(|w| {
            let (a, b) = w.get();
            if per_byte.0 > a || per_byte.1 > b {
                w.set((per_byte.0.max(a), per_byte.1.max(b)));
                eprintln!(
                    "input {n}: {cpu:?}, {taken} bytes taken, {held} held; worst so far {:?} a byte",
                    w.get()
                );
            }
        });
    }
}

fn hash(b: &[u8]) -> u64 {
    b.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// `input` with a piece of it repeated until it is 48 KiB long; `h` chooses the piece.
fn stretched(input: &[u8], h: u64) -> Vec<u8> {
    let at = (h >> 20) as usize % input.len();
    let len = 1 + (h >> 40) as usize % (input.len() - at).min(256);
    let piece = &input[at..at + len];
    let mut out = Vec::with_capacity(STRETCHED_LEN + input.len());
    out.extend_from_slice(&input[..at]);
    while out.len() < STRETCHED_LEN {
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(&input[at + len..]);
    out
}

/// Asserts that `check` takes memory and time in proportion to its input, for `input` and now and then for a long one made of it.
/// `check` itself asserts whatever else must hold.
pub fn linear(input: &[u8], check: impl Fn(&[u8])) {
    linear_in(input, HELD, |b| {
        check(b);
        b.len()
    });
}

/// The same for a check that says how many bytes it handled, with another bound of memory per byte.
pub fn linear_in(input: &[u8], held_max: usize, check: impl Fn(&[u8]) -> usize) {
    bounded(input, held_max, &check);
    let h = hash(input).rotate_left(17);
    if !input.is_empty() && h.is_multiple_of(STRETCH_ONE_IN) {
        bounded(&stretched(input, h), held_max, &check);
    }
}

/// The same for text; a piece that cuts a character in two is no text and is left out.
pub fn linear_text(input: &str, check: impl Fn(&str)) {
    linear_in(input.as_bytes(), HELD_AS_JSON, |b| {
        if let Ok(text) = std::str::from_utf8(b) {
            check(text)
        }
        b.len()
    });
}
