//! Random messages for property tests and fuzzing (feature `arbitrary`): every value here survives emit and parse.
//!
//! Also [`all_messages`] and its like: one sample of everything, walked by the list-driven tests.

use crate::action::*;
use crate::error::OfpError;
use crate::field::{Field, Prereq, CLASS_EXPERIMENTER, FIELDS};
use crate::group::{Bucket, GroupCapabilities, GroupType};
use crate::header::OFP13_VERSION;
use crate::ids::*;
use crate::instruction::{Instruction, Instructions};
use crate::matching::{Match, Oxm, OxmField, UnknownOxm};
use crate::meter::{MeterBand, MeterFlags};
use crate::msg::multipart::*;
use crate::msg::*;
use crate::num::FixedStr;
use crate::port::{Port, PortConfig, PortFeatures, PortState};
use quickcheck::{Arbitrary, Gen};

/// Between 0 and `max` things, small numbers more often than large.
fn list<T>(g: &mut Gen, max: usize, mut one: impl FnMut(&mut Gen) -> T) -> Vec<T> {
    let n = (usize::arbitrary(g) % (max + 1)).min(g.size());
    (0..n).map(|_| one(g)).collect()
}
fn below(g: &mut Gen, n: usize) -> usize {
    usize::arbitrary(g) % n
}
fn bytes(g: &mut Gen, max: usize) -> Vec<u8> {
    list(g, max, u8::arbitrary)
}
/// Bytes of which there are `rem` more than a multiple of 8.
fn bytes_mod8(g: &mut Gen, rem: usize) -> Vec<u8> {
    let n = below(g, 3) * 8 + rem;
    (0..n).map(|_| u8::arbitrary(g)).collect()
}

/// What a struct's field may be: anything `Arbitrary`, and the lists and arrays of it that messages have.
trait Part: Sized {
    fn part(g: &mut Gen) -> Self;
}
macro_rules! part {
    ($($t:ty)*) => { $(impl Part for $t { fn part(g: &mut Gen) -> Self { <$t>::arbitrary(g) } })* };
}
part! {
    u8 u16 u32 u64 PortNo TableId GroupId MeterId EthAddr Match Port PortConfig PortState PortFeatures GroupType
    GroupCapabilities MeterFlags MeterFlags32 Capabilities ConfigFlags FlowRemovedReason PortReason FlowModCommand
    FlowModFlags GroupModCommand MeterModCommand ControllerRole
}
impl<const N: usize> Part for FixedStr<N> {
    fn part(g: &mut Gen) -> Self {
        Self::arbitrary(g)
    }
}
impl<const N: usize> Part for [u32; N] {
    fn part(g: &mut Gen) -> Self {
        std::array::from_fn(|_| u32::arbitrary(g))
    }
}
impl<T: Arbitrary> Part for Vec<T> {
    fn part(g: &mut Gen) -> Self {
        list(g, 4, T::arbitrary)
    }
}
impl Part for Instructions {
    fn part(g: &mut Gen) -> Self {
        list(g, 4, Instruction::arbitrary).into()
    }
}
macro_rules! arb_struct {
    ($($t:ident { $($f:ident),* $(,)? })*) => {
        $(impl Arbitrary for $t {
            fn arbitrary(g: &mut Gen) -> Self { Self { $($f: Part::part(g)),* } }
        })*
    };
}
macro_rules! arb_named {
    ($($t:ident)*) => {
        $(impl Arbitrary for $t {
            fn arbitrary(g: &mut Gen) -> Self {
                if bool::arbitrary(g) { g.choose($t::ALL_NAMED).unwrap().0 } else { $t(Arbitrary::arbitrary(g)) }
            }
        })*
    };
}
macro_rules! arb_id {
    ($($t:ident [$($special:ident),*])*) => {
        $(impl Arbitrary for $t {
            fn arbitrary(g: &mut Gen) -> Self {
                match below(g, 3) {
                    0 => *g.choose(&[$($t::$special),*]).unwrap(),
                    1 => $t(u8::arbitrary(g).into()),
                    _ => $t(Arbitrary::arbitrary(g)),
                }
            }
        })*
    };
}

