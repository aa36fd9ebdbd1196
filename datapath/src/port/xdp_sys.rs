//! AF_XDP and eBPF by raw system calls: packet memory (UMEM), its four rings, sockets, and the program that steers frames to them.
//!
//! One socket serves one receive queue of an interface. Frames live in a [`Umem`]: chunks of 4 KiB, the first half of them for reception and
//! always in the fill or rx ring, the others for sending. Frames are copied out of and into it, which is cheaper than sharing chunks between
//! threads would be: a received chunk goes straight back to the fill ring.
//! ```text
//! fill ring        we -> kernel   chunks to receive into       rx ring           kernel -> we   received frames
//! tx ring          we -> kernel   frames to send               completion ring   kernel -> we   chunks that were sent
//! ```
//! Each ring has one producer and one consumer; ours is the owner of the [`RxRings`] (fill, rx) or [`TxRings`] (tx, completion).

#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use super::xdp_filter::Insn;

/// Bytes of a chunk.
pub const CHUNK: usize = 4096;
/// Room that the kernel leaves before a received frame, besides its own 256 bytes.
const HEADROOM: u32 = 0;
const AF_XDP: i32 = 44;
const SOL_XDP: i32 = 283;
const XDP_MMAP_OFFSETS: i32 = 1;
const XDP_RX_RING: i32 = 2;
const XDP_TX_RING: i32 = 3;
const XDP_UMEM_REG: i32 = 4;
const XDP_UMEM_FILL_RING: i32 = 5;
const XDP_UMEM_COMPLETION_RING: i32 = 6;
const XDP_STATISTICS: i32 = 7;
const XDP_OPTIONS: i32 = 8;
/// Frames that one call sends in copy mode (kernel 6.17; 32 otherwise).
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;
const TX_BUDGET: u32 = 256;
const XDP_COPY: u16 = 1 << 1;
const XDP_ZEROCOPY: u16 = 1 << 2;
const XDP_USE_NEED_WAKEUP: u16 = 1 << 3;
const RING_NEED_WAKEUP: u32 = 1;
const PGOFF_RX: i64 = 0;
const PGOFF_TX: i64 = 0x8000_0000;
const PGOFF_FILL: i64 = 0x1_0000_0000;
const PGOFF_COMPLETION: i64 = 0x1_8000_0000;
const SO_PREFER_BUSY_POLL: i32 = 69;
const SO_BUSY_POLL_BUDGET: i32 = 70;
const BPF_MAP_CREATE: i64 = 0;
const BPF_MAP_UPDATE_ELEM: i64 = 2;
const BPF_PROG_LOAD: i64 = 5;
const BPF_LINK_CREATE: i64 = 28;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
/// Attach in the driver.
pub const XDP_FLAGS_DRV: u32 = 1 << 2;
/// Attach in the generic layer.
pub const XDP_FLAGS_SKB: u32 = 1 << 1;

fn check(r: i64) -> io::Result<i64> {
    if r < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(r)
    }
}

