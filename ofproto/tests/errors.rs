//! Every error that an OpenFlow 1.3 switch can be brought to send: the request, and the type and code of the answer, as the specification has
//! them. An error of the specification that is neither provoked here nor excused in [`NEVER`] fails the test.

mod rig;

use ofproto::conn::manager::{ConnKind, ConnOptions};
use ofproto::BridgeConfig;
use openflow::field::{Field, CLASS_BASIC, FIELDS};
use openflow::group::{Bucket, GroupType};
use openflow::meter::{MeterBand, MeterFlags};
use openflow::msg::multipart::{
    ActionId, FlowStatsRequest, InstructionId, MeterRequest, MultipartFlags, OxmId, PropBody,
    QueueStatsRequest, TableFeatureProp, TableFeatures, TablePropType,
};
use openflow::msg::{
    BundleAdd, BundleControl, BundleCtrlType, BundleFlags, ConfigFlags, ControllerRole, FlowMod,
    FlowModCommand, FlowModFlags, GroupMod, GroupModCommand, Message, MeterMod, MeterModCommand,
    MultipartReply, MultipartRequest, OfMessage, PacketOut, PortMod, QueueGetConfigRequest, ReplyBody,
    RequestBody, Role, SwitchConfig, TableMod, OFP_NO_BUFFER,
};
use openflow::port::{PortConfig, PortFeatures};
use openflow::text::{parse_flow, NoNames};
use openflow::{Action, GroupId, Instruction, Match, MeterId, OfpError, PortNo, TableId, Xid};
use rig::Rig;
use std::collections::BTreeSet;

/// Errors that this switch never sends, and why.
const NEVER: &[(&str, &[OfpError])] = &[
    (
        "nothing is forbidden to a controller that is let in",
        &[
            OfpError::OFPHFC_EPERM,
            OfpError::OFPBAC_EPERM,
            OfpError::OFPBIC_EPERM,
            OfpError::OFPBMC_EPERM,
            OfpError::OFPFMFC_EPERM,
            OfpError::OFPGMFC_EPERM,
            OfpError::OFPPMFC_EPERM,
            OfpError::OFPTMFC_EPERM,
            OfpError::OFPQOFC_EPERM,
            OfpError::OFPSCFC_EPERM,
            OfpError::OFPTFFC_EPERM,
            OfpError::OFPBFC_EPERM,
        ],
    ),
    (
        "every fault has a code of its own",
        &[OfpError::OFPFMFC_UNKNOWN, OfpError::OFPMMFC_UNKNOWN, OfpError::OFPBFC_UNKNOWN],
    ),
    (
        "the switch does what these say that it does not",
        &[
            OfpError::OFPBAC_UNSUPPORTED_ORDER,
            OfpError::OFPBIC_UNSUP_METADATA,
            OfpError::OFPBMC_BAD_DL_ADDR_MASK,
            OfpError::OFPBMC_BAD_NW_ADDR_MASK,
            OfpError::OFPFMFC_BAD_TIMEOUT,
            OfpError::OFPGMFC_WEIGHT_UNSUPPORTED,
            OfpError::OFPGMFC_CHAINING_UNSUPPORTED,
            OfpError::OFPGMFC_WATCH_UNSUPPORTED,
            OfpError::OFPRRFC_UNSUP,
            OfpError::OFPTFFC_BAD_METADATA,
        ],
    ),
    ("BAD_ARGUMENT and BAD_FIELD say it better", &[OfpError::OFPBAC_BAD_TAG, OfpError::OFPBMC_BAD_TAG]),
    ("instructions of experimenters are unknown as a whole", &[OfpError::OFPBIC_BAD_EXP_TYPE]),
    ("more than a message can hold", &[OfpError::OFPGMFC_OUT_OF_BUCKETS]),
    (
        "EXT-230 has them for switches that check bundles as they grow",
        &[OfpError::OFPBFC_BUNDLE_EXIST, OfpError::OFPBFC_MSG_CONFLICT, OfpError::OFPBFC_BUNDLE_IN_PROGRESS],
    ),
];

struct Cases {
    rig: Rig,
    seen: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Cases {
    /// What these bytes are answered with, on connection `i`; the answer quotes them.
    fn answer(&mut self, i: usize, bytes: &[u8]) -> Option<OfpError> {
        self.rig.hear(i);
        self.rig.say_raw(i, bytes);
        self.rig.settle();
        let xid = Xid(u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]));
        let heard = self.rig.hear(i);
        let error = heard.into_iter().find_map(|m| match m.body {
            Message::Error(e) if m.xid == xid => Some(e),
            _ => None,
        })?;
        // The whole of the request where it fits a message, never less than 64 bytes of it.
        let whole = bytes.len() + 20 <= 65_535;
        let enough = if whole { bytes.len() } else { 64 };
        assert!(
            error.data.len() >= enough,
            "{}: {} bytes quoted of {}",
            error.error,
            error.data.len(),
            bytes.len()
        );
        assert!(bytes.starts_with(&error.data[..enough]), "{}: quotes something else", error.error);
        Some(error.error)
    }
    fn bytes(&mut self, what: &str, bytes: &[u8], want: OfpError) {
        let got = self.answer(0, bytes);
        if got != Some(want) {
            self.wrong.push(format!("{what}: {want}, not {got:?}"));
        }
        self.seen.insert(want.to_string());
    }
    fn message(&mut self, what: &str, body: impl Into<Message>, want: OfpError) {
        let bytes = OfMessage::new(Xid(0x77), body).to_bytes().expect("a message");
        self.bytes(what, &bytes, want);
    }
    /// A flow in words.
    fn flow(&mut self, text: &str, want: OfpError) {
        let m = parse_flow(text, FlowModCommand::ADD, &NoNames).unwrap_or_else(|e| panic!("{text}: {e}"));
        self.message(text, m, want);
    }
    fn flow_with(&mut self, what: &str, change: impl FnOnce(&mut FlowMod), want: OfpError) {
        let mut m = FlowMod::default();
        change(&mut m);
        self.message(what, m, want);
    }
    fn actions(&mut self, what: &str, list: Vec<Action>, want: OfpError) {
        self.flow_with(what, |m| m.instructions = vec![Instruction::ApplyActions(list)].into(), want);
    }
    fn ask(&mut self, what: &str, body: RequestBody, want: OfpError) {
        self.message(what, MultipartRequest::new(body), want);
    }
}

