//! Upcalls: a worker asks, translation answers from the published snapshot, and what control must know goes into bounded queues.
//!
//! Everything here runs on worker threads. It reads the snapshot through one atomic load and never waits for control: queues are lock-free and
//! drop (with a counter) when full; the interning and MAC tables are locked for one hash operation.

use crate::api::{BridgeId, Waker};
use crate::conn::manager::PacketInEvent;
use crate::entries::Entry;
use crate::flow::{mix, pipe, Flow};
use crate::intern::Interner;
use crate::learned::{Learned, Rooms};
use crate::mac_learning::MacTable;
use crate::rule::RuleCore;
use crate::snapshot::{LiveGroup, Snapshot, View};
use crate::xlate::{same_entry, Credit, Dep, Frozen, Input, Outcome, Punt, Reason, Visit, World, Xlate};
use arc_swap::ArcSwap;
use bytes::Bytes;
use crossbeam_queue::{ArrayQueue, SegQueue};
use datapath::flow_key::{off, KEY_BYTES};
use datapath::meter::Verdict as MeterVerdict;
use datapath::upcall::{Ended, Reason as UpcallReason, UpcallHandler, Verdict, WorkerId};
use datapath::{FlowKey, FlowMask};
use openflow::PortNo;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
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

/// What all megaflows have in common that come out of equal translations: everything but the key. Interned by each worker, so that a new flow costs a
/// comparison where it would cost a dozen allocations; and control finds what a change touches by templates first.
pub struct Template {
    /// Bits that count.
    pub mask: FlowMask,
    /// OpenFlow in_port that the packets come in by.
    pub in_port: u32,
    /// Whom to credit.
    pub credits: Vec<MegaflowCredit>,
    /// Tables it went through.
    pub visits: Vec<VisitRecord>,
    /// What else it depends on.
    pub deps: Vec<Dep>,
    /// Tokens and recirculation ids that it uses.
    pub tokens: Vec<u32>,
    hash: u64,
    /// Packets translated without a megaflow, counted by the worker.
    once: [AtomicU64; 3],
}

/// A table visit, kept small.
pub struct VisitRecord {
    /// Bridge.
    pub bridge: BridgeId,
    /// Table.
    pub table: u8,
    /// What was found.
    pub entry: Option<Entry>,
    /// How the flow differed from the packet as it came in; `None`: not at all.
    state: Option<Box<VisitState>>,
}

struct VisitState {
    /// Bits that actions had made constant.
    known: Flow,
    /// Bits that were not (or need not have been) the packet's, and their values.
    set: Flow,
    value: Flow,
}

impl VisitRecord {
    /// The flow with which a packet of this key came to the table, and the bits of it that do not come from the packet.
    pub fn flow<'a>(&'a self, t: &Template, key: &FlowKey) -> (Flow, Option<&'a Flow>) {
        let mut flow = start_of(key, t.in_port);
        let Some(s) = &self.state else { return (flow, None) };
        for i in 0..flow.0.len() {
            flow.0[i] = flow.0[i] & !s.set.0[i] | s.value.0[i];
        }
        (flow, Some(&s.known))
    }
    fn is_of(&self, v: &Visit<Entry>, start: &Flow) -> bool {
        let same_entry = match (&self.entry, &v.entry) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(&a.rule, &b.rule),
            _ => false,
        };
        same_entry
            && self.table == v.table
            && self.bridge == v.bridge
            && match &self.state {
                None => v.known == PIPELINE_BITS && v.flow == *start,
                Some(s) => {
                    let mut differ = 0;
                    for i in 0..s.set.0.len() {
                        let set = v.known.0[i] | v.flow.0[i] ^ start.0[i];
                        differ |=
                            set ^ s.set.0[i] | v.flow.0[i] & set ^ s.value.0[i] | v.known.0[i] ^ s.known.0[i];
                    }
                    differ == 0
                }
            }
    }
}

