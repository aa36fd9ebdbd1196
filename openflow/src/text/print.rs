//! Whole messages in words, laid out as `ovs-ofctl ofp-print` has them.
//!
//! Verbosity: 0 leaves out what a packet contains and per-port counters, 1 (usual for commands) shows them, 2 (usual
//! for `ofp-print`) adds the bytes of echo messages, 3 those of packets.
//!
//! We say more than `ovs-ofctl` in a few places: cookie and `out_group` of flow requests and deletes, messages of
//! other vendors and Nicira's messages that Open vSwitch does not know on OpenFlow 1.3, `config` of a table-mod.

use super::action::reason_word;
use super::flow::{push_duration, write_flow_stats, FlowStyle, FLAGS};
use super::group::{type_word, write_group};
use super::matching::{push_priority, write_match};
use super::meter::{push_band, push_head};
use super::packet::write_packet;
use super::value::{push_port, set_name};
use super::{write_actions, write_instructions, PortNames};
use crate::error::{DecodeError, OfpError};
use crate::group::GroupType;
use crate::header::{Header, MsgType, HEADER_LEN, OFP13_VERSION};
use crate::ids::{GroupId, MeterId, PortNo, TableId};
use crate::matching::Match;
use crate::meter::{MeterBand, MeterFlags};
use crate::msg::flow_mod::{FlowMod, FlowModCommand};
use crate::msg::group_mod::{GroupMod, GroupModCommand};
use crate::msg::meter_mod::{MeterMod, MeterModCommand};
use crate::msg::multipart::{
    FlowMonitorRequest, FlowStatsRequest, FlowUpdate, FlowUpdateEvent, GroupFeatures, MeterFeatures,
    MultipartFlags, MultipartReply, MultipartRequest, PortStats, PropBody, ReplyBody, RequestBody,
    TableFeatures, TablePropType, TableStats,
};
use crate::msg::{
    AsyncConfig, BundleFlags, ConfigFlags, ControllerRole, ErrorMsg, FlowRemoved, FlowRemovedReason,
    HelloElement, Message, NxMessage, NxPacketIn2, NxPacketInProp, OfMessage, PacketIn, PacketInFormat,
    PacketOut, PortMod, PortReason, QueueProp, Role, SwitchConfig, TlvMap,
};
use crate::port::{Port, PortConfig, PortFeatures, PortState};
use std::fmt::Write;

/// A message in words, ending with a line end.
pub fn message(m: &OfMessage, verbosity: u8, names: &dyn PortNames) -> String {
    let mut out = String::new();
    write_message(&mut out, m, verbosity, names);
    out
}

/// Appends a message in words, ending with a line end.
pub fn write_message(out: &mut String, m: &OfMessage, verbosity: u8, names: &dyn PortNames) {
    out.push_str(&name(&m.body));
    head(out, m.version, m.xid.0);
    body(out, &m.body, verbosity, names);
    if !out.ends_with('\n') {
        out.push('\n');
    }
}

/// Bytes of one or more messages in words; what cannot be read is said and shown in hexadecimal.
pub fn bytes(mut data: &[u8], verbosity: u8, names: &dyn PortNames) -> String {
    let mut out = String::new();
    while !data.is_empty() {
        let len = Header::peek(data).map_or(0, |h| usize::from(h.length));
        if len < HEADER_LEN || len > data.len() {
            broken(&mut out, data);
            break;
        }
        let (one, rest) = data.split_at(len);
        match OfMessage::parse(one) {
            Ok(m) => write_message(&mut out, &m, verbosity, names),
            Err(e) => decode_error(&mut out, one, &e),
        }
        data = rest;
    }
    out
}

fn broken(out: &mut String, data: &[u8]) {
    match Header::peek(data) {
        Some(h) if usize::from(h.length) >= HEADER_LEN => {
            out.push_str(&type_name(h.msg_type));
            head(out, h.version, h.xid.0);
            let _ = write!(out, "\n(***truncated to {} bytes from {}***)\n", data.len(), h.length);
        }
        Some(h) => drop(writeln!(out, "(***message length of {} is less than {HEADER_LEN}***)", h.length)),
        None => drop(writeln!(out, "OpenFlow packet too short (only {} bytes):", data.len())),
    }
    hex_dump(out, data, true);
}

/// Appends what is known of a message that could not be read, and why.
pub fn decode_error(out: &mut String, data: &[u8], e: &DecodeError) {
    if let Some(h) = Header::peek(data) {
        out.push_str(&type_name(h.msg_type));
        head(out, h.version, h.xid.0);
        out.push(' ');
    }
    let _ = writeln!(out, "***decode error: {}*** ({e})", error_name(e.code));
    hex_dump(out, data, true);
}

fn head(out: &mut String, version: u8, xid: u32) {
    match version {
        1..=6 => drop(write!(out, " (OF1.{})", version - 1)),
        v => drop(write!(out, " (OF 0x{v:02x})")),
    }
    let _ = write!(out, " (xid={xid:#x}):");
}

fn type_name(t: MsgType) -> String {
    format!("OFPT_{t}")
}

pub(crate) fn name(m: &Message) -> String {
    let multipart = |kind: String, what| format!("{kind} {what}");
    match m {
        Message::MultipartRequest(r) => multipart(
            match &r.body {
                RequestBody::FlowMonitor(_) => "ONFST_FLOW_MONITOR".into(),
                RequestBody::NxFlowMonitor(_) => "NXST_FLOW_MONITOR".into(),
                b => stats_name(b.kind()),
            },
            "request",
        ),
        Message::MultipartReply(r) => multipart(
            match &r.body {
                ReplyBody::FlowMonitor(_) => "ONFST_FLOW_MONITOR".into(),
                ReplyBody::NxFlowMonitor(_) => "NXST_FLOW_MONITOR".into(),
                b => stats_name(b.kind()),
            },
            "reply",
        ),
        Message::BundleControl(_) => "ONFT_BUNDLE_CONTROL".into(),
        Message::BundleAdd(_) => "ONFT_BUNDLE_ADD_MESSAGE".into(),
        Message::FlowMonitorCancel(_) => "ONFT_FLOW_MONITOR_CANCEL".into(),
        Message::FlowMonitorPaused => "ONFT_FLOW_MONITOR_PAUSED".into(),
        Message::FlowMonitorResumed => "ONFT_FLOW_MONITOR_RESUMED".into(),
        Message::Nicira(n) => format!("NXT_{}", nx_name(n)),
        m => type_name(m.msg_type()),
    }
}

fn stats_name(t: crate::msg::MultipartType) -> String {
    match t {
        crate::msg::MultipartType::PORT_STATS => "OFPST_PORT".into(),
        t => format!("OFPST_{t}"),
    }
}