/// A message of this type.
fn raw(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut m = vec![4, kind];
    m.extend(((8 + body.len()) as u16).to_be_bytes());
    m.extend([0, 0, 0, 0x77]);
    m.extend(body);
    m
}
/// An add with these bytes as match (type, length and fields; padded here) and instructions.
fn raw_flow(matching: &[u8], instructions: &[u8]) -> Vec<u8> {
    let mut b = vec![0; 16];
    b.extend([0, 0, 0, 0, 0, 0, 0x80, 0]);
    b.extend([0xff; 12]);
    b.extend([0; 4]);
    b.extend(matching);
    b.resize(b.len().div_ceil(8) * 8, 0);
    b.extend(instructions);
    raw(14, &b)
}
const ANY: [u8; 4] = [0, 1, 0, 4];
/// A match of one OXM.
fn oxm(bytes: &[u8]) -> Vec<u8> {
    let mut m = vec![0, 1];
    m.extend((4 + bytes.len() as u16).to_be_bytes());
    m.extend(bytes);
    m
}
/// Apply-actions with these bytes as actions.
fn apply(actions: &[u8]) -> Vec<u8> {
    let mut i = vec![0, 4];
    i.extend((8 + actions.len() as u16).to_be_bytes());
    i.extend([0; 4]);
    i.extend(actions);
    i
}
fn output(port: u32) -> Action {
    Action::Output { port: PortNo(port), max_len: 0 }
}
fn group(command: GroupModCommand, id: u32, kind: GroupType, buckets: Vec<Bucket>) -> GroupMod {
    GroupMod { command, kind, group_id: GroupId(id), buckets }
}
fn meter(command: MeterModCommand, id: u32, flags: u16, bands: Vec<MeterBand>) -> MeterMod {
    MeterMod { command, flags: MeterFlags(flags), meter_id: MeterId(id), bands }
}
fn drop_band(rate: u32) -> Vec<MeterBand> {
    vec![MeterBand::Drop { rate, burst_size: 0 }]
}

fn bad_requests(c: &mut Cases) {
    let mut old = raw(14, &[]);
    old[0] = 1;
    c.bytes("another version after HELLO", &old, OfpError::OFPBRC_BAD_VERSION);
    c.bytes("an unknown type", &raw(77, &[]), OfpError::OFPBRC_BAD_TYPE);
    c.bytes("what only a switch sends", &raw(21, &[]), OfpError::OFPBRC_BAD_TYPE);
    c.bytes(
        "an unknown multipart type",
        &raw(18, &[0, 99, 0, 0, 0, 0, 0, 0]),
        OfpError::OFPBRC_BAD_MULTIPART,
    );
    c.bytes("an unknown experimenter", &raw(4, &[0, 1, 2, 3, 0, 0, 0, 1]), OfpError::OFPBRC_BAD_EXPERIMENTER);
    c.bytes(
        "an unknown message of Nicira",
        &raw(4, &[0, 0, 0x23, 0x20, 0, 0, 0xff, 1]),
        OfpError::OFPBRC_BAD_EXP_TYPE,
    );
    c.bytes(
        "a packet-in format that there is not",
        &raw(4, &[0, 0, 0x23, 0x20, 0, 0, 0, 16, 0, 0, 0, 9]),
        OfpError::OFPBRC_EPERM,
    );
    c.bytes("a flow-mod cut short", &raw(14, &[0; 9]), OfpError::OFPBRC_BAD_LEN);
    c.bytes("a barrier with a body", &raw(20, &[1]), OfpError::OFPBRC_BAD_LEN);
    let data: bytes::Bytes = vec![0u8; 60].into();
    let out = |buffer_id, in_port, actions, data: &bytes::Bytes| PacketOut {
        buffer_id,
        in_port: PortNo(in_port),
        actions,
        data: data.clone(),
    };
    const NONE: u32 = openflow::msg::OFP_NO_BUFFER;
    c.message(
        "an unknown buffer",
        out(5, 1, vec![output(1)], &bytes::Bytes::new()),
        OfpError::OFPBRC_BUFFER_UNKNOWN,
    );
    c.flow_with("an unknown buffer of a flow-mod", |m| m.buffer_id = 5, OfpError::OFPBRC_BUFFER_UNKNOWN);
    c.message(
        "an in_port that there is not",
        out(NONE, 99, vec![output(1)], &data),
        OfpError::OFPBRC_BAD_PORT,
    );
    for p in [
        0,
        PortNo::MAX.0 + 1,
        PortNo::IN_PORT.0,
        PortNo::TABLE.0,
        PortNo::NORMAL.0,
        PortNo::FLOOD.0,
        PortNo::ALL.0,
    ] {
        c.message(
            &format!("in_port {p:#x}"),
            out(NONE, p, vec![output(1)], &data),
            OfpError::OFPBRC_BAD_PORT,
        );
    }
    for p in [2, PortNo::LOCAL.0, PortNo::CONTROLLER.0, PortNo::ANY.0] {
        c.rig.change(out(NONE, p, vec![output(1)], &data));
    }
    c.message(
        "a packet too short to be one",
        out(NONE, 1, vec![output(1)], &data.slice(..9)),
        OfpError::OFPBRC_BAD_PACKET,
    );
    c.message("output to no port", out(NONE, 1, vec![output(0)], &data), OfpError::OFPBAC_BAD_OUT_PORT);
    let stats = FlowStatsRequest { table_id: TableId(254), ..FlowStatsRequest::default() };
    c.ask(
        "flows of a table that there is not",
        RequestBody::Flow(stats.clone()),
        OfpError::OFPBRC_BAD_TABLE_ID,
    );
    c.ask("the sum of such", RequestBody::Aggregate(stats), OfpError::OFPBRC_BAD_TABLE_ID);
    let lone = openflow::Match::new().with(openflow::field::Field::Ipv4Src, 1);
    let stats = FlowStatsRequest { matching: lone, ..FlowStatsRequest::default() };
    c.ask("flows of a match without prerequisites", RequestBody::Flow(stats), OfpError::OFPBMC_BAD_PREREQ);
    let port = openflow::msg::multipart::PortStatsRequest { port_no: PortNo(99) };
    c.ask("counters of a port that there is not", RequestBody::PortStats(port), OfpError::OFPBRC_BAD_PORT);
    // A request in parts that has no end.
    let part = |xid: u8, len: usize| {
        let mut b = vec![0, 12, 0, 1, 0, 0, 0, 0];
        b.resize(8 + len, 0);
        for t in b[8..].chunks_exact_mut(64) {
            t[1] = 64;
        }
        let mut m = raw(18, &b);
        m[7] = xid;
        m
    };
    let big = part(0x55, 64 * 1000);
    let full = (0..40).find_map(|_| c.answer(0, &big));
    assert_eq!(full, Some(OfpError::OFPBRC_MULTIPART_BUFFER_OVERFLOW));
    c.seen.insert(OfpError::OFPBRC_MULTIPART_BUFFER_OVERFLOW.to_string());
    // A slave may not.
    let slave = c.rig.connect(ConnOptions::new(ConnKind::Controller, "slave"));
    c.rig.ask(slave, Message::RoleRequest(Role { role: ControllerRole::SLAVE, generation_id: 7 }));
    let denied: Vec<Message> = vec![
        FlowMod::default().into(),
        group(GroupModCommand::DELETE, 9, GroupType::ALL, vec![]).into(),
        meter(MeterModCommand::DELETE, 9, 0, vec![]).into(),
        PortMod::default().into(),
        TableMod { table_id: TableId(0), config: 0 }.into(),
        out(NONE, 1, vec![output(1)], &data).into(),
        MultipartRequest::new(RequestBody::TableFeatures(vec![TableFeatures::default()])).into(),
    ];
    for m in denied {
        let bytes = OfMessage::new(Xid(3), m).to_bytes().expect("a message");
        assert_eq!(c.answer(slave, &bytes), Some(OfpError::OFPBRC_IS_SLAVE), "type {}", bytes[1]);
    }
    c.seen.insert(OfpError::OFPBRC_IS_SLAVE.to_string());
    let stale = Message::RoleRequest(Role { role: ControllerRole::MASTER, generation_id: 6 });
    c.message("a generation of before", stale, OfpError::OFPRRFC_STALE);
    let odd = Message::RoleRequest(Role { role: ControllerRole(9), generation_id: 7 });
    c.message("a role that there is not", odd, OfpError::OFPRRFC_BAD_ROLE);
}

