//! What each request does to a bridge: the [`Backend`] of its connections.
//!
//! Each request is checked whole before anything changes. A bundle keeps what undoes it, and is one version.

use crate::api::{BridgeId, Journaling};
use crate::bridge::{did_unasked, Bridge, BridgeChecks, N_TABLES};
use crate::classifier::Classifier;
use crate::conn::bundled::Bundled;
use crate::conn::manager::{Backend, ConnId, Unasked};
use crate::entries::Entry;
use crate::flow::Flow;
use crate::group;
use crate::revalidator::Change;
use crate::rule::Place;
use crate::snapshot::View;
use crate::switch::{BridgeView, Switch};
use crate::table::{Cursor, Effect};
use crate::xlate::{Input, Xlate};
use crate::{check, meter, queue};
use datapath::FlowKey;
use openflow::field::{NICIRA_EXPERIMENTER, ONF_EXPERIMENTER};
use openflow::msg::multipart::queue::OFPQ_ALL;
use openflow::msg::multipart::{
    FlowStats, FlowStatsRequest, MultipartFlags, QueueStats, QueueStatsRequest, TableStats,
};
use openflow::msg::{
    BundleFlags, Capabilities, FeaturesReply, FlowMod, FlowModCommand, FlowModFlags, FlowRemovedReason,
    GroupMod, Message, MeterMod, MultipartReply, PacketOut, PortMod, PortReason, PortStatus,
    QueueGetConfigReply, ReplyBody, RequestBody, SwitchConfig, OFPCML_MAX, OFPCML_NO_BUFFER, OFP_NO_BUFFER,
};
use openflow::port::PortConfig;
use openflow::{Action, GroupId, MeterId, OfMessage, OfpError, PortNo, TableId, Xid};
use std::collections::HashSet;
use std::time::Instant;

/// What undoes the steps of a bundle, last first.
enum Undo {
    /// So many of the last effects.
    Flows(usize),
    Groups(group::Before),
    Meters(meter::Before),
    Port(PortNo, PortConfig),
}

/// What a step of a bundle leaves to be done once all of it has succeeded.
#[derive(Default)]
struct Done {
    undo: Vec<Undo>,
    /// What happened to flow entries, and up to which of it by which request.
    effects: Vec<Effect>,
    spans: Vec<(usize, Xid, FlowRemovedReason)>,
    changes: Vec<Change>,
    meters: Vec<meter::MeterChange>,
    packet_outs: Vec<PacketOut>,
    /// The buffers that the packet-outs will have used.
    buffers: HashSet<u32>,
    ports: Vec<PortNo>,
    /// Messages that are done, and what made room for them.
    steps: usize,
    unasked: Vec<Unasked>,
}

impl Done {
    /// The effects since `from` are those of this request.
    fn span(&mut self, from: usize, xid: Xid, why: FlowRemovedReason) {
        self.undo.push(Undo::Flows(self.effects.len() - from));
        self.spans.push((self.effects.len(), xid, why));
    }
    fn removed(&mut self, gone: Vec<Entry>, xid: Xid, why: FlowRemovedReason) {
        let from = self.effects.len();
        self.effects.extend(gone.into_iter().map(Effect::Removed));
        self.span(from, xid, why);
    }
}

