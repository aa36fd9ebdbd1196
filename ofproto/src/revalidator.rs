//! The registry of all megaflows: which of them a change can touch, what they credit, when they end.
//!
//! **Repair is precise.** A [`Change`] names what is different between two versions of the tables; a megaflow is affected if it used the
//! changed thing, or (a new entry) if it went through that table with a flow that the new entry may match and found nothing
//! of higher priority. Affected megaflows are removed; the next packet is translated afresh. All others stay.
//!
//! **Barrier.** [`Cache::published`] after a publication removes what is affected and remembers a mark behind these commands. Megaflows that a
//! worker made with an older version and reported later are held against the changes since that version as they arrive. When workers have passed
//! the mark, none can still translate with the old version; when the reports that were under way then hold nothing affected, the version is
//! *synced*: nothing older decides anything ([`Cache::poll`]).
//!
//! **Counters.** A megaflow's counters are folded into what it credits when asked for ([`Cache::fold_all`]) and, after its removal has been
//! synchronised, one last time: no packet is lost or counted twice.

use crate::api::BridgeId;

use crate::flow::{pipe, Flow};
use crate::rule::RuleCore;
use crate::snapshot::Snapshot;
use crate::upcall::{credit, start_of, Megaflow, MegaflowCredit, Report, Slow, TableCredit, VisitRecord};
use crate::xlate::Dep;
use datapath::datapath::SyncMark;
use datapath::upcall::WorkerId;
use datapath::Datapath;
use openflow::{GroupId, MeterId, PortNo};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
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
    /// Anything of a bridge.
    Bridge(BridgeId),
}

type Id = (WorkerId, u64);

struct Held {
    flow: Box<Megaflow>,
    folded: (u64, u64),
    used_ms: u64,
}

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
    held: HashMap<Id, Held>,
    by_rule: HashMap<usize, Vec<Id>>,
    by_table: HashMap<(BridgeId, u8), HashSet<Id>>,
    /// Removed, final counters to be folded after the mark.
    dying: VecDeque<(SyncMark, Vec<Held>)>,
    /// Versions on their way, and changes since.
    pending: VecDeque<(u64, SyncMark)>,
    log: VecDeque<(u64, Vec<Change>)>,
    version: u64,
    synced: u64,
    early_evictions: HashSet<Id>,
    /// Lookups of tables.
    pub tables: HashMap<(BridgeId, u8), TableCounts>,
    /// Traffic of patch ports.
    pub patches: HashMap<(BridgeId, PortNo), PatchCounts>,
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
    r.mask.mask.u32(pipe::CONJ_ID) != 0
}

/// Whether some packet of a megaflow may match a rule in a table it visited.
fn overlaps(m: &Megaflow, v: &VisitRecord, r: &RuleCore) -> bool {
    let start;
    let (flow, known) = match &v.state {
        Some(s) => (&s.0, Some(&s.1)),
        None => {
            start = start_of(&m.key, m.in_port);
            (&start, None)
        }
    };
    r.mask.words.iter().zip(&r.values).all(|(w, value)| {
        let i = *w as usize;
        // The pipeline's own words are constant; a packet's are where actions or the mask say so.
        let fixed = m.mask.0.get(i).map_or(u64::MAX, |bits| bits | known.map_or(0, |k| k.0[i]));
        // A conjunction may find any conj_id.
        let fixed = fixed & !CONJ_ID.0[i];
        (flow.0[i] ^ value) & r.mask.mask.0[i] & fixed == 0
    })
}

/// New entries of a table that are held against each megaflow one by one.
const FEW: usize = 16;

/// Whether a lookup in the tables as they are now finds the same, by no more bits than the megaflow has.
fn still_true(m: &Megaflow, v: &VisitRecord, snap: &Snapshot) -> bool {
    let Some(table) = snap.bridges.get(&v.bridge).and_then(|b| b.tables.get(v.table as usize)) else {
        return false;
    };
    let start;
    let (flow, known) = match &v.state {
        Some(s) => (&s.0, Some(&s.1)),
        None => {
            start = start_of(&m.key, m.in_port);
            (&start, None)
        }
    };
    let mut wc = Flow::ZERO;
    let same = match (table.lookup(flow, &mut wc), &v.entry) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(&a.rule, &b.rule),
        _ => false,
    };
    same && wc
        .0
        .iter()
        .zip(&m.mask.0)
        .enumerate()
        .all(|(i, (w, bits))| w & !(bits | known.map_or(0, |k| k.0[i])) == 0)
}

