//! One bridge: its ports, tables, groups and settings, and the answers to questions about them. Owned by the control thread.

use crate::api::{BridgeConfig, BridgeId, Journaling, PortSpec};
use crate::buffers::{Buffered, Buffers};
use crate::conn::manager::{ConnId, Event, PacketInEvent, Unasked};
use crate::entries::Entry;
use crate::fields::match_to_flow;
use crate::group::GroupTable;
use crate::learned::Learned;
use crate::revalidator::Change;
use crate::rule::{Place, RuleCore};
use crate::snapshot::BridgeSnap;
use crate::table::{Checks, Effect, FlowTables};
use crate::xlate::{PortTarget, PortView, Standalone};
use datapath::port::PortInfo;
use datapath::PortId;
use openflow::msg::multipart::flow_monitor::{FlowUpdate, FlowUpdateEvent};
use openflow::msg::{FlowMod, FlowModCommand, FlowModFlags, FlowRemovedReason, PacketInReason};
use openflow::port::{Port, PortConfig, PortFeatures, PortState};
use openflow::{EthAddr, GroupId, MeterId, OfpError, PortNo, TableId, Xid};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Flow tables of a bridge.
pub const N_TABLES: u8 = crate::table_features::TABLES;

/// A port of a bridge.
pub struct OfPort {
    /// What it was made from.
    pub spec: PortSpec,
    /// Its datapath port; `None`: a patch port.
    pub dp: Option<PortId>,
    /// The device's state as last heard.
    pub info: PortInfo,
    /// `OFPPC_*`.
    pub config: PortConfig,
    /// Nanoseconds since the switch started, when it was added.
    pub created_ns: u64,
    /// Patch ports: bridge and number of the peer.
    pub peer: Option<(BridgeId, PortNo)>,
    /// Its queues.
    pub queues: datapath::queue::QueueConfig,
    /// Nanoseconds since the switch started, when each was made.
    pub queues_ns: BTreeMap<u8, u64>,
}

impl OfPort {
    fn link_up(&self) -> bool {
        if self.dp.is_none() {
            self.peer.is_some()
        } else {
            self.info.link_up && self.info.admin_up
        }
    }
    /// As translation sees it.
    pub fn view(&self, number: PortNo) -> PortView {
        let down = self.config.contains(PortConfig::PORT_DOWN);
        PortView {
            number,
            target: self.dp.map_or(PortTarget::Patch(self.peer), PortTarget::Datapath),
            no_recv: down || self.config.contains(PortConfig::NO_RECV),
            no_fwd: down || self.config.contains(PortConfig::NO_FWD) || !self.link_up(),
            no_packet_in: self.config.contains(PortConfig::NO_PACKET_IN),
            live: !down && self.link_up(),
        }
    }
    /// As controllers see it.
    pub fn describe(&self, number: PortNo) -> Port {
        let i = &self.info;
        let mut state = PortState::empty();
        if !self.link_up() {
            state.0 |= PortState::LINK_DOWN.0;
        } else if !self.config.contains(PortConfig::PORT_DOWN) {
            state.0 |= PortState::LIVE.0;
        }
        Port {
            port_no: number,
            hw_addr: EthAddr(i.mac),
            name: self.spec.name.as_str().into(),
            config: self.config,
            state,
            curr: speed_bits(i.speed_mbps, i.full_duplex, i.copper),
            curr_speed: i.speed_mbps.saturating_mul(1000),
            max_speed: i.max_speed_mbps.saturating_mul(1000),
            ..Port::default()
        }
    }
}

fn speed_bits(mbps: u32, full: bool, copper: bool) -> PortFeatures {
    let speed = match (mbps, full) {
        (10, false) => PortFeatures::SPEED_10MB_HD,
        (10, true) => PortFeatures::SPEED_10MB_FD,
        (100, false) => PortFeatures::SPEED_100MB_HD,
        (100, true) => PortFeatures::SPEED_100MB_FD,
        (1000, false) => PortFeatures::SPEED_1GB_HD,
        (1000, true) => PortFeatures::SPEED_1GB_FD,
        (10_000, _) => PortFeatures::SPEED_10GB_FD,
        (40_000, _) => PortFeatures::SPEED_40GB_FD,
        (100_000, _) => PortFeatures::SPEED_100GB_FD,
        (1_000_000, _) => PortFeatures::SPEED_1TB_FD,
        (0, _) => return PortFeatures::empty(),
        _ => PortFeatures::OTHER,
    };
    PortFeatures(speed.0 | if copper { PortFeatures::COPPER.0 } else { 0 })
}