arb_named! {
    PortConfig PortState PortFeatures GroupType GroupCapabilities MeterFlags MeterFlags32 Capabilities ConfigFlags
    PacketInReason FlowRemovedReason PortReason FlowModCommand FlowModFlags GroupModCommand MeterModCommand
    ControllerRole BundleCtrlType BundleFlags PacketInFormat MultipartFlags FlowMonitorFlags
}
arb_id! {
    PortNo [IN_PORT, TABLE, NORMAL, FLOOD, ALL, CONTROLLER, LOCAL, ANY, MAX]
    TableId [ALL, MAX]
    GroupId [ALL, ANY, MAX]
    MeterId [ALL, SLOWPATH, CONTROLLER, MAX]
}
arb_struct! {
    Port { port_no, hw_addr, name, config, state, curr, advertised, supported, peer, curr_speed, max_speed }
    Bucket { weight, watch_port, watch_group, actions }
    FeaturesReply { datapath_id, n_buffers, n_tables, auxiliary_id, capabilities, reserved }
    SwitchConfig { flags, miss_send_len }
    FlowRemoved {
        cookie, priority, reason, table_id, duration_sec, duration_nsec, idle_timeout, hard_timeout, packet_count,
        byte_count, matching,
    }
    PortStatus { reason, port }
    FlowMod {
        cookie, cookie_mask, table_id, command, idle_timeout, hard_timeout, priority, buffer_id, out_port, out_group,
        flags, matching, instructions,
    }
    GroupMod { command, kind, group_id, buckets }
    PortMod { port_no, hw_addr, config, mask, advertise }
    TableMod { table_id, config }
    QueueGetConfigRequest { port }
    QueueGetConfigReply { port, queues }
    PacketQueue { queue_id, port, properties }
    Role { role, generation_id }
    AsyncConfig { packet_in_mask, port_status_mask, flow_removed_mask }
    MeterMod { command, flags, meter_id, bands }
    BundleProp { kind, data }
    FlowStatsRequest { table_id, out_port, out_group, cookie, cookie_mask, matching }
    FlowStats {
        table_id, duration_sec, duration_nsec, priority, idle_timeout, hard_timeout, flags, cookie, packet_count,
        byte_count, matching, instructions,
    }
    AggregateStats { packet_count, byte_count, flow_count }
    TableStats { table_id, active_count, lookup_count, matched_count }
    PortStatsRequest { port_no }
    PortStats {
        port_no, rx_packets, tx_packets, rx_bytes, tx_bytes, rx_dropped, tx_dropped, rx_errors, tx_errors,
        rx_frame_err, rx_over_err, rx_crc_err, collisions, duration_sec, duration_nsec,
    }
    QueueStatsRequest { port_no, queue_id }
    QueueStats { port_no, queue_id, tx_bytes, tx_packets, tx_errors, duration_sec, duration_nsec }
    GroupStatsRequest { group_id }
    GroupStats { group_id, ref_count, packet_count, byte_count, duration_sec, duration_nsec, buckets }
    BucketCounter { packet_count, byte_count }
    GroupDesc { kind, group_id, buckets }
    GroupFeatures { types, capabilities, max_groups, actions }
    MeterRequest { meter_id }
    MeterStats { meter_id, flow_count, packet_in_count, byte_in_count, duration_sec, duration_nsec, bands }
    MeterBandStats { packet_band_count, byte_band_count }
    MeterConfig { flags, meter_id, bands }
    MeterFeatures { max_meter, band_types, capabilities, max_bands, max_color }
    TableFeatures { table_id, name, metadata_match, metadata_write, config, max_entries, properties }
    Desc { mfr_desc, hw_desc, sw_desc, serial_num, dp_desc }
    TlvMap { option_class, option_type, option_len, index }
}

impl<const N: usize> Arbitrary for FixedStr<N> {
    fn arbitrary(g: &mut Gen) -> Self {
        let mut s = [0; N];
        let n = below(g, N + 1);
        s[..n].fill_with(|| b'a' + u8::arbitrary(g) % 26);
        Self(s)
    }
}
impl Arbitrary for EthAddr {
    fn arbitrary(g: &mut Gen) -> Self {
        Self(std::array::from_fn(|_| u8::arbitrary(g)))
    }
}
impl Arbitrary for Xid {
    fn arbitrary(g: &mut Gen) -> Self {
        Self(u32::arbitrary(g))
    }
}
impl Arbitrary for Field {
    fn arbitrary(g: &mut Gen) -> Self {
        g.choose(FIELDS).unwrap().field
    }
}

/// A value that fits the field's bytes.
fn value(g: &mut Gen, field: Field) -> u128 {
    u128::arbitrary(g) & (u128::MAX >> (128 - 8 * field.def().bytes()))
}

impl Arbitrary for OxmField {
    fn arbitrary(g: &mut Gen) -> Self {
        let field = Field::arbitrary(g);
        let mask = if bool::arbitrary(g) { Some(value(g, field)) } else { None };
        Self { field, value: value(g, field), mask }
    }
}
impl Arbitrary for UnknownOxm {
    fn arbitrary(g: &mut Gen) -> Self {
        let (class, number, experimenter) = match below(g, 3) {
            0 => (0x8000, 100 + u8::arbitrary(g) % 28, 0),
            1 => (CLASS_EXPERIMENTER, u8::arbitrary(g) & 0x7f, 0x00ab_cdef),
            _ => (0x7fff, u8::arbitrary(g) & 0x7f, 0),
        };
        Self { class, number, has_mask: bool::arbitrary(g), experimenter, body: bytes(g, 20) }
    }
}
impl Arbitrary for Oxm {
    fn arbitrary(g: &mut Gen) -> Self {
        if below(g, 8) == 0 {
            Self::Unknown(Box::new(UnknownOxm::arbitrary(g)))
        } else {
            Self::Known(OxmField::arbitrary(g))
        }
    }
}
impl Arbitrary for Match {
    fn arbitrary(g: &mut Gen) -> Self {
        Self { fields: list(g, 8, Oxm::arbitrary).into() }
    }
    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let all = self.clone();
        Box::new((0..all.fields.len()).map(move |i| {
            let mut m = all.clone();
            m.fields.remove(i);
            m
        }))
    }
}

