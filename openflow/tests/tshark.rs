//! tshark's `openflow_v4` dissector reads what we write: nothing is malformed, and every value it shows is the one meant, in its place.
//! Where tshark is not installed the test says so and is skipped.
//!
//! [`said`] is what each message should be read as. It has no catch-all arms: a new message, action, instruction or multipart does not compile
//! here until it is said what others should see in it. Whatever tshark shows beyond that, or otherwise, fails the test.

use openflow::action::Action;
use openflow::arbitrary::all_messages;
use openflow::field::{CLASS_BASIC, CLASS_EXPERIMENTER, NICIRA_EXPERIMENTER, ONF_EXPERIMENTER};
use openflow::group::Bucket;
use openflow::header::OFP13_VERSION;
use openflow::meter::MeterBand;
use openflow::msg::multipart::*;
use openflow::msg::*;
use openflow::port::Port;
use openflow::*;
use quickcheck::{Arbitrary, Gen};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

/// Samples of everything, and random messages, as far as tshark can follow.
fn messages() -> Vec<OfMessage> {
    let mut all = all_messages();
    let g = &mut Gen::from_size_and_seed(6, 4711);
    for xid in 0..600 {
        let body = Message::arbitrary(g);
        all.push(OfMessage::new(10_000 + xid, body));
    }
    // tshark goes on into the packet of a packet-in and the message of an error, whatever they are: give it real ones.
    let frame: Vec<u8> = (0..60).map(|n| if n == 12 { 0x88 } else { 0 }).collect();
    // Bands of others are malformed to it: the standard ones remain.
    let known = |b: &MeterBand| matches!(b, MeterBand::Drop { .. } | MeterBand::DscpRemark { .. });
    for m in &mut all {
        match &mut m.body {
            Message::PacketIn(p) => p.data = frame.clone().into(),
            Message::PacketOut(p) => p.data = frame.clone().into(),
            Message::Error(e) => e.data = OfMessage::new(0, Message::BarrierRequest).to_bytes().unwrap(),
            Message::MeterMod(m) => m.bands.retain(known),
            Message::MultipartReply(MultipartReply { body: ReplyBody::MeterConfig(c), .. }) => {
                c.iter_mut().for_each(|m| m.bands.retain(known));
            }
            _ => {}
        }
    }
    // It calls every experimenter reply malformed.
    all.retain(
        |m| !matches!(&m.body, Message::MultipartReply(r) if r.body.kind() == MultipartType::EXPERIMENTER),
    );
    // It reads other versions otherwise, and a capture holds no longer ones.
    all.retain(|m| m.version == OFP13_VERSION && m.to_bytes().is_ok_and(|b| b.len() < 30_000));
    all
}

