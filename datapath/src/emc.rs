//! The exact-match cache: from the hash of a packet's (projected) key to the megaflow it matched last time.
//!
//! It holds hints, not answers: the megaflow found is verified against the key by the caller, so an entry needs no key, no epoch and no
//! flushing, and eight of them share one cache line. 131,072 hints take 1 MiB, where entries with keys would take 8.
//!
//! **Size.** [`EmcSize::Auto`] begins small and doubles while most of it is in use and hints still have to displace others, up to
//! [`Emc::MAX`]; a fixed size stays (0 switches the cache off). It may be changed at any time; hints that fit move along, a few lines with each that comes, so
//! that no packet waits for a hundred thousand lines. One that has not moved yet is not found; whoever misses it puts it in, which moves others.
//!
//! **Admission.** A hint enters a free slot at once. A full line admits a newcomer only when it is seen a second time before another one of
//! that line (the line's *doorkeeper*, one byte, remembers the last refused), so traffic that passes once cannot wash out what
//! comes again. [`Admission`] watches what the cache is worth to each port: where fewer than one hit in sixteen comes from it although it
//! cannot grow any more, the port does without for a while, then tries again.

use crate::classifier::kernel::{line_of, prefetch, Bucket, Kernel};
use crate::classifier::{FlowId, NONE};
use crate::sys::HugeSlice;

/// How large a cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmcSize {
    /// As traffic needs.
    #[default]
    Auto,
    /// So many hints (rounded up to a power of two); 0: none.
    Fixed(usize),
}

impl std::str::FromStr for EmcSize {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(Self::Auto),
            n => n.parse().ok().filter(|n| *n <= Emc::MAX).map(Self::Fixed).ok_or_else(|| {
                format!(
                    "{n:?} is no size of the exact-match cache: write auto, 0 (off), or up to {} entries",
                    Emc::MAX
                )
            }),
        }
    }
}

impl std::fmt::Display for EmcSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(n) => write!(f, "{n}"),
        }
    }
}

/// The cache. Owned by one worker.
pub struct Emc {
    lines: HugeSlice<Bucket>,
    /// What `lines` took the place of, and how many lines of it have moved.
    old: HugeSlice<Bucket>,
    moved: usize,
    /// For each line, of the tag that was refused last.
    doors: Vec<u8>,
    turn: u32,
    inserts: u64,
    refused: u64,
    /// Newcomers at full lines since the last look, and how many make another one due; 0: lines are to move.
    pressed: u64,
    due: u64,
    grows: bool,
}

impl Emc {
    /// Most hints: 16 MiB.
    pub const MAX: usize = 1 << 21;
    /// Hints it begins with.
    const FIRST: usize = 1 << 14;
    /// Lines that move with each hint that comes.
    const MOVES: usize = 16;

    /// An empty cache.
    pub fn new(size: EmcSize) -> Self {
        let (entries, grows) = match size {
            EmcSize::Auto => (Self::FIRST, true),
            EmcSize::Fixed(n) => (n.min(Self::MAX), false),
        };
        let lines = if entries == 0 { 0 } else { entries.div_ceil(8).next_power_of_two() };
        Self {
            lines: HugeSlice::zeroed(lines),
            old: HugeSlice::zeroed(0),
            moved: 0,
            doors: vec![0; lines],
            turn: 0,
            inserts: 0,
            refused: 0,
            pressed: 0,
            due: lines as u64 + 1,
            grows,
        }
    }

    /// Changes the size; hints that fit stay.
    pub fn resize(&mut self, size: EmcSize) {
        let new = Self::new(size);
        self.grows = new.grows;
        // What traffic made of it so far is a good first guess.
        let lines = if new.grows { self.lines.len().max(new.lines.len()) } else { new.lines.len() };
        if lines != self.lines.len() {
            self.set_lines(lines);
        }
    }

    /// Begins to move into so many lines. What has not moved since the last time (somebody resizes twice) is lost.
    fn set_lines(&mut self, lines: usize) {
        self.old = std::mem::replace(&mut self.lines, HugeSlice::zeroed(lines));
        self.doors = vec![0; lines];
        if lines == 0 {
            self.old = HugeSlice::zeroed(0);
        }
        (self.moved, self.pressed) = (0, 0);
        self.due = if self.is_moving() { 0 } else { lines as u64 + 1 };
    }

    fn is_moving(&self) -> bool {
        !self.old.is_empty()
    }

