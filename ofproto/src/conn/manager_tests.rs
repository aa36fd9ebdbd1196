//! What connections promise, with tables that only remember.

use super::super::remembering::Remembering;
use super::*;
use openflow::msg::multipart::flow_monitor::FlowMonitorFlags;
use openflow::msg::ConfigFlags;
use openflow::msg::{BundleAdd, FlowMod, FlowRemovedReason, PortReason, SwitchConfig};
use openflow::port::Port;

/// Cookie 666 is refused.
fn tables() -> Remembering {
    Remembering { refuse: |f| f.cookie == 666, ..Remembering::default() }
}

/// A manager with clients that have said HELLO.
struct Net {
    manager: Manager<u64>,
    tables: Remembering,
    pipes: Vec<Pipe>,
    now: Instant,
}

impl Net {
    fn new(kinds: &[ConnKind]) -> Self {
        let now = Instant::now();
        let mut net = Self { manager: Manager::new(), tables: tables(), pipes: Vec::new(), now };
        for k in kinds {
            net.open(ConnOptions::new(*k, "test"));
        }
        net
    }
    fn open(&mut self, options: ConnOptions) -> usize {
        let i = self.pipes.len();
        let pipe = Pipe::new();
        self.manager.open(ConnId(i as u64), options, pipe.clone(), self.now);
        self.pipes.push(pipe);
        self.say(i, 1, Hello::with_versions(&[4]));
        self.go();
        assert!(matches!(self.hear(i)[..], [OfMessage { body: Message::Hello(_), version: 4, .. }]));
        i
    }
    fn say(&self, i: usize, xid: u32, body: impl Into<Message>) {
        self.pipes[i].feed(&OfMessage::new(xid, body).to_bytes().unwrap());
    }
    fn go(&mut self) {
        while self.manager.process(&mut self.tables, self.now, 1000) {
            if self.pipes.iter().any(|p| p.output_len() > OUTPUT_HIGH) {
                break;
            }
        }
    }
    fn hear(&self, i: usize) -> Vec<OfMessage> {
        let mut out = Vec::new();
        let mut codec = OfCodec::new();
        self.pipes[i].with_output(|b| {
            while let Ok(Some(f)) = codec.decode(b) {
                out.push(f.message.unwrap());
            }
        });
        out
    }
    fn ask(&mut self, i: usize, xid: u32, body: impl Into<Message>) -> Vec<OfMessage> {
        self.say(i, xid, body);
        self.go();
        self.hear(i)
    }
}

fn flow(cookie: u64) -> FlowMod {
    FlowMod { cookie, ..FlowMod::default() }
}
fn error_of(m: &[OfMessage]) -> OfpError {
    match m {
        [OfMessage { body: Message::Error(e), .. }] => e.error,
        other => panic!("{other:?}"),
    }
}
fn role(net: &mut Net, i: usize, role: ControllerRole, generation_id: u64) -> Vec<OfMessage> {
    net.ask(i, 9, Message::RoleRequest(Role { role, generation_id }))
}
const C: ConnKind = ConnKind::Controller;

#[test]
fn a_barrier_waits_for_workers_and_errors_come_before_it_in_order() {
    let mut net = Net::new(&[C, C]);
    net.tables.lag = true;
    // ONOS gives a whole batch and its barrier the same xid.
    net.say(0, 7, flow(1));
    net.say(0, 7, flow(666));
    net.say(0, 7, Message::BarrierRequest);
    net.say(0, 8, Message::EchoRequest(Echo::default()));
    net.go();
    let heard = net.hear(0);
    assert_eq!(error_of(&heard), OfpError::OFPFMFC_TABLE_FULL);
    let quoted = OfMessage::new(7, flow(666)).to_bytes().unwrap();
    assert!(matches!(&heard[0].body, Message::Error(e) if e.data == quoted), "the whole failed message");
    // Another connection is not held up.
    assert!(matches!(
        net.ask(1, 3, Message::EchoRequest(Echo::default()))[..],
        [OfMessage { xid: Xid(3), .. }]
    ));
    net.tables.synced = net.tables.version;
    net.go();
    let heard = net.hear(0);
    assert!(
        matches!(
            heard[..],
            [
                OfMessage { xid: Xid(7), body: Message::BarrierReply, .. },
                OfMessage { xid: Xid(8), body: Message::EchoReply(_), .. }
            ]
        ),
        "{heard:?}"
    );
}

