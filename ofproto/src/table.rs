//! The flow tables of a bridge: what flow-mods do to them, timeouts, and the entries' statistics.
//!
//! A flow-mod is checked as a whole ([`crate::check`]) before anything changes. What it did comes back as [`Effect`]s: from them the
//! switch knows what to repair, what to report, and how to take it back ([`FlowTables::undo`]) if a bundle fails later on.

use crate::api::BridgeId;
use crate::check;
use crate::classifier::{Classifier, StageHashes, Writer};
use crate::entries::Entry;
use crate::fields::match_to_flow;
use crate::learned::{name_of, Learned, LearnedSet};
use crate::revalidator::Change;
use crate::rule::{Instrs, Interner, Learns, Place, RuleCore};
use openflow::msg::multipart::{AggregateStats, FlowStats, FlowStatsRequest};
use openflow::msg::{FlowMod, FlowModCommand, FlowModFlags, FlowRemoved, FlowRemovedReason, OFP_NO_BUFFER};
use openflow::{GroupId, MeterId, OfpError, PortNo, TableId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Tables of a bridge, 0 to 254.
pub const N_TABLES: usize = 255;
/// Most entries of a table unless it is told otherwise.
pub const MAX_ENTRIES: u32 = 4_000_000;

/// Something that happened to a table.
#[derive(Clone, Debug)]
pub enum Effect {
    /// An entry is new.
    Added(Entry),
    /// An entry does something else now (the same rule), or an add took the place of one of the same match (another rule).
    Modified {
        /// Before.
        old: Entry,
        /// After.
        new: Entry,
    },
    /// An entry was deleted.
    Removed(Entry),
    /// A modify set an entry's counters to zero; what they were.
    Reset(Arc<RuleCore>, (u64, u64)),
}

impl Effect {
    /// What caches must know of it.
    pub fn changes(&self, bridge: BridgeId, out: &mut Vec<Change>) {
        // A clause is never what a lookup finds: when it goes, whatever it may match is asked anew.
        if let Self::Modified { old: e, .. } | Self::Removed(e) = self {
            if !e.instrs.conj.is_empty() {
                out.push(Change::RuleAdded(bridge, e.rule.clone()));
            }
        }
        match self {
            Self::Added(e) => out.push(Change::RuleAdded(bridge, e.rule.clone())),
            Self::Modified { old, new } => {
                out.push(Change::RuleGone(bridge, old.rule.clone()));
                if !Arc::ptr_eq(&old.rule, &new.rule) || !new.instrs.conj.is_empty() {
                    out.push(Change::RuleAdded(bridge, new.rule.clone()));
                }
            }
            Self::Removed(e) => out.push(Change::RuleGone(bridge, e.rule.clone())),
            Self::Reset(..) => {}
        }
    }
}

/// What exists beside the tables.
pub trait Checks {
    /// Is there such a group?
    fn group_exists(&self, id: GroupId) -> bool;
    /// Is there such a meter?
    fn meter_exists(&self, id: MeterId) -> bool;
    /// May actions output to this port number?
    fn port_ok(&self, port: PortNo) -> bool;
    /// Highest table number.
    fn max_table(&self) -> u8;
}

/// Where a dump stands. Survives changes: an entry that stays is shown exactly once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor {
    table: usize,
    slot: usize,
    pos: u64,
}

impl Cursor {
    /// Nothing was dumped yet.
    pub fn is_start(&self) -> bool {
        (self.table, self.slot, self.pos) == (0, 0, 0)
    }
}

struct Due {
    at_ms: u64,
    seq: u64,
    rule: Arc<RuleCore>,
}
impl PartialEq for Due {
    fn eq(&self, o: &Self) -> bool {
        (self.at_ms, self.seq) == (o.at_ms, o.seq)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, o: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(o))
    }
}
impl Ord for Due {
    fn cmp(&self, o: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.seq).cmp(&(o.at_ms, o.seq))
    }
}

/// Entries that may wait for a time that no longer matters.
const FEW_DUE: usize = 1024;
/// Tables of a row of [`Tables`].
const ROW: usize = 16;

/// The classifiers of all tables; a clone is one reference count, and a change after it copies one row rather than all.
#[derive(Clone, Default)]
pub struct Tables(Arc<[Arc<[Arc<Classifier>; ROW]>; N_TABLES.div_ceil(ROW)]>);

impl Tables {
    /// One table, if there is one of this number.
    #[inline]
    pub fn get(&self, table: usize) -> Option<&Arc<Classifier>> {
        (table < N_TABLES).then(|| &self.0[table / ROW][table % ROW])
    }
    /// One of the tables that there are.
    fn at(&self, table: usize) -> &Classifier {
        &self.0[table / ROW][table % ROW]
    }
    fn get_mut(&mut self, table: usize) -> &mut Classifier {
        Arc::make_mut(&mut Arc::make_mut(&mut Arc::make_mut(&mut self.0)[table / ROW])[table % ROW])
    }
    /// All tables in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Classifier>> {
        self.0.iter().flat_map(|row| row.iter()).take(N_TABLES)
    }
}

/// See the module.
pub struct FlowTables {
    /// What is published, by a clone.
    pub tables: Tables,
    writers: Vec<Writer>,
    interner: Interner,
    /// Most entries of each table.
    pub max_entries: Vec<u32>,
    /// Of tables that make room when they are full: entries that end by themselves, by when they do as last known.
    evictable: HashMap<usize, BTreeMap<(u64, u64), Arc<RuleCore>>>,
    due: BinaryHeap<Reverse<Due>>,
    seq: u64,
    groups: HashMap<GroupId, u32>,
    meters: HashMap<MeterId, u32>,
    /// What learn actions of entries have to do with others.
    learned: HashMap<LearnedSet, Learners>,
    /// Sets that may have lost the last entry that learns them and deletes what it learned.
    orphans: Vec<LearnedSet>,
    /// Sets with a limit whose number changed since [`FlowTables::take_recounted`].
    recounted: HashSet<LearnedSet>,
    len: usize,
    /// No table is full.
    pub unlimited: bool,
}

/// Who learns a set of entries.
#[derive(Default)]
struct Learners {
    /// Learn actions that have a limit.
    limits: u32,
    /// Learn actions that delete what they learned.
    deletes: u32,
    /// Entries of the set, as long as there is a limit.
    count: usize,
}

impl Default for FlowTables {
    fn default() -> Self {
        Self::new()
    }
}

/// Which entries a delete, modify or statistics request means beside its match.
struct Filter {
    cookie: u64,
    cookie_mask: u64,
    out_port: PortNo,
    out_group: GroupId,
}

