//! The switch: bridges, the datapath below them, and what happens between a change and its effect. Driven by one control thread.
//!
//! A change makes its bridge *dirty*. `Switch::publish` makes all that is dirty one new version of the snapshot and has the megaflows repaired that
//! the changes can touch ([`crate::revalidator`]); [`Switch::run`] moves that on, and does all that time and workers ask for.

use crate::api::{BridgeConfig, BridgeId, ConfigError, MegaflowDump, PortSpec, Waker};
use crate::bridge::{duration, port_names, Bridge, OfPort};
use crate::conn::manager::Event;
use crate::entries::Entry;
use crate::fields;
use crate::flow::Flow;
use crate::learned::Learned;
use crate::queue;
use crate::revalidator::{Cache, Change, Place};
use crate::rule::RuleCore;
use crate::snapshot::{Snapshot, View};
pub use crate::table::Cursor as FlowCursor;
use crate::table::{flow_removed, Effect};
use crate::trace::Drawing;
use crate::upcall::Slow;
use crate::xlate::{Standalone, REASONS};
use datapath::meter::Verdict;
use datapath::port::{Port, PortConfig as DpPortConfig, PortInfo};
use datapath::{Datapath, DatapathConfig, FlowKey, PortId};
use openflow::field::FIELDS;
use openflow::msg::multipart::PortStats;
use openflow::msg::{FlowRemovedReason, PortReason, PortStatus};
use openflow::port::{Port as OfPortDesc, PortConfig};
use openflow::{Match, MeterId, OxmField, PortNo, Xid};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between rounds of expiry while there is something that can expire.
const HOUSEKEEPING: Duration = Duration::from_millis(500);
/// While more requests wait to be handled, changes are made known at least so often: each publication costs a copy of what changes after it.
const HOLD: Duration = Duration::from_millis(4);
/// Megaflows not used for so long are removed.
const MEGAFLOW_IDLE_MS: u64 = 10_000;
/// Events handled in one round, so that connections get their turn.
const ROUND: usize = 1024;

/// All bridges of the process and their datapath.
pub struct Switch {
    pub(crate) dp: Arc<Datapath>,
    pub(crate) slow: Arc<Slow>,
    pub(crate) cache: Cache,
    pub(crate) bridges: BTreeMap<BridgeId, Bridge>,
    next_bridge: u32,
    meter_ids: Arc<std::sync::atomic::AtomicU32>,
    start: Instant,
    version: u64,
    /// Old snapshots, kept until no worker can hold them: so none is freed on a worker.
    retired: VecDeque<(u64, Arc<Snapshot>)>,
    events: VecDeque<(BridgeId, Event)>,
    housekeeping: Instant,
    /// Where the sweep over all megaflows stands that housekeeping begins with, if one is under way.
    sweep: Option<Place>,
    /// Requests wait that will be handled at once, and when changes were last made known.
    more: bool,
    published: Instant,
    ports_changed: bool,
    /// Meters that are gone, till no worker names them.
    pub(crate) old_meters: VecDeque<(u64, crate::meter::MeterChange)>,
    /// Packets for controllers that the meter CONTROLLER dropped.
    metered: u64,
    most_megaflows: usize,
    /// Entries to be reported as removed once their version is synced.
    leaving: VecDeque<(u64, BridgeId, Arc<RuleCore>, FlowRemovedReason, u64)>,
}

/// One bridge, borrowed: what [`crate::conn::manager`] drives.
pub struct BridgeView<'a> {
    /// The switch.
    pub switch: &'a mut Switch,
    /// Which bridge.
    pub id: BridgeId,
}

fn err(text: impl Into<String>) -> ConfigError {
    ConfigError(text.into())
}

impl Switch {
    /// Starts the datapath. `waker` is called when [`Switch::run`] should be.
    ///
    /// # Errors
    /// What the datapath says.
    pub fn new(mut config: DatapathConfig, waker: Waker, now: Instant) -> Result<Self, ConfigError> {
        let slow = Arc::new(Slow::with_clock(waker.clone(), now, config.manual_clock.clone()));
        config.waker = waker;
        let dp = Datapath::new(config, slow.clone()).map_err(|e| err(e.to_string()))?;
        Ok(Self {
            dp: Arc::new(dp),
            slow,
            cache: Cache::default(),
            bridges: BTreeMap::new(),
            next_bridge: 1,
            meter_ids: Arc::new(std::sync::atomic::AtomicU32::new(1)),
            start: now,
            version: 0,
            retired: VecDeque::new(),
            events: VecDeque::new(),
            housekeeping: now + HOUSEKEEPING,
            sweep: None,
            more: false,
            published: now,
            ports_changed: false,
            old_meters: VecDeque::new(),
            leaving: VecDeque::new(),
            metered: 0,
            most_megaflows: 0,
        })
    }
    /// The datapath below, for pmd-stats-show and the like.
    pub fn datapath(&self) -> &Arc<Datapath> {
        &self.dp
    }
    /// Nanoseconds since the switch started.
    pub(crate) fn ns(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_nanos() as u64 + self.slow.skipped_ms() * 1_000_000
    }
    /// Makes it later by `by` than it is, for tests of timeouts: what was used before stays as old as it was.
    pub fn skip_time(&mut self, now: Instant, by: Duration) {
        self.cache.fold_all(&self.dp, &self.slow);
        self.slow.skip_ms(by.as_millis() as u64);
        self.housekeeping = now;
    }

    // ---- bridges and ports ----