fn same_credit(a: &MegaflowCredit, b: &MegaflowCredit) -> bool {
    match (a, b) {
        (Credit::Entry(b1, t1, e1), Credit::Entry(b2, t2, e2)) => {
            b1 == b2 && t1 == t2 && Arc::ptr_eq(&e1.rule, &e2.rule)
        }
        (Credit::Miss(b1, t1), Credit::Miss(b2, t2)) => b1 == b2 && t1 == t2,
        (Credit::Group(b1, i1, g1), Credit::Group(b2, i2, g2)) => {
            b1 == b2 && i1 == i2 && Arc::ptr_eq(&g1.group, &g2.group)
        }
        (Credit::Bucket(b1, i1, g1, n1), Credit::Bucket(b2, i2, g2, n2)) => {
            b1 == b2 && i1 == i2 && n1 == n2 && Arc::ptr_eq(&g1.group, &g2.group)
        }
        (Credit::Patch(b1, p1, r1), Credit::Patch(b2, p2, r2)) => b1 == b2 && p1 == p2 && r1 == r2,
        (Credit::Mac(b1, v1, m1, p1), Credit::Mac(b2, v2, m2, p2)) => {
            b1 == b2 && v1 == v2 && m1 == m2 && p1 == p2
        }
        (Credit::Learn(b1, l1), Credit::Learn(b2, l2)) => {
            let same_learner = same_entry(l1.by.as_ref(), l2.by.as_ref());
            b1 == b2 && l1.flow == l2.flow && l1.limit == l2.limit && same_learner
        }
        (Credit::Fin(b1, e1, i1, h1), Credit::Fin(b2, e2, i2, h2)) => {
            b1 == b2 && i1 == i2 && h1 == h2 && Arc::ptr_eq(&e1.rule, &e2.rule)
        }
        _ => false,
    }
}