fn nx_name(n: &NxMessage) -> String {
    match n {
        NxMessage::RoleRequest(_) => "ROLE_REQUEST",
        NxMessage::RoleReply(_) => "ROLE_REPLY",
        NxMessage::SetFlowFormat(_) => "SET_FLOW_FORMAT",
        NxMessage::FlowModTableId(_) => "FLOW_MOD_TABLE_ID",
        NxMessage::SetPacketInFormat(_) => "SET_PACKET_IN_FORMAT",
        NxMessage::PacketIn(_) => "PACKET_IN",
        NxMessage::FlowAge => "FLOW_AGE",
        NxMessage::SetAsyncConfig(_) => "SET_ASYNC_CONFIG",
        NxMessage::SetControllerId(_) => "SET_CONTROLLER_ID",
        NxMessage::FlowMonitorCancel(_) => "FLOW_MONITOR_CANCEL",
        NxMessage::FlowMonitorPaused => "FLOW_MONITOR_PAUSED",
        NxMessage::FlowMonitorResumed => "FLOW_MONITOR_RESUMED",
        NxMessage::TlvTableMod { .. } => "TLV_TABLE_MOD",
        NxMessage::TlvTableRequest => "TLV_TABLE_REQUEST",
        NxMessage::TlvTableReply { .. } => "TLV_TABLE_REPLY",
        NxMessage::PacketIn2(_) => "PACKET_IN2",
        NxMessage::Resume(_) => "RESUME",
        NxMessage::CtFlushZone(_) => "CT_FLUSH_ZONE",
        NxMessage::Other { subtype, .. } => return subtype.to_string(),
    }
    .into()
}

/// The name of an error, or its type and code.
pub fn error_name(e: OfpError) -> String {
    match OfpError::ALL_NAMED.iter().find(|(v, ..)| *v == e) {
        Some((_, _, n)) => (*n).to_owned(),
        None if e.kind == 0xffff => format!("experimenter {:#x} error {}", e.experimenter, e.code),
        None => format!("type {} code {}", e.kind, e.code),
    }
}

/// Appends lines of 16 bytes: offset, hexadecimal, and (`ascii`) characters.
pub(crate) fn hex_dump(out: &mut String, data: &[u8], ascii: bool) {
    for (i, line) in data.chunks(16).enumerate() {
        let _ = write!(out, "{:08x}  ", i * 16);
        for j in 0..16 {
            match line.get(j) {
                Some(b) => {
                    let _ = write!(out, "{b:02x}");
                    let last = j + 1 == line.len();
                    match j {
                        _ if last && !ascii => {}
                        7 if !last => out.push('-'),
                        15 => {}
                        7 => out.push('-'),
                        _ => out.push(' '),
                    }
                }
                None if ascii => out.push_str(if j == 15 { "  " } else { "   " }),
                None => {}
            }
        }
        if ascii {
            out.push_str(" |");
            for j in 0..16 {
                out.push(match line.get(j) {
                    Some(b @ 0x20..=0x7e) => *b as char,
                    Some(_) => '.',
                    None => ' ',
                });
            }
            out.push('|');
        }
        out.push('\n');
    }
}

fn body(out: &mut String, m: &Message, verbosity: u8, names: &dyn PortNames) {
    match m {
        Message::Hello(h) => {
            let mut bitmap = None;
            for e in &h.elements {
                match e {
                    HelloElement::VersionBitmap(words) => bitmap = Some(words.first().copied().unwrap_or(0)),
                    HelloElement::Unknown { kind, data } => {
                        let _ = write!(out, "\n unknown element {kind} of {} bytes", data.len());
                    }
                }
            }
            let versions: Vec<u32> = match bitmap {
                Some(b) => (0..32).filter(|v| b >> v & 1 == 1).collect(),
                None => (1..=u32::from(OFP13_VERSION)).collect(),
            };
            let words: Vec<String> = versions.iter().map(|v| format!("0x{v:02x}")).collect();
            let _ = write!(out, "\n version bitmap: {}", words.join(", "));
        }
        Message::Error(e) => error(out, e, verbosity, names),
        Message::EchoRequest(e) | Message::EchoReply(e) => {
            let _ = writeln!(out, " {} bytes of payload", e.data.len());
            if verbosity > 1 {
                hex_dump(out, &e.data, true);
            }
        }
        Message::Experimenter(e) => {
            let _ = writeln!(out, " experimenter={:#x} exp_type={}", e.experimenter, e.exp_type);
            hex_dump(out, &e.data, true);
        }
        Message::FeaturesRequest
        | Message::GetConfigRequest
        | Message::BarrierRequest
        | Message::BarrierReply
        | Message::GetAsyncRequest
        | Message::FlowMonitorPaused
        | Message::FlowMonitorResumed => {}
        Message::FeaturesReply(f) => {
            let _ = write!(
                out,
                " dpid:{:016x}\nn_tables:{}, n_buffers:{}",
                f.datapath_id, f.n_tables, f.n_buffers
            );
            if f.auxiliary_id != 0 {
                let _ = write!(out, ", auxiliary_id:{}", f.auxiliary_id);
            }
            out.push_str("\ncapabilities: ");
            bits(out, f.capabilities.0, crate::msg::Capabilities::ALL_NAMED.iter().map(|(v, n)| (v.0, *n)));
        }
        Message::GetConfigReply(c) | Message::SetConfig(c) => config(out, c),
        Message::PacketIn(p) => packet_in(out, p, verbosity, names),
        Message::FlowRemoved(f) => flow_removed(out, f, names),
        Message::PortStatus(p) => {
            match p.reason {
                PortReason::ADD => out.push_str(" ADD:"),
                PortReason::DELETE => out.push_str(" DEL:"),
                PortReason::MODIFY => out.push_str(" MOD:"),
                PortReason(r) => drop(write!(out, " reason={r}:")),
            }
            port(out, &p.port);
        }
        Message::PacketOut(p) => packet_out(out, p, verbosity, names),
        Message::FlowMod(f) => {
            out.push(' ');
            flow_mod(out, f, names);
        }
        Message::GroupMod(g) => group_mod(out, g, names),
        Message::PortMod(p) => port_mod(out, p, names),
        Message::TableMod(t) => {
            match t.table_id {
                TableId::ALL => out.push_str(" table_id: ALL_TABLES"),
                t => drop(write!(out, " table_id={t}")),
            }
            if t.config & !3 != 0 {
                let _ = write!(out, " config={:#x}", t.config);
            }
        }
        Message::MultipartRequest(r) => request(out, r, names),
        Message::MultipartReply(r) => reply(out, r, verbosity, names),
        Message::QueueGetConfigRequest(q) => {
            out.push_str(" port=");
            push_port(out, q.port, names);
        }
        Message::QueueGetConfigReply(q) => {
            out.push_str(" port=");
            push_port(out, q.port, names);
            out.push('\n');
            for q in &q.queues {
                let _ = write!(out, "queue {}:", q.queue_id);
                for p in &q.properties {
                    match p {
                        QueueProp::MinRate(r) => rate(out, "min_rate", *r),
                        QueueProp::MaxRate(r) => rate(out, "max_rate", *r),
                        QueueProp::Experimenter { experimenter, data } => {
                            let _ = write!(out, " experimenter({experimenter:#x}, {} bytes)", data.len());
                        }
                        QueueProp::Unknown { kind, data } => {
                            let _ = write!(out, " property({kind}, {} bytes)", data.len());
                        }
                    }
                }
                out.push('\n');
            }
        }
        Message::RoleRequest(r) | Message::RoleReply(r) => role(out, r),
        Message::GetAsyncReply(a) | Message::SetAsync(a) => async_config(out, a),
        Message::MeterMod(m) => meter_mod(out, m),
        Message::BundleControl(b) => {
            let _ = write!(out, "\n bundle_id={:#x} type=", b.bundle_id);
            match b.kind.name() {
                Some(n) => out.push_str(n),
                None => drop(write!(out, "{}", b.kind.0)),
            }
            bundle_flags(out, b.flags);
        }
        Message::BundleAdd(b) => {
            let _ = write!(out, "\n bundle_id={:#x}", b.bundle_id);
            bundle_flags(out, b.flags);
            out.push('\n');
            write_message(out, &b.message, verbosity, names);
        }
        Message::FlowMonitorCancel(id) => drop(write!(out, " id={id}")),
        Message::Nicira(n) => nicira(out, n, verbosity, names),
    }
}

