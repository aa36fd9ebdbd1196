//! A packet and a batch of packets: who owns the bytes, the room around them, what hardware or the kernel already did.
//!
//! A [`Packet`] is one pointer: to a [`Head`] that describes a buffer. The head of a DPDK packet *is* its mbuf (the first cache line has the
//! same layout, so a received burst is a batch as it stands, and a batch is a burst to send); the head of a packet of Linux ports,
//! packet-outs and copies stands in front of its bytes in a pooled heap buffer. Dropping the handle gives the buffer back to its
//! owner. Data is contiguous; frames up to 64 KiB (GSO) are one packet.
//!
//! ```text
//! buf                       data                    buf + capacity
//! |<- headroom: data_off ->|<------- len ------->|<- tailroom ->|
//! ```
//! Heap buffers come in two sizes from a cache of the thread that allocates, and go into the cache of the thread that drops.
//! Their bytes are always initialised.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Packets in a full batch.
pub const BATCH_SIZE: usize = 32;
/// Headroom of a fresh heap packet: room for any tags that actions push.
pub const HEADROOM: usize = 192;
/// Bytes of the largest frame a heap packet can hold.
pub const MAX_FRAME: usize = 65_536 + 64;

/// Bytes of a heap buffer behind its head.
const SMALL: usize = 2048 + HEADROOM;
const LARGE: usize = MAX_FRAME + HEADROOM + 256;
const HEAD: usize = std::mem::size_of::<Head>();
const CACHED_SMALL: usize = 1024;
const CACHED_LARGE: usize = 64;

/// Segmentation that is still owed (`VIRTIO_NET_HDR_GSO_*` values).
#[allow(missing_docs)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum GsoType {
    #[default]
    None = 0,
    TcpV4 = 1,
    UdpFragment = 3,
    TcpV6 = 4,
    UdpL4 = 5,
}

/// What is known or owed besides the bytes; in the terms of virtio-net.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Offload {
    /// With `csum_offset`: where summing begins, from the frame's start. Both zero: no checksum is owed. The field at
    /// `csum_start + csum_offset` then holds the un-inverted pseudo-header sum; whoever rewrites addresses keeps it so.
    pub csum_start: u16,
    /// Offset of the checksum field from `csum_start`.
    pub csum_offset: u16,
    /// Bytes of headers in front of each segment's payload.
    pub hdr_len: u16,
    /// Payload bytes of a segment.
    pub gso_size: u16,
    /// How to segment.
    pub gso_type: GsoType,
    /// The sender saw good checksums.
    pub csum_valid: bool,
}

impl Offload {
    /// Whether the L4 checksum is still to be completed.
    #[inline]
    pub fn needs_csum(&self) -> bool {
        self.csum_start != 0
    }
}

/// What the owner of a foreign buffer that is no mbuf offers.
#[repr(align(8))]
pub struct PacketOps {
    /// Gives the buffer back. Called once, on any thread.
    pub free: unsafe fn(head: NonNull<Head>),
    /// Name, for people.
    pub name: &'static str,
}

/// What describes a packet's buffer: the first line of an `rte_mbuf`, field by field (`dpdk/mbuf.rs` asserts it), with our own state where DPDK
/// keeps what a driver told about a received packet. Private fields say what DPDK's say.
#[repr(C, align(64))]
pub struct Head {
    buf: *mut u8,
    _iova: u64,
    data_off: u16,
    _refcnt: u16,
    segments: u16,
    _port: u16,
    pub(crate) flags: u64,
    _packet_type: u32,
    /// Bytes of data.
    len: u32,
    /// The same, for DPDK (cut to 16 bits).
    data_len: u16,
    /// Checksum and segmentation state.
    pub offload: Offload,
    queue: u8,
    _spare: u8,
    buf_len: u16,
    /// [`HEAP_SMALL`], [`HEAP_LARGE`], a [`PacketOps`] with the lowest bit set, or an mbuf's pool (even).
    owner: *const (),
}

const _: () = assert!(std::mem::size_of::<Head>() == 64 && std::mem::size_of::<Packet>() == 8);