/// Whether a change may touch what a megaflow does.
pub fn affected(m: &Megaflow, change: &Change) -> bool {
    match change {
        Change::RuleAdded(bridge, r) => m.visits.iter().any(|v| {
            v.bridge == *bridge
                && v.table == r.table
                && v.entry
                    .as_ref()
                    .is_none_or(|e| e.rule.priority <= r.priority || is_of_conjunction(&e.rule))
                && overlaps(m, v, r)
        }),
        Change::RuleGone(bridge, r) => m
            .visits
            .iter()
            .any(|v| v.bridge == *bridge && v.entry.as_ref().is_some_and(|e| Arc::ptr_eq(&e.rule, r))),
        Change::Group(b, id) => m.deps.contains(&Dep::Group(*b, *id)),
        Change::Meter(b, id) => m.deps.contains(&Dep::Meter(*b, *id)),
        Change::Port(b, p) => m.deps.iter().any(|d| *d == Dep::Port(*b, *p) || *d == Dep::Ports(*b)),
        Change::Mac(b, vlan, mac) => m.deps.contains(&Dep::Mac(*b, *vlan, *mac)),
        Change::Bridge(b) => {
            m.visits.iter().any(|v| v.bridge == *b)
                || m.deps.iter().any(|d| matches!(d, Dep::Ports(x) | Dep::Port(x, _) if x == b))
                || m.visits.is_empty()
        }
    }
}

impl Cache {
    /// Number of megaflows.
    pub fn len(&self) -> usize {
        self.held.len()
    }
    /// None.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
    /// Nothing removed is waiting for its last counters.
    pub fn is_settled(&self) -> bool {
        self.dying.is_empty()
    }
    /// Newest version that everything obeys.
    pub fn synced(&self) -> u64 {
        self.synced
    }
    /// A megaflow.
    pub fn get(&self, worker: WorkerId, token: u64) -> Option<&Megaflow> {
        self.held.get(&(worker, token)).map(|h| &*h.flow)
    }

    /// A new version is in the snapshot, with these changes. To be called right after the swap.
    pub fn published(&mut self, dp: &Datapath, slow: &Slow, version: u64, changes: Vec<Change>) {
        self.version = version;
        let mut hit: HashSet<Id> = HashSet::new();
        // Many new entries in one table: one lookup a megaflow tells of all of them at once.
        let mut added: HashMap<(BridgeId, u8), Vec<&Change>> = HashMap::new();
        for c in &changes {
            match c {
                Change::RuleAdded(bridge, r) => added.entry((*bridge, r.table)).or_default().push(c),
                c => self.find(c, &mut hit),
            }
        }
        let snap = slow.snapshot.load();
        for ((bridge, table), list) in added {
            if list.len() <= FEW {
                list.into_iter().for_each(|c| self.find(c, &mut hit));
                continue;
            }
            for id in self.by_table.get(&(bridge, table)).into_iter().flatten() {
                let Some(h) = self.held.get(id) else { continue };
                let mut visits = h.flow.visits.iter().filter(|v| v.bridge == bridge && v.table == table);
                if !visits.all(|v| still_true(&h.flow, v, &snap)) && list.iter().any(|c| affected(&h.flow, c))
                {
                    hit.insert(*id);
                }
            }
        }
        self.log.push_back((version, changes));
        self.remove(dp, hit);
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
        self.reap(dp, slow);
        before != self.synced
    }

    /// Takes in what workers report; gives the number of megaflows that had to be removed for being made with an older version.
    fn drain(&mut self, dp: &Datapath, slow: &Slow) -> usize {
        let mut stale = HashSet::new();
        while let Some(r) = slow.reports.pop() {
            match r {
                Report::Installed(_, 0, m) => {
                    let mut h = Held { flow: m, folded: (0, 0), used_ms: 0 };
                    self.fold(dp, slow, &mut h);
                }
                Report::Installed(worker, token, m) => {
                    let id = (worker, token);
                    if m.version < self.version {
                        let since = self.log.iter().filter(|(v, _)| *v > m.version);
                        if since.flat_map(|(_, c)| c).any(|c| affected(&m, c)) {
                            stale.insert(id);
                        }
                    }
                    self.index(id, &m);
                    self.held.insert(id, Held { flow: m, folded: (0, 0), used_ms: 0 });
                    if self.early_evictions.remove(&id) {
                        stale.insert(id);
                    }
                }
                Report::Evicted(worker, token) => {
                    let id = (worker, token);
                    match self.take(id) {
                        Some(mut h) => self.fold(dp, slow, &mut h),
                        None => drop(self.early_evictions.insert(id)),
                    }
                }
            }
        }
        let n = stale.len();
        self.remove(dp, stale);
        n
    }