/// See the module.
pub struct Bridge {
    /// Its number.
    pub id: BridgeId,
    /// Settings.
    pub config: BridgeConfig,
    /// Flow entries.
    pub tables: FlowTables,
    /// What the tables can do.
    pub shapes: crate::table_features::TableShapes,
    /// Groups.
    pub groups: GroupTable,
    /// Ports.
    pub ports: BTreeMap<PortNo, OfPort>,
    /// Meters as translation sees them.
    pub meters: crate::meter::MeterTable,
    /// `OFPC_FRAG_*` and miss_send_len.
    pub settings: openflow::msg::SwitchConfig,
    /// Packets kept for controllers.
    pub buffers: Buffers,
    /// Somebody wants [`Event::FlowChange`].
    pub monitored: bool,
    /// Whether `unasked` is wanted.
    pub journaling: Journaling,
    /// For a journal: what happened without being asked for.
    pub unasked: Vec<Unasked>,
    /// What it does for want of a controller.
    pub standalone: Standalone,
    /// A controller is configured; one is connected.
    pub controllers: (bool, bool),
    /// Changed since the last publication.
    pub dirty: bool,
    /// What changed.
    pub changes: Vec<Change>,
    /// For controllers.
    pub events: Vec<Event>,
    /// Entries that are gone and to be reported, once their counters are final.
    pub removed: Vec<(Arc<RuleCore>, FlowRemovedReason, u64)>,
}

/// What a flow-mod may refer to.
pub struct BridgeChecks<'a> {
    groups: &'a GroupTable,
    meters: &'a crate::meter::MeterTable,
}

impl<'a> BridgeChecks<'a> {
    /// Of a bridge's groups and meters.
    pub fn new(groups: &'a GroupTable, meters: &'a crate::meter::MeterTable) -> Self {
        Self { groups, meters }
    }
}

impl Checks for BridgeChecks<'_> {
    fn group_exists(&self, id: GroupId) -> bool {
        self.groups.get(id).is_some()
    }
    fn meter_exists(&self, id: MeterId) -> bool {
        self.meters.contains(id)
    }
    fn port_ok(&self, port: PortNo) -> bool {
        // A port that is not there yet may come: only numbers that can never be a port are refused.
        port.0 != 0 && (port.0 <= PortNo::MAX.0 || port.0 >= PortNo::IN_PORT.0 && port != PortNo::ANY)
    }
    fn max_table(&self) -> u8 {
        N_TABLES - 1
    }
}