fn rate(out: &mut String, name: &str, tenths: u16) {
    if tenths > 1000 {
        let _ = write!(out, " {name}:(disabled)");
    } else {
        let _ = write!(out, " {name}:{}.{}%", tenths / 10, tenths % 10);
    }
}

fn bundle_flags(out: &mut String, f: BundleFlags) {
    out.push_str(" flags=");
    bits(out, f.0.into(), [(1, "atomic"), (2, "ordered")].into_iter());
}

/// Names of the bits set, separated by blanks; `0` if there are none.
fn bits<'a>(out: &mut String, value: u32, names: impl Iterator<Item = (u32, &'a str)>) {
    if value == 0 {
        return out.push('0');
    }
    let mut left = value;
    let mut first = true;
    for (bit, n) in names {
        if left & bit != 0 {
            if !first {
                out.push(' ');
            }
            out.push_str(n);
            first = false;
            left &= !bit;
        }
    }
    if left != 0 {
        let _ = write!(out, "{}{left:#x}", if first { "" } else { " " });
    }
}

fn error(out: &mut String, e: &ErrorMsg, verbosity: u8, names: &dyn PortNames) {
    let _ = writeln!(out, " {}", error_name(e.error));
    if e.error.kind == OfpError::OFPHFC_INCOMPATIBLE.kind {
        for c in String::from_utf8_lossy(&e.data).chars() {
            out.extend(c.escape_debug());
        }
        return;
    }
    match Header::peek(&e.data) {
        Some(h) if (1..=6).contains(&h.version) && usize::from(h.length) >= HEADER_LEN => {
            out.push_str(&bytes(&e.data, verbosity.min(1), names));
        }
        _ => hex_dump(out, &e.data, true),
    }
}

fn config(out: &mut String, c: &SwitchConfig) {
    out.push_str(" frags=");
    match ConfigFlags(c.flags.0 & 3) {
        ConfigFlags::FRAG_NORMAL => out.push_str("normal"),
        ConfigFlags::FRAG_DROP => out.push_str("drop"),
        ConfigFlags::FRAG_REASM => out.push_str("reassemble"),
        _ => out.push_str("nx-match"),
    }
    if c.flags.0 & !3 != 0 {
        let _ = write!(out, " flags={:#x}", c.flags.0 & !3);
    }
    let _ = write!(out, " miss_send_len={}", c.miss_send_len);
}

/// What the three kinds of packet-in say.
struct Seen<'a> {
    table_id: TableId,
    cookie: u64,
    total_len: u32,
    matching: Option<&'a Match>,
    reason: u8,
    buffer_id: u32,
    userdata: &'a [u8],
    data: &'a [u8],
}

fn seen(out: &mut String, p: &Seen<'_>, verbosity: u8, names: &dyn PortNames) {
    if p.table_id.0 != 0 {
        let _ = write!(out, " table_id={}", p.table_id);
    }
    if p.cookie != u64::MAX {
        let _ = write!(out, " cookie={:#x}", p.cookie);
    }
    let _ = write!(out, " total_len={} ", p.total_len);
    if let Some(m) = p.matching {
        write_match(out, m, names);
    }
    match reason_word(p.reason) {
        Some(w) => drop(write!(out, " (via {w})")),
        None => drop(write!(out, " (via {})", p.reason)),
    }
    let _ = write!(out, " data_len={}", p.data.len());
    if p.buffer_id == u32::MAX {
        out.push_str(" (unbuffered)");
    } else {
        let _ = write!(out, " buffer=0x{:08x}", p.buffer_id);
    }
    if p.data.len() > p.total_len as usize {
        out.push_str(" (***data_len > total_len***)");
    }
    out.push('\n');
    if !p.userdata.is_empty() {
        out.push_str(" userdata=");
        super::lex::push_bytes(out, p.userdata, ".");
        out.push('\n');
    }
    packet(out, p.data, verbosity);
}

fn packet(out: &mut String, data: &[u8], verbosity: u8) {
    if verbosity > 0 && !data.is_empty() {
        write_packet(out, data);
        out.push('\n');
    }
    if verbosity > 2 {
        hex_dump(out, data, false);
    }
}

fn packet_in(out: &mut String, p: &PacketIn, verbosity: u8, names: &dyn PortNames) {
    let s = Seen {
        table_id: p.table_id,
        cookie: p.cookie,
        total_len: p.total_len.into(),
        matching: Some(&p.matching),
        reason: p.reason.0,
        buffer_id: p.buffer_id,
        userdata: &[],
        data: &p.data,
    };
    seen(out, &s, verbosity, names);
}

fn packet_in2(out: &mut String, p: &NxPacketIn2, verbosity: u8, names: &dyn PortNames) {
    let mut s = Seen {
        table_id: TableId(0),
        cookie: u64::MAX,
        total_len: 0,
        matching: None,
        reason: 0,
        buffer_id: u32::MAX,
        userdata: &[],
        data: &[],
    };
    let (mut full, mut more) = (None, String::new());
    for prop in &p.properties {
        match prop {
            NxPacketInProp::Packet(d) => s.data = d,
            NxPacketInProp::FullLen(n) => full = Some(*n),
            NxPacketInProp::BufferId(b) => s.buffer_id = *b,
            NxPacketInProp::TableId(t) => s.table_id = *t,
            NxPacketInProp::Cookie(c) => s.cookie = *c,
            NxPacketInProp::Reason(r) => s.reason = r.0,
            NxPacketInProp::Metadata(m) => s.matching = Some(m),
            NxPacketInProp::Userdata(u) => s.userdata = u,
            NxPacketInProp::Continuation(c) => drop(writeln!(more, " continuation of {} bytes", c.len())),
            NxPacketInProp::Unknown { kind, data } => {
                let _ = writeln!(more, " property {kind} of {} bytes", data.len());
            }
        }
    }
    s.total_len = full.unwrap_or(s.data.len() as u32);
    seen(out, &s, verbosity, names);
    out.push_str(&more);
}

fn packet_out(out: &mut String, p: &PacketOut, verbosity: u8, names: &dyn PortNames) {
    out.push_str(" in_port=");
    push_port(out, p.in_port, names);
    out.push_str(" actions=");
    write_actions(out, &p.actions, names);
    if p.buffer_id == u32::MAX {
        let _ = writeln!(out, " data_len={}", p.data.len());
        packet(out, &p.data, verbosity);
    } else {
        let _ = write!(out, " buffer=0x{:08x}", p.buffer_id);
    }
}

fn removed_word(r: FlowRemovedReason) -> Option<&'static str> {
    Some(match r {
        FlowRemovedReason::IDLE_TIMEOUT => "idle",
        FlowRemovedReason::HARD_TIMEOUT => "hard",
        FlowRemovedReason::DELETE => "delete",
        FlowRemovedReason::GROUP_DELETE => "group_delete",
        FlowRemovedReason::METER_DELETE => "meter_delete",
        FlowRemovedReason::EVICTION => "eviction",
        _ => return None,
    })
}

