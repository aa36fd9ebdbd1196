//! Megaflows that control has condemned, however many at once, and that a worker has not taken out of its table yet.
//!
//! Taking out a hundred thousand would keep packets waiting for tens of milliseconds. So a [`Sentence`] is one command, and from then on the
//! worker holds each hit against the condemned: one of them ends there and then, and the packet counts as a miss. The others
//! are taken out between rounds of packets, in a share of the time. Once a scan of all slots is through, nothing of it is left, and
//! the handler is told.
//!
//! A sentence names whole *classes* (the handler's own division of megaflows, see [`crate::upcall::Verdict::class`]), or slots. It never
//! means a megaflow that was made after it.

use crate::megaflow::MAX_SLOTS;
use std::ops::Range;

/// What is condemned of one worker's megaflows.
#[derive(Debug, Default, Clone)]
pub struct Sentence {
    /// All megaflows of a class with a token in this range.
    pub classes: Vec<(u32, Range<u64>)>,
    /// Those of these slots (bit `n % 64` of word `n / 64`) with a token below [`Sentence::before`].
    pub slots: Vec<u64>,
    /// See [`Sentence::slots`].
    pub before: u64,
}

impl Sentence {
    /// Condemns what is in a slot.
    pub fn add_slot(&mut self, slot: u32) {
        let at = slot as usize / 64;
        if at >= MAX_SLOTS / 64 {
            return;
        }
        if self.slots.len() <= at {
            self.slots.resize((at + 1).next_power_of_two(), 0);
        }
        self.slots[at] |= 1 << (slot % 64);
    }
    /// Nothing is condemned.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty() && self.slots.is_empty()
    }
}

/// Slots looked at between two rounds of packets.
const LOOKS: u32 = 256;
/// Megaflows ended between two rounds of packets.
const ENDS: usize = 16;

/// All sentences that are not carried out yet, as one.
#[derive(Default)]
pub(crate) struct Condemned {
    /// By class.
    classes: Vec<Range<u64>>,
    slots: Vec<u64>,
    before: u64,
    /// The scan: where it is, and how many slots it has still to see.
    at: u32,
    left: u32,
    /// Sentences so far.
    sentences: u64,
    active: bool,
}

impl Condemned {
    /// Nothing is.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        !self.active
    }

    /// One more sentence, on a table of so many slots.
    pub fn add(&mut self, s: Sentence, slots: u32) {
        for (class, r) in s.classes {
            let at = class as usize;
            if self.classes.len() <= at {
                self.classes.resize(at + 1, 0..0);
            }
            let all = &mut self.classes[at];
            // What lies between two ranges is condemned with them: a bit too much costs a translation.
            *all = if all.is_empty() { r } else { all.start.min(r.start)..all.end.max(r.end) };
        }
        if self.slots.is_empty() {
            self.slots = s.slots;
        } else {
            self.slots.resize(self.slots.len().max(s.slots.len()), 0);
            self.slots.iter_mut().zip(&s.slots).for_each(|(a, b)| *a |= b);
        }
        self.before = self.before.max(s.before);
        self.left = slots;
        self.sentences += 1;
        self.active = true;
    }

    /// Whether the megaflow of this slot, class and token is condemned.
    pub fn has(&self, slot: u32, class: u32, token: u64) -> bool {
        let by_slot = self.slots.get(slot as usize / 64).is_some_and(|w| w >> (slot % 64) & 1 != 0);
        by_slot && token < self.before || self.classes.get(class as usize).is_some_and(|r| r.contains(&token))
    }

    /// The megaflow of a slot is no more: the next one there is another.
    pub fn ended(&mut self, slot: u32) {
        if let Some(w) = self.slots.get_mut(slot as usize / 64) {
            *w &= !(1 << (slot % 64));
        }
    }

    /// Condemned megaflows among the next slots, a few: `of` gives class and token of a slot's.
    pub fn next(&mut self, slots: u32, of: impl Fn(u32) -> Option<(u32, u64)>) -> Found {
        let mut found = Found::default();
        let mut looks = LOOKS;
        while self.left > 0 && looks > 0 && found.n < ENDS {
            if self.at >= slots {
                self.at = 0;
            }
            if self.classes.is_empty() && self.at.is_multiple_of(64) {
                // Whole words without a bit need no look.
                if self.slots.get(self.at as usize / 64).is_none_or(|w| *w == 0) {
                    self.at += 64;
                    self.left = self.left.saturating_sub(64);
                    looks -= 1;
                    continue;
                }
            }
            if let Some((class, token)) = of(self.at) {
                if self.has(self.at, class, token) {
                    found.slots[found.n] = (self.at, token);
                    found.n += 1;
                }
            }
            self.at += 1;
            self.left -= 1;
            looks -= 1;
        }
        found
    }

    /// How many sentences have been carried out, if all are and that is news.
    pub fn carried_out(&mut self) -> Option<u64> {
        if !self.active || self.left > 0 {
            return None;
        }
        *self = Self { sentences: self.sentences, at: self.at, ..Self::default() };
        Some(self.sentences)
    }
}