fn bad_actions(c: &mut Cases) {
    let act = |bytes: &[u8]| raw_flow(&ANY, &apply(bytes));
    c.bytes("an unknown action", &act(&[0, 99, 0, 8, 0, 0, 0, 0]), OfpError::OFPBAC_BAD_TYPE);
    c.bytes("an output of 8 bytes", &act(&[0, 0, 0, 8, 0, 0, 0, 1]), OfpError::OFPBAC_BAD_LEN);
    c.bytes("a length of 0", &act(&[0, 0, 0, 0, 0, 0, 0, 1]), OfpError::OFPBAC_BAD_LEN);
    c.bytes(
        "an unknown experimenter",
        &act(&[0xff, 0xff, 0, 16, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]),
        OfpError::OFPBAC_BAD_EXPERIMENTER,
    );
    c.bytes(
        "an unknown action of Nicira",
        &act(&[0xff, 0xff, 0, 16, 0, 0, 0x23, 0x20, 0x7f, 0, 0, 0, 0, 0, 0, 0]),
        OfpError::OFPBAC_BAD_EXP_TYPE,
    );
    for p in [0, PortNo::ANY.0, PortNo::UNSET.0, PortNo::TABLE.0, PortNo::MAX.0 + 1] {
        c.actions(&format!("output to {p:#x}"), vec![output(p)], OfpError::OFPBAC_BAD_OUT_PORT);
    }
    c.actions("push VLAN of another type", vec![Action::PushVlan(0x1234)], OfpError::OFPBAC_BAD_ARGUMENT);
    c.actions("push MPLS of another type", vec![Action::PushMpls(0x800)], OfpError::OFPBAC_BAD_ARGUMENT);
    c.actions("push PBB of another type", vec![Action::PushPbb(0x8100)], OfpError::OFPBAC_BAD_ARGUMENT);
    c.actions("queue OFPQ_ALL", vec![Action::SetQueue(u32::MAX)], OfpError::OFPBAC_BAD_QUEUE);
    c.actions("a group that there is not", vec![Action::Group(GroupId(77))], OfpError::OFPBAC_BAD_OUT_GROUP);
    let deep = (0..9).fold(vec![output(1)], |l, _| vec![Action::Clone(l)]);
    c.actions("copies of copies of copies", deep, OfpError::OFPBAC_TOO_MANY);
    c.flow("priority=5,actions=set_field:10.0.0.1->ip_dst", OfpError::OFPBAC_MATCH_INCONSISTENT);
    c.flow("priority=5,tcp,actions=set_field:53->udp_dst,output:1", OfpError::OFPBAC_MATCH_INCONSISTENT);
    c.flow("priority=5,tcp,actions=set_field:4101->vlan_vid,output:1", OfpError::OFPBAC_MATCH_INCONSISTENT);
    c.bytes(
        "set-field of in_port",
        &act(&[0, 25, 0, 16, 0x80, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0]),
        OfpError::OFPBAC_BAD_SET_TYPE,
    );
    c.bytes(
        "set-field of in_phy_port",
        &act(&[0, 25, 0, 16, 0x80, 0, 1 << 1, 4, 0, 0, 0, 1, 0, 0, 0, 0]),
        OfpError::OFPBAC_BAD_SET_TYPE,
    );
    c.bytes(
        "set-field with a mask, though of all bits",
        &act(&[
            0,
            25,
            0,
            24,
            0x80,
            0,
            3 << 1 | 1,
            12,
            2,
            0,
            0,
            0,
            0,
            1,
            255,
            255,
            255,
            255,
            255,
            255,
            0,
            0,
            0,
            0,
        ]),
        OfpError::OFPBAC_BAD_SET_TYPE,
    );
    c.bytes(
        "set-field of what extension headers there are",
        &raw_flow(
            &oxm(&[0x80, 0, 5 << 1, 2, 0x86, 0xdd]),
            &apply(&[0, 25, 0, 16, 0x80, 0, 39 << 1, 2, 0, 1, 0, 0, 0, 0, 0, 0]),
        ),
        OfpError::OFPBAC_BAD_SET_TYPE,
    );
    c.bytes(
        "set-field of an unknown field",
        &act(&[0, 25, 0, 16, 0x80, 0, 0xfc, 4, 0, 0, 0, 1, 0, 0, 0, 0]),
        OfpError::OFPBAC_BAD_SET_TYPE,
    );
    c.bytes(
        "set-field of an Ethernet address in 4 bytes",
        &act(&[0, 25, 0, 16, 0x80, 0, 3 << 1, 4, 0, 0, 0, 1, 0, 0, 0, 0]),
        OfpError::OFPBAC_BAD_SET_LEN,
    );
    c.bytes(
        "a VLAN id without the present bit",
        &raw_flow(
            &oxm(&[0x80, 0, 6 << 1, 2, 0x10, 1]),
            &apply(&[0, 25, 0, 16, 0x80, 0, 6 << 1, 2, 0, 5, 0, 0, 0, 0, 0, 0]),
        ),
        OfpError::OFPBAC_BAD_SET_ARGUMENT,
    );
}