const HEAP_SMALL: usize = 1;
const HEAP_LARGE: usize = 3;

impl Head {
    /// Where the fields are that `dpdk/mbuf.rs` compares.
    #[cfg(feature = "dpdk")]
    pub(crate) const OFFSETS: [usize; 7] = {
        use std::mem::offset_of;
        [
            offset_of!(Self, buf),
            offset_of!(Self, data_off),
            offset_of!(Self, segments),
            offset_of!(Self, len),
            offset_of!(Self, data_len),
            offset_of!(Self, buf_len),
            offset_of!(Self, owner),
        ]
    };

    /// Describes a buffer of a foreign owner.
    pub fn foreign(buf: NonNull<u8>, buf_len: u16, data_off: u16, len: u16, ops: &'static PacketOps) -> Self {
        let ops: *const PacketOps = ops;
        Self::new(buf.as_ptr(), buf_len, data_off, len, ops.cast::<()>().map_addr(|a| a | 1))
    }

    fn new(buf: *mut u8, buf_len: u16, data_off: u16, len: u16, owner: *const ()) -> Self {
        Self {
            buf,
            _iova: 0,
            data_off,
            _refcnt: 1,
            segments: 1,
            _port: 0,
            flags: 0,
            _packet_type: 0,
            len: u32::from(len),
            data_len: len,
            offload: Offload::default(),
            queue: 0,
            _spare: 0,
            buf_len,
            owner,
        }
    }

    /// A received mbuf becomes a packet's head: what the driver told about it goes, but for the flags to keep. Its bytes, and 0 if it has one segment.
    ///
    /// # Safety
    /// - `head` is an mbuf that the caller owns.
    #[cfg(feature = "dpdk")]
    #[inline(always)]
    pub(crate) unsafe fn adopt(head: NonNull<Head>, csum_mask: u64, csum_good: u64, keep: u64) -> (u32, u16) {
        // SAFETY: a live mbuf, exclusively ours; only integer fields are read before the offload state is written.
        unsafe {
            let h = head.as_ptr();
            let flags = (*h).flags;
            (*h).flags = flags & keep;
            let at: *mut u8 = (&raw mut (*h).offload).cast();
            at.cast::<u64>().write_unaligned(0);
            // gso_type, csum_valid, queue, spare
            let valid = u32::from(flags & csum_mask == csum_good) << 8;
            at.add(8).cast::<u32>().write_unaligned(valid.to_le());
            ((*h).len, (*h).segments ^ 1)
        }
    }
}

/// One packet.
#[repr(transparent)]
pub struct Packet(NonNull<Head>);

// SAFETY: a packet is the only handle to its buffer, and buffers may be freed on any thread (PacketOps' contract, DPDK's, and ours).
unsafe impl Send for Packet {}

impl Deref for Packet {
    type Target = Head;
    #[inline(always)]
    fn deref(&self) -> &Head {
        // SAFETY: the handle owns a live, initialised head (type invariant).
        unsafe { self.0.as_ref() }
    }
}

impl DerefMut for Packet {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Head {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for Packet {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this handle owns the buffer; `into_raw` forgets the handle, so it is freed once, as its owner wants.
        unsafe {
            match self.owner.addr() {
                HEAP_SMALL => free_small(self.0.cast()),
                HEAP_LARGE => free_large(self.0.cast()),
                a if a & 1 == 1 => {
                    let ops: *const PacketOps = self.owner.map_addr(|a| a & !1).cast();
                    ((*ops).free)(self.0);
                }
                _ => {
                    #[cfg(feature = "dpdk")]
                    crate::dpdk::mbuf::free(self.0);
                }
            }
        }
    }
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.owner.addr() {
            HEAP_SMALL => "heap",
            HEAP_LARGE => "heap-large",
            a if a & 1 == 1 => "foreign",
            _ => "mbuf",
        };
        write!(f, "Packet({kind}, {} bytes, {:?})", self.len(), self.offload)
    }
}

#[derive(Default)]
struct Cache {
    small: Vec<NonNull<()>>,
    large: Vec<NonNull<()>>,
}