#[test]
fn one_master_only_and_stale_generations_are_refused() {
    let mut net = Net::new(&[C, C]);
    let answer = role(&mut net, 0, ControllerRole::NOCHANGE, 0);
    assert!(matches!(
        &answer[..],
        [OfMessage {
            body: Message::RoleReply(Role { role: ControllerRole::EQUAL, generation_id: u64::MAX }),
            ..
        }]
    ));
    role(&mut net, 0, ControllerRole::MASTER, 5);
    role(&mut net, 1, ControllerRole::MASTER, 6);
    assert_eq!(error_of(&net.ask(0, 1, flow(1))), OfpError::OFPBRC_IS_SLAVE);
    assert!(net.ask(1, 1, flow(2)).is_empty());
    assert_eq!(error_of(&role(&mut net, 0, ControllerRole::MASTER, 5)), OfpError::OFPRRFC_STALE);
    assert_eq!(error_of(&role(&mut net, 0, ControllerRole(7), 9)), OfpError::OFPRRFC_BAD_ROLE);
    // Generations are compared on a circle.
    role(&mut net, 0, ControllerRole::MASTER, 6u64.wrapping_add(1 << 62));
    role(&mut net, 1, ControllerRole::SLAVE, (1u64 << 63) + (1 << 61));
    role(&mut net, 1, ControllerRole::MASTER, u64::MAX);
    assert!(matches!(
        &role(&mut net, 1, ControllerRole::MASTER, 1)[..],
        [OfMessage { body: Message::RoleReply(_), .. }]
    ));
    assert_eq!(net.tables.cookies(), [2]);
}

fn packet(reason: PacketInReason, len: usize) -> Event {
    Event::PacketIn(PacketInEvent {
        controller_id: 0,
        reason,
        table_id: TableId(3),
        cookie: 42,
        metadata: Match::new(),
        frame: vec![7u8; len].into(),
        buffer_id: OFP_NO_BUFFER,
        max_len: 100,
        userdata: Vec::new(),
    })
}

#[test]
fn asynchronous_messages_follow_role_and_wishes() {
    let mut net = Net::new(&[C, C, ConnKind::Service]);
    role(&mut net, 1, ControllerRole::SLAVE, 1);
    let now = net.now;
    net.manager.event(&packet(PacketInReason::ACTION, 300), now);
    let status = PortStatus { reason: PortReason::ADD, port: Port::default() };
    net.manager.event(&Event::PortStatus(status), now);
    let gone = FlowRemoved { reason: FlowRemovedReason::DELETE, ..FlowRemoved::default() };
    net.manager.event(&Event::FlowRemoved(gone), now);
    let kinds = |m: Vec<OfMessage>| m.iter().map(|m| m.body.msg_type()).collect::<Vec<_>>();
    let heard = net.hear(0);
    let Message::PacketIn(p) = &heard[0].body else { panic!() };
    assert_eq!((p.total_len, p.data.len(), p.cookie, p.table_id), (300, 100, 42, TableId(3)));
    assert_eq!(kinds(heard), [MsgType::PACKET_IN, MsgType::PORT_STATUS, MsgType::FLOW_REMOVED]);
    assert_eq!(kinds(net.hear(1)), [MsgType::PORT_STATUS], "a slave hears of ports only");
    assert!(net.hear(2).is_empty(), "management clients hear nothing until they ask");
    let config = SwitchConfig { flags: ConfigFlags::FRAG_NORMAL, miss_send_len: 128 };
    net.ask(2, 1, Message::SetConfig(config));
    net.ask(0, 1, Message::SetAsync(AsyncConfig { packet_in_mask: [0b100, 0], ..default_async() }));
    net.manager.event(&packet(PacketInReason::ACTION, 60), now);
    net.manager.event(&packet(PacketInReason::INVALID_TTL, 60), now);
    assert_eq!(net.hear(0).len(), 1, "only the TTL");
    assert_eq!(net.hear(2).len(), 1, "only the action");
    net.ask(2, 1, NxMessage::SetPacketInFormat(PacketInFormat::NXT_PACKET_IN2));
    net.manager.event(&packet(PacketInReason::ACTION, 300), now);
    let heard = net.hear(2);
    assert!(
        matches!(&heard[0].body, Message::Nicira(NxMessage::PacketIn2(p)) if p.properties.contains(&NxPacketInProp::FullLen(300))),
        "{heard:?}"
    );
}

