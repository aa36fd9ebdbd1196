//! A packet and a batch of packets: who owns the bytes, the room around them, what hardware or the kernel already did.
//!
//! A [`Packet`] is a 48-byte handle to bytes that somebody owns: a pooled heap buffer (Linux ports, packet-outs, copies) or a foreign
//! buffer such as a DPDK mbuf ([`Packet::from_raw`]), which passes from receive to transmit queue without a copy. Dropping
//! the handle gives the buffer back to its owner. Data is contiguous; frames up to 64 KiB (GSO) are one packet.
//!
//! ```text
//! |<- headroom ->|<-------- len -------->|<- tailroom ->|
//!                ^ data
//! ```
//! Heap buffers come in two sizes from a cache of the thread that allocates, and go into the cache of the thread that drops.
//! Their bytes are always initialised.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// Packets in a full batch.
pub const BATCH_SIZE: usize = 32;
/// Headroom of a fresh heap packet: room for any tags that actions push.
pub const HEADROOM: usize = 192;
/// Bytes of the largest frame a heap packet can hold.
pub const MAX_FRAME: usize = 65_536 + 64;

const SMALL: usize = 2048 + HEADROOM;
const LARGE: usize = MAX_FRAME + HEADROOM + 256;
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

/// What a foreign buffer's owner offers.
pub struct PacketOps {
    /// Gives the buffer back. Called once, on any thread.
    pub free: unsafe fn(owner: NonNull<()>),
    /// Name, for `into_raw` users to recognise their own buffers (compare the `PacketOps` address).
    pub name: &'static str,
}

/// The parts of a packet, for drivers that own the buffer type.
pub struct RawPacket {
    /// First byte.
    pub data: NonNull<u8>,
    /// The owner's handle.
    pub owner: NonNull<()>,
    /// Who owns it.
    pub ops: &'static PacketOps,
    /// Bytes of data.
    pub len: u32,
    /// Writable bytes before `data`.
    pub headroom: u16,
    /// Writable bytes after the data.
    pub tailroom: u32,
    /// Offload state.
    pub offload: Offload,
}

/// One packet.
#[repr(C)]
pub struct Packet {
    data: NonNull<u8>,
    owner: NonNull<()>,
    ops: &'static PacketOps,
    len: u32,
    tailroom: u32,
    /// Checksum and segmentation state.
    pub offload: Offload,
    headroom: u16,
    queue: u8,
}

const _: () = assert!(std::mem::size_of::<Packet>() <= 48);

// SAFETY: a packet is the only handle to its buffer, and PacketOps::free may be called on any thread by contract.
unsafe impl Send for Packet {}

impl Drop for Packet {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this handle owns the buffer; `into_raw` forgets the handle, so free runs once.
        unsafe { (self.ops.free)(self.owner) }
    }
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packet({}, {} bytes, {:?})", self.ops.name, self.len, self.offload)
    }
}