/// What [`Condemned::next`] found: slots and tokens.
#[derive(Default)]
pub(crate) struct Found {
    slots: [(u32, u64); ENDS],
    n: usize,
}

impl Found {
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.slots[..self.n].iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries everything out on a table of slots with (class, token); what was ended.
    fn carry_out(c: &mut Condemned, table: &mut [Option<(u32, u64)>]) -> Vec<u32> {
        let mut ended = Vec::new();
        for _ in 0..10_000 {
            let found = c.next(table.len() as u32, |s| table[s as usize]);
            for (slot, token) in found.iter() {
                assert_eq!(table[slot as usize].map(|x| x.1), Some(token));
                table[slot as usize] = None;
                c.ended(slot);
                ended.push(slot);
            }
            if c.carried_out().is_some() {
                ended.sort_unstable();
                return ended;
            }
        }
        panic!("never over");
    }

    fn table(n: u32) -> Vec<Option<(u32, u64)>> {
        (0..n).map(|s| Some((s % 5, 100 + u64::from(s)))).collect()
    }

    #[test]
    fn whole_classes_and_single_slots_are_ended_and_nothing_else() {
        let n = 2048;
        let (mut c, mut t) = (Condemned::default(), table(n));
        let mut by_slot = Sentence { before: 100 + 900, ..Sentence::default() };
        [3, 64, 65, 899, 900, 2047].iter().for_each(|s| by_slot.add_slot(*s));
        c.add(by_slot, n);
        c.add(Sentence { classes: vec![(2, 100..700)], ..Sentence::default() }, n);
        assert!(!c.is_empty() && c.has(2, 2, 102) && c.has(65, 0, 165));
        // Made later, or of another class.
        assert!(!c.has(900, 0, 1000) && !c.has(7, 2, 700) && !c.has(1, 1, 101));
        let want: Vec<u32> =
            (0..n).filter(|s| [3, 64, 65, 899].contains(s) || s % 5 == 2 && *s < 600).collect();
        assert_eq!(carry_out(&mut c, &mut t), want);
        assert!(c.is_empty() && !c.has(2, 2, 102));
        assert_eq!(c.carried_out(), None);
    }

    #[test]
    fn the_next_megaflow_of_a_condemned_slot_is_free() {
        let mut c = Condemned::default();
        let mut s = Sentence { before: 50, ..Sentence::default() };
        s.add_slot(7);
        c.add(s, 64);
        assert!(c.has(7, 0, 49));
        c.ended(7);
        assert!(!c.has(7, 0, 49));
    }

    #[test]
    fn a_step_looks_at_and_ends_few() {
        let n = 100_000;
        let (mut c, t) = (Condemned::default(), table(n));
        c.add(Sentence { classes: (0..5).map(|k| (k, 0..u64::MAX)).collect(), ..Sentence::default() }, n);
        assert_eq!(c.next(n, |s| t[s as usize]).iter().count(), ENDS);
        let looked = std::cell::Cell::new(0);
        let none = |_| {
            looked.set(looked.get() + 1);
            None
        };
        assert_eq!(c.next(n, none).iter().count(), 0);
        assert_eq!(looked.get(), LOOKS);
    }
}