/// A subfield of at most `max` bits.
fn subfield(g: &mut Gen, max: u16, experimenter_too: bool) -> Subfield {
    loop {
        let field = Field::arbitrary(g);
        if !experimenter_too && field.def().class == CLASS_EXPERIMENTER {
            continue;
        }
        let bits = field.def().bits;
        let n_bits = 1 + u16::arbitrary(g) % bits.min(max);
        return Subfield { field, offset: u16::arbitrary(g) % (bits - n_bits + 1), n_bits };
    }
}
/// A port that Nicira's 16 bits can say.
fn port16(g: &mut Gen) -> PortNo {
    match PortNo::arbitrary(g).0 & 0xffff {
        n if n >= 0xff00 => PortNo(0xffff_0000 | n),
        n => PortNo(n),
    }
}

fn action(g: &mut Gen, depth: u8) -> Action {
    let kind = below(g, if depth < 3 { ACTION_KINDS } else { ACTION_KINDS - 2 });
    action_of_kind(g, kind, depth)
}

/// How many kinds of action there are; the last two hold actions themselves.
const ACTION_KINDS: usize = 46;

fn action_of_kind(g: &mut Gen, kind: usize, depth: u8) -> Action {
    match kind {
        0 => Action::Output { port: PortNo::arbitrary(g), max_len: u16::arbitrary(g) },
        1 => Action::CopyTtlOut,
        2 => Action::CopyTtlIn,
        3 => Action::SetMplsTtl(u8::arbitrary(g)),
        4 => Action::DecMplsTtl,
        5 => Action::PushVlan(u16::arbitrary(g)),
        6 => Action::PopVlan,
        7 => Action::PushMpls(u16::arbitrary(g)),
        8 => Action::PopMpls(u16::arbitrary(g)),
        9 => Action::SetQueue(u32::arbitrary(g)),
        10 => Action::Group(GroupId::arbitrary(g)),
        11 => Action::SetNwTtl(u8::arbitrary(g)),
        12 => Action::DecNwTtl,
        13 => Action::SetField(match Oxm::arbitrary(g) {
            Oxm::Known(f) => Oxm::Known(OxmField { mask: None, ..f }),
            unknown => unknown,
        }),
        14 => Action::PushPbb(u16::arbitrary(g)),
        15 => Action::PopPbb,
        16 => Action::Experimenter { experimenter: 0x00ab_cdef, body: bytes_mod8(g, 0) },
        17 => Action::Unknown { kind: 100 + u16::arbitrary(g) % 100, body: bytes_mod8(g, 4) },
        18 => Action::Resubmit {
            in_port: Some(port16(g)).filter(|p| *p != PortNo::IN_PORT),
            table: Option::<u8>::arbitrary(g).filter(|t| *t != 0xff),
            ct: bool::arbitrary(g),
        },
        19 => {
            let src = subfield(g, 128, true);
            let field = loop {
                let field = Field::arbitrary(g);
                if field.def().bits >= src.n_bits {
                    break field;
                }
            };
            let offset = u16::arbitrary(g) % (field.def().bits - src.n_bits + 1);
            Action::RegMove { src, dst: Subfield { field, offset, n_bits: src.n_bits } }
        }
        20 => {
            let dst = subfield(g, 64, false);
            Action::RegLoad { dst, value: u64::arbitrary(g) >> (64 - dst.n_bits) }
        }
        21 => Action::RegLoad2(Oxm::arbitrary(g)),
        22 => Action::StackPush(subfield(g, 128, true)),
        23 => Action::StackPop(subfield(g, 128, true)),
        24 => Action::OutputReg { src: subfield(g, 64, true), max_len: u16::arbitrary(g) },
        25 => Action::OutputTrunc { port: port16(g), max_len: u32::arbitrary(g) },
        26 => {
            Action::SetTunnel(if bool::arbitrary(g) { u32::arbitrary(g) as u64 } else { u64::arbitrary(g) })
        }
        27 => Action::PopQueue,
        28 => Action::Multipath(Box::new(Multipath {
            fields: u16::arbitrary(g),
            basis: u16::arbitrary(g),
            algorithm: u16::arbitrary(g),
            max_link: u16::arbitrary(g),
            arg: u32::arbitrary(g),
            dst: subfield(g, 64, false),
        })),
        29 => Action::Bundle(Box::new(BundleAction {
            algorithm: u16::arbitrary(g),
            fields: u16::arbitrary(g),
            basis: u16::arbitrary(g),
            members: list(g, 6, port16),
            dst: if bool::arbitrary(g) { Some(subfield(g, 64, false)) } else { None },
        })),
        30 => Action::Learn(Box::new(learn(g))),
        31 => Action::Conjunction {
            id: u32::arbitrary(g),
            clause: u8::arbitrary(g),
            n_clauses: u8::arbitrary(g),
        },
        32 => Action::Controller(Box::new(ControllerAction {
            max_len: u16::arbitrary(g),
            controller_id: u16::arbitrary(g),
            reason: u8::arbitrary(g),
            userdata: bytes(g, 12),
            pause: bool::arbitrary(g),
            meter_id: Arbitrary::arbitrary(g),
        })),
        33 => Action::Note(bytes_mod8(g, 6)),
        34 => Action::Exit,
        35 => Action::FinTimeout { idle: u16::arbitrary(g), hard: u16::arbitrary(g) },
        36 => {
            let sampling_port = if bool::arbitrary(g) { Some(port16(g)) } else { None };
            Action::Sample(Box::new(SampleAction {
                probability: u16::arbitrary(g),
                collector_set_id: u32::arbitrary(g),
                obs_domain_id: u32::arbitrary(g),
                obs_point_id: u32::arbitrary(g),
                sampling_port,
                direction: if sampling_port.is_some() { u8::arbitrary(g) } else { 0 },
            }))
        }
        37 => Action::DecTtlCntIds(list(g, 5, u16::arbitrary)),
        38 => Action::WriteMetadata { metadata: u64::arbitrary(g), mask: u64::arbitrary(g) },
        39 => Action::Nat(Box::new(NatAction {
            flags: u16::arbitrary(g),
            ipv4_min: Arbitrary::arbitrary(g),
            ipv4_max: Arbitrary::arbitrary(g),
            ipv6_min: Arbitrary::arbitrary(g),
            ipv6_max: Arbitrary::arbitrary(g),
            port_min: Arbitrary::arbitrary(g),
            port_max: Arbitrary::arbitrary(g),
        })),
        40 => Action::CtClear,
        41 => Action::CheckPktLarger {
            dst: Subfield { n_bits: 1, ..subfield(g, 1, true) },
            pkt_len: u16::arbitrary(g),
        },
        42 => match below(g, 3) {
            0 => Action::Encap { packet_type: u32::arbitrary(g), props: bytes_mod8(g, 0) },
            1 => Action::Decap { packet_type: u32::arbitrary(g) },
            _ => Action::DecNshTtl,
        },
        43 => Action::DeleteField(Field::arbitrary(g)),
        44 => Action::Clone(list(g, 3, |g| action(g, depth + 1))),
        _ => Action::Ct(Box::new(CtAction {
            flags: u16::arbitrary(g),
            zone: if bool::arbitrary(g) {
                CtZone::Immediate(u16::arbitrary(g))
            } else {
                loop {
                    // NXM_OF_IN_PORT has the header 2, not 0, but zero would be an immediate.
                    let s = subfield(g, 16, false);
                    if s.field.def().oxm_header(false) != 0 {
                        break CtZone::Field(s);
                    }
                }
            },
            recirc_table: Option::<u8>::arbitrary(g).filter(|t| *t != 0xff),
            alg: u16::arbitrary(g),
            actions: list(g, 3, |g| action(g, depth + 1)),
        })),
    }
}