impl Drop for Cache {
    fn drop(&mut self) {
        for b in self.small.drain(..) {
            // SAFETY: cached buffers of this list were allocated with SMALL and are owned by the cache.
            unsafe { heap_free(b, SMALL) }
        }
        for b in self.large.drain(..) {
            // SAFETY: as above, with LARGE.
            unsafe { heap_free(b, LARGE) }
        }
    }
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

fn layout(size: usize) -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(HEAD + size, 64).expect("constant sizes")
}

fn heap_new(size: usize) -> NonNull<()> {
    // SAFETY: the size is not zero. Zeroed, so that every byte a Packet can reach is initialised.
    let p = unsafe { std::alloc::alloc_zeroed(layout(size)) };
    match NonNull::new(p.cast()) {
        Some(p) => p,
        None => std::alloc::handle_alloc_error(layout(size)),
    }
}

/// # Safety
/// - `b` came from `heap_new(size)` and is not used any more.
unsafe fn heap_free(b: NonNull<()>, size: usize) {
    // SAFETY: by contract allocated with this very layout.
    unsafe { std::alloc::dealloc(b.as_ptr().cast(), layout(size)) }
}

/// # Safety
/// - `b` is a buffer of SMALL bytes that nobody else uses.
unsafe fn free_small(b: NonNull<()>) {
    let kept = CACHE.try_with(|c| match c.try_borrow_mut() {
        Ok(mut c) if c.small.len() < CACHED_SMALL => {
            c.small.push(b);
            true
        }
        _ => false,
    });
    if !matches!(kept, Ok(true)) {
        // SAFETY: by contract ours, of this size.
        unsafe { heap_free(b, SMALL) }
    }
}

/// # Safety
/// - `b` is a buffer of LARGE bytes that nobody else uses.
unsafe fn free_large(b: NonNull<()>) {
    let kept = CACHE.try_with(|c| match c.try_borrow_mut() {
        Ok(mut c) if c.large.len() < CACHED_LARGE => {
            c.large.push(b);
            true
        }
        _ => false,
    });
    if !matches!(kept, Ok(true)) {
        // SAFETY: by contract ours, of this size.
        unsafe { heap_free(b, LARGE) }
    }
}

impl Packet {
    /// An empty heap packet with [`HEADROOM`] and room for `room` bytes at least.
    ///
    /// # Panics
    /// If `room` is above [`MAX_FRAME`].
    pub fn alloc(room: usize) -> Self {
        assert!(room <= MAX_FRAME, "a packet holds at most {MAX_FRAME} bytes");
        let small = room <= SMALL - HEADROOM;
        let size = if small { SMALL } else { LARGE };
        let cached = CACHE
            .try_with(|c| {
                let mut c = c.borrow_mut();
                if small {
                    c.small.pop()
                } else {
                    c.large.pop()
                }
            })
            .ok()
            .flatten();
        let base = cached.unwrap_or_else(|| heap_new(size));
        let owner = std::ptr::without_provenance(if small { HEAP_SMALL } else { HEAP_LARGE });
        // SAFETY: the buffer is HEAD + size bytes, aligned as a head, and ours alone.
        unsafe {
            let bytes = base.cast::<u8>().add(HEAD);
            let head = Head::new(bytes.as_ptr(), size.min(65_535) as u16, HEADROOM as u16, 0, owner);
            base.cast::<Head>().write(head);
        }
        Self(base.cast())
    }

