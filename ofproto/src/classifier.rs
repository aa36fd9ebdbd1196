//! The priority classifier of one flow table: which entry decides a packet, and which bits of the packet say so.
//!
//! **What it answers.** [`Classifier::lookup`] gives the entry of highest priority that matches a flow, and sets in `wc` every bit that the
//! answer depends on: any flow that equals this one on those bits gets the same answer.
//!
//! **Design**, naively: one subtable a mask, a hash table each, look into all, take the best. On top of it:
//! - *Priority cut*: subtables are visited in falling order of their highest priority; one that cannot win is not looked at, so its
//!   bits stay wild.
//! - *Stages*: a subtable's mask is cut into port/metadata, L2, L3, L4; for each stage but the last it knows the hashes that occur. A
//!   miss in an early stage leaves the later stages' bits wild.
//! - *Prefix tries* for addresses and ports: if no entry of a prefix length matches, a few leading bits prove it.
//! - *Conjunction*: entries that are clauses (`conjunction(id, k/n)`) are collected; a full set looks up `conj_id=id`.
//!
//! **Thread-safety**: all of it is persistent ([`crate::entries`], [`crate::index`], [`crate::prefix_trie`]). The control thread changes its own
//! copy; readers have a clone from the last publication. Its entries never change; stages may come to know hashes that are too new for it,
//! which can only make the bits of an answer more.
//!
//! **Cost**: a lookup visits as many subtables as there are masks above the winner's priority; memory about 55 bytes an entry
//! beside the entry itself.

use crate::entries::{Books, Entries, Entry};
use crate::flow::{Flow, MaskInfo, STAGES, STAGE_MASKS, TRIES};
use crate::index::Hashes;
use crate::prefix_trie::{PrefixTrie, TrieAnswer};
use crate::rule::{Instrs, Place, RuleCore};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Hashes of a match after each stage of its mask. By the last its subtable finds it.
#[derive(Clone, Copy)]
pub struct StageHashes([u32; STAGES]);

impl StageHashes {
    /// Of a match.
    pub fn of(mask: &MaskInfo, value: &Flow) -> Self {
        let mut h = 0;
        Self(std::array::from_fn(|s| {
            h = mask.hash_stage(s, value, h);
            h as u32
        }))
    }
    /// The hash of the whole match.
    pub fn whole(&self) -> u32 {
        self.0[STAGES - 1]
    }
}

#[derive(Clone)]
struct Subtable {
    mask: Arc<MaskInfo>,
    max_priority: u16,
    entries: Entries,
    stages: [Option<Hashes>; STAGES - 1],
}

impl Subtable {
    fn new(mask: &Arc<MaskInfo>) -> Self {
        let known = |s: usize| !mask.stages[s].is_empty() && s < mask.last_stage;
        Self {
            mask: mask.clone(),
            max_priority: 0,
            entries: Entries::default(),
            stages: std::array::from_fn(|s| known(s).then(Hashes::default)),
        }
    }
    fn insert(&mut self, books: &mut Books, hashes: &StageHashes, entry: Entry) {
        for (set, h) in self.stages.iter_mut().zip(hashes.0) {
            set.iter_mut().for_each(|s| s.insert(h));
        }
        self.entries.insert(books, hashes.whole(), entry);
    }
    fn remove(&mut self, books: &mut Books, value: &Flow, rule: &Arc<RuleCore>) -> Option<Entry> {
        let hashes = StageHashes::of(&self.mask, value);
        let entry = self.entries.remove(books, hashes.whole(), rule)?;
        for (set, h) in self.stages.iter_mut().zip(hashes.0) {
            set.iter_mut().for_each(|s| s.remove(h));
        }
        Some(entry)
    }
    /// The entry of exactly this match and priority.
    fn find(&self, values: &[u64], hash: u32, priority: u16) -> Option<&Entry> {
        self.entries.get(hash, priority).find(|e| e.rule.priority == priority && e.rule.values[..] == *values)
    }
    /// To be changed: if it is not the newest version (nobody does that but tests), as a copy that shares nothing.
    fn mine<'a>(this: &'a mut Arc<Self>, books: &mut Books) -> &'a mut Self {
        let sub = Arc::make_mut(this);
        if !sub.entries.is_newest() {
            let mut new = Self { max_priority: sub.max_priority, ..Self::new(&sub.mask) };
            *books = Books::default();
            sub.entries.iter().for_each(|e| new.insert(books, &e.rule.hashes(), e.clone()));
            *sub = new;
        }
        sub
    }
}