impl Filter {
    fn passes(&self, e: &Entry) -> bool {
        (e.rule.cookie ^ self.cookie) & self.cookie_mask == 0
            && (self.out_port == PortNo::ANY || e.instrs.out_ports.contains(&self.out_port))
            && (self.out_group == GroupId::ANY || e.instrs.groups.contains(&self.out_group))
    }
}

impl FlowTables {
    /// Empty tables.
    pub fn new() -> Self {
        Self {
            tables: Tables::default(),
            writers: (0..N_TABLES).map(|_| Writer::default()).collect(),
            interner: Interner::default(),
            max_entries: vec![MAX_ENTRIES; N_TABLES],
            evictable: HashMap::new(),
            due: BinaryHeap::new(),
            seq: 0,
            groups: HashMap::new(),
            meters: HashMap::new(),
            learned: HashMap::new(),
            orphans: Vec::new(),
            recounted: HashSet::new(),
            len: 0,
            unlimited: false,
        }
    }
    /// Whether an add to a full table takes the place of the entry that would end first (of those with a timeout).
    pub fn set_eviction(&mut self, table: u8, on: bool) {
        let t = usize::from(table);
        self.evictable.remove(&t);
        if on {
            self.evictable.insert(t, BTreeMap::new());
            let all: Vec<_> = self.tables.at(t).iter().map(|e| e.rule.clone()).collect();
            all.iter().for_each(|r| self.note_evictable(r));
        }
    }
    fn note_evictable(&mut self, rule: &Arc<RuleCore>) {
        if self.evictable.is_empty() {
            return;
        }
        if let (Some(list), Some((at, _))) =
            (self.evictable.get_mut(&usize::from(rule.table)), Self::deadline(rule))
        {
            self.seq += 1;
            list.insert((at, self.seq), rule.clone());
        }
    }
    /// Gives a table room for `most` entries and decides whether it evicts; those that are too many go at once if it does, as far as they may.
    pub fn limit(&mut self, table: u8, most: u32, evict: bool, effects: &mut Vec<Effect>) {
        let t = usize::from(table);
        self.max_entries[t] = most;
        self.set_eviction(table, evict);
        while self.len(table) > most as usize && self.make_room(t, effects) {}
        self.delete_orphans(effects);
    }
    /// Removes the entry of a full table that would end first; `false`: there is none that may go.
    fn make_room(&mut self, t: usize, effects: &mut Vec<Effect>) -> bool {
        loop {
            let Some(list) = self.evictable.get_mut(&t) else { return false };
            let Some(((at, _), rule)) = list.pop_first() else { return false };
            if rule.dead.load(Ordering::Relaxed) {
                continue;
            }
            match Self::deadline(&rule) {
                // It was used since: another may end before it.
                Some((now, _)) if now > at => self.note_evictable(&rule),
                _ => {
                    if let Some(instrs) = self.take(&rule) {
                        effects.push(Effect::Removed(Entry { rule, instrs }));
                        return true;
                    }
                }
            }
        }
    }
    /// Entries of one table.
    pub fn len(&self, table: u8) -> usize {
        self.tables.get(table as usize).map_or(0, |t| t.len())
    }
    /// Entries in all tables.
    pub fn total(&self) -> usize {
        self.len
    }
    /// No entries at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Entries that use a group.
    pub fn group_refs(&self, id: GroupId) -> u32 {
        self.groups.get(&id).copied().unwrap_or(0)
    }
    /// Entries that use a meter.
    pub fn meter_refs(&self, id: MeterId) -> u32 {
        self.meters.get(&id).copied().unwrap_or(0)
    }

    fn count_refs(&mut self, instrs: &Instrs, up: bool) {
        fn change<K: std::hash::Hash + Eq>(map: &mut HashMap<K, u32>, k: K, up: bool) {
            let n = map.entry(k).or_default();
            *n = if up { *n + 1 } else { n.saturating_sub(1) };
        }
        let mut seen: smallvec::SmallVec<[GroupId; 4]> = smallvec::SmallVec::new();
        for g in &instrs.groups {
            if !seen.contains(g) {
                seen.push(*g);
                change(&mut self.groups, *g, up);
            }
        }
        let mut seen: smallvec::SmallVec<[MeterId; 4]> = smallvec::SmallVec::new();
        for m in &instrs.meters {
            if !seen.contains(m) {
                seen.push(*m);
                change(&mut self.meters, *m, up);
            }
        }
        instrs.learns.iter().for_each(|l| self.count_learner(l, up));
    }
    fn count_learner(&mut self, l: &Learns, up: bool) {
        let unknown = l.is_limited && !self.is_limited(&l.set);
        let there = if up && unknown { self.of_set(&l.set).count() } else { 0 };
        let s = self.learned.entry(l.set).or_default();
        let change = |n: &mut u32| *n = if up { *n + 1 } else { n.saturating_sub(1) };
        if l.is_limited {
            change(&mut s.limits);
            s.count = if up && unknown { there } else { s.count };
            self.recounted.insert(l.set);
        }
        if l.deletes {
            change(&mut s.deletes);
            if s.deletes == 0 {
                self.orphans.push(l.set);
            }
        }
        if (s.limits, s.deletes) == (0, 0) {
            self.learned.remove(&l.set);
        }
    }
    /// An entry of a set that has a limit comes or goes.
    fn count_learned(&mut self, rule: &RuleCore, up: bool) {
        if self.learned.is_empty() {
            return;
        }
        let set = LearnedSet::of(rule);
        if let Some(s) = self.learned.get_mut(&set).filter(|s| s.limits > 0) {
            s.count = if up { s.count + 1 } else { s.count.saturating_sub(1) };
            self.recounted.insert(set);
        }
    }
    fn of_set(&self, set: &LearnedSet) -> impl Iterator<Item = &Entry> {
        let (cookie, table) = (set.cookie, self.tables.get(set.table.into()));
        table.into_iter().flat_map(|t| t.iter()).filter(move |e| e.rule.cookie == cookie)
    }
    /// Whether some entry learns a set with a limit.
    pub fn is_limited(&self, set: &LearnedSet) -> bool {
        self.learned.get(set).is_some_and(|s| s.limits > 0)
    }
    /// Sets whose number changed since the last time, with that number; `None`: they have no limit any more.
    pub fn take_recounted(&mut self) -> Vec<(LearnedSet, Option<usize>)> {
        let sets = std::mem::take(&mut self.recounted);
        let count = |s: &LearnedSet| self.learned.get(s).filter(|s| s.limits > 0).map(|s| s.count);
        sets.into_iter().map(|s| (s, count(&s))).collect()
    }
    /// "... when the last learn action with this flag and particular table and cookie values is removed, the switch deletes all of the flows in the
    /// specified table with the specified cookie" (ovs-actions(7)).
    fn delete_orphans(&mut self, effects: &mut Vec<Effect>) {
        while let Some(set) = self.orphans.pop() {
            if self.learned.get(&set).is_none_or(|s| s.deletes == 0) {
                let gone: Vec<Entry> = self.of_set(&set).cloned().collect();
                gone.into_iter().for_each(|e| self.remove(e, effects));
            }
        }
    }

