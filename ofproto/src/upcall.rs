//! Upcalls: a worker asks, translation answers from the published snapshot, and what control must know goes into bounded queues.
//!
//! Everything here runs on worker threads. It reads the snapshot through one atomic load and never waits for control: queues are lock-free and
//! drop (with a counter) when full; the interning and MAC tables are locked for one hash operation.

use crate::api::{BridgeId, Waker};
use crate::classifier::Entry;
use crate::conn::manager::PacketInEvent;
use crate::flow::{mix, pipe, Flow};
use crate::intern::Interner;
use crate::mac_learning::MacTable;
use crate::snapshot::{LiveGroup, Snapshot, View};
use crate::xlate::{Credit, Dep, Frozen, Input, Outcome, Punt, Reason, Visit, Xlate};
use arc_swap::ArcSwap;
use bytes::Bytes;
use crossbeam_queue::{ArrayQueue, SegQueue};
use datapath::flow_key::{off, KEY_BYTES};
use datapath::upcall::{MegaflowStats, Reason as UpcallReason, UpcallHandler, Verdict, WorkerId};
use datapath::{FlowKey, FlowMask};
use openflow::msg::FlowMod;
use openflow::PortNo;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Packet-ins that wait for control at most.
const PACKET_INS: usize = 4096;
/// Learned flows that wait for control at most.
const LEARNED: usize = 16 * 1024;
/// Things to be told to controllers at most.
const PUNTS: usize = 1 << 20;
/// Continuations at most.
const FROZEN: usize = 1 << 16;
/// Workers that can upcall.
const MAX_WORKERS: usize = 256;

/// What a megaflow credits.
pub type MegaflowCredit = Credit<Entry, LiveGroup>;

/// A cached decision as control knows it.
pub struct Megaflow {
    /// The packet it was made of.
    pub key: FlowKey,
    /// Its OpenFlow in_port.
    pub in_port: u32,
    /// Bits that count.
    pub mask: FlowMask,
    /// Version of the tables.
    pub version: u64,
    /// Whom to credit.
    pub credits: Vec<MegaflowCredit>,
    /// Tables it went through.
    pub visits: Vec<VisitRecord>,
    /// What else it depends on.
    pub deps: Vec<Dep>,
    /// Tokens and recirculation ids that it uses.
    pub tokens: Vec<u32>,
    /// Counters, written by the worker.
    pub stats: Arc<MegaflowStats>,
}

/// A table visit, kept small.
pub struct VisitRecord {
    /// Bridge.
    pub bridge: BridgeId,
    /// Table.
    pub table: u8,
    /// What was found.
    pub entry: Option<Entry>,
    /// The flow as it was and which bits were constant; `None`: as the packet came in.
    pub state: Option<Box<(Flow, Flow)>>,
}

/// What workers tell control.
pub enum Report {
    /// A megaflow is installed.
    Installed(WorkerId, u64, Box<Megaflow>),
    /// A worker removed one by itself.
    Evicted(WorkerId, u64),
}

/// What workers and control share.
pub struct Slow {
    /// The tables in force.
    pub snapshot: ArcSwap<Snapshot>,
    /// NORMAL's addresses.
    pub macs: MacTable,
    /// What controllers are to get.
    pub punts: Interner<Punt>,
    /// What is left to do after recirculation.
    pub frozen: Interner<Frozen<Entry>>,
    /// Installed and evicted megaflows.
    pub reports: SegQueue<Report>,
    /// Packets for controllers.
    pub packet_ins: ArrayQueue<(BridgeId, PacketInEvent)>,
    /// Flows that learn actions add.
    pub learn_queue: ArrayQueue<(BridgeId, FlowMod)>,
    /// Addresses that NORMAL saw anew, or elsewhere.
    pub moved_macs: SegQueue<(BridgeId, u16, [u8; 6])>,
    /// Packet-ins lost because [`Slow::packet_ins`] was full.
    pub packet_ins_lost: AtomicU64,
    /// Learned flows lost because [`Slow::learn_queue`] was full.
    pub learned_lost: AtomicU64,
    /// Translations.
    pub translations: AtomicU64,
    next_token: AtomicU64,
    pending: Vec<Mutex<Option<(u64, Box<Megaflow>)>>>,
    waker: Waker,
    awake: AtomicBool,
    start: Instant,
    /// Milliseconds that tests have skipped.
    skipped_ms: AtomicU64,
    manual_clock: Option<Arc<AtomicU64>>,
}

