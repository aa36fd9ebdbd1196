//! The entries of one mask, by hash, in versions: a clone stays as it is while entries are added and taken out.
//!
//! Entries stand in *chunks* that all versions share, in the order they came, and never move within one; [`Index`] has their numbers. A
//! version knows how far the chunk that is being filled was filled when it was made, and all other chunks it knows are full: what it finds
//! beyond is too new for it. So an add copies nothing, and a new version costs a few words.
//!
//! A chunk of which half is gone is given up, and what is left of it added anew. Its number is given again once no version has it.

use crate::index::Index;
use crate::rule::{Instrs, RuleCore};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// An entry in its place.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What stays.
    pub rule: Arc<RuleCore>,
    /// What a modify replaces.
    pub instrs: Arc<Instrs>,
}

impl Entry {
    /// The same with other instructions.
    pub fn with_instrs(&self, instrs: Arc<Instrs>) -> Self {
        Self { rule: self.rule.clone(), instrs }
    }
}

/// Bits of a number that say where in its chunk.
const PLACE_BITS: u32 = 10;

/// Entries of a chunk: the first ones are small, since most masks have few entries.
fn chunk_size(chunk: u32) -> usize {
    1 << PLACE_BITS.min(chunk + 2)
}

struct Chunk(Box<[OnceLock<Entry>]>);

/// See the module.
#[derive(Default)]
pub struct Entries {
    index: Index,
    chunks: Arc<Vec<Option<Arc<Chunk>>>>,
    /// The chunk that is being filled, and how far it is.
    open: u32,
    filled: u32,
    len: usize,
    /// Which version this is, and which is the newest: the only one that may share what it changes.
    version: u64,
    newest: Arc<AtomicU64>,
}

impl Clone for Entries {
    /// A clone of the newest version is the newest version.
    fn clone(&self) -> Self {
        let version = if self.is_newest() { self.newest.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 };
        Self {
            index: self.index.clone(),
            chunks: self.chunks.clone(),
            newest: self.newest.clone(),
            version,
            ..*self
        }
    }
}

/// What only the writer needs to know.
#[derive(Default)]
pub struct Books {
    /// How many entries of each chunk are still there.
    live: Vec<u16>,
    /// Numbers of chunks that are given up, till no version has them.
    given_up: Vec<(u32, Weak<Chunk>)>,
}

/// The number of an entry: chunk and place, and never 0.
fn number(chunk: u32, place: u32) -> u32 {
    (chunk << PLACE_BITS | place) + 1
}

/// Of a priority in [`Index`]: the highest comes first.
fn rank(priority: u16) -> u16 {
    !priority
}

fn chunk_and_place(number: u32) -> (u32, u32) {
    ((number - 1) >> PLACE_BITS, (number - 1) & ((1 << PLACE_BITS) - 1))
}