fn flow_removed(out: &mut String, f: &FlowRemoved, names: &dyn PortNames) {
    out.push(' ');
    push_priority(out, f.priority);
    write_match(out, &f.matching, names);
    if out.ends_with(',') {
        out.pop();
    }
    out.push_str(" reason=");
    match removed_word(f.reason) {
        Some(w) => out.push_str(w),
        None => drop(write!(out, "{}", f.reason.0)),
    }
    let _ = write!(out, " table_id={}", f.table_id);
    if f.cookie != 0 {
        let _ = write!(out, " cookie:{:#x}", f.cookie);
    }
    out.push_str(" duration");
    push_duration(out, f.duration_sec, f.duration_nsec);
    let _ = write!(out, " idle{}", f.idle_timeout);
    if f.hard_timeout != 0 {
        let _ = write!(out, " hard{}", f.hard_timeout);
    }
    let _ = write!(out, " pkts{} bytes{}", f.packet_count, f.byte_count);
}

/// Body of a flow-mod: `ADD table:1 priority=5,ip actions=output:2`.
pub fn flow_mod(out: &mut String, f: &FlowMod, names: &dyn PortNames) {
    match f.command {
        FlowModCommand::ADD => out.push_str("ADD"),
        FlowModCommand::MODIFY => out.push_str("MOD"),
        FlowModCommand::MODIFY_STRICT => out.push_str("MOD_STRICT"),
        FlowModCommand::DELETE => out.push_str("DEL"),
        FlowModCommand::DELETE_STRICT => out.push_str("DEL_STRICT"),
        FlowModCommand(c) => drop(write!(out, "cmd:{c}")),
    }
    if f.table_id != TableId(0) {
        let _ = write!(out, " table:{}", f.table_id);
    }
    out.push(' ');
    push_priority(out, f.priority);
    write_match(out, &f.matching, names);
    if out.ends_with(',') {
        out.pop();
    }
    if !out.ends_with(' ') {
        out.push(' ');
    }
    if f.cookie_mask != 0 {
        let _ = write!(out, "cookie:{:#x}/{:#x} ", f.cookie, f.cookie_mask);
    } else if f.cookie != 0 {
        let _ = write!(out, "cookie:{:#x} ", f.cookie);
    }
    if f.idle_timeout != 0 {
        let _ = write!(out, "idle:{} ", f.idle_timeout);
    }
    if f.hard_timeout != 0 {
        let _ = write!(out, "hard:{} ", f.hard_timeout);
    }
    if f.buffer_id != u32::MAX {
        let _ = write!(out, "buf:{:#x} ", f.buffer_id);
    }
    if f.out_port != PortNo::ANY {
        out.push_str("out_port:");
        push_port(out, f.out_port, names);
        out.push(' ');
    }
    if f.out_group != GroupId::ANY {
        let _ = write!(out, "out_group:{} ", f.out_group);
    }
    for (n, flag) in FLAGS {
        if f.flags.contains(*flag) {
            out.push_str(n);
            out.push(' ');
        }
    }
    out.push_str("actions=");
    write_instructions(out, &f.instructions, names);
}

fn group_mod(out: &mut String, g: &GroupMod, names: &dyn PortNames) {
    match g.command {
        GroupModCommand::ADD => out.push_str("\n ADD "),
        GroupModCommand::MODIFY => out.push_str("\n MOD "),
        GroupModCommand::DELETE => out.push_str("\n DEL "),
        GroupModCommand(c) => drop(write!(out, "\n cmd:{c} ")),
    }
    write_group(out, g.group_id, Some(g.kind), &g.buckets, names);
}

const CONFIG: &[(u32, &str)] = &[(1, "PORT_DOWN"), (4, "NO_RECV"), (32, "NO_FWD"), (64, "NO_PACKET_IN")];

fn port_config(out: &mut String, c: PortConfig) {
    bits(out, c.0, CONFIG.iter().copied());
}

const FEATURES: &[&str] = &[
    "10MB-HD",
    "10MB-FD",
    "100MB-HD",
    "100MB-FD",
    "1GB-HD",
    "1GB-FD",
    "10GB-FD",
    "40GB-FD",
    "100GB-FD",
    "1TB-FD",
    "OTHER",
    "COPPER",
    "FIBER",
    "AUTO_NEG",
    "AUTO_PAUSE",
    "AUTO_PAUSE_ASYM",
];

fn port_features(out: &mut String, f: PortFeatures) {
    bits(out, f.0, FEATURES.iter().enumerate().map(|(i, n)| (1 << i, *n)));
}

fn port_mod(out: &mut String, p: &PortMod, names: &dyn PortNames) {
    out.push_str(" port: ");
    push_port(out, p.port_no, names);
    let _ = write!(out, ": addr:{}\n     config: ", p.hw_addr);
    port_config(out, p.config);
    out.push_str("\n     mask:   ");
    port_config(out, p.mask);
    out.push_str("\n     advertise: ");
    if p.advertise.is_empty() {
        out.push_str("UNCHANGED");
    } else {
        port_features(out, p.advertise);
    }
    out.push('\n');
}

/// Appends a port's description over several lines, the first beginning with a blank.
pub fn port(out: &mut String, p: &Port) {
    out.push(' ');
    push_port(out, p.port_no, &super::NoNames);
    out.push('(');
    for c in p.name.as_str().chars() {
        out.extend(c.escape_debug());
    }
    let _ = write!(out, "): addr:{}\n     config:     ", p.hw_addr);
    port_config(out, p.config);
    out.push_str("\n     state:      ");
    bits(out, p.state.0, PortState::ALL_NAMED.iter().map(|(v, n)| (v.0, *n)));
    out.push('\n');
    for (n, f) in [
        ("current:    ", p.curr),
        ("advertised: ", p.advertised),
        ("supported:  ", p.supported),
        ("peer:       ", p.peer),
    ] {
        if !f.is_empty() {
            let _ = write!(out, "     {n}");
            port_features(out, f);
            out.push('\n');
        }
    }
    let _ = writeln!(out, "     speed: {} Mbps now, {} Mbps max", p.curr_speed / 1000, p.max_speed / 1000);
}

fn more(out: &mut String, f: MultipartFlags, reply: bool) {
    if f.is_empty() {
        return;
    }
    match (f == MultipartFlags::MORE, reply) {
        (true, true) => out.push_str(" flags=[more]"),
        (true, false) => out.push_str(" ***more flag set on request***"),
        (false, _) => drop(write!(out, " ***unknown flags {:#x}***", f.0)),
    }
}

fn flow_request(out: &mut String, r: &FlowStatsRequest, names: &dyn PortNames) {
    if r.table_id != TableId::ALL {
        let _ = write!(out, " table={}", r.table_id);
    }
    if r.out_port != PortNo::ANY {
        out.push_str(" out_port=");
        push_port(out, r.out_port, names);
    }
    if r.out_group != GroupId::ANY {
        let _ = write!(out, " out_group={}", r.out_group);
    }
    if r.cookie_mask != 0 {
        let _ = write!(out, " cookie={:#x}/{:#x}", r.cookie, r.cookie_mask);
    }
    out.push(' ');
    write_match(out, &r.matching, names);
    if out.ends_with(' ') {
        out.pop();
    }
}