impl Slow {
    /// With no tables yet. `start`: time zero of all counters here.
    pub fn new(waker: Waker, start: Instant) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            macs: MacTable::default(),
            punts: Interner::new(PUNTS),
            frozen: Interner::new(FROZEN),
            reports: SegQueue::new(),
            packet_ins: ArrayQueue::new(PACKET_INS),
            learn_queue: ArrayQueue::new(LEARNED),
            moved_macs: SegQueue::new(),
            packet_ins_lost: AtomicU64::new(0),
            learned_lost: AtomicU64::new(0),
            translations: AtomicU64::new(0),
            next_token: AtomicU64::new(1),
            pending: (0..MAX_WORKERS).map(|_| Mutex::new(None)).collect(),
            waker,
            awake: AtomicBool::new(false),
            start,
            skipped_ms: AtomicU64::new(0),
            manual_clock: None,
        }
    }
    /// As [`Slow::new`], with a clock that is moved by hand, if one is given (nanoseconds).
    pub fn with_clock(waker: Waker, start: Instant, manual_clock: Option<Arc<AtomicU64>>) -> Self {
        Self { manual_clock, ..Self::new(waker, start) }
    }
    /// Nanoseconds since the switch started.
    pub fn now_ns(&self) -> u64 {
        match &self.manual_clock {
            Some(ns) => ns.load(Ordering::Relaxed),
            None => self.start.elapsed().as_nanos() as u64,
        }
    }
    /// Milliseconds since the switch started.
    pub fn now_ms(&self) -> u64 {
        self.now_ns() / 1_000_000 + self.skipped_ms()
    }
    /// See [`crate::switch::Switch::skip_time`].
    pub(crate) fn skip_ms(&self, by: u64) {
        self.skipped_ms.fetch_add(by, Ordering::Relaxed);
    }
    pub(crate) fn skipped_ms(&self) -> u64 {
        self.skipped_ms.load(Ordering::Relaxed)
    }
    /// Wakes control, once until it calls [`Slow::rearm`].
    fn wake(&self) {
        if !self.awake.swap(true, Ordering::AcqRel) {
            (self.waker)();
        }
    }
    /// Control is about to look at the queues.
    pub fn rearm(&self) {
        self.awake.store(false, Ordering::Release);
    }
    /// NORMAL saw an address.
    pub fn mac_seen(&self, bridge: BridgeId, vlan: u16, mac: [u8; 6], port: PortNo) {
        if self.macs.learn(bridge, vlan, mac, port, self.now_ms()) {
            self.moved_macs.push((bridge, vlan, mac));
            self.wake();
        }
    }
    /// A learn action made a flow.
    pub fn learned(&self, bridge: BridgeId, flow: &FlowMod) {
        if self.learn_queue.push((bridge, flow.clone())).is_err() {
            self.learned_lost.fetch_add(1, Ordering::Relaxed);
        }
        self.wake();
    }
    /// The token of a punt (0 if there are too many: such packets are counted as lost).
    pub fn punt_token(&self, p: Punt) -> u64 {
        let mut h = mix(u64::from(p.bridge.0) << 32 | u64::from(p.table.0), p.cookie);
        h = mix(h, u64::from(p.max_len) << 32 | u64::from(p.controller_id) << 8 | u64::from(p.reason.0));
        for f in p.metadata.known() {
            h = mix(h, f.value as u64);
        }
        u64::from(self.punts.intern(p, h).unwrap_or(0))
    }

    /// Translates a packet with a snapshot. `None` and the reason: it belongs to no bridge, or its continuation is gone.
    pub fn translate<'v>(
        &self,
        view: &'v View<'v>,
        key: &FlowKey,
        side_effects: bool,
        listener: Option<&mut dyn crate::xlate::Listener>,
    ) -> Result<Outcome<View<'v>>, Reason> {
        self.translations.fetch_add(1, Ordering::Relaxed);
        let owner = view.snap.dp_ports.get(&datapath::PortId(key.in_port())).copied();
        let (bridge, in_port) = owner.unwrap_or_default();
        let flow = Flow::from_key(key, in_port.0, in_port.0);
        let input = Input { bridge, flow, side_effects, listener };
        match key.u32(off::RECIRC_ID) {
            0 if owner.is_none() => Err(Reason::UnknownInPort),
            0 => Ok(Xlate::packet(view, input)),
            // Also packet-outs come here, whose in_port may be none of the datapath's.
            id => match self.frozen.get(id) {
                Some(rest) => Ok(Xlate::resume(view, input, &rest)),
                None => Err(Reason::RecircGone),
            },
        }
    }

    /// A packet that is for a controller, as it now is.
    fn deliver(&self, token: u64, frame: &[u8]) {
        let lost = || {
            self.packet_ins_lost.fetch_add(1, Ordering::Relaxed);
        };
        let Some(p) = u32::try_from(token).ok().and_then(|t| self.punts.get(t)) else { return lost() };
        let event = PacketInEvent {
            controller_id: p.controller_id,
            reason: p.reason,
            table_id: p.table,
            cookie: p.cookie,
            metadata: p.metadata.clone(),
            frame: Bytes::copy_from_slice(frame),
            max_len: p.max_len,
            userdata: p.userdata.clone(),
        };
        if self.packet_ins.push((p.bridge, event)).is_err() {
            lost();
        }
        self.wake();
    }
}

