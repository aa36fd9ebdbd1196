//! Counters of a port: written by the threads that own its queues, read by anyone.
//!
//! Each queue has a block of its own (two cache lines, so that no line is written by two threads); readers sum them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use parking_lot::Mutex;

use super::PortStats;

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

impl Totals {
    /// By name, with a sentence's worth of words each.
    fn named(&self, direction: &str) -> Vec<(String, u64)> {
        let all = [
            ("full", self.full),
            ("too_long", self.too_long),
            ("down", self.down),
            ("errors", self.errors),
            ("no_memory", self.no_memory),
        ];
        all.iter().map(|(n, v)| (format!("{direction}_{n}"), *v)).collect()
    }
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

    /// As OpenFlow counts: dropped for want of room or of a link, errors for frames that are wrong.
    pub fn stats(&self) -> PortStats {
        let (rx, tx) = (self.rx(), self.tx());
        PortStats {
            rx_packets: rx.packets,
            rx_bytes: rx.bytes,
            rx_dropped: rx.full + rx.down + rx.no_memory,
            rx_errors: rx.errors + rx.too_long,
            tx_packets: tx.packets,
            tx_bytes: tx.bytes,
            tx_dropped: tx.full + tx.down + tx.no_memory,
            tx_errors: tx.errors + tx.too_long,
            ..PortStats::default()
        }
    }

    /// Every reason by name.
    pub fn xstats(&self) -> Vec<(String, u64)> {
        let mut all = self.rx().named("rx");
        all.extend(self.tx().named("tx"));
        all
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
