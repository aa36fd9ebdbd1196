//! The few raw system calls of the workers: eventfd, epoll, pinning, time stamp counter. Drivers have `port/sys.rs`.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

fn check(r: libc::c_int) -> io::Result<libc::c_int> {
    if r < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(r)
    }
}

/// A non-blocking event counter.
///
/// # Errors
/// What the kernel says.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is a new descriptor that nobody else owns.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC))?)) }
}

/// Makes the descriptor readable.
pub fn eventfd_write(fd: &OwnedFd) {
    let one = 1u64;
    // SAFETY: writes 8 bytes from a live u64. An overflow (EAGAIN) still leaves it readable.
    let _ = unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), 8) };
}

/// Makes the descriptor unreadable until the next write.
pub fn eventfd_drain(fd: &OwnedFd) {
    let mut v = 0u64;
    // SAFETY: reads 8 bytes into a live u64.
    let _ = unsafe { libc::read(fd.as_raw_fd(), (&raw mut v).cast(), 8) };
}

/// An epoll set.
pub struct Epoll(OwnedFd);

impl Epoll {
    /// An empty set.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; a new descriptor.
        unsafe { Ok(Self(OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?))) }
    }
    /// Watches `fd` for input under `data`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn add(&self, fd: RawFd, data: u64) -> io::Result<()> {
        let mut ev = libc::epoll_event { events: libc::EPOLLIN as u32, u64: data };
        // SAFETY: `ev` lives during the call.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut ev) }).map(drop)
    }
    /// Watches `fd` no more.
    pub fn del(&self, fd: RawFd) {
        // SAFETY: EPOLL_CTL_DEL ignores the event pointer.
        let _ = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
    }
    /// Waits up to `timeout_ms` (-1: for ever); calls `f(data)` for each ready descriptor.
    pub fn wait(&self, timeout_ms: i32, mut f: impl FnMut(u64)) {
        let mut evs = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: `evs` has room for 64 events.
        let n = unsafe { libc::epoll_wait(self.0.as_raw_fd(), evs.as_mut_ptr(), 64, timeout_ms) };
        for ev in evs.iter().take(n.max(0) as usize) {
            f(ev.u64);
        }
    }
}

/// Sleeps until `fd` is readable, at most so long (`None`: for ever); whether it is readable. Precise to some microseconds if
/// [`short_timer_slack`] was called.
pub fn sleep_until_readable(fd: &OwnedFd, at_most: Option<std::time::Duration>) -> bool {
    let mut p = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let t = at_most.map(|d| libc::timespec {
        tv_sec: d.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(d.subsec_nanos() as i32),
    });
    let t = t.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: one live pollfd; the timeout is null or live; no signal mask.
    unsafe { libc::ppoll(&raw mut p, 1, t, std::ptr::null()) > 0 }
}

/// Timers of the calling thread fire within a microsecond or so, instead of 50.
pub fn short_timer_slack() {
    // SAFETY: no memory is passed; a refusal leaves the slack as it was.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1000 as libc::c_ulong, 0, 0, 0) };
}

/// A set of cores that threads may run on.
#[derive(Clone, Copy)]
pub struct Cores(libc::cpu_set_t);

impl Cores {
    /// Those of the calling thread.
    pub fn of_this_thread() -> Self {
        // SAFETY: cpu_set_t is plain data for which zero is valid; the kernel fills in at most its size.
        unsafe {
            let mut s: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, std::mem::size_of_val(&s), &raw mut s);
            Self(s)
        }
    }
    /// Whether this core is one of them.
    pub fn has(&self, core: usize) -> bool {
        // SAFETY: CPU_ISSET reads inside the set for numbers below CPU_SETSIZE.
        core < libc::CPU_SETSIZE as usize && unsafe { libc::CPU_ISSET(core, &self.0) }
    }
    /// In ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..libc::CPU_SETSIZE as usize).filter(|c| self.has(*c))
    }
    /// All but these; all if that leaves none.
    pub fn without(&self, cores: &[usize]) -> Self {
        let mut rest = *self;
        for core in cores.iter().filter(|c| self.has(**c)) {
            // SAFETY: CPU_CLR writes inside the set; `has` has checked the number.
            unsafe { libc::CPU_CLR(*core, &mut rest.0) };
        }
        if rest.iter().next().is_none() {
            return *self;
        }
        rest
    }
    /// Lets a thread (by its number; 0: the calling one) run on these only. What the kernel refuses stays as it was.
    pub fn keep_to(&self, thread: libc::pid_t) {
        // SAFETY: a live set of its own size, only read.
        unsafe { libc::sched_setaffinity(thread, std::mem::size_of_val(&self.0), &raw const self.0) };
    }
}