#[derive(Clone, Default)]
struct Tries {
    v4: [PrefixTrie<u32>; 2],
    v6: [PrefixTrie<u128>; 2],
    ports: [PrefixTrie<u32>; 2],
}

fn trie_key(f: &Flow, i: usize) -> u128 {
    let (at, n, _) = TRIES[i];
    f.get(at, n) << (128 - n * 8)
}

impl Tries {
    fn change(&mut self, i: usize, value: &Flow, plen: u8, add: bool) {
        let k = trie_key(value, i);
        let k32 = (k >> 96) as u32;
        let t32 = |t: &mut PrefixTrie<u32>| if add { t.insert(k32, plen) } else { t.remove(k32, plen) };
        match i {
            0 | 1 => t32(&mut self.v4[i]),
            2 | 3 if add => self.v6[i - 2].insert(k, plen),
            2 | 3 => self.v6[i - 2].remove(k, plen),
            _ => t32(&mut self.ports[i - 4]),
        }
    }
    fn lookup(&self, i: usize, f: &Flow) -> TrieAnswer {
        let k = trie_key(f, i);
        match i {
            0 | 1 => self.v4[i].lookup((k >> 96) as u32),
            2 | 3 => self.v6[i - 2].lookup(k),
            _ => self.ports[i - 4].lookup((k >> 96) as u32),
        }
    }
}

/// What readers see; see the module.
#[derive(Clone, Default)]
pub struct Classifier {
    slots: Arc<Vec<Option<Arc<Subtable>>>>,
    /// Slots by falling highest priority.
    order: Arc<Vec<u32>>,
    tries: Arc<Tries>,
    len: usize,
}

/// What only the writer needs to know of a subtable.
#[derive(Default)]
struct WriterSub {
    slot: u32,
    priorities: BTreeMap<u16, u32>,
    entries: Books,
}

/// The writer's books. Kept apart, so that publication does not copy them.
#[derive(Default)]
pub struct Writer {
    /// By the address of the mask, which is shared by all entries that have it ([`crate::rule::Interner`]).
    subs: hashbrown::HashMap<usize, WriterSub>,
}

fn mask_key(mask: &Arc<MaskInfo>) -> usize {
    Arc::as_ptr(mask) as usize
}