/// A private mapping that ends with the value.
struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory; who may touch what is said by the types that hold it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(len: usize, fd: i32, off: i64, flags: i32) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let p = unsafe {
            libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, off)
        };
        if p == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            at: NonNull::new(p.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?,
            len,
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping; nothing refers to it any more (its users hold an Arc of its owner).
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

/// Packet memory.
pub struct Umem {
    memory: Mapping,
    chunks: u32,
}

impl Umem {
    /// `chunks` chunks.
    pub fn new(chunks: u32) -> io::Result<Arc<Self>> {
        let memory = Mapping::new(
            chunks as usize * CHUNK,
            -1,
            0,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
        )?;
        Ok(Arc::new(Self { memory, chunks }))
    }

    /// First byte of a chunk.
    #[inline]
    fn chunk(&self, chunk: u32) -> NonNull<u8> {
        // SAFETY: the remainder lies below `chunks`, so the address lies inside the mapping.
        unsafe { self.memory.at.add((chunk % self.chunks) as usize * CHUNK) }
    }
}

/// The user's end of a ring with entries of `T` (u64 addresses or [`Desc`]).
struct Ring<T> {
    _map: Mapping,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    mask: u32,
    /// Our own index (producer of fill and tx, consumer of rx and completion).
    mine: u32,
    /// The other side's, as last read.
    theirs: u32,
}

// SAFETY: the ring's memory is shared with the kernel only; the user's end has one owner.
unsafe impl<T> Send for Ring<T> {}

/// A frame in a ring.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Desc {
    /// Offset in the UMEM.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// More buffers follow (not asked for).
    pub options: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RingOffset {
    producer: u64,
    consumer: u64,
    desc: u64,
    flags: u64,
}

impl<T: Copy> Ring<T> {
    fn map(fd: i32, size: u32, off: RingOffset, page: i64) -> io::Result<Self> {
        let map = Mapping::new(
            off.desc as usize + size as usize * size_of::<T>(),
            fd,
            page,
            libc::MAP_SHARED | libc::MAP_POPULATE,
        )?;
        // SAFETY: the kernel says where in its mapping, which is as long as it asked for, each part lies, suitably aligned.
        unsafe {
            Ok(Self {
                producer: map.at.add(off.producer as usize).cast(),
                consumer: map.at.add(off.consumer as usize).cast(),
                flags: map.at.add(off.flags as usize).cast(),
                entries: map.at.add(off.desc as usize).cast(),
                mask: size - 1,
                mine: 0,
                theirs: 0,
                _map: map,
            })
        }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: points into the live mapping.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as above.
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed) & RING_NEED_WAKEUP != 0
    }

    /// As producer: free places.
    fn room(&mut self) -> u32 {
        let size = self.mask + 1;
        if self.mine.wrapping_sub(self.theirs) == size {
            self.theirs = self.consumer().load(Ordering::Acquire);
        }
        size - self.mine.wrapping_sub(self.theirs)
    }

    /// As producer: writes the next entry; [`Ring::room`] was not 0.
    fn put(&mut self, v: T) {
        // SAFETY: the index is masked to the ring's size; the place is free, so the kernel does not read it.
        unsafe { self.entries.add((self.mine & self.mask) as usize).write(v) };
        self.mine = self.mine.wrapping_add(1);
    }

    /// As producer: shows the kernel what was put.
    fn submit(&mut self) {
        self.producer().store(self.mine, Ordering::Release);
    }

    /// As producer: entries that the kernel has not taken.
    fn pending(&mut self) -> u32 {
        self.theirs = self.consumer().load(Ordering::Acquire);
        self.mine.wrapping_sub(self.theirs)
    }

    /// As consumer: entries waiting.
    fn waiting(&mut self) -> u32 {
        if self.theirs == self.mine {
            self.theirs = self.producer().load(Ordering::Acquire);
        }
        self.theirs.wrapping_sub(self.mine)
    }

    /// As consumer: the next entry; [`Ring::waiting`] was not 0.
    fn get(&mut self) -> T {
        // SAFETY: the index is masked; the kernel has published this entry and leaves it alone until released.
        let v = unsafe { self.entries.add((self.mine & self.mask) as usize).read() };
        self.mine = self.mine.wrapping_add(1);
        v
    }

    /// As consumer: gives the places back.
    fn release(&mut self) {
        self.consumer().store(self.mine, Ordering::Release);
    }
}

/// Receiving half of a socket.
pub struct RxRings {
    fd: Arc<OwnedFd>,
    umem: Arc<Umem>,
    fill: Ring<u64>,
    rx: Ring<Desc>,
}

/// Sending half of a socket.
pub struct TxRings {
    fd: Arc<OwnedFd>,
    umem: Arc<Umem>,
    tx: Ring<Desc>,
    completion: Ring<u64>,
    /// Chunks that are neither in the tx nor in the completion ring.
    free: Vec<u32>,
}

/// How a socket is wanted.
#[derive(Debug, Clone, Copy)]
pub struct SocketConfig {
    /// Interface.
    pub ifindex: u32,
    /// Its queue.
    pub queue: u32,
    /// Entries of the rings, a power of two.
    pub ring: u32,
    /// The driver puts frames into the UMEM itself.
    pub zero_copy: bool,
    /// Ask the kernel to poll the device from our calls.
    pub busy_poll: bool,
}

