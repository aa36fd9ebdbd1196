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

/// Something happened to a flow entry.
fn flow_change(event: FlowUpdateEvent, from: Option<ConnId>) -> Event {
    Event::FlowChange {
        from,
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
    }
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
    let now = net.now;
    net.manager.event(&flow_change(FlowUpdateEvent::MODIFIED, None), now);
    assert!(net.hear(0).is_empty(), "not asked for");
    net.manager.event(&flow_change(FlowUpdateEvent::ADDED, Some(ConnId(0))), now);
    let heard = net.hear(0);
    assert!(
        matches!(&heard[0].body, Message::MultipartReply(MultipartReply { body: ReplyBody::NxFlowMonitor(u), .. }) if u[..] == [FlowUpdate::Abbrev { xid: Xid(77) }])
    );
    assert!(net.ask(0, 5, NxMessage::FlowMonitorCancel(7)).is_empty());
    net.manager.event(&flow_change(FlowUpdateEvent::ADDED, None), now);
    assert!(net.hear(0).is_empty());
}

#[test]
fn what_a_peer_said_before_it_closed_is_handled_and_answered() {
    let mut net = Net::new(&[C]);
    for i in 0..3000 {
        net.say(0, i, flow(u64::from(i) + 1000));
    }
    net.say(0, 9, Message::BarrierRequest);
    net.pipes[0].end("connection closed by peer");
    net.manager.process(&mut net.tables, net.now, 512);
    assert!(net.manager.doomed().is_empty(), "most of it is not handled yet");
    net.go();
    assert_eq!(net.tables.flows.len(), 3000);
    assert!(net.manager.doomed().is_empty(), "the answer is not sent yet");
    assert!(net.pipes[0].hanging_up());
    assert_eq!(net.hear(0).len(), 1);
    assert_eq!(net.manager.doomed()[0].1, "connection closed by peer");
    // Half a message is nothing to wait for, nor is a peer that hears nothing any more.
    let i = net.open(ConnOptions::new(C, "cut"));
    net.say(i, 1, flow(7));
    net.say(i, 2, Message::BarrierRequest);
    net.pipes[i].feed(&[4, 14, 0, 99]);
    net.pipes[i].mute();
    net.pipes[i].end("reset");
    net.go();
    assert_eq!((net.tables.flows.len(), net.manager.doomed().last().unwrap().1.as_str()), (3001, "reset"));
}

#[test]
fn half_a_message_and_a_peer_that_reads_nothing_are_no_signs_of_life() {
    let mut net = Net::new(&[C, C, C]);
    let t0 = net.now;
    let t = |s| t0 + Duration::from_secs(s);
    net.manager.timers(t0);
    net.pipes[0].feed(&[4, 2, 0, 32]);
    // Asks for much, and reads nothing of it.
    let much = Message::EchoRequest(Echo { data: vec![0; 60_000].into() });
    for i in 0..30 {
        net.say(1, i, much.clone());
        net.say(2, i, much.clone());
    }
    net.manager.process(&mut net.tables, t0, 1000);
    net.manager.timers(t0);
    for s in 1..12 {
        // One reads, slowly.
        net.pipes[2].took(10);
        net.manager.timers(t(s));
    }
    let gone: Vec<u64> = net.manager.doomed().iter().map(|(id, _)| id.0).collect();
    assert_eq!(gone, [0, 1]);
}

#[test]
fn a_million_reports_at_once_are_no_reason_to_drop_who_reads_them() {
    let mut net = Net::new(&[C]);
    let gone = FlowRemoved { reason: FlowRemovedReason::DELETE, ..FlowRemoved::default() };
    for _ in 0..1_000_000 {
        net.manager.event(&Event::FlowRemoved(gone.clone()), net.now);
    }
    assert!(net.pipes[0].output_len() > OUTPUT_LIMIT);
    let t = |ms| net.now + Duration::from_millis(ms);
    net.manager.timers(t(0));
    net.manager.timers(t(4000));
    net.pipes[0].took(1);
    net.manager.timers(t(4500));
    net.manager.timers(t(9000));
    assert!(net.manager.doomed().is_empty());
    net.manager.timers(t(9500));
    assert_eq!(net.manager.doomed()[0].1, "the peer does not read what it is sent");
    assert_eq!(net.pipes[0].output_len(), 0);
}