    fn put(&mut self, e: &Entry) {
        self.put_at(&e.rule.hashes(), e);
    }
    fn put_at(&mut self, hashes: &StageHashes, e: &Entry) {
        let t = e.rule.table as usize;
        e.rule.dead.store(false, Ordering::Relaxed);
        self.forget_ended();
        self.count_refs(&e.instrs, true);
        self.schedule(&e.rule);
        self.note_evictable(&e.rule);
        self.tables.get_mut(t).insert(&mut self.writers[t], hashes, e.clone());
        self.count_learned(&e.rule, true);
        self.len += 1;
    }

    fn take(&mut self, rule: &Arc<RuleCore>) -> Option<Arc<Instrs>> {
        let t = rule.table as usize;
        let e = self.tables.get_mut(t).remove(&mut self.writers[t], rule)?;
        rule.dead.store(true, Ordering::Relaxed);
        self.count_learned(rule, false);
        self.count_refs(&e.instrs, false);
        self.len -= 1;
        self.forget_ended();
        Some(e.instrs)
    }

    fn set_instrs(&mut self, rule: &Arc<RuleCore>, old: &Instrs, new: &Arc<Instrs>) {
        let t = rule.table as usize;
        self.count_refs(new, true);
        self.count_refs(old, false);
        self.tables.get_mut(t).set_instrs(&mut self.writers[t], rule, new.clone());
    }

    fn remove(&mut self, e: Entry, effects: &mut Vec<Effect>) {
        if self.take(&e.rule).is_some() {
            effects.push(Effect::Removed(e));
        }
    }

    /// Acts on a flow-mod and tells what it did.
    ///
    /// # Errors
    /// The error to answer with; nothing has changed then.
    pub fn flow_mod(
        &mut self,
        f: &FlowMod,
        now_ns: u64,
        checks: &dyn Checks,
    ) -> Result<Vec<Effect>, OfpError> {
        let mut effects = Vec::new();
        self.flow_mod_into(f, None, now_ns, checks, &mut effects)?;
        Ok(effects)
    }
    /// Has the memory fetched that a flow-mod will touch, which will come soon and may be anything; what [`FlowTables::flow_mod_into`] then need
    /// not find out again.
    pub fn expect(&self, f: &FlowMod) -> Option<Place> {
        let t = usize::from(f.table_id.0);
        let table = self.tables.get(t).filter(|_| f.command == FlowModCommand::ADD)?;
        let place = self.interner.known_place(&f.matching)?;
        table.prefetch_way(&self.writers[t], &place);
        Some(place)
    }
    /// As [`FlowTables::flow_mod`], and appends what it did. `place`: what [`FlowTables::expect`] of these tables said of it.
    ///
    /// # Errors
    /// As [`FlowTables::flow_mod`].
    pub fn flow_mod_into(
        &mut self,
        f: &FlowMod,
        place: Option<Place>,
        now_ns: u64,
        checks: &dyn Checks,
        effects: &mut Vec<Effect>,
    ) -> Result<(), OfpError> {
        if let Some(p) = &place {
            self.prefetch(f, p);
        }
        let delete = matches!(f.command, FlowModCommand::DELETE | FlowModCommand::DELETE_STRICT);
        if f.command.name().is_none() {
            return Err(OfpError::OFPFMFC_BAD_COMMAND);
        }
        if f.flags.unknown() != 0 {
            return Err(OfpError::OFPFMFC_BAD_FLAGS);
        }
        if f.table_id.0 > checks.max_table() && !(delete && f.table_id == TableId::ALL) {
            return Err(OfpError::OFPFMFC_BAD_TABLE_ID);
        }
        check::matching(&f.matching)?;
        if !delete {
            check::instructions(&f.instructions, f.table_id.0, &f.matching, checks)?;
            if f.buffer_id != OFP_NO_BUFFER {
                return Err(OfpError::OFPBRC_BUFFER_UNKNOWN);
            }
        }
        match f.command {
            FlowModCommand::ADD => self.add(f, place, now_ns, effects),
            FlowModCommand::MODIFY | FlowModCommand::MODIFY_STRICT => self.modify(f, effects),
            _ => self.delete(f, effects),
        }?;
        self.delete_orphans(effects);
        Ok(())
    }

    /// Acts on a learn action: like a strict modify (ovs-actions(7)) that adds, if nothing is there. An entry that is there keeps its age, counters,
    /// timeouts and flags, and its hard timeout starts anew. `used_ms`: when the packet came that says so; `late`: what happened to the entry
    /// since then is newer. `false`: the limit is reached.
    ///
    /// # Errors
    /// As [`FlowTables::flow_mod`].
    pub fn learn(
        &mut self,
        l: &Learned<Entry>,
        (used_ms, late): (u64, bool),
        now_ns: u64,
        checks: &dyn Checks,
        effects: &mut Vec<Effect>,
    ) -> Result<bool, OfpError> {
        let (f, set) = (&l.flow, l.set());
        let (value, mask) = match_to_flow(&f.matching).ok_or(OfpError::OFPBMC_BAD_FIELD)?;
        let old = self.find(set.table, &value, &mask, f.priority).cloned();
        let counts = old.as_ref().is_some_and(|e| e.rule.cookie == f.cookie);
        if let Some(e) = &old {
            if counts && e.instrs.list == f.instructions {
                e.rule.renew(used_ms);
                return Ok(true);
            }
            if late && used_ms < e.rule.modified_ms() + 10 {
                return Ok(true);
            }
        }
        let most = l.limit as usize;
        if most != 0 && !counts {
            let n = match self.learned.get(&set).filter(|s| s.limits > 0) {
                Some(s) => s.count,
                None => self.of_set(&set).take(most).count(),
            };
            if n >= most {
                return Ok(false);
            }
        }
        let Some(old) = old else {
            self.flow_mod_into(f, None, now_ns, checks, effects)?;
            return Ok(true);
        };
        check::instructions(&f.instructions, set.table, &f.matching, checks)?;
        let instrs = self.interner.instrs(&f.instructions);
        let new = if counts {
            self.set_instrs(&old.rule, &old.instrs, &instrs);
            old.with_instrs(instrs)
        } else {
            let (r, timeouts, created_ns) = (&old.rule, old.rule.timeouts(), old.rule.created_ns);
            let place = self.interner.place(&f.matching).ok_or(OfpError::OFPBMC_BAD_FIELD)?;
            let rule = place.rule(set.table, f.priority, f.cookie, timeouts, r.flags, created_ns);
            self.replace(&old, Arc::new(rule), instrs, true)
        };
        new.rule.used_ms.fetch_max(used_ms, Ordering::Relaxed);
        new.rule.renew(used_ms);
        effects.push(Effect::Modified { old, new });
        self.delete_orphans(effects);
        Ok(true)
    }

