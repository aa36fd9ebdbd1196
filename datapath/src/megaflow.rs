//! Counters of megaflows, in a table beside the megaflows' slots: written by the worker with relaxed stores, read by anyone.
//!
//! Slots are used again as soon as a megaflow ends; its last counts are told once ([`Ended`]). A reader names the megaflow it means by its token
//! and gets nothing if the slot has another by now: the worker writes the owner before and after the counters (a sequence lock whose sequence is
//! the token), so counts of two megaflows are never mixed.

use crate::sys::{HugeSlice, Part};
use std::sync::atomic::{fence, AtomicU64, Ordering};

/// Slots of a worker at most.
pub const MAX_SLOTS: usize = 1 << 22;

/// Counters of one megaflow.
#[derive(Debug)]
#[repr(C, align(32))]
pub struct MegaflowStats {
    packets: AtomicU64,
    bytes: AtomicU64,
    used_ms: AtomicU64,
    /// `token << 16 | tcp_flags`; 0: nobody's.
    owner: AtomicU64,
}

// SAFETY: integers.
#[allow(unsafe_code)]
unsafe impl crate::sys::Zeroed for MegaflowStats {}

/// What a megaflow has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets.
    pub packets: u64,
    /// Bytes (frame lengths without FCS).
    pub bytes: u64,
    /// Coarse time of last use, milliseconds of the datapath's clock; 0 never.
    pub used_ms: u64,
    /// OR of the TCP flags seen.
    pub tcp_flags: u16,
}

/// A megaflow that is no more, with its last counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Where it was.
    pub slot: u32,
    /// The handler's name for it.
    pub token: u64,
    /// What it counted in all.
    pub counts: Counts,
    /// The worker put it out by itself (flow limit); else it was removed or replaced.
    pub evicted: bool,
}

impl MegaflowStats {
    /// A new owner: counters start again. Only the worker calls this.
    pub(crate) fn begin(&self, token: u64) {
        self.owner.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        self.packets.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.used_ms.store(0, Ordering::Relaxed);
        self.owner.store(token << 16, Ordering::Release);
    }

    /// No owner any more: the last counts. Only the worker calls this.
    pub(crate) fn finish(&self) -> Counts {
        let counts = self.counts();
        self.owner.store(0, Ordering::Release);
        counts
    }

    /// Adds traffic. Only the worker calls this.
    #[inline(always)]
    pub(crate) fn credit(&self, packets: u64, bytes: u64, now_ms: u64, tcp_flags: u16) {
        let add = |c: &AtomicU64, n: u64| c.store(c.load(Ordering::Relaxed) + n, Ordering::Relaxed);
        add(&self.packets, packets);
        add(&self.bytes, bytes);
        self.used_ms.store(now_ms, Ordering::Relaxed);
        if tcp_flags != 0 {
            self.owner.store(self.owner.load(Ordering::Relaxed) | u64::from(tcp_flags), Ordering::Relaxed);
        }
    }

    /// The counts as the worker itself sees them.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            used_ms: self.used_ms.load(Ordering::Relaxed),
            tcp_flags: self.owner.load(Ordering::Relaxed) as u16,
        }
    }

    /// When it was last used.
    #[inline]
    pub(crate) fn used_ms(&self) -> u64 {
        self.used_ms.load(Ordering::Relaxed)
    }
}

/// The counters of all slots of a worker. Memory is taken when slots are first used.
pub struct StatsTable(HugeSlice<MegaflowStats>);

impl Default for StatsTable {
    fn default() -> Self {
        Self(HugeSlice::zeroed(MAX_SLOTS))
    }
}

impl StatsTable {
    /// The counters of all slots. (As an array: an index cut to its size needs no check.)
    #[inline(always)]
    pub(crate) fn all(&self) -> &[MegaflowStats; MAX_SLOTS] {
        self.0.first_chunk().expect("it was made so large")
    }

    /// The memory of these slots' counters.
    pub(crate) fn part(&self, slots: std::ops::Range<usize>) -> Option<Part> {
        self.0.part(slots)
    }

    /// A slot's counters.
    #[inline(always)]
    pub(crate) fn slot(&self, slot: u32) -> &MegaflowStats {
        &self.0[slot as usize & (MAX_SLOTS - 1)]
    }

    /// What the megaflow of this slot and token has counted; `None` if the slot is not its own (any more). Token 0 is nobody's.
    pub fn read(&self, slot: u32, token: u64) -> Option<Counts> {
        let s = self.slot(slot);
        // Unlike a token, "nobody" comes again, with another's counts in between.
        let mine = |owner: u64| owner >> 16 == token & (u64::MAX >> 16) && owner >> 16 != 0;
        if !mine(s.owner.load(Ordering::Acquire)) {
            return None;
        }
        let counts = s.counts();
        fence(Ordering::Acquire);
        mine(s.owner.load(Ordering::Relaxed)).then_some(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_answers_only_for_its_owner() {
        let t = StatsTable::default();
        t.slot(3).begin(7);
        t.slot(3).credit(2, 120, 5, 0x12);
        assert_eq!(t.read(3, 7), Some(Counts { packets: 2, bytes: 120, used_ms: 5, tcp_flags: 0x12 }));
        assert_eq!((t.read(3, 8), t.read(4, 7)), (None, None));
        t.slot(3).begin(8);
        assert_eq!((t.read(3, 7), t.read(3, 8)), (None, Some(Counts::default())));
        assert_eq!(t.read(5, 0), None);
    }

    /// A reader that races with a changing owner sees counts of one owner only: here always a few times the token.
    #[test]
    fn counts_of_two_owners_are_never_mixed() {
        let t = StatsTable::default();
        // Gone with the reader, also when it has failed: the scope would wait for the writer for ever.
        let reading = std::sync::Arc::new(());
        let (t, told) = (&t, &std::sync::Arc::downgrade(&reading));
        std::thread::scope(move |s| {
            let reading = reading;
            s.spawn(move || {
                let mut token = 1000;
                while told.strong_count() > 0 {
                    t.slot(0).begin(token);
                    // More of them would be a multiple of another token, too.
                    (0..100).for_each(|_| t.slot(0).credit(token, token, token, 0));
                    token += 1;
                }
            });
            let mut seen = 0;
            for i in 0..2_000_000u64 {
                let token = t.slot(0).owner.load(Ordering::Relaxed) >> 16;
                if let Some(c) = t.read(0, token) {
                    assert!(c.packets % token == 0 && c.bytes % token == 0, "{c:?} of {token}");
                    seen += 1;
                } else {
                    // The writer may have to have the core first.
                    std::thread::yield_now();
                }
                if seen > 100_000 && i > 200_000 {
                    break;
                }
            }
            drop(reading);
            assert!(seen > 1000, "{seen}");
        });
    }
}