#[test]
fn an_auxiliary_connection_shares_its_controllers_role_and_wishes() {
    let mut net = Net::new(&[C, C]);
    let aux = |n| ConnOptions { auxiliary_id: n, main: Some(ConnId(0)), ..ConnOptions::new(C, "aux") };
    let early = net.open(aux(1));
    role(&mut net, 0, ControllerRole::SLAVE, 1);
    let late = net.open(aux(2));
    for i in [early, late] {
        assert_eq!(error_of(&net.ask(i, 1, flow(1))), OfpError::OFPBRC_IS_SLAVE);
    }
    // What is asked for on one of them is so for all; the main one hears of it.
    let wishes = AsyncConfig { packet_in_mask: [1, 0b110], ..default_async() };
    net.ask(late, 1, Message::SetAsync(wishes.clone()));
    for i in [0, early, late] {
        assert_eq!(net.ask(i, 1, Message::GetAsyncRequest)[0].body, Message::GetAsyncReply(wishes.clone()));
    }
    assert_eq!(net.ask(1, 1, Message::GetAsyncRequest)[0].body, Message::GetAsyncReply(default_async()));
    net.ask(late, 1, NxMessage::SetPacketInFormat(PacketInFormat::NXT_PACKET_IN2));
    net.manager.event(&packet(PacketInReason::INVALID_TTL, 60), net.now);
    let heard = [0, early, late].map(|i| net.hear(i));
    assert_eq!(heard.each_ref().map(Vec::len), [1, 0, 0]);
    assert!(matches!(heard[0][0].body, Message::Nicira(NxMessage::PacketIn2(_))), "{heard:?}");
    // Another master makes all of them slaves, whenever they were opened.
    role(&mut net, late, ControllerRole::MASTER, 2);
    let last = net.open(aux(3));
    assert!(net.ask(last, 1, flow(2)).is_empty());
    role(&mut net, 1, ControllerRole::MASTER, 3);
    for i in [0, early, late, last] {
        assert_eq!(error_of(&net.ask(i, 1, flow(1))), OfpError::OFPBRC_IS_SLAVE);
    }
    assert_eq!(net.tables.cookies(), [2]);
}

#[test]
fn a_nicira_role_request_says_nothing_about_generations() {
    let mut net = Net::new(&[C]);
    net.ask(0, 1, NxMessage::RoleRequest(ControllerRole::MASTER));
    let answer = role(&mut net, 0, ControllerRole::MASTER, 1 << 63 | 5);
    assert!(
        matches!(&answer[..], [OfMessage { body: Message::RoleReply(r), .. }] if r.generation_id == 1 << 63 | 5),
        "{answer:?}"
    );
}

#[test]
fn a_slave_changes_no_settings_and_what_only_switches_say_is_a_bad_type() {
    let mut net = Net::new(&[C]);
    let config = SwitchConfig { flags: ConfigFlags::FRAG_DROP, miss_send_len: 0 };
    assert!(net.ask(0, 1, Message::SetConfig(config.clone())).is_empty());
    role(&mut net, 0, ControllerRole::SLAVE, 1);
    assert_eq!(error_of(&net.ask(0, 1, Message::SetConfig(config))), OfpError::OFPBRC_IS_SLAVE);
    assert!(matches!(net.ask(0, 1, Message::GetConfigRequest)[0].body, Message::GetConfigReply(_)));
    // However wrong the rest of it is.
    for kind in [MsgType::PACKET_IN, MsgType::FLOW_REMOVED, MsgType::BARRIER_REPLY, MsgType::MULTIPART_REPLY]
    {
        net.pipes[0].feed(&[4, kind.0, 0, 12, 0, 0, 0, 3, 9, 9, 9, 9]);
        net.go();
        assert_eq!(error_of(&net.hear(0)), OfpError::OFPBRC_BAD_TYPE, "{kind}");
    }
}

