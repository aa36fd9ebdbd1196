//! The connections of a bridge under any order of messages, events and time: controllers, a management client and a listener.
//!
//! Held: nothing panics; what is sent can be read; each echo and barrier is answered once and in order; no bytes pile up beyond the pipe's
//! limit; a slave gets no packet-ins and a listener has no say.
#![no_main]
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ofproto::conn::manager::TURN;
use ofproto::conn::pipe::{OUTPUT_HIGH, OUTPUT_LIMIT};
use ofproto::conn::remembering::Remembering;
use ofproto::conn::{ConnId, ConnKind, ConnOptions, Event, Manager, PacketInEvent, Pipe};
use openflow::arbitrary::all_messages;
use openflow::codec::OfCodec;
use openflow::field::Field;
use openflow::msg::multipart::{FlowUpdate, FlowUpdateEvent};
use openflow::msg::*;
use openflow::{Match, OfMessage, TableId, Xid};
use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tokio_util::codec::Decoder;

static SAMPLES: LazyLock<Vec<Bytes>> =
    LazyLock::new(|| all_messages().iter().map(|m| m.to_bytes().expect("a sample fits")).collect());

/// Some cookies are refused; workers obey when the test says so. A dump is as long as the tables: they stay small, so that a request asks
/// for little.
fn tables() -> Remembering {
    Remembering { lag: true, most: 300, refuse: |f| f.cookie & 7 == 6, ..Remembering::default() }
}

/// A peer, as the test knows it.
struct Peer {
    id: ConnId,
    kind: ConnKind,
    pipe: Pipe,
    /// Echoes and barriers that were asked and not yet answered.
    asked: VecDeque<(bool, u32)>,
}

const KINDS: [ConnKind; 4] = [ConnKind::Controller, ConnKind::Controller, ConnKind::Service, ConnKind::Snoop];

struct Life {
    manager: Manager<u64>,
    tables: Remembering,
    peers: Vec<Peer>,
    now: Instant,
    next_id: u64,
    handled: usize,
    /// Flow-mods fed, and bytes that the dumps asked for may have.
    flows: usize,
    dumped: usize,
}

impl Life {
    fn new() -> Self {
        let mut l = Self {
            manager: Manager::new(),
            tables: tables(),
            peers: Vec::new(),
            now: Instant::now(),
            next_id: 0,
            handled: 0,
            flows: 0,
            dumped: 0,
        };
        for kind in KINDS {
            let p = l.open(kind);
            l.peers.push(p);
        }
        l
    }
    fn open(&mut self, kind: ConnKind) -> Peer {
        let (id, pipe) = (ConnId(self.next_id), Pipe::new());
        self.next_id += 1;
        self.handled += 64;
        let mut options = ConnOptions::new(kind, "peer");
        if id.0 & 1 == 1 {
            options.packet_in_rate = Some((10, 3));
        }
        self.manager.open(id, options, pipe.clone(), self.now);
        Peer { id, kind, pipe, asked: VecDeque::new() }
    }
    fn feed(&mut self, i: usize, bytes: &[u8]) {
        match bytes.get(1) {
            // FLOW_MOD, or one in a bundle.
            Some(14 | 4) => self.flows += 1,
            // MULTIPART_REQUEST: a dump says each flow that there may be by then. A long input of flow-mods and dumps by turns would dump for half a minute.
            Some(18) if self.dumped > DUMPED => return,
            Some(18) => {
                self.dumped += 64 * self.flows;
                self.handled += 64 * self.flows;
            }
            _ => {}
        }
        self.handled += bytes.len() + 64;
        let p = &mut self.peers[i];
        p.pipe.feed(bytes);
        // Only whole messages are fed, so that the test knows what is asked.
        match OfMessage::parse(bytes) {
            Ok(OfMessage { xid, body: Message::EchoRequest(_), .. }) => p.asked.push_back((false, xid.0)),
            Ok(OfMessage { xid, body: Message::BarrierRequest, .. }) if p.kind != ConnKind::Snoop => {
                p.asked.push_back((true, xid.0))
            }
            _ => {}
        }
    }
    fn drop_doomed(&mut self) {
        for (id, _) in self.manager.doomed() {
            self.manager.close(id);
            if let Some(i) = self.peers.iter().position(|p| p.id == id) {
                let new = self.open(self.peers[i].kind);
                self.peers[i] = new;
            }
        }
    }
    /// Handles what there is until a peer has to read first, and looks at what is said; whether anything was.
    fn run(&mut self, budget: usize) -> bool {
        let mut spoke = false;
        for _ in 0..64 {
            if !self.manager.process(&mut self.tables, self.now, budget) {
                break;
            }
        }
        self.drop_doomed();
        for p in &mut self.peers {
            assert!(p.pipe.output_len() < OUTPUT_LIMIT + OUTPUT_HIGH);
            let mut codec = OfCodec::new();
            let mut said = Vec::new();
            p.pipe.with_output(|b| {
                while let Some(f) = codec.decode(b).expect("we never lose framing") {
                    said.push(f);
                }
                assert!(b.is_empty(), "half a message is said");
            });
            spoke |= !said.is_empty();
            if p.kind == ConnKind::Snoop {
                continue; // It hears what others say, too.
            }
            for f in said {
                let m =
                    f.message.unwrap_or_else(|e| panic!("we said what cannot be read: {e}\n{:02x?}", f.raw));
                let answer = match m.body {
                    Message::EchoReply(_) => (false, m.xid.0),
                    Message::BarrierReply => (true, m.xid.0),
                    _ => continue,
                };
                // Before HELLO is through, requests are refused: those are answered by errors.
                assert!(p.asked.contains(&answer), "{answer:?} was not asked, or is answered twice");
                while p.asked.pop_front() != Some(answer) {}
            }
        }
        spoke
    }
}