    fn move_lines(&mut self) {
        let n = self.lines.len();
        let end = self.old.len().min(self.moved + Self::MOVES);
        for b in &self.old[self.moved..end] {
            for i in (0..8).filter(|i| b.tags[*i] != 0) {
                let to = &mut self.lines[line_of(b.tags[i], n)];
                // One that is there already is newer.
                let free = to.tags.iter().position(|t| *t == 0 || *t == b.tags[i]);
                if let Some(free) = free.filter(|f| to.tags[*f] == 0) {
                    to.tags[free] = b.tags[i];
                    to.ids[free] = b.ids[i];
                }
            }
        }
        self.moved = end;
        if end == self.old.len() {
            self.old = HugeSlice::zeroed(0);
            self.due = n as u64 + 1;
        }
    }

    /// Hints it has room for.
    pub fn capacity(&self) -> usize {
        self.lines.len() * 8
    }

    /// Hints put in so far.
    pub fn inserts(&self) -> u64 {
        self.inserts
    }

    /// Hints refused so far.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether more room may still come.
    fn can_grow(&self) -> bool {
        self.grows && self.capacity() < Self::MAX
    }

    /// Starts fetching the line of a hash's tag.
    #[inline(always)]
    pub fn prefetch(&self, tag: u32) {
        if let Some(b) = self.lines.get(line_of(tag, self.lines.len())) {
            prefetch(b);
        }
    }

    /// The megaflow that a packet of this tag matched, or [`NONE`].
    #[inline(always)]
    pub fn find<K: Kernel>(&self, tag: u32) -> FlowId {
        let Some(b) = self.lines.get(line_of(tag, self.lines.len())) else { return NONE };
        let m = K::find(b, tag);
        if m == 0 {
            NONE
        } else {
            b.ids[(m.trailing_zeros() & 7) as usize]
        }
    }

    /// Remembers, if the hint is admitted.
    pub fn insert(&mut self, tag: u32, id: FlowId) {
        let at = line_of(tag, self.lines.len());
        let (Some(b), Some(door)) = (self.lines.get_mut(at), self.doors.get_mut(at)) else { return };
        let slot = b.tags.iter().position(|t| *t == tag).or_else(|| b.tags.iter().position(|t| *t == 0));
        let slot = match slot {
            Some(s) => s,
            None => {
                self.pressed += 1;
                // Of bits that do not choose the line; never 0.
                let mark = (tag >> 24) as u8 | 1;
                if *door != mark {
                    *door = mark;
                    self.refused += 1;
                    return self.adapt();
                }
                *door = 0;
                self.turn = self.turn.wrapping_mul(0x915f_77f5).wrapping_add(0x2545_f491);
                (self.turn >> 29) as usize
            }
        };
        b.tags[slot] = tag;
        b.ids[slot] = id;
        self.inserts += 1;
        self.adapt();
    }

    /// Doubles the cache if newcomers keep finding full lines, and goes on with a move.
    #[inline]
    fn adapt(&mut self) {
        if self.pressed >= self.due {
            self.adapt_now();
        }
    }

    #[cold]
    fn adapt_now(&mut self) {
        if self.is_moving() {
            return self.move_lines();
        }
        self.pressed = 0;
        if self.can_grow() {
            self.set_lines(self.lines.len() * 2);
        }
    }
}

/// What the cache is worth to one port, and whether the port uses it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Admission {
    found: u32,
    by_cache: u32,
    /// Windows to go without it.
    rest: u32,
}

impl Admission {
    /// Packets found in some way that are judged together.
    const WINDOW: u32 = 1 << 16;
    /// Windows of rest.
    const REST: u32 = 15;

    /// Whether the cache is asked.
    #[inline(always)]
    pub fn asks(&self) -> bool {
        self.rest == 0
    }

    /// Takes note of packets that were found, so many of them by the cache.
    #[inline(always)]
    pub fn note(&mut self, found: u32, by_cache: u32, emc: &Emc) {
        self.found += found;
        self.by_cache += by_cache;
        if self.found >= Self::WINDOW {
            self.judge(emc);
        }
    }