#[test]
fn bundles_are_bounded_in_time_and_over_all_connections() {
    let mut net = Net::new(&[C, C, C]);
    let flags = BundleFlags::ATOMIC;
    let add = |bundle_id, xid: u32, body: Message| BundleAdd {
        bundle_id,
        flags,
        message: Box::new(OfMessage::new(xid, body)),
        properties: Vec::new(),
    };
    let control = |kind| BundleControl { bundle_id: 1, kind, flags, properties: Vec::new() };
    // A refused message opens nothing.
    assert_eq!(error_of(&net.ask(0, 5, add(1, 6, flow(1).into()))), OfpError::OFPBFC_MSG_BAD_XID);
    let odd = BundleAdd { flags: BundleFlags(8), ..add(1, 5, flow(1).into()) };
    assert_eq!(error_of(&net.ask(0, 5, odd)), OfpError::OFPBFC_BAD_FLAGS);
    assert_eq!(error_of(&net.ask(0, 5, control(BundleCtrlType::DISCARD_REQUEST))), OfpError::OFPBFC_BAD_ID);
    // One that nobody speaks of any more ends.
    net.ask(0, 7, control(BundleCtrlType::OPEN_REQUEST));
    net.now += Duration::from_secs(6);
    net.ask(0, 8, add(1, 8, flow(1).into()));
    net.now += Duration::from_secs(6);
    net.manager.timers(net.now);
    assert!(net.hear(0).iter().all(|m| matches!(m.body, Message::EchoRequest(_))));
    net.now += Duration::from_secs(4);
    net.say(0, 9, Message::EchoReply(Echo::default()));
    net.go();
    net.manager.timers(net.now);
    let heard = net.hear(0);
    assert_eq!((error_of(&heard), heard[0].xid), (OfpError::OFPBFC_TIMEOUT, Xid(7)));
    assert_eq!(error_of(&net.ask(0, 9, control(BundleCtrlType::COMMIT_REQUEST))), OfpError::OFPBFC_BAD_ID);
    assert!(net.tables.flows.is_empty());
    // Each connection may hold so much, and all together twice as much.
    let data = vec![0; 60_000].into();
    let out = openflow::msg::PacketOut {
        buffer_id: OFP_NO_BUFFER,
        in_port: PortNo::CONTROLLER,
        actions: vec![],
        data,
    };
    let mut held = [0usize; 3];
    for (i, held) in held.iter_mut().enumerate() {
        loop {
            let m = add(2, 1, out.clone().into());
            let len = OfMessage::new(1, m.clone()).to_bytes().unwrap().len();
            let heard = net.ask(i, 1, m);
            if !heard.is_empty() {
                assert_eq!(error_of(&heard), OfpError::OFPBFC_MSG_TOO_MANY);
                break;
            }
            *held += len;
        }
    }
    assert!(held[0] > 190 << 20 && held[1] > 190 << 20 && held[2] < 1 << 20, "{held:?}");
}