/// Bytes after which nothing more is dumped.
const DUMPED: usize = 8 << 20;

fn life(ops: &[u8]) -> usize {
    let mut l = Life::new();
    let mut r = ops;
    let take = |r: &mut &[u8], n: usize| -> Vec<u8> {
        let n = n.min(r.len());
        let (a, b) = r.split_at(n);
        *r = b;
        a.to_vec()
    };
    let mut xid = 0x100u32;
    while let [op, arg, rest @ ..] = r {
        let (op, arg) = (*op, *arg);
        r = rest;
        let i = usize::from(op >> 6);
        xid += 1;
        l.handled += 128; // Each operation is some work, whatever it hands over.
        let say = |l: &mut Life, body: Message| {
            let b = OfMessage::new(xid, body).to_bytes().expect("fits");
            l.feed(i, &b);
        };
        match op & 0x1f {
            0 => say(&mut l, Hello::with_versions(&[1, 4]).into()),
            1 => l.feed(i, &SAMPLES[usize::from(arg) * 2 % SAMPLES.len()].clone()),
            2 => l.feed(i, &SAMPLES[(usize::from(arg) * 2 + 1) % SAMPLES.len()].clone()),
            // A message of any type with bytes from the input.
            3 | 4 => {
                let body = take(&mut r, usize::from(arg >> 5) * 8);
                let len = (8 + body.len()) as u16;
                let head = [&[4, arg & 0x1f][..], &len.to_be_bytes(), &xid.to_be_bytes()].concat();
                l.feed(i, &[&head[..], &body].concat());
            }
            5 => say(&mut l, Message::BarrierRequest),
            6 => say(&mut l, Message::EchoRequest(Echo { data: vec![arg; usize::from(arg & 15)].into() })),
            7 => say(
                &mut l,
                Message::RoleRequest(Role {
                    role: ControllerRole(u32::from(arg & 3)),
                    generation_id: u64::from(arg >> 2) << 58,
                }),
            ),
            8..=10 => say(
                &mut l,
                BundleControl {
                    bundle_id: u32::from(arg & 3),
                    kind: BundleCtrlType(u16::from(arg >> 2 & 7)),
                    flags: BundleFlags(u16::from(arg >> 5)),
                    properties: vec![],
                }
                .into(),
            ),
            11 => say(
                &mut l,
                BundleAdd {
                    bundle_id: u32::from(arg & 3),
                    flags: BundleFlags(u16::from(arg >> 5)),
                    message: Box::new(OfMessage::new(
                        xid,
                        FlowMod { cookie: u64::from(arg >> 2 & 7), ..Default::default() },
                    )),
                    properties: vec![],
                }
                .into(),
            ),
            12 => say(&mut l, FlowMod { cookie: u64::from(arg), ..Default::default() }.into()),
            13 => say(&mut l, MultipartRequest::new(RequestBody::Flow(Default::default())).into()),
            14 => say(
                &mut l,
                Message::SetAsync(AsyncConfig {
                    packet_in_mask: [u32::from(arg & 7), u32::from(arg >> 5)],
                    port_status_mask: [u32::from(arg & 7); 2],
                    flow_removed_mask: [u32::from(arg); 2],
                }),
            ),
            15 => {
                say(&mut l, Message::Nicira(NxMessage::SetPacketInFormat(PacketInFormat(u32::from(arg & 3)))))
            }
            16 => {
                l.handled += 4000;
                let event = Event::PacketIn(PacketInEvent {
                    controller_id: 0,
                    reason: PacketInReason(arg & 7),
                    table_id: TableId(arg),
                    cookie: u64::MAX,
                    metadata: Match::new().with(Field::InPort, 1),
                    frame: vec![arg; 60 + usize::from(arg)].into(),
                    max_len: if arg & 1 == 1 { 0xffff } else { 128 },
                    userdata: vec![arg; usize::from(arg & 31)],
                    buffer_id: if arg & 2 == 2 { u32::MAX } else { u32::from(arg) },
                });
                l.manager.event(&event, l.now);
            }
            17 => {
                l.handled += 1000;
                let event =
                    Event::FlowRemoved(FlowRemoved { reason: FlowRemovedReason(arg), ..Default::default() });
                l.manager.event(&event, l.now);
            }
            18 => {
                l.handled += 1000;
                let event =
                    Event::PortStatus(PortStatus { reason: PortReason(arg), port: Default::default() });
                l.manager.event(&event, l.now);
            }
            19 | 20 => {
                l.handled += 1000;
                let event = Event::FlowChange {
                    from: Some(l.peers[usize::from(arg & 3)].id),
                    xid: Xid(xid),
                    update: FlowUpdate::Full {
                        event: FlowUpdateEvent(u16::from(arg >> 2 & 3)),
                        reason: FlowRemovedReason(0),
                        priority: 1,
                        idle_timeout: 0,
                        hard_timeout: 0,
                        table_id: TableId(arg >> 4),
                        cookie: 1,
                        matching: Match::new(),
                        instructions: Default::default(),
                    },
                };
                l.manager.event(&event, l.now);
            }
            21 => {
                l.now += Duration::from_millis(u64::from(arg) * 40);
                let _ = l.manager.timers(l.now);
                // Those that were silent too long are dropped; then there is something to wait for.
                l.drop_doomed();
                let next = l.manager.timers(l.now);
                assert!(next.is_none_or(|n| n > l.now), "it wants to be called again at once, for ever");
            }
            22 => l.tables.synced = l.tables.version,
            23 => {
                l.run(1 + usize::from(arg) % (2 * TURN));
            }
            24 => {
                l.peers[i].pipe.close("the peer went");
                l.run(TURN);
            }
            25 => {
                // A monitor of flows, ONF's or Nicira's.
                let m = openflow::msg::multipart::FlowMonitorRequest {
                    id: u32::from(arg & 3),
                    flags: openflow::msg::multipart::FlowMonitorFlags(u16::from(arg >> 2)),
                    out_port: openflow::PortNo::ANY,
                    table_id: TableId::ALL,
                    matching: Match::new(),
                };
                let body = if arg & 1 == 0 {
                    RequestBody::FlowMonitor(vec![m])
                } else {
                    RequestBody::NxFlowMonitor(vec![m])
                };
                say(&mut l, MultipartRequest::new(body).into());
            }
            26 => say(&mut l, Message::FlowMonitorCancel(u32::from(arg & 3))),
            _ => {
                l.run(1000);
            }
        }
    }
    // Once workers obey and everything is handled, nothing stays unanswered.
    l.tables.lag = false;
    l.tables.synced = l.tables.version;
    let unread = |l: &Life| l.peers.iter().map(|p| p.pipe.input_len()).sum::<usize>();
    let mut before = usize::MAX;
    while l.run(100_000) || unread(&l) < before {
        before = unread(&l);
    }
    for p in &l.peers {
        let gone = p.pipe.closed().is_some() || p.pipe.hanging_up();
        assert!(gone || p.pipe.input_len() == 0, "requests are left lying");
    }
    l.handled + ops.len()
}

fuzz_target!(|ops: &[u8]| {
    LazyLock::force(&SAMPLES); // It is not the input's.
    fuzz::linear_in(ops, fuzz::HELD, life)
});
