//! One version of everything that translation reads. Immutable; published by the control thread by one pointer swap, read by all workers.

use crate::api::BridgeId;
use crate::entries::Entry as TableEntry;
use crate::flow::Flow;
use crate::group::{self, Group, GroupTable};
use crate::learned::{Answer, Learned};
use crate::table::Tables;
use crate::upcall::Slow;
use crate::xlate::{self, Frozen, PortTarget, PortView, Punt, Visit, World};
use datapath::{DpMeterId, PortId};
use openflow::group::{Bucket, GroupType};
use openflow::{GroupId, Instruction, MeterId, PortNo};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

/// A bridge at one version.
#[derive(Clone, Default)]
pub struct BridgeSnap {
    /// Name.
    pub name: String,
    /// Flow tables.
    pub tables: Tables,
    /// Groups.
    pub groups: GroupTable,
    /// Meters: the datapath's, and whether one rewrites DSCP.
    pub meters: Arc<HashMap<MeterId, (DpMeterId, bool)>>,
    /// Ports by number.
    pub ports: Arc<group::Ports>,
    /// `OFPC_FRAG_DROP`.
    pub drop_fragments: bool,
    /// The virtual meter SLOWPATH: limits packets that need a translation.
    pub slowpath: Option<Arc<datapath::meter::Meter>>,
    /// What it does by itself.
    pub standalone: xlate::Standalone,
}

/// Numbers that we gave out ourselves need no defence against being chosen.
#[derive(Default)]
pub struct IdHasher(u64);

impl std::hash::Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = crate::flow::mix(self.0, (*b).into()));
    }
    fn write_u32(&mut self, n: u32) {
        self.0 = crate::flow::mix(self.0, n.into());
    }
}

/// A map by ids.
pub type IdMap<K, V> = HashMap<K, V, std::hash::BuildHasherDefault<IdHasher>>;

/// Everything at one version.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// Counts up with each publication.
    pub version: u64,
    /// Bridges.
    pub bridges: Arc<IdMap<BridgeId, Arc<BridgeSnap>>>,
    /// Whose a datapath port is.
    pub dp_ports: Arc<IdMap<PortId, (BridgeId, PortNo)>>,
    /// Some bridge has a meter SLOWPATH.
    pub meters_slowpath: bool,
}

/// A snapshot with what translation writes to: the world of [`crate::xlate`].
pub struct View<'a> {
    /// The tables.
    pub snap: &'a Snapshot,
    /// MAC tables, tokens and queues.
    pub slow: &'a Slow,
    room: Cell<Vec<Visit<TableEntry>>>,
}

impl<'a> View<'a> {
    /// For a translation or several.
    pub fn new(snap: &'a Snapshot, slow: &'a Slow) -> Self {
        Self::with_room(snap, slow, Vec::new())
    }
    /// The first translation notes its visits in `room`, an empty vector with some capacity.
    pub fn with_room(snap: &'a Snapshot, slow: &'a Slow, room: Vec<Visit<TableEntry>>) -> Self {
        Self { snap, slow, room: Cell::new(room) }
    }
}

impl xlate::Entry for TableEntry {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rule, &other.rule) && Arc::ptr_eq(&self.instrs, &other.instrs)
    }
    fn instructions(&self) -> &[Instruction] {
        &self.instrs.list
    }
    fn priority(&self) -> u16 {
        self.rule.priority
    }
    fn cookie(&self) -> u64 {
        self.rule.cookie
    }
    fn is_table_miss(&self) -> bool {
        self.rule.is_table_miss()
    }
    fn describe(&self) -> String {
        openflow::text::print_match(&self.rule.matching())
    }
}

/// A group with the state that decides between its buckets.
#[derive(Clone)]
pub struct LiveGroup {
    /// The group.
    pub group: Arc<Group>,
    /// Which buckets are live, where that matters.
    live: Option<Arc<group::Live>>,
}

impl LiveGroup {
    fn live(&self) -> &[bool] {
        self.live.as_ref().map_or(&[][..], |l| &l.buckets)
    }
}

impl xlate::GroupView for LiveGroup {
    fn kind(&self) -> GroupType {
        self.group.kind
    }
    fn buckets(&self) -> &[Bucket] {
        &self.group.buckets
    }
    fn watched(&self) -> &[group::Watch] {
        self.live.as_ref().map_or(&[][..], |l| &l.watched)
    }
    fn select(&self, flow: &Flow, wc: &mut Flow) -> Option<usize> {
        self.group.select(self.live(), flow, wc)
    }
    fn failover(&self) -> Option<usize> {
        self.live().iter().position(|l| *l)
    }
}