/// One TCP segment per message, port 6653, in a libpcap file.
fn pcap(messages: &[OfMessage]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&0xa1b2_c3d4u32.to_le_bytes());
    out.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&65535u32.to_le_bytes());
    out.extend_from_slice(&1u32.to_le_bytes());
    let mut seq = 1u32;
    for (i, m) in messages.iter().enumerate() {
        let b = m.to_bytes().unwrap();
        let mut p = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
        p.extend_from_slice(&(40 + b.len() as u16).to_be_bytes());
        p.extend_from_slice(&[0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        p.extend_from_slice(&[0x19, 0xfd, 0x90, 0x00]);
        p.extend_from_slice(&seq.to_be_bytes());
        p.extend_from_slice(&[0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        p.extend_from_slice(&b);
        seq = seq.wrapping_add(b.len() as u32);
        for n in [i as u32, 0, p.len() as u32, p.len() as u32] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&p);
    }
    out
}

/// One value that a reader should see: tshark's name of the field, hexadecimal digits without leading zeros, and whether tshark may leave it
/// out.
#[derive(Debug)]
struct Value {
    name: String,
    hex: String,
    optional: bool,
}

#[derive(Default)]
struct Said(Vec<Value>);

impl Said {
    fn n(&mut self, name: &str, value: impl Into<u128>) {
        self.0.push(Value {
            name: name.into(),
            hex: trimmed(&format!("{:x}", value.into())),
            optional: false,
        });
    }
    fn all(&mut self, prefix: &str, values: &[(&str, u128)]) {
        values.iter().for_each(|(n, v)| self.n(&format!("{prefix}.{n}"), *v));
    }
    fn b(&mut self, name: &str, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        self.0.push(Value { name: name.into(), hex: trimmed(&hex), optional: false });
    }
    fn maybe(&mut self, name: &str, value: impl Into<u128>) {
        self.n(name, value);
        self.0.last_mut().expect("one").optional = true;
    }

    fn header(&mut self, m: &OfMessage) {
        let len = m.to_bytes().unwrap().len();
        self.all(
            "",
            &[
                ("version", m.version.into()),
                ("type", m.body.msg_type().0.into()),
                ("length", len as u128),
                ("xid", m.xid.0.into()),
            ],
        );
    }
    fn oxm_header(&mut self, header: u32) {
        let (class, second) = (header >> 16, header >> 8 & 0xff);
        self.n("oxm.class", class);
        // The field number and the mask bit share a byte.
        self.n("oxm.field", second);
        self.n("oxm.hm", second);
    }
    fn oxm(&mut self, o: &Oxm) {
        match o {
            Oxm::Known(f) => {
                let d = f.field.def();
                self.oxm_header(d.oxm_header(f.mask.is_some()));
                let bits = 8 * d.bytes();
                match d.class {
                    CLASS_EXPERIMENTER => {
                        self.n("oxm_experimenter.experimenter", d.experimenter);
                        let both = |m: u128| f.value << bits | m;
                        self.n("oxm_experimenter.value", f.mask.map_or(f.value, both));
                    }
                    CLASS_BASIC => {
                        self.n("oxm.value", f.value);
                        if let Some(m) = f.mask {
                            // It shows masks only of fields that the specification lets be masked.
                            self.maybe("oxm.mask", m);
                        }
                    }
                    _ => {} // Of Nicira's classes it knows nothing but the header.
                }
            }
            Oxm::Unknown(u) => {
                self.oxm_header((u.class as u32) << 16 | (u.number as u32) << 9 | (u.has_mask as u32) << 8);
                if u.class == CLASS_BASIC && !u.body.is_empty() {
                    let half = if u.has_mask { u.body.len() / 2 } else { u.body.len() };
                    self.b("oxm.value", &u.body[..half]);
                    if u.has_mask {
                        self.b("oxm.mask", &u.body[half..]);
                    }
                }
                if u.class == CLASS_EXPERIMENTER {
                    self.n("oxm_experimenter.experimenter", u.experimenter);
                    if !u.body.is_empty() {
                        self.b("oxm_experimenter.value", &u.body);
                    }
                }
            }
        }
    }
    fn matching(&mut self, m: &Match) {
        self.n("match.type", 1u8);
        m.fields.iter().for_each(|o| self.oxm(o));
    }
    fn action(&mut self, a: &Action) {
        let mut one = |kind: u16, values: &[(&str, u128)]| {
            self.n("action.type", kind);
            self.all("action", values);
        };
        match a {
            Action::Output { port, max_len } => {
                one(0, &[("output.port", port.0.into()), ("output.max_len", (*max_len).into())])
            }
            Action::CopyTtlOut => one(11, &[]),
            Action::CopyTtlIn => one(12, &[]),
            Action::SetMplsTtl(n) => one(15, &[("set_mpls_ttl.ttl", (*n).into())]),
            Action::DecMplsTtl => one(16, &[]),
            Action::PushVlan(t) => one(17, &[("push_vlan.ethertype", (*t).into())]),
            Action::PopVlan => one(18, &[]),
            Action::PushMpls(t) => one(19, &[("push_mpls.ethertype", (*t).into())]),
            Action::PopMpls(t) => one(20, &[("pop_mpls.ethertype", (*t).into())]),
            Action::SetQueue(n) => one(21, &[("set_queue.queue_id", (*n).into())]),
            Action::Group(g) => one(22, &[("group.group_id", g.0.into())]),
            Action::SetNwTtl(n) => one(23, &[("set_nw_ttl.ttl", (*n).into())]),
            Action::DecNwTtl => one(24, &[]),
            Action::SetField(o) => {
                one(25, &[]);
                self.oxm(o);
            }
            Action::PushPbb(t) => one(26, &[("push_pbb.ethertype", (*t).into())]),
            Action::PopPbb => one(27, &[]),
            Action::Experimenter { experimenter, .. } => {
                one(0xffff, &[]);
                self.n("action_experimenter.experimenter", *experimenter);
            }
            Action::Unknown { kind, .. } => one(*kind, &[]),
            Action::Resubmit { .. }
            | Action::RegMove { .. }
            | Action::RegLoad { .. }
            | Action::RegLoad2(_)
            | Action::StackPush(_)
            | Action::StackPop(_)
            | Action::OutputReg { .. }
            | Action::OutputTrunc { .. }
            | Action::SetTunnel(_)
            | Action::PopQueue
            | Action::Multipath(_)
            | Action::Bundle(_)
            | Action::Learn(_)
            | Action::Conjunction { .. }
            | Action::Controller(_)
            | Action::Note(_)
            | Action::Exit
            | Action::FinTimeout { .. }
            | Action::Sample(_)
            | Action::DecTtlCntIds(_)
            | Action::WriteMetadata { .. }
            | Action::Ct(_)
            | Action::Nat(_)
            | Action::CtClear
            | Action::Clone(_)
            | Action::CheckPktLarger { .. }
            | Action::Encap { .. }
            | Action::Decap { .. }
            | Action::DecNshTtl
            | Action::DeleteField(_) => {
                one(0xffff, &[]);
                self.n("action_experimenter.experimenter", NICIRA_EXPERIMENTER);
            }
        }
    }
    fn instruction(&mut self, i: &Instruction) {
        let mut kind = |n: u16| self.n("instruction.type", n);
        match i {
            Instruction::GotoTable(t) => {
                kind(1);
                self.n("instruction.goto_table.table_id", t.0);
            }
            Instruction::WriteMetadata { metadata, mask } => {
                kind(2);
                self.n("instruction.write_metadata.value", *metadata);
                self.n("instruction.write_metadata.mask", *mask);
            }
            Instruction::WriteActions(a) => {
                kind(3);
                a.iter().for_each(|a| self.action(a));
            }
            Instruction::ApplyActions(a) => {
                kind(4);
                a.iter().for_each(|a| self.action(a));
            }
            Instruction::ClearActions => kind(5),
            Instruction::Meter(m) => {
                kind(6);
                self.n("instruction.meter.meter_id", m.0);
            }
            Instruction::Experimenter { experimenter, .. } => {
                kind(0xffff);
                self.n("instruction_experimenter.experimenter", *experimenter);
            }
            Instruction::Unknown { kind: n, .. } => kind(*n),
        }
    }
    fn port(&mut self, p: &Port) {
        self.n("port.port_no", p.port_no.0);
        self.b("port.hw_addr", &p.hw_addr.0);
        self.b("port.name", &p.name.0);
        self.all(
            "port",
            &[
                ("config", p.config.0.into()),
                ("sate", p.state.0.into()), // so it is spelled
                ("current", p.curr.0.into()),
                ("advertised", p.advertised.0.into()),
                ("supported", p.supported.0.into()),
                ("peer", p.peer.0.into()),
                ("curr_speed", p.curr_speed.into()),
                ("max_speed", p.max_speed.into()),
            ],
        );
    }
    fn buckets(&mut self, buckets: &[Bucket]) {
        for b in buckets {
            self.n("bucket.weight", b.weight);
            self.n("bucket.watch_port", b.watch_port.0);
            self.n("bucket.watch_group", b.watch_group.0);
            b.actions.iter().for_each(|a| self.action(a));
        }
    }
    fn bands(&mut self, bands: &[MeterBand]) {
        for b in bands {
            let (rate, burst) = b.rate_burst();
            self.n("meter_band.type", b.kind().0);
            self.n("meter_band.rate", rate);
            self.n("meter_band.burst_size", burst);
            match b {
                MeterBand::Drop { .. } => {}
                MeterBand::DscpRemark { prec_level, .. } => {
                    self.n("meter_band.dscp_remark.prec_level", *prec_level)
                }
                MeterBand::Experimenter { .. } | MeterBand::Unknown { .. } => unreachable!("left out"),
            }
        }
    }
    fn table_features(&mut self, tables: &[TableFeatures]) {
        for t in tables {
            self.n("table_features.table_id", t.table_id.0);
            self.b("table_features.name", &t.name.0);
            self.all(
                "table_features",
                &[
                    ("metadata_match", t.metadata_match.into()),
                    ("metadata_write", t.metadata_write.into()),
                    ("config", t.config.into()),
                    ("max_entries", t.max_entries.into()),
                ],
            );
            for p in &t.properties {
                self.n("table_feature_prop.type", p.kind.0);
                let id = |data: &[u8]| data.try_into().ok().map(u32::from_be_bytes);
                match &p.body {
                    PropBody::Instructions(list) => list.iter().for_each(|i| {
                        self.n("instruction.type", i.kind);
                        if let Some(id) = id(&i.data) {
                            self.n("instruction_experimenter.experimenter", id);
                        }
                    }),
                    PropBody::NextTables(list) => {
                        list.iter().for_each(|t| self.n("table_feature_prop.next_tables.next_table_id", t.0))
                    }
                    PropBody::Actions(list) => list.iter().for_each(|a| {
                        self.n("action.type", a.kind);
                        if let Some(id) = id(&a.data) {
                            self.n("action_experimenter.experimenter", id);
                        }
                    }),
                    PropBody::Oxms(list) => list.iter().for_each(|o| {
                        self.oxm_header(o.header);
                        if o.header >> 16 == CLASS_EXPERIMENTER as u32 {
                            // It takes the experimenter's id for another header.
                            self.oxm_header(o.experimenter);
                        }
                    }),
                    PropBody::Experimenter { experimenter, exp_type, .. } => {
                        self.n("table_feature_prop.experimenter.experimenter", *experimenter);
                        self.n("table_feature_prop.experimenter.exp_type", *exp_type);
                    }
                    PropBody::Unknown(_) => {}
                }
            }
        }
    }
    fn flow_request(&mut self, prefix: &str, r: &FlowStatsRequest) {
        self.all(
            prefix,
            &[
                ("table_id", r.table_id.0.into()),
                ("out_port", r.out_port.0.into()),
                ("out_group", r.out_group.0.into()),
                ("cookie", r.cookie.into()),
                ("cookie_mask", r.cookie_mask.into()),
            ],
        );
        self.matching(&r.matching);
    }
    fn async_config(&mut self, a: &AsyncConfig) {
        for (name, [master, slave]) in [
            ("packet_in_mask", a.packet_in_mask),
            ("port_status_mask", a.port_status_mask),
            ("flow_removed_mask", a.flow_removed_mask),
        ] {
            self.n(&format!("async_config.{name}.master"), master);
            self.n(&format!("async_config.{name}.slave"), slave);
        }
    }
    fn experimenter(&mut self, prefix: &str, id: u32, exp_type: u32) {
        self.all(prefix, &[("experimenter", id.into()), ("exp_type", exp_type.into())]);
    }
    fn request(&mut self, r: &MultipartRequest) {
        self.all("multipart_request", &[("type", r.body.kind().0.into()), ("flags", r.flags.0.into())]);
        let exp = "multipart_request.experimenter";
        match &r.body {
            RequestBody::Desc
            | RequestBody::Table
            | RequestBody::GroupDesc
            | RequestBody::GroupFeatures
            | RequestBody::MeterFeatures
            | RequestBody::PortDesc => {}
            RequestBody::Flow(r) => self.flow_request("flow_stats_request", r),
            RequestBody::Aggregate(r) => self.flow_request("aggregate_stats_request", r),
            RequestBody::PortStats(r) => self.n("port_stats_request.port_no", r.port_no.0),
            RequestBody::Queue(r) => {
                self.n("queue_stats_request.port_no", r.port_no.0);
                self.n("queue_stats_request.queue_id", r.queue_id);
            }
            RequestBody::Group(r) => self.n("group_stats_request.group_id", r.group_id.0),
            RequestBody::Meter(r) => self.n("meter_stats_request.meter_id", r.meter_id.0),
            RequestBody::MeterConfig(r) => self.n("meter_config_request.meter_id", r.meter_id.0),
            RequestBody::TableFeatures(t) => self.table_features(t),
            RequestBody::FlowMonitor(_) => self.experimenter(exp, ONF_EXPERIMENTER, 1870),
            RequestBody::NxFlowMonitor(_) => self.experimenter(exp, NICIRA_EXPERIMENTER, 2),
            RequestBody::Experimenter { experimenter, exp_type, .. } => {
                self.experimenter(exp, *experimenter, *exp_type)
            }
        }
    }
    fn reply(&mut self, r: &MultipartReply) {
        self.all("multipart_reply", &[("type", r.body.kind().0.into()), ("flags", r.flags.0.into())]);
        match &r.body {
            ReplyBody::Desc(d) => {
                self.b("switch_description.mfr_desc", &d.mfr_desc.0);
                self.b("switch_description.hw_desc", &d.hw_desc.0);
                self.b("switch_description.sw_desc", &d.sw_desc.0);
                self.b("switch_description.serial_num", &d.serial_num.0);
                self.b("switch_description.dp_desc", &d.dp_desc.0);
            }
            ReplyBody::Flow(list) => {
                for f in list {
                    self.all(
                        "flow_stats",
                        &[
                            ("table_id", f.table_id.0.into()),
                            ("duration_sec", f.duration_sec.into()),
                            ("duration_nsec", f.duration_nsec.into()),
                            ("priority", f.priority.into()),
                            ("idle_timeout", f.idle_timeout.into()),
                            ("hard_timeout", f.hard_timeout.into()),
                            ("flags", f.flags.0.into()),
                            ("cookie", f.cookie.into()),
                            ("packet_count", f.packet_count.into()),
                            ("byte_count", f.byte_count.into()),
                        ],
                    );
                    self.matching(&f.matching);
                    f.instructions.iter().for_each(|i| self.instruction(i));
                }
            }
            ReplyBody::Aggregate(a) => self.all(
                "aggregate_stats",
                &[
                    ("packet_count", a.packet_count.into()),
                    ("byte_count", a.byte_count.into()),
                    ("flow_count", a.flow_count.into()),
                ],
            ),
            ReplyBody::Table(list) => list.iter().for_each(|t| {
                self.all(
                    "table_stats",
                    &[
                        ("table_id", t.table_id.0.into()),
                        ("active_count", t.active_count.into()),
                        ("lookup_count", t.lookup_count.into()),
                        ("match_count", t.matched_count.into()),
                    ],
                )
            }),
            ReplyBody::PortStats(list) => list.iter().for_each(|p| {
                self.all(
                    "port_stats",
                    &[
                        ("port_no", p.port_no.0.into()),
                        ("rx_packets", p.rx_packets.into()),
                        ("tx_packets", p.tx_packets.into()),
                        ("rx_bytes", p.rx_bytes.into()),
                        ("tx_bytes", p.tx_bytes.into()),
                        ("rx_dropped", p.rx_dropped.into()),
                        ("tx_dropped", p.tx_dropped.into()),
                        ("rx_errors", p.rx_errors.into()),
                        ("tx_errors", p.tx_errors.into()),
                        ("rx_frame_error", p.rx_frame_err.into()),
                        ("rx_over_error", p.rx_over_err.into()),
                        ("rx_crc_error", p.rx_crc_err.into()),
                        ("collisions", p.collisions.into()),
                        ("duration_sec", p.duration_sec.into()),
                        ("duration_nsec", p.duration_nsec.into()),
                    ],
                )
            }),
            ReplyBody::Queue(list) => {
                for q in list {
                    self.n("queue_stats.port_no", q.port_no.0);
                    self.n("queue_stats.queue_id", q.queue_id);
                    self.n("queue_stats.tx_bytes", q.tx_bytes);
                    self.n("quee_stats.tx_packets", q.tx_packets); // so it is spelled
                    self.n("port_stats.tx_errors", q.tx_errors);
                    self.n("queue_stats.duration_sec", q.duration_sec);
                    self.n("queue_stats.duration_nsec", q.duration_nsec);
                }
            }
            ReplyBody::Group(list) => {
                for x in list {
                    self.n("group_stats.group_id", x.group_id.0);
                    self.n("group_stats.ref_count", x.ref_count);
                    self.n("group_stats.packet_count", x.packet_count);
                    self.n("group_stats.byte_count", x.byte_count);
                    self.n("flow_stats.duration_sec", x.duration_sec); // so they are called
                    self.n("flow_stats.duration_nsec", x.duration_nsec);
                    for b in &x.buckets {
                        self.n("bucket_counter.packet_count", b.packet_count);
                        self.n("bucket_counter.byte_count", b.byte_count);
                    }
                }
            }
            ReplyBody::GroupDesc(list) => {
                for x in list {
                    self.n("group_desc.type", x.kind.0);
                    self.n("group_desc.group_id", x.group_id.0);
                    self.buckets(&x.buckets);
                }
            }
            ReplyBody::GroupFeatures(x) => {
                self.n("group_features.types", x.types);
                self.n("group_features.capabilities", x.capabilities.0);
                for (k, n) in ["all", "select", "indirect", "ff"].iter().zip(x.max_groups) {
                    self.n(&format!("group_stats.max_groups.{k}"), n);
                }
                for (k, n) in ["all", "select", "indirect", "ff"].iter().zip(x.actions) {
                    self.n(&format!("group_features.actions.{k}"), n);
                }
            }
            ReplyBody::Meter(list) => {
                for x in list {
                    self.all(
                        "meter_stats",
                        &[
                            ("meter_id", x.meter_id.0.into()),
                            ("flow_count", x.flow_count.into()),
                            ("packet_in_count", x.packet_in_count.into()),
                            ("byte_in_count", x.byte_in_count.into()),
                            ("duration_sec", x.duration_sec.into()),
                            ("duration_nsec", x.duration_nsec.into()),
                        ],
                    );
                    for b in &x.bands {
                        self.n("meter_band_stats.packet_band_count", b.packet_band_count);
                        self.n("meter_band_stats.byte_band_count", b.byte_band_count);
                    }
                }
            }
            ReplyBody::MeterConfig(list) => {
                for x in list {
                    self.n("meter_config.flags", x.flags.0);
                    self.n("meter_config.meter_id", x.meter_id.0);
                    self.bands(&x.bands);
                }
            }
            ReplyBody::MeterFeatures(x) => {
                self.n("meter_features.max_meter", x.max_meter);
                self.n("features.band_types", x.band_types);
                self.n("meter_features.capabilities", x.capabilities.0);
                self.n("meter_features.max_bands", x.max_bands);
                self.n("meter_features.max_color", x.max_color);
            }
            ReplyBody::TableFeatures(t) => self.table_features(t),
            ReplyBody::PortDesc(p) => p.iter().for_each(|p| self.port(p)),
            ReplyBody::FlowMonitor(_) | ReplyBody::NxFlowMonitor(_) | ReplyBody::Experimenter { .. } => {
                unreachable!("left out")
            }
        }
    }
}

/// What a reader should see in a message, in order.
fn said(m: &OfMessage) -> Vec<Value> {
    let mut s = Said::default();
    s.header(m);
    let exp = "experimenter";
    match &m.body {
        Message::Hello(h) => {
            for e in &h.elements {
                match e {
                    HelloElement::VersionBitmap(words) => {
                        s.n("hello_element.type", 1u8);
                        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
                        s.b("hello_element.version.bitmap", &bytes);
                    }
                    HelloElement::Unknown { kind, .. } => s.n("hello_element.type", *kind),
                }
            }
        }
        Message::Error(e) => {
            s.n("error.type", e.error.kind);
            s.n("error.code", e.error.code);
            s.maybe("error.experimenter", e.error.experimenter);
            // The message inside, where tshark looks at it.
            for v in said(&OfMessage::new(0, Message::BarrierRequest)) {
                s.0.push(Value { optional: true, ..v });
            }
        }
        Message::EchoRequest(e) | Message::EchoReply(e) => {
            if !e.data.is_empty() {
                s.b("echo.data", &e.data);
            }
        }
        Message::Experimenter(e) => s.experimenter(exp, e.experimenter, e.exp_type),
        Message::BundleControl(_) => s.experimenter(exp, ONF_EXPERIMENTER, 2300),
        Message::BundleAdd(_) => s.experimenter(exp, ONF_EXPERIMENTER, 2301),
        Message::FlowMonitorCancel(_) => s.experimenter(exp, ONF_EXPERIMENTER, 1870),
        Message::FlowMonitorPaused => s.experimenter(exp, ONF_EXPERIMENTER, 1871),
        Message::FlowMonitorResumed => s.experimenter(exp, ONF_EXPERIMENTER, 1872),
        Message::Nicira(n) => s.experimenter(exp, NICIRA_EXPERIMENTER, n.subtype().0),
        Message::FeaturesRequest
        | Message::GetConfigRequest
        | Message::BarrierRequest
        | Message::BarrierReply
        | Message::GetAsyncRequest => {}
        Message::FeaturesReply(f) => {
            s.all(
                "switch_features",
                &[
                    ("datapath_id", f.datapath_id.into()),
                    ("n_buffers", f.n_buffers.into()),
                    ("n_tables", f.n_tables.into()),
                    ("auxiliary_id", f.auxiliary_id.into()),
                    ("capabilities", f.capabilities.0.into()),
                ],
            );
            s.n("switch_features_reserved", f.reserved);
        }
        Message::GetConfigReply(c) | Message::SetConfig(c) => {
            s.all("switch_config", &[("flags", c.flags.0.into()), ("miss_send_len", c.miss_send_len.into())])
        }
        Message::PacketIn(p) => {
            s.all(
                "packet_in",
                &[
                    ("buffer_id", p.buffer_id.into()),
                    ("total_len", p.total_len.into()),
                    ("reason", p.reason.0.into()),
                    ("table_id", p.table_id.0.into()),
                    ("cookie", p.cookie.into()),
                ],
            );
            s.matching(&p.matching);
        }
        Message::FlowRemoved(f) => {
            s.all(
                "flow_removed",
                &[
                    ("cookie", f.cookie.into()),
                    ("priority", f.priority.into()),
                    ("reason", f.reason.0.into()),
                    ("table_id", f.table_id.0.into()),
                    ("duration_sec", f.duration_sec.into()),
                    ("duration_nsec", f.duration_nsec.into()),
                    ("idle_timeout", f.idle_timeout.into()),
                    ("hard_timeout", f.hard_timeout.into()),
                    ("packet_count", f.packet_count.into()),
                    ("byte_count", f.byte_count.into()),
                ],
            );
            s.matching(&f.matching);
        }
        Message::PortStatus(p) => {
            s.n("port_status.reason", p.reason.0);
            s.port(&p.port);
        }
        Message::PacketOut(p) => {
            s.all("packet_out", &[("buffer_id", p.buffer_id.into()), ("in_port", p.in_port.0.into())]);
            p.actions.iter().for_each(|a| s.action(a));
        }
        Message::FlowMod(f) => {
            s.all(
                "flowmod",
                &[
                    ("cookie", f.cookie.into()),
                    ("cookie_mask", f.cookie_mask.into()),
                    ("table_id", f.table_id.0.into()),
                    ("command", f.command.0.into()),
                    ("idle_timeout", f.idle_timeout.into()),
                    ("hard_timeout", f.hard_timeout.into()),
                    ("priority", f.priority.into()),
                    ("buffer_id", f.buffer_id.into()),
                    ("out_port", f.out_port.0.into()),
                    ("out_group", f.out_group.0.into()),
                    ("flags", f.flags.0.into()),
                ],
            );
            s.matching(&f.matching);
            f.instructions.iter().for_each(|i| s.instruction(i));
        }
        Message::GroupMod(x) => {
            s.all(
                "groupmod",
                &[
                    ("command", x.command.0.into()),
                    ("type", x.kind.0.into()),
                    ("group_id", x.group_id.0.into()),
                ],
            );
            s.buckets(&x.buckets);
        }
        Message::PortMod(x) => {
            s.n("portmod.port_no", x.port_no.0);
            s.b("portmod.hw_addr", &x.hw_addr.0);
            s.all(
                "portmod",
                &[
                    ("config", x.config.0.into()),
                    ("mask", x.mask.0.into()),
                    ("advertise", x.advertise.0.into()),
                ],
            );
        }
        Message::TableMod(x) => {
            s.all("tablemod", &[("table_id", x.table_id.0.into()), ("config", x.config.into())])
        }
        Message::MultipartRequest(r) => s.request(r),
        Message::MultipartReply(r) => s.reply(r),
        Message::QueueGetConfigRequest(r) => s.n("queue_get_config_request.port", r.port.0),
        Message::QueueGetConfigReply(r) => {
            s.n("queue_get_config_reply.port", r.port.0);
            for q in &r.queues {
                s.n("packet_queue.queue_id", q.queue_id);
                s.n("packet_queue.port", q.port.0);
                for p in &q.properties {
                    let mut prop = |n: u16| s.n("queue_prop.property", n);
                    match p {
                        QueueProp::MinRate(r) => {
                            prop(1);
                            s.n("queue_prop.min_rate.rate", *r);
                        }
                        QueueProp::MaxRate(r) => {
                            prop(2);
                            s.n("queue_prop.max_rate.rate", *r);
                        }
                        QueueProp::Experimenter { experimenter, .. } => {
                            prop(0xffff);
                            s.n("queue_prop.experimenter.experimenter", *experimenter);
                        }
                        QueueProp::Unknown { kind, .. } => prop(*kind),
                    }
                }
            }
        }
        Message::RoleRequest(r) => {
            s.all("role_request", &[("role", r.role.0.into()), ("generation_id", r.generation_id.into())])
        }
        Message::RoleReply(r) => {
            s.all("role_reply", &[("role", r.role.0.into()), ("generation_id", r.generation_id.into())])
        }
        Message::GetAsyncReply(a) | Message::SetAsync(a) => s.async_config(a),
        Message::MeterMod(x) => {
            s.all(
                "metermod",
                &[
                    ("command", x.command.0.into()),
                    ("flags", x.flags.0.into()),
                    ("meter_id", x.meter_id.0.into()),
                ],
            );
            s.bands(&x.bands);
        }
    }
    for v in &mut s.0 {
        v.name = v.name.trim_start_matches('.').to_string();
    }
    s.0
}

fn trimmed(hex: &str) -> String {
    hex.trim_start_matches('0').to_ascii_lowercase()
}

/// What tshark shows of a field in a line of PDML: its name without `openflow_v4.` and its bytes; `None` where there is nothing to compare:
/// padding, lengths of parts, single bits of a field that is shown whole, and bytes it does not look into.
fn shown(line: &str) -> Option<(String, String)> {
    let attr = |name: &str| {
        let at = line.find(&format!(" {name}=\""))? + name.len() + 3;
        line[at..].split('"').next()
    };
    let name = attr("name")?.strip_prefix("openflow_v4.")?;
    let mut value = attr("value").unwrap_or("");
    let last = name.rsplit('.').next().unwrap_or("");
    let silent =
        ["pad", "pad2", "pad3", "undecoded", "len", "acts_len", "value_vlan_vid", "fragments", "body"];
    if silent.contains(&last) || last == "length" && name != "length" || name == "error.data" {
        return None;
    }
    if let Some(whole) = attr("unmaskedvalue") {
        if last != "value_vlan_present" {
            return None;
        }
        value = whole;
    }
    let name = match name.strip_prefix("oxm.") {
        Some(v) if v.starts_with("value") => "oxm.value",
        Some(v) if v.ends_with("mask") => "oxm.mask",
        _ => name,
    };
    Some((name.to_string(), trimmed(value)))
}

#[test]
fn tshark_reads_every_message_with_every_value() {
    let there = Command::new("tshark").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_err() {
        eprintln!("tshark is not installed: skipped");
        return;
    }
    let all = messages();
    let path = std::env::temp_dir().join(format!("openflow-tshark-{}.pcap", std::process::id()));
    std::fs::write(&path, pcap(&all)).unwrap();
    let out = Command::new("tshark")
        .arg("-r")
        .arg(&path)
        .args(["-d", "tcp.port==6653,openflow", "-T", "pdml"])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let packets: Vec<&str> = text.split("<packet>").skip(1).collect();
    assert_eq!(packets.len(), all.len(), "one packet a message");
    let (mut compared, mut wrong, mut names) = (0, Vec::new(), BTreeMap::new());
    let mut kinds = BTreeSet::new();
    for (m, packet) in all.iter().zip(packets) {
        if packet.contains("_ws.malformed") {
            wrong.push(format!("malformed: {m:?}\n{:02x?}", &m.to_bytes().unwrap()[..]));
            continue;
        }
        let mut want = said(m).into_iter();
        let mut fault = None;
        for (name, value) in packet.lines().filter_map(shown) {
            let next = loop {
                match want.next() {
                    Some(w) if w.optional && w.name != name => continue,
                    w => break w,
                }
            };
            match next {
                Some(w) if (&w.name, &w.hex) == (&name, &value) => {
                    compared += 1;
                    *names.entry(name).or_insert(0) += 1;
                }
                w => {
                    fault = Some(format!("tshark shows {name} = {value:?}, meant was {w:?}"));
                    break;
                }
            }
        }
        let left = want.find(|w| !w.optional);
        if let Some(f) = fault.or_else(|| left.map(|w| format!("tshark does not show {w:?}"))) {
            wrong.push(format!("{f} in {m:?}\n{:02x?}", &m.to_bytes().unwrap()[..]));
        }
        kinds.insert(m.body.msg_type().0);
    }
    assert!(wrong.is_empty(), "{} of {} read otherwise:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    assert_eq!(kinds.len(), 30, "types of messages: {kinds:?}");
    assert!(compared > 9_000 && names.len() > 200, "only {compared} values of {} fields", names.len());
    println!("{compared} values of {} fields in {} messages", names.len(), all.len());
}
