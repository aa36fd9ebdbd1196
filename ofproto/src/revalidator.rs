//! The registry of all megaflows: which of them a change can touch, what they credit, when they end.
//!
//! **Repair is precise.** A [`Change`] names what is different between two versions of the tables; a megaflow is affected if it used the
//! changed thing, or (a new entry) if it went through that table with a flow that the new entry may match and found nothing
//! of higher priority. Affected megaflows are removed; the next packet is translated afresh. All others stay.
//!
//! However many they are, they decide nothing any more at once: families and long lists are [*condemned*](datapath::condemned) by one command a worker, and
//! end, one by one, when there is time. Lists of few are removed by a command each.
//!
//! **Barrier.** [`Cache::published`] after a publication removes what is affected and remembers a mark behind these commands. Megaflows that a
//! worker made with an older version and reported later are held against the changes since that version as they arrive. When workers have passed
//! the mark, none can still translate with the old version; when the reports that were under way then hold nothing affected, the version is
//! *synced*: nothing older decides anything ([`Cache::poll`]).
//!
//! **Families.** Megaflows that came out of equal translations share a [`Template`] and form a family; what is looked for is found by families first.
//! A megaflow itself is its key and its counters' state, in a list by the worker's slots: its coming and going costs no hashing.
//!
//! **Counters.** A megaflow's counters are folded into what it credits when asked for ([`Cache::fold_all`]) and one last time when the worker reports its
//! end with its last counts: no packet is lost or counted twice.

use crate::api::BridgeId;
use crate::columns::{Columns, Found, TOGETHER};
use crate::entries::Entry;
use crate::flow::{pipe, Flow};
use crate::learned::{Learned, LearnedSet};
use crate::rule::RuleCore;
use crate::snapshot::Snapshot;
use crate::upcall::{credit, MegaflowCredit, Report, ShortKey, Slow, TableCredit, Template, VisitRecord};
use crate::xlate::Dep;
use datapath::condemned::Sentence;
use datapath::datapath::SyncMark;
use datapath::upcall::{Counts, Ended, StatsTable, WorkerId};
use datapath::{Datapath, FlowKey};
use openflow::{GroupId, MeterId, PortNo};
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, LazyLock};

/// Something that is different in a new version.
#[derive(Clone)]
pub enum Change {
    /// A flow entry is new.
    RuleAdded(BridgeId, Arc<RuleCore>),
    /// A flow entry is gone, or does something else.
    RuleGone(BridgeId, Arc<RuleCore>),
    /// A group.
    Group(BridgeId, GroupId),
    /// A meter.
    Meter(BridgeId, MeterId),
    /// One port: there or not, its state or configuration (also whoever floods).
    Port(BridgeId, PortNo),
    /// Where an address is.
    Mac(BridgeId, u16, [u8; 6]),
    /// How many there are of a set whose learning has a limit.
    LearnRoom(BridgeId, LearnedSet),
    /// A flow entry of such a set is gone, or could not be learned; by its name.
    Unlearned(BridgeId, LearnedSet, u64),
    /// Anything of a bridge.
    Bridge(BridgeId),
}

/// A worker and a slot of it.
type Id = (u32, u32);

/// Where a [`Cache::sweep`] stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    worker: usize,
    slot: usize,
}

/// Megaflows of one step of it: a fraction of a millisecond.
const SWEEP: usize = 4096;

const NONE: u32 = u32::MAX;

/// A megaflow, in the place of its slot.
struct Held {
    /// 0: none.
    token: u64,
    /// Packets and bytes credited so far.
    folded: (u64, u64),
    used_ms: u64,
    template: u32,
    /// Where it stands among the members of its template; [`NONE`]: its removal is under way.
    place: u32,
    /// Where its visits stand in their groups.
    positions: SmallVec<[u32; 2]>,
    key: ShortKey,
}

/// A template and the megaflows that have it.
struct Family {
    template: Arc<Template>,
    worker: u32,
    /// The worker's number of the template.
    number: u32,
    /// Tokens of the first and behind the last of its megaflows; what is condemned of them already.
    tokens: (u64, u64),
    condemned: u64,
    /// Of [`Columns`], one for each visit.
    groups: SmallVec<[u32; 4]>,
    /// Slots.
    members: Vec<u32>,
    /// Members whose removal is under way.
    leaving: u32,
    /// The worker may still name it.
    known: bool,
    /// Of what no megaflow counted, credited so far.
    once: (u64, u64),
    /// To be credited: packets, bytes, last use.
    due: (u64, u64, u64),
}