fn group_id(out: &mut String, g: GroupId) {
    match g {
        GroupId::ALL => out.push_str(" group_id=ALL"),
        g => drop(write!(out, " group_id={g}")),
    }
}

fn monitor_request(out: &mut String, r: &FlowMonitorRequest, names: &dyn PortNames) {
    let _ = write!(out, "\n id={} flags=", r.id);
    let words = [(1, "initial"), (2, "add"), (4, "delete"), (8, "modify"), (16, "actions"), (32, "own")];
    bits(out, r.flags.0.into(), words.into_iter());
    if r.out_port != PortNo::ANY {
        out.push_str(" out_port=");
        push_port(out, r.out_port, names);
    }
    if r.table_id != TableId::ALL {
        let _ = write!(out, " table={}", r.table_id);
    }
    out.push(' ');
    write_match(out, &r.matching, names);
    if out.ends_with(' ') {
        out.pop();
    }
}

fn meter(out: &mut String, m: MeterId) {
    out.push_str(" meter=");
    super::action::push_meter(out, m);
}

fn request(out: &mut String, r: &MultipartRequest, names: &dyn PortNames) {
    // Big table features come in parts, so for them MORE is as it should be.
    more(out, r.flags, matches!(r.body, RequestBody::TableFeatures(_)));
    match &r.body {
        RequestBody::Desc | RequestBody::Table | RequestBody::GroupFeatures | RequestBody::MeterFeatures => {}
        RequestBody::PortDesc => out.push_str(" port=ANY"),
        RequestBody::GroupDesc => out.push_str(" group_id=ALL"),
        RequestBody::Flow(f) | RequestBody::Aggregate(f) => flow_request(out, f, names),
        RequestBody::PortStats(p) => {
            out.push_str(" port_no=");
            push_port(out, p.port_no, names);
        }
        RequestBody::Queue(q) => {
            out.push_str(" port=");
            push_port(out, q.port_no, names);
            match q.queue_id {
                u32::MAX => out.push_str(" queue=ALL"),
                n => drop(write!(out, " queue={n}")),
            }
        }
        RequestBody::Group(g) => group_id(out, g.group_id),
        RequestBody::Meter(m) | RequestBody::MeterConfig(m) => meter(out, m.meter_id),
        RequestBody::TableFeatures(t) => tables(out, t),
        RequestBody::FlowMonitor(l) | RequestBody::NxFlowMonitor(l) => {
            l.iter().for_each(|r| monitor_request(out, r, names));
        }
        RequestBody::Experimenter { experimenter, exp_type, data } => {
            let _ = writeln!(out, " experimenter={experimenter:#x} exp_type={exp_type}");
            hex_dump(out, data, true);
        }
    }
}

fn counter(out: &mut String, name: &str, v: u64, last: bool) {
    out.push_str(name);
    match v {
        u64::MAX => out.push('?'),
        v => super::lex::push_dec(out, v.into()),
    }
    out.push_str(if last { "\n" } else { ", " });
}

fn port_stats(out: &mut String, p: &PortStats, names: &dyn PortNames) {
    out.push_str("  port ");
    let at = out.len();
    push_port(out, p.port_no, names);
    if out.len() == at + 1 {
        out.insert(at, ' ');
    }
    out.push_str(": rx ");
    counter(out, "pkts=", p.rx_packets, false);
    counter(out, "bytes=", p.rx_bytes, false);
    counter(out, "drop=", p.rx_dropped, false);
    counter(out, "errs=", p.rx_errors, false);
    counter(out, "frame=", p.rx_frame_err, false);
    counter(out, "over=", p.rx_over_err, false);
    counter(out, "crc=", p.rx_crc_err, true);
    out.push_str("           tx ");
    counter(out, "pkts=", p.tx_packets, false);
    counter(out, "bytes=", p.tx_bytes, false);
    counter(out, "drop=", p.tx_dropped, false);
    counter(out, "errs=", p.tx_errors, false);
    counter(out, "coll=", p.collisions, true);
    if (p.duration_sec, p.duration_nsec) != (u32::MAX, u32::MAX) {
        out.push_str("           duration=");
        push_duration(out, p.duration_sec, p.duration_nsec);
        out.push('\n');
    }
}

fn reply(out: &mut String, r: &MultipartReply, verbosity: u8, names: &dyn PortNames) {
    more(out, r.flags, true);
    match &r.body {
        ReplyBody::Desc(d) => {
            out.push('\n');
            for (n, v) in [
                ("Manufacturer", d.mfr_desc.as_str()),
                ("Hardware", d.hw_desc.as_str()),
                ("Software", d.sw_desc.as_str()),
                ("Serial Num", d.serial_num.as_str()),
                ("DP Description", d.dp_desc.as_str()),
            ] {
                let _ = writeln!(out, "{n}: {}", v.trim_end_matches(['\n', '\r']));
            }
        }
        ReplyBody::Flow(l) => {
            for f in l {
                out.push('\n');
                write_flow_stats(out, f, FlowStyle::default(), names);
            }
        }
        ReplyBody::Aggregate(a) => {
            let (p, b, f) = (a.packet_count, a.byte_count, a.flow_count);
            let _ = write!(out, " packet_count={p} byte_count={b} flow_count={f}");
        }
        ReplyBody::Table(l) => table_stats(out, l),
        ReplyBody::PortStats(l) => {
            let _ = writeln!(out, " {} ports", l.len());
            if verbosity > 0 {
                l.iter().for_each(|p| port_stats(out, p, names));
            }
        }
        ReplyBody::Queue(l) => {
            let _ = writeln!(out, " {} queues", l.len());
            if verbosity > 0 {
                for q in l {
                    out.push_str("  port ");
                    push_port(out, q.port_no, names);
                    let _ = write!(out, " queue {}: ", q.queue_id);
                    counter(out, "bytes=", q.tx_bytes, false);
                    counter(out, "pkts=", q.tx_packets, false);
                    counter(out, "errors=", q.tx_errors, false);
                    out.push_str("duration=");
                    if q.duration_sec == u32::MAX {
                        out.push_str("?\n");
                    } else {
                        push_duration(out, q.duration_sec, q.duration_nsec);
                        out.push('\n');
                    }
                }
            }
        }
        ReplyBody::Group(l) => {
            for g in l {
                let _ = write!(out, "\n group_id={},duration=", g.group_id);
                push_duration(out, g.duration_sec, g.duration_nsec);
                let (p, b) = (g.packet_count, g.byte_count);
                let _ = write!(out, ",ref_count={},packet_count={p},byte_count={b}", g.ref_count);
                for (i, b) in g.buckets.iter().enumerate() {
                    let _ =
                        write!(out, ",bucket{i}:packet_count={},byte_count={}", b.packet_count, b.byte_count);
                }
            }
        }
        ReplyBody::GroupDesc(l) => {
            for g in l {
                out.push_str("\n ");
                write_group(out, g.group_id, Some(g.kind), &g.buckets, names);
            }
        }
        ReplyBody::GroupFeatures(f) => group_features(out, f),
        ReplyBody::Meter(l) => {
            for (i, m) in l.iter().enumerate() {
                out.push_str(if i > 0 { "\n\nmeter:" } else { "\nmeter:" });
                super::action::push_meter(out, m.meter_id);
                let (f, p, b) = (m.flow_count, m.packet_in_count, m.byte_in_count);
                let _ = write!(out, " flow_count:{f} packet_in_count:{p} byte_in_count:{b} duration:");
                push_duration(out, m.duration_sec, m.duration_nsec);
                out.push_str(" bands:");
                for (i, b) in m.bands.iter().enumerate() {
                    let _ = write!(
                        out,
                        "\n{i}: packet_count:{} byte_count:{}",
                        b.packet_band_count, b.byte_band_count
                    );
                }
            }
        }
        ReplyBody::MeterConfig(l) => {
            for (i, m) in l.iter().enumerate() {
                out.push_str(if i > 0 { "\n\n" } else { "\n" });
                meter_config(out, m.meter_id, m.flags, &m.bands);
            }
        }
        ReplyBody::MeterFeatures(f) => meter_features(out, f),
        ReplyBody::TableFeatures(l) => tables(out, l),
        ReplyBody::PortDesc(l) => {
            out.push('\n');
            let mut sorted: Vec<&Port> = l.iter().collect();
            sorted.sort_by_key(|p| p.port_no);
            sorted.iter().for_each(|p| port(out, p));
        }
        ReplyBody::FlowMonitor(l) | ReplyBody::NxFlowMonitor(l) => {
            l.iter().for_each(|u| flow_update(out, u, names))
        }
        ReplyBody::Experimenter { experimenter, exp_type, data } => {
            let _ = writeln!(out, " experimenter={experimenter:#x} exp_type={exp_type}");
            hex_dump(out, data, true);
        }
    }
}