impl Bridge {
    fn flow_mod(
        &mut self,
        m: &FlowMod,
        place: Option<Place>,
        xid: Xid,
        now_ns: u64,
        done: &mut Done,
    ) -> Result<(), OfpError> {
        let delete = matches!(m.command, FlowModCommand::DELETE | FlowModCommand::DELETE_STRICT);
        if m.buffer_id != OFP_NO_BUFFER && !delete {
            // As a flow-mod, and then a packet-out of the buffer to TABLE ("Modify Flow Entry Message").
            self.use_buffer(m.buffer_id, now_ns, done)?;
            let unbuffered = FlowMod { buffer_id: OFP_NO_BUFFER, ..m.clone() };
            self.flow_mod(&unbuffered, place, xid, now_ns, done)?;
            let actions = vec![Action::Output { port: PortNo::TABLE, max_len: 0 }];
            done.packet_outs.push(PacketOut {
                buffer_id: m.buffer_id,
                in_port: PortNo::ANY,
                actions,
                data: Default::default(),
            });
            return Ok(());
        }
        let from = done.effects.len();
        self.own_flow_mod(m, place, now_ns, &mut done.effects)?;
        if self.journaling == Journaling::On && m.command == FlowModCommand::ADD {
            // An add takes another entry away only to make room.
            let evicted = done.effects[from..].iter().filter(|e| matches!(e, Effect::Removed(_)));
            let after = done.steps;
            done.unasked.extend(evicted.filter_map(did_unasked).map(|flow_mod| Unasked { after, flow_mod }));
        }
        done.span(from, xid, FlowRemovedReason::DELETE);
        Ok(())
    }
    fn group_mod(&mut self, m: &GroupMod, xid: Xid, now_ns: u64, done: &mut Done) -> Result<(), OfpError> {
        let meters = &self.meters;
        let ok = |groups: &group::GroupTable, a: &Action| {
            check::actions(std::slice::from_ref(a), check::Place::Set, &BridgeChecks::new(groups, meters))
        };
        let change = self.groups.apply(m, now_ns, &ok)?;
        done.undo.push(Undo::Groups(change.before));
        for g in change.changed {
            done.changes.push(Change::Group(self.id, g));
        }
        for g in change.removed {
            done.changes.push(Change::Group(self.id, g));
            if self.tables.group_refs(g) > 0 {
                let gone = self.tables.remove_entries(&|e| e.instrs.groups.contains(&g));
                done.removed(gone, xid, FlowRemovedReason::GROUP_DELETE);
            }
        }
        Ok(())
    }
    fn meter_mod(&mut self, m: &MeterMod, xid: Xid, now_ns: u64, done: &mut Done) -> Result<(), OfpError> {
        let mut change = self.meters.apply(m, now_ns)?;
        done.undo.push(Undo::Meters(std::mem::take(&mut change.before)));
        for id in change.changed.iter().chain(&change.removed) {
            done.changes.push(Change::Meter(self.id, *id));
        }
        if m.meter_id == MeterId::SLOWPATH {
            // Workers read it from the snapshot.
            done.changes.push(Change::Meter(self.id, m.meter_id));
        }
        for id in &change.removed {
            if self.tables.meter_refs(*id) > 0 {
                let gone = self.tables.remove_entries(&|e| e.instrs.meters.contains(id));
                // A reason of its own came with 1.4.
                done.removed(gone, xid, FlowRemovedReason::DELETE);
            }
        }
        done.meters.push(change);
        Ok(())
    }
    fn port_mod(&mut self, m: &PortMod, done: &mut Done) -> Result<(), OfpError> {
        let p = self.ports.get_mut(&m.port_no).ok_or(OfpError::OFPPMFC_BAD_PORT)?;
        if m.hw_addr.0 != p.info.mac {
            return Err(OfpError::OFPPMFC_BAD_HW_ADDR);
        }
        if m.mask.unknown() != 0 || m.config.0 & m.mask.0 & !PortConfig::all().0 != 0 {
            return Err(OfpError::OFPPMFC_BAD_CONFIG);
        }
        // What a virtual device advertises cannot be changed; asking for it is no error (as OVS), but for bits that mean nothing.
        if m.advertise.unknown() != 0 {
            return Err(OfpError::OFPPMFC_BAD_ADVERTISE);
        }
        let before = p.config;
        p.config.0 = before.0 & !m.mask.0 | m.config.0 & m.mask.0;
        if p.config != before {
            done.undo.push(Undo::Port(m.port_no, before));
            done.ports.push(m.port_no);
        }
        Ok(())
    }
    /// A buffer can be used once, within a bundle too.
    fn use_buffer(&mut self, id: u32, now_ns: u64, done: &mut Done) -> Result<(), OfpError> {
        self.buffers.check(id, now_ns / 1_000_000)?;
        if done.buffers.insert(id) {
            Ok(())
        } else {
            Err(OfpError::OFPBRC_BUFFER_EMPTY)
        }
    }
    fn packet_out(&mut self, m: &PacketOut, now_ns: u64, done: &mut Done) -> Result<(), OfpError> {
        let buffered = m.buffer_id != OFP_NO_BUFFER;
        if buffered {
            self.use_buffer(m.buffer_id, now_ns, done)?;
        }
        // "It must be set to either a valid standard switch port or OFPP_CONTROLLER" (1.3.5, "Packet-Out Message"); ANY, as OpenFlow 1.0's NONE,
        // is what `ovs-ofctl` and older controllers say for the latter.
        if !self.ports.contains_key(&m.in_port) && !matches!(m.in_port, PortNo::CONTROLLER | PortNo::ANY) {
            return Err(OfpError::OFPBRC_BAD_PORT);
        }
        if m.data.len() < 14 && !buffered {
            return Err(OfpError::OFPBRC_BAD_PACKET);
        }
        check::actions(&m.actions, check::Place::PacketOut, &BridgeChecks::new(&self.groups, &self.meters))?;
        done.packet_outs.push(m.clone());
        Ok(())
    }
    /// See [`Backend::expect`].
    fn expect(&self, msg: &OfMessage) -> Option<Place> {
        if let Message::FlowMod(m) = &msg.body {
            self.tables.expect(m)
        } else {
            None
        }
    }
    /// One state-changing request; `None`: it is none of those.
    fn change(
        &mut self,
        msg: &OfMessage,
        place: Option<Place>,
        now_ns: u64,
        done: &mut Done,
    ) -> Option<Result<(), OfpError>> {
        Some(match &msg.body {
            Message::FlowMod(m) => self.flow_mod(m, place, msg.xid, now_ns, done),
            Message::GroupMod(m) => self.group_mod(m, msg.xid, now_ns, done),
            Message::MeterMod(m) => self.meter_mod(m, msg.xid, now_ns, done),
            Message::PortMod(m) => self.port_mod(m, done),
            Message::PacketOut(m) => self.packet_out(m, now_ns, done),
            _ => return None,
        })
    }
    fn undo(&mut self, mut done: Done) {
        for u in done.undo.into_iter().rev() {
            match u {
                Undo::Flows(n) => {
                    let at = done.effects.len().saturating_sub(n);
                    self.tables.undo(done.effects.drain(at..));
                }
                Undo::Groups(g) => self.groups.put_back(g),
                Undo::Meters(m) => self.meters.put_back(m),
                Undo::Port(n, config) => {
                    if let Some(p) = self.ports.get_mut(&n) {
                        p.config = config;
                    }
                }
            }
        }
    }
}