/// The NUMA node of the core that the calling thread is on.
pub fn numa_node() -> u32 {
    let (mut core, mut node) = (0u32, 0u32);
    // SAFETY: two live, writable integers; the third argument is unused.
    unsafe { libc::syscall(libc::SYS_getcpu, &raw mut core, &raw mut node, std::ptr::null_mut::<u8>()) };
    node
}

/// The calling thread takes memory of this NUMA node from now on, as long as it has some.
pub fn prefer_memory_of(node: u32) {
    let nodes = [1u64.checked_shl(node).unwrap_or(0)];
    if nodes[0] != 0 {
        // SAFETY: a live mask of 64 bits, only read (the kernel's count is one more than the bits it looks at). A refusal leaves all as it was.
        unsafe {
            libc::syscall(libc::SYS_set_mempolicy, libc::MPOL_PREFERRED, nodes.as_ptr(), 65 as libc::c_ulong)
        };
    }
}

/// Cores of the machine, whatever the calling thread may run on.
pub fn cores_online() -> usize {
    // SAFETY: takes and returns plain integers.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1).max(1)
}

/// The calling thread's number, for [`Cores::keep_to`].
pub fn thread_id() -> libc::pid_t {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::gettid() }
}

/// Pins the calling thread to a core.
///
/// # Errors
/// If there is no such core or it is not allowed.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: cpu_set_t is plain bits, for which all-zero is valid; CPU_SET stays within it as checked.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        check(libc::sched_setaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &raw const set)).map(drop)
    }
}

/// Nanoseconds of processor time that this thread has had.
pub fn thread_cpu_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live, writable timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// The time-stamp counter (nanoseconds elsewhere than on x86-64).
#[inline]
pub fn tsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: rdtsc exists on every x86-64.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static T0: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        T0.get_or_init(std::time::Instant::now).elapsed().as_nanos() as u64
    }
}

/// A fixed slice whose memory is asked of the kernel in huge pages if it is large, so that tables of many megabytes cost few TLB misses and
/// zeroed ones cost nothing until touched.
pub struct HugeSlice<T> {
    ptr: std::ptr::NonNull<T>,
    len: usize,
    /// Where the elements are; `None`: on the ordinary heap.
    map: Option<Arc<Mapping>>,
}

/// Pages of ours, which end with the last who holds them.
struct Mapping {
    base: usize,
    len: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody is left who could reach into it: a slice and its parts hold it.
        unsafe { libc::munmap(self.base as *mut libc::c_void, self.len) };
    }
}

/// A range of a slice's memory, which stays mapped as long as this lives: for another thread that takes the memory before the slice's owner needs it.
pub struct Part {
    map: Arc<Mapping>,
    start: usize,
    len: usize,
}

impl Part {
    /// Takes memory for the pages that have none yet. Those that have stay as they are, also if their owner writes to them meanwhile. (Linux 5.14; where the
    /// kernel refuses, the owner takes it when it gets there.)
    pub fn populate(&self) {
        let end = self.start + self.len;
        debug_assert!(self.start >= self.map.base && end <= self.map.base + self.map.len);
        let start = self.start & !(PAGE - 1);
        // SAFETY: a range of a mapping that `map` keeps. Contents do not change by this, so it is no access to the elements and no race with their owner.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_POPULATE_WRITE) };
    }

    /// Whether memory stands behind every page. (The part begins with one.)
    #[cfg(test)]
    pub fn is_there(&self) -> bool {
        let mut pages = vec![0u8; self.len.div_ceil(PAGE)];
        // SAFETY: the part is mapped; there is a byte for each of its pages.
        check(unsafe { libc::mincore(self.start as *mut libc::c_void, self.len, pages.as_mut_ptr()) })
            .unwrap();
        pages.iter().all(|b| b & 1 != 0)
    }
}

// SAFETY: it owns its elements, like a boxed slice.
unsafe impl<T: Send> Send for HugeSlice<T> {}
// SAFETY: shared access gives only shared access to its elements.
unsafe impl<T: Sync> Sync for HugeSlice<T> {}

const HUGE: usize = 2 << 20;
const PAGE: usize = 4096;

impl<T> HugeSlice<T> {
    /// `len` elements made by `f`.
    pub fn new_with(len: usize, mut f: impl FnMut() -> T) -> Self {
        let bytes = len * std::mem::size_of::<T>();
        if bytes >= HUGE / 4 {
            if let Some((map, ptr)) = Self::map(bytes) {
                for i in 0..len {
                    // SAFETY: within the fresh mapping, aligned (2 MiB), and never read before.
                    unsafe { ptr.as_ptr().add(i).write(f()) }
                }
                return Self { ptr, len, map: Some(map) };
            }
        }
        Self::on_heap((0..len).map(|_| f()).collect())
    }