#[test]
fn however_a_bundle_ends_its_bytes_are_free_for_those_of_others() {
    use BundleCtrlType as B;
    let mut net = Net::new(&[C, C, C, C]);
    let flags = BundleFlags::ATOMIC;
    let control = |bundle_id, kind, flags| BundleControl { bundle_id, kind, flags, properties: Vec::new() };
    let note = [Instruction::ApplyActions(vec![Action::Note(vec![0; 60_000])])];
    let large = |cookie| FlowMod { cookie, instructions: note.to_vec().into(), ..FlowMod::default() };
    // So many messages, or as many as are taken.
    let fill = |net: &mut Net, i: usize, bundle_id, cookie, most: usize| {
        for n in 0..most {
            let message = Box::new(OfMessage::new(1, large(cookie)));
            let heard = net.ask(i, 1, BundleAdd { bundle_id, flags, message, properties: Vec::new() });
            if !heard.is_empty() {
                assert_eq!(error_of(&heard), OfpError::OFPBFC_MSG_TOO_MANY);
                return n;
            }
        }
        most
    };
    let sum = |net: &Net| net.manager.conns.values().map(Conn::bundled).sum::<usize>();
    let all = |net: &Net| net.manager.bundled.load(Ordering::Relaxed);
    // Two connections hold nearly all there is, the second in a bundle that stays and one that ends.
    let whole = MAX_BUNDLE_BYTES / 60_000;
    assert!(fill(&mut net, 0, 1, 5, usize::MAX) > whole - 40);
    fill(&mut net, 1, 1, 5, whole - 40);
    let (same, other) = (flags, BundleFlags::ORDERED);
    let endings = [
        ("discarded", B::DISCARD_REQUEST, same, 5, false),
        ("committed", B::COMMIT_REQUEST, same, 5, false),
        ("a message is refused", B::COMMIT_REQUEST, same, 666, true),
        ("committed with other flags", B::COMMIT_REQUEST, other, 5, true),
        ("closed with other flags", B::CLOSE_REQUEST, other, 5, true),
        ("opened again", B::OPEN_REQUEST, same, 5, true),
    ];
    let mut freed = None;
    for (how, kind, flags, cookie, is_refused) in endings {
        fill(&mut net, 1, 2, cookie, usize::MAX);
        let rest = fill(&mut net, 2, 1, 5, usize::MAX);
        assert!(rest <= 2, "{how}: {rest} more than there may be");
        let heard = net.ask(1, 1, control(2, kind, flags));
        assert_eq!(heard.iter().any(|m| matches!(m.body, Message::Error(_))), is_refused, "{how}");
        assert_eq!(all(&net), sum(&net), "{how}");
        // What is free now is for another, and no more.
        let n = fill(&mut net, 2, 1, 5, usize::MAX) + rest;
        assert!(n > 20 && *freed.get_or_insert(n) == n, "{how}: {n}");
        net.ask(2, 1, control(1, B::DISCARD_REQUEST, same));
        assert_eq!(all(&net), sum(&net), "{how}");
    }
    // With its connection.
    net.manager.close(ConnId(0));
    assert_eq!(all(&net), sum(&net));
    assert!(fill(&mut net, 2, 1, 5, usize::MAX) > whole - 40);
    assert!(fill(&mut net, 3, 1, 5, usize::MAX) < 60, "the second connection has its bundle still");
    // When nobody speaks of it any more.
    net.now += BUNDLE_IDLE;
    net.manager.timers(net.now);
    assert_eq!((all(&net), sum(&net)), (0, 0));
    assert_eq!(error_of(&net.hear(3)), OfpError::OFPBFC_TIMEOUT);
    assert_eq!(fill(&mut net, 3, 1, 5, 50), 50);
}

#[test]
fn a_paused_flow_monitor_is_told_what_there_is_when_its_peer_reads_again() {
    let mut net = Net::new(&[C]);
    let request = FlowMonitorRequest {
        id: 7,
        flags: FlowMonitorFlags::ADD | FlowMonitorFlags::DELETE,
        out_port: PortNo::ANY,
        table_id: TableId::ALL,
        matching: Match::new(),
    };
    let body = RequestBody::NxFlowMonitor(vec![request]);
    net.ask(0, 3, openflow::msg::MultipartRequest { flags: MultipartFlags::empty(), body });
    for i in 0..30 {
        net.say(0, i, Message::EchoRequest(Echo { data: vec![0; 60_000].into() }));
    }
    net.go();
    net.tables.set_cookies(0..600);
    let added = flow_change(FlowUpdateEvent::ADDED, None);
    net.manager.event(&added, net.now);
    net.manager.event(&added, net.now);
    let nicira = |m: &OfMessage| match &m.body {
        Message::Nicira(m) => Some(m.clone()),
        _ => None,
    };
    let heard = net.hear(0);
    assert_eq!(heard.iter().filter_map(nicira).collect::<Vec<_>>(), [NxMessage::FlowMonitorPaused]);
    net.go();
    let heard = net.hear(0);
    let flows = |m: &OfMessage| match &m.body {
        Message::MultipartReply(MultipartReply { body: ReplyBody::NxFlowMonitor(u), .. }) => u.len(),
        _ => 0,
    };
    let told = heard.iter().position(|m| nicira(m) == Some(NxMessage::FlowMonitorResumed)).expect("resumed");
    assert_eq!(heard[..told].iter().map(flows).sum::<usize>(), 600, "before it goes on");
    net.manager.event(&added, net.now);
    assert_eq!(flows(&net.hear(0)[0]), 1);
}