impl Switch {
    /// What has been counted so far must be in the entries before a request sets their counters to zero.
    fn before(&mut self, msg: &OfMessage) -> bool {
        let Message::FlowMod(f) = &msg.body else { return false };
        let resets = matches!(f.command, FlowModCommand::MODIFY | FlowModCommand::MODIFY_STRICT)
            && f.flags.contains(FlowModFlags::RESET_COUNTS);
        if resets {
            self.cache.fold_all(&self.dp, &self.slow);
        }
        resets
    }

    /// Makes what has succeeded known: to the datapath, to repair, to controllers.
    fn settle(&mut self, id: BridgeId, from: ConnId, done: Done, now_ns: u64) {
        let Some(b) = self.bridges.get_mut(&id) else { return };
        b.dirty |= !done.changes.is_empty();
        b.changes.extend(done.changes);
        b.unasked.extend(done.unasked);
        let mut effects = done.effects.into_iter();
        let mut at = 0;
        for (end, xid, why) in done.spans {
            b.note(effects.by_ref().take(end - at), Some(from), xid, why, now_ns);
            at = end;
        }
        for c in &done.meters {
            c.execute(&*self.dp);
        }
        let mut admin = Vec::new();
        for n in done.ports {
            let Some(p) = b.ports.get(&n) else { continue };
            b.dirty = true;
            b.changes.push(Change::Port(id, n));
            let status = PortStatus { reason: PortReason::MODIFY, port: p.describe(n) };
            b.events.push(crate::conn::manager::Event::PortStatus(status));
            admin.extend(p.dp.map(|dp| (dp, !p.config.contains(PortConfig::PORT_DOWN), p.info.admin_up)));
        }
        for (dp, up, is_up) in admin {
            // The device follows PORT_DOWN where it can; forwarding stops in any case.
            if up != is_up {
                if let Err(e) = self.dp.set_admin_up(dp, up) {
                    tracing::warn!(error = %e, "the device does not follow OFPPC_PORT_DOWN");
                }
            }
        }
        if !done.packet_outs.is_empty() {
            self.publish();
        }
        for mut p in done.packet_outs {
            if p.buffer_id != OFP_NO_BUFFER {
                let kept = self.bridges.get_mut(&id).and_then(|b| b.buffers.take(p.buffer_id));
                let Some(kept) = kept else { continue };
                if p.in_port == PortNo::ANY {
                    p.in_port = kept.in_port;
                }
                p.data = kept.frame;
            }
            self.send_packet(id, &p);
        }
        for c in done.meters {
            if !c.removed.is_empty() {
                self.publish();
                self.old_meters.push_back((self.newest(), c));
            }
        }
    }