impl Template {
    fn is_of(&self, key: &FlowKey, out: &Outcome<View<'_>>) -> bool {
        if self.mask != out.mask || self.visits.len() != out.visits.len() || self.deps[..] != out.deps[..] {
            return false;
        }
        let start = start_of(key, self.in_port);
        let mut tokens = self.tokens.iter();
        let mut same_tokens = true;
        each_token(&out.actions, &mut |t| same_tokens &= tokens.next() == Some(&t));
        same_tokens
            && tokens.next().is_none()
            && out.visits.first().map_or(0, |v| v.flow.in_port()) == self.in_port
            && self.visits.iter().zip(&out.visits).all(|(a, b)| a.is_of(b, &start))
            && self.credits.len() == out.credits.len()
            && self.credits.iter().zip(&out.credits).all(|(a, b)| same_credit(a, b))
    }
    /// Counts a packet that no megaflow counts.
    fn once(&self, bytes: u64, now_ms: u64) {
        let [packets, b, used] = &self.once;
        packets.store(packets.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        b.store(b.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
        used.store(now_ms, Ordering::Relaxed);
    }
    /// Packets and bytes that no megaflow counted, and when the last came.
    pub fn counted_once(&self) -> (u64, u64, u64) {
        let get = |i: usize| self.once[i].load(Ordering::Relaxed);
        (get(0), get(1), get(2))
    }
}

fn hash_of(out: &Outcome<View<'_>>) -> u64 {
    let mask = out.mask.0.iter().filter(|w| **w != 0).fold(0, |h, w| mix(h, *w));
    out.visits.iter().fold(mask, |h, v| {
        mix(h, v.entry.as_ref().map_or(u64::from(v.table), |e| Arc::as_ptr(&e.rule) as u64))
    })
}

/// What workers tell control; from one worker in order.
pub enum Report {
    /// From now on this number stands for this template on this worker.
    Template(u32, Arc<Template>),
    /// A megaflow is installed.
    Installed {
        /// Where.
        slot: u32,
        /// Number of its template.
        template: u32,
        /// Its name.
        token: u64,
        /// Version of the tables it was made with.
        version: u64,
        /// Its key under its mask.
        key: ShortKey,
    },
    /// One is no more. Each that was installed ends once.
    Ended(Ended),
    /// All that the first so many sentences condemned has ended.
    CarriedOut(u64),
}

/// A masked key without the lanes that are zero.
#[derive(Default)]
pub struct ShortKey {
    lane0: [u64; 8],
    extra: Option<Box<[u64; 16]>>,
}

impl ShortKey {
    /// Of a key, under a mask.
    pub fn new(key: &FlowKey, mask: &FlowMask) -> Self {
        let mut lane0 = [0; 8];
        for (i, w) in lane0.iter_mut().enumerate() {
            *w = key.0[i] & mask.0[i];
        }
        let more = mask.0[8..].iter().any(|w| *w != 0);
        let extra = more.then(|| Box::new(std::array::from_fn(|i| key.0[i + 8] & mask.0[i + 8])));
        Self { lane0, extra }
    }
    /// The whole key.
    pub fn key(&self) -> FlowKey {
        let mut k = FlowKey::ZERO;
        k.0[..8].copy_from_slice(&self.lane0);
        if let Some(x) = &self.extra {
            k.0[8..].copy_from_slice(&**x);
        }
        k
    }
}

/// Reports of one worker that may wait for control. When there is no room, megaflows are not installed: packets are translated one by one
/// until control has caught up.
pub const REPORTS: usize = 8192;
/// Room kept for what one upcall has to tell.
const RESERVE: usize = 8;
/// Templates that a worker knows at a time, in pairs.
const TEMPLATES: usize = 4096;
/// Most visits for which a worker keeps memory between translations.
const ROOM: usize = 64;
/// Installed megaflows wake control at most so often.
const WAKE_MS: u64 = 10;

/// What one worker and control share.
pub struct Side {
    /// To control.
    pub ring: ArrayQueue<Report>,
    own: Mutex<Own>,
    /// Ends that found the ring full: at most as many as there are megaflows.
    late: AtomicU64,
    /// Megaflows not installed because control was behind.
    pub not_installed: AtomicU64,
}

/// What the worker alone uses (control takes its late ends out).
struct Own {
    templates: Vec<Option<Arc<Template>>>,
    /// Token, template and version of the megaflow about to be installed.
    pending: Option<(u64, u32, u64)>,
    late: VecDeque<Report>,
    turn: u32,
    next_wake_ms: u64,
    /// For the next translation's visits: more than a kilobyte each, which would be new memory each time.
    room: Vec<Visit<Entry>>,
}

impl Side {
    fn new() -> Self {
        let templates = (0..TEMPLATES).map(|_| None).collect();
        let own = Own {
            templates,
            pending: None,
            late: VecDeque::new(),
            turn: 0,
            next_wake_ms: 0,
            room: Vec::new(),
        };
        let ring = ArrayQueue::new(REPORTS);
        Self { ring, own: Mutex::new(own), late: AtomicU64::new(0), not_installed: AtomicU64::new(0) }
    }
    fn has_room(&self) -> bool {
        self.ring.len() + RESERVE <= REPORTS
    }
    /// The ends that found the ring full, if all that was said before them has been taken out.
    pub fn take_late(&self) -> VecDeque<Report> {
        if self.late.load(Ordering::Acquire) == 0 {
            return VecDeque::new();
        }
        let mut own = self.own.lock();
        if !self.ring.is_empty() {
            return VecDeque::new();
        }
        self.late.store(0, Ordering::Release);
        std::mem::take(&mut own.late)
    }
}

impl Own {
    /// Tells what must not be lost.
    fn tell(&mut self, side: &Side, r: Report) {
        let r = if self.late.is_empty() { side.ring.push(r).err() } else { Some(r) };
        if let Some(r) = r {
            self.late.push_back(r);
            side.late.fetch_add(1, Ordering::Release);
        }
    }
    /// Whether control was not woken for a while.
    fn turn_to_wake(&mut self, now_ms: u64) -> bool {
        let due = now_ms >= self.next_wake_ms;
        if due {
            self.next_wake_ms = now_ms + WAKE_MS;
        }
        due
    }
    /// The number of an outcome's template, if it is known.
    fn known(&self, hash: u64, key: &FlowKey, out: &Outcome<View<'_>>) -> Option<usize> {
        let pair = pair_of(hash);
        let is_it = |t: &Arc<Template>| t.hash == hash && t.is_of(key, out);
        [pair, pair + 1].into_iter().find(|at| self.templates[*at].as_ref().is_some_and(is_it))
    }
    /// The number of an outcome's template; `None`: it is new, and control has no ear for it now. `crowded`: the mask of a new one is rounded, so that
    /// crafted packets do not make a template each.
    fn intern(
        &mut self,
        side: &Side,
        key: &FlowKey,
        out: &mut Outcome<View<'_>>,
        crowded: bool,
    ) -> Option<u32> {
        let mut hash = hash_of(out);
        let mut known = self.known(hash, key, out);
        if known.is_none() && crowded {
            datapath::classifier::round_up(&mut out.mask);
            hash = hash_of(out);
            known = self.known(hash, key, out);
        }
        if let Some(at) = known {
            return Some(at as u32);
        }
        if !side.has_room() {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        let pair = pair_of(hash);
        let at = match (&self.templates[pair], &self.templates[pair + 1]) {
            (None, _) => pair,
            (_, None) => pair + 1,
            _ => pair + (self.turn & 1) as usize,
        };
        let mut t = record(key, out);
        t.hash = hash;
        let t = Arc::new(t);
        let _ = side.ring.push(Report::Template(at as u32, t.clone()));
        self.templates[at] = Some(t);
        Some(at as u32)
    }
}

/// Where a template may stand: here or in the place after it.
fn pair_of(hash: u64) -> usize {
    hash as usize % (TEMPLATES / 2) * 2
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
    /// Packets for controllers.
    pub packet_ins: ArrayQueue<(BridgeId, PacketInEvent)>,
    /// Flows that learn actions add, and when (in milliseconds since the switch started).
    pub learn_queue: ArrayQueue<(BridgeId, Arc<Learned<Entry>>, u64)>,
    /// How many more may be learned.
    pub rooms: Rooms,
    /// Addresses that NORMAL saw anew, or elsewhere.
    pub moved_macs: SegQueue<(BridgeId, u16, [u8; 6])>,
    /// Entries whose timeouts got shorter, for control to look at (which is also who says so: each entry at most a few times).
    pub shortened: SegQueue<(BridgeId, Arc<RuleCore>)>,
    /// Packet-ins lost because [`Slow::packet_ins`] was full.
    pub packet_ins_lost: AtomicU64,
    /// Learned flows lost because [`Slow::learn_queue`] was full, or the table.
    pub learned_lost: AtomicU64,
    /// Translations.
    pub translations: AtomicU64,
    next_token: AtomicU64,
    sides: Vec<OnceLock<Box<Side>>>,
    /// Workers up to the last that has said something.
    speakers: AtomicUsize,
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
            packet_ins: ArrayQueue::new(PACKET_INS),
            learn_queue: ArrayQueue::new(LEARNED),
            rooms: Rooms::default(),
            moved_macs: SegQueue::new(),
            shortened: SegQueue::new(),
            packet_ins_lost: AtomicU64::new(0),
            learned_lost: AtomicU64::new(0),
            translations: AtomicU64::new(0),
            next_token: AtomicU64::new(1),
            sides: (0..MAX_WORKERS).map(|_| OnceLock::new()).collect(),
            speakers: AtomicUsize::new(0),
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
    /// What a worker shares with control.
    fn side(&self, worker: WorkerId) -> Option<&Side> {
        let new = || {
            self.speakers.fetch_max(worker.0 as usize + 1, Ordering::Release);
            Box::new(Side::new())
        };
        Some(&**self.sides.get(worker.0 as usize)?.get_or_init(new))
    }
    /// What workers say that have said something.
    pub fn sides(&self) -> impl Iterator<Item = (WorkerId, &Side)> {
        let speakers = self.speakers.load(Ordering::Acquire);
        self.sides
            .iter()
            .take(speakers)
            .enumerate()
            .filter_map(|(i, s)| Some((WorkerId(i as u32), &**s.get()?)))
    }
    /// Greater than every megaflow's token so far.
    pub fn token_bound(&self) -> u64 {
        self.next_token.load(Ordering::Acquire)
    }
    /// Megaflows not installed because control was behind.
    pub fn not_installed(&self) -> u64 {
        self.sides().map(|(_, s)| s.not_installed.load(Ordering::Relaxed)).sum()
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
    /// A learn action made a flow; `false`: it is lost.
    pub fn learn(&self, bridge: BridgeId, what: &Arc<Learned<Entry>>) -> bool {
        let taken = self.learn_queue.push((bridge, what.clone(), self.now_ms())).is_ok();
        self.learned_lost.fetch_add(u64::from(!taken), Ordering::Relaxed);
        self.wake();
        taken
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

    /// Whether the bridge's meter SLOWPATH lets a packet be translated.
    fn may_upcall(&self, snap: &Snapshot, key: &FlowKey, bytes: usize) -> bool {
        let owner = snap.dp_ports.get(&datapath::PortId(key.in_port()));
        let bridge = owner.and_then(|(b, _)| snap.bridges.get(b));
        let meter = bridge.and_then(|b| b.slowpath.as_ref());
        meter.is_none_or(|m| m.pass(bytes, self.now_ns()) != MeterVerdict::Drop)
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
            buffer_id: openflow::msg::OFP_NO_BUFFER,
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
            Credit::Learn(bridge, what) => {
                if packets > 0 {
                    counters(TableCredit::Learn { bridge: *bridge, what: what.clone(), used_ms });
                }
            }
            Credit::Fin(bridge, e, idle, hard) => {
                if packets > 0 && e.rule.shorten(*idle, *hard) {
                    slow.shortened.push((*bridge, e.rule.clone()));
                }
            }
        }
    }
}

/// What only control keeps.
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
    /// A flow entry that is learned again.
    Learn {
        /// Bridge.
        bridge: BridgeId,
        /// The entry.
        what: Arc<Learned<Entry>>,
        /// When the last packet came.
        used_ms: u64,
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

/// The lasting form of an outcome.
pub fn record(key: &FlowKey, out: &mut Outcome<View<'_>>) -> Template {
    let in_port = out.visits.first().map_or(0, |v| v.flow.in_port());
    let start = start_of(key, in_port);
    let visits = out
        .visits
        .drain(..)
        .map(|Visit { bridge, table, flow, known, entry }| {
            let same = flow == start && known == PIPELINE_BITS;
            let state = (!same).then(|| {
                let (mut set, mut value) = (Flow::ZERO, Flow::ZERO);
                for i in 0..set.0.len() {
                    set.0[i] = known.0[i] | flow.0[i] ^ start.0[i];
                    value.0[i] = flow.0[i] & set.0[i];
                }
                Box::new(VisitState { known, set, value })
            });
            VisitRecord { bridge, table, entry, state }
        })
        .collect();
    let mut tokens = Vec::new();
    each_token(&out.actions, &mut |t| tokens.push(t));
    Template {
        mask: out.mask,
        in_port,
        credits: std::mem::take(&mut out.credits).into_vec(),
        visits,
        deps: std::mem::take(&mut out.deps).into_vec(),
        tokens,
        hash: 0,
        once: Default::default(),
    }
}

/// Interned numbers that actions use: punts as they are, recirculation ids with the top bit set.
fn each_token(actions: &[datapath::DpAction], f: &mut dyn FnMut(u32)) {
    use datapath::DpAction as A;
    for a in actions {
        match a {
            A::Userspace(t) => f(*t as u32),
            A::Recirc(id) => f(*id | 1 << 31),
            A::Clone(inner) => each_token(inner, f),
            _ => {}
        }
    }
}

impl UpcallHandler for Slow {
    fn upcall(&self, worker: WorkerId, reason: UpcallReason, key: &FlowKey, frame: &[u8], out: &mut Verdict) {
        if let UpcallReason::Action(token) = reason {
            return self.deliver(token, frame);
        }
        let Some(side) = self.side(worker) else { return };
        let mut own = side.own.lock();
        let snap = self.snapshot.load();
        out.version = snap.version;
        if snap.meters_slowpath && !self.may_upcall(&snap, key, frame.len()) {
            out.drop_reason = Reason::SlowpathMeter as u16;
            return;
        }
        let view = View::with_room(&snap, self, std::mem::take(&mut own.room));
        let mut result = match self.translate(&view, key, true, None) {
            Ok(r) => r,
            Err(why) => {
                own.room = view.room();
                out.drop_reason = why as u16;
                return;
            }
        };
        let template = own.intern(side, key, &mut result, out.crowded);
        if result.visits.capacity() <= ROOM {
            result.visits.clear();
            own.room = std::mem::take(&mut result.visits);
        }
        let Some(template) = template else {
            out.drop_reason = Reason::ControlBehind as u16;
            self.wake();
            return;
        };
        out.mask = result.mask;
        out.drop_reason = result.reason as u16;
        out.actions = std::mem::take(&mut result.actions);
        let wanted = reason == UpcallReason::Miss && result.cacheable;
        if wanted && side.has_room() && own.late.is_empty() {
            out.install = true;
            out.class = template;
            out.token = self.next_token.fetch_add(1, Ordering::Relaxed) & (u64::MAX >> 16);
            own.pending = Some((out.token, template, snap.version));
            return;
        }
        side.not_installed.fetch_add(u64::from(wanted), Ordering::Relaxed);
        if let Some(t) = &own.templates[template as usize] {
            t.once(frame.len() as u64, self.now_ms());
        }
        self.wake();
    }

    fn installed(&self, worker: WorkerId, token: u64, slot: u32, key: &FlowKey) {
        let Some(side) = self.side(worker) else { return };
        let mut own = side.own.lock();
        let Some((_, template, version)) = own.pending.take_if(|p| p.0 == token) else { return };
        let Some(t) = &own.templates[template as usize] else { return };
        let key = ShortKey::new(key, &t.mask);
        // There is room: `upcall` saw to that, and nobody else writes here.
        let _ = side.ring.push(Report::Installed { slot, template, token, version, key });
        // Control need not hear of each at once.
        if side.ring.len() > REPORTS / 4 || own.turn_to_wake(self.now_ms()) {
            self.wake();
        }
    }

    fn refused(&self, worker: WorkerId, token: u64, bytes: u64) {
        let Some(side) = self.side(worker) else { return };
        let mut own = side.own.lock();
        let Some((_, template, _)) = own.pending.take_if(|p| p.0 == token) else { return };
        if let Some(t) = &own.templates[template as usize] {
            t.once(bytes, self.now_ms());
        }
    }

    fn ended(&self, worker: WorkerId, ended: Ended) {
        let Some(side) = self.side(worker) else { return };
        side.own.lock().tell(side, Report::Ended(ended));
        if !ended.evicted {
            self.wake();
        }
    }

    fn carried_out(&self, worker: WorkerId, sentences: u64) {
        let Some(side) = self.side(worker) else { return };
        side.own.lock().tell(side, Report::CarriedOut(sentences));
        self.wake();
    }
}