fn flow_update(out: &mut String, u: &FlowUpdate, names: &dyn PortNames) {
    out.push_str("\n event=");
    match u {
        FlowUpdate::Abbrev { xid } => drop(write!(out, "ABBREV xid={:#x}", xid.0)),
        FlowUpdate::Unknown { event, data } => drop(write!(out, "{} of {} bytes", event.0, data.len())),
        FlowUpdate::Full {
            event,
            reason,
            priority,
            idle_timeout,
            hard_timeout,
            table_id,
            cookie,
            matching,
            instructions,
        } => {
            match event.name() {
                Some(n) => out.push_str(n),
                None => drop(write!(out, "{}", event.0)),
            }
            if *event == FlowUpdateEvent::DELETED {
                match removed_word(*reason) {
                    Some(w) => drop(write!(out, " reason={w}")),
                    None => drop(write!(out, " reason={}", reason.0)),
                }
            }
            let _ = write!(out, " table={table_id}");
            if *idle_timeout != 0 {
                let _ = write!(out, " idle_timeout={idle_timeout}");
            }
            if *hard_timeout != 0 {
                let _ = write!(out, " hard_timeout={hard_timeout}");
            }
            let _ = write!(out, " cookie={cookie:#x} ");
            push_priority(out, *priority);
            write_match(out, matching, names);
            if out.ends_with([',', ' ']) {
                out.pop();
            }
            if !instructions.is_empty() {
                out.push_str(" actions=");
                write_instructions(out, instructions, names);
            }
        }
    }
}

/// Groups of tables with nothing new to say: `tables 4...9: ditto`.
#[derive(Default)]
struct Ditto(Option<(u8, u8)>);

impl Ditto {
    fn more(&mut self, id: TableId) {
        self.0 = Some((self.0.map_or(id.0, |(a, _)| a), id.0));
    }
    fn flush(&mut self, out: &mut String) {
        match self.0.take() {
            Some((a, b)) if a == b => drop(writeln!(out, "\n  table {a}: ditto")),
            Some((a, b)) => drop(writeln!(out, "\n  tables {a}...{b}: ditto")),
            None => {}
        }
    }
}

fn table_stats(out: &mut String, l: &[TableStats]) {
    let mut ditto = Ditto::default();
    let mut last: Option<&TableStats> = None;
    for t in l {
        let facts = |t: &TableStats| (t.active_count, t.lookup_count, t.matched_count);
        if last.is_some_and(|p| facts(p) == facts(t)) {
            ditto.more(t.table_id);
        } else {
            ditto.flush(out);
            let (a, l, m) = facts(t);
            let _ = writeln!(out, "\n  table {}:\n    active={a}, lookup={l}, matched={m}", t.table_id);
        }
        last = Some(t);
    }
    ditto.flush(out);
}

/// A table's features sorted by what they say, each list in a fixed order so that lists can be compared.
#[derive(Default, PartialEq, Eq, Clone)]
struct Features {
    metadata: (u64, u64),
    max_entries: u32,
    other: Vec<String>,
    rules: Instr,
    miss: Instr,
    matches: Vec<String>,
    wildcards: Vec<String>,
    masked: Vec<String>,
}

/// What instructions may do, for flow entries or for the table-miss entry.
#[derive(Default, PartialEq, Eq, Clone)]
struct Instr {
    next: Vec<u8>,
    instructions: Vec<String>,
    write: Act,
    apply: Act,
}

#[derive(Default, PartialEq, Eq, Clone)]
struct Act {
    actions: Vec<String>,
    fields: Vec<String>,
}

const INSTRUCTIONS: &[(u16, &str)] = &[
    (6, "meter"),
    (4, "apply_actions"),
    (5, "clear_actions"),
    (3, "write_actions"),
    (2, "write_metadata"),
    (1, "goto_table"),
];
const ACTIONS: &[(u16, &str)] = &[
    (0, "output"),
    (22, "group"),
    (25, "set_field"),
    (18, "strip_vlan"),
    (17, "push_vlan"),
    (23, "mod_nw_ttl"),
    (24, "dec_ttl"),
    (11, "copy_ttl_out"),
    (12, "copy_ttl_in"),
    (15, "set_mpls_ttl"),
    (16, "dec_mpls_ttl"),
    (19, "push_mpls"),
    (20, "pop_mpls"),
    (26, "push_pbb"),
    (27, "pop_pbb"),
    (21, "set_queue"),
];

fn kinds(ids: impl Iterator<Item = (u16, usize)> + Clone, table: &[(u16, &str)]) -> Vec<String> {
    let mut out: Vec<String> = table
        .iter()
        .filter(|(k, _)| ids.clone().any(|(i, data)| i == *k && data == 0))
        .map(|(_, n)| (*n).to_owned())
        .collect();
    for (kind, data) in ids {
        if data != 0 || !table.iter().any(|(k, _)| *k == kind) {
            out.push(if kind == 0xffff { "experimenter".into() } else { format!("{kind}") });
        }
    }
    out
}