    /// Executes a packet-out.
    fn send_packet(&mut self, id: BridgeId, m: &PacketOut) {
        let Some(b) = self.bridges.get(&id) else { return };
        let in_port = if m.in_port == PortNo::ANY { PortNo::CONTROLLER } else { m.in_port };
        let dp_port = b.ports.get(&in_port).and_then(|p| p.dp).unwrap_or_default();
        let mut key = FlowKey::ZERO;
        datapath::extract::extract(&m.data, dp_port.0, 0, &mut key);
        let flow = Flow::from_key(&key, in_port.0, in_port.0);
        let snap = self.slow.snapshot.load_full();
        let view = View::new(&snap, &self.slow);
        let input = Input { bridge: id, flow, side_effects: true, listener: None };
        let out = Xlate::packet_out(&view, input, &m.actions);
        let len = m.data.len() as u64;
        let now_ms = self.slow.now_ms();
        self.cache.credit(&self.slow, &out.credits, 1, len, now_ms);
        if !out.actions.is_empty() {
            self.dp.execute(&m.data, dp_port, out.actions);
        }
    }

    fn multipart(&mut self, id: BridgeId, body: &RequestBody, now: Instant) -> Result<ReplyBody, OfpError> {
        let now_ns = self.ns(now);
        let counted = matches!(
            body,
            RequestBody::Aggregate(_) | RequestBody::Table | RequestBody::Group(_) | RequestBody::Meter(_)
        );
        if counted {
            self.cache.fold_all(&self.dp, &self.slow);
        }
        if let RequestBody::PortStats(r) = body {
            let all = self.port_stats(now, id);
            if r.port_no == PortNo::ANY {
                return Ok(ReplyBody::PortStats(all));
            }
            let one: Vec<_> = all.into_iter().filter(|p| p.port_no == r.port_no).collect();
            return if one.is_empty() {
                Err(OfpError::OFPBRC_BAD_PORT)
            } else {
                Ok(ReplyBody::PortStats(one))
            };
        }
        let b = self.bridges.get_mut(&id).ok_or(OfpError::OFPBRC_BAD_TYPE)?;
        Ok(match body {
            RequestBody::Desc => ReplyBody::Desc(Box::new(b.config.desc.clone())),
            RequestBody::Aggregate(r) => {
                b.check_table(r.table_id, OfpError::OFPBRC_BAD_TABLE_ID)?;
                ReplyBody::Aggregate(b.tables.aggregate(r)?)
            }
            RequestBody::Table => {
                let tables = b.tables.tables.clone();
                let one = |(i, t): (usize, &std::sync::Arc<Classifier>)| {
                    let c = self.cache.tables.get(&(id, i as u8)).copied().unwrap_or_default();
                    TableStats {
                        table_id: (i as u8).into(),
                        active_count: t.len() as u32,
                        lookup_count: c.lookups,
                        matched_count: c.matched,
                    }
                };
                let exists = |(i, _): &(usize, _)| b.shapes.exists(TableId(*i as u8));
                ReplyBody::Table(tables.iter().enumerate().filter(exists).map(one).collect())
            }
            RequestBody::Queue(r) => ReplyBody::Queue(queue_stats(b, &self.dp, r, now_ns)?),
            RequestBody::Group(r) => {
                let refs = |g: GroupId| b.tables.group_refs(g);
                let groups = &b.groups;
                ReplyBody::Group(if r.group_id == GroupId::ALL {
                    groups.iter().map(|g| groups.stats(g, refs(g.id), now_ns)).collect()
                } else {
                    groups.get(r.group_id).map(|g| groups.stats(g, refs(g.id), now_ns)).into_iter().collect()
                })
            }
            RequestBody::GroupDesc => ReplyBody::GroupDesc(b.groups.describe()),
            RequestBody::GroupFeatures => ReplyBody::GroupFeatures(group::features()),
            RequestBody::Meter(r) => {
                let refs = |m: MeterId| b.tables.meter_refs(m);
                ReplyBody::Meter(b.meters.stats(r.meter_id, now_ns, &refs, &*self.dp)?)
            }
            RequestBody::MeterConfig(r) => ReplyBody::MeterConfig(b.meters.configs(r.meter_id)?),
            RequestBody::MeterFeatures => ReplyBody::MeterFeatures(meter::features()),
            RequestBody::TableFeatures(wanted) => {
                if !wanted.is_empty() {
                    let reshaped = b.shapes.set(wanted)?;
                    for t in b.shapes.tables() {
                        b.tables.max_entries[t.0 as usize] = b.shapes.max_entries(t);
                    }
                    let gone = match b.journaling {
                        Journaling::Replay => Vec::new(),
                        _ => b.tables.remove_entries(&|e| reshaped.contains(&TableId(e.rule.table))),
                    };
                    // The specification sends no FLOW_REMOVED for these.
                    let quiet = b.removed.len();
                    let effects = gone.into_iter().map(Effect::Removed);
                    b.note(effects, None, Xid(0), FlowRemovedReason::DELETE, now_ns);
                    b.removed.truncate(quiet);
                }
                ReplyBody::TableFeatures(b.shapes.features())
            }
            RequestBody::PortDesc => {
                ReplyBody::PortDesc(b.ports.iter().map(|(n, p)| p.describe(*n)).collect())
            }
            RequestBody::Experimenter { experimenter, .. } => {
                return Err(unknown_experimenter(*experimenter))
            }
            RequestBody::Flow(_)
            | RequestBody::PortStats(_)
            | RequestBody::FlowMonitor(_)
            | RequestBody::NxFlowMonitor(_) => return Err(OfpError::OFPBRC_BAD_MULTIPART),
        })
    }
}