    /// Makes a bridge, with its LOCAL port.
    ///
    /// # Errors
    /// One line for a person.
    pub fn add_bridge(&mut self, now: Instant, config: BridgeConfig) -> Result<BridgeId, ConfigError> {
        self.add_bridge_on(now, config, None)
    }
    /// As [`Switch::add_bridge`], with this device as its LOCAL port (tests have one in memory).
    ///
    /// # Errors
    /// One line for a person.
    pub fn add_bridge_on(
        &mut self,
        now: Instant,
        config: BridgeConfig,
        local_device: Option<Box<dyn Port>>,
    ) -> Result<BridgeId, ConfigError> {
        if self.bridge(&config.name).is_some() {
            return Err(err(format!("there is a bridge {} already", config.name)));
        }
        let id = BridgeId(self.next_bridge);
        self.next_bridge += 1;
        let (name, standalone) = (config.name.clone(), config.standalone);
        self.bridges.insert(id, Bridge::new(id, config, self.meter_ids.clone()));
        let local =
            PortSpec { name, ofport: Some(PortNo::LOCAL), kind: "internal".into(), ..PortSpec::default() };
        if let Err(e) = self.add_port_on(now, id, local, local_device) {
            self.bridges.remove(&id);
            return Err(e);
        }
        self.set_standalone(id, standalone);
        Ok(id)
    }
    /// Removes a bridge with its ports.
    ///
    /// # Errors
    /// If there is no such bridge.
    pub fn del_bridge(&mut self, now: Instant, name: &str) -> Result<(), ConfigError> {
        let id = self.bridge(name).ok_or_else(|| err(format!("there is no bridge {name}")))?;
        let ports: Vec<String> = self.bridges[&id].ports.values().map(|p| p.spec.name.clone()).collect();
        for p in ports {
            self.remove_port(now, id, &p)?;
        }
        if let Some(b) = self.bridges.remove(&id) {
            for (dp, _) in b.meters.published().values() {
                self.dp.del_meter(*dp);
            }
        }
        self.publish_with(vec![Change::Bridge(id)]);
        self.slow.rooms.forget(id);
        self.link_patches();
        Ok(())
    }
    /// The bridge of a name.
    pub fn bridge(&self, name: &str) -> Option<BridgeId> {
        self.bridges.values().find(|b| b.config.name == name).map(|b| b.id)
    }
    /// All bridges.
    pub fn bridges(&self) -> Vec<(BridgeId, BridgeConfig)> {
        self.bridges.values().map(|b| (b.id, b.config.clone())).collect()
    }
    /// The [`crate::conn::manager::Backend`] of a bridge.
    pub fn view(&mut self, id: BridgeId) -> BridgeView<'_> {
        BridgeView { switch: self, id }
    }
    /// Adds a port; the error is one clear line, and nothing has changed then.
    ///
    /// # Errors
    /// One line for a person.
    pub fn add_port(
        &mut self,
        now: Instant,
        bridge: BridgeId,
        spec: PortSpec,
    ) -> Result<PortNo, ConfigError> {
        self.add_port_on(now, bridge, spec, None)
    }
    /// As [`Switch::add_port`], with a device that is open already.
    ///
    /// # Errors
    /// One line for a person.
    pub fn add_port_on(
        &mut self,
        now: Instant,
        bridge: BridgeId,
        spec: PortSpec,
        device: Option<Box<dyn Port>>,
    ) -> Result<PortNo, ConfigError> {
        let created_ns = self.ns(now);
        if let Some(b) = self.bridges.values().find(|b| b.port_by_name(&spec.name).is_some()) {
            return Err(err(format!("port {}: bridge {} has it already", spec.name, b.config.name)));
        }
        let b = self.bridges.get(&bridge).ok_or_else(|| err("there is no such bridge"))?;
        if spec.name.is_empty() || spec.name.len() > 15 {
            return Err(err(format!("port {:?}: a name has 1 to 15 bytes", spec.name)));
        }
        let number = match spec.ofport {
            Some(n) if b.ports.contains_key(&n) => {
                return Err(err(format!("port {}: OpenFlow port number {} is taken", spec.name, n.0)));
            }
            Some(n) if n != PortNo::LOCAL && (n.0 == 0 || n.0 > PortNo::MAX.0) => {
                return Err(err(format!("port {}: ofport={} is not 1 to {}", spec.name, n.0, PortNo::MAX.0)));
            }
            Some(n) => n,
            None => b.free_number().ok_or_else(|| err("all port numbers are taken"))?,
        };
        let queues = queue::parse(&spec.options).map_err(|e| err(format!("port {}: {e}", spec.name)))?;
        if spec.kind == "patch" && !queues.is_empty() {
            return Err(err(format!("port {}: a patch port has no queues", spec.name)));
        }
        let (dp, info) = if spec.kind == "patch" {
            if !spec.options.contains_key("peer") {
                return Err(err(format!("port {}: type=patch needs peer=NAME", spec.name)));
            }
            let info = PortInfo {
                name: spec.name.clone(),
                kind: "patch".into(),
                mac: patch_mac(&spec.name),
                mtu: 65_535,
                link_up: true,
                admin_up: true,
                ..PortInfo::default()
            };
            (None, info)
        } else {
            let mut options = spec.options.clone();
            options.retain(|k, _| !queue::is_option(k));
            let config = DpPortConfig { name: spec.name.clone(), kind: spec.kind.clone(), options };
            let added = match device {
                Some(d) => self.dp.prepare_port_object(d),
                None => self.dp.prepare_port(&config),
            };
            let id = added.map_err(|e| err(e.to_string()))?;
            (Some(id), self.dp.port_info(id).unwrap_or_default())
        };
        if let Some(id) = dp {
            self.dp.set_queues(id, &queues).map_err(|e| err(e.to_string()))?;
        }
        let queues_ns = queues.queues.keys().map(|q| (*q, created_ns)).collect();
        let port =
            OfPort { spec, dp, info, config: PortConfig::empty(), created_ns, peer: None, queues, queues_ns };
        self.port_came(bridge, number, port);
        if let Some(id) = dp {
            // Only now, when whose it is has been published: what comes sooner would belong to no bridge.
            self.dp.start_port(id);
        }
        Ok(number)
    }
    /// Makes, changes or (without words) removes a queue of a port; `queue` none: the rate of the port itself. The port's options as they
    /// are then, to be kept.
    ///
    /// # Errors
    /// One line for a person; nothing has changed then.
    pub fn set_queue(
        &mut self,
        now: Instant,
        bridge: BridgeId,
        port: &str,
        queue: Option<u8>,
        words: &[(&str, &str)],
    ) -> Result<BTreeMap<String, String>, ConfigError> {
        let now_ns = self.ns(now);
        let b = self.bridges.get_mut(&bridge).ok_or_else(|| err("there is no such bridge"))?;
        let at = |e: String| err(format!("port {port}: {e}"));
        let number =
            b.port_by_name(port).ok_or_else(|| at(format!("bridge {} has no such port", b.config.name)))?;
        let Some(p) = b.ports.get_mut(&number) else { return Err(at("gone".into())) };
        let Some(dp) = p.dp else { return Err(at("a patch port has no queues".into())) };
        let options = queue::set_options(&p.spec.options, queue, words).map_err(at)?;
        let queues = queue::parse(&options).map_err(at)?;
        self.dp.set_queues(dp, &queues).map_err(|e| err(e.to_string()))?;
        p.queues_ns =
            queues.queues.keys().map(|q| (*q, p.queues_ns.get(q).copied().unwrap_or(now_ns))).collect();
        p.queues = queues;
        p.spec.options = options.clone();
        Ok(options)
    }
    /// Room of a table, and what happens when it is full, from now on. A table that evicts lets go of what is too many; one that refuses keeps it.
    ///
    /// # Errors
    /// One line for a person; nothing has changed then.
    pub fn set_table_limit(
        &mut self,
        now: Instant,
        bridge: BridgeId,
        table: u8,
        limit: crate::api::TableLimit,
    ) -> Result<(), ConfigError> {
        let now_ns = self.ns(now);
        self.cache.fold_all(&self.dp, &self.slow);
        let b = self.bridges.get_mut(&bridge).ok_or_else(|| err("there is no such bridge"))?;
        if table >= crate::bridge::N_TABLES {
            return Err(err(format!("{table} is not a table (0 to {})", crate::bridge::N_TABLES - 1)));
        }
        let mut effects = Vec::new();
        b.shapes.limit(openflow::TableId(table), limit.most());
        b.tables.limit(table, limit.most(), limit.evict, &mut effects);
        b.note(effects, None, Xid(0), FlowRemovedReason::DELETE, now_ns);
        b.config.tables.insert(table, limit);
        self.publish();
        Ok(())
    }
    fn port_came(&mut self, bridge: BridgeId, number: PortNo, port: OfPort) {
        if let Some(b) = self.bridges.get_mut(&bridge) {
            b.events
                .push(Event::PortStatus(PortStatus { reason: PortReason::ADD, port: port.describe(number) }));
            b.ports.insert(number, port);
            b.dirty = true;
            b.changes.push(Change::Port(bridge, number));
        }
        self.ports_changed = true;
        self.link_patches();
        self.publish();
    }
    /// Removes a port.
    ///
    /// # Errors
    /// If there is no such port, or it is LOCAL.
    pub fn del_port(&mut self, now: Instant, bridge: BridgeId, name: &str) -> Result<(), ConfigError> {
        let b = self.bridges.get(&bridge).ok_or_else(|| err("there is no such bridge"))?;
        if b.port_by_name(name) == Some(PortNo::LOCAL) {
            return Err(err(format!("port {name} is the bridge's own (LOCAL): it goes with del-br")));
        }
        self.remove_port(now, bridge, name)
    }
    fn remove_port(&mut self, _now: Instant, bridge: BridgeId, name: &str) -> Result<(), ConfigError> {
        let b = self.bridges.get_mut(&bridge).ok_or_else(|| err("there is no such bridge"))?;
        let number = b
            .port_by_name(name)
            .ok_or_else(|| err(format!("port {name}: bridge {} has no such port", b.config.name)))?;
        let Some(port) = b.ports.remove(&number) else { return Ok(()) };
        b.events
            .push(Event::PortStatus(PortStatus { reason: PortReason::DELETE, port: port.describe(number) }));
        b.dirty = true;
        b.changes.push(Change::Port(bridge, number));
        for (x, vlan, mac) in self.slow.macs.remove(|x, p, _| x == bridge && p == number) {
            b.changes.push(Change::Mac(x, vlan, mac));
        }
        self.ports_changed = true;
        self.link_patches();
        self.publish();
        if let Some(dp) = port.dp {
            self.dp.del_port(dp).map_err(|e| err(e.to_string()))?;
        }
        Ok(())
    }
    /// Finds the peers of patch ports.
    fn link_patches(&mut self) {
        let mut all: BTreeMap<String, (BridgeId, PortNo, String)> = BTreeMap::new();
        for b in self.bridges.values() {
            for (n, p) in &b.ports {
                if let Some(peer) = p.spec.options.get("peer").filter(|_| p.dp.is_none()) {
                    all.insert(p.spec.name.clone(), (b.id, *n, peer.clone()));
                }
            }
        }
        for b in self.bridges.values_mut() {
            for (n, p) in &mut b.ports {
                let Some(peer) = p.spec.options.get("peer").filter(|_| p.dp.is_none()) else { continue };
                // Both must name each other.
                let found =
                    all.get(peer).filter(|(_, _, back)| *back == p.spec.name).map(|(id, n, _)| (*id, *n));
                if p.peer != found {
                    p.peer = found;
                    b.dirty = true;
                    b.changes.push(Change::Port(b.id, *n));
                    b.events.push(Event::PortStatus(PortStatus {
                        reason: PortReason::MODIFY,
                        port: p.describe(*n),
                    }));
                }
            }
        }
        self.publish();
    }
    /// The ports with what they were made from.
    pub fn ports(&self, bridge: BridgeId) -> Vec<(PortSpec, OfPortDesc)> {
        let b = self.bridges.get(&bridge);
        b.into_iter().flat_map(|b| &b.ports).map(|(n, p)| (p.spec.clone(), p.describe(*n))).collect()
    }
    /// Counters of the ports.
    pub fn port_stats(&mut self, now: Instant, bridge: BridgeId) -> Vec<PortStats> {
        self.cache.fold_all(&self.dp, &self.slow);
        let now_ns = self.ns(now);
        let Some(b) = self.bridges.get(&bridge) else { return Vec::new() };
        let one = |(n, p): (&PortNo, &OfPort)| {
            let (duration_sec, duration_nsec) = duration(p.created_ns, now_ns);
            let base = PortStats { port_no: *n, duration_sec, duration_nsec, ..PortStats::default() };
            match p.dp {
                None => {
                    let c = self.cache.patches.get(&(bridge, *n)).copied().unwrap_or_default();
                    PortStats {
                        rx_packets: c.rx.0,
                        rx_bytes: c.rx.1,
                        tx_packets: c.tx.0,
                        tx_bytes: c.tx.1,
                        ..base
                    }
                }
                Some(id) => {
                    let s = self.dp.port_stats(id).unwrap_or_default();
                    PortStats {
                        rx_packets: s.rx_packets,
                        tx_packets: s.tx_packets,
                        rx_bytes: s.rx_bytes,
                        tx_bytes: s.tx_bytes,
                        rx_dropped: s.rx_dropped,
                        tx_dropped: s.tx_dropped,
                        rx_errors: s.rx_errors,
                        tx_errors: s.tx_errors,
                        rx_frame_err: s.rx_frame_err,
                        rx_over_err: s.rx_over_err,
                        rx_crc_err: s.rx_crc_err,
                        collisions: s.collisions,
                        ..base
                    }
                }
            }
        };
        b.ports.iter().map(one).collect()
    }

    // ---- versions ----

    /// Makes all changes so far a version of their own, if there are any; the newest version.
    pub(crate) fn publish(&mut self) -> u64 {
        if self.bridges.values().any(|b| b.dirty) || self.ports_changed {
            self.publish_with(Vec::new());
        }
        self.version
    }
    fn publish_with(&mut self, mut changes: Vec<Change>) {
        let old = self.slow.snapshot.load_full();
        let mut bridges = (*old.bridges).clone();
        bridges.retain(|id, _| self.bridges.contains_key(id));
        for b in self.bridges.values_mut() {
            if b.dirty || !bridges.contains_key(&b.id) {
                b.dirty = false;
                let ports_too = b.changes.iter().any(|c| matches!(c, Change::Port(..) | Change::Bridge(_)));
                let before = old.bridges.get(&b.id).filter(|_| !ports_too);
                bridges.insert(b.id, Arc::new(b.snapshot(before.map(|b| b.ports.clone()))));
                if changes.is_empty() {
                    changes = std::mem::take(&mut b.changes);
                } else {
                    changes.append(&mut b.changes);
                }
            }
        }
        let dp_ports = if self.ports_changed {
            let of = |b: &Bridge| {
                b.ports.iter().filter_map(|(n, p)| Some((p.dp?, (b.id, *n)))).collect::<Vec<_>>()
            };
            Arc::new(self.bridges.values().flat_map(of).collect())
        } else {
            old.dp_ports.clone()
        };
        self.ports_changed = false;
        self.version += 1;
        let meters_slowpath = bridges.values().any(|b| b.slowpath.is_some());
        let snap = Snapshot { version: self.version, bridges: Arc::new(bridges), dp_ports, meters_slowpath };
        let mut counts = Vec::new();
        for b in self.bridges.values_mut() {
            counts.extend(b.tables.take_recounted().into_iter().map(|(set, n)| (b.id, set, n)));
        }
        self.slow.rooms.publish(counts, || self.slow.snapshot.store(Arc::new(snap)));
        self.retired.push_back((self.version, old));
        self.cache.published(&self.dp, &self.slow, self.version, changes);
        for b in self.bridges.values_mut() {
            for (e, why, at) in std::mem::take(&mut b.removed) {
                self.leaving.push_back((self.version, b.id, e, why, at));
            }
        }
    }
    /// The newest version.
    pub(crate) fn newest(&self) -> u64 {
        self.version
    }
    /// Newest version that all workers obey.
    pub(crate) fn synced(&mut self) -> u64 {
        // Workers may have followed already. If there is something to tell first, it must be told first.
        let quiet = |b: &Bridge| b.events.is_empty();
        if self.leaving.is_empty() && self.events.is_empty() && self.bridges.values().all(quiet) {
            self.cache.poll(&self.dp, &self.slow);
        }
        self.cache.synced()
    }

    // ---- time ----

    /// Whether more requests wait that will be handled before anything else: then what changed may stay unknown for a moment more.
    pub fn expect_more(&mut self, more: bool) {
        self.more = more;
    }
    /// Timers, repair of caches, reports of workers. To be called after each slice of work, when woken, and at the time returned.
    pub fn run(&mut self, now: Instant) -> Option<Instant> {
        self.slow.rearm();
        let now_ns = self.ns(now);
        for _ in 0..ROUND {
            let Some((bridge, mut event)) = self.slow.packet_ins.pop() else { break };
            let Some(b) = self.bridges.get_mut(&bridge) else { continue };
            if let Some(m) = b.meters.virtual_meter(MeterId::CONTROLLER) {
                if m.pass(event.frame.len(), now_ns) == Verdict::Drop {
                    self.metered += 1;
                    continue;
                }
            }
            b.prepare_packet_in(&mut event, now_ns / 1_000_000);
            self.events.push_back((bridge, Event::PacketIn(event)));
        }
        for _ in 0..ROUND {
            let Some((bridge, what, at_ms)) = self.slow.learn_queue.pop() else { break };
            self.learned(bridge, &what, (at_ms, false), now_ns);
        }
        self.learned_again(now_ns);
        while let Some((bridge, vlan, mac)) = self.slow.moved_macs.pop() {
            if let Some(b) = self.bridges.get_mut(&bridge) {
                b.dirty = true;
                b.changes.push(Change::Mac(bridge, vlan, mac));
            }
        }
        while let Some((id, info)) = self.dp.next_port_event() {
            self.port_event(id, info);
        }
        self.take_shortened();
        if now >= self.housekeeping {
            self.housekeeping = now + HOUSEKEEPING;
            self.sweep.get_or_insert_default();
        }
        if let Some(at) = self.sweep {
            // In steps, so that requests need not wait for a million megaflows.
            self.sweep = self.cache.sweep(&self.dp, &self.slow, at, MEGAFLOW_IDLE_MS);
            self.learned_again(now_ns);
            if self.sweep.is_none() {
                self.expire(now_ns);
            }
        }
        if !self.more || now.saturating_duration_since(self.published) >= HOLD {
            self.publish();
            self.published = now;
        }
        self.cache.poll(&self.dp, &self.slow);
        let synced = self.cache.synced();
        while self.retired.front().is_some_and(|(v, _)| *v <= synced) {
            self.retired.pop_front();
        }
        while self.old_meters.front().is_some_and(|(v, _)| *v <= synced) {
            if let Some((_, c)) = self.old_meters.pop_front() {
                c.forget(&*self.dp);
            }
        }
        self.report_removed(synced);
        for b in self.bridges.values_mut() {
            for e in b.events.drain(..) {
                self.events.push_back((b.id, e));
            }
        }
        let busy =
            !self.slow.packet_ins.is_empty() || !self.slow.learn_queue.is_empty() || self.sweep.is_some();
        let waiting = synced < self.version || !self.cache.is_settled();
        let timed = !self.cache.is_empty() || self.bridges.values().any(|b| b.tables.next_expiry().is_some());
        match () {
            () if busy => Some(now),
            () if waiting => Some(now + Duration::from_micros(50)),
            () if timed => Some(self.housekeeping),
            () => None,
        }
    }
    /// Entries that are gone are reported when their counters are final.
    fn report_removed(&mut self, synced: u64) {
        if self.leaving.front().is_some_and(|l| l.0 <= synced) {
            self.cache.fold_ended(&self.dp, &self.slow);
        }
        while self.leaving.front().is_some_and(|l| l.0 <= synced) && self.cache.is_settled() {
            if let Some((_, bridge, e, why, at)) = self.leaving.pop_front() {
                self.events.push_back((bridge, Event::FlowRemoved(flow_removed(&e, why, at))));
            }
        }
    }
    /// Adds what a learn action asks for, or refreshes it. `when`: see [`crate::table::FlowTables::learn`].
    fn learned(&mut self, bridge: BridgeId, l: &Learned<Entry>, when: (u64, bool), now_ns: u64) {
        let Some(b) = self.bridges.get_mut(&bridge) else { return };
        let mut effects = Vec::new();
        // What is gone meanwhile, or does something else, teaches nothing any more.
        let wanted = l.by.as_ref().is_none_or(|e| b.tables.holds(e));
        let keeps_place = l.limit != 0 && !when.1;
        let done = if wanted { b.learn(l, when, now_ns, &mut effects) } else { Ok(!keeps_place) };
        b.note(effects, None, Xid(0), FlowRemovedReason::DELETE, now_ns);
        if keeps_place {
            self.slow.rooms.done(bridge, l.set(), l.name);
        }
        match done {
            Ok(true) => {}
            Ok(false) => {
                // Others were faster than the worker knew, or its learner is gone.
                b.dirty = true;
                b.changes.push(Change::Unlearned(bridge, l.set(), l.name));
                b.changes.push(Change::LearnRoom(bridge, l.set()));
            }
            Err(error) => {
                self.slow.learned_lost.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(bridge = %b.config.name, %error, table = l.flow.table_id.0, "not learned");
                if keeps_place {
                    // Who was refused for it may have the place.
                    b.dirty = true;
                    b.changes.push(Change::LearnRoom(bridge, l.set()));
                }
            }
        }
    }
    /// Refreshes what megaflows learn, by their traffic.
    fn learned_again(&mut self, now_ns: u64) {
        for (bridge, what, used_ms) in std::mem::take(&mut self.cache.learned) {
            self.learned(bridge, &what, (used_ms, true), now_ns);
        }
    }
    /// Asks the device of a port for its state anew (devices report changes by themselves; this is for those that do not).
    pub fn refresh_port(&mut self, bridge: BridgeId, number: PortNo) {
        let dp = self.bridges.get(&bridge).and_then(|b| b.ports.get(&number)).and_then(|p| p.dp);
        if let Some((id, info)) = dp.and_then(|id| Some((id, self.dp.port_info(id)?))) {
            self.port_event(id, info);
            self.publish();
        }
    }
    fn port_event(&mut self, id: PortId, info: PortInfo) {
        for b in self.bridges.values_mut() {
            let found = b.ports.iter_mut().find(|(_, p)| p.dp == Some(id));
            let Some((n, p)) = found else { continue };
            let (before, view) = (p.describe(*n), p.view(*n));
            p.info = info;
            let after = p.describe(*n);
            if before != after {
                b.events.push(Event::PortStatus(PortStatus { reason: PortReason::MODIFY, port: after }));
            }
            if view != p.view(*n) {
                b.dirty = true;
                b.changes.push(Change::Port(b.id, *n));
            }
            return;
        }
    }
    /// Entries whose timeouts got shorter when counters were brought up to date.
    fn take_shortened(&mut self) {
        while let Some((bridge, rule)) = self.slow.shortened.pop() {
            if let Some(b) = self.bridges.get_mut(&bridge) {
                b.shortened(&rule);
            }
        }
    }
    /// What time has ended. Counters have been brought up to date just before.
    fn expire(&mut self, now_ns: u64) {
        self.take_shortened();
        for b in self.bridges.values_mut() {
            for (e, why) in b.tables.expired(now_ns / 1_000_000) {
                b.note([Effect::Removed(e)], None, Xid(0), why, now_ns);
            }
        }
        self.most_megaflows = self.most_megaflows.max(self.cache.len());
        let now_ms = self.slow.now_ms();
        let aging: BTreeMap<BridgeId, u64> =
            self.bridges.values().map(|b| (b.id, u64::from(b.config.mac_aging_s) * 1000)).collect();
        let old = |b: BridgeId, _: PortNo, seen: u64| aging.get(&b).is_none_or(|a| seen + a < now_ms);
        for (bridge, vlan, mac) in self.slow.macs.remove(old) {
            if let Some(b) = self.bridges.get_mut(&bridge) {
                b.dirty = true;
                b.changes.push(Change::Mac(bridge, vlan, mac));
            }
        }
        if self.slow.punts.len() + self.slow.frozen.len() > 1024 {
            let used = self.cache.tokens();
            self.slow.punts.retain(|t| used.contains(&t));
            self.slow.frozen.retain(|t| used.contains(&(t | 1 << 31)));
        }
    }
    /// The next event for controllers of a bridge.
    pub fn next_event(&mut self) -> Option<(BridgeId, Event)> {
        self.events.pop_front()
    }
    /// Whether [`Event::FlowChange`] is wanted.
    pub fn set_monitored(&mut self, bridge: BridgeId, on: bool) {
        if let Some(b) = self.bridges.get_mut(&bridge) {
            b.monitored = on;
        }
    }
    /// Whether what happens to the tables is gathered for a journal.
    pub fn set_journaling(&mut self, bridge: BridgeId, journaling: crate::api::Journaling) {
        if let Some(b) = self.bridges.get_mut(&bridge) {
            b.journaling = journaling;
            b.tables.unlimited = journaling == crate::api::Journaling::Replay;
        }
    }
    /// Whether controllers are configured, and whether one is connected (fail-mode `standalone` acts while none is).
    pub fn set_controllers(&mut self, bridge: BridgeId, configured: bool, connected: bool) {
        if let Some(b) = self.bridges.get_mut(&bridge) {
            b.controllers = (configured, connected);
        }
        self.standalone(bridge);
    }
    /// Changes the fail mode.
    pub fn set_standalone(&mut self, bridge: BridgeId, on: bool) {
        if let Some(b) = self.bridges.get_mut(&bridge) {
            b.config.standalone = on;
        }
        self.standalone(bridge);
    }
    /// What a bridge does by itself (1.3.5, "Connection Interruption"). The tables are left as they are: a controller that comes back
    /// finds what it put there.
    fn standalone(&mut self, bridge: BridgeId) {
        let Some(b) = self.bridges.get_mut(&bridge) else { return };
        let mode = match (b.config.standalone, b.controllers) {
            (false, _) | (true, (_, true)) => Standalone::No,
            (true, (false, false)) => Standalone::Misses,
            (true, (true, false)) => Standalone::All,
        };
        if std::mem::replace(&mut b.standalone, mode) != mode {
            b.dirty = true;
            b.changes.push(Change::Bridge(bridge));
        }
        self.publish();
    }

    // ---- for people ----

    /// The path of a packet through the tables as `ovs-appctl ofproto/trace` draws it. `packet`: a flow in words, or
    /// hexadecimal bytes after `in_port=N`.
    ///
    /// # Errors
    /// What is wrong with the packet.
    pub fn trace(&mut self, _now: Instant, bridge: BridgeId, packet: &str) -> Result<String, String> {
        self.publish();
        let b = self.bridges.get(&bridge).ok_or("there is no such bridge")?;
        let mut flow = Flow::ZERO;
        let (words, hex) = match packet.trim().rsplit_once(char::is_whitespace) {
            Some((w, h)) if is_hex(h) => (w.trim(), Some(h)),
            None if is_hex(packet.trim()) => ("", Some(packet.trim())),
            _ => (packet, None),
        };
        let m = openflow::text::parse_flow_as_packet(words, &port_names(b)).map_err(|e| e.to_string())?;
        let (value, _) =
            fields::match_to_flow(&m).ok_or("the flow has a field that this switch does not know")?;
        if let Some(h) = hex {
            let frame: Vec<u8> =
                (0..h.len() / 2).filter_map(|i| u8::from_str_radix(&h[2 * i..2 * i + 2], 16).ok()).collect();
            let mut key = FlowKey::ZERO;
            datapath::extract::extract(&frame, 0, 0, &mut key);
            flow = Flow::from_key(&key, 0, 0);
        }
        flow.or_assign(&value);
        let in_port = PortNo(flow.in_port());
        let mut key = flow.key();
        let dp_port = b.ports.get(&in_port).and_then(|p| p.dp).unwrap_or_default();
        key.set(datapath::flow_key::off::IN_PORT, dp_port.0.to_be_bytes());
        let mut start = Flow::from_key(&key, in_port.0, in_port.0);
        for i in datapath::flow_key::KEY_BYTES / 8..crate::flow::WORDS {
            start.0[i] |= flow.0[i];
        }
        let snap = self.slow.snapshot.load_full();
        let view = View::new(&snap, &self.slow);
        let mut drawing = Drawing::default();
        let _ = writeln!(drawing.text, "Flow: {}", flow_words(&start, None));
        let input =
            crate::xlate::Input { bridge, flow: start, side_effects: false, listener: Some(&mut drawing) };
        let out = crate::xlate::Xlate::packet(&view, input);
        let mut text = drawing.text;
        let mut mask = Flow::from_key(&out.mask, u32::MAX, 0);
        mask.put(datapath::flow_key::off::IN_PORT, 4, 0);
        let _ = writeln!(text);
        if out.actions.is_empty() {
            let (word, why) = REASONS[out.reason as usize];
            let _ = writeln!(text, "Dropped: {why} ({word})");
        }
        let _ = writeln!(text, "Megaflow: recirc_id=0,{}", flow_words(&start, Some(&mask)));
        let actions = datapath::text::format_actions(&out.actions, &key);
        let _ =
            writeln!(text, "Datapath actions: {}", if out.actions.is_empty() { "drop" } else { &actions });
        Ok(text)
    }
    /// The cached decisions.
    pub fn dump_megaflows(&mut self, _now: Instant, bridge: Option<BridgeId>) -> Vec<MegaflowDump> {
        let now_ms = self.dp.now_ms();
        let snap = self.slow.snapshot.load_full();
        let owner = |key: &FlowKey| snap.dp_ports.get(&PortId(key.in_port())).map(|o| o.0);
        let all = self.dp.dump_megaflows();
        let wanted = all.into_iter().filter(|m| bridge.is_none() || owner(&m.key) == bridge);
        wanted.map(|m| shown(&m, now_ms, None)).collect()
    }
    /// Those cached decisions of a bridge that may be of packets of `flow` (in words), each with a packet of its kind.
    ///
    /// # Errors
    /// What is wrong with the words.
    pub fn match_megaflows(&mut self, bridge: BridgeId, flow: &str) -> Result<Vec<MegaflowDump>, String> {
        let b = self.bridges.get(&bridge).ok_or("there is no such bridge")?;
        let wanted = openflow::text::parse_flow_filter(flow, &port_names(b)).map_err(|e| e.to_string())?;
        let (value, mask) = fields::match_to_flow(&wanted.matching)
            .ok_or("the flow has a field that this switch does not know")?;
        let (now_ms, snap) = (self.dp.now_ms(), self.slow.snapshot.load_full());
        let mut out = Vec::new();
        for m in self.dp.dump_megaflows() {
            let Some((_, port)) = snap.dp_ports.get(&PortId(m.key.in_port())).filter(|o| o.0 == bridge)
            else {
                continue;
            };
            let key = Flow::from_key(&m.key, port.0, port.0);
            let seen = Flow::from_key(&m.mask, u32::MAX, u32::MAX);
            if (0..key.0.len()).all(|i| (key.0[i] ^ value.0[i]) & mask.0[i] & seen.0[i] == 0) {
                out.push(shown(&m, now_ms, Some(flow_words(&key, None))));
            }
        }
        Ok(out)
    }
    /// The `n` cached decisions that handled most packets since `before`, which is brought up to date; and how many there are.
    pub fn busiest(
        &mut self,
        n: usize,
        before: &mut crate::api::Looked,
    ) -> (Vec<crate::api::BusyFlow>, usize) {
        let mut all: Vec<_> = self.dp.dump_megaflows();
        let total = all.len();
        let mut now = crate::api::Looked::with_capacity(total);
        for m in &mut all {
            let name = (m.worker.0, m.slot, m.token);
            now.insert(name, (m.packets, m.bytes));
            let (packets, bytes) = before.get(&name).copied().unwrap_or_default();
            (m.packets, m.bytes) = (m.packets.saturating_sub(packets), m.bytes.saturating_sub(bytes));
        }
        *before = now;
        all.retain(|m| m.packets > 0);
        all.sort_by_key(|m| std::cmp::Reverse((m.packets, m.bytes)));
        all.truncate(n);
        let one = |m: &datapath::datapath::MegaflowDump| {
            let MegaflowDump { worker, matching, actions, packets, bytes, .. } = shown(m, 0, None);
            crate::api::BusyFlow { worker, matching, actions, packets, bytes }
        };
        (all.iter().map(one).collect(), total)
    }
    /// Packets that ended without output, by reason (ours and the datapath's).
    pub fn drops(&mut self) -> Vec<(String, u64)> {
        let policy = self.dp.policy_drops();
        let ours = REASONS.iter().zip(policy).map(|((word, _), n)| ((*word).to_string(), n));
        let its = self.dp.drops().into_iter().filter(|(r, _)| r.word() != "policy");
        let its = its.map(|(r, n)| (r.word().to_string(), n));
        let lost = self.slow.packet_ins_lost.load(Ordering::Relaxed);
        let more = [("packet_in_queue_full", lost), ("controller_meter", self.metered)];
        let mut all: Vec<(String, u64)> = Vec::new();
        for (reason, n) in ours.chain(its).chain(more.map(|(r, n)| (r.to_string(), n))) {
            // The same reason, found before or after translation, is one.
            match all.iter_mut().find(|(r, _)| *r == reason) {
                Some((_, sum)) => *sum += n,
                None => all.push((reason, n)),
            }
        }
        all
    }
    /// State of the slow path: figures, and each port's share of the megaflows by (worker, port name).
    pub fn upcall_state(&mut self) -> serde_json::Value {
        self.cache.fold_all(&self.dp, &self.slow);
        self.most_megaflows = self.most_megaflows.max(self.cache.len());
        let workers = self.dp.worker_stats();
        let sum = |name: &str| -> u64 {
            workers.iter().flat_map(|w| &w.counters).filter(|(n, _)| *n == name).map(|(_, v)| v).sum()
        };
        let name = |id: PortId| {
            let of = self.bridges.values().flat_map(|b| b.ports.values());
            of.filter(|p| p.dp == Some(id)).map(|p| p.spec.name.clone()).next().unwrap_or_default()
        };
        let ports: Vec<_> = self.dp.megaflow_shares().into_iter().map(|s| {
            serde_json::json!({
                "worker": s.worker, "port": name(s.port), "megaflows": s.megaflows, "masks": s.masks, "waiting": s.waiting,
            })
        }).collect();
        let dropped = self.dp.drops().iter().find(|(r, _)| r.word() == "upcall_budget").map_or(0, |d| d.1);
        serde_json::json!({
            "megaflows": self.cache.len(),
            "megaflows_max": self.most_megaflows,
            "flow_limit": self.dp.flow_limit(),
            "families": self.cache.families(),
            "upcalls": sum("upcalls"),
            "upcall_cycles": sum("upcall_cycles"),
            "translations": self.slow.translations.load(Ordering::Relaxed),
            "waited": sum("upcalls_waited"),
            "dropped_upcall_budget": dropped,
            "evicted": sum("evictions"),
            "refused_port_has_its_share": sum("install_refused"),
            "refused_control_behind": self.slow.not_installed(),
            "version": self.version,
            "version_in_force": self.cache.synced(),
            "packet_ins_lost": self.slow.packet_ins_lost.load(Ordering::Relaxed),
            "learned_flows_lost": self.slow.learned_lost.load(Ordering::Relaxed),
            "ports": ports,
        })
    }
    /// [`Switch::upcall_state`] in words, in the manner of `ovs-appctl upcall/show`.
    pub fn upcall_show(&mut self) -> String {
        let v = self.upcall_state();
        let n = |k: &str| v[k].as_u64().unwrap_or(0);
        let per_upcall = n("upcall_cycles") / n("upcalls").max(1);
        let mut s = format!(
            "datapath@ofswitch:\n  \
             flows         : (current {}) (max {}) (limit {} a thread)\n  \
             families      : {} (megaflows that differ in their keys only)\n  \
             upcalls       : {} ({per_upcall} cycles each), waited {}, dropped {} (upcall_budget)\n  \
             translations  : {}\n  \
             evicted       : {}\n  \
             not installed : {} (the port has its share of a full table), {} (control is behind)\n  \
             version       : {} (in force: {})\n  \
             lost          : {} packets for controllers, {} learned flows\n",
            n("megaflows"),
            n("megaflows_max"),
            n("flow_limit"),
            n("families"),
            n("upcalls"),
            n("waited"),
            n("dropped_upcall_budget"),
            n("translations"),
            n("evicted"),
            n("refused_port_has_its_share"),
            n("refused_control_behind"),
            n("version"),
            n("version_in_force"),
            n("packet_ins_lost"),
            n("learned_flows_lost"),
        );
        for p in v["ports"].as_array().into_iter().flatten() {
            let _ = writeln!(
                s,
                "  port {:<9}: (thread {}) (megaflows {}) (masks {}) (waiting {})",
                p["port"].as_str().unwrap_or(""),
                p["worker"],
                p["megaflows"],
                p["masks"],
                p["waiting"]
            );
        }
        s
    }
    /// Most megaflows a forwarding thread may have, from now on.
    ///
    /// # Errors
    /// A limit that is none.
    pub fn set_flow_limit(&mut self, n: usize) -> Result<(), ConfigError> {
        if !(1..=datapath::megaflow::MAX_SLOTS / 2).contains(&n) {
            let most = datapath::megaflow::MAX_SLOTS / 2;
            return Err(err(format!("flow limit {n}: it is 1 to {most}")));
        }
        self.dp.set_flow_limit(n);
        Ok(())
    }
    /// Sizes of what is kept, by name.
    pub fn memory(&mut self) -> Vec<(String, u64)> {
        let count = |f: &dyn Fn(&Bridge) -> usize| self.bridges.values().map(f).sum::<usize>() as u64;
        vec![
            ("bridges".into(), self.bridges.len() as u64),
            ("ports".into(), count(&|b| b.ports.len())),
            ("flows".into(), count(&|b| b.tables.total())),
            ("groups".into(), count(&|b| b.groups.len())),
            ("megaflows".into(), self.cache.len() as u64),
            ("punts".into(), self.slow.punts.len() as u64),
            ("continuations".into(), self.slow.frozen.len() as u64),
        ]
    }
    /// Addresses NORMAL knows on a bridge.
    pub fn macs(&self, bridge: BridgeId) -> Vec<crate::mac_learning::MacEntry> {
        self.slow.macs.list(bridge, self.slow.now_ms())
    }
}