fn learn(g: &mut Gen) -> Learn {
    let result_dst =
        if bool::arbitrary(g) { Some(Subfield { n_bits: 1, ..subfield(g, 1, true) }) } else { None };
    let flags = u16::arbitrary(g);
    Learn {
        idle_timeout: u16::arbitrary(g),
        hard_timeout: u16::arbitrary(g),
        priority: u16::arbitrary(g),
        cookie: u64::arbitrary(g),
        flags: if result_dst.is_some() { flags | 4 } else { flags & !4 },
        table_id: u8::arbitrary(g),
        fin_idle_timeout: u16::arbitrary(g),
        fin_hard_timeout: u16::arbitrary(g),
        limit: u32::arbitrary(g) % 2 * u32::arbitrary(g),
        result_dst,
        specs: list(g, 4, |g| {
            let s = subfield(g, 128, true);
            let n_bits = s.n_bits;
            LearnSpec {
                n_bits,
                src: if bool::arbitrary(g) {
                    LearnSrc::Field(s)
                } else {
                    LearnSrc::Immediate((0..n_bits.div_ceil(8)).map(|_| u8::arbitrary(g)).collect())
                },
                dst: match below(g, 3) {
                    0 => LearnDst::Match(s),
                    1 => LearnDst::Load(s),
                    _ => LearnDst::Output,
                },
            }
        }),
    }
}