impl Classifier {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }
    /// No entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Number of masks.
    pub fn subtables(&self) -> usize {
        self.order.len()
    }
    /// All masks.
    pub fn masks(&self) -> impl Iterator<Item = &Arc<MaskInfo>> {
        self.slots.iter().flatten().map(|s| &s.mask)
    }

    fn sub(&self, w: &Writer, mask: &Arc<MaskInfo>) -> Option<&Subtable> {
        self.slots[w.subs.get(&mask_key(mask))?.slot as usize].as_deref()
    }

    /// Has the memory fetched on which [`Classifier::prefetch`] would have to wait.
    pub fn prefetch_way(&self, w: &Writer, place: &Place) {
        let Some(sub) = self.sub(w, place.mask()) else { return };
        for (set, h) in sub.stages.iter().zip(place.hashes.0) {
            set.iter().for_each(|s| s.prefetch_way(h));
        }
        sub.entries.prefetch_way(place.hashes.whole());
    }
    /// Has the memory fetched that finding and adding an entry there will touch: in a large table it comes from far away, and the
    /// writer can do something else meanwhile.
    pub fn prefetch(&self, w: &Writer, place: &Place) {
        let Some(sub) = self.sub(w, place.mask()) else { return };
        for (set, h) in sub.stages.iter().zip(place.hashes.0) {
            set.iter().for_each(|s| s.prefetch(h));
        }
        sub.entries.prefetch(place.hashes.whole());
    }

    /// Adds an entry, whose hashes these are; the caller has made sure that there is no equal one.
    pub fn insert(&mut self, w: &mut Writer, hashes: &StageHashes, entry: Entry) {
        let rule = &entry.rule;
        let mask = rule.mask();
        let slots = Arc::make_mut(&mut self.slots);
        let book = w.subs.entry(mask_key(mask)).or_insert_with(|| {
            let slot = slots.iter().position(Option::is_none).unwrap_or_else(|| {
                slots.push(None);
                slots.len() - 1
            });
            slots[slot] = Some(Arc::new(Subtable::new(mask)));
            WriterSub { slot: slot as u32, ..Default::default() }
        });
        let is_new = book.priorities.is_empty();
        *book.priorities.entry(rule.priority).or_default() += 1;
        let max = *book.priorities.keys().next_back().unwrap_or(&0);
        let Some(sub) = slots[book.slot as usize].as_mut() else { return };
        let sub = Subtable::mine(sub, &mut book.entries);
        let reorder = is_new || sub.max_priority != max;
        sub.max_priority = max;
        if mask.plens.iter().any(|p| *p > 0) {
            let tries = Arc::make_mut(&mut self.tries);
            let value = mask.unpack(&rule.values);
            for (i, &p) in mask.plens.iter().enumerate().filter(|(_, p)| **p > 0) {
                tries.change(i, &value, p, true);
            }
        }
        sub.insert(&mut book.entries, hashes, entry);
        self.len += 1;
        if reorder {
            self.reorder();
        }
    }

    fn reorder(&mut self) {
        let mut order: Vec<u32> =
            (0..self.slots.len() as u32).filter(|&i| self.slots[i as usize].is_some()).collect();
        order.sort_by_key(|&i| {
            std::cmp::Reverse(self.slots[i as usize].as_ref().map_or(0, |s| s.max_priority))
        });
        self.order = Arc::new(order);
    }

    /// Removes an entry.
    pub fn remove(&mut self, w: &mut Writer, rule: &Arc<RuleCore>) -> Option<Entry> {
        let mask = rule.mask();
        let book = w.subs.get_mut(&mask_key(mask))?;
        let value = mask.unpack(&rule.values);
        let slots = Arc::make_mut(&mut self.slots);
        let sub = Subtable::mine(slots[book.slot as usize].as_mut()?, &mut book.entries);
        let entry = sub.remove(&mut book.entries, &value, rule)?;
        if mask.plens.iter().any(|p| *p > 0) {
            let tries = Arc::make_mut(&mut self.tries);
            for (i, &p) in mask.plens.iter().enumerate().filter(|(_, p)| **p > 0) {
                tries.change(i, &value, p, false);
            }
        }
        if let Some(n) = book.priorities.get_mut(&rule.priority) {
            *n -= 1;
            if *n == 0 {
                book.priorities.remove(&rule.priority);
            }
        }
        self.len -= 1;
        match book.priorities.keys().next_back() {
            None => {
                slots[book.slot as usize] = None;
                w.subs.remove(&mask_key(mask));
                self.reorder();
            }
            Some(&max) if max != sub.max_priority => {
                sub.max_priority = max;
                self.reorder();
            }
            _ => {}
        }
        Some(entry)
    }

    /// Gives an entry other instructions.
    pub fn set_instrs(&mut self, w: &mut Writer, rule: &Arc<RuleCore>, instrs: Arc<Instrs>) {
        let Some(book) = w.subs.get_mut(&mask_key(rule.mask())) else { return };
        if let Some(sub) = Arc::make_mut(&mut self.slots)[book.slot as usize].as_mut() {
            let entries = &mut Subtable::mine(sub, &mut book.entries).entries;
            entries.set_instrs(&mut book.entries, rule.hash(), rule, instrs);
        }
    }

    /// The entry of exactly this match, of which `hash` is the hash of the whole, and priority.
    pub fn find_strict(
        &self,
        w: &Writer,
        mask: &Arc<MaskInfo>,
        (values, hash): (&[u64], u32),
        priority: u16,
    ) -> Option<&Entry> {
        self.sub(w, mask)?.find(values, hash, priority)
    }

    /// The same for readers, who look through the masks.
    pub fn find_equal(&self, mask: &Flow, value: &Flow, priority: u16) -> Option<&Entry> {
        let sub = self.slots.iter().flatten().find(|s| s.mask.mask == *mask)?;
        sub.find(&sub.mask.pack(value), sub.mask.hash(value) as u32, priority)
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().flatten().flat_map(|s| s.entries.iter())
    }

    /// All entries at least as narrow as a match (which they are a special case of).
    pub fn covered<'a>(&'a self, value: &'a Flow, mask: &'a Flow) -> impl Iterator<Item = &'a Entry> {
        self.slots.iter().flatten().filter(|s| mask.is_subset_of(&s.mask.mask)).flat_map(move |s| {
            // An equal mask is a hash lookup, a wider one a walk.
            let exact = s.mask.mask == *mask;
            let hash = s.mask.hash(value) as u32;
            let one = exact.then(|| s.entries.all_of(hash)).into_iter().flatten();
            let walk = (!exact).then(|| s.entries.iter()).into_iter().flatten();
            one.chain(walk).filter(move |e| {
                s.mask.words.iter().zip(&e.rule.values).all(|(&w, v)| {
                    let (w, m) = (w as usize, mask.0[w as usize]);
                    (v ^ value.0[w]) & m == 0
                })
            })
        })
    }

    /// An entry of this priority that some packet would match together with the given match.
    pub fn overlapping(&self, value: &Flow, mask: &Flow, priority: u16) -> Option<&Entry> {
        self.slots.iter().flatten().filter(|s| s.max_priority >= priority).find_map(|s| {
            s.entries.iter().find(|e| {
                e.rule.priority == priority
                    && s.mask.words.iter().zip(&e.rule.values).all(|(&w, v)| {
                        let w = w as usize;
                        (v ^ value.0[w]) & mask.0[w] & s.mask.mask.0[w] == 0
                    })
            })
        })
    }

    /// Some entries, for a walk in slices: see [`Entries::some_from`].
    pub fn walk(&self, slot: &mut usize, pos: &mut u64) -> Option<impl Iterator<Item = &Entry>> {
        while *slot < self.slots.len() {
            if let Some(s) = &self.slots[*slot] {
                if let Some((some, next)) = s.entries.some_from(*pos) {
                    *pos = next;
                    return Some(some);
                }
            }
            *slot += 1;
            *pos = 0;
        }
        None
    }

    /// The entry that decides `flow`; see the module. `wc` may be `None` where no mask is wanted.
    pub fn lookup(&self, flow: &Flow, wc: &mut Flow) -> Option<&Entry> {
        let mut soft: SmallVec<[&Entry; 4]> = SmallVec::new();
        let mut best = None;
        self.scan(flow, wc, &mut soft, &mut best);
        if soft.is_empty() {
            return best;
        }
        // Clauses: from the highest priority down, as long as they beat the best plain entry.
        soft.sort_by_key(|e| std::cmp::Reverse(e.rule.priority));
        let mut i = 0;
        while i < soft.len() {
            let p = soft[i].rule.priority;
            if best.is_some_and(|b| b.rule.priority >= p) {
                break;
            }
            let end = soft[i..].iter().position(|e| e.rule.priority != p).map_or(soft.len(), |n| i + n);
            let mut sets: SmallVec<[(u32, u8, u64); 4]> = SmallVec::new();
            for &(id, clause, n) in soft[i..end].iter().flat_map(|e| &e.instrs.conj) {
                match sets.iter_mut().find(|s| s.0 == id) {
                    Some(s) => s.2 |= 1 << clause.min(63),
                    None => sets.push((id, n, 1 << clause.min(63))),
                }
            }
            let full = |n: u8| if n >= 64 { u64::MAX } else { (1 << n) - 1 };
            sets.sort_unstable();
            for (id, n, have) in sets {
                if have & full(n) == full(n) {
                    let mut with_id = *flow;
                    with_id.put(crate::flow::pipe::CONJ_ID, 4, id.into());
                    let (mut s2, mut found) = (SmallVec::new(), None);
                    self.scan(&with_id, wc, &mut s2, &mut found);
                    if found.is_some() {
                        return found;
                    }
                }
            }
            i = end;
        }
        best
    }

    /// Clauses that match, and the best of all other entries that do.
    fn scan<'a>(
        &'a self,
        flow: &Flow,
        wc: &mut Flow,
        soft: &mut SmallVec<[&'a Entry; 4]>,
        best: &mut Option<&'a Entry>,
    ) {
        let mut answers: [Option<TrieAnswer>; TRIES.len()] = [None; TRIES.len()];
        'subtables: for &slot in self.order.iter() {
            let Some(sub) = self.slots[slot as usize].as_deref() else { continue };
            if best.is_some_and(|b| b.rule.priority >= sub.max_priority) {
                break;
            }
            let m = &sub.mask;
            let mut h = 0;
            for s in 0..=m.last_stage {
                for (i, &plen) in m.plens.iter().enumerate() {
                    if plen == 0 || TRIES[i].2 != s {
                        continue;
                    }
                    let a = answers[i].get_or_insert_with(|| self.tries.lookup(i, flow));
                    if a.matched >> (plen - 1) & 1 == 0 {
                        set_prefix(wc, i, a.bits.min(plen.into()));
                        continue 'subtables;
                    }
                }
                h = m.hash_stage(s, flow, h);
                if let Some(Some(set)) = sub.stages.get(s) {
                    if !set.contains(h as u32) {
                        for (k, sm) in STAGE_MASKS.iter().enumerate().take(s + 1) {
                            let _ = k;
                            for &w in &m.words {
                                wc.0[w as usize] |= m.mask.0[w as usize] & sm.0[w as usize];
                            }
                        }
                        continue 'subtables;
                    }
                }
            }
            for &w in &m.words {
                wc.0[w as usize] |= m.mask.0[w as usize];
            }
            sub.entries.visit(h as u32, |e| {
                if !m.equals(flow, &e.rule.values) {
                    return false;
                }
                if !e.instrs.conj.is_empty() {
                    soft.push(e);
                    return false;
                }
                if best.is_none_or(|b| b.rule.priority < e.rule.priority) {
                    *best = Some(e);
                }
                true
            });
        }
    }
}