/// The error for a message of `experimenter` that we do not know: we know two experimenters, and not all of theirs.
pub(crate) fn unknown_experimenter(experimenter: u32) -> OfpError {
    if matches!(experimenter, ONF_EXPERIMENTER | NICIRA_EXPERIMENTER) {
        OfpError::OFPBRC_BAD_EXP_TYPE
    } else {
        OfpError::OFPBRC_BAD_EXPERIMENTER
    }
}

fn queue_stats(
    b: &Bridge,
    dp: &datapath::Datapath,
    r: &QueueStatsRequest,
    now_ns: u64,
) -> Result<Vec<QueueStats>, OfpError> {
    if r.port_no != PortNo::ANY && !b.ports.contains_key(&r.port_no) {
        return Err(OfpError::OFPQOFC_BAD_PORT);
    }
    let mut all = Vec::new();
    for (n, p) in b.ports.iter().filter(|(n, _)| r.port_no == PortNo::ANY || **n == r.port_no) {
        let stats = p.dp.map(|id| dp.queue_stats(id)).unwrap_or_default();
        let mine = stats.iter().filter(|(id, _)| queue::is_wanted(r.queue_id, *id));
        all.extend(mine.filter_map(|(id, s)| {
            // The default queue is shown where it was made.
            Some(queue::stats(*n, *id, s, *p.queues_ns.get(id)?, now_ns))
        }));
    }
    if all.is_empty() && r.queue_id != OFPQ_ALL {
        return Err(OfpError::OFPQOFC_BAD_QUEUE);
    }
    Ok(all)
}

