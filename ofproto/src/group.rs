//! Group tables (OpenFlow 1.3.5, "Group Table"): what group-mods do to them, and which bucket a packet takes.
//!
//! A [`GroupTable`] is an `Arc`-shared map: publishing it is one reference count, a change copies the map (groups are few, changes rare)
//! while a snapshot shares it. Counters stay with the group through modifications of its buckets' actions only.
//!
//! **Select**: weighted rendezvous hashing. Each bucket draws a number from the packet's fields and its own identity; with weight `w` its score
//! is `-w / ln(u)`, and the highest wins. Shares follow the weights exactly, and when a bucket comes, goes or changes weight only flows that
//! move to or from it move at all. Buckets with a dead watch take no part.

use crate::flow::{mix, Flow};
use crate::xlate::PortView;
use arc_swap::ArcSwapOption;
use datapath::flow_key::off;
use openflow::group::{Bucket, GroupCapabilities, GroupType};
use openflow::msg::multipart::{BucketCounter, GroupDesc, GroupFeatures, GroupStats};
use openflow::msg::{GroupMod, GroupModCommand};
use openflow::{Action, GroupId, OfpError, PortNo};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Groups of a bridge at most.
pub const MAX_GROUPS: usize = 1 << 20;
/// Buckets of a group at most.
pub const MAX_BUCKETS: usize = 4096;

/// What the liveness of a bucket depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// A port.
    Port(PortNo),
    /// A group.
    Group(GroupId),
}

/// Ports of a bridge at one version.
pub type Ports = BTreeMap<PortNo, PortView>;

/// Which buckets of a group are live, with the groups and ports of one version.
#[derive(Debug)]
pub struct Live {
    /// Bucket by bucket.
    pub buckets: Vec<bool>,
    /// What that depends on.
    pub watched: Vec<Watch>,
    groups: Weak<BTreeMap<GroupId, Arc<Group>>>,
    ports: Weak<Ports>,
}