    /// Whether an entry is in its table, with these instructions.
    pub fn holds(&self, e: &Entry) -> bool {
        let (t, r) = (usize::from(e.rule.table), &e.rule);
        let at = (&r.values[..], r.hash());
        let found = self.tables.at(t).find_strict(&self.writers[t], r.mask(), at, r.priority);
        found.is_some_and(|f| Arc::ptr_eq(&f.rule, &e.rule) && Arc::ptr_eq(&f.instrs, &e.instrs))
    }

    /// Puts a rule in the place of an entry of the same match, with its counters if they are to be kept.
    fn replace(&mut self, old: &Entry, rule: Arc<RuleCore>, instrs: Arc<Instrs>, keep: bool) -> Entry {
        if keep {
            let (packets, bytes) = old.rule.counts();
            rule.packets.store(packets, Ordering::Relaxed);
            rule.bytes.store(bytes, Ordering::Relaxed);
        }
        self.take(&old.rule);
        let new = Entry { rule, instrs };
        if keep {
            old.rule.set_successor(Some(new.rule.clone()));
        }
        self.put(&new);
        new
    }

    fn prefetch(&self, f: &FlowMod, place: &Place) {
        let t = usize::from(f.table_id.0);
        if let Some(table) = self.tables.get(t) {
            table.prefetch(&self.writers[t], place);
        }
    }

    fn add(
        &mut self,
        f: &FlowMod,
        place: Option<Place>,
        now_ns: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), OfpError> {
        let t = f.table_id.0 as usize;
        let place = match place {
            Some(p) => p,
            None => {
                let place = self.interner.place(&f.matching).ok_or(OfpError::OFPBMC_BAD_FIELD)?;
                self.prefetch(f, &place);
                place
            }
        };
        let hashes = place.hashes;
        let timeouts = (f.idle_timeout, f.hard_timeout);
        let rule = Arc::new(place.rule(f.table_id.0, f.priority, f.cookie, timeouts, f.flags, now_ns));
        let instrs = self.interner.instrs(&f.instructions);
        let (table, mask) = (self.tables.at(t), rule.mask());
        if f.flags.contains(FlowModFlags::CHECK_OVERLAP)
            && table.overlapping(&mask.unpack(&rule.values), &mask.mask, f.priority).is_some()
        {
            return Err(OfpError::OFPFMFC_OVERLAP);
        }
        let at = (&rule.values[..], hashes.whole());
        let old = table.find_strict(&self.writers[t], mask, at, f.priority).cloned();
        let full = old.is_none() && table.len() >= self.max_entries[t] as usize && !self.unlimited;
        if full && !self.make_room(t, effects) {
            return Err(OfpError::OFPFMFC_TABLE_FULL);
        }
        effects.push(match old {
            Some(old) => {
                let keep = !f.flags.contains(FlowModFlags::RESET_COUNTS);
                let new = self.replace(&old, rule, instrs, keep);
                Effect::Modified { old, new }
            }
            None => {
                let new = Entry { rule, instrs };
                self.put_at(&hashes, &new);
                Effect::Added(new)
            }
        });
        Ok(())
    }

    /// The entries a modify or delete means, in one table.
    fn chosen(&self, t: usize, f: &FlowMod, strict: bool, filter: &Filter) -> Result<Vec<Entry>, OfpError> {
        let (value, mask) = match_to_flow(&f.matching).ok_or(OfpError::OFPBMC_BAD_FIELD)?;
        let table = self.tables.at(t);
        if table.is_empty() {
            return Ok(Vec::new());
        }
        Ok(if strict {
            let e = self.find(t as u8, &value, &mask, f.priority);
            e.filter(|e| filter.passes(e)).cloned().into_iter().collect()
        } else {
            table.covered(&value, &mask).filter(|e| filter.passes(e)).cloned().collect()
        })
    }

    fn modify(&mut self, f: &FlowMod, effects: &mut Vec<Effect>) -> Result<(), OfpError> {
        let filter = Filter {
            cookie: f.cookie,
            cookie_mask: f.cookie_mask,
            out_port: PortNo::ANY,
            out_group: GroupId::ANY,
        };
        let strict = f.command == FlowModCommand::MODIFY_STRICT;
        let chosen = self.chosen(f.table_id.0 as usize, f, strict, &filter)?;
        let new = self.interner.instrs(&f.instructions);
        for e in chosen {
            if f.flags.contains(FlowModFlags::RESET_COUNTS) {
                effects.push(Effect::Reset(e.rule.clone(), e.rule.counts()));
                e.rule.packets.store(0, Ordering::Relaxed);
                e.rule.bytes.store(0, Ordering::Relaxed);
            }
            if !Arc::ptr_eq(&e.instrs, &new) {
                self.set_instrs(&e.rule, &e.instrs, &new);
                let after = e.with_instrs(new.clone());
                effects.push(Effect::Modified { old: e, new: after });
            }
        }
        Ok(())
    }

    fn delete(&mut self, f: &FlowMod, effects: &mut Vec<Effect>) -> Result<(), OfpError> {
        let filter = Filter {
            cookie: f.cookie,
            cookie_mask: f.cookie_mask,
            out_port: f.out_port,
            out_group: f.out_group,
        };
        let strict = f.command == FlowModCommand::DELETE_STRICT;
        let tables = if f.table_id == TableId::ALL {
            0..N_TABLES
        } else {
            f.table_id.0 as usize..f.table_id.0 as usize + 1
        };
        let all = !strict
            && f.matching.fields.is_empty()
            && (f.cookie_mask, f.out_port, f.out_group) == (0, PortNo::ANY, GroupId::ANY);
        for t in tables {
            if all {
                self.clear(t, effects);
                continue;
            }
            for e in self.chosen(t, f, strict, &filter)? {
                self.remove(e, effects);
            }
        }
        Ok(())
    }

    /// Removes all entries of a table: it is replaced rather than taken apart.
    fn clear(&mut self, t: usize, effects: &mut Vec<Effect>) {
        if self.tables.at(t).is_empty() {
            return;
        }
        let old = std::mem::take(self.tables.get_mut(t));
        self.writers[t] = Writer::default();
        self.len -= old.len();
        effects.reserve(old.len());
        for e in old.iter() {
            e.rule.dead.store(true, Ordering::Relaxed);
            self.count_learned(&e.rule, false);
            self.count_refs(&e.instrs, false);
            effects.push(Effect::Removed(e.clone()));
        }
        self.forget_ended();
    }