fn is_hex(s: &str) -> bool {
    s.len() >= 28 && s.len().is_multiple_of(2) && s.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A locally administered address made of a name.
fn patch_mac(name: &str) -> [u8; 6] {
    let h = name.bytes().fold(0x70617463, |h, b| crate::flow::mix(h, b.into())).to_be_bytes();
    [h[0] & 0xfc | 2, h[1], h[2], h[3], h[4], h[5]]
}

fn shown(m: &datapath::datapath::MegaflowDump, now_ms: u64, packet: Option<String>) -> MegaflowDump {
    MegaflowDump {
        worker: m.worker.0,
        matching: datapath::text::format_flow(&m.key, &m.mask),
        actions: if m.actions.is_empty() {
            "drop".into()
        } else {
            datapath::text::format_actions(&m.actions, &m.key)
        },
        packets: m.packets,
        bytes: m.bytes,
        used_ms: (m.used_ms > 0).then(|| now_ms.saturating_sub(m.used_ms)),
        packet,
    }
}

/// A flow (or the bits of it that a mask names) in ovs-ofctl's words.
pub fn flow_words(flow: &Flow, mask: Option<&Flow>) -> String {
    let mut m = Match::new();
    for d in FIELDS {
        use openflow::field::Field as F;
        // One name for each place: the others are parts or aliases.
        let alias = matches!(
            d.field,
            F::NxInPort | F::VlanTci | F::IpTos | F::RecircId | F::ActsetOutput | F::InPhyPort
        ) || (F::Xreg0 as usize..=F::Xxreg3 as usize).contains(&(d.field as usize));
        let Some(l) = fields::loc(d.field).filter(|_| !alias && fields::flow_satisfies(flow, d.prereq))
        else {
            continue;
        };
        let value = l.get(flow);
        match mask {
            None if value != 0 => m.fields.push(OxmField::exact(d.field, value).into()),
            Some(mask) => {
                let bits = l.get(mask);
                if bits == d.full_mask() {
                    m.fields.push(OxmField::exact(d.field, value).into());
                } else if bits != 0 {
                    m.fields.push(OxmField::masked(d.field, value & bits, bits).into());
                }
            }
            None => {}
        }
    }
    openflow::text::print_match(&m)
}