    /// The memory of these elements; `None`: it is on the ordinary heap.
    pub fn part(&self, elements: std::ops::Range<usize>) -> Option<Part> {
        let (map, elements) = (self.map.clone()?, self.get(elements)?);
        Some(Part { map, start: elements.as_ptr() as usize, len: std::mem::size_of_val(elements) })
    }

    fn on_heap(v: Vec<T>) -> Self {
        let b: *mut [T] = Box::into_raw(v.into_boxed_slice());
        // SAFETY: a box's pointer is never null.
        let ptr = unsafe { std::ptr::NonNull::new_unchecked(b.cast::<T>()) };
        Self { ptr, len: b.len(), map: None }
    }

    fn map(bytes: usize) -> Option<(Arc<Mapping>, std::ptr::NonNull<T>)> {
        let map_len = bytes.next_multiple_of(HUGE) + HUGE;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                map_len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return None;
        }
        let map = Arc::new(Mapping { base: base as usize, len: map_len });
        let start = (base as usize).next_multiple_of(HUGE);
        // SAFETY: advice on our own mapping; a refusal changes nothing.
        unsafe { libc::madvise(start as *mut libc::c_void, map_len - HUGE, libc::MADV_HUGEPAGE) };
        std::ptr::NonNull::new(start as *mut T).map(|p| (map, p))
    }
}

/// Types for which zero bytes are a value.
///
/// # Safety
/// - All-zero bytes are a valid value of the type.
pub unsafe trait Zeroed {}

// SAFETY: an integer.
unsafe impl Zeroed for u32 {}

impl<T: Zeroed> HugeSlice<T> {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        let bytes = len * std::mem::size_of::<T>();
        if bytes >= HUGE / 4 {
            if let Some((map, ptr)) = Self::map(bytes) {
                return Self { ptr, len, map: Some(map) };
            }
        }
        // SAFETY: zero bytes are a value of T by the trait's contract.
        Self::on_heap((0..len).map(|_| unsafe { std::mem::zeroed::<T>() }).collect())
    }
}

impl<T> std::ops::Deref for HugeSlice<T> {
    type Target = [T];
    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` initialised elements that this owns.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl<T> std::ops::DerefMut for HugeSlice<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl<T> Drop for HugeSlice<T> {
    fn drop(&mut self) {
        let all: *mut [T] = std::ptr::slice_from_raw_parts_mut(self.ptr.as_ptr(), self.len);
        match self.map {
            // SAFETY: the elements are ours and end here; the mapping, held until after this, does so with its last holder.
            Some(_) => unsafe { std::ptr::drop_in_place(all) },
            // SAFETY: it came out of Box::into_raw with this length.
            None => unsafe { drop(Box::from_raw(all)) },
        }
    }
}

/// Gives memory that is free back to the system, as far as the allocator (mimalloc, where the program has chosen it) holds any.
pub fn give_back_memory() {
    // SAFETY: may be called at any time on any thread; it touches only the allocator's own free memory.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SAFETY: an integer.
    unsafe impl Zeroed for u64 {}

    #[test]
    fn a_huge_slice_owns_its_elements() {
        for n in [3usize, 100_000] {
            let one = Arc::new(());
            let mut s = HugeSlice::new_with(n, || Some(one.clone()));
            assert_eq!((s.len(), Arc::strong_count(&one)), (n, n + 1));
            s[n - 1] = None;
            assert_eq!(Arc::strong_count(&one), n);
            drop(s);
            assert_eq!(Arc::strong_count(&one), 1);
            let mut z = HugeSlice::<u64>::zeroed(n);
            assert!(z.iter().all(|x| *x == 0));
            z[n - 1] = 5;
            assert_eq!(z[n - 1], 5);
        }
    }

    #[test]
    fn a_part_is_populated_without_a_change_and_outlives_its_slice() {
        let mut s = HugeSlice::<u64>::zeroed(8 << 20);
        let (first, far) = (s.part(0..1 << 16).unwrap(), s.part(6 << 20..7 << 20).unwrap());
        s[1] = 5;
        assert!(!far.is_there());
        first.populate();
        far.populate();
        assert!(first.is_there() && far.is_there());
        assert_eq!((s[0], s[1], s[2]), (0, 5, 0));
        drop(s);
        // Still ours, although the slice is gone.
        assert!(far.is_there());
        far.populate();
        assert!(HugeSlice::<u64>::zeroed(3).part(0..3).is_none());
    }
}