    /// Takes back what the effects say, newest first.
    pub fn undo(&mut self, effects: impl IntoIterator<Item = Effect, IntoIter: DoubleEndedIterator>) {
        for e in effects.into_iter().rev() {
            match e {
                Effect::Added(e) => {
                    self.take(&e.rule);
                }
                Effect::Modified { old, new } if Arc::ptr_eq(&old.rule, &new.rule) => {
                    self.set_instrs(&old.rule, &new.instrs, &old.instrs);
                }
                Effect::Modified { old, new } => {
                    self.take(&new.rule);
                    old.rule.set_successor(None);
                    self.put(&old);
                }
                Effect::Removed(e) => self.put(&e),
                Effect::Reset(rule, (packets, bytes)) => {
                    rule.packets.fetch_add(packets, Ordering::Relaxed);
                    rule.bytes.fetch_add(bytes, Ordering::Relaxed);
                }
            }
        }
        // What was learned is back with what learned it.
        self.orphans.clear();
    }

    /// What megaflows must know of an effect that learned entries with a limit depend on.
    pub fn learned_changes(&self, bridge: BridgeId, effect: &Effect, out: &mut Vec<Change>) {
        if self.learned.is_empty() {
            return;
        }
        let (gone, new) = match effect {
            Effect::Added(e) => (None, Some(&e.rule)),
            Effect::Removed(e) => (Some(&e.rule), None),
            Effect::Modified { old, new } if old.rule.cookie != new.rule.cookie => {
                (Some(&old.rule), Some(&new.rule))
            }
            _ => return,
        };
        for rule in gone.into_iter().chain(new).filter(|r| self.is_limited(&LearnedSet::of(r))) {
            out.push(Change::LearnRoom(bridge, LearnedSet::of(rule)));
        }
        if let Some(r) = gone.filter(|r| self.is_limited(&LearnedSet::of(r))) {
            let name = name_of(&r.mask().unpack(&r.values), &r.mask().mask, r.priority);
            out.push(Change::Unlearned(bridge, LearnedSet::of(r), name));
        }
    }

    /// The entry with just this match and priority.
    pub fn find(
        &self,
        table: u8,
        value: &crate::flow::Flow,
        mask: &crate::flow::Flow,
        priority: u16,
    ) -> Option<&Entry> {
        let (t, mask) = (table as usize, self.interner.known_mask(mask)?);
        let at = (&mask.pack(value)[..], mask.hash(value) as u32);
        self.tables.get(t)?.find_strict(self.writers.get(t)?, mask, at, priority)
    }

    /// Removes the entries that `pred` is true of (of a group or meter that goes; see [`FlowTables::group_refs`]), and what is deleted with them.
    pub fn remove_entries(&mut self, pred: &dyn Fn(&Entry) -> bool) -> Vec<Entry> {
        let gone: Vec<Entry> =
            self.tables.iter().flat_map(|t| t.iter()).filter(|e| pred(e)).cloned().collect();
        let mut gone: Vec<Entry> = gone.into_iter().filter(|e| self.take(&e.rule).is_some()).collect();
        gone.extend(self.orphaned());
        gone
    }
    /// [`FlowTables::delete_orphans`], by itself.
    fn orphaned(&mut self) -> impl Iterator<Item = Entry> {
        let mut effects = Vec::new();
        self.delete_orphans(&mut effects);
        effects.into_iter().filter_map(|e| if let Effect::Removed(e) = e { Some(e) } else { None })
    }

    fn deadline(rule: &RuleCore) -> Option<(u64, FlowRemovedReason)> {
        let (idle, hard) = rule.timeouts();
        let hard = (hard != 0).then(|| rule.modified_ms() + u64::from(hard) * 1000);
        let idle = (idle != 0).then(|| rule.used_ms.load(Ordering::Relaxed) + u64::from(idle) * 1000);
        match (hard, idle) {
            (Some(h), Some(i)) if i < h => Some((i, FlowRemovedReason::IDLE_TIMEOUT)),
            (Some(h), _) => Some((h, FlowRemovedReason::HARD_TIMEOUT)),
            (None, i) => i.map(|i| (i, FlowRemovedReason::IDLE_TIMEOUT)),
        }
    }
    /// Has an entry looked at again at its deadline: when it is added, and when its timeouts got shorter.
    pub fn schedule(&mut self, rule: &Arc<RuleCore>) {
        if let Some((at_ms, _)) = Self::deadline(rule) {
            self.seq += 1;
            self.due.push(Reverse(Due { at_ms, seq: self.seq, rule: rule.clone() }));
        }
    }
    /// Entries that are gone stay in `due` till their time, which may be hours, and come again if a bundle's undo puts them back. Once they are the
    /// most of it, it is made anew: that costs each change a few steps, and it is never much longer than the tables.
    #[inline]
    fn forget_ended(&mut self) {
        if self.due.len() > 2 * self.len + FEW_DUE {
            let Self { tables, seq, .. } = self;
            let living = tables.iter().flat_map(|t| t.iter()).filter_map(|e| {
                let (at_ms, _) = Self::deadline(&e.rule)?;
                *seq += 1;
                Some(Reverse(Due { at_ms, seq: *seq, rule: e.rule.clone() }))
            });
            self.due = living.collect();
        }
        if !self.evictable.is_empty() {
            let too_long = |(t, list): (&usize, &BTreeMap<_, _>)| {
                (list.len() > 2 * self.tables.at(*t).len() + FEW_DUE).then_some(*t)
            };
            let long: Vec<usize> = self.evictable.iter().filter_map(too_long).collect();
            long.into_iter().for_each(|t| self.set_eviction(t as u8, true));
        }
    }
    /// When [`FlowTables::expired`] should be called next, in milliseconds since the switch started. Fold statistics in first.
    pub fn next_expiry(&self) -> Option<u64> {
        self.due.peek().map(|Reverse(d)| d.at_ms)
    }
    /// Removes entries whose time is up. `used_ms` of the entries must be up to date.
    pub fn expired(&mut self, now_ms: u64) -> Vec<(Entry, FlowRemovedReason)> {
        let mut out = Vec::new();
        while self.next_expiry().is_some_and(|at| at <= now_ms) {
            let Some(Reverse(d)) = self.due.pop() else { break };
            if d.rule.dead.load(Ordering::Relaxed) {
                continue;
            }
            match Self::deadline(&d.rule) {
                Some((at, reason)) if at <= now_ms => {
                    if let Some(instrs) = self.take(&d.rule) {
                        out.push((Entry { rule: d.rule, instrs }, reason));
                    }
                }
                _ => self.schedule(&d.rule),
            }
        }
        out.extend(self.orphaned().map(|e| (e, FlowRemovedReason::DELETE)));
        out
    }