    /// A heap packet with these bytes (cut at [`MAX_FRAME`]).
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(MAX_FRAME)];
        let mut p = Self::alloc(bytes.len());
        p.set_len(bytes.len());
        p.data_mut().copy_from_slice(bytes);
        p
    }

    /// The packet of a buffer that somebody else owns: an adopted mbuf, or one described by [`Head::foreign`].
    ///
    /// # Safety
    /// - `head` is initialised, and only this packet uses it and `buf..buf + buf_len` (initialised memory) till its owner's `free`, which
    ///   may be called on any thread.
    #[inline(always)]
    pub unsafe fn from_raw(head: NonNull<Head>) -> Self {
        Self(head)
    }

    /// The port's queue to send by, 0 the default.
    #[inline]
    pub fn queue(&self) -> u8 {
        self.queue
    }

    /// Chooses the queue (numbers above 255 are the default).
    #[inline]
    pub fn set_queue(&mut self, q: u32) {
        self.queue = u8::try_from(q).unwrap_or(0);
    }

    /// Whether the buffer is an mbuf.
    #[inline(always)]
    pub fn is_mbuf(&self) -> bool {
        self.owner.addr() & 1 == 0
    }

    /// Gives the handle up; the caller now owns the buffer.
    #[inline]
    pub fn into_raw(self) -> NonNull<Head> {
        std::mem::ManuallyDrop::new(self).0
    }

    /// Bytes of data.
    #[inline(always)]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Writable bytes before the data.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.data_off as usize
    }

    /// Writable bytes after the data.
    #[inline]
    pub fn tailroom(&self) -> usize {
        self.readable() - self.len()
    }

    #[inline(always)]
    fn capacity(&self) -> usize {
        if self.owner.addr() == HEAP_LARGE {
            LARGE
        } else {
            usize::from(self.buf_len)
        }
    }

    /// The frame.
    #[inline(always)]
    pub fn data(&self) -> &[u8] {
        // SAFETY: data..data+len is initialised and owned by this handle (type invariant).
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len as usize) }
    }

    /// The frame, to write.
    #[inline(always)]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`, and `&mut self` makes it exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr().cast_mut(), self.len as usize) }
    }

    /// Pointer to the first byte, for prefetches and wide loads within [`Packet::readable`].
    #[inline(always)]
    pub fn as_ptr(&self) -> *const u8 {
        // SAFETY: the data's offset lies in the buffer (type invariant).
        unsafe { self.buf.add(self.data_off as usize) }
    }

    /// Bytes that may be read from [`Packet::as_ptr`] on: the data and the tailroom.
    #[inline(always)]
    pub fn readable(&self) -> usize {
        self.capacity() - self.data_off as usize
    }

    /// Whether 64 bytes may be read (false for some packets of which they may, too).
    #[inline(always)]
    pub fn readable_64(&self) -> bool {
        usize::from(self.buf_len) >= self.data_off as usize + 64
    }

    /// All room from the first byte on, data and tailroom: receive into it, then [`Packet::set_len`].
    #[inline]
    pub fn room_mut(&mut self) -> &mut [u8] {
        // SAFETY: data and tailroom are initialised, exclusively ours.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr().cast_mut(), self.readable()) }
    }

    #[inline(always)]
    fn place(&mut self, data_off: usize, len: usize) {
        self.data_off = data_off as u16;
        self.len = len as u32;
        self.data_len = len as u16;
    }

    /// Changes the length within the room.
    ///
    /// # Panics
    /// If `len` exceeds data and tailroom.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        let room = self.readable();
        assert!(len <= room, "set_len({len}) in a room of {room}");
        self.place(self.data_off as usize, len);
    }

    /// Cuts to at most `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.set_len(len);
        }
    }

    /// Makes room for `n` bytes in front (their content is undefined but initialised), moving to a larger buffer if need be. False, and nothing changed,
    /// if the packet would become too long.
    #[inline]
    pub fn push_front(&mut self, n: usize) -> bool {
        if n > self.headroom() && !self.regrow(n) {
            return false;
        }
        self.place(self.headroom() - n, self.len() + n);
        if self.offload.needs_csum() {
            self.offload.csum_start += n as u16;
        }
        if self.offload.gso_type != GsoType::None {
            self.offload.hdr_len += n as u16;
        }
        true
    }

    #[cold]
    fn regrow(&mut self, n: usize) -> bool {
        if n > HEADROOM || self.len() > MAX_FRAME {
            return false;
        }
        let mut new = Packet::from_bytes(self.data());
        new.offload = self.offload;
        new.queue = self.queue;
        *self = new;
        true
    }

    /// Removes `n` bytes in front.
    ///
    /// # Panics
    /// If the packet is shorter.
    #[inline]
    pub fn pull_front(&mut self, n: usize) {
        assert!(n <= self.len(), "pull_front({n}) of {} bytes", self.len());
        if self.headroom() + n > 65_535 {
            // Farther in than an offset can say: a copy begins anew.
            self.regrow(0);
        }
        self.place(self.headroom() + n, self.len() - n);
        if self.offload.needs_csum() || self.offload.hdr_len != 0 {
            self.offload.csum_start = self.offload.csum_start.saturating_sub(n as u16);
            if self.offload.csum_start == 0 {
                self.offload.csum_offset = 0;
            }
            self.offload.hdr_len = self.offload.hdr_len.saturating_sub(n as u16);
        }
    }

    /// Makes a frame of `LEAST` bytes or more shorter by `shift` bytes in front, or longer (content undefined but initialised). False, and nothing
    /// changed, if it is shorter, if there is no room, or if there is offload state, whose offsets would have to move.
    #[inline(always)]
    pub fn reframe<const LEAST: usize>(&mut self, shift: isize) -> bool {
        let o = &self.offload;
        let offload = o.csum_start | o.csum_offset | o.hdr_len | o.gso_size;
        // Below the first byte is as wrong as beyond what an offset can say.
        let at = self.headroom().wrapping_add_signed(shift);
        if (offload != 0) | (at > 65_535) | (self.len() < LEAST) | (shift > LEAST as isize) {
            return false;
        }
        self.place(at, self.len().wrapping_add_signed(-shift));
        true
    }

    /// A copy in a heap buffer, offload state included.
    pub fn copy(&self) -> Packet {
        self.copy_prefix(self.len())
    }

    /// A copy whose first `len` bytes matter: the whole if a checksum over it is still owed.
    pub fn copy_cut(&self, len: usize) -> Packet {
        if self.offload.needs_csum() {
            self.copy()
        } else {
            self.copy_prefix(len.max(14))
        }
    }

    /// A copy of the first `len` bytes at most.
    pub fn copy_prefix(&self, len: usize) -> Packet {
        let mut p = Packet::from_bytes(&self.data()[..len.min(self.len())]);
        p.offload = self.offload;
        p.queue = self.queue;
        p
    }
}

