//! Counters of a port: written by the threads that own its queues, read by anyone.
//!
//! Each queue has a block of its own (two cache lines, so that no line is written by two threads); readers sum them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use parking_lot::Mutex;

/// Counters of one queue. One thread writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct QueueCounters {
    /// Frames passed on.
    pub packets: AtomicU64,
    /// Their bytes, without FCS.
    pub bytes: AtomicU64,
    /// The queue (device's, kernel's or peer's) was full.
    pub full: AtomicU64,
    /// Longer than the interface's MTU allows, or a super-frame that cannot be cut.
    pub too_long: AtomicU64,
    /// The interface was down or gone.
    pub down: AtomicU64,
    /// Broken: cut off on reception, shorter than an Ethernet header, refused by the device.
    pub errors: AtomicU64,
    /// No memory for a copy.
    pub no_memory: AtomicU64,
}

/// Adds to a counter that one thread writes: a plain load and store.
#[inline]
pub fn add(c: &AtomicU64, n: u64) {
    c.store(c.load(Relaxed) + n, Relaxed);
}

impl QueueCounters {
    /// Counts frames passed on.
    #[inline]
    pub fn passed(&self, packets: u64, bytes: u64) {
        add(&self.packets, packets);
        add(&self.bytes, bytes);
    }
}

/// All queues of one port, also those that have ended.
#[derive(Debug, Default)]
pub struct PortCounters {
    rx: Mutex<Vec<Arc<QueueCounters>>>,
    tx: Mutex<Vec<Arc<QueueCounters>>>,
}

/// Sum over queues of one direction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Totals {
    pub packets: u64,
    pub bytes: u64,
    pub full: u64,
    pub too_long: u64,
    pub down: u64,
    pub errors: u64,
    pub no_memory: u64,
}

impl PortCounters {
    /// A block for a new receive queue.
    pub fn new_rx(&self) -> Arc<QueueCounters> {
        let c = Arc::<QueueCounters>::default();
        self.rx.lock().push(Arc::clone(&c));
        c
    }

    /// A block for a new transmit queue.
    pub fn new_tx(&self) -> Arc<QueueCounters> {
        let c = Arc::<QueueCounters>::default();
        self.tx.lock().push(Arc::clone(&c));
        c
    }

    /// Received so far.
    pub fn rx(&self) -> Totals {
        Self::sum(&self.rx.lock())
    }

    /// Sent so far.
    pub fn tx(&self) -> Totals {
        Self::sum(&self.tx.lock())
    }

    fn sum(all: &[Arc<QueueCounters>]) -> Totals {
        all.iter().fold(Totals::default(), |t, c| Totals {
            packets: t.packets + c.packets.load(Relaxed),
            bytes: t.bytes + c.bytes.load(Relaxed),
            full: t.full + c.full.load(Relaxed),
            too_long: t.too_long + c.too_long.load(Relaxed),
            down: t.down + c.down.load(Relaxed),
            errors: t.errors + c.errors.load(Relaxed),
            no_memory: t.no_memory + c.no_memory.load(Relaxed),
        })
    }
}