    fn wanted(req: &FlowStatsRequest) -> Result<(crate::flow::Flow, crate::flow::Flow, Filter), OfpError> {
        check::matching(&req.matching)?;
        let (value, mask) = match_to_flow(&req.matching).ok_or(OfpError::OFPBMC_BAD_FIELD)?;
        let filter = Filter {
            cookie: req.cookie,
            cookie_mask: req.cookie_mask,
            out_port: req.out_port,
            out_group: req.out_group,
        };
        Ok((value, mask, filter))
    }

    /// Sums over the entries a request means.
    ///
    /// # Errors
    /// The match is none.
    pub fn aggregate(&self, req: &FlowStatsRequest) -> Result<AggregateStats, OfpError> {
        let (value, mask, filter) = Self::wanted(req)?;
        let mut sum = AggregateStats::default();
        for (t, table) in self.tables.iter().enumerate() {
            if req.table_id != TableId::ALL && req.table_id.0 as usize != t || table.is_empty() {
                continue;
            }
            for e in table.covered(&value, &mask).filter(|e| filter.passes(e)) {
                let (packets, bytes) = e.rule.counts();
                sum.packet_count += packets;
                sum.byte_count += bytes;
                sum.flow_count += 1;
            }
        }
        Ok(sum)
    }

    /// Appends entries that a request means, until there are about `max`; whether there may be more.
    ///
    /// # Errors
    /// The match is none.
    pub fn dump(
        &self,
        req: &FlowStatsRequest,
        cursor: &mut Cursor,
        max: usize,
        now_ns: u64,
        out: &mut Vec<FlowStats>,
    ) -> Result<bool, OfpError> {
        let (value, mask, filter) = Self::wanted(req)?;
        let start = out.len();
        if req.table_id != TableId::ALL {
            cursor.table = cursor.table.max(req.table_id.0 as usize);
        }
        while let Some(table) = self.tables.get(cursor.table) {
            if req.table_id != TableId::ALL && cursor.table > req.table_id.0 as usize {
                break;
            }
            let mut seen = 0;
            while let Some(some) = table.walk(&mut cursor.slot, &mut cursor.pos) {
                for e in some {
                    seen += 1;
                    let r = &e.rule;
                    let inside = mask.is_subset_of(&r.mask().mask) && {
                        let v = r.mask().unpack(&r.values);
                        v.0.iter().zip(&value.0).zip(&mask.0).all(|((a, b), m)| (a ^ b) & m == 0)
                    };
                    if inside && filter.passes(e) {
                        out.push(flow_stats(e, now_ns));
                    }
                }
                if out.len() - start >= max || seen > 50 * max + 10_000 {
                    return Ok(true);
                }
            }
            *cursor = Cursor { table: cursor.table + 1, slot: 0, pos: 0 };
        }
        Ok(false)
    }
}

fn age(rule: &RuleCore, now_ns: u64) -> (u32, u32) {
    let d = now_ns.saturating_sub(rule.created_ns);
    ((d / 1_000_000_000) as u32, (d % 1_000_000_000) as u32)
}

/// An entry as statistics tell it.
pub fn flow_stats(e: &Entry, now_ns: u64) -> FlowStats {
    let r = &e.rule;
    let (duration_sec, duration_nsec) = age(r, now_ns);
    let (packet_count, byte_count) = shown_counts(r);
    FlowStats {
        table_id: TableId(r.table),
        duration_sec,
        duration_nsec,
        priority: r.priority,
        idle_timeout: r.timeouts().0,
        hard_timeout: r.timeouts().1,
        flags: r.flags,
        cookie: r.cookie,
        packet_count,
        byte_count,
        matching: r.matching(),
        instructions: e.instrs.list.clone(),
    }
}

/// Counters as told: all ones where they are not kept (OpenFlow 1.3.5, "Counters").
fn shown_counts(r: &RuleCore) -> (u64, u64) {
    let (p, b) = r.counts();
    let shown = |n, off| if r.flags.contains(off) { u64::MAX } else { n };
    (shown(p, FlowModFlags::NO_PKT_COUNTS), shown(b, FlowModFlags::NO_BYT_COUNTS))
}

/// The message that an entry is gone.
pub fn flow_removed(r: &RuleCore, reason: FlowRemovedReason, now_ns: u64) -> FlowRemoved {
    let (duration_sec, duration_nsec) = age(r, now_ns);
    let (packet_count, byte_count) = shown_counts(r);
    FlowRemoved {
        cookie: r.cookie,
        priority: r.priority,
        reason,
        table_id: TableId(r.table),
        duration_sec,
        duration_nsec,
        idle_timeout: r.timeouts().0,
        hard_timeout: r.timeouts().1,
        packet_count,
        byte_count,
        matching: r.matching(),
    }
}