impl Bridge {
    /// A bridge without ports.
    pub fn new(id: BridgeId, config: BridgeConfig, meter_ids: Arc<std::sync::atomic::AtomicU32>) -> Self {
        let mut tables = FlowTables::new();
        let mut shapes = crate::table_features::TableShapes::default();
        for (t, limit) in &config.tables {
            let most = limit.most();
            shapes.limit(TableId(*t), most);
            tables.limit(*t, most, limit.evict, &mut Vec::new());
        }
        Self {
            id,
            buffers: Buffers::new(config.n_buffers),
            config,
            tables,
            shapes,
            groups: GroupTable::default(),
            ports: BTreeMap::new(),
            meters: crate::meter::MeterTable::new(meter_ids),
            settings: openflow::msg::SwitchConfig {
                flags: openflow::msg::ConfigFlags::FRAG_NORMAL,
                miss_send_len: 128,
            },
            monitored: false,
            journaling: Journaling::Off,
            unasked: Vec::new(),
            standalone: Standalone::No,
            controllers: (false, false),
            dirty: true,
            changes: Vec::new(),
            events: Vec::new(),
            removed: Vec::new(),
        }
    }
    /// Settles how much of a packet controllers get, and where the rest is.
    pub fn prepare_packet_in(&mut self, event: &mut PacketInEvent, now_ms: u64) {
        if event.reason == PacketInReason::INVALID_TTL {
            // Not sent by an action, so no action says how much ("ofp_switch_config").
            event.max_len = self.settings.miss_send_len;
        }
        if event.max_len == 0xffff || self.buffers.limit() == 0 {
            return;
        }
        let in_port =
            event.metadata.get(openflow::Field::InPort).map_or(PortNo::ANY, |f| PortNo(f.value as u32));
        let packet = Buffered { frame: event.frame.clone(), in_port };
        match self.buffers.keep(packet, now_ms) {
            Some(id) => event.buffer_id = id,
            // "If the packet is not buffered ... the entire packet is included in the data portion."
            None => event.max_len = 0xffff,
        }
    }
    /// Refuses a table that is not in the pipeline (any more: OpenFlow 1.3.5, "Table Features", has a set take out the tables it leaves out).
    ///
    /// # Errors
    /// `error`.
    pub fn check_table(&self, t: TableId, error: OfpError) -> Result<(), OfpError> {
        if t == TableId::ALL || self.shapes.exists(t) {
            Ok(())
        } else {
            Err(error)
        }
    }
    /// Acts on a flow-mod, and appends what it did. `place`: see [`FlowTables::expect`].
    ///
    /// # Errors
    /// The error to answer with; nothing has changed then.
    pub fn own_flow_mod(
        &mut self,
        m: &FlowMod,
        place: Option<Place>,
        now_ns: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), OfpError> {
        if matches!(m.command, FlowModCommand::DELETE | FlowModCommand::DELETE_STRICT) {
            self.check_table(m.table_id, OfpError::OFPFMFC_BAD_TABLE_ID)?;
        } else if m.table_id != TableId::ALL {
            self.shapes.check(m.table_id, m)?;
        }
        let checks = BridgeChecks::new(&self.groups, &self.meters);
        self.tables.flow_mod_into(m, place, now_ns, &checks, effects)
    }
    /// Acts on a learn action: see [`FlowTables::learn`].
    ///
    /// # Errors
    /// The error that a flow-mod would be answered with.
    pub fn learn(
        &mut self,
        l: &Learned<Entry>,
        when: (u64, bool),
        now_ns: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<bool, OfpError> {
        self.shapes.check(l.flow.table_id, &l.flow)?;
        let checks = BridgeChecks::new(&self.groups, &self.meters);
        self.tables.learn(l, when, now_ns, &checks, effects)
    }
    /// This version, for readers. `ports`: those of the version before, if they are still right.
    pub fn snapshot(&self, ports: Option<Arc<BTreeMap<PortNo, PortView>>>) -> BridgeSnap {
        let views = || Arc::new(self.ports.iter().map(|(n, p)| (*n, p.view(*n))).collect());
        BridgeSnap {
            name: self.config.name.clone(),
            tables: self.tables.tables.clone(),
            groups: self.groups.clone(),
            meters: self.meters.published(),
            ports: ports.unwrap_or_else(views),
            drop_fragments: self.settings.flags.0 & openflow::msg::ConfigFlags::FRAG_MASK.0
                == openflow::msg::ConfigFlags::FRAG_DROP.0,
            slowpath: self.meters.virtual_meter(MeterId::SLOWPATH),
            standalone: self.standalone,
        }
    }
    /// Lowest free port number.
    pub fn free_number(&self) -> Option<PortNo> {
        (1..=PortNo::MAX.0).map(PortNo).find(|n| !self.ports.contains_key(n))
    }
    /// Number of a port by name.
    pub fn port_by_name(&self, name: &str) -> Option<PortNo> {
        self.ports.iter().find(|(_, p)| p.spec.name == name).map(|(n, _)| *n)
    }

    /// Takes note of what happened to flow entries: for repair, reports and monitors. `why`: of what was removed.
    pub fn note(
        &mut self,
        effects: impl IntoIterator<Item = Effect>,
        from: Option<ConnId>,
        xid: Xid,
        why: FlowRemovedReason,
        now_ns: u64,
    ) {
        for e in effects {
            if matches!(e, Effect::Reset(..)) {
                continue;
            }
            self.dirty = true;
            e.changes(self.id, &mut self.changes);
            self.tables.learned_changes(self.id, &e, &mut self.changes);
            if from.is_none() {
                self.note_unasked(&e);
            }
            match e {
                Effect::Added(e) => self.tell(&e, FlowUpdateEvent::ADDED, why, from, xid),
                Effect::Modified { new, .. } => self.tell(&new, FlowUpdateEvent::MODIFIED, why, from, xid),
                Effect::Removed(e) => {
                    self.tell(&e, FlowUpdateEvent::DELETED, why, from, xid);
                    if e.rule.flags.contains(FlowModFlags::SEND_FLOW_REM) {
                        self.removed.push((e.rule, why, now_ns));
                    }
                }
                Effect::Reset(..) => {}
            }
        }
    }
    /// For a journal: this happened without being asked for.
    fn note_unasked(&mut self, e: &Effect) {
        if self.journaling == Journaling::On {
            self.unasked.extend(did_unasked(e).map(|flow_mod| Unasked { after: 0, flow_mod }));
        }
    }
    /// An entry's timeouts got shorter.
    pub fn shortened(&mut self, rule: &Arc<RuleCore>) {
        self.tables.schedule(rule);
        let Some((value, mask)) = match_to_flow(&rule.matching()) else { return };
        let found = self.tables.find(rule.table, &value, &mask, rule.priority);
        if let Some(e) = found.filter(|e| Arc::ptr_eq(&e.rule, rule)).cloned() {
            self.note_unasked(&Effect::Added(e));
        }
    }
    fn tell(
        &mut self,
        e: &Entry,
        event: FlowUpdateEvent,
        reason: FlowRemovedReason,
        from: Option<ConnId>,
        xid: Xid,
    ) {
        let (rule, instrs) = (&e.rule, &e.instrs);
        if self.monitored {
            let update = FlowUpdate::Full {
                event,
                reason,
                priority: rule.priority,
                idle_timeout: rule.timeouts().0,
                hard_timeout: rule.timeouts().1,
                table_id: TableId(rule.table),
                cookie: rule.cookie,
                matching: rule.matching(),
                instructions: instrs.list.clone(),
            };
            self.events.push(Event::FlowChange { from, xid, update });
        }
    }
}

/// The flow-mod that does to a table what this effect was, if one changed its entries.
pub fn did_unasked(e: &Effect) -> Option<FlowMod> {
    let (command, entry) = match e {
        Effect::Added(new) | Effect::Modified { new, .. } => (FlowModCommand::ADD, new),
        Effect::Removed(old) => (FlowModCommand::DELETE_STRICT, old),
        Effect::Reset(..) => return None,
    };
    let rule = &entry.rule;
    let which = FlowMod {
        command,
        table_id: TableId(rule.table),
        priority: rule.priority,
        matching: rule.matching(),
        ..FlowMod::default()
    };
    if command == FlowModCommand::DELETE_STRICT {
        return Some(which);
    }
    Some(FlowMod {
        cookie: rule.cookie,
        idle_timeout: rule.timeouts().0,
        hard_timeout: rule.timeouts().1,
        // It is there: whether it overlapped another was decided then.
        flags: rule.flags & !(FlowModFlags::CHECK_OVERLAP | FlowModFlags::RESET_COUNTS),
        instructions: entry.instrs.list.clone(),
        ..which
    })
}

/// Seconds and nanoseconds.
pub fn duration(from_ns: u64, now_ns: u64) -> (u32, u32) {
    let age = now_ns.saturating_sub(from_ns);
    ((age / 1_000_000_000) as u32, (age % 1_000_000_000) as u32)
}

/// Names of a bridge's ports, for words.
pub fn port_names(b: &Bridge) -> Vec<(PortNo, String)> {
    b.ports.iter().map(|(n, p)| (*n, p.spec.name.clone())).collect()
}