fn bad_instructions_and_matches(c: &mut Cases) {
    c.bytes(
        "an unknown instruction",
        &raw_flow(&ANY, &[0, 99, 0, 8, 0, 0, 0, 0]),
        OfpError::OFPBIC_UNKNOWN_INST,
    );
    c.bytes(
        "of an experimenter",
        &raw_flow(&ANY, &[0xff, 0xff, 0, 8, 1, 2, 3, 4]),
        OfpError::OFPBIC_BAD_EXPERIMENTER,
    );
    c.bytes(
        "a goto of 16 bytes",
        &raw_flow(&ANY, &[0, 1, 0, 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        OfpError::OFPBIC_BAD_LEN,
    );
    c.bytes("a length of 4", &raw_flow(&ANY, &[0, 5, 0, 4, 0, 0, 0, 0]), OfpError::OFPBIC_BAD_LEN);
    c.flow_with(
        "clear-actions twice",
        |m| m.instructions = vec![Instruction::ClearActions, Instruction::ClearActions].into(),
        OfpError::OFPBIC_UNSUP_INST,
    );
    for (from, to) in [(3, 3), (3, 1), (0, 254), (0, 255)] {
        c.flow_with(
            &format!("goto {to} from {from}"),
            |m| {
                (m.table_id, m.instructions) =
                    (TableId(from), vec![Instruction::GotoTable(TableId(to))].into())
            },
            OfpError::OFPBIC_BAD_TABLE_ID,
        );
    }
    let m = |match_bytes: &[u8]| raw_flow(match_bytes, &[]);
    c.bytes("a match of the old kind", &m(&[0, 0, 0, 4]), OfpError::OFPBMC_BAD_TYPE);
    c.bytes("in_port in 2 bytes", &m(&oxm(&[0x80, 0, 0, 2, 0, 1])), OfpError::OFPBMC_BAD_LEN);
    c.bytes("a match longer than the message", &m(&[0, 1, 0xff, 0xff]), OfpError::OFPBMC_BAD_LEN);
    c.bytes("an unknown field", &m(&oxm(&[0x80, 0, 0xfc, 1, 0])), OfpError::OFPBMC_BAD_FIELD);
    c.bytes("an unknown class", &m(&oxm(&[0x12, 0x34, 0, 4, 0, 0, 0, 1])), OfpError::OFPBMC_BAD_FIELD);
    c.bytes("in_port 0", &m(&oxm(&[0x80, 0, 0, 4, 0, 0, 0, 0])), OfpError::OFPBMC_BAD_VALUE);
    c.bytes("a VLAN id of 14 bits", &m(&oxm(&[0x80, 0, 6 << 1, 2, 0x20, 1])), OfpError::OFPBMC_BAD_VALUE);
    let ip = [0x80, 0, 5 << 1, 2, 8, 0];
    c.bytes(
        "a value outside its mask",
        &m(&oxm(&[&ip[..], &[0x80, 0, 11 << 1 | 1, 8, 10, 0, 0, 1, 255, 0, 0, 0]].concat())),
        OfpError::OFPBMC_BAD_WILDCARDS,
    );
    c.bytes(
        "a mask on what cannot have one",
        &m(&oxm(&[&ip[..], &[0x80, 0, 10 << 1 | 1, 2, 6, 6]].concat())),
        OfpError::OFPBMC_BAD_MASK,
    );
    c.bytes(
        "a mask on what cannot have one",
        &m(&oxm(&[0x80, 0, 5 << 1 | 1, 4, 8, 0, 0xff, 0xfe])),
        OfpError::OFPBMC_BAD_MASK,
    );
    c.bytes(
        "an address without its protocol",
        &m(&oxm(&[0x80, 0, 11 << 1, 4, 10, 0, 0, 1])),
        OfpError::OFPBMC_BAD_PREREQ,
    );
    c.bytes("a field twice", &m(&oxm(&[ip, ip].concat())), OfpError::OFPBMC_DUP_FIELD);
}

/// The prerequisites of OpenFlow 1.3.5, "Flow Match Field Prerequisite": a field and a value of it, and what must be matched before it.
fn prerequisites(c: &mut Cases) {
    use Field::*;
    let ip4: &[(Field, u128)] = &[(EthType, 0x800)];
    let ip6: &[(Field, u128)] = &[(EthType, 0x86dd)];
    let arp: &[(Field, u128)] = &[(EthType, 0x806)];
    let (mpls, mpls_too): (&[_], &[_]) = (&[(EthType, 0x8847)], &[(EthType, 0x8848)]);
    let proto = |n| [vec![ip4[0], (IpProto, n)], vec![ip6[0], (IpProto, n)]];
    let (tcp, udp, sctp) = (proto(6), proto(17), proto(132));
    let icmp4 = &[(EthType, 0x800), (IpProto, 1)];
    let icmp6 = &[(EthType, 0x86dd), (IpProto, 58)];
    let nd = |kind| [icmp6[0], icmp6[1], (Icmpv6Type, kind)];
    let (ns, na) = (nd(135), nd(136));
    type Row<'a> = (&'a [Field], &'a [&'a [(Field, u128)]]);
    let rows: [Row<'_>; 15] = [
        (&[InPhyPort], &[&[(InPort, 1)]]),
        (&[VlanPcp], &[&[(VlanVid, 0x1001)]]),
        (&[IpDscp, IpEcn, IpProto], &[ip4, ip6]),
        (&[Ipv4Src, Ipv4Dst], &[ip4]),
        (&[TcpSrc, TcpDst], &[&tcp[0], &tcp[1]]),
        (&[UdpSrc, UdpDst], &[&udp[0], &udp[1]]),
        (&[SctpSrc, SctpDst], &[&sctp[0], &sctp[1]]),
        (&[Icmpv4Type, Icmpv4Code], &[icmp4]),
        (&[ArpOp, ArpSpa, ArpTpa, ArpSha, ArpTha], &[arp]),
        (&[Ipv6Src, Ipv6Dst, Ipv6Flabel, Ipv6Exthdr], &[ip6]),
        (&[Icmpv6Type, Icmpv6Code], &[icmp6]),
        (&[Ipv6NdTarget], &[&ns, &na]),
        (&[Ipv6NdSll], &[&ns]),
        (&[Ipv6NdTll], &[&na]),
        (&[MplsLabel, MplsTc, MplsBos], &[mpls, mpls_too]),
    ];
    let pbb: Row<'_> = (&[PbbIsid, PbbUca], &[&[(EthType, 0x88e7)]]);
    let free = [InPort, Metadata, EthDst, EthSrc, EthType, TunnelId];
    let mut seen: BTreeSet<Field> = free.into_iter().chain([VlanVid]).collect();
    for f in free {
        c.rig.change(FlowMod { matching: Match::new().with(f, 1), ..FlowMod::default() });
    }
    for (fields, alternatives) in rows.into_iter().chain([pbb]) {
        for f in fields {
            seen.insert(*f);
            c.flow_with(
                &format!("{f} alone"),
                |m| m.matching = Match::new().with(*f, 1),
                OfpError::OFPBMC_BAD_PREREQ,
            );
            for chain in alternatives {
                let with = |skip: Option<usize>, add: u128| {
                    let mut m = Match::new();
                    for (i, (f, v)) in chain.iter().enumerate() {
                        m = if skip != Some(i) {
                            m.with(*f, *v)
                        } else if add > 0 {
                            m.with(*f, v + add)
                        } else {
                            m
                        };
                    }
                    m.with(*f, 1)
                };
                c.rig.change(FlowMod { matching: with(None, 0), ..FlowMod::default() });
                for i in 0..chain.len() {
                    let what = format!("{f} without {}", chain[i].0);
                    c.flow_with(&what, |m| m.matching = with(Some(i), 0), OfpError::OFPBMC_BAD_PREREQ);
                    // Any port will do, and any VLAN.
                    if !matches!(chain[i].0, InPort | VlanVid) {
                        let what = format!("{f} with another {}", chain[i].0);
                        c.flow_with(&what, |m| m.matching = with(Some(i), 0x40), OfpError::OFPBMC_BAD_PREREQ);
                    }
                }
            }
        }
    }
    c.flow_with(
        "a priority of no VLAN",
        |m| m.matching = Match::new().with(VlanVid, 0).with(VlanPcp, 1),
        OfpError::OFPBMC_BAD_PREREQ,
    );
    let basic = FIELDS.iter().filter(|d| d.class == CLASS_BASIC).map(|d| d.field);
    let missing: Vec<Field> = basic.filter(|f| !seen.contains(f)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    c.rig.change(FlowMod { command: FlowModCommand::DELETE, table_id: TableId::ALL, ..FlowMod::default() });
}

fn flow_group_meter(c: &mut Cases) {
    use FlowModCommand as F;
    c.rig.change(
        parse_flow("table=9,priority=7,ip,nw_dst=10.0.0.0/8,actions=drop", F::ADD, &NoNames).expect("flow"),
    );
    for t in [254, 255] {
        c.flow_with("a table that there is not", |m| m.table_id = TableId(t), OfpError::OFPFMFC_BAD_TABLE_ID);
    }
    c.flow_with(
        "modify in all tables",
        |m| (m.table_id, m.command) = (TableId::ALL, F::MODIFY),
        OfpError::OFPFMFC_BAD_TABLE_ID,
    );
    let mut over =
        parse_flow("table=9,priority=7,tcp,tp_dst=80,actions=drop", F::ADD, &NoNames).expect("flow");
    over.flags = FlowModFlags::CHECK_OVERLAP;
    c.message("an entry that overlaps", over, OfpError::OFPFMFC_OVERLAP);
    c.flow_with("an unknown command", |m| m.command = FlowModCommand(9), OfpError::OFPFMFC_BAD_COMMAND);
    c.flow_with("an unknown flag", |m| m.flags = FlowModFlags(0x8000), OfpError::OFPFMFC_BAD_FLAGS);

    use GroupModCommand as G;
    let to = |p| Bucket::new(vec![output(p)]);
    let chain = |g| Bucket::new(vec![Action::Group(GroupId(g))]);
    c.rig.change(group(G::ADD, 1, GroupType::ALL, vec![to(2)]));
    c.rig.change(group(G::ADD, 2, GroupType::ALL, vec![chain(1)]));
    c.message(
        "a group that is there",
        group(G::ADD, 1, GroupType::ALL, vec![to(2)]),
        OfpError::OFPGMFC_GROUP_EXISTS,
    );
    c.message(
        "a number that is reserved",
        group(G::ADD, 0xffff_ff01, GroupType::ALL, vec![]),
        OfpError::OFPGMFC_INVALID_GROUP,
    );
    c.message(
        "an indirect group of two",
        group(G::ADD, 5, GroupType::INDIRECT, vec![to(1), to(2)]),
        OfpError::OFPGMFC_INVALID_GROUP,
    );
    let heavy = Bucket { weight: 7, ..to(1) };
    c.message(
        "a weight where there is none",
        group(G::ADD, 5, GroupType::ALL, vec![heavy]),
        OfpError::OFPGMFC_INVALID_GROUP,
    );
    c.message("a loop", group(G::MODIFY, 1, GroupType::ALL, vec![chain(2)]), OfpError::OFPGMFC_LOOP);
    c.message("a loop of one", group(G::ADD, 5, GroupType::ALL, vec![chain(5)]), OfpError::OFPGMFC_LOOP);
    c.message(
        "a group that is not there",
        group(G::MODIFY, 6, GroupType::ALL, vec![]),
        OfpError::OFPGMFC_UNKNOWN_GROUP,
    );
    c.message(
        "a group that another leads to",
        group(G::DELETE, 1, GroupType::ALL, vec![]),
        OfpError::OFPGMFC_CHAINED_GROUP,
    );
    c.message("an unknown kind", group(G::ADD, 5, GroupType(9), vec![]), OfpError::OFPGMFC_BAD_TYPE);
    c.message(
        "an unknown command",
        group(GroupModCommand(9), 5, GroupType::ALL, vec![]),
        OfpError::OFPGMFC_BAD_COMMAND,
    );
    let mut cut = vec![0, 0, 0, 0, 0, 0, 0, 5];
    cut.extend([0, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    c.bytes("a bucket of 15 bytes", &raw(15, &cut), OfpError::OFPGMFC_BAD_BUCKET);
    let watch = Bucket { watch_group: GroupId(66), ..to(1) };
    c.message(
        "a watch on no group",
        group(G::ADD, 5, GroupType::FF, vec![watch]),
        OfpError::OFPGMFC_BAD_WATCH,
    );
    let ports = [0, PortNo::MAX.0 + 1, PortNo::IN_PORT.0, PortNo::TABLE.0, PortNo::NORMAL.0, PortNo::FLOOD.0];
    for p in ports.into_iter().chain([PortNo::ALL.0, PortNo::CONTROLLER.0]) {
        let watch = Bucket { watch_port: PortNo(p), ..to(1) };
        for kind in [GroupType::FF, GroupType::SELECT] {
            c.message(
                &format!("a watch on port {p:#x}"),
                group(G::ADD, 5, kind, vec![watch.clone()]),
                OfpError::OFPGMFC_BAD_WATCH,
            );
        }
    }
    for g in [0, GroupId::ALL.0, GroupId::MAX.0 + 1] {
        let watch = Bucket { watch_group: GroupId(g), ..to(1) };
        c.message(
            &format!("a watch on group {g:#x}"),
            group(G::ADD, 5, GroupType::FF, vec![watch]),
            OfpError::OFPGMFC_BAD_WATCH,
        );
    }
    // A port that may come, and LOCAL.
    let watch = |p| Bucket { watch_port: PortNo(p), ..to(1) };
    c.rig.change(group(G::ADD, 5, GroupType::FF, vec![watch(77), watch(PortNo::LOCAL.0)]));
    c.rig.change(group(G::DELETE, 5, GroupType::ALL, vec![]));
    c.message(
        "a bucket to no group",
        group(G::ADD, 5, GroupType::ALL, vec![chain(66)]),
        OfpError::OFPBAC_BAD_OUT_GROUP,
    );

    use MeterModCommand as M;
    c.rig.change(meter(M::ADD, 1, 1, drop_band(1000)));
    c.message("a meter that is there", meter(M::ADD, 1, 1, drop_band(5)), OfpError::OFPMMFC_METER_EXISTS);
    c.message("meter 0", meter(M::ADD, 0, 1, drop_band(5)), OfpError::OFPMMFC_INVALID_METER);
    c.message(
        "a number that is reserved",
        meter(M::ADD, 0xffff_0001, 1, drop_band(5)),
        OfpError::OFPMMFC_INVALID_METER,
    );
    c.flow("priority=5,actions=meter:9,output:1", OfpError::OFPMMFC_INVALID_METER);
    for id in [MeterId::SLOWPATH, MeterId::CONTROLLER] {
        c.rig.change(meter(M::ADD, id.0, 1, drop_band(1000)));
    }
    for id in [MeterId(0), MeterId::SLOWPATH, MeterId::CONTROLLER, MeterId::ALL] {
        c.flow_with(
            &format!("a flow entry of meter {id}"),
            |m| m.instructions = vec![Instruction::Meter(id)].into(),
            OfpError::OFPMMFC_INVALID_METER,
        );
    }
    for id in [MeterId::SLOWPATH, MeterId::CONTROLLER] {
        c.rig.change(meter(M::DELETE, id.0, 0, vec![]));
    }
    c.message(
        "a meter that is not there",
        meter(M::MODIFY, 9, 1, drop_band(5)),
        OfpError::OFPMMFC_UNKNOWN_METER,
    );
    let nine = MeterRequest { meter_id: MeterId(9) };
    c.ask("counters of such", RequestBody::Meter(nine.clone()), OfpError::OFPMMFC_UNKNOWN_METER);
    c.ask("the configuration of such", RequestBody::MeterConfig(nine), OfpError::OFPMMFC_UNKNOWN_METER);
    c.message("an unknown command", meter(MeterModCommand(9), 2, 1, vec![]), OfpError::OFPMMFC_BAD_COMMAND);
    c.message("kilobits and packets at once", meter(M::ADD, 2, 3, drop_band(5)), OfpError::OFPMMFC_BAD_FLAGS);
    c.message("an unknown flag", meter(M::ADD, 2, 0x100, drop_band(5)), OfpError::OFPMMFC_BAD_FLAGS);
    c.message("a rate of 0", meter(M::ADD, 2, 1, drop_band(0)), OfpError::OFPMMFC_BAD_RATE);
    c.message("a burst of 0", meter(M::ADD, 2, 5, drop_band(5)), OfpError::OFPMMFC_BAD_BURST);
    let odd = MeterBand::Experimenter { rate: 5, burst_size: 0, experimenter: 9, body: vec![] };
    c.message("a band of an experimenter", meter(M::ADD, 2, 1, vec![odd]), OfpError::OFPMMFC_BAD_BAND);
    let none = MeterBand::DscpRemark { rate: 5, burst_size: 0, prec_level: 0 };
    c.message("a remark by nothing", meter(M::ADD, 2, 1, vec![none]), OfpError::OFPMMFC_BAD_BAND_VALUE);
    let many = (0..256).flat_map(|_| drop_band(5)).collect();
    c.message("256 bands", meter(M::ADD, 2, 1, many), OfpError::OFPMMFC_OUT_OF_BANDS);
    // All meters that there can be.
    let mut all = Vec::new();
    for id in 2..=(1 << 16) {
        all.extend(OfMessage::new(Xid(1), meter(M::ADD, id, 1, vec![])).to_bytes().expect("a message"));
    }
    for piece in all.chunks(100_000) {
        c.rig.say_raw(0, piece);
        c.rig.settle();
    }
    c.message("one meter too many", meter(M::ADD, 1 << 17, 1, vec![]), OfpError::OFPMMFC_OUT_OF_METERS);
    // All groups that there can be.
    let first = group(G::ADD, 1 << 24, GroupType::ALL, vec![]);
    let mut one = OfMessage::new(Xid(1), first).to_bytes().expect("a message").to_vec();
    for _ in 0..4 {
        let mut piece = Vec::new();
        for _ in 0..1 << 18 {
            piece.extend(&one);
            let id = u32::from_be_bytes([one[12], one[13], one[14], one[15]]) + 1;
            one[12..16].copy_from_slice(&id.to_be_bytes());
        }
        c.rig.say_raw(0, &piece);
        c.rig.settle();
    }
    c.rig.hear(0);
    c.message(
        "a group too many",
        group(G::ADD, 1 << 25, GroupType::ALL, vec![]),
        OfpError::OFPGMFC_OUT_OF_GROUPS,
    );
    c.rig.change(group(G::DELETE, GroupId::ALL.0, GroupType::ALL, vec![]));
}

fn ports_tables_settings(c: &mut Cases) {
    let ports = c.rig.switch.ports(c.rig.bridge);
    let one = ports.iter().find(|(_, p)| p.port_no == PortNo(1)).expect("port 1").1.clone();
    let base = PortMod { port_no: PortNo(1), hw_addr: one.hw_addr, ..PortMod::default() };
    c.message(
        "a port that there is not",
        PortMod { port_no: PortNo(99), ..base.clone() },
        OfpError::OFPPMFC_BAD_PORT,
    );
    c.message(
        "another's address",
        PortMod { hw_addr: Default::default(), ..base.clone() },
        OfpError::OFPPMFC_BAD_HW_ADDR,
    );
    let bit = PortConfig(1 << 20);
    c.message(
        "an unknown bit",
        PortMod { config: bit, mask: bit, ..base.clone() },
        OfpError::OFPPMFC_BAD_CONFIG,
    );
    c.message(
        "an unknown bit of the mask",
        PortMod { mask: bit, ..base.clone() },
        OfpError::OFPPMFC_BAD_CONFIG,
    );
    for bit in [1 << 16, 1 << 31] {
        let advertise = PortFeatures(PortFeatures::COPPER.0 | bit);
        c.message(
            "a feature that there is not",
            PortMod { advertise, ..base.clone() },
            OfpError::OFPPMFC_BAD_ADVERTISE,
        );
    }
    c.rig.change(PortMod { advertise: PortFeatures::SPEED_10GB_FD, ..base.clone() });
    c.rig.change(PortMod { advertise: PortFeatures::all(), ..base });
    c.message(
        "a table that there is not",
        TableMod { table_id: TableId(254), config: 0 },
        OfpError::OFPTMFC_BAD_TABLE,
    );
    c.message(
        "an unknown bit of a table",
        TableMod { table_id: TableId(1), config: 8 },
        OfpError::OFPTMFC_BAD_CONFIG,
    );
    let get = |p| Message::QueueGetConfigRequest(QueueGetConfigRequest { port: PortNo(p) });
    c.message("queues of a port that there is not", get(99), OfpError::OFPQOFC_BAD_PORT);
    let stats = |p, queue_id| RequestBody::Queue(QueueStatsRequest { port_no: PortNo(p), queue_id });
    c.ask("counters of such", stats(99, u32::MAX), OfpError::OFPQOFC_BAD_PORT);
    c.ask("counters of a queue that there is not", stats(1, 77), OfpError::OFPQOFC_BAD_QUEUE);
    let set =
        |flags, miss_send_len| Message::SetConfig(SwitchConfig { flags: ConfigFlags(flags), miss_send_len });
    c.message("reassembly, which is not offered", set(2, 128), OfpError::OFPSCFC_BAD_FLAGS);
    c.message(
        "a miss_send_len between OFPCML_MAX and OFPCML_NO_BUFFER",
        set(0, 0xfff0),
        OfpError::OFPSCFC_BAD_LEN,
    );
    for len in [0, 128, 0xffe5, 0xffff] {
        c.rig.change(set(0, len));
    }
}

fn bundles(c: &mut Cases) {
    let flags = BundleFlags::ATOMIC | BundleFlags::ORDERED;
    let control = |id, kind, flags| BundleControl { bundle_id: id, kind, flags, properties: Vec::new() };
    let add = |id, xid: u32, body: Message| BundleAdd {
        bundle_id: id,
        flags,
        message: Box::new(OfMessage::new(Xid(xid), body)),
        properties: Vec::new(),
    };
    use BundleCtrlType as B;
    c.message("a commit of nothing", control(1, B::COMMIT_REQUEST, flags), OfpError::OFPBFC_BAD_ID);
    c.rig.change(control(1, B::OPEN_REQUEST, flags));
    c.message("opened twice", control(1, B::OPEN_REQUEST, flags), OfpError::OFPBFC_BAD_ID);
    c.rig.change(control(1, B::OPEN_REQUEST, flags));
    c.rig.change(control(1, B::CLOSE_REQUEST, flags));
    c.message("added when closed", add(1, 0x77, FlowMod::default().into()), OfpError::OFPBFC_BUNDLE_CLOSED);
    c.message("closed twice", control(1, B::CLOSE_REQUEST, flags), OfpError::OFPBFC_BUNDLE_CLOSED);
    c.message("an unknown kind", control(1, BundleCtrlType(99), flags), OfpError::OFPBFC_BAD_TYPE);
    c.message("unknown flags", control(1, B::OPEN_REQUEST, BundleFlags(0x80)), OfpError::OFPBFC_BAD_FLAGS);
    c.rig.change(control(2, B::OPEN_REQUEST, flags));
    c.message("other flags", control(2, B::COMMIT_REQUEST, BundleFlags::ATOMIC), OfpError::OFPBFC_BAD_FLAGS);
    c.message("another xid inside", add(3, 0x78, FlowMod::default().into()), OfpError::OFPBFC_MSG_BAD_XID);
    c.message("a barrier inside", add(3, 0x77, Message::BarrierRequest), OfpError::OFPBFC_MSG_UNSUP);
    let mut long = OfMessage::new(Xid(0x77), add(3, 0x77, FlowMod::default().into()))
        .to_bytes()
        .expect("bytes")
        .to_vec();
    // The length of the message inside.
    let at = long.len() - FlowMod::default_len() + 2;
    long[at..at + 2].copy_from_slice(&60_000u16.to_be_bytes());
    c.bytes("a message inside that is longer than its surroundings", &long, OfpError::OFPBFC_MSG_BAD_LEN);
    c.rig.change(control(4, B::OPEN_REQUEST, flags));
    let bad = FlowMod { flags: FlowModFlags(0x8000), ..FlowMod::default() };
    c.rig.say(0, &OfMessage::new(Xid(0x99), add(4, 0x99, bad.into())));
    c.message(
        "a message inside that is refused",
        control(4, B::COMMIT_REQUEST, flags),
        OfpError::OFPBFC_MSG_FAILED,
    );
    // More than a connection may hold.
    c.rig.change(control(5, B::OPEN_REQUEST, flags));
    let data = bytes::Bytes::from(vec![0; 65_000]);
    let big = PacketOut {
        buffer_id: openflow::msg::OFP_NO_BUFFER,
        in_port: PortNo::CONTROLLER,
        actions: vec![],
        data,
    };
    let big = OfMessage::new(Xid(0x77), add(5, 0x77, big.into())).to_bytes().expect("bytes");
    for i in 0..(192 << 20) / big.len() {
        c.rig.say_raw(0, &big);
        if i % 64 == 0 {
            c.rig.settle();
        }
    }
    c.bytes("a message too many", &big, OfpError::OFPBFC_MSG_TOO_MANY);
    c.rig.change(control(5, B::DISCARD_REQUEST, flags));
    for i in 0..40 {
        c.rig.say(0, &OfMessage::new(Xid(1), control(100 + i, B::OPEN_REQUEST, flags)));
    }
    c.rig.settle();
    c.message("one bundle too many", control(200, B::OPEN_REQUEST, flags), OfpError::OFPBFC_OUT_OF_BUNDLES);
}

trait Len {
    fn default_len() -> usize;
}
impl Len for FlowMod {
    fn default_len() -> usize {
        OfMessage::new(Xid(0), FlowMod::default()).to_bytes().expect("bytes").len()
    }
}

/// A switch that keeps packets.
fn buffers(c: &mut Cases) {
    use BundleCtrlType as B;
    let to_controller = vec![Action::Output { port: PortNo::CONTROLLER, max_len: 14 }];
    let out = |buffer_id, data: Vec<u8>| PacketOut {
        buffer_id,
        in_port: PortNo::CONTROLLER,
        actions: to_controller.clone(),
        data: data.into(),
    };
    let keep = |c: &mut Cases| {
        let (_, mut heard) = c.rig.ask(0, out(OFP_NO_BUFFER, vec![1; 200]));
        // A worker sends it: it may be a moment behind the request.
        c.rig.sent();
        heard.extend(c.rig.hear(0));
        let kept = heard.iter().find_map(|m| match &m.body {
            Message::PacketIn(p) => Some((p.buffer_id, p.total_len, p.data.len())),
            _ => None,
        });
        let (buffer, total, len) = kept.expect("a packet-in");
        assert!(buffer != OFP_NO_BUFFER && (total, len) == (200, 14), "{kept:?}");
        buffer
    };
    let used = keep(c);
    c.rig.change(out(used, vec![]));
    c.message("a buffer that was used", out(used, vec![]), OfpError::OFPBRC_BUFFER_EMPTY);
    c.flow_with("the same of a flow-mod", |m| m.buffer_id = used, OfpError::OFPBRC_BUFFER_EMPTY);
    // Twice within a bundle is once too often, and then not even once.
    let flags = BundleFlags::ATOMIC;
    let control = |bundle_id, kind| {
        Message::BundleControl(BundleControl { bundle_id, kind, flags, properties: vec![] })
    };
    let kept = keep(c);
    let flow = FlowMod { buffer_id: kept, ..FlowMod::default() };
    for (xid, body) in [(5, out(kept, vec![]).into()), (6, Message::from(flow))] {
        let message = Box::new(OfMessage::new(Xid(xid), body));
        let add = BundleAdd { bundle_id: 1, flags, message, properties: vec![] };
        c.rig.say(0, &OfMessage::new(Xid(xid), add));
    }
    let (_, heard) = c.rig.ask(0, control(1, B::COMMIT_REQUEST));
    let errors: Vec<_> = heard
        .iter()
        .map(|m| match &m.body {
            Message::Error(e) => (m.xid.0, e.error),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(errors[0], (6, OfpError::OFPBRC_BUFFER_EMPTY));
    assert_eq!((errors.len(), errors[1].1), (2, OfpError::OFPBFC_MSG_FAILED));
    c.rig.change(out(kept, vec![]));
    // A bundle that nobody speaks of any more.
    c.rig.ask(0, control(2, B::OPEN_REQUEST));
    c.rig.manager.timers(std::time::Instant::now() + std::time::Duration::from_secs(11));
    let told = |m: &OfMessage| matches!(&m.body, Message::Error(e) if e.error == OfpError::OFPBFC_TIMEOUT);
    assert!(c.rig.hear(0).iter().any(told));
    c.seen.insert(OfpError::OFPBFC_TIMEOUT.to_string());
    c.message("a bundle that is over", control(2, B::COMMIT_REQUEST), OfpError::OFPBFC_BAD_ID);
}

fn table_features(c: &mut Cases) {
    let (_, heard) = c.rig.ask(0, MultipartRequest::new(RequestBody::TableFeatures(vec![])));
    let mut tables: Vec<TableFeatures> = Vec::new();
    for m in heard {
        if let Message::MultipartReply(MultipartReply { body: ReplyBody::TableFeatures(t), .. }) = m.body {
            tables.extend(t);
        }
    }
    let one = tables[0].clone();
    let mut set = |what: &str, change: &dyn Fn(&mut TableFeatures), want| {
        let mut t = one.clone();
        change(&mut t);
        c.ask(what, RequestBody::TableFeatures(vec![t]), want);
    };
    let only = |t: &mut TableFeatures, kind, body| t.properties = vec![TableFeatureProp { kind, body }];
    set("a table that there is not", &|t| t.table_id = TableId(254), OfpError::OFPTFFC_BAD_TABLE);
    set("more entries than there can be", &|t| t.max_entries = u32::MAX, OfpError::OFPTFFC_BAD_ARGUMENT);
    set(
        "an action that there is not",
        &|t| {
            only(
                t,
                TablePropType::APPLY_ACTIONS,
                PropBody::Actions(vec![ActionId { kind: 99, data: vec![] }]),
            )
        },
        OfpError::OFPTFFC_BAD_ARGUMENT,
    );
    let fields = |header| PropBody::Oxms(vec![OxmId { header, experimenter: 0 }]);
    set(
        "an Ethernet type of 3 bytes",
        &|t| only(t, TablePropType::MATCH, fields(0x8000_0a03)),
        OfpError::OFPTFFC_BAD_LEN,
    );
    set(
        "a settable in_port",
        &|t| only(t, TablePropType::APPLY_SETFIELD, fields(0x8000_0004)),
        OfpError::OFPTFFC_BAD_ARGUMENT,
    );
    set(
        "a property twice",
        &|t| {
            let p = t.properties[0].clone();
            t.properties.push(p);
        },
        OfpError::OFPTFFC_BAD_TYPE,
    );
    let mut cut = vec![0, 12, 0, 0, 0, 0, 0, 0];
    let mut t = vec![0; 64];
    t[1] = 63;
    cut.extend(t);
    c.bytes("a table of 63 bytes", &raw(18, &cut), OfpError::OFPTFFC_BAD_LEN);
    // A pipeline of two tables with little in them.
    let mut small = vec![tables[0].clone(), tables[1].clone()];
    for t in &mut small {
        t.max_entries = 2;
        t.metadata_write = 0xff;
    }
    c.rig
        .change(MultipartRequest { flags: MultipartFlags::empty(), body: RequestBody::TableFeatures(small) });
    c.flow("table=0,actions=write_metadata:0x100/0x100,goto_table:1", OfpError::OFPBIC_UNSUP_METADATA_MASK);
    for p in 1..=2 {
        c.rig.change(FlowMod { priority: p, ..FlowMod::default() });
    }
    c.flow("priority=3,actions=drop", OfpError::OFPFMFC_TABLE_FULL);
    for command in [
        FlowModCommand::ADD,
        FlowModCommand::MODIFY_STRICT,
        FlowModCommand::DELETE,
        FlowModCommand::DELETE_STRICT,
    ] {
        let what = format!("{command:?} in a table that was taken out");
        c.flow_with(
            &what,
            |m| (m.table_id, m.command) = (TableId(7), command),
            OfpError::OFPFMFC_BAD_TABLE_ID,
        );
    }
    c.flow("table=1,actions=goto_table:7", OfpError::OFPBIC_BAD_TABLE_ID);
    c.message("its configuration", TableMod { table_id: TableId(7), config: 0 }, OfpError::OFPTMFC_BAD_TABLE);
    let stats = FlowStatsRequest { table_id: TableId(7), ..FlowStatsRequest::default() };
    c.ask("its flow entries", RequestBody::Flow(stats.clone()), OfpError::OFPBRC_BAD_TABLE_ID);
    c.ask("the sum of them", RequestBody::Aggregate(stats), OfpError::OFPBRC_BAD_TABLE_ID);
    // Three tables: the first leads to the second only, and the second applies actions and no more; so does its table-miss entry, of which
    // nothing is said.
    let mut three = tables[..3].to_vec();
    let apply = vec![InstructionId { kind: 4, data: vec![] }];
    three[1].properties =
        vec![TableFeatureProp { kind: TablePropType::INSTRUCTIONS, body: PropBody::Instructions(apply) }];
    for p in three[0].properties.iter_mut().filter(|p| p.kind == TablePropType::NEXT_TABLES) {
        p.body = PropBody::NextTables(vec![TableId(1)]);
    }
    c.rig
        .change(MultipartRequest { flags: MultipartFlags::empty(), body: RequestBody::TableFeatures(three) });
    c.flow("table=0,actions=goto_table:2", OfpError::OFPBIC_BAD_TABLE_ID);
    c.flow("table=1,priority=0,actions=write_actions(output:1)", OfpError::OFPBIC_UNSUP_INST);
    c.flow("table=1,priority=1,actions=write_actions(output:1)", OfpError::OFPBIC_UNSUP_INST);
    c.rig.change(parse_flow("table=0,actions=goto_table:1", FlowModCommand::ADD, &NoNames).expect("flow"));
}

#[test]
fn every_error_is_answered_as_the_specification_says() {
    let mut c = Cases { rig: Rig::new(2), seen: BTreeSet::new(), wrong: Vec::new() };
    bad_requests(&mut c);
    bad_actions(&mut c);
    bad_instructions_and_matches(&mut c);
    prerequisites(&mut c);
    bundles(&mut c);
    ports_tables_settings(&mut c);
    flow_group_meter(&mut c);
    c.rig = Rig::with(2, BridgeConfig { n_buffers: 8, ..BridgeConfig::new("br0", 7) });
    buffers(&mut c);
    c.rig = Rig::new(2);
    table_features(&mut c);
    // A HELLO of another version, on a connection of its own.
    let pipe = ofproto::conn::Pipe::new();
    let id = ofproto::conn::ConnId(99);
    c.rig.manager.open(
        id,
        ConnOptions::new(ConnKind::Controller, "old"),
        pipe.clone(),
        std::time::Instant::now(),
    );
    c.rig.pipes.push(pipe);
    c.rig.say_raw(1, &[1, 0, 0, 8, 0, 0, 0, 1]);
    c.rig.settle();
    let heard = c.rig.hear(1);
    assert!(
        heard
            .iter()
            .any(|m| matches!(&m.body, Message::Error(e) if e.error == OfpError::OFPHFC_INCOMPATIBLE)),
        "{heard:?}"
    );
    c.seen.insert(OfpError::OFPHFC_INCOMPATIBLE.to_string());

    assert!(c.wrong.is_empty(), "wrong answers:\n{}", c.wrong.join("\n"));
    let excused: BTreeSet<String> = NEVER.iter().flat_map(|(_, l)| *l).map(ToString::to_string).collect();
    let both: Vec<_> = c.seen.intersection(&excused).collect();
    assert!(both.is_empty(), "sent, though it is said that it never is: {both:?}");
    let all = OfpError::ALL_NAMED.iter().map(|(e, _, _)| e.to_string());
    let missing: Vec<String> = all.filter(|n| !c.seen.contains(n) && !excused.contains(n)).collect();
    assert!(missing.is_empty(), "neither provoked nor excused: {missing:?}");
    // It still works after all that.
    c.rig.change(FlowMod { priority: 1, ..FlowMod::default() });
}