/// One action of a flow entry with this match, alone (for callers that check piecewise).
///
/// # Errors
/// `OFPBAC_*`.
pub fn check_action(a: &openflow::Action, checks: &dyn Checks, m: &openflow::Match) -> Result<(), OfpError> {
    let list = [openflow::Instruction::ApplyActions(vec![a.clone()])].into_iter().collect();
    check::instructions(&list, 0, m, checks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Flow;
    use openflow::text::{parse_flow, NoNames};
    use openflow::{Action, Instruction};

    struct All;
    impl Checks for All {
        fn group_exists(&self, id: GroupId) -> bool {
            id.0 < 10
        }
        fn meter_exists(&self, id: MeterId) -> bool {
            id.0 < 10
        }
        fn port_ok(&self, _: PortNo) -> bool {
            true
        }
        fn max_table(&self) -> u8 {
            254
        }
    }

    fn run(t: &mut FlowTables, command: FlowModCommand, text: &str) -> Result<Vec<Effect>, OfpError> {
        let mut f = parse_flow(text, command, &NoNames).unwrap();
        f.command = command;
        t.flow_mod(&f, 1_000_000_000, &All)
    }
    fn shown(t: &FlowTables) -> Vec<String> {
        let (mut out, mut cursor) = (Vec::new(), Cursor::default());
        while t.dump(&FlowStatsRequest::default(), &mut cursor, 1, 0, &mut out).unwrap() {}
        let mut v: Vec<String> = out
            .iter()
            .map(|f| {
                let m = openflow::text::print_match(&f.matching);
                format!(
                    "{} {} {m} {}",
                    f.table_id,
                    f.priority,
                    openflow::text::print_instructions(&f.instructions)
                )
            })
            .collect();
        v.sort();
        v
    }

    #[test]
    fn strict_and_loose_commands_choose_their_entries() {
        use FlowModCommand as C;
        let mut t = FlowTables::new();
        for f in [
            "table=0,priority=5,ip,nw_src=10.0.0.0/8,actions=output:1",
            "table=0,priority=5,ip,nw_src=10.1.0.0/16,actions=output:2",
            "table=0,priority=7,tcp,nw_src=10.1.0.0/16,tp_dst=80,actions=output:3",
            "table=1,priority=5,arp,actions=output:2",
        ] {
            assert!(matches!(run(&mut t, C::ADD, f).unwrap()[..], [Effect::Added(_)]));
        }
        let before = shown(&t);
        assert_eq!((t.total(), before.len()), (4, 4));
        let e = run(&mut t, C::MODIFY, "table=0,ip,nw_src=10.1.0.0/16,actions=output:9").unwrap();
        assert_eq!(e.len(), 2);
        assert_eq!(shown(&t).iter().filter(|s| s.contains("output:9")).count(), 2);
        t.undo(e);
        assert_eq!(shown(&t), before);
        assert!(run(&mut t, C::MODIFY_STRICT, "table=0,priority=6,ip,nw_src=10.1.0.0/16,actions=drop")
            .unwrap()
            .is_empty());
        let e = run(&mut t, C::DELETE, "table=255,out_port=2").unwrap();
        assert_eq!((e.len(), t.total()), (2, 2));
        t.undo(e);
        assert_eq!(shown(&t), before);
        assert_eq!(
            run(&mut t, C::DELETE_STRICT, "table=0,priority=5,ip,nw_src=10.0.0.0/8").unwrap().len(),
            1
        );
        assert_eq!(run(&mut t, C::DELETE, "table=255").unwrap().len(), 3);
        assert!(t.is_empty() && shown(&t).is_empty());
    }

    /// Adds, modifies and deletes of entries that differ in nothing but priority, with published versions in between; each found as the best
    /// of those that are there.
    #[test]
    fn many_priorities_of_one_match_cost_no_more_than_few() {
        use std::time::{Duration, Instant};
        let f = |priority: u16, out: u32| FlowMod {
            priority,
            matching: parse_flow("ip,nw_dst=10.0.0.1", FlowModCommand::DELETE, &NoNames).unwrap().matching,
            instructions: vec![Instruction::ApplyActions(vec![Action::Output {
                port: PortNo(out),
                max_len: 0,
            }])]
            .into(),
            ..FlowMod::default()
        };
        let packet = match_to_flow(&f(0, 1).matching).unwrap().0;
        // The shortest time of one of each that some hundred took, when there were `n`.
        let measure = |n: u32| {
            let mut t = FlowTables::new();
            // In no order.
            let at = |i: u32| (i.wrapping_mul(40_503) % 65_536) as u16;
            (0..n - 400).for_each(|i| drop(t.flow_mod(&f(at(i), 1), 0, &All).unwrap()));
            let mut best = [Duration::MAX; 4];
            let (mut published, mut highest) = (t.tables.clone(), (0..n - 400).map(at).max());
            for round in 0..4 {
                let mine = || (n - 400 + round * 100..).take(100).map(at);
                let mut timed = |which: usize, run: &mut dyn FnMut(&mut FlowTables)| {
                    published = t.tables.clone();
                    let start = Instant::now();
                    run(&mut t);
                    best[which] = best[which].min(start.elapsed() / 100);
                };
                timed(0, &mut |t| mine().for_each(|p| drop(t.flow_mod(&f(p, 2), 0, &All).unwrap())));
                highest = highest.max(mine().max());
                timed(1, &mut |t| {
                    for _ in 0..100 {
                        let found = t.tables.at(0).lookup(&packet, &mut Flow::ZERO.clone());
                        assert_eq!(found.map(|e| e.rule.priority), highest);
                    }
                });
                let mut strict = |which, command| {
                    timed(which, &mut |t| {
                        for p in mine() {
                            let f = FlowMod { command, out_port: PortNo::ANY, ..f(p, 3) };
                            assert_eq!(t.flow_mod(&f, 0, &All).unwrap().len(), 1);
                        }
                    });
                };
                strict(2, FlowModCommand::MODIFY_STRICT);
                strict(3, FlowModCommand::DELETE_STRICT);
                mine().for_each(|p| drop(t.flow_mod(&f(p, 2), 0, &All).unwrap()));
            }
            drop(published);
            best
        };
        let (few, many) = (measure(1000), measure(64_000));
        println!("add, lookup, modify, delete: {few:?} {many:?}");
        for (few, many) in few.iter().zip(many) {
            assert!(many < *few * 8, "{few:?}, and {many:?} of 64 times as many");
        }
    }

    /// What was found out before another flow-mod is as good after it, whatever that was.
    #[test]
    fn looking_ahead_changes_nothing() {
        use FlowModCommand as C;
        let mut n = 3u64;
        let mut random = |below: u64| {
            n = crate::flow::mix(n, 1);
            (n >> 20) % below
        };
        let mods: Vec<FlowMod> = (0..4000)
            .map(|_| {
                let (a, p) = (random(6), random(3));
                let command =
                    [C::ADD, C::ADD, C::ADD, C::DELETE_STRICT, C::MODIFY, C::DELETE][random(6) as usize];
                let at = match random(5) {
                    0 => format!("ip,nw_dst=10.0.0.{a}"),
                    1 => format!("tcp,nw_dst=10.0.{a}.0/24,tp_dst={p}"),
                    2 => format!("tun_id={a}/0xf,arp"),
                    3 => format!("dl_vlan={a}"),
                    _ => String::new(),
                };
                let strict = if matches!(command, C::ADD | C::DELETE_STRICT) {
                    format!("priority={p},")
                } else {
                    String::new()
                };
                let actions = if command == C::ADD || command == C::MODIFY {
                    format!(",actions=output:{}", 1 + random(9))
                } else {
                    String::new()
                };
                let text = format!("table={},{strict}{at}{actions}", random(3));
                let mut f = parse_flow(&text, command, &NoNames).unwrap_or_else(|e| panic!("{text}: {e}"));
                // All of a table, now and then.
                if command == C::DELETE && random(4) > 0 {
                    f.out_port = PortNo(1);
                }
                f
            })
            .collect();
        let (mut plain, mut ahead) = (FlowTables::new(), FlowTables::new());
        let (mut place, mut known) = (None, 0);
        for (i, f) in mods.iter().enumerate() {
            let here = std::mem::replace(&mut place, mods.get(i + 1).and_then(|f| ahead.expect(f)));
            known += usize::from(here.is_some());
            let mut effects = Vec::new();
            ahead.flow_mod_into(f, here, i as u64, &All, &mut effects).unwrap();
            assert_eq!(effects.len(), plain.flow_mod(f, i as u64, &All).unwrap().len(), "{f:?}");
            if i % 100 == 0 {
                assert_eq!(shown(&ahead), shown(&plain));
            }
        }
        assert_eq!(shown(&ahead), shown(&plain));
        assert!(known > 1500 && plain.total() > 10, "{known} {}", plain.total());
    }

    #[test]
    fn an_add_over_an_entry_keeps_counters_unless_told_to_reset() {
        let mut t = FlowTables::new();
        run(&mut t, FlowModCommand::ADD, "priority=1,in_port=1,actions=output:1").unwrap();
        t.tables.at(0).iter().next().unwrap().rule.credit(3, 300, 5);
        let e = run(&mut t, FlowModCommand::ADD, "priority=1,in_port=1,actions=output:2").unwrap();
        assert!(matches!(&e[..], [Effect::Modified { .. }]));
        assert_eq!(t.tables.at(0).iter().next().unwrap().rule.counts(), (3, 300));
        let Effect::Modified { old, .. } = &e[0] else { panic!("{e:?}") };
        old.rule.credit(2, 200, 6); // was on its way
        assert_eq!(t.tables.at(0).iter().next().unwrap().rule.counts(), (5, 500));
        run(&mut t, FlowModCommand::ADD, "priority=1,in_port=1,reset_counts,actions=output:2").unwrap();
        assert_eq!(t.tables.at(0).iter().next().unwrap().rule.counts(), (0, 0));
    }

    #[test]
    fn idle_and_hard_timeouts_end_entries() {
        let mut t = FlowTables::new();
        run(&mut t, FlowModCommand::ADD, "in_port=1,idle_timeout=10,hard_timeout=25,actions=drop").unwrap();
        assert_eq!(t.next_expiry(), Some(11_000));
        assert!(t.expired(10_999).is_empty());
        t.tables.at(0).iter().next().unwrap().rule.credit(1, 60, 9_000);
        assert!(t.expired(11_000).is_empty());
        assert_eq!(t.next_expiry(), Some(19_000));
        t.tables.at(0).iter().next().unwrap().rule.credit(1, 60, 18_500);
        assert!(t.expired(19_000).is_empty());
        let gone = t.expired(26_000);
        assert_eq!(gone[0].1, FlowRemovedReason::HARD_TIMEOUT);
        assert!(t.is_empty());
    }

    #[test]
    fn entries_that_are_gone_do_not_wait_for_their_timeouts() {
        use FlowModCommand as C;
        let mut t = FlowTables::new();
        t.set_eviction(0, true);
        for round in 1..=20 {
            for i in 0..500 {
                // Over itself, under another name, and undone.
                let text = format!("priority={i},in_port={round},idle_timeout=600,actions=output:1");
                run(&mut t, C::ADD, &text).unwrap();
                run(&mut t, C::ADD, &text).unwrap();
            }
            for _ in 0..5 {
                let effects = run(&mut t, C::DELETE, "table=255").unwrap();
                t.undo(effects);
            }
            assert!(t.due.len() <= 2 * t.len + FEW_DUE, "{} of {}", t.due.len(), t.len);
            assert!(t.evictable[&0].len() <= 2 * t.len + FEW_DUE, "{} of {}", t.evictable[&0].len(), t.len);
            assert_eq!(run(&mut t, C::DELETE, "table=255").unwrap().len(), 500);
            assert!(t.due.len() <= FEW_DUE && t.evictable[&0].len() <= FEW_DUE);
        }
        // Those that are left end in time.
        run(&mut t, C::ADD, "in_port=1,hard_timeout=5,actions=drop").unwrap();
        assert_eq!(t.expired(1 << 40).len(), 1);
    }

    #[test]
    fn refusals_have_their_codes_and_change_nothing() {
        use openflow::{Action, Instruction, Match};
        let mut t = FlowTables::new();
        run(&mut t, FlowModCommand::ADD, "priority=5,in_port=1,actions=output:1").unwrap();
        let base = FlowMod::default();
        let apply = |a: Action| [Instruction::ApplyActions(vec![a])].into_iter().collect();
        let out = |port| Action::Output { port: PortNo(port), max_len: 0 };
        let in_port = Match::new().with(openflow::Field::InPort, 1);
        let cases = [
            (FlowMod { command: FlowModCommand(9), ..base.clone() }, OfpError::OFPFMFC_BAD_COMMAND),
            (FlowMod { table_id: TableId::ALL, ..base.clone() }, OfpError::OFPFMFC_BAD_TABLE_ID),
            (FlowMod { flags: FlowModFlags(0x8000), ..base.clone() }, OfpError::OFPFMFC_BAD_FLAGS),
            (FlowMod { buffer_id: 7, ..base.clone() }, OfpError::OFPBRC_BUFFER_UNKNOWN),
            (
                FlowMod {
                    priority: 5,
                    matching: in_port,
                    flags: FlowModFlags::CHECK_OVERLAP,
                    ..base.clone()
                },
                OfpError::OFPFMFC_OVERLAP,
            ),
            (FlowMod { instructions: apply(out(0)), ..base.clone() }, OfpError::OFPBAC_BAD_OUT_PORT),
            (
                FlowMod { instructions: apply(Action::Group(GroupId(77))), ..base.clone() },
                OfpError::OFPBAC_BAD_OUT_GROUP,
            ),
            (
                FlowMod { instructions: apply(Action::PushVlan(0x1234)), ..base.clone() },
                OfpError::OFPBAC_BAD_ARGUMENT,
            ),
            (
                FlowMod {
                    instructions: [Instruction::GotoTable(TableId(0))].into_iter().collect(),
                    ..base.clone()
                },
                OfpError::OFPBIC_BAD_TABLE_ID,
            ),
            (
                FlowMod {
                    instructions: [Instruction::Meter(MeterId(77))].into_iter().collect(),
                    ..base.clone()
                },
                OfpError::OFPMMFC_INVALID_METER,
            ),
            (
                FlowMod { matching: Match::new().with(openflow::Field::TcpDst, 80), ..base.clone() },
                OfpError::OFPBMC_BAD_PREREQ,
            ),
        ];
        for (f, code) in cases {
            assert_eq!(t.flow_mod(&f, 0, &All).map(|_| ()), Err(code));
            assert_eq!(t.total(), 1);
        }
        t.max_entries[0] = 1;
        assert_eq!(t.flow_mod(&base, 0, &All).map(|_| ()), Err(OfpError::OFPFMFC_TABLE_FULL));
    }
}