/// What is known of a worker.
#[derive(Default)]
struct WorkerCache {
    stats: Option<Arc<StatsTable>>,
    /// By slot.
    held: Vec<Held>,
    /// By the worker's number of a template: ours.
    families: Vec<u32>,
    /// Sentences it was told, and has carried out.
    sentences: (u64, u64),
}

/// What changes touch.
#[derive(Default)]
struct Hit {
    /// Megaflows one by one, as long as they are few.
    ids: SmallVec<[Id; 4]>,
    /// The others, by worker.
    many: SmallVec<[(u32, Sentence); 4]>,
    /// Whole families.
    families: Vec<u32>,
}

impl Hit {
    fn sentence(&mut self, worker: u32) -> &mut Sentence {
        let at = self.many.iter().position(|s| s.0 == worker).unwrap_or_else(|| {
            self.many.push((worker, Sentence::default()));
            self.many.len() - 1
        });
        &mut self.many[at].1
    }
}

impl Extend<Id> for Hit {
    fn extend<T: IntoIterator<Item = Id>>(&mut self, ids: T) {
        for (worker, slot) in ids {
            if self.ids.len() < FEW {
                self.ids.push((worker, slot));
            } else {
                self.sentence(worker).add_slot(slot);
            }
        }
    }
}

/// Members from which on a family is condemned as a whole.
const WHOLE: usize = 32;
/// Megaflows of a list that are removed by a command each, rather than condemned together.
const FEW: usize = 64;

/// Workers' counters of tables and patch ports, kept by control.
#[derive(Debug, Default, Clone, Copy)]
pub struct TableCounts {
    /// Packets looked up.
    pub lookups: u64,
    /// Packets that matched.
    pub matched: u64,
}

/// Counters of a patch port.
#[derive(Debug, Default, Clone, Copy)]
pub struct PatchCounts {
    /// Packets and bytes into the bridge.
    pub rx: (u64, u64),
    /// Packets and bytes out of it.
    pub tx: (u64, u64),
}

/// See the module.
#[derive(Default)]
pub struct Cache {
    workers: Vec<WorkerCache>,
    families: Vec<Option<Family>>,
    free: Vec<u32>,
    /// Families by the entries they found.
    by_rule: HashMap<usize, HashSet<u32>>,
    /// Families by the tables they visited.
    by_table: HashMap<(BridgeId, u8), HashSet<u32>>,
    /// Families by what else they depend on.
    by_dep: HashMap<Dep, HashSet<u32>>,
    /// Megaflows by the tables they visited and what they were there.
    columns: Columns,
    /// Families with traffic to be credited.
    due: Vec<u32>,
    len: usize,
    /// Megaflows that are being removed; their last counts are yet to come.
    leaving: usize,
    /// Versions on their way, and changes since.
    pending: VecDeque<(u64, SyncMark)>,
    log: VecDeque<(u64, Vec<Change>)>,
    version: u64,
    synced: u64,
    /// Lookups of tables.
    pub tables: HashMap<(BridgeId, u8), TableCounts>,
    /// Traffic of patch ports.
    pub patches: HashMap<(BridgeId, PortNo), PatchCounts>,
    /// Flow entries to be learned again, and when their last packet came.
    pub learned: Vec<(BridgeId, Arc<Learned<Entry>>, u64)>,
}

/// Takes a family out of an index.
fn take_out<K: std::hash::Hash + Eq>(index: &mut HashMap<K, HashSet<u32>>, key: &K, family: u32) {
    if let Some(s) = index.get_mut(key) {
        s.remove(&family);
        if s.is_empty() {
            index.remove(key);
        }
    }
}

fn rule_key(r: &Arc<RuleCore>) -> usize {
    Arc::as_ptr(r) as usize
}

static CONJ_ID: LazyLock<Flow> = LazyLock::new(|| {
    let mut m = Flow::ZERO;
    m.put(pipe::CONJ_ID, 4, u128::MAX);
    m
});

/// Found by its `conj_id`: then its priority says nothing about the clauses'.
fn is_of_conjunction(r: &RuleCore) -> bool {
    r.mask().mask.u32(pipe::CONJ_ID) != 0
}

/// Lowest priority at which a new entry can change what a visit found.
pub fn bar(v: &VisitRecord) -> u16 {
    v.entry.as_ref().map_or(0, |e| if is_of_conjunction(&e.rule) { 0 } else { e.rule.priority })
}