/// Up to [`BATCH_SIZE`] packets, in order.
pub struct Batch {
    slots: [MaybeUninit<Packet>; BATCH_SIZE],
    len: usize,
    bytes: Option<u64>,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Batch {
    /// An empty batch.
    pub const fn new() -> Self {
        Self { slots: [const { MaybeUninit::uninit() }; BATCH_SIZE], len: 0, bytes: None }
    }

    /// Packets in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// No packet in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// No room left.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len == BATCH_SIZE
    }

    /// Appends.
    ///
    /// # Panics
    /// If full.
    #[inline]
    pub fn push(&mut self, p: Packet) {
        assert!(self.len < BATCH_SIZE, "batch is full");
        self.slots[self.len].write(p);
        self.len += 1;
        self.bytes = None;
    }

    /// Drops all packets.
    #[inline]
    pub fn clear(&mut self) {
        let n = std::mem::replace(&mut self.len, 0);
        for s in &mut self.slots[..n] {
            // SAFETY: the first `len` slots are initialised; len is 0 already, so none is dropped twice.
            unsafe { s.assume_init_drop() }
        }
    }

    /// The packets.
    #[inline]
    pub fn as_slice(&self) -> &[Packet] {
        // SAFETY: the first `len` slots are initialised, and MaybeUninit<T> is laid out as T.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr().cast(), self.len) }
    }