impl Features {
    fn of(t: &TableFeatures) -> Self {
        let mut f = Self {
            metadata: (t.metadata_match, t.metadata_write),
            max_entries: t.max_entries,
            ..Self::default()
        };
        let (mut seen_miss, rules_only) = ([false; 16], &t.properties);
        for p in rules_only {
            let miss = p.kind.0 & 1 == 1 && p.kind.0 < 16;
            if miss {
                seen_miss[usize::from(p.kind.0)] = true;
            }
            let to = if miss { &mut f.miss } else { &mut f.rules };
            let (base, kind) = (p.kind.0 & !1, p.kind);
            match (&p.body, TablePropType(base)) {
                (PropBody::Instructions(l), _) => {
                    to.instructions = kinds(l.iter().map(|i| (i.kind, i.data.len())), INSTRUCTIONS);
                }
                (PropBody::NextTables(l), _) => {
                    to.next = l.iter().map(|t| t.0).collect();
                    to.next.sort_unstable();
                    to.next.dedup();
                }
                (PropBody::Actions(l), TablePropType::WRITE_ACTIONS) => {
                    to.write.actions = kinds(l.iter().map(|i| (i.kind, i.data.len())), ACTIONS);
                }
                (PropBody::Actions(l), _) => {
                    to.apply.actions = kinds(l.iter().map(|i| (i.kind, i.data.len())), ACTIONS);
                }
                (PropBody::Oxms(l), base) => {
                    let mut known: Vec<_> =
                        l.iter().filter_map(|o| o.field().map(|f| (f, o.has_mask()))).collect();
                    known.sort_unstable();
                    known.dedup();
                    let mut list: Vec<String> = known.iter().map(|(f, _)| set_name(*f).to_owned()).collect();
                    list.extend(l.iter().filter(|o| o.field().is_none()).map(|o| format!("{:#x}", o.header)));
                    match (kind, base) {
                        (TablePropType::MATCH, _) => {
                            f.masked = known
                                .iter()
                                .filter(|(_, m)| *m)
                                .map(|(f, _)| set_name(*f).to_owned())
                                .collect();
                            f.matches = list;
                        }
                        (TablePropType::WILDCARDS, _) => f.wildcards = list,
                        (_, TablePropType::WRITE_SETFIELD) => to.write.fields = list,
                        _ => to.apply.fields = list,
                    }
                }
                (PropBody::Experimenter { experimenter, exp_type, data }, _) => {
                    f.other.push(format!(
                        "experimenter {experimenter:#x} type {exp_type}, {} bytes",
                        data.len()
                    ));
                }
                (PropBody::Unknown(d), _) => {
                    f.other.push(format!("property {:#x}, {} bytes", kind.0, d.len()))
                }
            }
        }
        // What is not said of the table-miss entry holds as for other entries.
        let said = |k: TablePropType| seen_miss[usize::from(k.0)];
        if !said(TablePropType::INSTRUCTIONS_MISS) {
            f.miss.instructions = f.rules.instructions.clone();
        }
        if !said(TablePropType::NEXT_TABLES_MISS) {
            f.miss.next = f.rules.next.clone();
        }
        if !said(TablePropType::WRITE_ACTIONS_MISS) {
            f.miss.write.actions = f.rules.write.actions.clone();
        }
        if !said(TablePropType::APPLY_ACTIONS_MISS) {
            f.miss.apply.actions = f.rules.apply.actions.clone();
        }
        if !said(TablePropType::WRITE_SETFIELD_MISS) {
            f.miss.write.fields = f.rules.write.fields.clone();
        }
        if !said(TablePropType::APPLY_SETFIELD_MISS) {
            f.miss.apply.fields = f.rules.apply.fields.clone();
        }
        f
    }

    /// The same, as far as it can be the same for tables `a` and `b`: only tables after both count as next.
    fn same(&self, a: TableId, other: &Self, b: TableId) -> bool {
        let after = a.0.max(b.0);
        let cut = |f: &Self| {
            let mut f = f.clone();
            f.rules.next.retain(|t| *t > after);
            f.miss.next.retain(|t| *t > after);
            f
        };
        cut(self) == cut(other)
    }
}

fn words(out: &mut String, title: &str, l: &[String]) {
    let _ = writeln!(out, "{title} {}", if l.is_empty() { "none".to_owned() } else { l.join(" ") });
}

fn ranges(l: &[u8]) -> String {
    let mut out = String::new();
    let mut i = 0;
    while i < l.len() {
        let mut j = i;
        while j + 1 < l.len() && l[j + 1] == l[j] + 1 {
            j += 1;
        }
        let _ = write!(out, "{}{}", if i > 0 { "," } else { "" }, l[i]);
        if j > i {
            let _ = write!(out, "-{}", l[j]);
        }
        i = j + 1;
    }
    out
}

fn act(out: &mut String, a: &Act) {
    words(out, "        actions:", &a.actions);
    words(out, "        supported on Set-Field:", &a.fields);
}

fn instr(out: &mut String, f: &Instr, last: Option<&Instr>) {
    match f.next.as_slice() {
        [] => {}
        l => drop(writeln!(out, "      next tables: {}", ranges(l))),
    }
    if last.is_some_and(|l| l.instructions == f.instructions) {
        out.push_str("      (same instructions)\n");
    } else {
        words(out, "      instructions:", &f.instructions);
    }
    if last.is_some_and(|l| l.write == f.write && l.apply == f.apply) {
        out.push_str("      (same actions)\n");
    } else if f.write == f.apply {
        out.push_str("      Write-Actions and Apply-Actions features:\n");
        act(out, &f.write);
    } else {
        out.push_str("      Write-Actions features:\n");
        act(out, &f.write);
        out.push_str("      Apply-Actions features:\n");
        act(out, &f.apply);
    }
}

/// Appends the features of tables; what repeats is said once.
fn tables(out: &mut String, l: &[TableFeatures]) {
    let mut ditto = Ditto::default();
    let mut last: Option<(TableId, Features)> = None;
    for t in l {
        let f = Features::of(t);
        let name = t.name.as_str();
        let name: String = name.chars().flat_map(char::escape_debug).collect();
        let same = last.as_ref().is_some_and(|(id, p)| f.same(t.table_id, p, *id));
        if same && name.is_empty() {
            ditto.more(t.table_id);
            continue;
        }
        ditto.flush(out);
        let _ = write!(out, "\n  table {}", t.table_id);
        if !name.is_empty() {
            let _ = write!(out, " (\"{name}\")");
        }
        if same {
            out.push_str(": ditto");
            continue;
        }
        let (m, w) = f.metadata;
        let _ =
            writeln!(out, ":\n    metadata: match={m:#x} write={w:#x}\n    max_entries={}", f.max_entries);
        for o in &f.other {
            let _ = writeln!(out, "    {o}");
        }
        let before = last.as_ref().map(|(_, p)| p);
        if f.rules == f.miss {
            out.push_str("    instructions (table miss and others):\n");
            instr(out, &f.rules, before.map(|p| &p.rules));
        } else {
            out.push_str("    instructions (other than table miss):\n");
            instr(out, &f.rules, before.map(|p| &p.rules));
            out.push_str("    instructions (table miss):\n");
            instr(out, &f.miss, before.map(|p| &p.miss));
        }
        let key = |f: &Features| (f.matches.clone(), f.wildcards.clone(), f.masked.clone());
        if before.is_some_and(|p| key(p) == key(&f)) {
            out.push_str("    (same matching)\n");
        } else {
            out.push_str("    matching:\n");
            let pick = |masked: bool, wild: bool| -> Vec<String> {
                let ok = |n: &&String| f.masked.contains(n) == masked && f.wildcards.contains(n) == wild;
                f.matches.iter().filter(ok).cloned().collect()
            };
            let any: Vec<String> = f.matches.iter().filter(|n| f.masked.contains(n)).cloned().collect();
            for (title, l) in [
                ("      arbitrary mask:", any),
                ("      exact match or wildcard:", pick(false, true)),
                ("      must exact match:", pick(false, false)),
            ] {
                if !l.is_empty() {
                    words(out, title, &l);
                }
            }
        }
        last = Some((t.table_id, f));
    }
    ditto.flush(out);
}