impl Arbitrary for Action {
    fn arbitrary(g: &mut Gen) -> Self {
        action(g, 0)
    }
}
impl Arbitrary for Instruction {
    fn arbitrary(g: &mut Gen) -> Self {
        match below(g, 8) {
            0 => Self::GotoTable(TableId::arbitrary(g)),
            1 => Self::WriteMetadata { metadata: u64::arbitrary(g), mask: u64::arbitrary(g) },
            2 => Self::WriteActions(list(g, 4, Action::arbitrary)),
            3 | 4 => Self::ApplyActions(list(g, 4, Action::arbitrary)),
            5 => Self::ClearActions,
            6 => Self::Meter(MeterId::arbitrary(g)),
            _ if bool::arbitrary(g) => {
                Self::Experimenter { experimenter: u32::arbitrary(g), body: bytes_mod8(g, 0) }
            }
            _ => Self::Unknown { kind: 7 + u16::arbitrary(g) % 100, body: bytes_mod8(g, 4) },
        }
    }
}
impl Arbitrary for MeterBand {
    fn arbitrary(g: &mut Gen) -> Self {
        let (rate, burst_size) = (u32::arbitrary(g), u32::arbitrary(g));
        match below(g, 4) {
            0 => Self::Drop { rate, burst_size },
            1 => Self::DscpRemark { rate, burst_size, prec_level: u8::arbitrary(g) },
            2 => Self::Experimenter {
                rate,
                burst_size,
                experimenter: u32::arbitrary(g),
                body: bytes_mod8(g, 0),
            },
            _ => Self::Unknown { kind: 3 + u16::arbitrary(g) % 99, rate, burst_size, body: bytes_mod8(g, 4) },
        }
    }
}
impl Arbitrary for QueueProp {
    fn arbitrary(g: &mut Gen) -> Self {
        match below(g, 4) {
            0 => Self::MinRate(u16::arbitrary(g)),
            1 => Self::MaxRate(u16::arbitrary(g)),
            2 => Self::Experimenter { experimenter: u32::arbitrary(g), data: bytes_mod8(g, 0) },
            _ => Self::Unknown { kind: 3 + u16::arbitrary(g) % 99, data: bytes_mod8(g, 0) },
        }
    }
}
impl Arbitrary for Hello {
    fn arbitrary(g: &mut Gen) -> Self {
        Self {
            elements: list(g, 3, |g| {
                if bool::arbitrary(g) {
                    HelloElement::VersionBitmap(list(g, 3, u32::arbitrary))
                } else {
                    HelloElement::Unknown { kind: 2 + u16::arbitrary(g) % 99, data: bytes(g, 9) }
                }
            }),
        }
    }
}
impl Arbitrary for OfpError {
    fn arbitrary(g: &mut Gen) -> Self {
        match below(g, 3) {
            0 | 1 => g.choose(Self::ALL_NAMED).unwrap().0,
            _ => Self { kind: u16::arbitrary(g) & 0xff, code: u16::arbitrary(g), experimenter: 0 },
        }
    }
}
impl Arbitrary for PacketIn {
    fn arbitrary(g: &mut Gen) -> Self {
        Self {
            buffer_id: u32::arbitrary(g),
            total_len: u16::arbitrary(g),
            reason: Arbitrary::arbitrary(g),
            table_id: Arbitrary::arbitrary(g),
            cookie: u64::arbitrary(g),
            matching: Match::arbitrary(g),
            data: bytes(g, 100).into(),
        }
    }
}
impl Arbitrary for PacketOut {
    fn arbitrary(g: &mut Gen) -> Self {
        Self {
            buffer_id: u32::arbitrary(g),
            in_port: PortNo::arbitrary(g),
            actions: list(g, 4, Action::arbitrary),
            data: bytes(g, 100).into(),
        }
    }
}
impl Arbitrary for NxPacketIn2 {
    fn arbitrary(g: &mut Gen) -> Self {
        Self {
            properties: list(g, 6, |g| match below(g, 10) {
                0 => NxPacketInProp::Packet(bytes(g, 40).into()),
                1 => NxPacketInProp::FullLen(u32::arbitrary(g)),
                2 => NxPacketInProp::BufferId(u32::arbitrary(g)),
                3 => NxPacketInProp::TableId(TableId::arbitrary(g)),
                4 => NxPacketInProp::Cookie(u64::arbitrary(g)),
                5 => NxPacketInProp::Reason(PacketInReason::arbitrary(g)),
                6 => NxPacketInProp::Metadata(Match::arbitrary(g)),
                7 => NxPacketInProp::Userdata(bytes(g, 20).into()),
                8 => NxPacketInProp::Continuation(bytes(g, 20).into()),
                _ => NxPacketInProp::Unknown { kind: 9 + u16::arbitrary(g) % 99, data: bytes(g, 20).into() },
            }),
        }
    }
}
impl Arbitrary for NxMessage {
    fn arbitrary(g: &mut Gen) -> Self {
        let n = below(g, NX_KINDS);
        nx_message(g, n)
    }
}
const NX_KINDS: usize = 19;
fn nx_message(g: &mut Gen, kind: usize) -> NxMessage {
    use NxMessage as N;
    let role = |g: &mut Gen| ControllerRole(1 + below(g, 3) as u32);
    match kind {
        0 => N::RoleRequest(role(g)),
        1 => N::RoleReply(role(g)),
        2 => N::SetFlowFormat(u32::arbitrary(g)),
        3 => N::FlowModTableId(bool::arbitrary(g)),
        4 => N::SetPacketInFormat(Arbitrary::arbitrary(g)),
        5 => N::PacketIn(NxPacketIn {
            buffer_id: u32::arbitrary(g),
            total_len: u16::arbitrary(g),
            reason: Arbitrary::arbitrary(g),
            table_id: Arbitrary::arbitrary(g),
            cookie: u64::arbitrary(g),
            matching: Match::arbitrary(g),
            data: bytes(g, 60).into(),
        }),
        6 => N::FlowAge,
        7 => N::SetAsyncConfig(Arbitrary::arbitrary(g)),
        8 => N::SetControllerId(u16::arbitrary(g)),
        9 => N::FlowMonitorCancel(u32::arbitrary(g)),
        10 => N::FlowMonitorPaused,
        11 => N::FlowMonitorResumed,
        12 => N::TlvTableMod { command: u16::arbitrary(g), maps: list(g, 3, TlvMap::arbitrary) },
        13 => N::TlvTableRequest,
        14 => N::TlvTableReply {
            max_option_space: u32::arbitrary(g),
            max_fields: u16::arbitrary(g),
            maps: list(g, 3, TlvMap::arbitrary),
        },
        15 => N::PacketIn2(Arbitrary::arbitrary(g)),
        16 => N::Resume(Arbitrary::arbitrary(g)),
        17 => N::CtFlushZone(u16::arbitrary(g)),
        _ => N::Other { subtype: NxType(1000 + u32::arbitrary(g) % 1000), data: bytes(g, 20).into() },
    }
}
impl Arbitrary for OxmId {
    fn arbitrary(g: &mut Gen) -> Self {
        let mut id = Self::new(Field::arbitrary(g), bool::arbitrary(g));
        if below(g, 4) == 0 {
            id.header &= !0xff; // as os-ken sends it
        }
        id
    }
}
/// An instruction's or action's type alone; experimenters' carry their id.
fn type_id(g: &mut Gen) -> (u16, Vec<u8>) {
    if below(g, 4) == 0 {
        (0xffff, vec![0, 0xab, 0xcd, 0xef])
    } else {
        (u16::arbitrary(g) & 0x1f, vec![])
    }
}
impl Arbitrary for TableFeatureProp {
    fn arbitrary(g: &mut Gen) -> Self {
        let kind = match below(g, 8) {
            0 => TablePropType(0x100 + u16::arbitrary(g) % 99),
            _ => g.choose(TablePropType::ALL_NAMED).unwrap().0,
        };
        table_property(g, kind)
    }
}
fn table_property(g: &mut Gen, kind: TablePropType) -> TableFeatureProp {
    let body = match kind.0 {
        0 | 1 => PropBody::Instructions(list(g, 6, |g| {
            let (kind, data) = type_id(g);
            InstructionId { kind, data }
        })),
        2 | 3 => PropBody::NextTables(list(g, 20, TableId::arbitrary)),
        4..=7 => PropBody::Actions(list(g, 6, |g| {
            let (kind, data) = type_id(g);
            ActionId { kind, data }
        })),

        8 | 10 | 12..=15 => PropBody::Oxms(list(g, 20, OxmId::arbitrary)),
        0xfffe | 0xffff => PropBody::Experimenter {
            experimenter: u32::arbitrary(g),
            exp_type: u32::arbitrary(g),
            data: bytes(g, 20),
        },
        _ => PropBody::Unknown(bytes(g, 20)),
    };
    TableFeatureProp { kind, body }
}
impl Arbitrary for FlowMonitorRequest {
    fn arbitrary(g: &mut Gen) -> Self {
        Self {
            id: u32::arbitrary(g),
            flags: Arbitrary::arbitrary(g),
            out_port: port16(g),
            table_id: Arbitrary::arbitrary(g),
            matching: Match::arbitrary(g),
        }
    }
}
fn flow_update(g: &mut Gen, nx: bool) -> FlowUpdate {
    match below(g, 4) {
        0 => FlowUpdate::Abbrev { xid: Xid::arbitrary(g) },
        1 => FlowUpdate::Unknown { event: FlowUpdateEvent(4 + u16::arbitrary(g) % 99), data: bytes(g, 20) },
        _ => FlowUpdate::Full {
            event: FlowUpdateEvent(u16::arbitrary(g) % 3),
            reason: Arbitrary::arbitrary(g),
            priority: u16::arbitrary(g),
            idle_timeout: u16::arbitrary(g),
            hard_timeout: u16::arbitrary(g),
            table_id: Arbitrary::arbitrary(g),
            cookie: u64::arbitrary(g),
            matching: Match::arbitrary(g),
            instructions: if nx {
                match list(g, 3, Action::arbitrary) {
                    none if none.is_empty() => Instructions::new(),
                    actions => [Instruction::ApplyActions(actions)].into_iter().collect(),
                }
            } else {
                Part::part(g)
            },
        },
    }
}
const REQUEST_KINDS: usize = 17;
fn request_body(g: &mut Gen, kind: usize) -> RequestBody {
    use RequestBody as R;
    match kind {
        0 => R::Desc,
        1 => R::Flow(Arbitrary::arbitrary(g)),
        2 => R::Aggregate(Arbitrary::arbitrary(g)),
        3 => R::Table,
        4 => R::PortStats(Arbitrary::arbitrary(g)),
        5 => R::Queue(Arbitrary::arbitrary(g)),
        6 => R::Group(Arbitrary::arbitrary(g)),
        7 => R::GroupDesc,
        8 => R::GroupFeatures,
        9 => R::Meter(Arbitrary::arbitrary(g)),
        10 => R::MeterConfig(Arbitrary::arbitrary(g)),
        11 => R::MeterFeatures,
        12 => R::TableFeatures(list(g, 3, TableFeatures::arbitrary)),
        13 => R::PortDesc,
        14 => R::FlowMonitor(list(g, 3, FlowMonitorRequest::arbitrary)),
        15 => R::NxFlowMonitor(list(g, 3, FlowMonitorRequest::arbitrary)),
        _ => R::Experimenter {
            experimenter: 0x00ab_cdef,
            exp_type: u32::arbitrary(g),
            data: bytes(g, 40).into(),
        },
    }
}
const REPLY_KINDS: usize = 17;
fn reply_body(g: &mut Gen, kind: usize) -> ReplyBody {
    use ReplyBody as R;
    match kind {
        0 => R::Desc(Box::new(Desc::arbitrary(g))),
        1 => R::Flow(list(g, 4, FlowStats::arbitrary)),
        2 => R::Aggregate(Arbitrary::arbitrary(g)),
        3 => R::Table(list(g, 4, TableStats::arbitrary)),
        4 => R::PortStats(list(g, 4, PortStats::arbitrary)),
        5 => R::Queue(list(g, 4, QueueStats::arbitrary)),
        6 => R::Group(list(g, 4, GroupStats::arbitrary)),
        7 => R::GroupDesc(list(g, 4, GroupDesc::arbitrary)),
        8 => R::GroupFeatures(Arbitrary::arbitrary(g)),
        9 => R::Meter(list(g, 4, MeterStats::arbitrary)),
        10 => R::MeterConfig(list(g, 4, MeterConfig::arbitrary)),
        11 => R::MeterFeatures(Arbitrary::arbitrary(g)),
        12 => R::TableFeatures(list(g, 3, TableFeatures::arbitrary)),
        13 => R::PortDesc(list(g, 4, Port::arbitrary)),
        14 => R::FlowMonitor(list(g, 4, |g| flow_update(g, false))),
        15 => R::NxFlowMonitor(list(g, 4, |g| flow_update(g, true))),
        _ => R::Experimenter {
            experimenter: 0x00ab_cdef,
            exp_type: u32::arbitrary(g),
            data: bytes(g, 40).into(),
        },
    }
}