/// Adds traffic to everything on a list. `used_ms` is on the switch's clock.
pub fn credit(
    slow: &Slow,
    list: &[MegaflowCredit],
    packets: u64,
    bytes: u64,
    used_ms: u64,
    counters: &mut dyn FnMut(TableCredit),
) {
    for c in list {
        match c {
            Credit::Entry(bridge, table, e) => {
                e.rule.credit(packets, bytes, used_ms);
                counters(TableCredit::Table { bridge: *bridge, table: table.0, packets, matched: true });
            }
            Credit::Miss(bridge, table) => {
                counters(TableCredit::Table { bridge: *bridge, table: table.0, packets, matched: false });
            }
            Credit::Group(_, _, g) => g.group.counts.credit(packets, bytes),
            Credit::Bucket(_, _, g, i) => {
                if let Some(c) = g.group.bucket_counts.get(*i) {
                    c.credit(packets, bytes);
                }
            }
            Credit::Patch(bridge, port, received) => {
                counters(TableCredit::Patch {
                    bridge: *bridge,
                    port: *port,
                    packets,
                    bytes,
                    received: *received,
                });
            }
            Credit::Mac(bridge, vlan, mac, port) => {
                if packets > 0 {
                    slow.mac_seen(*bridge, *vlan, *mac, *port);
                }
            }
            Credit::Learn(bridge, flow) => {
                if packets > 0 {
                    slow.learned(*bridge, flow);
                }
            }
        }
    }
}

/// Counters that only control keeps.
pub enum TableCredit {
    /// Lookups of a table.
    Table {
        /// Bridge.
        bridge: BridgeId,
        /// Table.
        table: u8,
        /// Lookups.
        packets: u64,
        /// An entry matched.
        matched: bool,
    },
    /// Traffic of a patch port.
    Patch {
        /// Bridge.
        bridge: BridgeId,
        /// Port.
        port: PortNo,
        /// Packets.
        packets: u64,
        /// Bytes.
        bytes: u64,
        /// Into the bridge.
        received: bool,
    },
}