#[test]
fn packet_ins_are_limited_per_controller_and_dropped_for_who_does_not_read() {
    let mut net = Net::new(&[C]);
    let slow = net.open(ConnOptions { packet_in_rate: Some((10, 5)), ..ConnOptions::new(C, "limited") });
    let mut now = net.now;
    for _ in 0..100 {
        net.manager.event(&packet(PacketInReason::ACTION, 60), now);
    }
    assert_eq!((net.hear(0).len(), net.hear(slow).len()), (100, 5));
    now += Duration::from_millis(300);
    for _ in 0..100 {
        net.manager.event(&packet(PacketInReason::ACTION, 60), now);
    }
    assert_eq!(net.hear(slow).len(), 3);
    for _ in 0..100_000 {
        net.manager.event(&packet(PacketInReason::ACTION, 60), now);
    }
    assert!(net.pipes[0].output_len() < 2 * PACKET_IN_HIGH);
    let stats = net.manager.list(now)[0].stats;
    assert!(stats.packet_ins_dropped > 0 && stats.packet_ins > 100);
}

#[test]
fn a_reader_that_does_not_read_stops_its_own_requests_only() {
    let mut net = Net::new(&[C, C]);
    net.tables.set_cookies(0..100_000);
    net.say(
        0,
        5,
        openflow::msg::MultipartRequest {
            flags: MultipartFlags::empty(),
            body: RequestBody::Flow(FlowStatsRequest::default()),
        },
    );
    net.say(0, 6, Message::EchoRequest(Echo::default()));
    for _ in 0..50 {
        net.manager.process(&mut net.tables, net.now, 100);
    }
    let held = net.pipes[0].output_len();
    assert!(held > OUTPUT_HIGH && held < 2 * OUTPUT_HIGH, "{held}");
    assert_eq!(net.ask(1, 1, Message::EchoRequest(Echo::default())).len(), 1);
    let mut flows = 0;
    let mut last_part = false;
    loop {
        net.go();
        let heard = net.hear(0);
        if heard.is_empty() {
            break;
        }
        for m in heard {
            match m.body {
                Message::MultipartReply(MultipartReply { flags, body: ReplyBody::Flow(f) }) => {
                    assert!(!last_part);
                    flows += f.len();
                    last_part = !flags.contains(MultipartFlags::MORE);
                }
                Message::EchoReply(_) => assert!(last_part, "after the dump"),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((flows, last_part), (100_000, true));
}

#[test]
fn bundles_are_all_or_nothing_and_their_rules_hold() {
    let mut net = Net::new(&[C]);
    let flags = BundleFlags::ATOMIC | BundleFlags::ORDERED;
    let control = |bundle_id, kind| BundleControl { bundle_id, kind, flags, properties: Vec::new() };
    let add = |bundle_id, xid: u32, cookie| BundleAdd {
        bundle_id,
        flags,
        message: Box::new(OfMessage::new(xid, flow(cookie))),
        properties: Vec::new(),
    };
    let ok = |m: Vec<OfMessage>, kind| matches!(&m[..], [OfMessage { body: Message::BundleControl(b), .. }] if b.kind == kind);
    assert!(ok(net.ask(0, 1, control(1, BundleCtrlType::OPEN_REQUEST)), BundleCtrlType::OPEN_REPLY));
    assert!(net.ask(0, 2, add(1, 2, 10)).is_empty());
    assert!(net.ask(0, 3, add(1, 3, 666)).is_empty());
    assert!(net.tables.cookies().is_empty());
    let heard = net.ask(0, 4, control(1, BundleCtrlType::COMMIT_REQUEST));
    assert_eq!((error_of(&heard[..1]), heard[0].xid), (OfpError::OFPFMFC_TABLE_FULL, Xid(3)));
    assert_eq!((error_of(&heard[1..]), heard[1].xid), (OfpError::OFPBFC_MSG_FAILED, Xid(4)));
    assert!(net.tables.cookies().is_empty());
    // Opened by its first message; closed; nothing more goes in; committed.
    assert!(net.ask(0, 5, add(2, 5, 11)).is_empty());
    assert!(ok(net.ask(0, 6, control(2, BundleCtrlType::CLOSE_REQUEST)), BundleCtrlType::CLOSE_REPLY));
    assert_eq!(error_of(&net.ask(0, 7, add(2, 7, 12))), OfpError::OFPBFC_BUNDLE_CLOSED);
    assert!(ok(net.ask(0, 8, control(2, BundleCtrlType::COMMIT_REQUEST)), BundleCtrlType::COMMIT_REPLY));
    assert_eq!(net.tables.cookies(), [11]);
    assert_eq!(error_of(&net.ask(0, 9, control(2, BundleCtrlType::COMMIT_REQUEST))), OfpError::OFPBFC_BAD_ID);
    assert_eq!(
        error_of(&net.ask(0, 9, control(2, BundleCtrlType::DISCARD_REQUEST))),
        OfpError::OFPBFC_BAD_ID
    );
    assert_eq!(error_of(&net.ask(0, 10, add(3, 99, 1))), OfpError::OFPBFC_MSG_BAD_XID);
    let mut odd = add(4, 11, 1);
    odd.message.body = Message::BarrierRequest;
    assert_eq!(error_of(&net.ask(0, 11, odd)), OfpError::OFPBFC_MSG_UNSUP);
    for i in 0..MAX_BUNDLES as u32 {
        net.ask(0, 1, control(100 + i, BundleCtrlType::OPEN_REQUEST));
    }
    assert_eq!(
        error_of(&net.ask(0, 1, control(999, BundleCtrlType::OPEN_REQUEST))),
        OfpError::OFPBFC_OUT_OF_BUNDLES
    );
}

#[test]
fn an_incompatible_peer_is_told_and_dropped() {
    let mut net = Net::new(&[]);
    let pipe = Pipe::new();
    net.manager.open(ConnId(50), ConnOptions::new(C, "old"), pipe.clone(), net.now);
    net.pipes.push(pipe.clone());
    pipe.feed(&[1, 0, 0, 8, 0, 0, 0, 1]);
    net.go();
    let heard = net.hear(0);
    let Message::Error(e) = &heard[1].body else { panic!("{heard:?}") };
    assert_eq!((e.error, heard[1].version), (OfpError::OFPHFC_INCOMPATIBLE, 1));
    assert!(std::str::from_utf8(&e.data).unwrap().contains("we speak OpenFlow 1.3"));
    assert!(net.manager.doomed()[0].1.contains("no common version"));
}

#[test]
fn malformed_messages_are_answered_and_lost_framing_ends_it() {
    let mut net = Net::new(&[C]);
    net.pipes[0].feed(&[4, 77, 0, 8, 0, 0, 0, 9, 1, 14, 0, 8, 0, 0, 0, 10]);
    net.go();
    let heard = net.hear(0);
    assert_eq!((error_of(&heard[..1]), heard[0].xid), (OfpError::OFPBRC_BAD_TYPE, Xid(9)));
    assert_eq!(error_of(&heard[1..]), OfpError::OFPBRC_BAD_VERSION);
    assert_eq!(net.ask(0, 1, Message::EchoRequest(Echo::default())).len(), 1, "lives on");
    net.pipes[0].feed(&[4, 0, 0, 3, 0, 0, 0, 1]);
    net.go();
    assert!(net.manager.doomed()[0].1.starts_with("framing lost"));
}

#[test]
fn silence_is_probed_and_a_dead_peer_dropped() {
    let mut net = Net::new(&[C]);
    let t = |s| net.now + Duration::from_secs(s);
    let (t6, t12) = (t(6), t(12));
    net.manager.timers(net.now);
    net.manager.timers(t6);
    assert!(matches!(net.hear(0)[..], [OfMessage { body: Message::EchoRequest(_), .. }]));
    net.manager.timers(t12);
    assert_eq!(net.manager.doomed()[0].1, "no response to inactivity probe");
}

#[test]
fn snoopers_hear_both_sides_and_have_no_say() {
    let mut net = Net::new(&[C, ConnKind::Snoop]);
    net.ask(0, 5, Message::FeaturesRequest);
    let kinds: Vec<_> = net.hear(1).iter().map(|m| m.body.msg_type()).collect();
    assert_eq!(kinds, [MsgType::FEATURES_REQUEST, MsgType::FEATURES_REPLY]);
    assert!(net.ask(1, 1, flow(3)).is_empty());
    assert!(net.tables.cookies().is_empty());
}

#[test]
fn flow_monitors_tell_what_is_there_and_what_changes() {
    let mut net = Net::new(&[C]);
    net.tables.set_cookies([1, 2]);
    let flags = FlowMonitorFlags::INITIAL | FlowMonitorFlags::ADD | FlowMonitorFlags::DELETE;
    let request = FlowMonitorRequest {
        id: 7,
        flags,
        out_port: PortNo::ANY,
        table_id: TableId::ALL,
        matching: Match::new(),
    };
    let ask = |r: FlowMonitorRequest| openflow::msg::MultipartRequest {
        flags: MultipartFlags::empty(),
        body: RequestBody::NxFlowMonitor(vec![r]),
    };
    let heard = net.ask(0, 3, ask(request.clone()));
    let Message::MultipartReply(MultipartReply { body: ReplyBody::NxFlowMonitor(u), .. }) = &heard[0].body
    else {
        panic!()
    };
    assert_eq!(u.len(), 2);
    assert_eq!(error_of(&net.ask(0, 4, ask(request))).kind, 16, "the id is taken");
    let change = |event, conn| Event::FlowChange {
        from: conn,
        xid: Xid(77),
        update: FlowUpdate::Full {
            event,
            reason: FlowRemovedReason::DELETE,
            priority: 1,
            idle_timeout: 0,
            hard_timeout: 0,
            table_id: TableId(0),
            cookie: 5,
            matching: Match::new(),
            instructions: Default::default(),
        },
    };
    let now = net.now;
    net.manager.event(&change(FlowUpdateEvent::MODIFIED, None), now);
    assert!(net.hear(0).is_empty(), "not asked for");
    net.manager.event(&change(FlowUpdateEvent::ADDED, Some(ConnId(0))), now);
    let heard = net.hear(0);
    assert!(
        matches!(&heard[0].body, Message::MultipartReply(MultipartReply { body: ReplyBody::NxFlowMonitor(u), .. }) if u[..] == [FlowUpdate::Abbrev { xid: Xid(77) }])
    );
    assert!(net.ask(0, 5, NxMessage::FlowMonitorCancel(7)).is_empty());
    net.manager.event(&change(FlowUpdateEvent::ADDED, None), now);
    assert!(net.hear(0).is_empty());
}