const MESSAGE_KINDS: usize = 36;
fn message(g: &mut Gen, kind: usize) -> Message {
    use Message as M;
    match kind {
        0 => M::Hello(Arbitrary::arbitrary(g)),
        1 => M::Error(ErrorMsg { error: Arbitrary::arbitrary(g), data: bytes(g, 64).into() }),
        2 => M::EchoRequest(Echo { data: bytes(g, 20).into() }),
        3 => M::EchoReply(Echo { data: bytes(g, 20).into() }),
        4 => M::Experimenter(Experimenter {
            experimenter: 0x00ab_cdef,
            exp_type: u32::arbitrary(g),
            data: bytes(g, 20).into(),
        }),
        5 => M::FeaturesRequest,
        6 => M::FeaturesReply(Arbitrary::arbitrary(g)),
        7 => M::GetConfigRequest,
        8 => M::GetConfigReply(Arbitrary::arbitrary(g)),
        9 => M::SetConfig(Arbitrary::arbitrary(g)),
        10 => M::PacketIn(Arbitrary::arbitrary(g)),
        11 => M::FlowRemoved(Arbitrary::arbitrary(g)),
        12 => M::PortStatus(Arbitrary::arbitrary(g)),
        13 => M::PacketOut(Arbitrary::arbitrary(g)),
        14 => M::FlowMod(Arbitrary::arbitrary(g)),
        15 => M::GroupMod(Arbitrary::arbitrary(g)),
        16 => M::PortMod(Arbitrary::arbitrary(g)),
        17 => M::TableMod(Arbitrary::arbitrary(g)),
        18 => {
            let n = below(g, REQUEST_KINDS);
            M::MultipartRequest(MultipartRequest { flags: Arbitrary::arbitrary(g), body: request_body(g, n) })
        }
        19 => {
            let n = below(g, REPLY_KINDS);
            M::MultipartReply(MultipartReply { flags: Arbitrary::arbitrary(g), body: reply_body(g, n) })
        }
        20 => M::BarrierRequest,
        21 => M::BarrierReply,
        22 => M::QueueGetConfigRequest(Arbitrary::arbitrary(g)),
        23 => M::QueueGetConfigReply(Arbitrary::arbitrary(g)),
        24 => M::RoleRequest(Arbitrary::arbitrary(g)),
        25 => M::RoleReply(Arbitrary::arbitrary(g)),
        26 => M::GetAsyncRequest,
        27 => M::GetAsyncReply(Arbitrary::arbitrary(g)),
        28 => M::SetAsync(Arbitrary::arbitrary(g)),
        29 => M::MeterMod(Arbitrary::arbitrary(g)),
        30 => M::BundleControl(BundleControl {
            bundle_id: u32::arbitrary(g),
            kind: Arbitrary::arbitrary(g),
            flags: Arbitrary::arbitrary(g),
            properties: list(g, 2, BundleProp::arbitrary),
        }),
        31 => {
            let n = 14 + below(g, 4);
            let message = Box::new(OfMessage::new(u32::arbitrary(g), message(g, n)));
            let properties = list(g, 2, BundleProp::arbitrary);
            M::BundleAdd(BundleAdd {
                bundle_id: u32::arbitrary(g),
                flags: Arbitrary::arbitrary(g),
                message,
                properties,
            })
        }
        32 => M::FlowMonitorCancel(u32::arbitrary(g)),
        33 => M::FlowMonitorPaused,
        34 => M::FlowMonitorResumed,
        _ => M::Nicira(Arbitrary::arbitrary(g)),
    }
}

