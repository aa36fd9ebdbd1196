//! Everything OpenFlow that belongs to a connection rather than to the tables: HELLO, echo, roles, asynchronous messages,
//! bundles, barriers, flow monitors and dumps in slices, for all the connections of one bridge.
//!
//! Requests of one connection are handled strictly in order. A barrier (or a bundle's commit) stops its connection until the backend
//! says that every worker obeys the version published for it; a dump stops its connection until it is through. Other
//! connections go on meanwhile: [`Manager::process`] gives each a turn of [`TURN`] messages. So replies and errors leave in the order
//! of their requests, and errors always before the barrier's reply.
//!
//! No I/O and no clock here: bytes come and go through a [`Pipe`], time is an argument.

use super::bundled::Bundled;
use super::pipe::{Pipe, OUTPUT_HIGH, OUTPUT_LIMIT, OUTPUT_MOST};
use super::rconn::{negotiate, Rconn, RconnConfig, Todo, OUR_VERSIONS};
use crate::rule::Place;
use bytes::{Bytes, BytesMut};
use openflow::codec::{Frame, OfCodec};
use openflow::header::{Header, MsgType, OFP13_VERSION};
use openflow::msg::multipart::flow_monitor::{
    FlowMonitorFlags, FlowMonitorRequest, FlowUpdate, FlowUpdateEvent,
};
use openflow::msg::multipart::{FlowStats, FlowStatsRequest, MultipartFlags, Reassembler};
use openflow::msg::{
    AsyncConfig, BundleControl, BundleCtrlType, BundleFlags, ControllerRole, Echo, ErrorMsg, FlowMod,
    FlowRemoved, Hello, Message, MultipartReply, NxMessage, NxPacketIn, NxPacketIn2, NxPacketInProp,
    OfMessage, PacketIn, PacketInFormat, PacketInReason, PortStatus, ReplyBody, RequestBody, Role,
    OFPCML_MAX, OFPCML_NO_BUFFER, OFP_NO_BUFFER,
};
use openflow::{Action, Instruction, Match, OfpError, PortNo, TableId, Xid};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::codec::Decoder;

/// Messages that a connection may have handled before the next one gets its turn.
pub const TURN: usize = 64;
/// Flow entries that a dump takes at a time.
const DUMP_SLICE: usize = 256;
/// Connections of a bridge, two descriptors each; who comes beyond them is turned away, so that other sockets can be opened still.
pub const MAX_CONNECTIONS: usize = 256;
/// Open bundles of a connection.
const MAX_BUNDLES: usize = 32;
/// Bytes of messages in open bundles of a connection, and of all connections of a bridge.
const MAX_BUNDLE_BYTES: usize = 192 << 20;
const MAX_BUNDLE_BYTES_OF_ALL: usize = 2 * MAX_BUNDLE_BYTES;
/// Flags of bundles that mean something.
const BUNDLE_FLAGS: u16 = BundleFlags::ATOMIC.0 | BundleFlags::ORDERED.0;
/// How long a bundle may stay open without a word about it.
const BUNDLE_IDLE: Duration = Duration::from_secs(10);
/// How long a peer for which [`OUTPUT_LIMIT`] waits may take nothing of it.
const STALLED: Duration = Duration::from_secs(5);
/// Bytes before the message in a bundle's add: header, experimenter, its type, bundle id, padding, flags.
const BUNDLE_ADD_HEAD: usize = 24;
/// Flow monitors of a connection.
const MAX_MONITORS: usize = 1024;
/// Packet-ins are dropped while this much waits to be sent to their receiver.
const PACKET_IN_HIGH: usize = 256 * 1024;

/// Which connection. Never used again after it closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize)]
pub struct ConnId(pub u64);

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnKind {
    /// A controller: gets asynchronous messages from the start.
    Controller,
    /// A management client (`ovs-ofctl`, `ofctl`): gets them once it sets a miss_send_len.
    Service,
    /// A listener to what controllers and switch say to each other.
    Snoop,
}

/// Settings of a connection.
#[derive(Debug, Clone)]
pub struct ConnOptions {
    /// Who.
    pub kind: ConnKind,
    /// Its name in listings and logs.
    pub name: String,
    /// Probing and back-off.
    pub rconn: RconnConfig,
    /// Packet-ins a second and burst; `None`: as many as come.
    pub packet_in_rate: Option<(u32, u32)>,
    /// 0 for a main connection; else the auxiliary connection's number.
    pub auxiliary_id: u8,
    /// The main connection of an auxiliary one.
    pub main: Option<ConnId>,
    /// Wire versions we speak here, as a bitmap.
    pub versions: u32,
}

impl ConnOptions {
    /// Options with the defaults of `kind`.
    pub fn new(kind: ConnKind, name: impl Into<String>) -> Self {
        // Management clients come and go; a person who types slowly must not be probed away.
        let inactivity_probe =
            if kind == ConnKind::Controller { RconnConfig::default().inactivity_probe } else { None };
        Self {
            kind,
            name: name.into(),
            rconn: RconnConfig { inactivity_probe, ..RconnConfig::default() },
            packet_in_rate: None,
            auxiliary_id: 0,
            main: None,
            versions: OUR_VERSIONS,
        }
    }
}

/// A packet on its way to controllers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketInEvent {
    /// Which controllers: those with this id (0 unless an action says otherwise).
    pub controller_id: u16,
    /// Why.
    pub reason: PacketInReason,
    /// Table of the flow entry.
    pub table_id: TableId,
    /// Cookie of the flow entry; all ones if there is none.
    pub cookie: u64,
    /// `in_port` and the pipeline fields that are not zero.
    pub metadata: Match,
    /// The packet, not cut.
    pub frame: Bytes,
    /// Bytes of it to send; 0xffff for all.
    pub max_len: u16,
    /// Where the packet is kept; `OFP_NO_BUFFER` if it is not.
    pub buffer_id: u32,
    /// The controller action's data.
    pub userdata: Vec<u8>,
}

/// What the bridge tells without being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A packet for controllers.
    PacketIn(PacketInEvent),
    /// A flow entry is gone, and was to be reported.
    FlowRemoved(FlowRemoved),
    /// A port came, went or changed.
    PortStatus(PortStatus),
    /// A flow entry came, went or changed, by whose request (for flow monitors).
    FlowChange {
        /// The connection that asked for it.
        from: Option<ConnId>,
        /// Its request.
        xid: Xid,
        /// What happened, with instructions.
        update: FlowUpdate,
    },
}

/// A change of the tables that no request asked for in so many words: what expired, was evicted or learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unasked {
    /// So many messages of the bundle that it came with are before it.
    pub after: usize,
    /// The flow-mod that does the same.
    pub flow_mod: FlowMod,
}