fn group_features(out: &mut String, f: &GroupFeatures) {
    let _ = writeln!(
        out,
        "\n Group table:\n    Types:  {:#x}\n    Capabilities:  {:#x}",
        f.types, f.capabilities.0
    );
    for (i, title) in ["all", "select", "indirect", "fast failover"].iter().enumerate() {
        if f.types >> i & 1 == 0 {
            continue;
        }
        let on = f.actions[i];
        let ids = (0u16..32).filter(|k| on >> k & 1 == 1).map(|k| (k, 0));
        let l = kinds(ids, ACTIONS).join(" ");
        let l = if l.is_empty() { "<none>".into() } else { l };
        let _ = write!(
            out,
            "    {title} group:\n       max_groups={:#x}\n       actions: {l}\n",
            f.max_groups[i]
        );
    }
}

fn meter_config(out: &mut String, id: MeterId, flags: MeterFlags, bands: &[MeterBand]) {
    push_head(out, id, flags, ' ');
    for b in bands {
        out.push('\n');
        push_band(out, b, flags, ' ');
    }
}

fn meter_mod(out: &mut String, m: &MeterMod) {
    match m.command {
        MeterModCommand::ADD => out.push_str(" ADD "),
        MeterModCommand::MODIFY => out.push_str(" MOD "),
        MeterModCommand::DELETE => out.push_str(" DEL "),
        MeterModCommand(c) => drop(write!(out, " cmd:{c} ")),
    }
    meter_config(out, m.meter_id, m.flags, &m.bands);
}

fn meter_features(out: &mut String, f: &MeterFeatures) {
    let _ = write!(
        out,
        "\nmax_meter:{} max_bands:{} max_color:{}\nband_types: ",
        f.max_meter, f.max_bands, f.max_color
    );
    bits(out, f.band_types, [(2, "drop"), (4, "dscp_remark")].into_iter());
    out.push_str("\ncapabilities: ");
    bits(out, f.capabilities.0, [(1, "kbps"), (2, "pktps"), (4, "burst"), (8, "stats")].into_iter());
}

fn role_word(r: ControllerRole) -> String {
    match r {
        ControllerRole::NOCHANGE => "nochange".into(),
        ControllerRole::EQUAL => "equal".into(),
        ControllerRole::MASTER => "primary".into(),
        ControllerRole::SLAVE => "secondary".into(),
        ControllerRole(r) => format!("{r}"),
    }
}

fn role(out: &mut String, r: &Role) {
    let _ = write!(out, " role={}", role_word(r.role));
    let has_generation = !matches!(r.role, ControllerRole::NOCHANGE | ControllerRole::EQUAL);
    if has_generation && r.generation_id != u64::MAX {
        let _ = write!(out, " generation_id={}", r.generation_id);
    }
}

fn async_config(out: &mut String, a: &AsyncConfig) {
    const PORT: &[&str] = &["add", "delete", "modify"];
    for i in 0..2 {
        out.push_str(if i == 0 { "\n primary:\n" } else { "\n secondary:\n" });
        let mut line = |title: &str, mask: u32, word: &dyn Fn(u32) -> Option<&'static str>| {
            out.push_str(title);
            if mask == 0 {
                out.push_str(" (off)");
            }
            for bit in (0..32).filter(|b| mask >> b & 1 == 1) {
                match word(bit) {
                    Some(w) => drop(write!(out, " {w}")),
                    None => drop(write!(out, " {bit}")),
                }
            }
            out.push('\n');
        };
        line("       PACKET_IN:", a.packet_in_mask[i], &|b| reason_word(b as u8));
        line("     PORT_STATUS:", a.port_status_mask[i], &|b| PORT.get(b as usize).copied());
        line("    FLOW_REMOVED:", a.flow_removed_mask[i], &|b| removed_word(FlowRemovedReason(b as u8)));
        line("     ROLE_STATUS:", 0, &|_| None);
        line("    TABLE_STATUS:", 0, &|_| None);
        line("  REQUESTFORWARD:", 0, &|_| None);
    }
}

fn tlv_maps(out: &mut String, maps: &[TlvMap]) {
    out.push_str(
        " mapping table:\n  class  type  length  match field\n ------  ----  ------  --------------",
    );
    for m in maps {
        let (c, t, l, i) = (m.option_class, m.option_type, m.option_len, m.index);
        let kind = if t == 0 { "0".to_owned() } else { format!("{t:#x}") };
        let _ = write!(out, "\n {:>6}  {kind:>4}  {l:>6}  tun_metadata{i}", format!("{c:#x}"));
    }
}

fn nicira(out: &mut String, n: &NxMessage, verbosity: u8, names: &dyn PortNames) {
    match n {
        NxMessage::RoleRequest(r) | NxMessage::RoleReply(r) => drop(write!(out, " role={}", role_word(*r))),
        NxMessage::SetFlowFormat(f) => drop(write!(out, " format={f}")),
        NxMessage::FlowModTableId(on) => out.push_str(if *on { " enable" } else { " disable" }),
        NxMessage::SetPacketInFormat(f) => match *f {
            PacketInFormat::STANDARD => out.push_str(" format=standard"),
            PacketInFormat::NXT_PACKET_IN => out.push_str(" format=nxt_packet_in"),
            PacketInFormat::NXT_PACKET_IN2 => out.push_str(" format=nxt_packet_in2"),
            PacketInFormat(f) => drop(write!(out, " format={f}")),
        },
        NxMessage::PacketIn(p) => {
            let s = Seen {
                table_id: p.table_id,
                cookie: p.cookie,
                total_len: p.total_len.into(),
                matching: Some(&p.matching),
                reason: p.reason.0,
                buffer_id: p.buffer_id,
                userdata: &[],
                data: &p.data,
            };
            seen(out, &s, verbosity, names);
        }
        NxMessage::SetAsyncConfig(a) => async_config(out, a),
        NxMessage::SetControllerId(id) => drop(write!(out, " id={id}")),
        NxMessage::FlowMonitorCancel(id) => drop(write!(out, " id={id}")),
        NxMessage::FlowAge
        | NxMessage::FlowMonitorPaused
        | NxMessage::FlowMonitorResumed
        | NxMessage::TlvTableRequest => {}
        NxMessage::TlvTableMod { command, maps } => {
            out.push_str(match command {
                0 => "\n ADD",
                1 => "\n DEL",
                2 => "\n CLEAR",
                _ => "\n unknown command",
            });
            tlv_maps(out, maps);
        }
        NxMessage::TlvTableReply { max_option_space, max_fields, maps } => {
            let used: u32 = maps.iter().map(|m| u32::from(m.option_len)).sum();
            let _ = write!(out, "\n max option space={max_option_space} max fields={max_fields}");
            let _ = write!(out, "\n allocated option space={used}\n\n");
            tlv_maps(out, maps);
        }
        NxMessage::PacketIn2(p) | NxMessage::Resume(p) => packet_in2(out, p, verbosity, names),
        NxMessage::CtFlushZone(z) => drop(write!(out, " zone_id={z}")),
        NxMessage::Other { subtype, data } => {
            let _ = writeln!(out, " subtype={}", subtype.0);
            hex_dump(out, data, true);
        }
    }
}

/// A group type in words, for JSON and tables.
pub fn group_type(t: GroupType) -> String {
    type_word(t).map_or_else(|| t.0.to_string(), str::to_owned)
}