impl Entries {
    /// Whether this is the version that changes may be made to. To change another is to begin a line of its own.
    pub fn is_newest(&self) -> bool {
        self.version == self.newest.load(Ordering::Relaxed)
    }
    #[inline]
    fn at(&self, number: u32) -> Option<&Entry> {
        let (chunk, place) = chunk_and_place(number);
        if chunk == self.open && place >= self.filled {
            return None;
        }
        self.chunks.get(chunk as usize)?.as_deref()?.0.get(place as usize)?.get()
    }
    /// As [`Index::prefetch_way`].
    pub fn prefetch_way(&self, hash: u32) {
        self.index.prefetch_way(hash);
    }
    /// As [`Index::prefetch`].
    pub fn prefetch(&self, hash: u32) {
        self.index.prefetch(hash);
    }
    /// All entries of a hash.
    pub fn all_of(&self, hash: u32) -> impl Iterator<Item = &Entry> {
        self.index.all_of(hash).filter_map(|n| self.at(n))
    }
    /// All entries of a hash that have this priority, and maybe others.
    #[inline]
    pub fn get(&self, hash: u32, priority: u16) -> impl Iterator<Item = &Entry> {
        self.index.get(hash, rank(priority)).filter_map(|n| self.at(n))
    }
    /// Shows entries of a hash, until `enough` of one is true and all that are not shown have a lower priority.
    #[inline]
    pub fn visit<'a>(&'a self, hash: u32, mut enough: impl FnMut(&'a Entry) -> bool) {
        self.index.visit(hash, |n| self.at(n).is_some_and(&mut enough));
    }
    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.index.iter().filter_map(|n| self.at(n))
    }
    /// Some entries from a position on, and the position after them: see [`Index::leaf_from`].
    pub fn some_from(&self, pos: u64) -> Option<(impl Iterator<Item = &Entry>, u64)> {
        let (leaf, next) = self.index.leaf_from(pos)?;
        Some((leaf.filter_map(|n| self.at(n)), next))
    }
    /// Adds an entry, whose hash this is; equal ones are not looked for.
    pub fn insert(&mut self, books: &mut Books, hash: u32, entry: Entry) {
        debug_assert!(self.is_newest());
        let rank = rank(entry.rule.priority);
        let n = self.append(books, entry);
        if self.index.insert(hash, rank, n) {
            let mut index = std::mem::take(&mut self.index);
            index.crowd(hash, &|n| self.at(n).map_or(0, |e| self::rank(e.rule.priority)));
            self.index = index;
        }
        self.len += 1;
    }
    fn append(&mut self, books: &mut Books, entry: Entry) -> u32 {
        while self.chunks.is_empty() || self.filled as usize == chunk_size(self.open) {
            self.open_chunk(books);
        }
        let place = self.filled;
        self.filled += 1;
        books.live[self.open as usize] += 1;
        if let Some(Some(chunk)) = self.chunks.get(self.open as usize) {
            let new = chunk.0[place as usize].set(entry);
            debug_assert!(new.is_ok());
        }
        number(self.open, place)
    }
    fn open_chunk(&mut self, books: &mut Books) {
        let full = (!self.chunks.is_empty()).then_some(self.open);
        let free = books.given_up.iter().position(|(_, c)| c.strong_count() == 0);
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = free.map_or(chunks.len() as u32, |i| books.given_up.swap_remove(i).0);
        if chunk as usize == chunks.len() {
            chunks.push(None);
            books.live.push(0);
        }
        let slots = (0..chunk_size(chunk)).map(|_| OnceLock::new()).collect();
        chunks[chunk as usize] = Some(Arc::new(Chunk(slots)));
        (self.open, self.filled) = (chunk, 0);
        if let Some(full) = full {
            self.clear_out(books, full);
        }
    }
    /// Gives a full chunk up if half of it is gone.
    fn clear_out(&mut self, books: &mut Books, chunk: u32) {
        let live = usize::from(books.live[chunk as usize]);
        if chunk == self.open || live * 2 > chunk_size(chunk) {
            return;
        }
        let Some(old) = Arc::make_mut(&mut self.chunks)[chunk as usize].take() else { return };
        books.live[chunk as usize] = 0;
        books.given_up.push((chunk, Arc::downgrade(&old)));
        if live == 0 {
            return;
        }
        for (place, e) in old.0.iter().enumerate().filter_map(|(i, e)| Some((i, e.get()?))) {
            let (hash, rank) = (e.rule.hash(), rank(e.rule.priority));
            let n = number(chunk, place as u32);
            if self.index.get(hash, rank).any(|x| x == n) {
                let new = self.append(books, e.clone());
                self.index.replace(hash, rank, n, Some(new));
            }
        }
    }
    fn find(&self, hash: u32, rule: &Arc<RuleCore>) -> Option<(u32, &Entry)> {
        let mut all = self.index.get(hash, rank(rule.priority)).filter_map(|n| Some((n, self.at(n)?)));
        all.find(|(_, e)| Arc::ptr_eq(&e.rule, rule))
    }
    fn gone(&mut self, books: &mut Books, number: u32) {
        let chunk = chunk_and_place(number).0;
        books.live[chunk as usize] -= 1;
        self.clear_out(books, chunk);
    }
    /// Takes the entry of a rule out.
    pub fn remove(&mut self, books: &mut Books, hash: u32, rule: &Arc<RuleCore>) -> Option<Entry> {
        debug_assert!(self.is_newest());
        let (n, e) = self.find(hash, rule)?;
        let e = e.clone();
        self.index.replace(hash, rank(rule.priority), n, None);
        self.len -= 1;
        if self.len == 0 {
            // Nothing is shared with what comes.
            (*self, *books) = Default::default();
        } else {
            self.gone(books, n);
        }
        Some(e)
    }
    /// Gives the entry of a rule other instructions.
    pub fn set_instrs(&mut self, books: &mut Books, hash: u32, rule: &Arc<RuleCore>, instrs: Arc<Instrs>) {
        debug_assert!(self.is_newest());
        let Some((n, e)) = self.find(hash, rule) else { return };
        let e = e.with_instrs(instrs);
        let new = self.append(books, e);
        // The entry may have moved, if room was made.
        let n = self.find(hash, rule).map_or(n, |(n, _)| n);
        self.index.replace(hash, rank(rule.priority), n, Some(new));
        self.gone(books, n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::mix;
    use crate::rule::Interner;
    use openflow::msg::FlowModFlags;
    use openflow::{Field, Instruction, Match, TableId};
    use std::collections::BTreeMap;

    struct Maker(Interner);

    impl Maker {
        fn entry(&mut self, dst: u32, goto: u8) -> (u32, Entry) {
            let m = Match::new().with(Field::EthType, 0x0800).with(Field::Ipv4Dst, dst.into());
            let place = self.0.place(&m).expect("known");
            let rule = place.rule(0, 5, u64::from(dst), (0, 0), FlowModFlags::empty(), 0);
            let instrs = self.0.instrs(&[Instruction::GotoTable(TableId(goto))].into_iter().collect());
            let e = Entry { rule: Arc::new(rule), instrs };
            (e.rule.hash(), e)
        }
    }

    /// Cookie and instructions of all entries; none is met twice.
    fn content(e: &Entries) -> BTreeMap<u64, Option<u8>> {
        let list: Vec<_> = e.iter().map(|e| (e.rule.cookie, e.instrs.goto)).collect();
        let map: BTreeMap<_, _> = list.iter().copied().collect();
        assert_eq!(list.len(), map.len());
        map
    }

    #[test]
    fn versions_stay_as_they_are_and_what_is_gone_is_freed() {
        let (mut now, mut books, mut maker) =
            (Entries::default(), Books::default(), Maker(Interner::default()));
        let mut model: BTreeMap<u64, (u32, Entry)> = BTreeMap::new();
        let mut versions: Vec<(Entries, BTreeMap<u64, Option<u8>>)> = Vec::new();
        let mut freed: Vec<Weak<RuleCore>> = Vec::new();
        let mut rng = 1u64;
        for step in 0..40_000u32 {
            rng = mix(rng, 1);
            let one = |model: &BTreeMap<u64, (u32, Entry)>| {
                let from = mix(rng, 2) % 3000;
                model.range(from..).next().or(model.first_key_value()).map(|(k, (h, e))| (*k, *h, e.clone()))
            };
            // Grows, shrinks to next to nothing, and again.
            let grows = step / 5000 % 2 == 0;
            match rng >> 8 & 7 {
                0 => {
                    if let Some((k, h, e)) = one(&model) {
                        let new = maker.entry(0, (rng >> 16) as u8 & 3).1.instrs;
                        now.set_instrs(&mut books, h, &e.rule, new.clone());
                        model.insert(k, (h, e.with_instrs(new)));
                    }
                }
                n if (n < 6) == grows => {
                    let dst = (mix(rng, 3) % 3000) as u32;
                    if let std::collections::btree_map::Entry::Vacant(v) = model.entry(dst.into()) {
                        let (h, e) = maker.entry(dst, 9);
                        now.insert(&mut books, h, e.clone());
                        v.insert((h, e));
                    }
                }
                _ => {
                    if let Some((k, h, e)) = one(&model) {
                        assert!(now
                            .remove(&mut books, h, &e.rule)
                            .is_some_and(|x| Arc::ptr_eq(&x.rule, &e.rule)));
                        assert!(now.remove(&mut books, h, &e.rule).is_none());
                        freed.push(Arc::downgrade(&e.rule));
                        model.remove(&k);
                    }
                }
            }
            if rng >> 20 & 15 == 0 {
                // Published: readers keep this version, the writer goes on with a clone.
                let next = now.clone();
                let shown = model.iter().map(|(k, (_, e))| (*k, e.instrs.goto)).collect();
                versions.push((std::mem::replace(&mut now, next), shown));
                if versions.len() > 8 {
                    versions.swap_remove((rng >> 30) as usize % 8);
                }
            }
            if step % 97 == 0 {
                for (v, want) in &versions {
                    assert_eq!(content(v), *want, "step {step}");
                }
                let want: BTreeMap<_, _> = model.iter().map(|(k, (_, e))| (*k, e.instrs.goto)).collect();
                assert_eq!(content(&now), want, "step {step}");
                for (h, e) in model.values() {
                    assert!(now.all_of(*h).any(|x| Arc::ptr_eq(&x.rule, &e.rule)));
                }
            }
        }
        assert!(now.chunks.len() < 40, "{} chunks: their numbers are not given again", now.chunks.len());
        versions.clear();
        let held = freed.iter().filter(|w| w.strong_count() > 0).count();
        assert!(held <= model.len() + 1024 + 1, "{held} of {} entries gone are still held", freed.len());
        while let Some((_, (h, e))) = model.pop_first() {
            now.remove(&mut books, h, &e.rule);
        }
        assert!(freed.iter().all(|w| w.strong_count() == 0) && now.chunks.is_empty());
    }

    #[test]
    fn two_lines_from_one_version_do_not_meet() {
        let (mut a, mut books, mut maker) =
            (Entries::default(), Books::default(), Maker(Interner::default()));
        let (h, e) = maker.entry(1, 9);
        a.insert(&mut books, h, e);
        let (b, c) = (a.clone(), a.clone());
        assert!(b.is_newest() && !a.is_newest() && !c.is_newest() && !c.clone().is_newest());
    }

    #[test]
    fn readers_find_what_their_version_has_while_the_writer_goes_on() {
        let (mut now, mut books, mut maker) =
            (Entries::default(), Books::default(), Maker(Interner::default()));
        let all: Vec<_> = (0..6000).map(|i| maker.entry(i, 9)).collect();
        let (tell, told) = std::sync::mpsc::channel::<(Entries, usize)>();
        let all = &all;
        std::thread::scope(|s| {
            let reader = s.spawn(move || {
                let mut seen = 0;
                while let Ok((version, n)) = told.recv() {
                    // An entry is there if it was added before the version; the first half goes again, each 1000 steps after it came.
                    for (i, (h, e)) in all.iter().enumerate().step_by(7) {
                        let there = version.all_of(*h).any(|x| Arc::ptr_eq(&x.rule, &e.rule));
                        assert_eq!(there, i < n && (i >= 3000 || i + 1000 >= n), "{i} of {n}");
                    }
                    seen += 1;
                }
                seen
            });
            let mut published = 0;
            for (i, (h, e)) in all.iter().enumerate() {
                now.insert(&mut books, *h, e.clone());
                if let Some((h, e)) = i.checked_sub(1000).filter(|i| *i < 3000).map(|i| &all[i]) {
                    assert!(now.remove(&mut books, *h, &e.rule).is_some());
                }
                if i % 50 == 49 {
                    let next = now.clone();
                    tell.send((std::mem::replace(&mut now, next), i + 1)).expect("reads");
                    published += 1;
                }
            }
            drop(tell);
            assert_eq!(reader.join().expect("found all"), published);
        });
    }
}