/// The queues of one port or (`ANY`) of all.
fn queue_config(b: &Bridge, port: PortNo) -> Result<QueueGetConfigReply, OfpError> {
    if port != PortNo::ANY && !b.ports.contains_key(&port) {
        return Err(OfpError::OFPQOFC_BAD_PORT);
    }
    let mut queues = Vec::new();
    for (n, p) in b.ports.iter().filter(|(n, _)| port == PortNo::ANY || **n == port) {
        let bps = match p.queues.max_bps {
            0 => u64::from(p.info.speed_mbps) * 1_000_000,
            n => n,
        };
        queues.extend(p.queues.queues.iter().map(|(id, r)| queue::describe(*n, bps, *id, r)));
    }
    Ok(QueueGetConfigReply { port, queues })
}

impl Backend for BridgeView<'_> {
    type Cursor = Cursor;

    fn expect(&self, msg: &OfMessage) -> Option<Place> {
        self.switch.bridges.get(&self.id)?.expect(msg)
    }

    fn handle(
        &mut self,
        now: Instant,
        from: ConnId,
        msg: &OfMessage,
        place: Option<Place>,
        replies: &mut Vec<Message>,
    ) -> Result<(), OfpError> {
        let now_ns = self.switch.ns(now);
        self.switch.before(msg);
        let b = self.switch.bridges.get_mut(&self.id).ok_or(OfpError::OFPBRC_BAD_TYPE)?;
        let mut done = Done::default();
        match b.change(msg, place, now_ns, &mut done) {
            Some(Ok(())) => {
                self.switch.settle(self.id, from, done, now_ns);
                return Ok(());
            }
            Some(Err(e)) => {
                b.undo(done);
                return Err(e);
            }
            None => {}
        }
        match &msg.body {
            Message::FeaturesRequest => replies.push(Message::FeaturesReply(FeaturesReply {
                datapath_id: b.config.dpid,
                n_buffers: b.buffers.limit(),
                n_tables: N_TABLES,
                auxiliary_id: 0,
                capabilities: Capabilities(
                    Capabilities::FLOW_STATS.0
                        | Capabilities::TABLE_STATS.0
                        | Capabilities::PORT_STATS.0
                        | Capabilities::GROUP_STATS.0
                        | Capabilities::QUEUE_STATS.0,
                ),
                reserved: 0,
            })),
            Message::GetConfigRequest => replies.push(Message::GetConfigReply(b.settings.clone())),
            Message::SetConfig(SwitchConfig { flags, miss_send_len }) => {
                if flags.0 > 1 {
                    // Reassembly is not offered in the capabilities.
                    return Err(OfpError::OFPSCFC_BAD_FLAGS);
                }
                // Between the longest length (OFPCML_MAX) and "all of it" (OFPCML_NO_BUFFER) there is none.
                if (OFPCML_MAX + 1..OFPCML_NO_BUFFER).contains(miss_send_len) {
                    return Err(OfpError::OFPSCFC_BAD_LEN);
                }
                if b.settings.flags != *flags {
                    b.dirty = true;
                    b.changes.push(Change::Bridge(self.id));
                }
                b.settings = SwitchConfig { flags: *flags, miss_send_len: *miss_send_len };
            }
            Message::TableMod(m) => b.shapes.table_mod(m)?,
            Message::QueueGetConfigRequest(r) => {
                replies.push(Message::QueueGetConfigReply(queue_config(b, r.port)?));
            }
            Message::MultipartRequest(r) => {
                let body = self.switch.multipart(self.id, &r.body, now)?;
                replies
                    .push(Message::MultipartReply(MultipartReply { flags: MultipartFlags::empty(), body }));
            }
            Message::Nicira(_) => return Err(OfpError::OFPBRC_BAD_EXP_TYPE),
            _ => return Err(OfpError::OFPBRC_BAD_TYPE),
        }
        Ok(())
    }

    fn handle_bundle(
        &mut self,
        now: Instant,
        from: ConnId,
        msgs: &Bundled,
        _flags: BundleFlags,
    ) -> Result<(), (usize, OfpError)> {
        let now_ns = self.switch.ns(now);
        // Only modifies can; the command is the 18th byte behind the header.
        let modifies = |m: &&[u8]| m.get(25).is_some_and(|c| matches!(c, 1 | 2));
        let _ = msgs
            .raw()
            .filter(modifies)
            .filter_map(|m| OfMessage::parse(m).ok())
            .any(|m| self.switch.before(&m));
        let Some(b) = self.switch.bridges.get_mut(&self.id) else { return Ok(()) };
        let mut done = Done::default();
        let mut msgs = msgs.iter().enumerate().peekable();
        let mut place = None;
        while let Some((i, m)) = msgs.next() {
            done.steps = i;
            let here = std::mem::replace(&mut place, msgs.peek().and_then(|(_, next)| b.expect(next)));
            let result = b.change(&m, here, now_ns, &mut done).unwrap_or(Err(OfpError::OFPBRC_BAD_TYPE));
            if let Err(e) = result {
                b.undo(done);
                return Err((i, e));
            }
        }
        self.switch.settle(self.id, from, done, now_ns);
        Ok(())
    }

    fn check_dump(&self, r: &FlowStatsRequest) -> Result<(), OfpError> {
        if let Some(b) = self.switch.bridges.get(&self.id) {
            b.check_table(r.table_id, OfpError::OFPBRC_BAD_TABLE_ID)?;
        }
        check::matching(&r.matching)
    }

    fn dump_flows(
        &mut self,
        now: Instant,
        request: &FlowStatsRequest,
        cursor: &mut Cursor,
        max: usize,
        out: &mut Vec<FlowStats>,
    ) -> bool {
        let now_ns = self.switch.ns(now);
        let Some(b) = self.switch.bridges.get_mut(&self.id) else { return false };
        if cursor.is_start() {
            self.switch.cache.fold_all(&self.switch.dp, &self.switch.slow);
        }
        b.tables.dump(request, cursor, max, now_ns, out).unwrap_or(false)
    }

    fn take_unasked(&mut self) -> Vec<Unasked> {
        self.switch.bridges.get_mut(&self.id).map(|b| std::mem::take(&mut b.unasked)).unwrap_or_default()
    }

    fn publish(&mut self) -> u64 {
        self.switch.publish()
    }

    fn synced(&mut self) -> u64 {
        self.switch.synced()
    }
}