/// Bits of the flow at a visit that all packets of a megaflow of the template have alike.
pub fn fixed(t: &Template, v: &VisitRecord) -> Flow {
    let (_, known) = v.flow(t, &FlowKey::ZERO);
    let mut fixed = Flow::ZERO;
    for (i, f) in fixed.0.iter_mut().enumerate() {
        // The pipeline's own words are constant; a packet's are where actions or the mask say so. A conjunction may find any conj_id.
        *f = t.mask.0.get(i).map_or(u64::MAX, |bits| bits | known.map_or(0, |k| k.0[i])) & !CONJ_ID.0[i];
    }
    fixed
}

/// Whether some packet of a megaflow may match a rule in a table it visited.
fn overlaps(t: &Template, key: &FlowKey, v: &VisitRecord, r: &RuleCore) -> bool {
    let (flow, known) = v.flow(t, key);
    r.mask().words.iter().zip(&r.values).all(|(w, value)| {
        let i = *w as usize;
        // The pipeline's own words are constant; a packet's are where actions or the mask say so.
        let fixed = t.mask.0.get(i).map_or(u64::MAX, |bits| bits | known.map_or(0, |k| k.0[i]));
        // A conjunction may find any conj_id.
        let fixed = fixed & !CONJ_ID.0[i];
        (flow.0[i] ^ value) & r.mask().mask.0[i] & fixed == 0
    })
}

/// Comparisons of new entries of a table with visits of it, a nanosecond each, up to which the columns are asked. Beyond, each megaflow is looked up
/// again.
const COMPARISONS: usize = 20_000_000;
/// Changes since a late megaflow's version up to which it is held against each of them.
const CHANGES: usize = 64;

/// Whether a lookup in the tables as they are now finds the same, by no more bits than the megaflow has.
fn still_true(t: &Template, key: &FlowKey, v: &VisitRecord, snap: &Snapshot) -> bool {
    let Some(table) = snap.bridges.get(&v.bridge).and_then(|b| b.tables.get(v.table as usize)) else {
        return false;
    };
    let (flow, known) = v.flow(t, key);
    let mut wc = Flow::ZERO;
    let same = match (table.lookup(&flow, &mut wc), &v.entry) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(&a.rule, &b.rule),
        _ => false,
    };
    same && wc
        .0
        .iter()
        .zip(&t.mask.0)
        .enumerate()
        .all(|(i, (w, bits))| w & !(bits | known.map_or(0, |k| k.0[i])) == 0)
}

/// The visits of a template in which a new entry would win if it matched.
fn would_win<'a>(
    t: &'a Template,
    bridge: BridgeId,
    r: &'a RuleCore,
) -> impl Iterator<Item = &'a VisitRecord> {
    t.visits.iter().filter(move |v| {
        v.bridge == bridge
            && v.table == r.table
            && v.entry.as_ref().is_none_or(|e| e.rule.priority <= r.priority || is_of_conjunction(&e.rule))
    })
}

/// Whether a change may touch what the megaflow of a key does.
pub fn affected(t: &Template, key: &FlowKey, change: &Change) -> bool {
    match change {
        Change::RuleAdded(bridge, r) => would_win(t, *bridge, r).any(|v| overlaps(t, key, v, r)),
        c => all_affected(t, c),
    }
}

/// Whether a change, other than a new entry, may touch what the megaflows of a template do.
fn all_affected(t: &Template, change: &Change) -> bool {
    match change {
        Change::RuleAdded(bridge, r) => would_win(t, *bridge, r).next().is_some(),
        Change::RuleGone(bridge, r) => t
            .visits
            .iter()
            .any(|v| v.bridge == *bridge && v.entry.as_ref().is_some_and(|e| Arc::ptr_eq(&e.rule, r))),
        Change::Group(b, id) => t.deps.contains(&Dep::Group(*b, *id)),
        Change::Meter(b, id) => t.deps.contains(&Dep::Meter(*b, *id)),
        Change::Port(b, p) => t.deps.iter().any(|d| *d == Dep::Port(*b, *p) || *d == Dep::Ports(*b)),
        Change::Mac(b, vlan, mac) => t.deps.contains(&Dep::Mac(*b, *vlan, *mac)),
        Change::LearnRoom(b, set) => t.deps.contains(&Dep::LearnRoom(*b, *set)),
        Change::Unlearned(b, set, name) => t.deps.contains(&Dep::Learned(*b, *set, *name)),
        Change::Bridge(b) => {
            t.visits.iter().any(|v| v.bridge == *b)
                || t.deps.iter().any(|d| matches!(d, Dep::Ports(x) | Dep::Port(x, _) if x == b))
                || t.visits.is_empty()
        }
    }
}