impl View<'_> {
    fn bridge(&self, id: BridgeId) -> Option<&BridgeSnap> {
        self.snap.bridges.get(&id).map(|b| &**b)
    }
    /// Whether the limit lets a flow entry be learned: it is there already, or a place is free (and kept, if `keep`).
    fn has_room(&self, bridge: BridgeId, what: &Learned<TableEntry>, keep: bool) -> bool {
        let (set, limit) = (what.set(), what.limit);
        let Some(table) = self.bridge(bridge).and_then(|b| b.tables.get(set.table.into())) else {
            return false;
        };
        let place = crate::fields::match_to_flow(&what.flow.matching);
        let there = place.and_then(|(value, mask)| table.find_equal(&mask, &value, what.flow.priority));
        if there.is_some_and(|e| e.rule.cookie == set.cookie) {
            return true;
        }
        let ask = |counted| self.slow.rooms.ask(bridge, set, what.name, limit, keep, counted);
        let count = || table.iter().filter(|e| e.rule.cookie == set.cookie).take(limit as usize).count();
        ask(None).or_else(|| ask(Some(count()))).unwrap_or(false)
    }
}

impl World for View<'_> {
    type Entry = TableEntry;
    type Group = LiveGroup;

    fn room(&self) -> Vec<Visit<TableEntry>> {
        self.room.take()
    }

    fn lookup(&self, bridge: BridgeId, table: u8, flow: &Flow, wc: &mut Flow) -> Option<TableEntry> {
        self.bridge(bridge)?.tables.get(table as usize)?.lookup(flow, wc).cloned()
    }
    fn group(&self, bridge: BridgeId, id: GroupId) -> Option<LiveGroup> {
        let b = self.bridge(bridge)?;
        let group = b.groups.get(id)?.clone();
        let live = match group.kind {
            GroupType::SELECT | GroupType::FF => Some(b.groups.live(&group, &b.ports)),
            _ => None,
        };
        Some(LiveGroup { group, live })
    }
    fn meter(&self, bridge: BridgeId, id: MeterId) -> Option<(DpMeterId, bool)> {
        self.bridge(bridge)?.meters.get(&id).copied()
    }
    fn port(&self, bridge: BridgeId, number: PortNo) -> Option<PortView> {
        let mut view = *self.bridge(bridge)?.ports.get(&number)?;
        // A patch port whose peer's bridge is gone leads nowhere.
        if let PortTarget::Patch(Some((peer, _))) = view.target {
            if self.bridge(peer).is_none() {
                view.target = PortTarget::Patch(None);
            }
        }
        Some(view)
    }
    fn ports(&self, bridge: BridgeId) -> Vec<PortView> {
        self.bridge(bridge).map(|b| b.ports.values().copied().collect()).unwrap_or_default()
    }
    fn bridge_name(&self, bridge: BridgeId) -> String {
        self.bridge(bridge).map(|b| b.name.clone()).unwrap_or_default()
    }
    fn drop_fragments(&self, bridge: BridgeId) -> bool {
        self.bridge(bridge).is_some_and(|b| b.drop_fragments)
    }
    fn standalone(&self, bridge: BridgeId) -> xlate::Standalone {
        self.bridge(bridge).map_or_else(Default::default, |b| b.standalone)
    }
    fn mac_lookup(&self, bridge: BridgeId, vlan: u16, mac: [u8; 6]) -> Option<PortNo> {
        self.slow.macs.lookup(bridge, vlan, mac)
    }
    fn mac_learn(&self, bridge: BridgeId, vlan: u16, mac: [u8; 6], port: PortNo) {
        self.slow.mac_seen(bridge, vlan, mac, port);
    }
    fn learn(&self, bridge: BridgeId, what: &Arc<Learned<TableEntry>>, side_effects: bool) -> Answer {
        if what.limit != 0 && !self.has_room(bridge, what, side_effects) {
            return Answer::Full;
        }
        if side_effects && !self.slow.learn(bridge, what) {
            if what.limit != 0 {
                self.slow.rooms.give_back(bridge, what.set(), what.name);
            }
            return Answer::Busy;
        }
        Answer::Yes
    }
    fn punt(&self, punt: Punt) -> u64 {
        self.slow.punt_token(punt)
    }
    fn freeze(&self, rest: Frozen<TableEntry>) -> Option<u32> {
        let hash = rest.hash();
        self.slow.frozen.intern(rest, hash)
    }
}