#[test]
fn half_a_multipart_request_is_none() {
    let mut net = Net::new(&[C]);
    let part = |xid: u32, flags, id| {
        let request = FlowMonitorRequest {
            id,
            flags: FlowMonitorFlags::ADD,
            out_port: PortNo::ANY,
            table_id: TableId::ALL,
            matching: Match::new(),
        };
        let body = RequestBody::NxFlowMonitor(vec![request]);
        OfMessage::new(xid, openflow::msg::MultipartRequest { flags, body }).to_bytes().unwrap()
    };
    net.pipes[0].feed(&part(5, MultipartFlags::MORE, 1));
    // The second part is cut short.
    let mut cut = part(5, MultipartFlags::MORE, 2).to_vec();
    cut.truncate(cut.len() - 8);
    cut[3] -= 8;
    net.pipes[0].feed(&cut);
    net.pipes[0].feed(&part(5, MultipartFlags::empty(), 3));
    net.go();
    let heard = net.hear(0);
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert_eq!(error_of(&heard[..1]), error_of(&heard[1..]));
    assert!(!net.manager.is_monitored());
}

#[test]
fn what_was_found_out_about_a_message_to_come_goes_with_that_message() {
    let mut net = Net::new(&[C, C]);
    const N: u64 = 700;
    let mut said = [BytesMut::new(), BytesMut::new()];
    for i in 0..N {
        for (c, out) in said.iter_mut().enumerate() {
            let mut say = |m: Message| OfMessage::new(i as u32, m).emit(out).unwrap();
            let cookie = if i % 50 == 7 { 666 } else { 1000 + i * 2 + c as u64 };
            let matching = Match::new().with(openflow::Field::EthDst, u128::from(i * 2 + c as u64));
            say(FlowMod { matching, ..flow(cookie) }.into());
            match i % 9 {
                2 => say(Message::BarrierRequest),
                4 => say(Message::EchoRequest(Echo::default())),
                // A hello in the middle is thrown away, a flow-mod of nonsense refused.
                5 => say(Hello::with_versions(&[4]).into()),
                6 => out.extend_from_slice(&[4, 14, 0, 12, 0, 0, 0, 9, 1, 2, 3, 4]),
                _ => {}
            }
        }
    }
    // In pieces of all sizes, so that the next message is there, or half of it, or not yet.
    let mut len = 1;
    while said.iter().any(|s| !s.is_empty()) {
        for (pipe, s) in net.pipes.iter().zip(&mut said) {
            pipe.feed(&s.split_to(len.min(s.len())));
            len = len * 7 % 5003 + 1;
        }
        while net.manager.process(&mut net.tables, net.now, 100) {}
        net.pipes.iter().for_each(|p| p.with_output(BytesMut::clear));
    }
    for c in 0..2 {
        let own: Vec<u64> = net.tables.cookies().into_iter().filter(|k| k % 2 == c).collect();
        let want: Vec<u64> = (0..N).filter(|i| i % 50 != 7).map(|i| 1000 + i * 2 + c).collect();
        assert_eq!(own, want, "all of a connection's, in order");
    }
    assert!(net.tables.expected > 1000, "{} of 1400 were looked at ahead", net.tables.expected);
}