/// The tables, as connections see them. Implemented by the bridge.
pub trait Backend {
    /// Where a dump stands.
    type Cursor: Default;
    /// A request that comes next but one: a backend can have memory fetched for it meanwhile. What it found out goes to
    /// [`Backend::handle`] with the request, or is thrown away.
    fn expect(&self, _msg: &OfMessage) -> Option<Place> {
        None
    }
    /// Acts on a request and appends the replies. On an error nothing has changed. `place`: what [`Backend::expect`] said of it, if it was asked.
    ///
    /// # Errors
    /// The error to answer with.
    fn handle(
        &mut self,
        now: Instant,
        from: ConnId,
        msg: &OfMessage,
        place: Option<Place>,
        replies: &mut Vec<Message>,
    ) -> Result<(), OfpError>;
    /// Acts on all messages or on none, in one version of the tables.
    ///
    /// # Errors
    /// Index of the message that is refused, and why.
    fn handle_bundle(
        &mut self,
        now: Instant,
        from: ConnId,
        msgs: &Bundled,
        flags: BundleFlags,
    ) -> Result<(), (usize, OfpError)>;
    /// Whether a request for flow entries is one.
    ///
    /// # Errors
    /// The error to answer with.
    fn check_dump(&self, _request: &FlowStatsRequest) -> Result<(), OfpError> {
        Ok(())
    }
    /// Appends up to about `max` flow entries that the request means; false once there are no more.
    fn dump_flows(
        &mut self,
        now: Instant,
        request: &FlowStatsRequest,
        cursor: &mut Self::Cursor,
        max: usize,
        out: &mut Vec<FlowStats>,
    ) -> bool;
    /// What has happened without being asked for since the last time, in order; with a request, before what that asked for.
    fn take_unasked(&mut self) -> Vec<Unasked> {
        Vec::new()
    }
    /// Lets workers see all that was handled so far; the version that holds it.
    fn publish(&mut self) -> u64;
    /// The newest version that every worker obeys.
    fn synced(&mut self) -> u64;
    /// Whether what was handled will be there after the process ends, if replies promise that. `false`: barriers and commits are answered
    /// by an error instead.
    fn is_kept(&mut self) -> bool {
        true
    }
}

impl<B: Backend> Backend for &mut B {
    type Cursor = B::Cursor;
    fn expect(&self, msg: &OfMessage) -> Option<Place> {
        (**self).expect(msg)
    }
    fn handle(
        &mut self,
        now: Instant,
        from: ConnId,
        msg: &OfMessage,
        place: Option<Place>,
        replies: &mut Vec<Message>,
    ) -> Result<(), OfpError> {
        (**self).handle(now, from, msg, place, replies)
    }
    fn handle_bundle(
        &mut self,
        now: Instant,
        from: ConnId,
        msgs: &Bundled,
        flags: BundleFlags,
    ) -> Result<(), (usize, OfpError)> {
        (**self).handle_bundle(now, from, msgs, flags)
    }
    fn check_dump(&self, request: &FlowStatsRequest) -> Result<(), OfpError> {
        (**self).check_dump(request)
    }
    fn dump_flows(
        &mut self,
        now: Instant,
        request: &FlowStatsRequest,
        cursor: &mut Self::Cursor,
        max: usize,
        out: &mut Vec<FlowStats>,
    ) -> bool {
        (**self).dump_flows(now, request, cursor, max, out)
    }
    fn take_unasked(&mut self) -> Vec<Unasked> {
        (**self).take_unasked()
    }
    fn publish(&mut self) -> u64 {
        (**self).publish()
    }
    fn synced(&mut self) -> u64 {
        (**self).synced()
    }
    fn is_kept(&mut self) -> bool {
        (**self).is_kept()
    }
}

/// Counters of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[allow(missing_docs)]
pub struct ConnStats {
    pub messages_in: u64,
    pub messages_out: u64,
    pub errors_sent: u64,
    pub packet_ins: u64,
    /// Above the connection's rate limit.
    pub packet_ins_limited: u64,
    /// The peer did not read fast enough.
    pub packet_ins_dropped: u64,
}

/// A connection as shown to people.
#[derive(Debug, Clone, serde::Serialize)]
#[allow(missing_docs)]
pub struct ConnInfo {
    pub id: ConnId,
    pub kind: ConnKind,
    pub name: String,
    pub state: &'static str,
    pub role: ControllerRole,
    pub connected_seconds: u64,
    pub stats: ConnStats,
}

struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        let ok = self.tokens >= 1.0;
        if ok {
            self.tokens -= 1.0;
        }
        ok
    }
}

/// Bytes of one bundle's messages, which count among those of all bundles of the bridge for as long as the bundle is there, however it ends.
struct BundleBytes {
    own: usize,
    of_all: Arc<AtomicUsize>,
}

impl BundleBytes {
    fn add(&mut self, n: usize) {
        self.own += n;
        self.of_all.fetch_add(n, Ordering::Relaxed);
    }
}