/// Opens a socket with its own packet memory: as many chunks for each direction as the rings have entries.
pub fn open_socket(c: &SocketConfig) -> io::Result<(Arc<OwnedFd>, RxRings, TxRings)> {
    let umem = Umem::new(2 * c.ring)?;
    // SAFETY: no memory is passed; the result is ours.
    let fd = unsafe {
        OwnedFd::from_raw_fd(
            check(i64::from(libc::socket(AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0)))? as i32
        )
    };
    let raw = fd.as_raw_fd();
    let set = |opt: i32, v: &[u32]| -> io::Result<()> {
        // SAFETY: a live slice of that many bytes, only read.
        check(i64::from(unsafe {
            libc::setsockopt(raw, SOL_XDP, opt, v.as_ptr().cast(), size_of_val(v) as u32)
        }))?;
        Ok(())
    };
    // struct xdp_umem_reg: addr:8 len:8 chunk_size:4 headroom:4 flags:4 tx_metadata_len:4
    let (addr, len) = (umem.memory.at.as_ptr() as u64, umem.memory.len as u64);
    set(
        XDP_UMEM_REG,
        &[addr as u32, (addr >> 32) as u32, len as u32, (len >> 32) as u32, CHUNK as u32, HEADROOM, 0, 0],
    )?;
    for opt in [XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING] {
        set(opt, &[c.ring])?;
    }
    let mut off = [RingOffset::default(); 4]; // rx, tx, fill, completion
    let mut len = size_of_val(&off) as u32;
    // SAFETY: a live array of `len` bytes.
    check(i64::from(unsafe {
        libc::getsockopt(raw, SOL_XDP, XDP_MMAP_OFFSETS, off.as_mut_ptr().cast(), &mut len)
    }))?;
    let rx = Ring::map(raw, c.ring, off[0], PGOFF_RX)?;
    let tx = Ring::map(raw, c.ring, off[1], PGOFF_TX)?;
    let fill = Ring::map(raw, c.ring, off[2], PGOFF_FILL)?;
    let completion = Ring::map(raw, c.ring, off[3], PGOFF_COMPLETION)?;
    if c.busy_poll {
        for (opt, v) in [(SO_PREFER_BUSY_POLL, 1i32), (libc::SO_BUSY_POLL, 20), (SO_BUSY_POLL_BUDGET, 64)] {
            // SAFETY: a live int. A kernel without it works, too.
            unsafe { libc::setsockopt(raw, libc::SOL_SOCKET, opt, std::ptr::from_ref(&v).cast(), 4) };
        }
    }
    // An older kernel sends fewer frames a call.
    let _ = set(XDP_MAX_TX_SKB_BUDGET, &[TX_BUDGET]);
    // struct sockaddr_xdp: family:2 flags:2 ifindex:4 queue_id:4 shared_umem_fd:4
    let flags = XDP_USE_NEED_WAKEUP | if c.zero_copy { XDP_ZEROCOPY } else { XDP_COPY };
    let sa = [u32::from(flags) << 16 | AF_XDP as u32, c.ifindex, c.queue, 0];
    // SAFETY: a live sockaddr_xdp of its length.
    check(i64::from(unsafe { libc::bind(raw, sa.as_ptr().cast(), size_of_val(&sa) as u32) }))?;
    let fd = Arc::new(fd);
    let mut r = RxRings { fd: Arc::clone(&fd), umem: Arc::clone(&umem), fill, rx };
    for chunk in 0..c.ring {
        r.fill.put(u64::from(chunk) * CHUNK as u64);
    }
    r.fill.submit();
    r.wake();
    Ok((Arc::clone(&fd), r, TxRings { fd, umem, tx, completion, free: (c.ring..2 * c.ring).collect() }))
}