    /// The packets, to write.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Packet] {
        // SAFETY: as in `as_slice`, and exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.slots.as_mut_ptr().cast(), self.len) }
    }

    /// Takes all packets out in order; what the iterator does not yield is dropped.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_> {
        let end = std::mem::replace(&mut self.len, 0);
        Drain { batch: self, at: 0, end }
    }

    /// The slots behind the packets, for a driver to receive into.
    #[inline(always)]
    pub fn spare_mut(&mut self) -> &mut [MaybeUninit<Packet>] {
        &mut self.slots[self.len.min(BATCH_SIZE)..]
    }

    /// Says how many packets there are now, of `bytes` bytes together.
    ///
    /// # Safety
    /// - The first `len` slots are initialised; packets that this cuts off are the caller's.
    #[inline(always)]
    pub unsafe fn set_len(&mut self, len: usize, bytes: Option<u64>) {
        debug_assert!(len <= BATCH_SIZE);
        self.len = len;
        self.bytes = bytes;
    }

    /// Bytes of all frames, which the driver may have counted.
    #[inline(always)]
    pub fn take_bytes(&mut self) -> u64 {
        match self.bytes.take() {
            Some(n) => n,
            None => self.as_slice().iter().map(|p| p.len() as u64).sum(),
        }
    }
}

/// See [`Batch::drain`].
pub struct Drain<'a> {
    batch: &'a mut Batch,
    at: usize,
    end: usize,
}

impl Iterator for Drain<'_> {
    type Item = Packet;
    #[inline]
    fn next(&mut self) -> Option<Packet> {
        if self.at == self.end {
            return None;
        }
        let i = self.at;
        self.at += 1;
        // SAFETY: slots at..end are initialised and each is read once; the batch's len is 0 meanwhile.
        Some(unsafe { self.batch.slots[i].assume_init_read() })
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.at, Some(self.end - self.at))
    }
}

impl ExactSizeIterator for Drain<'_> {}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        for _ in self.by_ref() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_and_pulls_in_front_with_the_checksum_start() {
        let mut p = Packet::from_bytes(b"abcdef");
        p.offload.csum_start = 34;
        p.offload.csum_offset = 16;
        assert!(p.push_front(4));
        p.data_mut()[..4].copy_from_slice(b"0123");
        assert_eq!((p.data(), p.offload.csum_start), (&b"0123abcdef"[..], 38));
        p.pull_front(5);
        assert_eq!((p.data(), p.offload.csum_start), (&b"bcdef"[..], 33));
        assert!(p.push_front(150) && p.push_front(150), "moves to a new buffer when the headroom is used up");
        assert!(p.data().ends_with(b"bcdef") && p.len() == 305);
        assert!(!p.push_front(1000));
    }

    #[test]
    fn a_batch_drops_what_is_not_drained() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static FREED: AtomicUsize = AtomicUsize::new(0);
        unsafe fn free(_: NonNull<Head>) {
            FREED.fetch_add(1, Ordering::Relaxed);
        }
        static OPS: PacketOps = PacketOps { free, name: "test" };
        let mut bytes = [0u8; 64];
        let mut b = Batch::new();
        let buf = NonNull::new(bytes.as_mut_ptr()).unwrap();
        let mut heads: [Head; 3] = std::array::from_fn(|_| Head::foreign(buf, 64, 0, 64, &OPS));
        for h in &mut heads {
            // SAFETY: heads and array outlive the packets, which do not touch the bytes.
            b.push(unsafe { Packet::from_raw(NonNull::from(h)) });
        }
        assert_eq!((b.take_bytes(), b.len(), b.spare_mut().len()), (192, 3, BATCH_SIZE - 3));
        let first = b.drain().next().unwrap();
        assert_eq!(FREED.load(Ordering::Relaxed), 2);
        drop(first);
        assert_eq!(FREED.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_large_frame_is_one_packet() {
        let big = vec![7u8; 65_000];
        let p = Packet::from_bytes(&big);
        assert_eq!(p.copy().data(), &big[..]);
        assert_eq!(p.copy_prefix(10).len(), 10);
    }

    #[test]
    fn pulling_farther_than_an_offset_can_say_keeps_the_bytes() {
        let mut p = Packet::from_bytes(&(0..65_600u32).map(|i| i as u8).collect::<Vec<_>>());
        for _ in 0..3640 {
            p.pull_front(18);
        }
        assert_eq!((p.len(), p.data()[0], p.data()[79]), (80, (3640 * 18) as u8, (65_599 % 256) as u8));
        assert!(p.push_front(18) && p.len() == 98);
    }
}