impl Arbitrary for Message {
    fn arbitrary(g: &mut Gen) -> Self {
        let n = below(g, MESSAGE_KINDS);
        message(g, n)
    }
}
impl Arbitrary for OfMessage {
    fn arbitrary(g: &mut Gen) -> Self {
        let body = Message::arbitrary(g);
        let any = matches!(body, Message::Hello(_) | Message::Error(_));
        let version = if any && bool::arbitrary(g) { u8::arbitrary(g) } else { OFP13_VERSION };
        Self { version, xid: Xid::arbitrary(g), body }
    }
}

/// One sample of every message, every multipart both ways, every Nicira message; and every action in flow-mods.
pub fn all_messages() -> Vec<OfMessage> {
    let g = &mut Gen::from_size_and_seed(8, 1);
    let mut all: Vec<Message> = (0..MESSAGE_KINDS).map(|n| message(g, n)).collect();
    for n in 0..REQUEST_KINDS {
        all.push(MultipartRequest::new(request_body(g, n)).into());
    }
    for n in 0..REPLY_KINDS {
        all.push(MultipartReply::new(reply_body(g, n)).into());
    }
    all.extend((0..NX_KINDS).map(|n| nx_message(g, n).into()));
    for a in all_actions() {
        all.push(
            FlowMod {
                instructions: [Instruction::ApplyActions(vec![a])].into_iter().collect(),
                ..Default::default()
            }
            .into(),
        );
    }
    for i in all_instructions() {
        all.push(FlowMod { instructions: [i].into_iter().collect(), ..Default::default() }.into());
    }
    for d in FIELDS {
        all.push(
            FlowMod { matching: Match::new().with(d.field, d.full_mask() / 3), ..Default::default() }.into(),
        );
    }
    let properties = TablePropType::ALL_NAMED.iter().map(|(kind, _)| table_property(g, *kind)).collect();
    let table = TableFeatures { properties, ..TableFeatures::arbitrary(g) };
    all.push(MultipartRequest::new(RequestBody::TableFeatures(vec![table.clone()])).into());
    all.push(MultipartReply::new(ReplyBody::TableFeatures(vec![table])).into());
    all.into_iter().enumerate().map(|(i, m)| OfMessage::new(i as u32, m)).collect()
}