/// Packets and bytes.
#[derive(Debug, Default)]
pub struct Counts {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Counts {
    /// Adds traffic.
    pub fn credit(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    /// Packets and bytes so far.
    pub fn get(&self) -> (u64, u64) {
        (self.packets.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// One group.
#[derive(Debug)]
pub struct Group {
    /// Its number.
    pub id: GroupId,
    /// How buckets are chosen.
    pub kind: GroupType,
    /// Buckets exactly as sent.
    pub buckets: Vec<Bucket>,
    /// Traffic of the group.
    pub counts: Arc<Counts>,
    /// Traffic of each bucket.
    pub bucket_counts: Vec<Arc<Counts>>,
    /// Nanoseconds since the switch started, when it was added.
    pub created_ns: u64,
    /// What the buckets of a select group are known by.
    names: Vec<u64>,
    /// As last asked for.
    live: ArcSwapOption<Live>,
}

impl Group {
    /// The bucket of a select group for a flow; sets the bits it looked at.
    pub fn select(&self, live: &[bool], flow: &Flow, wc: &mut Flow) -> Option<usize> {
        select(&self.buckets, &self.names, &|i| live[i], flow, wc)
    }
    /// Groups that its buckets use.
    fn refers_to(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.buckets.iter().flat_map(|b| &b.actions).filter_map(|a| match a {
            Action::Group(g) => Some(*g),
            _ => None,
        })
    }
}

/// All groups of a bridge.
#[derive(Debug, Clone, Default)]
pub struct GroupTable {
    map: Arc<BTreeMap<GroupId, Arc<Group>>>,
}

/// What a group-mod changed.
#[derive(Debug, Default)]
pub struct GroupChange {
    /// Groups whose users must be translated again.
    pub changed: Vec<GroupId>,
    /// Groups that are gone: flow entries that use them go too.
    pub removed: Vec<GroupId>,
    /// What undoes it, for [`GroupTable::put_back`].
    pub before: Before,
}

/// Groups as they were before a change.
#[derive(Debug, Default)]
pub struct Before(Vec<(GroupId, Option<Arc<Group>>)>);

impl GroupTable {
    /// A group.
    pub fn get(&self, id: GroupId) -> Option<&Arc<Group>> {
        self.map.get(&id)
    }
    /// All groups by number.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.map.values()
    }
    /// Number of groups.
    pub fn len(&self) -> usize {
        self.map.len()
    }
    /// None.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Does what a group-mod asks. `port_exists` says whether a port may be watched or output to; `check` whether the switch executes an action.
    ///
    /// # Errors
    /// `OFPGMFC_*` (and `OFPBAC_*` from `check`), with nothing changed.
    pub fn apply(
        &mut self,
        m: &GroupMod,
        now_ns: u64,
        check: &dyn Fn(&Self, &Action) -> Result<(), OfpError>,
    ) -> Result<GroupChange, OfpError> {
        let mut change = GroupChange::default();
        match m.command {
            GroupModCommand::ADD => {
                if self.map.contains_key(&m.group_id) {
                    return Err(OfpError::OFPGMFC_GROUP_EXISTS);
                }
                if self.map.len() >= MAX_GROUPS {
                    return Err(OfpError::OFPGMFC_OUT_OF_GROUPS);
                }
                self.check(m, check)?;
                self.store(m, now_ns, None);
                change.before.0.push((m.group_id, None));
                change.changed.push(m.group_id);
            }
            GroupModCommand::MODIFY => {
                let Some(old) = self.map.get(&m.group_id).cloned() else {
                    return Err(OfpError::OFPGMFC_UNKNOWN_GROUP);
                };
                self.check(m, check)?;
                self.store(m, now_ns, Some(&old));
                change.before.0.push((m.group_id, Some(old)));
                change.changed.push(m.group_id);
            }
            GroupModCommand::DELETE => {
                if m.group_id.0 > GroupId::MAX.0 && m.group_id != GroupId::ALL {
                    return Err(OfpError::OFPGMFC_INVALID_GROUP);
                }
                // A group that is not there is no error; one that others lead to stays (OFPGFC_CHAINING_CHECKS).
                let gone: BTreeSet<GroupId> = if m.group_id == GroupId::ALL {
                    self.map.keys().copied().collect()
                } else {
                    self.map.contains_key(&m.group_id).then_some(m.group_id).into_iter().collect()
                };
                let leads =
                    |g: &Arc<Group>| !gone.contains(&g.id) && g.refers_to().any(|r| gone.contains(&r));
                if self.map.values().any(leads) {
                    return Err(OfpError::OFPGMFC_CHAINED_GROUP);
                }
                if !gone.is_empty() {
                    let map = Arc::make_mut(&mut self.map);
                    change.before.0.extend(gone.iter().map(|id| (*id, map.remove(id))));
                }
                change.removed.extend(gone);
            }
            _ => return Err(OfpError::OFPGMFC_BAD_COMMAND),
        }
        Ok(change)
    }

    /// Undoes a change; the latest first.
    pub fn put_back(&mut self, before: Before) {
        let map = Arc::make_mut(&mut self.map);
        for (id, group) in before.0 {
            match group {
                Some(g) => map.insert(id, g),
                None => map.remove(&id),
            };
        }
    }

    fn store(&mut self, m: &GroupMod, now_ns: u64, old: Option<&Group>) {
        let group = Group {
            id: m.group_id,
            kind: m.kind,
            buckets: m.buckets.clone(),
            counts: old.map_or_else(Arc::default, |g| g.counts.clone()),
            bucket_counts: m.buckets.iter().map(|_| Arc::default()).collect(),
            created_ns: old.map_or(now_ns, |g| g.created_ns),
            names: if m.kind == GroupType::SELECT { names(&m.buckets) } else { Vec::new() },
            live: ArcSwapOption::empty(),
        };
        Arc::make_mut(&mut self.map).insert(m.group_id, Arc::new(group));
    }

    fn check(
        &self,
        m: &GroupMod,
        check: &dyn Fn(&Self, &Action) -> Result<(), OfpError>,
    ) -> Result<(), OfpError> {
        if m.group_id.0 > GroupId::MAX.0 {
            return Err(OfpError::OFPGMFC_INVALID_GROUP);
        }
        if m.kind.0 > GroupType::FF.0 {
            return Err(OfpError::OFPGMFC_BAD_TYPE);
        }
        if m.buckets.len() > MAX_BUCKETS {
            return Err(OfpError::OFPGMFC_OUT_OF_BUCKETS);
        }
        if m.kind == GroupType::INDIRECT && m.buckets.len() != 1 {
            return Err(OfpError::OFPGMFC_INVALID_GROUP);
        }
        for b in &m.buckets {
            // "... includes fields such as weight that are undefined for the specified group type"; 1 changes nothing, and is sent.
            if m.kind != GroupType::SELECT && b.weight > 1 {
                return Err(OfpError::OFPGMFC_INVALID_GROUP);
            }
            if m.kind == GroupType::FF && b.watch_port == PortNo::ANY && b.watch_group == GroupId::ANY {
                return Err(OfpError::OFPGMFC_INVALID_GROUP);
            }
            if !can_be_watched(b.watch_port) {
                return Err(OfpError::OFPGMFC_BAD_WATCH);
            }
            if b.watch_group != GroupId::ANY
                && b.watch_group != m.group_id
                && !self.map.contains_key(&b.watch_group)
            {
                return Err(OfpError::OFPGMFC_BAD_WATCH);
            }
            if b.watch_group == m.group_id {
                return Err(OfpError::OFPGMFC_LOOP);
            }
            for a in &b.actions {
                match a {
                    Action::Group(g) if *g == m.group_id || self.reaches(*g, m.group_id) => {
                        return Err(OfpError::OFPGMFC_LOOP);
                    }
                    Action::Group(g) if !self.map.contains_key(g) => {
                        return Err(OfpError::OFPBAC_BAD_OUT_GROUP)
                    }
                    a => check(self, a)?,
                }
            }
        }
        Ok(())
    }

    /// Whether a chain leads from one group to another.
    fn reaches(&self, from: GroupId, to: GroupId) -> bool {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![from]);
        while let Some(id) = todo.pop() {
            if id == to {
                return true;
            }
            if seen.insert(id) {
                todo.extend(self.map.get(&id).into_iter().flat_map(|g| g.refers_to().collect::<Vec<_>>()));
            }
        }
        false
    }

    /// Which buckets of `g`, a group of this table, may be used with these ports. Found once for each version of groups and ports, by whoever
    /// asks first; costs as much as there are buckets of groups watched from here, and takes no lock.
    pub fn live(&self, g: &Group, ports: &Arc<Ports>) -> Arc<Live> {
        if let Some(known) = &*g.live.load() {
            // A table that something points to is not changed in place.
            if known.groups.as_ptr() == Arc::as_ptr(&self.map) && known.ports.as_ptr() == Arc::as_ptr(ports) {
                return known.clone();
            }
        }
        let (buckets, watched) = self.live_buckets(g, &|p| ports.get(&p).is_some_and(|p| p.live));
        let (groups, ports) = (Arc::downgrade(&self.map), Arc::downgrade(ports));
        let live = Arc::new(Live { buckets, watched, groups, ports });
        g.live.store(Some(live.clone()));
        live
    }

    /// OpenFlow 1.3.5, "Group Types": a bucket is live if the port or the group that it watches is (or if it watches nothing), a group if one of
    /// its buckets is. Groups that only watch each other are dead. Also says what the answer depends on.
    fn live_buckets(&self, g: &Group, port_is_live: &dyn Fn(PortNo) -> bool) -> (Vec<bool>, Vec<Watch>) {
        let (mut watched, mut asked) = (Vec::new(), HashSet::new());
        // By its port, or for want of a watch.
        let mut lives_alone = |b: &Bucket, watched: &mut Vec<Watch>| {
            if b.watch_port == PortNo::ANY {
                return b.watch_group == GroupId::ANY;
            }
            if asked.insert(b.watch_port) {
                watched.push(Watch::Port(b.watch_port));
            }
            port_is_live(b.watch_port)
        };
        let mut buckets: Vec<bool> = g.buckets.iter().map(|b| lives_alone(b, &mut watched)).collect();
        let by_group = |live: &[bool]| -> Vec<GroupId> {
            let dead = g.buckets.iter().zip(live).filter(|(b, l)| !**l && b.watch_group != GroupId::ANY);
            dead.map(|(b, _)| b.watch_group).collect()
        };
        // All groups that are watched from here. Those that do not live by a port of theirs are told by the groups they watch.
        let (mut seen, mut watchers, mut lives) = (HashSet::new(), HashMap::<_, Vec<_>>::new(), Vec::new());
        let mut todo = by_group(&buckets);
        while let Some(id) = todo.pop() {
            if !seen.insert(id) {
                continue;
            }
            watched.push(Watch::Group(id));
            let Some(g) = self.get(id) else { continue };
            if g.buckets.iter().any(|b| lives_alone(b, &mut watched)) {
                lives.push(id);
                continue;
            }
            for b in g.buckets.iter().filter(|b| b.watch_group != GroupId::ANY) {
                watchers.entry(b.watch_group).or_default().push(id);
                todo.push(b.watch_group);
            }
        }
        let mut live_groups = HashSet::new();
        while let Some(id) = lives.pop() {
            if live_groups.insert(id) {
                lives.extend(watchers.remove(&id).into_iter().flatten());
            }
        }
        for (b, live) in g.buckets.iter().zip(&mut buckets) {
            *live |= live_groups.contains(&b.watch_group);
        }
        (buckets, watched)
    }

    /// Answer to `OFPMP_GROUP_DESC`.
    pub fn describe(&self) -> Vec<GroupDesc> {
        let desc = |g: &Arc<Group>| GroupDesc { kind: g.kind, group_id: g.id, buckets: g.buckets.clone() };
        self.iter().map(desc).collect()
    }

    /// Counters of a group. `ref_count`: flow entries and groups that use it.
    pub fn stats(&self, g: &Group, flows: u32, now_ns: u64) -> GroupStats {
        let referrers = self.iter().filter(|o| o.refers_to().any(|r| r == g.id)).count() as u32;
        let (packet_count, byte_count) = g.counts.get();
        let age = now_ns.saturating_sub(g.created_ns);
        GroupStats {
            group_id: g.id,
            ref_count: flows + referrers,
            packet_count,
            byte_count,
            duration_sec: (age / 1_000_000_000) as u32,
            duration_nsec: (age % 1_000_000_000) as u32,
            buckets: g
                .bucket_counts
                .iter()
                .map(|c| c.get())
                .map(|(packet_count, byte_count)| BucketCounter { packet_count, byte_count })
                .collect(),
        }
    }
}

/// Answer to `OFPMP_GROUP_FEATURES`.
pub fn features() -> GroupFeatures {
    GroupFeatures {
        types: 0b1111,
        capabilities: GroupCapabilities(
            GroupCapabilities::SELECT_WEIGHT.0
                | GroupCapabilities::SELECT_LIVENESS.0
                | GroupCapabilities::CHAINING.0
                | GroupCapabilities::CHAINING_CHECKS.0,
        ),
        max_groups: [MAX_GROUPS as u32; 4],
        actions: [0x0fff_9801; 4], // every OFPAT_* of 1.3
    }
}

/// Fields that a select group looks at: the whole L2 header, addresses of ARP and IP, protocol and ports.
const SELECT_FIELDS: [(usize, usize); 9] = [
    (off::ETH_DST, 12),
    (off::ETH_TYPE, 4),
    (off::IPV4_SRC, 8),
    (off::TP_SRC, 4),
    (off::IP_PROTO, 1),
    (off::IPV6_SRC, 16),
    (off::IPV6_DST, 16),
    (off::ARP_SHA, 12),
    (off::MPLS_LSE, 4),
];

/// Whether a bucket may name this port to be watched: one that can be there, or none.
fn can_be_watched(p: PortNo) -> bool {
    p.0 != 0 && p <= PortNo::MAX || matches!(p, PortNo::LOCAL | PortNo::ANY)
}

/// What buckets are known by: what they do names them, so that they keep their flows when others come and go. Equal buckets are told apart by
/// their order.
fn names(buckets: &[Bucket]) -> Vec<u64> {
    let mut twins = HashMap::new();
    let name = |b: &Bucket| {
        let with = |twin: u64| {
            let watch = u64::from(b.watch_port.0) << 32 | u64::from(b.watch_group.0);
            b.actions.iter().fold(mix(twin, watch), |h, a| mix(h, action_hash(a)))
        };
        let twin = twins.entry(with(0)).or_insert(0);
        *twin += 1;
        with(*twin - 1)
    };
    buckets.iter().map(name).collect()
}

/// The bucket of a select group for a flow, among those that `live` names; sets the bits it looked at. `names`: as [`names`] has them.
fn select(
    buckets: &[Bucket],
    names: &[u64],
    live: &dyn Fn(usize) -> bool,
    flow: &Flow,
    wc: &mut Flow,
) -> Option<usize> {
    let candidates = || (0..buckets.len()).filter(|&i| buckets[i].weight > 0 && live(i));
    let mut first_two = candidates().take(2);
    match (first_two.next(), first_two.next()) {
        (None, _) => return None,
        (only, None) => return only, // whatever the packet is
        _ => {}
    }
    let mut h = 0x5e1e_c700;
    for (at, n) in SELECT_FIELDS {
        wc.put(at, n, u128::MAX >> (128 - 8 * n));
        let v = flow.get(at, n);
        h = mix(mix(h, v as u64), (v >> 64) as u64);
    }
    let h = mix(h, 0x2545_f491_4f6c_dd1d);
    let score = |i: usize| {
        let id = names[i];
        let u = (mix(mix(h, id), id.rotate_left(17)) >> 11) as f64 / (1u64 << 53) as f64;
        -f64::from(buckets[i].weight) / u.max(f64::MIN_POSITIVE).ln()
    };
    candidates().map(|i| (i, score(i))).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(i, _)| i)
}

fn action_hash(a: &Action) -> u64 {
    match a {
        Action::Output { port, .. } => mix(1, port.0.into()),
        Action::Group(g) => mix(2, g.0.into()),
        a => format!("{a:?}").bytes().fold(3, |h, b| mix(h, b.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(weight: u16, port: u32) -> Bucket {
        Bucket { weight, ..Bucket::new(vec![Action::Output { port: PortNo(port), max_len: 0 }]) }
    }
    fn flow(i: u64) -> Flow {
        let mut f = Flow::ZERO;
        f.put(off::ETH_SRC, 6, mix(1, i).into());
        f.put(off::IPV4_SRC, 4, mix(2, i).into());
        f
    }
    fn shares(buckets: &[Bucket], n: u64) -> Vec<u64> {
        let (mut v, names) = (vec![0; buckets.len()], names(buckets));
        for i in 0..n {
            v[select(buckets, &names, &|_| true, &flow(i), &mut Flow::ZERO.clone()).unwrap()] += 1;
        }
        v
    }

    #[test]
    fn shares_follow_weights_within_one_percent() {
        let n = 200_000;
        let b = [bucket(1, 1), bucket(2, 2), bucket(5, 3)];
        for (got, weight) in shares(&b, n).iter().zip([1.0, 2.0, 5.0]) {
            assert!((*got as f64 / n as f64 - weight / 8.0).abs() < 0.01, "{got} for weight {weight}");
        }
    }

    #[test]
    fn only_flows_of_a_bucket_that_goes_move() {
        let b = [bucket(1, 1), bucket(1, 2), bucket(1, 3)];
        let names = names(&b);
        for i in 0..2000 {
            let pick =
                |live: &dyn Fn(usize) -> bool| select(&b, &names, live, &flow(i), &mut Flow::ZERO.clone());
            let before = pick(&|_| true);
            let after = pick(&|j| j != 1);
            assert!(before == after || before == Some(1));
        }
    }

    #[test]
    fn one_live_bucket_looks_at_nothing() {
        let mut wc = Flow::ZERO;
        let b = [bucket(1, 1), bucket(0, 2)];
        assert_eq!(select(&b, &names(&b), &|_| true, &flow(1), &mut wc), Some(0));
        assert!(wc == Flow::ZERO);
        assert_eq!(select(&b, &names(&b), &|_| false, &flow(1), &mut wc), None);
    }

    #[test]
    fn equal_buckets_share_evenly() {
        let n = shares(&[bucket(1, 1), bucket(1, 1), bucket(1, 1)], 3000);
        assert!(n.iter().all(|n| (900..1100).contains(n)), "{n:?}");
    }

    /// Four times as many buckets cost about four times as much, not sixteen times.
    #[test]
    fn choosing_among_many_buckets_costs_as_many_steps() {
        let cost = |n: u32| {
            let buckets: Vec<_> = (1..=n).map(|i| bucket(1, i)).collect();
            let m = group_mod(GroupModCommand::ADD, 1, GroupType::SELECT, buckets);
            let quickest = (0..5).map(|_| {
                let begun = std::time::Instant::now();
                let mut t = GroupTable::default();
                t.apply(&m, 0, &|_, _| Ok(())).unwrap();
                let g = t.get(GroupId(1)).unwrap();
                let live = vec![true; n as usize];
                for i in 0..20 {
                    assert!(g.select(&live, &flow(i), &mut Flow::ZERO.clone()).is_some());
                }
                begun.elapsed()
            });
            quickest.min().unwrap()
        };
        let (few, many) = (cost(1000), cost(4000));
        assert!(many < few * 9, "{few:?} for 1000 buckets, {many:?} for 4000");
    }

    #[test]
    fn a_bucket_lives_by_its_port_or_by_its_group() {
        let mut t = GroupTable::default();
        let watch = |port: u32, group: u32| Bucket {
            watch_port: PortNo(port),
            watch_group: GroupId(group),
            ..Bucket::new(vec![])
        };
        let any = u32::MAX;
        let ff = group_mod(GroupModCommand::ADD, 1, GroupType::FF, vec![watch(1, any), watch(2, any)]);
        t.apply(&ff, 0, &|_, _| Ok(())).unwrap();
        let lives = |b: &Bucket, up: &[u32]| {
            let mut t = t.clone();
            t.store(&group_mod(GroupModCommand::ADD, 50, GroupType::SELECT, vec![b.clone()]), 0, None);
            let (live, seen) = t.live_buckets(t.get(GroupId(50)).unwrap(), &|p| up.contains(&p.0));
            (live[0], seen.len())
        };
        assert_eq!(lives(&watch(any, any), &[]), (true, 0));
        assert_eq!(lives(&watch(3, any), &[3]), (true, 1));
        assert_eq!(lives(&watch(3, any), &[1]), (false, 1));
        assert_eq!(lives(&watch(any, 1), &[2]), (true, 3), "the group and both its ports");
        assert_eq!(lives(&watch(3, 1), &[1]), (true, 3), "the port, the group, its first port");
        assert_eq!(lives(&watch(3, 1), &[4]), (false, 4));
        assert_eq!(lives(&watch(any, 9), &[1]), (false, 1), "no such group");
    }

    /// Each group watches the next twice, the last a port: as many answers as groups, not 2 to the power of them; and watches in a ring, which a
    /// modification can make, have an end.
    #[test]
    fn watches_are_followed_however_far_and_once() {
        let mut t = GroupTable::default();
        let any = u32::MAX;
        let watch = |port: u32, group: u32| Bucket {
            watch_port: PortNo(port),
            watch_group: GroupId(group),
            ..Bucket::new(vec![])
        };
        let n = 1000;
        let mut put = |command, id, buckets| {
            t.apply(&group_mod(command, id, GroupType::FF, buckets), 0, &|_, _| Ok(())).unwrap();
            t.clone()
        };
        put(GroupModCommand::ADD, n, vec![watch(1, any)]);
        for id in (1..n).rev() {
            put(GroupModCommand::ADD, id, vec![watch(any, id + 1), watch(any, id + 1)]);
        }
        let lives = |t: &GroupTable, up: bool| {
            let (live, seen) = t.live_buckets(t.get(GroupId(1)).unwrap(), &|_| up);
            assert_eq!(seen.len(), n as usize, "the other groups and the port");
            live
        };
        let t = put(GroupModCommand::MODIFY, 5, vec![watch(any, 6), watch(any, 4)]);
        assert_eq!(lives(&t, true), [true, true]);
        assert_eq!(lives(&t, false), [false, false]);
    }

    #[test]
    fn liveness_is_found_once_for_each_version() {
        let mut t = GroupTable::default();
        let ff = |port| Bucket { watch_port: PortNo(port), ..Bucket::new(vec![]) };
        let m = |command, id| group_mod(command, id, GroupType::FF, vec![ff(1), ff(2)]);
        let _ = t.apply(&m(GroupModCommand::ADD, 1), 0, &|_, _| Ok(())).unwrap();
        let view = |live| PortView {
            number: PortNo(1),
            target: crate::xlate::PortTarget::Patch(None),
            no_recv: false,
            no_fwd: false,
            no_packet_in: false,
            live,
        };
        let ports = |live| Arc::new(Ports::from([(PortNo(1), view(live))]));
        let (up, down) = (ports(true), ports(false));
        let ask = |t: &GroupTable, ports: &Arc<Ports>| t.live(t.get(GroupId(1)).unwrap(), ports);
        let first = ask(&t, &up);
        assert_eq!(first.buckets, [true, false]);
        assert!(Arc::ptr_eq(&first, &ask(&t.clone(), &up)), "the same version");
        assert_eq!(ask(&t, &down).buckets, [false, false]);
        // Also when the table is changed in place.
        let before = ask(&t, &up);
        let _ = t.apply(&m(GroupModCommand::ADD, 2), 0, &|_, _| Ok(())).unwrap();
        assert!(!Arc::ptr_eq(&before, &ask(&t, &up)));
    }

    fn group_mod(command: GroupModCommand, id: u32, kind: GroupType, buckets: Vec<Bucket>) -> GroupMod {
        GroupMod { command, kind, group_id: GroupId(id), buckets }
    }

    #[test]
    fn loops_and_missing_groups_are_refused_and_change_nothing() {
        let mut t = GroupTable::default();
        let ok = |_: &GroupTable, _: &Action| Ok(());
        let to = |id: u32| vec![Bucket::new(vec![Action::Group(GroupId(id))])];
        let add = |id, b| group_mod(GroupModCommand::ADD, id, GroupType::INDIRECT, b);
        assert_eq!(t.apply(&add(1, to(2)), 0, &ok).map(drop), Err(OfpError::OFPBAC_BAD_OUT_GROUP));
        t.apply(&add(2, vec![bucket(0, 1)]), 0, &ok).unwrap();
        t.apply(&add(1, to(2)), 0, &ok).unwrap();
        let m = group_mod(GroupModCommand::MODIFY, 2, GroupType::INDIRECT, to(1));
        assert_eq!(t.apply(&m, 0, &ok).map(drop), Err(OfpError::OFPGMFC_LOOP));
        assert_eq!(
            t.apply(&add(1, vec![bucket(0, 1)]), 0, &ok).map(drop),
            Err(OfpError::OFPGMFC_GROUP_EXISTS)
        );
        assert_eq!(t.get(GroupId(2)).unwrap().buckets, vec![bucket(0, 1)]);
        let delete = |id: GroupId| group_mod(GroupModCommand::DELETE, id.0, GroupType::ALL, vec![]);
        assert_eq!(t.apply(&delete(GroupId(2)), 0, &ok).map(drop), Err(OfpError::OFPGMFC_CHAINED_GROUP));
        let none = t.apply(&delete(GroupId(7)), 0, &ok).unwrap();
        assert!(none.changed.is_empty() && none.removed.is_empty());
        let gone = t.apply(&delete(GroupId::ALL), 0, &ok).unwrap();
        assert_eq!(gone.removed, vec![GroupId(1), GroupId(2)]);
        assert!(t.is_empty());
    }
}