/// Bits that never come from the packet.
const PIPELINE_BITS: Flow = {
    let mut m = Flow::ZERO;
    let mut i = KEY_BYTES / 8;
    while i < crate::flow::WORDS {
        m.0[i] = u64::MAX;
        i += 1;
    }
    m
};

/// The flow with which a packet enters its first table.
pub fn start_of(key: &FlowKey, in_port: u32) -> Flow {
    let mut f = Flow::from_key(key, in_port, in_port);
    f.put(pipe::ACTSET_OUTPUT, 4, PortNo::UNSET.0.into());
    f
}

/// The registry's form of an outcome.
pub fn record(key: &FlowKey, version: u64, out: &mut Outcome<View<'_>>) -> Megaflow {
    let in_port = out.visits.first().map_or(0, |v| v.flow.in_port());
    let start = start_of(key, in_port);
    let visits = std::mem::take(&mut out.visits)
        .into_iter()
        .map(|Visit { bridge, table, flow, known, entry }| {
            let same = flow == start && known == PIPELINE_BITS;
            let state = (!same).then(|| Box::new((flow, known)));
            VisitRecord { bridge, table, entry, state }
        })
        .collect();
    Megaflow {
        key: *key,
        in_port,
        mask: out.mask,
        version,
        credits: std::mem::take(&mut out.credits),
        visits,
        deps: std::mem::take(&mut out.deps),
        tokens: tokens(&out.actions),
        stats: Arc::default(),
    }
}

/// Interned numbers that actions use: punts as they are, recirculation ids with the top bit set.
fn tokens(actions: &[datapath::DpAction]) -> Vec<u32> {
    use datapath::DpAction as A;
    let mut v = Vec::new();
    for a in actions {
        match a {
            A::Userspace(t) => v.push(*t as u32),
            A::Recirc(id) => v.push(*id | 1 << 31),
            A::Clone(inner) => v.extend(tokens(inner)),
            _ => {}
        }
    }
    v
}

impl UpcallHandler for Slow {
    fn upcall(&self, worker: WorkerId, reason: UpcallReason, key: &FlowKey, frame: &[u8], out: &mut Verdict) {
        if let UpcallReason::Action(token) = reason {
            return self.deliver(token, frame);
        }
        let snap = self.snapshot.load();
        let view = View { snap: &snap, slow: self };
        out.version = snap.version;
        let mut result = match self.translate(&view, key, true, None) {
            Ok(r) => r,
            Err(why) => {
                out.drop_reason = why as u16;
                return;
            }
        };
        out.mask = result.mask;
        out.drop_reason = result.reason as u16;
        out.actions = std::mem::take(&mut result.actions);
        out.install = reason == UpcallReason::Miss && result.cacheable;
        if out.install {
            out.token = self.next_token.fetch_add(1, Ordering::Relaxed);
            let mut m = record(key, snap.version, &mut result);
            m.tokens = tokens(&out.actions);
            if let Some(slot) = self.pending.get(worker.0 as usize) {
                *slot.lock() = Some((out.token, Box::new(m)));
            }
        } else {
            // Counted by control like a megaflow that is already gone.
            let mut m = record(key, snap.version, &mut result);
            m.tokens.clear();
            m.stats.packets.store(1, Ordering::Relaxed);
            m.stats.bytes.store(frame.len() as u64, Ordering::Relaxed);
            m.stats.used_ms.store(u64::MAX, Ordering::Relaxed);
            self.reports.push(Report::Installed(worker, 0, Box::new(m)));
            self.wake();
        }
    }

    fn installed(&self, worker: WorkerId, token: u64, stats: Arc<MegaflowStats>) {
        let Some(slot) = self.pending.get(worker.0 as usize) else { return };
        let taken = slot.lock().take();
        if let Some((t, mut m)) = taken.filter(|(t, _)| *t == token) {
            m.stats = stats;
            self.reports.push(Report::Installed(worker, t, m));
            self.wake();
        }
    }

    fn evicted(&self, worker: WorkerId, token: u64) {
        self.reports.push(Report::Evicted(worker, token));
        self.wake();
    }
}