/// One sample of every action.
pub fn all_actions() -> Vec<Action> {
    let g = &mut Gen::from_size_and_seed(8, 2);
    let mut all: Vec<Action> = (0..ACTION_KINDS).map(|n| action_of_kind(g, n, 2)).collect();
    all.push(Action::Encap { packet_type: 0x1894f, props: vec![] });
    all.push(Action::Decap { packet_type: 0xfffe });
    all.push(Action::DecNshTtl);
    all
}

/// One sample of every instruction.
pub fn all_instructions() -> Vec<Instruction> {
    vec![
        Instruction::GotoTable(TableId(3)),
        Instruction::WriteMetadata { metadata: 5, mask: 0xff },
        Instruction::WriteActions(vec![Action::PopVlan, Action::Group(GroupId(7))]),
        Instruction::ApplyActions(vec![Action::Output { port: PortNo(2), max_len: 0 }]),
        Instruction::ClearActions,
        Instruction::Meter(MeterId(9)),
        Instruction::Experimenter { experimenter: 0x00ab_cdef, body: vec![0; 8] },
        Instruction::Unknown { kind: 99, body: vec![1; 4] },
    ]
}

/// The fields that must be matched before this one may be.
pub fn prerequisites(f: Field) -> Match {
    let ip = |v6: bool| Match::new().with(Field::EthType, if v6 { 0x86dd } else { 0x0800 });
    let d = f.def();
    match d.prereq {
        Prereq::None => Match::new(),
        Prereq::InPort => Match::new().with(Field::InPort, 1),
        Prereq::Vlan => Match::new().with(Field::VlanVid, 0x1005),
        Prereq::Ip | Prereq::Ipv4 => ip(false),
        Prereq::Ipv6 => ip(true),
        Prereq::Arp => Match::new().with(Field::EthType, 0x0806),
        Prereq::Tcp => ip(false).with(Field::IpProto, 6),
        Prereq::Udp => ip(false).with(Field::IpProto, 17),
        Prereq::Sctp => ip(false).with(Field::IpProto, 132),
        Prereq::Icmpv4 => ip(false).with(Field::IpProto, 1),
        Prereq::Icmpv6 => ip(true).with(Field::IpProto, 58),
        Prereq::Nd | Prereq::NdSol => ip(true).with(Field::IpProto, 58).with(Field::Icmpv6Type, 135),
        Prereq::NdAdv => ip(true).with(Field::IpProto, 58).with(Field::Icmpv6Type, 136),
        Prereq::Mpls => Match::new().with(Field::EthType, 0x8847),
        Prereq::Pbb => Match::new().with(Field::EthType, 0x88e7),
        Prereq::Nsh => Match::new().with(Field::EthType, 0x894f),
    }
}