    #[cold]
    fn judge(&mut self, emc: &Emc) {
        if self.rest > 0 {
            self.rest -= 1;
        } else if self.by_cache < self.found / 16 && !emc.can_grow() {
            self.rest = Self::REST;
        }
        (self.found, self.by_cache) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::kernel::{tag_of, Scalar};

    fn hash(i: u64) -> u32 {
        tag_of(i.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn remembers_the_last_and_admits_at_a_full_line_what_comes_twice() {
        let mut e = Emc::new(EmcSize::Fixed(16));
        assert_eq!(e.find::<Scalar>(5), NONE);
        e.insert(5, 1);
        e.insert(5, 2);
        assert_eq!(e.find::<Scalar>(5), 2);
        for i in 0..1000 {
            e.insert(hash(i), i as u32);
        }
        let kept = (0..1000).filter(|i| e.find::<Scalar>(hash(*i)) == *i as u32).count();
        assert!((8..=16).contains(&kept), "{kept}");
        let before: Vec<u64> = (0..1000).filter(|i| e.find::<Scalar>(hash(*i)) == *i as u32).collect();
        assert!(e.refused() > 900);
        e.insert(hash(5000), 7);
        assert_eq!(e.find::<Scalar>(hash(5000)), NONE, "once is not enough");
        e.insert(hash(5000), 7);
        assert_eq!(e.find::<Scalar>(hash(5000)), 7);
        assert!(
            before.iter().filter(|i| e.find::<Scalar>(hash(**i)) == **i as u32).count() + 1 >= before.len()
        );
        let mut off = Emc::new(EmcSize::Fixed(0));
        off.insert(5, 1);
        assert_eq!((off.find::<Scalar>(5), off.capacity()), (NONE, 0));
    }

    #[test]
    fn grows_with_traffic_and_keeps_its_hints_when_resized() {
        let mut e = Emc::new(EmcSize::Auto);
        let first = e.capacity();
        for _ in 0..3 {
            for i in 0..100_000 {
                e.insert(hash(i), i as u32);
            }
        }
        assert!(e.capacity() >= 100_000 && e.capacity() <= first * 32, "{}", e.capacity());
        let kept = |e: &Emc| (0..100_000).filter(|i| e.find::<Scalar>(hash(*i)) == *i as u32).count();
        assert!(kept(&e) > 95_000, "{}", kept(&e));
        e.resize(EmcSize::Fixed(1000));
        assert_eq!((e.capacity(), kept(&e)), (1024, 0), "they move later");
        let mut others = 1_000_000..;
        while e.is_moving() {
            e.insert(hash(others.next().unwrap()), 1);
        }
        assert!(kept(&e) > 700, "{}", kept(&e));
        for i in 0..100_000 {
            e.insert(hash(i), i as u32);
        }
        assert_eq!(e.capacity(), 1024, "a fixed size stays");
        e.resize(EmcSize::Fixed(0));
        assert_eq!(e.find::<Scalar>(hash(1)), NONE);
        e.resize(EmcSize::Auto);
        e.insert(hash(1), 1);
        assert_eq!((e.capacity(), e.find::<Scalar>(hash(1))), (first, 1));
    }

    #[test]
    fn a_port_that_the_cache_does_not_help_goes_without_for_a_while() {
        let e = Emc::new(EmcSize::Fixed(64));
        let mut a = Admission::default();
        a.note(Admission::WINDOW, Admission::WINDOW / 16, &e);
        assert!(a.asks());
        a.note(Admission::WINDOW, Admission::WINDOW / 16 - 1, &e);
        assert!(!a.asks());
        for _ in 0..Admission::REST {
            assert!(!a.asks());
            a.note(Admission::WINDOW, 0, &e);
        }
        assert!(a.asks(), "and tries again");
        a.note(Admission::WINDOW, 0, &Emc::new(EmcSize::Auto));
        assert!(a.asks(), "room may still come");
    }

    /// Growing to its largest, a few lines at a time, and nothing of what was in it is lost but where newcomers had taken its place.
    #[test]
    fn no_packet_waits_for_the_cache_to_grow() {
        let mut e = Emc::new(EmcSize::Auto);
        let (mut longest, mut moves, mut n) = (0, 0, 0);
        while e.capacity() < Emc::MAX || e.is_moving() {
            let (before, start) = (e.moved, crate::sys::thread_cpu_ns());
            e.insert(hash(n), n as u32);
            longest = longest.max(crate::sys::thread_cpu_ns() - start);
            n += 1;
            if e.is_moving() && e.moved != 0 {
                moves += 1;
                assert_eq!(e.moved - before, Emc::MOVES);
            }
        }
        println!("longest insert of {n}: {longest} ns of the processor");
        assert!(moves > 1000, "{moves}");
        let kept = (0..n).filter(|i| e.find::<Scalar>(hash(*i)) == *i as u32).count() as u64;
        assert!(kept * 100 > e.inserts() * 99, "{kept} of {}", e.inserts());
    }

    #[test]
    fn sizes_are_read_and_written() {
        for s in ["auto", "0", "4096"] {
            assert_eq!(s.parse::<EmcSize>().unwrap().to_string(), s);
        }
        assert!("many".parse::<EmcSize>().unwrap_err().contains("auto"));
        assert!("99999999".parse::<EmcSize>().is_err());
    }
}