impl Cache {
    /// Number of megaflows.
    pub fn len(&self) -> usize {
        self.len
    }
    /// None.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Sets of megaflows that differ in nothing but their keys.
    pub fn families(&self) -> usize {
        self.families.len() - self.free.len()
    }
    /// Nothing removed is waiting for its last counters.
    pub fn is_settled(&self) -> bool {
        self.leaving == 0 && self.workers.iter().all(|w| w.sentences.0 == w.sentences.1)
    }
    /// Newest version that everything obeys.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    fn members(&self, family: u32) -> impl Iterator<Item = (Id, &Held)> {
        let f = self.families.get(family as usize).and_then(Option::as_ref);
        f.into_iter().flat_map(|f| {
            let held = self.workers.get(f.worker as usize).map_or(&[][..], |w| &w.held);
            f.members.iter().filter_map(move |slot| Some(((f.worker, *slot), held.get(*slot as usize)?)))
        })
    }

    /// A new version is in the snapshot, with these changes. To be called right after the swap.
    pub fn published(&mut self, dp: &Datapath, slow: &Slow, version: u64, changes: Vec<Change>) {
        self.version = version;
        let mut hit = Hit::default();
        // New entries by table, and there by mask.
        let mut added: HashMap<(BridgeId, u8), HashMap<usize, Vec<&Arc<RuleCore>>>> = HashMap::new();
        for c in &changes {
            match c {
                Change::RuleAdded(bridge, r) => {
                    let by_mask = added.entry((*bridge, r.table)).or_default();
                    by_mask.entry(Arc::as_ptr(r.mask()) as usize).or_default().push(r);
                }
                c => self.find(c, &mut hit),
            }
        }
        let snap = slow.snapshot.load();
        for ((bridge, table), by_mask) in added {
            let cost: usize = by_mask.values().map(|list| list.len().min(TOGETHER)).sum();
            if cost.saturating_mul(self.columns.visits((bridge, table))) <= COMPARISONS {
                for list in by_mask.values() {
                    self.columns.find_together(bridge, list, &mut |f| self.found(f, &mut hit));
                }
                continue;
            }
            let list: Vec<Change> =
                by_mask.into_values().flatten().map(|r| Change::RuleAdded(bridge, r.clone())).collect();
            for family in self.by_table.get(&(bridge, table)).into_iter().flatten() {
                let Some(f) = &self.families[*family as usize] else { continue };
                let t = &*f.template;
                for (id, h) in self.members(*family) {
                    let key = h.key.key();
                    let mut visits = t.visits.iter().filter(|v| v.bridge == bridge && v.table == table);
                    if !visits.all(|v| still_true(t, &key, v, &snap))
                        && list.iter().any(|c| affected(t, &key, c))
                    {
                        hit.extend([id]);
                    }
                }
            }
        }
        self.log.push_back((version, changes));
        self.remove(dp, slow, hit);
        self.drain(dp, slow);
        self.pending.push_back((version, dp.mark()));
    }

    /// Moves on: reports, final counters, versions that are in force. `true`: the synced version has changed.
    pub fn poll(&mut self, dp: &Datapath, slow: &Slow) -> bool {
        let before = self.synced;
        while let Some((version, mark)) = self.pending.front() {
            if !dp.synced(mark) {
                break;
            }
            let version = *version;
            // Workers translate with this version or a newer one from now on; what they made with older ones is in the queue.
            if self.drain(dp, slow) > 0 {
                if let Some(p) = self.pending.front_mut() {
                    p.1 = dp.mark();
                }
                continue;
            }
            self.pending.pop_front();
            self.synced = version;
        }
        if self.pending.is_empty() {
            self.drain(dp, slow);
            // Nothing older than this can arrive any more.
            let synced = self.synced;
            self.log.retain(|(v, _)| *v > synced);
        }
        before != self.synced
    }

    /// Takes in what workers have reported by now; gives the number of megaflows that had to be removed for being made with an older version.
    fn drain(&mut self, dp: &Datapath, slow: &Slow) -> usize {
        let mut stale = Vec::new();
        let snap = slow.snapshot.load();
        for (worker, side) in slow.sides() {
            let w = worker.0;
            while self.workers.len() <= w as usize {
                self.workers.push(WorkerCache::default());
            }
            if self.workers[w as usize].stats.is_none() {
                self.workers[w as usize].stats = dp.megaflow_stats(worker);
            }
            let now_ms = slow.now_ms();
            // What comes meanwhile is for the next time: a storm does not keep control here.
            for _ in 0..side.ring.len() {
                let Some(r) = side.ring.pop() else { break };
                match r {
                    Report::Template(number, t) => self.new_family(slow, w, number, t),
                    Report::Installed { slot, template, token, version, key } => {
                        let Some(family) = self.workers[w as usize].families.get(template as usize).copied()
                        else {
                            continue;
                        };
                        if version < self.version {
                            let t = self.families[family as usize].as_ref().map(|f| &f.template);
                            if t.is_some_and(|t| self.is_stale(t, &key.key(), version, &snap)) {
                                stale.push((w, slot));
                            }
                        }
                        self.install(w, slot, family, token, key, now_ms);
                    }
                    Report::Ended(e) => self.ended(dp, slow, w, e),
                    Report::CarriedOut(n) => self.workers[w as usize].sentences.1 = n,
                }
            }
            for r in side.take_late() {
                match r {
                    Report::Ended(e) => self.ended(dp, slow, w, e),
                    Report::CarriedOut(n) => self.workers[w as usize].sentences.1 = n,
                    Report::Template(..) | Report::Installed { .. } => {}
                }
            }
        }
        self.settle(slow);
        let n = stale.len();
        let mut hit = Hit::default();
        hit.extend(stale);
        self.remove(dp, slow, hit);
        n
    }

    /// Whether a megaflow that was made with an older version may be wrong by now.
    fn is_stale(&self, t: &Template, key: &FlowKey, version: u64, snap: &Snapshot) -> bool {
        let since = || self.log.iter().filter(|(v, _)| *v > version).flat_map(|(_, c)| c);
        // After very many changes, looking it up again is quicker than comparing it with each of them.
        let many = since().nth(CHANGES).is_some();
        let only_added = |c: &Change| matches!(c, Change::RuleAdded(..));
        if many && t.visits.iter().all(|v| still_true(t, key, v, snap)) {
            return since().any(|c| !only_added(c) && affected(t, key, c));
        }
        since().any(|c| affected(t, key, c))
    }

    fn new_family(&mut self, slow: &Slow, worker: u32, number: u32, template: Arc<Template>) {
        let at = self.free.pop().unwrap_or_else(|| {
            self.families.push(None);
            self.families.len() as u32 - 1
        });
        for v in &template.visits {
            if let Some(e) = &v.entry {
                self.by_rule.entry(rule_key(&e.rule)).or_default().insert(at);
            }
            self.by_table.entry((v.bridge, v.table)).or_default().insert(at);
        }
        for d in &template.deps {
            self.by_dep.entry(*d).or_default().insert(at);
        }
        let columns = &mut self.columns;
        let groups =
            template.visits.iter().map(|v| columns.hold((v.bridge, v.table), &fixed(&template, v), at));
        let groups = groups.collect();
        self.families[at as usize] = Some(Family {
            template,
            worker,
            number,
            tokens: (u64::MAX, 0),
            condemned: 0,
            groups,
            members: Vec::new(),
            leaving: 0,
            known: true,
            once: (0, 0),
            due: (0, 0, 0),
        });
        let known = &mut self.workers[worker as usize].families;
        if known.len() <= number as usize {
            known.resize(number as usize + 1, NONE);
        }
        let before = std::mem::replace(&mut known[number as usize], at);
        if let Some(Some(f)) = self.families.get_mut(before as usize) {
            f.known = false;
            self.fold_once(before);
            self.end_family(slow, before);
        }
    }

    /// Forgets a family that has no members and will have none.
    fn end_family(&mut self, slow: &Slow, family: u32) {
        let Some(Some(f)) = self.families.get(family as usize) else { return };
        if f.known || !f.members.is_empty() || f.leaving > 0 {
            return;
        }
        self.settle(slow);
        let Some(f) = self.families[family as usize].take() else { return };
        self.free.push(family);
        f.groups.iter().for_each(|g| self.columns.release(*g, family));
        for d in &f.template.deps {
            take_out(&mut self.by_dep, d, family);
        }
        for v in &f.template.visits {
            if let Some(e) = &v.entry {
                take_out(&mut self.by_rule, &rule_key(&e.rule), family);
            }
            take_out(&mut self.by_table, &(v.bridge, v.table), family);
        }
    }

    fn install(&mut self, worker: u32, slot: u32, family: u32, token: u64, key: ShortKey, now_ms: u64) {
        let Some(Some(f)) = self.families.get_mut(family as usize) else { return };
        let held = &mut self.workers[worker as usize].held;
        while held.len() <= slot as usize {
            let key = ShortKey::default();
            held.push(Held {
                token: 0,
                folded: (0, 0),
                used_ms: 0,
                template: NONE,
                place: NONE,
                positions: SmallVec::new(),
                key,
            });
        }
        let place = f.members.len() as u32;
        f.members.push(slot);
        f.tokens = (f.tokens.0.min(token), f.tokens.1.max(token + 1));
        let whole = key.key();
        let mut positions = SmallVec::new();
        for (i, (v, g)) in f.template.visits.iter().zip(&f.groups).enumerate() {
            let (flow, _) = v.flow(&f.template, &whole);
            positions.push(self.columns.push(*g, &flow, bar(v), ((worker, slot), i as u32)));
        }
        held[slot as usize] =
            Held { token, folded: (0, 0), used_ms: now_ms, template: family, place, positions, key };
        self.len += 1;
    }

    /// A megaflow is no more: its last counts.
    fn ended(&mut self, dp: &Datapath, slow: &Slow, worker: u32, e: Ended) {
        let held = self.workers[worker as usize].held.get_mut(e.slot as usize);
        let Some(h) = held.filter(|h| h.token == e.token) else { return };
        let (family, was_leaving) = (h.template, h.place == NONE);
        self.count((slow.now_ms(), dp.now_ms()), (worker, e.slot), e.counts);
        self.unlink((worker, e.slot));
        if let Some(h) = self.workers[worker as usize].held.get_mut(e.slot as usize) {
            h.token = 0;
            h.key = ShortKey::default();
        }
        if was_leaving {
            self.leaving -= 1;
        }
        if let Some(Some(f)) = self.families.get_mut(family as usize) {
            f.leaving -= u32::from(was_leaving);
            self.end_family(slow, family);
        }
    }

    /// Takes a megaflow out of its family's members. `false`: it was.
    fn unlink(&mut self, (worker, slot): Id) -> bool {
        // Visits of other workers' megaflows that take the places of this one's.
        let mut moved_visits: SmallVec<[(u32, u32, u32, u32); 2]> = SmallVec::new();
        let held = &mut self.workers[worker as usize].held;
        let Some(h) = held.get_mut(slot as usize) else { return false };
        let place = std::mem::replace(&mut h.place, NONE);
        let Some(Some(f)) = self.families.get_mut(h.template as usize).filter(|_| place != NONE) else {
            return false;
        };
        f.members.swap_remove(place as usize);
        // Visits last first: one that moves meanwhile is never one that is already out.
        while let Some(pos) = held[slot as usize].positions.pop() {
            let which = held[slot as usize].positions.len();
            let Some(((w, s), i)) = f.groups.get(which).and_then(|g| self.columns.remove(*g, pos)) else {
                continue;
            };
            moved_visits.push((w, s, i, pos));
            if w == worker {
                if let Some(p) = held[s as usize].positions.get_mut(i as usize) {
                    *p = pos;
                }
                moved_visits.pop();
            }
        }
        if let Some(moved) = f.members.get(place as usize) {
            held[*moved as usize].place = place;
        }
        for (w, s, i, pos) in moved_visits {
            let held = self.workers.get_mut(w as usize).and_then(|w| w.held.get_mut(s as usize));
            if let Some(p) = held.and_then(|h| h.positions.get_mut(i as usize)) {
                *p = pos;
            }
        }
        self.len -= 1;
        true
    }

    fn find(&self, c: &Change, hit: &mut Hit) {
        let mut all = |set: Option<&HashSet<u32>>| {
            set.into_iter().flatten().for_each(|f| self.whole(*f, hit));
        };
        match c {
            Change::RuleAdded(bridge, r) => self.columns.find(*bridge, r, &mut |f| self.found(f, hit)),
            Change::RuleGone(_, r) => all(self.by_rule.get(&rule_key(r))),
            Change::Group(b, id) => all(self.by_dep.get(&Dep::Group(*b, *id))),
            Change::Meter(b, id) => all(self.by_dep.get(&Dep::Meter(*b, *id))),
            Change::Port(b, p) => {
                all(self.by_dep.get(&Dep::Port(*b, *p)));
                all(self.by_dep.get(&Dep::Ports(*b)));
            }
            Change::Mac(b, vlan, mac) => all(self.by_dep.get(&Dep::Mac(*b, *vlan, *mac))),
            Change::LearnRoom(b, set) => all(self.by_dep.get(&Dep::LearnRoom(*b, *set))),
            Change::Unlearned(b, set, name) => all(self.by_dep.get(&Dep::Learned(*b, *set, *name))),
            Change::Bridge(_) => {
                for (i, f) in self.families.iter().enumerate() {
                    if f.as_ref().is_some_and(|f| all_affected(&f.template, c)) {
                        self.whole(i as u32, hit);
                    }
                }
            }
        }
    }

    fn found(&self, found: Found, hit: &mut Hit) {
        match found {
            Found::One(id) => hit.extend([id]),
            Found::Group(g) => {
                let (families, members) = (self.columns.families(g), self.columns.members(g));
                if families.len() * WHOLE < members.len() {
                    families.for_each(|f| self.whole(f, hit));
                } else {
                    hit.extend(members.iter().map(|m| m.0));
                }
            }
        }
    }

    fn whole(&self, family: u32, hit: &mut Hit) {
        match self.families.get(family as usize) {
            Some(Some(f)) if f.members.len() > WHOLE => hit.families.push(family),
            _ => hit.extend(self.members(family).map(|(id, _)| id)),
        }
    }

    /// Has megaflows removed; their last counts come with their end.
    fn remove(&mut self, dp: &Datapath, slow: &Slow, mut hit: Hit) {
        if !hit.many.is_empty() {
            for (worker, slot) in std::mem::take(&mut hit.ids) {
                hit.sentence(worker).add_slot(slot);
            }
            let before = slow.token_bound();
            hit.many.iter_mut().for_each(|s| s.1.before = before);
        }
        for family in std::mem::take(&mut hit.families) {
            let Some(Some(f)) = self.families.get_mut(family as usize) else { continue };
            if f.condemned < f.tokens.1 {
                let range = f.tokens.0.max(f.condemned)..f.tokens.1;
                f.condemned = f.tokens.1;
                hit.sentence(f.worker).classes.push((f.number, range));
            }
        }
        for (worker, sentence) in hit.many {
            self.workers[worker as usize].sentences.0 += 1;
            dp.condemn(WorkerId(worker), sentence);
        }
        for (worker, slot) in hit.ids {
            let Some(h) = self.workers[worker as usize].held.get(slot as usize) else { continue };
            let (token, family) = (h.token, h.template);
            if token == 0 || !self.unlink((worker, slot)) {
                continue;
            }
            self.leaving += 1;
            if let Some(Some(f)) = self.families.get_mut(family as usize) {
                f.leaving += 1;
            }
            dp.remove_megaflow(WorkerId(worker), slot, token);
        }
    }

    /// What a megaflow has counted since the last time becomes due to its family.
    /// `clocks`: the switch's and the datapath's time now.
    fn count(&mut self, clocks: (u64, u64), (worker, slot): Id, now: Counts) {
        let Some(h) = self.workers[worker as usize].held.get_mut(slot as usize) else { return };
        let (packets, bytes) = (now.packets.wrapping_sub(h.folded.0), now.bytes.wrapping_sub(h.folded.1));
        if packets == 0 && bytes == 0 {
            return;
        }
        h.folded = (now.packets, now.bytes);
        h.used_ms = clocks.0.saturating_sub(clocks.1.saturating_sub(now.used_ms));
        let (family, used_ms) = (h.template, h.used_ms);
        self.owe(family, packets, bytes, used_ms);
    }

    fn owe(&mut self, family: u32, packets: u64, bytes: u64, used_ms: u64) {
        let Some(Some(f)) = self.families.get_mut(family as usize) else { return };
        if f.due.0 == 0 && f.due.1 == 0 {
            self.due.push(family);
        }
        f.due = (f.due.0 + packets, f.due.1 + bytes, f.due.2.max(used_ms));
    }

    /// What packets without a megaflow are to be credited to.
    fn fold_once(&mut self, family: u32) {
        let Some(Some(f)) = self.families.get_mut(family as usize) else { return };
        let (packets, bytes, used_ms) = f.template.counted_once();
        let (dp, db) = (packets.wrapping_sub(f.once.0), bytes.wrapping_sub(f.once.1));
        f.once = (packets, bytes);
        if dp > 0 || db > 0 {
            self.owe(family, dp, db, used_ms);
        }
    }

    /// Credits all that is due.
    fn settle(&mut self, slow: &Slow) {
        for family in std::mem::take(&mut self.due) {
            let Some(Some(f)) = self.families.get_mut(family as usize) else { continue };
            let (packets, bytes, used_ms) = std::mem::take(&mut f.due);
            let template = f.template.clone();
            self.credit(slow, &template.credits, packets, bytes, used_ms);
        }
    }

    /// Adds traffic to everything on a list.
    pub fn credit(&mut self, slow: &Slow, list: &[MegaflowCredit], packets: u64, bytes: u64, used_ms: u64) {
        let (tables, patches) = (&mut self.tables, &mut self.patches);
        let learned = &mut self.learned;
        credit(slow, list, packets, bytes, used_ms, &mut |c| match c {
            TableCredit::Table { bridge, table, packets, matched } => {
                let t = tables.entry((bridge, table)).or_default();
                t.lookups += packets;
                t.matched += if matched { packets } else { 0 };
            }
            TableCredit::Patch { bridge, port, packets, bytes, received } => {
                let p = patches.entry((bridge, port)).or_default();
                let side = if received { &mut p.rx } else { &mut p.tx };
                side.0 += packets;
                side.1 += bytes;
            }
            TableCredit::Learn { bridge, what, used_ms } => learned.push((bridge, what, used_ms)),
        });
    }

    /// Brings all counters up to date.
    pub fn fold_all(&mut self, dp: &Datapath, slow: &Slow) {
        self.drain(dp, slow);
        let clocks = (slow.now_ms(), dp.now_ms());
        for worker in 0..self.workers.len() {
            let Some(stats) = self.workers[worker].stats.clone() else { continue };
            for slot in 0..self.workers[worker].held.len() {
                let token = self.workers[worker].held[slot].token;
                // One that has ended meanwhile is not the slot's any more: its end says what it counted.
                if let Some(c) = (token != 0).then(|| stats.read(slot as u32, token)).flatten() {
                    self.count(clocks, (worker as u32, slot as u32), c);
                }
            }
        }
        (0..self.families.len() as u32).for_each(|f| self.fold_once(f));
        self.settle(slow);
    }

    /// Brings the counters of some megaflows up to date, from a place on (the first is the default), and removes those that were not used for
    /// `idle_ms`. The place to go on from; `None`: all are up to date.
    pub fn sweep(&mut self, dp: &Datapath, slow: &Slow, at: Place, idle_ms: u64) -> Option<Place> {
        if at == Place::default() {
            self.drain(dp, slow);
        }
        let now = slow.now_ms();
        let clocks = (now, dp.now_ms());
        let (mut next, mut left, mut old) = (at, SWEEP, Hit::default());
        while left > 0 && next.worker < self.workers.len() {
            let w = &self.workers[next.worker];
            let end = w.held.len().min(next.slot + left);
            let stats = w.stats.clone();
            left -= end - next.slot.min(end);
            for slot in next.slot..end {
                let token = self.workers[next.worker].held[slot].token;
                if token == 0 {
                    continue;
                }
                let id = (next.worker as u32, slot as u32);
                // One that has ended meanwhile is not the slot's any more: its end says what it counted.
                if let Some(c) = stats.as_ref().and_then(|s| s.read(id.1, token)) {
                    self.count(clocks, id, c);
                }
                let h = &self.workers[next.worker].held[slot];
                if h.place != NONE && h.used_ms.saturating_add(idle_ms) < now {
                    old.extend([id]);
                }
            }
            next = Place { worker: next.worker, slot: end };
            if end >= self.workers[next.worker].held.len() {
                next = Place { worker: next.worker + 1, slot: 0 };
            }
        }
        self.remove(dp, slow, old);
        let over = next.worker >= self.workers.len();
        if over {
            (0..self.families.len() as u32).for_each(|f| self.fold_once(f));
        }
        self.settle(slow);
        (!over).then_some(next)
    }

    /// Brings up to date what has ended, and what no megaflow counted.
    pub fn fold_ended(&mut self, dp: &Datapath, slow: &Slow) {
        self.drain(dp, slow);
        (0..self.families.len() as u32).for_each(|f| self.fold_once(f));
        self.settle(slow);
    }

    /// Punt tokens and recirculation ids (top bit set) that megaflows use.
    pub fn tokens(&self) -> HashSet<u32> {
        self.families.iter().flatten().flat_map(|f| f.template.tokens.iter().copied()).collect()
    }
}