impl RxRings {
    /// Wakes the driver if it waits for chunks or (busy polling) for us.
    #[inline]
    pub fn wake(&mut self) {
        if self.fill.needs_wakeup() {
            // SAFETY: no memory is passed.
            unsafe {
                libc::recvfrom(
                    self.fd.as_raw_fd(),
                    std::ptr::null_mut(),
                    0,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                )
            };
        }
    }

    /// Shows up to `max` received frames, in order; their chunks go back to the kernel.
    #[inline]
    pub fn receive(&mut self, max: usize, mut each: impl FnMut(&[u8])) -> usize {
        let n = (self.rx.waiting() as usize).min(max).min(self.fill.room() as usize);
        for _ in 0..n {
            let d = self.rx.get();
            let (chunk, offset) = ((d.addr / CHUNK as u64) as u32, (d.addr % CHUNK as u64) as usize);
            let len = (d.len as usize).min(CHUNK - offset);
            // SAFETY: the kernel has written a frame there and given us the chunk; it is initialised (anonymous mapping) and not written until
            // it is in the fill ring again, after `each`.
            each(unsafe { std::slice::from_raw_parts(self.umem.chunk(chunk).as_ptr().add(offset), len) });
            self.fill.put(u64::from(chunk) * CHUNK as u64);
        }
        if n > 0 {
            self.rx.release();
            self.fill.submit();
        }
        n
    }

    /// Frames that the kernel dropped: the rx ring was full, no chunk was left, other reasons.
    pub fn drops(fd: &OwnedFd) -> (u64, u64, u64) {
        let mut s = [0u64; 6]; // rx_dropped, rx_invalid_descs, tx_invalid_descs, rx_ring_full, rx_fill_ring_empty_descs, tx_ring_empty_descs
        let mut len = size_of_val(&s) as u32;
        // SAFETY: a live array of `len` bytes.
        let r = unsafe {
            libc::getsockopt(fd.as_raw_fd(), SOL_XDP, XDP_STATISTICS, s.as_mut_ptr().cast(), &mut len)
        };
        if r == 0 {
            (s[3], s[4], s[0])
        } else {
            (0, 0, 0)
        }
    }

    /// Whether the driver really puts frames into our memory.
    pub fn zero_copy(fd: &OwnedFd) -> bool {
        let (mut v, mut len) = (0u32, 4u32);
        // SAFETY: a live integer.
        let r = unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                SOL_XDP,
                XDP_OPTIONS,
                std::ptr::from_mut(&mut v).cast(),
                &mut len,
            )
        };
        r == 0 && v & 1 != 0
    }
}

impl TxRings {
    /// Copies a frame of at most [`CHUNK`] bytes into the ring. False: no room.
    #[inline]
    pub fn put(&mut self, frame: &[u8]) -> bool {
        if frame.len() > CHUNK || self.tx.room() == 0 {
            return false;
        }
        if self.free.is_empty() {
            self.reap();
        }
        let Some(c) = self.free.pop() else { return false };
        let at = self.umem.chunk(c);
        // SAFETY: a free chunk is ours alone, and the frame fits.
        unsafe { std::ptr::copy_nonoverlapping(frame.as_ptr(), at.as_ptr(), frame.len()) };
        self.tx.put(Desc { addr: u64::from(c) * CHUNK as u64, len: frame.len() as u32, options: 0 });
        true
    }

    /// Takes back the chunks that were sent.
    fn reap(&mut self) {
        let n = self.completion.waiting();
        for _ in 0..n {
            let a = self.completion.get();
            self.free.push((a / CHUNK as u64) as u32);
        }
        if n > 0 {
            self.completion.release();
        }
    }

    /// Lets the kernel send what was put. In copy mode one call sends `TX_BUDGET` frames (32 before kernel 6.17).
    ///
    /// # Errors
    /// The interface is down or gone.
    pub fn kick(&mut self) -> io::Result<()> {
        self.tx.submit();
        let mut before = self.tx.pending();
        while before > 0 && self.tx.needs_wakeup() {
            // SAFETY: no memory is passed.
            let r = check(unsafe {
                libc::sendto(
                    self.fd.as_raw_fd(),
                    std::ptr::null(),
                    0,
                    libc::MSG_DONTWAIT,
                    std::ptr::null(),
                    0,
                )
            } as i64);
            if let Err(e) = r {
                if !matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR))
                {
                    return Err(e);
                }
            }
            self.reap();
            let now = self.tx.pending();
            if now == before {
                break; // the device is full: the rest goes with the next kick
            }
            before = now;
        }
        Ok(())
    }
}