static HEAP_SMALL: PacketOps = PacketOps { free: free_small, name: "heap" };
static HEAP_LARGE: PacketOps = PacketOps { free: free_large, name: "heap-large" };

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
    std::alloc::Layout::from_size_align(size, 64).expect("constant sizes")
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
        // SAFETY: HEADROOM is less than the buffer's size.
        let data = unsafe { base.cast::<u8>().add(HEADROOM) };
        Self {
            data,
            owner: base,
            ops: if small { &HEAP_SMALL } else { &HEAP_LARGE },
            len: 0,
            tailroom: (size - HEADROOM) as u32,
            offload: Offload::default(),
            headroom: HEADROOM as u16,
            queue: 0,
        }
    }

    /// A heap packet with these bytes (cut at [`MAX_FRAME`]).
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(MAX_FRAME)];
        let mut p = Self::alloc(bytes.len());
        p.set_len(bytes.len());
        p.data_mut().copy_from_slice(bytes);
        p
    }

    /// A packet around a foreign buffer.
    ///
    /// # Safety
    /// - `raw.data - headroom .. raw.data + len + tailroom` is initialised memory that only this packet uses till `ops.free(owner)`.
    /// - `ops.free` may be called on any thread.
    #[inline]
    pub unsafe fn from_raw(raw: RawPacket) -> Self {
        Self {
            data: raw.data,
            owner: raw.owner,
            ops: raw.ops,
            len: raw.len,
            tailroom: raw.tailroom,
            offload: raw.offload,
            headroom: raw.headroom,
            queue: 0,
        }
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

    /// Whose buffer it is.
    #[inline]
    pub fn ops(&self) -> &'static PacketOps {
        self.ops
    }

    /// The owner's handle of the buffer.
    #[inline]
    pub fn owner(&self) -> NonNull<()> {
        self.owner
    }

    /// Takes the packet apart; the caller now owns the buffer.
    #[inline]
    pub fn into_raw(self) -> RawPacket {
        let p = std::mem::ManuallyDrop::new(self);
        RawPacket {
            data: p.data,
            owner: p.owner,
            ops: p.ops,
            len: p.len,
            headroom: p.headroom,
            tailroom: p.tailroom,
            offload: p.offload,
        }
    }

    /// Bytes of data.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Writable bytes before the data.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.headroom as usize
    }

    /// Writable bytes after the data.
    #[inline]
    pub fn tailroom(&self) -> usize {
        self.tailroom as usize
    }

    /// The frame.
    #[inline]
    pub fn data(&self) -> &[u8] {
        // SAFETY: data..data+len is initialised and owned by this handle (type invariant).
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len as usize) }
    }

    /// The frame, to write.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`, and `&mut self` makes it exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len as usize) }
    }

    /// Pointer to the first byte, for prefetches and wide loads within [`Packet::readable`].
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.data.as_ptr()
    }

    /// Bytes that may be read from [`Packet::as_ptr`] on: the data and the tailroom.
    #[inline]
    pub fn readable(&self) -> usize {
        self.len as usize + self.tailroom as usize
    }

    /// All room from the first byte on, data and tailroom: receive into it, then [`Packet::set_len`].
    #[inline]
    pub fn room_mut(&mut self) -> &mut [u8] {
        // SAFETY: data and tailroom are initialised, exclusively ours.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.readable()) }
    }

    /// Changes the length within the room.
    ///
    /// # Panics
    /// If `len` exceeds data and tailroom.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        let room = self.readable();
        assert!(len <= room, "set_len({len}) in a room of {room}");
        self.tailroom = (room - len) as u32;
        self.len = len as u32;
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
    pub fn push_front(&mut self, n: usize) -> bool {
        if n > self.headroom() && !self.regrow(n) {
            return false;
        }
        // SAFETY: n <= headroom bytes before data belong to this packet.
        self.data = unsafe { self.data.sub(n) };
        self.headroom -= n as u16;
        self.len += n as u32;
        if self.offload.needs_csum() {
            self.offload.csum_start += n as u16;
        }
        if self.offload.gso_type != GsoType::None {
            self.offload.hdr_len += n as u16;
        }
        true
    }

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
    pub fn pull_front(&mut self, n: usize) {
        assert!(n <= self.len(), "pull_front({n}) of {} bytes", self.len());
        // SAFETY: n <= len, so the pointer stays in the buffer.
        self.data = unsafe { self.data.add(n) };
        self.headroom = self.headroom.saturating_add(n as u16);
        self.len -= n as u32;
        self.offload.csum_start = self.offload.csum_start.saturating_sub(n as u16);
        if self.offload.csum_start == 0 {
            self.offload.csum_offset = 0;
        }
        self.offload.hdr_len = self.offload.hdr_len.saturating_sub(n as u16);
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
        Self { slots: [const { MaybeUninit::uninit() }; BATCH_SIZE], len: 0 }
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

    /// Drops the first `n` packets' handles without freeing their buffers: a driver has taken them (by [`Packet::owner`]).
    /// The rest moves to the front.
    ///
    /// # Safety
    /// - The caller owns the buffers of the first `n` packets from now on.
    #[inline]
    pub unsafe fn forget_front(&mut self, n: usize) {
        let n = n.min(self.len);
        let rest = self.len - n;
        // SAFETY: both ranges lie within the initialised slots; copy allows overlap.
        unsafe { std::ptr::copy(self.slots.as_ptr().add(n), self.slots.as_mut_ptr(), rest) };
        self.len = rest;
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
        unsafe fn free(_: NonNull<()>) {
            FREED.fetch_add(1, Ordering::Relaxed);
        }
        static OPS: PacketOps = PacketOps { free, name: "test" };
        let mut bytes = [0u8; 64];
        let mut b = Batch::new();
        for _ in 0..3 {
            let raw = RawPacket {
                data: NonNull::new(bytes.as_mut_ptr()).unwrap(),
                owner: NonNull::dangling(),
                ops: &OPS,
                len: 64,
                headroom: 0,
                tailroom: 0,
                offload: Offload::default(),
            };
            // SAFETY: the array outlives the packets, which do not touch the bytes.
            b.push(unsafe { Packet::from_raw(raw) });
        }
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
}