    fn index(&mut self, id: Id, m: &Megaflow) {
        for v in &m.visits {
            if let Some(e) = &v.entry {
                self.by_rule.entry(rule_key(&e.rule)).or_default().push(id);
            }
            self.by_table.entry((v.bridge, v.table)).or_default().insert(id);
        }
    }

    fn take(&mut self, id: Id) -> Option<Held> {
        let h = self.held.remove(&id)?;
        for v in &h.flow.visits {
            if let Some(e) = &v.entry {
                if let Some(l) = self.by_rule.get_mut(&rule_key(&e.rule)) {
                    if let Some(i) = l.iter().position(|x| *x == id) {
                        l.swap_remove(i);
                    }
                    if l.is_empty() {
                        self.by_rule.remove(&rule_key(&e.rule));
                    }
                }
            }
            if let Some(s) = self.by_table.get_mut(&(v.bridge, v.table)) {
                s.remove(&id);
            }
        }
        Some(h)
    }

    fn find(&self, c: &Change, out: &mut HashSet<Id>) {
        match c {
            Change::RuleAdded(bridge, r) => {
                for id in self.by_table.get(&(*bridge, r.table)).into_iter().flatten() {
                    if self.held.get(id).is_some_and(|h| affected(&h.flow, c)) {
                        out.insert(*id);
                    }
                }
            }
            Change::RuleGone(_, r) => out.extend(self.by_rule.get(&rule_key(r)).into_iter().flatten()),
            c => out.extend(self.held.iter().filter(|(_, h)| affected(&h.flow, c)).map(|(id, _)| *id)),
        }
    }

    /// Removes megaflows; their counters are folded in when the workers have let go of them.
    fn remove(&mut self, dp: &Datapath, ids: HashSet<Id>) {
        if ids.is_empty() {
            return;
        }
        let mut gone = Vec::with_capacity(ids.len());
        for id in ids {
            dp.remove_megaflow(id.0, id.1);
            gone.extend(self.take(id));
        }
        self.dying.push_back((dp.mark(), gone));
    }

    fn reap(&mut self, dp: &Datapath, slow: &Slow) {
        while self.dying.front().is_some_and(|(mark, _)| dp.synced(mark)) {
            for mut h in self.dying.pop_front().into_iter().flat_map(|d| d.1) {
                self.fold(dp, slow, &mut h);
            }
        }
    }

    fn fold(&mut self, dp: &Datapath, slow: &Slow, h: &mut Held) {
        let now = (h.flow.stats.packets.load(Ordering::Relaxed), h.flow.stats.bytes.load(Ordering::Relaxed));
        let (packets, bytes) = (now.0.wrapping_sub(h.folded.0), now.1.wrapping_sub(h.folded.1));
        if packets == 0 && bytes == 0 {
            return;
        }
        h.folded = now;
        let age = dp.now_ms().saturating_sub(h.flow.stats.used_ms.load(Ordering::Relaxed));
        h.used_ms = slow.now_ms().saturating_sub(age);
        let used_ms = h.used_ms;
        self.credit(slow, &h.flow.credits, packets, bytes, used_ms);
    }

    /// Adds traffic to everything on a list.
    pub fn credit(&mut self, slow: &Slow, list: &[MegaflowCredit], packets: u64, bytes: u64, used_ms: u64) {
        let (tables, patches) = (&mut self.tables, &mut self.patches);
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
        });
    }

    /// Brings all counters up to date.
    pub fn fold_all(&mut self, dp: &Datapath, slow: &Slow) {
        self.drain(dp, slow);
        self.reap(dp, slow);
        let mut held = std::mem::take(&mut self.held);
        for h in held.values_mut() {
            self.fold(dp, slow, h);
        }
        self.held = held;
        let mut dying = std::mem::take(&mut self.dying);
        for h in dying.iter_mut().flat_map(|(_, v)| v) {
            self.fold(dp, slow, h);
        }
        self.dying = dying;
    }

    /// Removes megaflows that were not used for `idle_ms`. Counters must have been folded just before.
    pub fn expire(&mut self, dp: &Datapath, slow: &Slow, idle_ms: u64) {
        let now = slow.now_ms();
        let old = |h: &Held| h.used_ms.saturating_add(idle_ms) < now;
        let ids = self.held.iter().filter(|(_, h)| old(h)).map(|(id, _)| *id).collect();
        self.remove(dp, ids);
    }

    /// Punt tokens and recirculation ids (top bit set) that megaflows use.
    pub fn tokens(&self) -> HashSet<u32> {
        let dying = self.dying.iter().flat_map(|(_, v)| v);
        self.held.values().chain(dying).flat_map(|h| h.flow.tokens.iter().copied()).collect()
    }
}