impl Drop for BundleBytes {
    fn drop(&mut self) {
        self.of_all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

struct Bundle {
    flags: BundleFlags,
    closed: bool,
    msgs: Bundled,
    bytes: BundleBytes,
    /// What opened it, its first 64 bytes, and when it was last spoken of.
    opener: Bytes,
    heard: Instant,
}

struct Monitor {
    request: FlowMonitorRequest,
    /// Nicira's form of messages rather than ONF's.
    nicira: bool,
}

/// What a connection waits for before its next request is looked at.
enum Wait<C> {
    Synced {
        version: u64,
        reply: OfMessage,
    },
    Dump {
        xid: Xid,
        request: FlowStatsRequest,
        cursor: C,
    },
    /// The flows a new monitor finds, or (`resumed`) one finds again that was told nothing for a while.
    Initial {
        xid: Xid,
        ids: Vec<u32>,
        cursor: C,
        resumed: bool,
    },
}

struct Conn<C> {
    options: ConnOptions,
    pipe: Pipe,
    rconn: Rconn,
    since: Instant,
    received: u64,
    sent: u64,
    /// When the peer last took something of what waits for it.
    taken: Instant,
    version: u8,
    role: ControllerRole,
    asynchronous: AsyncConfig,
    wants_async: bool,
    packet_in_format: PacketInFormat,
    controller_id: u16,
    limiter: Option<TokenBucket>,
    parts: Reassembler<RequestBody>,
    bundles: HashMap<u32, Bundle>,
    /// See [`Manager::bundled`].
    bundled_of_all: Arc<AtomicUsize>,
    monitors: BTreeMap<u32, Monitor>,
    monitors_paused: bool,
    wait: Option<Wait<C>>,
    doomed: Option<String>,
    next_xid: u32,
    stats: ConnStats,
    /// Copy of everything said, while somebody snoops.
    tap: Option<BytesMut>,
    /// The next message, if it was looked at already.
    next: Option<Frame>,
}

fn bit(mask: u32, reason: u8) -> bool {
    mask & 1u32.checked_shl(reason.into()).unwrap_or(0) != 0
}

/// Reasons a controller is told of unless it says otherwise.
fn default_async() -> AsyncConfig {
    let all_ports = 0b111;
    AsyncConfig {
        packet_in_mask: [0b011, 0],
        port_status_mask: [all_ports, all_ports],
        flow_removed_mask: [0b11_1111, 0],
    }
}

impl<C> Conn<C> {
    fn new(options: ConnOptions, pipe: Pipe, rconn: Rconn, bundled: Arc<AtomicUsize>, now: Instant) -> Self {
        let limiter = options.packet_in_rate.map(|(rate, burst)| TokenBucket {
            rate: rate.into(),
            burst: f64::from(burst.max(1)),
            tokens: f64::from(burst.max(1)),
            at: now,
        });
        Self {
            wants_async: options.kind == ConnKind::Controller,
            options,
            pipe,
            rconn,
            since: now,
            received: 0,
            sent: 0,
            taken: now,
            version: 0,
            role: ControllerRole::EQUAL,
            asynchronous: default_async(),
            packet_in_format: PacketInFormat::STANDARD,
            controller_id: 0,
            limiter,
            parts: Reassembler::new(1 << 20),
            bundles: HashMap::new(),
            bundled_of_all: bundled,
            monitors: BTreeMap::new(),
            monitors_paused: false,
            wait: None,
            doomed: None,
            next_xid: 1,
            stats: ConnStats::default(),
            tap: None,
            next: None,
        }
    }

    fn send(&mut self, msg: &OfMessage) {
        let sent = self.pipe.with_output(|out| {
            let before = out.len();
            msg.emit(out).ok()?;
            if let Some(tap) = &mut self.tap {
                tap.extend_from_slice(&out[before..]);
            }
            Some(())
        });
        match sent {
            Some(()) => self.stats.messages_out += 1,
            // Nothing we make is that long; if it is, say so rather than leave the peer waiting.
            None => {
                tracing::error!(conn = %self.options.name, kind = %msg.body.msg_type(), "reply too long, not sent")
            }
        }
    }
    fn reply(&mut self, xid: Xid, body: impl Into<Message>) {
        self.send(&OfMessage { version: OFP13_VERSION, xid, body: body.into() });
    }
    fn tell(&mut self, body: impl Into<Message>) {
        self.next_xid = self.next_xid.wrapping_add(1);
        let xid = Xid(self.next_xid);
        self.reply(xid, body);
    }
    fn refuse(&mut self, xid: Xid, error: OfpError, raw: &[u8]) {
        self.stats.errors_sent += 1;
        tracing::debug!(conn = %self.options.name, xid = xid.0, %error, "request refused");
        self.reply(xid, ErrorMsg::answer(error, raw));
    }
    fn doom(&mut self, why: impl Into<String>) {
        self.doomed.get_or_insert(why.into());
        self.pipe.hang_up();
    }
    fn is_slave(&self) -> bool {
        self.role == ControllerRole::SLAVE
    }
    fn async_index(&self) -> usize {
        usize::from(self.is_slave())
    }
    fn takes_async(&self) -> bool {
        self.rconn.is_active()
            && self.doomed.is_none()
            && self.wants_async
            && self.options.auxiliary_id == 0
            && self.options.kind != ConnKind::Snoop
    }
    fn is_behind(&self) -> bool {
        self.pipe.output_len() > OUTPUT_HIGH
    }
    /// Whether a whole message (or what can be none) waits to be handled.
    fn has_request(&self) -> bool {
        self.next.is_some()
            || self.pipe.with_input(|i| Header::peek(i).is_some_and(|h| usize::from(h.length) <= i.len()))
    }
    /// Takes what the peer does since this was called last as a sign of life. Half a message is none, and neither is what it leaves us to send.
    fn look_at_peer(&mut self, now: Instant) {
        let (received, sent) = (self.pipe.received(), self.pipe.sent());
        let waits = self.pipe.output_len() > 0;
        let takes = sent != self.sent;
        if takes || !waits {
            self.taken = now;
        }
        // It may have to wait for us.
        let late = !self.is_behind() && (self.wait.is_some() || self.has_request());
        if received != self.received || late || takes && waits {
            self.rconn.heard(now);
        }
        (self.received, self.sent) = (received, sent);
    }
    /// Why the peer is to be given up because of what waits for it, if it is.
    fn is_stuck(&self, now: Instant) -> bool {
        let waits = self.pipe.output_len();
        waits > OUTPUT_MOST || waits > OUTPUT_LIMIT && now.saturating_duration_since(self.taken) >= STALLED
    }
    fn end_idle_bundles(&mut self, now: Instant) {
        if self.bundles.is_empty() || self.is_behind() || self.has_request() {
            return;
        }
        let idle = |b: &Bundle| now.saturating_duration_since(b.heard) >= BUNDLE_IDLE;
        let ids: Vec<u32> = self.bundles.iter().filter(|(_, b)| idle(b)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(b) = self.bundles.remove(&id) {
                let xid = Header::peek(&b.opener).map_or(Xid(0), |h| h.xid);
                self.refuse(xid, OfpError::OFPBFC_TIMEOUT, &b.opener);
            }
        }
    }
    fn bundled(&self) -> usize {
        self.bundles.values().map(|b| b.bytes.own).sum()
    }
}

/// What a switch says and a controller never does.
fn is_said_by_switches(kind: MsgType) -> bool {
    matches!(
        kind,
        MsgType::FEATURES_REPLY
            | MsgType::GET_CONFIG_REPLY
            | MsgType::PACKET_IN
            | MsgType::FLOW_REMOVED
            | MsgType::PORT_STATUS
            | MsgType::MULTIPART_REPLY
            | MsgType::BARRIER_REPLY
            | MsgType::QUEUE_GET_CONFIG_REPLY
            | MsgType::ROLE_REPLY
            | MsgType::GET_ASYNC_REPLY
    )
}

/// Whether an entry with `found` is one of those that `wanted` means: each wanted field is there, and as narrow.
fn is_within(found: &Match, wanted: &Match) -> bool {
    wanted.known().all(|w| {
        found.get(w.field).is_some_and(|f| {
            let mask = w.full_mask();
            f.full_mask() & mask == mask && (f.value ^ w.value) & mask == 0
        })
    })
}

fn outputs_to(instructions: &[Instruction], port: PortNo) -> bool {
    let hit = |a: &Action| matches!(a, Action::Output { port: p, .. } if *p == port);
    instructions.iter().any(|i| match i {
        Instruction::ApplyActions(a) | Instruction::WriteActions(a) => a.iter().any(hit),
        _ => false,
    })
}

impl Monitor {
    fn wants(&self, update: &FlowUpdate) -> bool {
        let FlowUpdate::Full { event, table_id, matching, instructions, .. } = update else { return false };
        let flag = match *event {
            FlowUpdateEvent::ADDED => FlowMonitorFlags::ADD,
            FlowUpdateEvent::DELETED => FlowMonitorFlags::DELETE,
            FlowUpdateEvent::MODIFIED => FlowMonitorFlags::MODIFY,
            _ => return false,
        };
        self.request.flags.contains(flag)
            && (self.request.table_id == TableId::ALL || self.request.table_id == *table_id)
            && (self.request.out_port == PortNo::ANY || outputs_to(instructions, self.request.out_port))
            && is_within(matching, &self.request.matching)
    }
}

fn monitor_reply(nicira: bool, updates: Vec<FlowUpdate>, more: bool) -> MultipartReply {
    let flags = if more { MultipartFlags::MORE } else { MultipartFlags::empty() };
    let body = if nicira { ReplyBody::NxFlowMonitor(updates) } else { ReplyBody::FlowMonitor(updates) };
    MultipartReply { flags, body }
}

/// All connections of one bridge.
pub struct Manager<C> {
    conns: BTreeMap<ConnId, Conn<C>>,
    generation_id: Option<u64>,
    /// Where the next round of turns starts.
    turn: ConnId,
    frames: OfCodec,
    /// Who was handled last, and room to read into.
    last: ConnId,
    buf: Vec<u8>,
    /// Bytes of messages in open bundles of all connections.
    bundled: Arc<AtomicUsize>,
    /// Messages handled since the start.
    pub handled: u64,
}

impl<C: Default> Default for Manager<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Default> Manager<C> {
    /// No connections.
    pub fn new() -> Self {
        Self {
            conns: BTreeMap::new(),
            generation_id: None,
            turn: ConnId(0),
            frames: OfCodec::new(),
            last: ConnId(0),
            buf: vec![0; 64 * 1024],
            bundled: Arc::default(),
            handled: 0,
        }
    }

    /// A connection is open: says HELLO. `id` is the caller's to choose, once.
    pub fn open(&mut self, id: ConnId, options: ConnOptions, pipe: Pipe, now: Instant) {
        let rconn = Rconn::accepted(options.rconn, now);
        let versions: Vec<u8> = (1..32).filter(|v| options.versions & (1 << v) != 0).collect();
        let highest = versions.last().copied().unwrap_or(OFP13_VERSION);
        let mut conn = Conn::new(options, pipe, rconn, self.bundled.clone(), now);
        let hello = OfMessage { version: highest, xid: Xid(1), body: Hello::with_versions(&versions).into() };
        conn.send(&hello);
        // What a controller has agreed on with its main connection is so on this one too.
        if let Some(main) = conn.options.main.and_then(|m| self.conns.get(&m)) {
            conn.role = main.role;
            conn.asynchronous = main.asynchronous.clone();
        }
        self.conns.insert(id, conn);
        self.retap();
    }

    /// The connection is gone; what it left half done (bundles, parts) is forgotten.
    pub fn close(&mut self, id: ConnId) {
        self.conns.remove(&id);
        // "... the auxiliary connections are closed with the main connection" (1.3.5, "Auxiliary Connections").
        for c in self.conns.values_mut().filter(|c| c.options.main == Some(id)) {
            c.doom("the main connection is closed");
        }
        self.retap();
    }

    /// Connections to be closed by the caller, each with the reason: the peer went, or we want it gone.
    pub fn doomed(&mut self) -> Vec<(ConnId, String)> {
        let mut out = Vec::new();
        for (id, c) in &mut self.conns {
            match c.pipe.ended() {
                Some(why) if c.doomed.is_none() && c.wait.is_none() && !c.has_request() => c.doom(why),
                _ => {}
            }
            if let Some(why) = c.doomed.clone().filter(|_| c.pipe.closed().is_some()) {
                out.push((*id, why));
            } else if let Some(why) = c.pipe.closed() {
                out.push((*id, why));
            } else if c.doomed.is_some() && c.pipe.output_len() == 0 {
                out.push((*id, c.doomed.clone().unwrap_or_default()));
            }
        }
        out
    }

    /// Reads what whoever was handled last has sent since; whether that is anything. For a peer that waits for each answer.
    pub fn look(&mut self) -> bool {
        self.conns.get(&self.last).is_some_and(|c| c.pipe.look(&mut self.buf))
    }

    /// Sends what is to be sent. To be called after each round of work.
    pub fn flush(&self) {
        self.conns.values().for_each(|c| c.pipe.flush());
    }

    /// Whether there are as many connections as there may be.
    pub fn is_full(&self) -> bool {
        self.conns.len() >= MAX_CONNECTIONS
    }

    /// Whether both sides of a connection have said HELLO and agreed.
    pub fn is_up(&self, id: ConnId) -> bool {
        self.conns.get(&id).is_some_and(|c| c.rconn.is_active() && c.doomed.is_none())
    }

    /// Whether some controller's main connection is up.
    pub fn is_controlled(&self) -> bool {
        self.conns.values().any(|c| {
            c.options.kind == ConnKind::Controller && c.options.auxiliary_id == 0 && c.rconn.is_active()
        })
    }

    /// Drops all connections.
    pub fn hang_up_all(&mut self, why: &str) {
        for c in self.conns.values_mut() {
            c.doom(why);
        }
    }

    /// Drops the controllers' connections.
    pub fn hang_up_controllers(&mut self, why: &str) {
        for c in self.conns.values_mut().filter(|c| c.options.kind == ConnKind::Controller) {
            c.doom(why);
        }
    }

    /// Whether some connection waits for workers to obey a version.
    pub fn is_waiting_for_workers(&self) -> bool {
        self.conns.values().any(|c| matches!(c.wait, Some(Wait::Synced { .. })))
    }

    /// Whether anybody watches flow changes.
    pub fn is_monitored(&self) -> bool {
        self.conns.values().any(|c| !c.monitors.is_empty())
    }

    /// All connections, for people.
    pub fn list(&self, now: Instant) -> Vec<ConnInfo> {
        self.conns
            .iter()
            .map(|(id, c)| ConnInfo {
                id: *id,
                kind: c.options.kind,
                name: c.options.name.clone(),
                state: c.rconn.state_name(),
                role: c.role,
                connected_seconds: now.saturating_duration_since(c.since).as_secs(),
                stats: c.stats,
            })
            .collect()
    }

    fn retap(&mut self) {
        let snooped = self.conns.values().any(|c| c.options.kind == ConnKind::Snoop);
        for c in self.conns.values_mut() {
            if c.options.kind == ConnKind::Controller {
                if snooped {
                    c.tap.get_or_insert_with(BytesMut::new);
                } else {
                    c.tap = None;
                }
            }
        }
    }

    /// Probes, hello timeouts and the like; when to call again at the latest.
    pub fn timers(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        for c in self.conns.values_mut() {
            c.look_at_peer(now);
            c.end_idle_bundles(now);
            match c.rconn.run(now) {
                Some(Todo::Probe) => c.tell(Message::EchoRequest(Echo::default())),
                Some(Todo::Disconnect(why)) => {
                    c.doomed.get_or_insert(why.into());
                    c.pipe.close(why);
                }
                Some(Todo::Connect) | None => {}
            }
            if c.is_stuck(now) {
                let why = "the peer does not read what it is sent";
                c.doomed.get_or_insert(why.into());
                c.pipe.close(why);
            }
            next = [next, c.rconn.deadline()].into_iter().flatten().min();
        }
        next
    }

    /// Handles what has come in: up to `budget` messages, connections taking turns. True if there is more to do at once.
    pub fn process<B: Backend<Cursor = C>>(&mut self, backend: &mut B, now: Instant, budget: usize) -> bool {
        let mut left = budget;
        let mut more = true;
        while more && left > 0 {
            more = false;
            // Start behind whoever was last, so that a budget spent on one does not starve the next.
            let start = self.turn;
            let order: Vec<ConnId> = self
                .conns
                .range((std::ops::Bound::Excluded(start), std::ops::Bound::Unbounded))
                .chain(self.conns.range(..=start))
                .map(|(id, _)| *id)
                .collect();
            for id in order {
                let turn = TURN.min(left);
                let (done, ready) = self.turn(id, backend, now, turn);
                left = left.saturating_sub(done);
                self.handled += done as u64;
                more |= ready;
                self.turn = id;
                if left == 0 {
                    more = true;
                    break;
                }
            }
        }
        self.copy_to_snoopers();
        more
    }

    /// One connection's turn: how much was done, and whether it could go on.
    fn turn<B: Backend<Cursor = C>>(
        &mut self,
        id: ConnId,
        backend: &mut B,
        now: Instant,
        turn: usize,
    ) -> (usize, bool) {
        let mut done = 0;
        // Of `Conn::next`. It is kept no longer than this turn, since afterwards the tables may be others.
        let mut place = None;
        while done < turn {
            let Some(c) = self.conns.get_mut(&id) else { return (done, false) };
            if c.doomed.is_some() || c.is_behind() {
                return (done, false);
            }
            if c.wait.is_some() {
                if !c.continue_waiting(backend, now) {
                    return (done, false);
                }
                done += 1;
                continue;
            }
            if c.monitors_paused {
                c.resume_monitors();
                continue;
            }
            let mut read = || c.pipe.with_input(|input| self.frames.decode(input));
            let frame = match c.next.take().map_or_else(&mut read, |f| Ok(Some(f))) {
                Ok(Some(f)) => f,
                Ok(None) => return (done, false),
                Err(e) => {
                    c.doom(format!("framing lost: {e}"));
                    return (done, false);
                }
            };
            // A framing error is met again in its turn.
            c.next = read().ok().flatten();
            let expected = c.next.as_ref().and_then(|f| backend.expect(f.message.as_ref().ok()?));
            let here = std::mem::replace(&mut place, expected);
            if let Some(tap) = &mut c.tap {
                tap.extend_from_slice(&frame.raw);
            }
            c.stats.messages_in += 1;
            c.rconn.heard(now);
            done += 1;
            self.last = id;
            self.message(id, frame, here, backend, now);
        }
        (done, true)
    }

    fn copy_to_snoopers(&mut self) {
        let mut said = BytesMut::new();
        for c in self.conns.values_mut() {
            if let Some(tap) = &mut c.tap {
                said.extend_from_slice(&tap.split());
            }
        }
        if said.is_empty() {
            return;
        }
        for c in self.conns.values_mut() {
            if c.options.kind == ConnKind::Snoop && c.rconn.is_active() && !c.is_behind() {
                c.pipe.with_output(|out| out.extend_from_slice(&said));
            }
        }
    }

    fn message<B: Backend<Cursor = C>>(
        &mut self,
        id: ConnId,
        frame: Frame,
        place: Option<Place>,
        backend: &mut B,
        now: Instant,
    ) {
        let Frame { header, raw, message } = frame;
        let Some(c) = self.conns.get_mut(&id) else { return };
        if header.msg_type == MsgType::HELLO {
            if let (Ok(OfMessage { body: Message::Hello(h), .. }), 0) = (&message, c.version) {
                c.hello(header.xid, header.version, h, now);
            }
            return;
        }
        if c.version == 0 {
            if header.msg_type == MsgType::ERROR {
                c.doom("the peer refused our HELLO");
            } else {
                c.refuse(header.xid, OfpError::OFPBRC_BAD_VERSION, &raw);
                c.doom(format!("{} before HELLO", header.msg_type));
            }
            return;
        }
        let msg = match message {
            _ if header.version == c.version && is_said_by_switches(header.msg_type) => {
                c.refuse(header.xid, OfpError::OFPBRC_BAD_TYPE, &raw);
                return;
            }
            Ok(m) => m,
            Err(e) => {
                tracing::debug!(conn = %c.options.name, error = %e, "malformed message");
                if let (MsgType::MULTIPART_REQUEST, Some(&[hi, lo])) = (header.msg_type, raw.get(10..12)) {
                    c.parts.refuse(header.xid, MultipartFlags(u16::from_be_bytes([hi, lo])), e.code);
                }
                c.refuse(header.xid, e.code, &raw);
                return;
            }
        };
        if c.options.kind == ConnKind::Snoop {
            // A listener has no say; it only must not look dead.
            if let Message::EchoRequest(e) = msg.body {
                c.reply(msg.xid, Message::EchoReply(e));
            }
            return;
        }
        if let Err(e) = self.request(id, msg, &raw, place, backend, now) {
            if let Some(c) = self.conns.get_mut(&id) {
                c.refuse(header.xid, e, &raw);
            }
        }
    }

    fn request<B: Backend<Cursor = C>>(
        &mut self,
        id: ConnId,
        msg: OfMessage,
        raw: &[u8],
        place: Option<Place>,
        backend: &mut B,
        now: Instant,
    ) -> Result<(), OfpError> {
        let Some(c) = self.conns.get_mut(&id) else { return Ok(()) };
        let OfMessage { version, xid, body } = msg;
        match body {
            Message::EchoRequest(e) => c.reply(xid, Message::EchoReply(e)),
            Message::EchoReply(_) | Message::Hello(_) => {}
            Message::Error(e) => {
                tracing::info!(conn = %c.options.name, error = %e.error, "the peer sent an error")
            }
            Message::BarrierRequest => {
                let version = backend.publish();
                let reply = OfMessage::new(xid, Message::BarrierReply);
                c.wait = Some(Wait::Synced { version, reply });
            }
            Message::RoleRequest(r) => {
                let role = self.set_role(id, r.role, Some(r.generation_id))?;
                if let Some(c) = self.conns.get_mut(&id) {
                    c.reply(xid, Message::RoleReply(role));
                }
            }
            Message::Nicira(NxMessage::RoleRequest(role)) => {
                let role = self.set_role(id, role, None)?.role;
                if let Some(c) = self.conns.get_mut(&id) {
                    c.reply(xid, NxMessage::RoleReply(role));
                }
            }
            Message::GetAsyncRequest => {
                let config = c.asynchronous.clone();
                c.reply(xid, Message::GetAsyncReply(config));
            }
            Message::SetAsync(config) | Message::Nicira(NxMessage::SetAsyncConfig(config)) => {
                self.channel(id).for_each(|c| {
                    c.asynchronous = config.clone();
                    c.wants_async = true;
                });
            }
            Message::Nicira(NxMessage::SetPacketInFormat(format)) => {
                if format.0 > PacketInFormat::NXT_PACKET_IN2.0 {
                    return Err(OfpError::OFPBRC_EPERM);
                }
                self.channel(id).for_each(|c| c.packet_in_format = format);
            }
            Message::Nicira(NxMessage::SetControllerId(n)) => {
                self.channel(id).for_each(|c| c.controller_id = n);
            }
            Message::Nicira(NxMessage::SetFlowFormat(_) | NxMessage::FlowModTableId(_)) => {}
            Message::Nicira(NxMessage::FlowMonitorCancel(m)) | Message::FlowMonitorCancel(m) => {
                c.monitors.remove(&m).ok_or(OfpError { kind: 16, code: 3, experimenter: 0 })?;
            }
            Message::SetConfig(mut config) if !c.is_slave() => {
                let wants = config.miss_send_len != 0;
                // `ovs-ofctl monitor BRIDGE 65534` is what people type; from a controller it is OFPSCFC_BAD_LEN.
                if c.options.kind == ConnKind::Service && config.miss_send_len > OFPCML_MAX {
                    config.miss_send_len = OFPCML_NO_BUFFER;
                }
                let body = Message::SetConfig(config);
                let msg = OfMessage { version, xid, body };
                let wants_async = wants || c.options.kind == ConnKind::Controller;
                backend.handle(now, id, &msg, None, &mut Vec::new())?;
                c.wants_async = wants_async;
            }
            Message::FeaturesRequest => {
                let mut replies = Vec::new();
                backend.handle(now, id, &OfMessage { version, xid, body }, None, &mut replies)?;
                for mut r in replies {
                    if let Message::FeaturesReply(f) = &mut r {
                        f.auxiliary_id = c.options.auxiliary_id;
                    }
                    c.reply(xid, r);
                }
            }
            Message::BundleControl(control) => c.bundle_control(id, xid, control, raw, backend, now)?,
            Message::BundleAdd(add) => {
                if c.is_slave() {
                    return Err(OfpError::OFPBRC_IS_SLAVE);
                }
                c.bundle_add(xid, add, raw, now)?;
            }
            Message::MultipartRequest(part) => {
                if let Some(whole) = c.parts.push(xid, part.flags, part.body, raw.len())? {
                    c.multipart(id, xid, whole, backend, now)?;
                }
            }
            Message::PacketOut(_)
            | Message::FlowMod(_)
            | Message::GroupMod(_)
            | Message::PortMod(_)
            | Message::TableMod(_)
            | Message::MeterMod(_)
            | Message::SetConfig(_)
                if c.is_slave() =>
            {
                return Err(OfpError::OFPBRC_IS_SLAVE);
            }
            Message::Experimenter(e) => return Err(crate::handle::unknown_experimenter(e.experimenter)),
            Message::Nicira(_) | Message::FlowMonitorPaused | Message::FlowMonitorResumed => {
                return Err(OfpError::OFPBRC_BAD_EXP_TYPE)
            }
            body => {
                let mut replies = Vec::new();
                let msg = OfMessage { version, xid, body };
                backend.handle(now, id, &msg, place, &mut replies)?;
                for r in replies {
                    c.reply(xid, r);
                }
            }
        }
        Ok(())
    }

    /// `generation_id`: none in Nicira's request, which is never stale.
    fn set_role(
        &mut self,
        id: ConnId,
        role: ControllerRole,
        generation_id: Option<u64>,
    ) -> Result<Role, OfpError> {
        match role {
            ControllerRole::NOCHANGE => {}
            ControllerRole::EQUAL => self.channel(id).for_each(|c| c.role = role),
            ControllerRole::MASTER | ControllerRole::SLAVE => {
                if let (Some(known), Some(new)) = (self.generation_id, generation_id) {
                    // The distance is signed: ids wrap around.
                    if (new.wrapping_sub(known) as i64) < 0 {
                        return Err(OfpError::OFPRRFC_STALE);
                    }
                }
                self.generation_id = generation_id.or(self.generation_id);
                if role == ControllerRole::MASTER {
                    for c in self.conns.values_mut() {
                        if c.role == ControllerRole::MASTER {
                            c.role = ControllerRole::SLAVE;
                        }
                    }
                }
                self.channel(id).for_each(|c| c.role = role);
            }
            _ => return Err(OfpError::OFPRRFC_BAD_ROLE),
        }
        let role = self.conns.get(&id).map_or(ControllerRole::EQUAL, |c| c.role);
        Ok(Role { role, generation_id: self.generation_id.unwrap_or(u64::MAX) })
    }

    /// The main connection of the controller that has this connection, and its auxiliary ones: they share its role and its wishes.
    fn channel(&mut self, id: ConnId) -> impl Iterator<Item = &mut Conn<C>> {
        let main = self.conns.get(&id).and_then(|c| c.options.main).unwrap_or(id);
        let all = self.conns.iter_mut();
        all.filter(move |(id, c)| **id == main || c.options.main == Some(main)).map(|(_, c)| c)
    }

    /// Passes on what the bridge tells, to those who want it.
    pub fn event(&mut self, event: &Event, now: Instant) {
        match event {
            Event::PacketIn(p) => {
                for c in self.conns.values_mut() {
                    c.packet_in(p, now);
                }
            }
            Event::FlowRemoved(f) => {
                for c in self.conns.values_mut().filter(|c| c.takes_async()) {
                    if bit(c.asynchronous.flow_removed_mask[c.async_index()], f.reason.0) {
                        c.tell(f.clone());
                    }
                }
            }
            Event::PortStatus(p) => {
                for c in self.conns.values_mut().filter(|c| c.takes_async()) {
                    if bit(c.asynchronous.port_status_mask[c.async_index()], p.reason.0) {
                        c.tell(p.clone());
                    }
                }
            }
            Event::FlowChange { from, xid, update } => {
                for (id, c) in &mut self.conns {
                    c.flow_change(*from == Some(*id), *xid, update);
                }
            }
        }
        self.copy_to_snoopers();
    }
}

impl<C: Default> Conn<C> {
    fn hello(&mut self, xid: Xid, version: u8, hello: &Hello, now: Instant) {
        match negotiate(self.options.versions, version, hello.bitmap()) {
            Ok(v) => {
                self.version = v;
                self.rconn.greeted(now);
                tracing::debug!(conn = %self.options.name, version = v, "connected");
            }
            Err(why) => {
                // In a version that the peer can read, if it is an older one.
                let version = version.clamp(1, OFP13_VERSION);
                let error = ErrorMsg { error: OfpError::OFPHFC_INCOMPATIBLE, data: why.clone().into() };
                self.send(&OfMessage { version, xid, body: error.into() });
                self.doom(format!("no common version: {why}"));
            }
        }
    }

    /// The answer to a barrier or a commit that has been carried out, when it cannot be promised to outlive the process.
    fn not_kept(&mut self, reply: OfMessage) {
        let (error, request) = match reply.body {
            Message::BundleControl(c) => {
                let kind = BundleCtrlType::COMMIT_REQUEST;
                (OfpError::OFPBFC_UNKNOWN, Message::BundleControl(BundleControl { kind, ..c }))
            }
            _ => (OfpError::OFPFMFC_UNKNOWN, Message::BarrierRequest),
        };
        let raw = OfMessage { body: request, ..reply }.to_bytes().unwrap_or_default();
        self.refuse(reply.xid, error, &raw);
    }

    /// Goes on with what the connection waits for. False if it must wait longer.
    fn continue_waiting<B: Backend<Cursor = C>>(&mut self, backend: &mut B, now: Instant) -> bool {
        match self.wait.take() {
            None => true,
            Some(Wait::Synced { version, reply }) => {
                if backend.synced() < version {
                    self.wait = Some(Wait::Synced { version, reply });
                    return false;
                }
                if backend.is_kept() {
                    self.send(&reply);
                } else {
                    self.not_kept(reply);
                }
                true
            }
            Some(Wait::Dump { xid, request, mut cursor }) => {
                let mut flows = Vec::new();
                let more = backend.dump_flows(now, &request, &mut cursor, DUMP_SLICE, &mut flows);
                let flags = if more { MultipartFlags::MORE } else { MultipartFlags::empty() };
                if !more || !flows.is_empty() {
                    self.reply(xid, MultipartReply { flags, body: ReplyBody::Flow(flows) });
                }
                if more {
                    self.wait = Some(Wait::Dump { xid, request, cursor });
                }
                true
            }
            Some(Wait::Initial { xid, ids, mut cursor, resumed }) => {
                let mut flows = Vec::new();
                let all = FlowStatsRequest::default();
                let more = backend.dump_flows(now, &all, &mut cursor, DUMP_SLICE, &mut flows);
                let mut updates = Vec::new();
                let mut nicira = false;
                for f in flows {
                    let update = FlowUpdate::Full {
                        event: FlowUpdateEvent::ADDED,
                        reason: Default::default(),
                        priority: f.priority,
                        idle_timeout: f.idle_timeout,
                        hard_timeout: f.hard_timeout,
                        table_id: f.table_id,
                        cookie: f.cookie,
                        matching: f.matching,
                        instructions: f.instructions,
                    };
                    let mut wanted = false;
                    let mut with_actions = false;
                    for m in ids.iter().filter_map(|i| self.monitors.get(i)) {
                        nicira = m.nicira;
                        let as_added = Monitor {
                            request: FlowMonitorRequest {
                                flags: m.request.flags | FlowMonitorFlags::ADD,
                                ..m.request.clone()
                            },
                            nicira,
                        };
                        let asked = resumed || m.request.flags.contains(FlowMonitorFlags::INITIAL);
                        if asked && as_added.wants(&update) {
                            wanted = true;
                            with_actions |= m.request.flags.contains(FlowMonitorFlags::ACTIONS);
                        }
                    }
                    if wanted {
                        updates.push(if with_actions { update } else { without_actions(update) });
                    }
                }
                if let Some(m) = ids.first().and_then(|i| self.monitors.get(i)) {
                    nicira = m.nicira;
                }
                // Of a resumed monitor these are updates as any others, no answer.
                if !more && !resumed || !updates.is_empty() {
                    self.reply(xid, monitor_reply(nicira, updates, more && !resumed));
                }
                if more {
                    self.wait = Some(Wait::Initial { xid, ids, cursor, resumed });
                } else if resumed && !self.monitors_paused {
                    self.tell(if nicira {
                        Message::Nicira(NxMessage::FlowMonitorResumed)
                    } else {
                        Message::FlowMonitorResumed
                    });
                }
                true
            }
        }
    }

    fn multipart<B: Backend<Cursor = C>>(
        &mut self,
        id: ConnId,
        xid: Xid,
        body: RequestBody,
        backend: &mut B,
        now: Instant,
    ) -> Result<(), OfpError> {
        match body {
            RequestBody::Flow(request) => {
                backend.check_dump(&request)?;
                self.wait = Some(Wait::Dump { xid, request, cursor: C::default() });
            }
            RequestBody::FlowMonitor(m) => self.add_monitors(xid, m, false)?,
            RequestBody::NxFlowMonitor(m) => self.add_monitors(xid, m, true)?,
            RequestBody::TableFeatures(ref t) if !t.is_empty() && self.is_slave() => {
                return Err(OfpError::OFPBRC_IS_SLAVE);
            }
            body => {
                let request = openflow::msg::MultipartRequest { flags: MultipartFlags::empty(), body };
                let mut replies = Vec::new();
                backend.handle(now, id, &OfMessage::new(xid, request), None, &mut replies)?;
                for r in replies {
                    self.reply(xid, r);
                }
            }
        }
        Ok(())
    }

    fn add_monitors(
        &mut self,
        xid: Xid,
        requests: Vec<FlowMonitorRequest>,
        nicira: bool,
    ) -> Result<(), OfpError> {
        // ONF's numbers for flow monitor errors, as 1.4 has them.
        let failed = |code| OfpError { kind: 16, code, experimenter: 0 };
        if self.monitors.len() + requests.len() > MAX_MONITORS {
            return Err(failed(0));
        }
        let mut ids: Vec<u32> = Vec::new();
        for r in &requests {
            if self.monitors.contains_key(&r.id) || ids.contains(&r.id) {
                return Err(failed(1));
            }
            ids.push(r.id);
        }
        for request in requests {
            self.monitors.insert(request.id, Monitor { request, nicira });
        }
        self.wait = Some(Wait::Initial { xid, ids, cursor: C::default(), resumed: false });
        Ok(())
    }

    /// Monitors that were told nothing while the peer did not read are told what there is now, and from now on every change again.
    fn resume_monitors(&mut self) {
        self.monitors_paused = false;
        let ids = self.monitors.keys().copied().collect();
        self.wait = Some(Wait::Initial { xid: Xid(0), ids, cursor: C::default(), resumed: true });
    }

    fn flow_change(&mut self, own: bool, xid: Xid, update: &FlowUpdate) {
        let wanted: Vec<&Monitor> = self.monitors.values().filter(|m| m.wants(update)).collect();
        let Some(first) = wanted.first() else { return };
        let nicira = first.nicira;
        let deleted = matches!(update, FlowUpdate::Full { event: FlowUpdateEvent::DELETED, .. });
        let own_wanted = wanted.iter().any(|m| m.request.flags.contains(FlowMonitorFlags::OWN));
        let actions = wanted.iter().any(|m| m.request.flags.contains(FlowMonitorFlags::ACTIONS));
        if self.monitors_paused && !deleted {
            return;
        }
        if !self.monitors_paused && self.is_behind() {
            self.monitors_paused = true;
            // It has not heard yet that the last pause is over, if one is about to be.
            if !matches!(self.wait, Some(Wait::Initial { resumed: true, .. })) {
                self.tell(if nicira {
                    Message::Nicira(NxMessage::FlowMonitorPaused)
                } else {
                    Message::FlowMonitorPaused
                });
            }
            if !deleted {
                return;
            }
        }
        let update = if own && !own_wanted {
            FlowUpdate::Abbrev { xid }
        } else if actions {
            update.clone()
        } else {
            without_actions(update.clone())
        };
        // The answer to no request: xid 0, as the specification of flow monitors says.
        self.reply(Xid(0), monitor_reply(nicira, vec![update], false));
    }

    fn packet_in(&mut self, p: &PacketInEvent, now: Instant) {
        if !self.takes_async() || self.controller_id != p.controller_id {
            return;
        }
        // 1.3 has no reasons beyond INVALID_TTL.
        let reason =
            if p.reason.0 > PacketInReason::INVALID_TTL.0 { PacketInReason::ACTION } else { p.reason };
        if !bit(self.asynchronous.packet_in_mask[self.async_index()], reason.0) {
            return;
        }
        if let Some(l) = &mut self.limiter {
            if !l.take(now) {
                self.stats.packet_ins_limited += 1;
                return;
            }
        }
        if self.pipe.output_len() > PACKET_IN_HIGH {
            self.stats.packet_ins_dropped += 1;
            return;
        }
        let keep = if p.max_len == 0xffff { p.frame.len() } else { p.frame.len().min(p.max_len.into()) };
        // A packet-in is one message: header, match and packet fit 64 KiB.
        let keep = keep.min(0xffff - 512);
        let data = p.frame.slice(..keep);
        let total_len = p.frame.len().min(0xffff) as u16;
        self.stats.packet_ins += 1;
        match self.packet_in_format {
            PacketInFormat::NXT_PACKET_IN => self.tell(NxMessage::PacketIn(NxPacketIn {
                buffer_id: p.buffer_id,
                total_len,
                reason,
                table_id: p.table_id,
                cookie: p.cookie,
                matching: p.metadata.clone(),
                data,
            })),
            PacketInFormat::NXT_PACKET_IN2 => {
                let mut properties = vec![NxPacketInProp::Packet(data)];
                if keep < p.frame.len() {
                    properties.push(NxPacketInProp::FullLen(p.frame.len() as u32));
                }
                if p.buffer_id != OFP_NO_BUFFER {
                    properties.push(NxPacketInProp::BufferId(p.buffer_id));
                }
                properties.push(NxPacketInProp::TableId(p.table_id));
                properties.push(NxPacketInProp::Cookie(p.cookie));
                properties.push(NxPacketInProp::Reason(p.reason));
                properties.push(NxPacketInProp::Metadata(p.metadata.clone()));
                if !p.userdata.is_empty() {
                    properties.push(NxPacketInProp::Userdata(p.userdata.clone().into()));
                }
                self.tell(NxMessage::PacketIn2(NxPacketIn2 { properties }));
            }
            _ => self.tell(PacketIn {
                buffer_id: p.buffer_id,
                total_len,
                reason,
                table_id: p.table_id,
                cookie: p.cookie,
                matching: p.metadata.clone(),
                data,
            }),
        }
    }

    fn bundle_control<B: Backend<Cursor = C>>(
        &mut self,
        id: ConnId,
        xid: Xid,
        control: BundleControl,
        raw: &[u8],
        backend: &mut B,
        now: Instant,
    ) -> Result<(), OfpError> {
        let BundleControl { bundle_id, kind, flags, .. } = control;
        if self.is_slave() {
            return Err(OfpError::OFPBRC_IS_SLAVE);
        }
        let done = |kind| BundleControl { bundle_id, kind, flags, properties: Vec::new() };
        if flags.0 & !BUNDLE_FLAGS != 0 {
            return Err(OfpError::OFPBFC_BAD_FLAGS);
        }
        match kind {
            BundleCtrlType::OPEN_REQUEST => {
                if self.bundles.remove(&bundle_id).is_some() {
                    return Err(OfpError::OFPBFC_BAD_ID);
                }
                self.bundle_open(bundle_id, flags, raw, now)?;
                self.reply(xid, done(BundleCtrlType::OPEN_REPLY));
            }
            BundleCtrlType::CLOSE_REQUEST => {
                let b = self.bundles.get_mut(&bundle_id).ok_or(OfpError::OFPBFC_BAD_ID)?;
                let fault = if b.closed {
                    Some(OfpError::OFPBFC_BUNDLE_CLOSED)
                } else if b.flags != flags {
                    Some(OfpError::OFPBFC_BAD_FLAGS)
                } else {
                    None
                };
                if let Some(e) = fault {
                    self.bundles.remove(&bundle_id);
                    return Err(e);
                }
                b.closed = true;
                b.heard = now;
                self.reply(xid, done(BundleCtrlType::CLOSE_REPLY));
            }
            BundleCtrlType::COMMIT_REQUEST => {
                let b = self.bundles.remove(&bundle_id).ok_or(OfpError::OFPBFC_BAD_ID)?;
                if b.flags != flags {
                    return Err(OfpError::OFPBFC_BAD_FLAGS);
                }
                if !backend.is_kept() {
                    // Better refused whole than done and not promised.
                    return Err(OfpError::OFPBFC_UNKNOWN);
                }
                match backend.handle_bundle(now, id, &b.msgs, flags) {
                    Ok(()) => {
                        let version = backend.publish();
                        let reply = OfMessage::new(xid, done(BundleCtrlType::COMMIT_REPLY));
                        self.wait = Some(Wait::Synced { version, reply });
                    }
                    Err((index, error)) => {
                        if let Some((raw, h)) =
                            b.msgs.raw().nth(index).and_then(|m| Some((m, Header::peek(m)?)))
                        {
                            self.refuse(h.xid, error, raw);
                        }
                        return Err(OfpError::OFPBFC_MSG_FAILED);
                    }
                }
            }
            BundleCtrlType::DISCARD_REQUEST => {
                self.bundles.remove(&bundle_id).ok_or(OfpError::OFPBFC_BAD_ID)?;
                self.reply(xid, done(BundleCtrlType::DISCARD_REPLY));
            }
            _ => return Err(OfpError::OFPBFC_BAD_TYPE),
        }
        Ok(())
    }

    fn bundle_open(
        &mut self,
        bundle_id: u32,
        flags: BundleFlags,
        raw: &[u8],
        now: Instant,
    ) -> Result<(), OfpError> {
        if self.bundles.len() >= MAX_BUNDLES {
            return Err(OfpError::OFPBFC_OUT_OF_BUNDLES);
        }
        let opener = Bytes::copy_from_slice(&raw[..raw.len().min(64)]);
        let msgs = Bundled::default();
        let bytes = BundleBytes { own: 0, of_all: self.bundled_of_all.clone() };
        self.bundles.insert(bundle_id, Bundle { flags, closed: false, msgs, bytes, opener, heard: now });
        Ok(())
    }

    fn bundle_add(
        &mut self,
        xid: Xid,
        add: openflow::msg::BundleAdd,
        raw: &[u8],
        now: Instant,
    ) -> Result<(), OfpError> {
        let openflow::msg::BundleAdd { bundle_id, flags, message, .. } = add;
        if flags.0 & !BUNDLE_FLAGS != 0 {
            return Err(OfpError::OFPBFC_BAD_FLAGS);
        }
        match self.bundles.get(&bundle_id) {
            Some(b) if b.closed => return Err(OfpError::OFPBFC_BUNDLE_CLOSED),
            Some(b) if b.flags != flags => return Err(OfpError::OFPBFC_BAD_FLAGS),
            _ => {}
        }
        if message.xid != xid {
            return Err(OfpError::OFPBFC_MSG_BAD_XID);
        }
        match message.body {
            Message::FlowMod(_)
            | Message::GroupMod(_)
            | Message::MeterMod(_)
            | Message::PortMod(_)
            | Message::PacketOut(_) => {}
            _ => return Err(OfpError::OFPBFC_MSG_UNSUP),
        }
        let of_all = self.bundled_of_all.load(Ordering::Relaxed);
        if self.bundled() + raw.len() > MAX_BUNDLE_BYTES || of_all + raw.len() > MAX_BUNDLE_BYTES_OF_ALL {
            return Err(OfpError::OFPBFC_MSG_TOO_MANY);
        }
        // The message stands behind the headers, to the end but for padding and properties.
        let inner = raw.get(BUNDLE_ADD_HEAD..).unwrap_or_default();
        let len = Header::peek(inner).map_or(0, |h| h.length.into());
        let inner = inner.get(..len).ok_or(OfpError::OFPBFC_MSG_BAD_LEN)?;
        if !self.bundles.contains_key(&bundle_id) {
            // A bundle may be opened by its first message.
            self.bundle_open(bundle_id, flags, raw, now)?;
        }
        if let Some(b) = self.bundles.get_mut(&bundle_id) {
            b.bytes.add(raw.len());
            b.heard = now;
            b.msgs.push(inner);
        }
        Ok(())
    }
}

fn without_actions(update: FlowUpdate) -> FlowUpdate {
    match update {
        FlowUpdate::Full {
            event,
            reason,
            priority,
            idle_timeout,
            hard_timeout,
            table_id,
            cookie,
            matching,
            ..
        } => FlowUpdate::Full {
            event,
            reason,
            priority,
            idle_timeout,
            hard_timeout,
            table_id,
            cookie,
            matching,
            instructions: Default::default(),
        },
        other => other,
    }
}

/// How long the caller may sleep at most between calls of [`Manager::timers`] while connections exist: keeps
/// [`Rconn`]'s idea of who was heard fresh.
pub const TIMER_GRAIN: Duration = Duration::from_millis(500);

#[cfg(test)]
#[path = "manager_tests.rs"]
mod tests;
