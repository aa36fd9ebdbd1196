//! The exact-match cache: from the hash of a packet's (projected) key to the megaflow it matched last time.
//!
//! It holds hints, not answers: the megaflow found is verified against the key by the caller, so an entry needs no key, no epoch and no
//! flushing, and eight of them share one cache line. 131,072 hints take 1 MiB, where entries with keys would take 8.

use crate::classifier::kernel::{line_of, prefetch, tag_of, Bucket, Kernel};
use crate::classifier::{FlowId, NONE};
use crate::sys::HugeSlice;

/// The cache. Owned by one worker.
pub struct Emc {
    lines: HugeSlice<Bucket>,
    turn: u32,
    inserts: u64,
    next_check: u64,
    max: usize,
}

impl Emc {
    /// Most hints it grows to: 8 MiB.
    pub const MAX: usize = 1 << 20;

    /// With room for `entries` (rounded up to a power of two) at first; 0: never hits. Below 4096 it does not grow.
    pub fn new(entries: usize) -> Self {
        let lines = if entries == 0 { 0 } else { entries.div_ceil(8).next_power_of_two() };
        let max = if lines * 8 < 4096 { lines * 8 } else { Self::MAX };
        Self { lines: HugeSlice::zeroed(lines), turn: 0, inserts: 0, next_check: lines as u64 * 16, max }
    }

    /// Hints it has room for.
    pub fn capacity(&self) -> usize {
        self.lines.len() * 8
    }

    /// Hints put in so far.
    pub fn inserts(&self) -> u64 {
        self.inserts
    }

    /// Starts fetching the line of `hash`.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        if let Some(b) = self.lines.get(line_of(tag_of(hash), self.lines.len())) {
            prefetch(b);
        }
    }

    /// The megaflow that a packet of this hash matched, or [`NONE`].
    #[inline(always)]
    pub fn find<K: Kernel>(&self, hash: u64) -> FlowId {
        let Some(b) = self.lines.get(line_of(tag_of(hash), self.lines.len())) else { return NONE };
        let m = K::find(b, tag_of(hash));
        if m == 0 {
            NONE
        } else {
            b.ids[(m.trailing_zeros() & 7) as usize]
        }
    }

    /// Remembers.
    pub fn insert(&mut self, hash: u64, id: FlowId) {
        let at = line_of(tag_of(hash), self.lines.len());
        let Some(b) = self.lines.get_mut(at) else { return };
        let tag = tag_of(hash);
        let slot = b.tags.iter().position(|t| *t == tag).or_else(|| b.tags.iter().position(|t| *t == 0));
        let slot = slot.unwrap_or_else(|| {
            self.turn = self.turn.wrapping_mul(0x915f_77f5).wrapping_add(0x2545_f491);
            (self.turn >> 29) as usize
        });
        b.tags[slot] = tag;
        b.ids[slot] = id;
        self.inserts += 1;
        // A cache that keeps being written is too small (or useless): more room while room helps.
        if self.inserts >= self.next_check {
            self.adapt();
        }
    }

    /// Called every so many insertions: doubles the cache if most of it was replaced since the last look, as far as [`Emc::MAX`].
    #[cold]
    fn adapt(&mut self) {
        let entries = self.capacity();
        let used = self.lines.iter().take(256).flat_map(|b| &b.tags).filter(|t| **t != 0).count();
        let looked = entries.min(256 * 8);
        if used * 2 >= looked && entries < self.max {
            let lines = self.lines.len() * 2;
            let old = std::mem::replace(&mut self.lines, HugeSlice::zeroed(lines));
            for b in old.iter() {
                for i in (0..8).filter(|i| b.tags[*i] != 0) {
                    let to = &mut self.lines[line_of(b.tags[i], lines)];
                    // A line's entries spread over two: there is room.
                    if let Some(free) = to.tags.iter().position(|t| *t == 0) {
                        to.tags[free] = b.tags[i];
                        to.ids[free] = b.ids[i];
                    }
                }
            }
        }
        self.next_check = self.inserts + self.capacity() as u64 * 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::kernel::Scalar;

    #[test]
    fn remembers_the_last_and_forgets_under_pressure() {
        let mut e = Emc::new(16);
        assert_eq!(e.find::<Scalar>(5), NONE);
        e.insert(5, 1);
        e.insert(5, 2);
        assert_eq!(e.find::<Scalar>(5), 2);
        for i in 0..1000u64 {
            e.insert(i << 35, i as u32);
        }
        let kept = (0..1000u64).filter(|i| e.find::<Scalar>(i << 35) == *i as u32).count();
        assert!((8..=16).contains(&kept), "{kept}");
        assert_eq!(Emc::new(0).find::<Scalar>(5), NONE);
    }
}