fn set_prefix(wc: &mut Flow, i: usize, bits: u32) {
    let (at, _, _) = TRIES[i];
    for b in 0..bits as usize / 8 {
        wc.set_byte(at + b, 0xff);
    }
    if !bits.is_multiple_of(8) {
        let at = at + bits as usize / 8;
        wc.set_byte(at, wc.byte(at) | !(0xffu8 >> (bits % 8)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Interner;
    use datapath::flow_key::off;
    use openflow::field::Field;
    use openflow::msg::FlowModFlags;
    use openflow::{Instruction, Match, TableId};

    struct Rng(u64);
    impl Rng {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = crate::flow::mix(self.0, 1);
            (self.0 >> 8) % n
        }
    }

    fn random_match(r: &mut Rng) -> Match {
        let mut m = Match::new();
        if r.below(3) == 0 {
            m = m.with(Field::InPort, r.below(3).into());
        }
        if r.below(4) == 0 {
            m = m.with_masked(Field::Metadata, r.below(4).into(), 3);
        }
        if r.below(4) == 0 {
            m = m.with(Field::EthDst, r.below(3).into());
        }
        if r.below(2) == 0 {
            m = m.with(Field::EthType, 0x0800);
            for f in [Field::Ipv4Src, Field::Ipv4Dst] {
                if r.below(2) == 0 {
                    let plen = r.below(33) as u32;
                    let mask = (0xffff_ffffu64 << (32 - plen)) as u32;
                    let ip = 0x0a00_0000 | (r.below(8) as u32 * 0x0101_0101);
                    m = m.with_masked(f, (ip & mask).into(), mask.into());
                }
            }
            if r.below(3) == 0 {
                m = m.with(Field::IpProto, 6).with(Field::TcpDst, r.below(4).into());
            }
        }
        m
    }

    fn random_flow(r: &mut Rng) -> Flow {
        let mut f = Flow::ZERO;
        f.put(crate::flow::pipe::IN_PORT, 4, r.below(3).into());
        f.put(crate::flow::pipe::METADATA, 8, r.below(4).into());
        f.put(off::ETH_DST, 6, r.below(3).into());
        f.put(off::ETH_TYPE, 2, if r.below(3) == 0 { 0x0806 } else { 0x0800 });
        for at in [off::IPV4_SRC, off::IPV4_DST] {
            f.put(at, 4, (0x0a00_0000u64 | (r.below(9) * 0x0101_0101)).into());
        }
        f.put(off::IP_PROTO, 1, if r.below(2) == 0 { 6 } else { 17 });
        f.put(off::TP_DST, 2, r.below(5).into());
        f
    }

    /// Forty obvious lines would do; these are fewer: the highest priority of all that match.
    fn reference(rules: &[(Arc<RuleCore>, Arc<Instrs>)], f: &Flow) -> Option<u16> {
        rules.iter().filter(|(r, _)| r.mask().equals(f, &r.values)).map(|(r, _)| r.priority).max()
    }

    #[test]
    fn equals_the_linear_reference_and_its_mask_is_enough() {
        for seed in 0..60 {
            let mut r = Rng(seed);
            let (mut c, mut w, mut int) = (Classifier::default(), Writer::default(), Interner::default());
            let mut rules: Vec<(Arc<RuleCore>, Arc<Instrs>)> = Vec::new();
            // Now and then, many entries of few matches.
            let (steps, few) = if seed % 10 == 0 { (600, Some(2)) } else { (120, None) };
            for step in 0..steps {
                let snapshot = c.clone();
                let before = rules.clone();
                if r.below(4) == 0 && !rules.is_empty() {
                    let (rule, _) = rules.swap_remove(r.below(rules.len() as u64) as usize);
                    assert!(c.remove(&mut w, &rule).is_some());
                } else {
                    let m = match few {
                        None => random_match(&mut r),
                        Some(n) => Match::new().with_masked(Field::EthDst, r.below(n).into(), 3),
                    };
                    let p = step as u16 * 8 + r.below(8) as u16;
                    let rule = int.place(&m).unwrap().rule(0, p, 0, (0, 0), FlowModFlags::empty(), 0);
                    let v = rule.mask().unpack(&rule.values);
                    assert_eq!(crate::fields::match_to_flow(&m), Some((v, rule.mask().mask)));
                    let place = int.known_place(&m).unwrap();
                    let (hashes, at) = (place.hashes, (&place.values[..], place.hashes.whole()));
                    assert_eq!((&place.values, at.1), (&rule.values, rule.hash()));
                    assert!(c.find_strict(&w, rule.mask(), at, p).is_none());
                    let i = int.instrs(&[Instruction::GotoTable(TableId(1))].into_iter().collect());
                    let rule = Arc::new(rule);
                    assert_eq!(rule.matching(), m);
                    c.insert(&mut w, &hashes, Entry { rule: rule.clone(), instrs: i.clone() });
                    assert!(c.find_strict(&w, rule.mask(), at, p).is_some());
                    rules.push((rule, i));
                }
                assert_eq!(c.len(), rules.len());
                assert_eq!(c.iter().count(), rules.len());
                for (cls, rules) in [(&c, &rules), (&snapshot, &before)] {
                    let f = random_flow(&mut r);
                    let mut wc = Flow::ZERO;
                    let want = reference(rules, &f);
                    assert_eq!(cls.lookup(&f, &mut wc).map(|e| e.rule.priority), want);
                    // Any flow that agrees on the mask gets the same answer.
                    for _ in 0..20 {
                        let g = random_flow(&mut r);
                        let mut h = f;
                        for i in 0..h.0.len() {
                            h.0[i] = f.0[i] & wc.0[i] | g.0[i] & !wc.0[i];
                        }
                        assert_eq!(
                            reference(rules, &h),
                            want,
                            "seed {seed}: {f:?} and {h:?} agree on {wc:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_prefix_miss_costs_few_bits() {
        let (mut c, mut w, mut int) = (Classifier::default(), Writer::default(), Interner::default());
        let m = Match::new().with(Field::EthType, 0x0800).with(Field::Ipv4Dst, 0x0a00_0001);
        let i = int.instrs(&Default::default());
        let rule = int.place(&m).unwrap().rule(0, 5, 0, (0, 0), FlowModFlags::empty(), 0);
        c.insert(&mut w, &rule.hashes(), Entry { rule: Arc::new(rule), instrs: i });
        let mut f = Flow::ZERO;
        f.put(off::ETH_TYPE, 2, 0x0800);
        f.put(off::IPV4_DST, 4, 0xc0a8_0001);
        let mut wc = Flow::ZERO;
        assert!(c.lookup(&f, &mut wc).is_none());
        assert_eq!(wc.get(off::IPV4_DST, 4), 0x8000_0000);
    }
}