/// `union bpf_attr`, as much of it as is used here.
#[repr(C, align(8))]
struct Attr([u32; 36]);

fn bpf(cmd: i64, a: &mut Attr) -> io::Result<i64> {
    // SAFETY: a live attribute of the given size; pointers in it point to live memory (callers).
    check(unsafe { libc::syscall(libc::SYS_bpf, cmd, std::ptr::from_mut(a), size_of::<Attr>()) })
}

fn bpf_fd(cmd: i64, a: &mut Attr) -> io::Result<OwnedFd> {
    let fd = bpf(cmd, a)?;
    // SAFETY: the commands used here return a descriptor that is ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn put_ptr<T>(a: &mut Attr, word: usize, p: *const T) {
    a.0[word] = p as u64 as u32;
    a.0[word + 1] = (p as u64 >> 32) as u32;
}

/// A map from receive queue to socket.
pub fn socket_map(queues: u32) -> io::Result<OwnedFd> {
    let mut a = Attr([0; 36]);
    a.0[..4].copy_from_slice(&[BPF_MAP_TYPE_XSKMAP, 4, 4, queues]);
    bpf_fd(BPF_MAP_CREATE, &mut a)
}

/// Puts a socket into the map.
pub fn set_socket(map: &OwnedFd, queue: u32, socket: &OwnedFd) -> io::Result<()> {
    let (key, value) = (queue, socket.as_raw_fd() as u32);
    let mut a = Attr([0; 36]);
    a.0[0] = map.as_raw_fd() as u32;
    put_ptr(&mut a, 2, &raw const key);
    put_ptr(&mut a, 4, &raw const value);
    bpf(BPF_MAP_UPDATE_ELEM, &mut a)?;
    Ok(())
}

/// Loads an XDP program.
pub fn load_program(code: &[Insn]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let load = |log: &mut [u8]| {
        let mut a = Attr([0; 36]);
        a.0[0] = BPF_PROG_TYPE_XDP;
        a.0[1] = code.len() as u32;
        put_ptr(&mut a, 2, code.as_ptr());
        put_ptr(&mut a, 4, license.as_ptr());
        if !log.is_empty() {
            a.0[6] = 1;
            a.0[7] = log.len() as u32;
            put_ptr(&mut a, 8, log.as_ptr());
        }
        bpf_fd(BPF_PROG_LOAD, &mut a)
    };
    load(&mut []).or_else(|e| {
        let mut log = vec![0u8; 1 << 16];
        load(&mut log)
            .inspect_err(|_| {
                tracing::debug!("eBPF verifier: {}", String::from_utf8_lossy(&log).trim_end_matches('\0'))
            })
            .map_err(|_| e)
    })
}

/// Attaches a program to an interface until the returned descriptor is closed.
pub fn attach(program: &OwnedFd, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut a = Attr([0; 36]);
    a.0[..4].copy_from_slice(&[program.as_raw_fd() as u32, ifindex, BPF_XDP, flags]);
    bpf_fd(BPF_LINK_CREATE, &mut a)
}

/// An epoll set: readable when any descriptor in it is.
pub fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed; the result is ours.
    Ok(unsafe { OwnedFd::from_raw_fd(check(i64::from(libc::epoll_create1(libc::EPOLL_CLOEXEC)))? as i32) })
}

/// Adds a descriptor for input; it leaves by itself when closed.
pub fn epoll_add(set: &OwnedFd, fd: &OwnedFd) -> io::Result<()> {
    let mut ev = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
    // SAFETY: a live event, only read.
    check(i64::from(unsafe {
        libc::epoll_ctl(set.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut ev)
    }))?;
    Ok(())
}
