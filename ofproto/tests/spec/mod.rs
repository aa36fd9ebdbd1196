//! OpenFlow 1.3.5 as an executable model: vectors of flow entries, groups and meters, and the specification's rules, written to be read and
//! not to be fast. [`Trial`] drives the real switch ([`crate::rig`]) and the model with the same requests and packets, and compares
//! everything either can be asked.
//!
//! What the specification leaves open is not asked: which of several entries of one priority takes a packet (such packets are not sent),
//! and what happens within seconds of a timeout (time is put forward past them).

#![allow(dead_code)] // each user uses a part

use crate::rig::Rig;
use ofproto::api::TableLimit;
use openflow::field::Field;
use openflow::group::{Bucket, GroupType};
use openflow::meter::{MeterBand, MeterFlags};
use openflow::msg::multipart::{FlowStatsRequest, GroupStatsRequest, MeterRequest, PortStatsRequest};
use openflow::msg::{
    BundleAdd, BundleControl, BundleCtrlType, BundleFlags, FlowMod, FlowModCommand, FlowModFlags,
    FlowRemoved, FlowRemovedReason, GroupMod, GroupModCommand, Message, MeterMod, MeterModCommand,
    MultipartReply, MultipartRequest, OfMessage, PacketIn, PacketInReason, PacketOut, PortMod, ReplyBody,
    RequestBody,
};
use openflow::port::PortConfig;
use openflow::{
    Action, EthAddr, GroupId, Instruction, Match, MeterId, OfpError, OxmField, PortNo, TableId, Xid,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Ports 1 to this, and LOCAL.
const PORTS: u32 = 3;
/// Tables in use.
const TABLES: u8 = 3;
/// This table has room for so many flow entries, and refuses more.
const SMALL: (u8, usize) = (1, 6);
/// Nothing happens within so many milliseconds of a timeout.
const CLEAR_MS: u64 = 3000;

/// Where choices come from: a seeded generator, or a fuzzer's bytes.
pub trait Dice {
    /// A number below `n`.
    fn below(&mut self, n: u64) -> u64;
    /// No more choices to be had.
    fn is_over(&self) -> bool {
        false
    }
    /// True once in `n`.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

// ---- matches ----

/// Fields of the model, in the order of [`Bits`].
#[derive(Clone, Copy)]
enum F {
    InPort,
    Metadata,
    EthDst,
    EthSrc,
    EthType,
    Vlan,
    IpSrc,
    IpDst,
    IpProto,
    TpDst,
}
const N: usize = 10;
type Bits = [u64; N];

/// A match: values, and which bits count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Pattern {
    value: Bits,
    mask: Bits,
}

impl Pattern {
    fn put(&mut self, f: F, value: u64, mask: u64) {
        (self.value[f as usize], self.mask[f as usize]) = (value & mask, mask);
    }
    fn has(&self, f: F, value: u64) -> bool {
        self.mask[f as usize] == full(f as usize) && self.value[f as usize] == value
    }
    fn hits(&self, key: &Bits) -> bool {
        (0..N).all(|i| (key[i] ^ self.value[i]) & self.mask[i] == 0)
    }
    /// Every packet that `other` matches is matched by this one, field by field.
    fn covers(&self, other: &Self) -> bool {
        (0..N).all(|i| {
            self.mask[i] & !other.mask[i] == 0 && (self.value[i] ^ other.value[i]) & self.mask[i] == 0
        })
    }
    /// Some packet may match both.
    fn meets(&self, other: &Self) -> bool {
        (0..N).all(|i| (self.value[i] ^ other.value[i]) & self.mask[i] & other.mask[i] == 0)
    }
    fn is_miss(&self) -> bool {
        self.mask == [0; N]
    }
    fn oxm(&self) -> Match {
        let mut m = Match::new();
        for i in 0..N {
            if self.mask[i] == 0 {
                continue;
            }
            let field = match i {
                0 => Field::InPort,
                1 => Field::Metadata,
                2 => Field::EthDst,
                3 => Field::EthSrc,
                4 => Field::EthType,
                5 => Field::VlanVid,
                6 => Field::Ipv4Src,
                7 => Field::Ipv4Dst,
                8 => Field::IpProto,
                _ if self.has(F::IpProto, 6) => Field::TcpDst,
                _ => Field::UdpDst,
            };
            let (v, mask) = (u128::from(self.value[i]), u128::from(self.mask[i]));
            m = if self.mask[i] == full(i) { m.with(field, v) } else { m.with_masked(field, v, mask) };
        }
        m
    }
}

/// All bits of a field.
fn full(i: usize) -> u64 {
    [
        0xffff_ffff,
        u64::MAX,
        0xffff_ffff_ffff,
        0xffff_ffff_ffff,
        0xffff,
        0x1fff,
        0xffff_ffff,
        0xffff_ffff,
        0xff,
        0xffff,
    ][i]
}

// ---- packets ----

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ip {
    src: u32,
    dst: u32,
    proto: u8,
    tp_dst: u16,
}

/// A packet as headers; [`Pkt::frame`] is its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pkt {
    dst: u64,
    src: u64,
    /// VLAN ids, outermost first.
    vlans: Vec<u16>,
    /// `None`: ARP.
    ip: Option<Ip>,
}

fn sum(words: &[u8]) -> u32 {
    words.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0))).sum()
}
fn fold(mut s: u32) -> u16 {
    while s > 0xffff {
        s = (s & 0xffff) + (s >> 16);
    }
    !(s as u16)
}

impl Pkt {
    fn frame(&self) -> Vec<u8> {
        let mut f = self.dst.to_be_bytes()[2..].to_vec();
        f.extend(&self.src.to_be_bytes()[2..]);
        for v in &self.vlans {
            f.extend([0x81, 0, (v >> 8) as u8, *v as u8]);
        }
        let Some(ip) = &self.ip else {
            f.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            f.resize(f.len() + 40, 0);
            return f;
        };
        f.extend([8, 0]);
        let mut l4: Vec<u8> = match ip.proto {
            6 => vec![0, 9, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0x20, 0, 0, 0, 0, 0, b'x', b'y'],
            _ => vec![0, 9, 0, 0, 0, 10, 0, 0, b'x', b'y'],
        };
        l4[2..4].copy_from_slice(&ip.tp_dst.to_be_bytes());
        let mut pseudo = ip.src.to_be_bytes().to_vec();
        pseudo.extend(ip.dst.to_be_bytes());
        pseudo.extend([0, ip.proto, 0, l4.len() as u8]);
        let check = fold(sum(&pseudo) + sum(&l4));
        let at = if ip.proto == 6 { 16 } else { 6 };
        l4[at..at + 2].copy_from_slice(&check.to_be_bytes());
        let mut h = vec![0x45, 0, 0, 20 + l4.len() as u8, 0, 1, 0, 0, 64, ip.proto, 0, 0];
        h.extend(ip.src.to_be_bytes());
        h.extend(ip.dst.to_be_bytes());
        let check = fold(sum(&h));
        h[10..12].copy_from_slice(&check.to_be_bytes());
        f.extend(h);
        f.extend(l4);
        f
    }
    fn key(&self, in_port: u32, metadata: u64) -> Bits {
        let mut k = [0; N];
        k[F::InPort as usize] = in_port.into();
        k[F::Metadata as usize] = metadata;
        k[F::EthDst as usize] = self.dst;
        k[F::EthSrc as usize] = self.src;
        k[F::EthType as usize] = if self.ip.is_some() { 0x800 } else { 0x806 };
        k[F::Vlan as usize] = self.vlans.first().map_or(0, |v| 0x1000 | u64::from(*v));
        if let Some(ip) = &self.ip {
            k[F::IpSrc as usize] = ip.src.into();
            k[F::IpDst as usize] = ip.dst.into();
            k[F::IpProto as usize] = ip.proto.into();
            k[F::TpDst as usize] = ip.tp_dst.into();
        }
        k
    }
}

// ---- the switch as the specification has it ----

#[derive(Debug, Clone)]
struct Flow {
    table: u8,
    pattern: Pattern,
    priority: u16,
    cookie: u64,
    idle: u16,
    hard: u16,
    flags: FlowModFlags,
    instructions: Vec<Instruction>,
    packets: u64,
    bytes: u64,
    created_ms: u64,
    used_ms: u64,
}

#[derive(Debug, Clone)]
struct Group {
    kind: GroupType,
    buckets: Vec<Bucket>,
    packets: u64,
    bytes: u64,
    /// Packets and bytes of each bucket.
    counts: Vec<(u64, u64)>,
    created_ms: u64,
}

#[derive(Debug, Clone)]
struct Meter {
    flags: MeterFlags,
    bands: Vec<MeterBand>,
    packets: u64,
    bytes: u64,
    created_ms: u64,
}

/// A flow-removed that must come.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Removed {
    table: u8,
    priority: u16,
    cookie: u64,
    reason: u8,
    idle: u16,
    hard: u16,
    packets: u64,
    bytes: u64,
    pattern: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pin {
    table: u8,
    cookie: u64,
    reason: u8,
    in_port: u32,
    metadata: u64,
    total_len: u16,
    data: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
struct Model {
    flows: Vec<Flow>,
    groups: BTreeMap<u32, Group>,
    meters: BTreeMap<u32, Meter>,
    config: BTreeMap<u32, u32>,
    removed: Vec<Removed>,
    port_status: usize,
    lookups: [u64; TABLES as usize],
    matched: [u64; TABLES as usize],
    tx: BTreeMap<u32, u64>,
    rx: BTreeMap<u32, u64>,
}

/// One request and what it means to the model.
#[derive(Debug, Clone)]
enum Request {
    Flow(Box<(FlowMod, Pattern)>),
    Group(GroupMod),
    Meter(MeterMod),
    Port(u32, u32, u32),
}

fn groups_of(actions: &[Action]) -> impl Iterator<Item = u32> + '_ {
    actions.iter().filter_map(|a| if let Action::Group(g) = a { Some(g.0) } else { None })
}
fn lists(instructions: &[Instruction]) -> impl Iterator<Item = &Vec<Action>> {
    instructions.iter().filter_map(|i| match i {
        Instruction::ApplyActions(a) | Instruction::WriteActions(a) => Some(a),
        _ => None,
    })
}

impl Flow {
    fn uses_group(&self, g: u32) -> bool {
        lists(&self.instructions).any(|l| groups_of(l).any(|x| x == g))
    }
    fn uses_meter(&self, m: u32) -> bool {
        self.instructions.contains(&Instruction::Meter(MeterId(m)))
    }
    fn outputs_to(&self, p: PortNo) -> bool {
        lists(&self.instructions)
            .any(|l| l.iter().any(|a| matches!(a, Action::Output { port, .. } if *port == p)))
    }
    fn due(&self) -> Option<(u64, FlowRemovedReason)> {
        let hard = (self.hard > 0).then(|| self.created_ms + 1000 * u64::from(self.hard));
        let idle = (self.idle > 0).then(|| self.used_ms + 1000 * u64::from(self.idle));
        match (hard, idle) {
            (Some(h), Some(i)) if i < h => Some((i, FlowRemovedReason::IDLE_TIMEOUT)),
            (Some(h), _) => Some((h, FlowRemovedReason::HARD_TIMEOUT)),
            (None, i) => i.map(|i| (i, FlowRemovedReason::IDLE_TIMEOUT)),
        }
    }
    fn shown(&self) -> (u64, u64) {
        let or_none = |n, off| if self.flags.contains(off) { u64::MAX } else { n };
        (or_none(self.packets, FlowModFlags::NO_PKT_COUNTS), or_none(self.bytes, FlowModFlags::NO_BYT_COUNTS))
    }
}

impl Model {
    fn remove(&mut self, gone: impl Fn(&Flow) -> bool, reason: FlowRemovedReason) {
        let (out, kept) = std::mem::take(&mut self.flows).into_iter().partition(|f| gone(f));
        self.flows = kept;
        for f in out {
            self.report(&f, reason);
        }
    }
    fn report(&mut self, f: &Flow, reason: FlowRemovedReason) {
        if !f.flags.contains(FlowModFlags::SEND_FLOW_REM) {
            return;
        }
        let (packets, bytes) = f.shown();
        self.removed.push(Removed {
            table: f.table,
            priority: f.priority,
            cookie: f.cookie,
            reason: reason.0,
            idle: f.idle,
            hard: f.hard,
            packets,
            bytes,
            pattern: format!("{:?}", f.pattern.oxm()),
        });
    }

    fn apply(&mut self, r: &Request, now_ms: u64) -> Result<(), OfpError> {
        match r {
            Request::Flow(f) => self.flow_mod(&f.0, &f.1, now_ms),
            Request::Group(m) => self.group_mod(m, now_ms),
            Request::Meter(m) => self.meter_mod(m, now_ms),
            Request::Port(n, config, mask) => {
                let old = self.config.get(n).copied().unwrap_or(0);
                let new = old & !mask | config & mask;
                self.config.insert(*n, new);
                self.port_status += usize::from(new != old);
                Ok(())
            }
        }
    }

    fn check(&self, table: u8, instructions: &[Instruction]) -> Result<(), OfpError> {
        // Of two faults either may be told: this one is looked for first.
        if instructions.iter().any(|i| matches!(i, Instruction::GotoTable(t) if t.0 <= table)) {
            return Err(OfpError::OFPBIC_BAD_TABLE_ID);
        }
        for i in instructions {
            match i {
                Instruction::Meter(m) if !self.meters.contains_key(&m.0) => {
                    return Err(OfpError::OFPMMFC_INVALID_METER);
                }
                Instruction::ApplyActions(l) | Instruction::WriteActions(l)
                    if groups_of(l).any(|g| !self.groups.contains_key(&g)) =>
                {
                    return Err(OfpError::OFPBAC_BAD_OUT_GROUP);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn flow_mod(&mut self, m: &FlowMod, p: &Pattern, now_ms: u64) -> Result<(), OfpError> {
        let delete = matches!(m.command, FlowModCommand::DELETE | FlowModCommand::DELETE_STRICT);
        if m.table_id == TableId::ALL && !delete {
            return Err(OfpError::OFPFMFC_BAD_TABLE_ID);
        }
        let table = m.table_id.0;
        if !delete {
            self.check(table, &m.instructions)?;
        }
        if m.command == FlowModCommand::ADD {
            let overlaps = |f: &Flow| f.table == table && f.priority == m.priority && f.pattern.meets(p);
            if m.flags.contains(FlowModFlags::CHECK_OVERLAP) && self.flows.iter().any(overlaps) {
                return Err(OfpError::OFPFMFC_OVERLAP);
            }
            let same = |f: &Flow| f.table == table && f.priority == m.priority && f.pattern == *p;
            let old = self.flows.iter().position(same);
            let is_full = || self.flows.iter().filter(|f| f.table == table).count() >= SMALL.1;
            if old.is_none() && table == SMALL.0 && is_full() {
                return Err(OfpError::OFPFMFC_TABLE_FULL);
            }
            let old = old.map(|i| self.flows.remove(i));
            let keep = old.filter(|_| !m.flags.contains(FlowModFlags::RESET_COUNTS));
            self.flows.push(Flow {
                table,
                pattern: p.clone(),
                priority: m.priority,
                cookie: m.cookie,
                idle: m.idle_timeout,
                hard: m.hard_timeout,
                flags: m.flags,
                instructions: m.instructions.to_vec(),
                packets: keep.as_ref().map_or(0, |f| f.packets),
                bytes: keep.as_ref().map_or(0, |f| f.bytes),
                created_ms: now_ms,
                used_ms: now_ms,
            });
            return Ok(());
        }
        let strict = matches!(m.command, FlowModCommand::MODIFY_STRICT | FlowModCommand::DELETE_STRICT);
        let meant = |f: &Flow| {
            (m.table_id == TableId::ALL || f.table == table)
                && if strict { f.pattern == *p && f.priority == m.priority } else { p.covers(&f.pattern) }
                && (f.cookie ^ m.cookie) & m.cookie_mask == 0
        };
        if delete {
            let filtered = |f: &Flow| {
                meant(f)
                    && (m.out_port == PortNo::ANY || f.outputs_to(m.out_port))
                    && (m.out_group == GroupId::ANY || f.uses_group(m.out_group.0))
            };
            self.remove(filtered, FlowRemovedReason::DELETE);
        } else {
            for f in self.flows.iter_mut().filter(|f| meant(f)) {
                f.instructions = m.instructions.to_vec();
                if m.flags.contains(FlowModFlags::RESET_COUNTS) {
                    (f.packets, f.bytes) = (0, 0);
                }
            }
        }
        Ok(())
    }

    fn reaches(&self, from: u32, to: u32) -> bool {
        from == to
            || self.groups.get(&from).is_some_and(|g| {
                g.buckets.iter().flat_map(|b| groups_of(&b.actions)).any(|n| self.reaches(n, to))
            })
    }

    fn group_mod(&mut self, m: &GroupMod, now_ms: u64) -> Result<(), OfpError> {
        let id = m.group_id.0;
        let old = self.groups.get(&id);
        match m.command {
            GroupModCommand::ADD if old.is_some() => return Err(OfpError::OFPGMFC_GROUP_EXISTS),
            GroupModCommand::MODIFY if old.is_none() => return Err(OfpError::OFPGMFC_UNKNOWN_GROUP),
            GroupModCommand::DELETE => {
                let all = m.group_id == GroupId::ALL;
                let gone: BTreeSet<u32> = self.groups.keys().copied().filter(|g| all || *g == id).collect();
                let chained = self.groups.iter().filter(|(g, _)| !gone.contains(g)).any(|(_, g)| {
                    g.buckets.iter().flat_map(|b| groups_of(&b.actions)).any(|n| gone.contains(&n))
                });
                if chained {
                    return Err(OfpError::OFPGMFC_CHAINED_GROUP);
                }
                self.groups.retain(|g, _| !gone.contains(g));
                self.remove(|f| gone.iter().any(|g| f.uses_group(*g)), FlowRemovedReason::GROUP_DELETE);
                return Ok(());
            }
            _ => {}
        }
        if m.kind == GroupType::INDIRECT && m.buckets.len() != 1 {
            return Err(OfpError::OFPGMFC_INVALID_GROUP);
        }
        for b in &m.buckets {
            let (port, group) = (b.watch_port != PortNo::ANY, b.watch_group != GroupId::ANY);
            if m.kind != GroupType::SELECT && b.weight > 1 || m.kind == GroupType::FF && !port && !group {
                return Err(OfpError::OFPGMFC_INVALID_GROUP);
            }
            if b.watch_group.0 == id {
                return Err(OfpError::OFPGMFC_LOOP);
            }
            if group && !self.groups.contains_key(&b.watch_group.0) {
                return Err(OfpError::OFPGMFC_BAD_WATCH);
            }
            for g in groups_of(&b.actions) {
                if g == id || self.reaches(g, id) {
                    return Err(OfpError::OFPGMFC_LOOP);
                }
                if !self.groups.contains_key(&g) {
                    return Err(OfpError::OFPBAC_BAD_OUT_GROUP);
                }
            }
        }
        let (packets, bytes, created_ms) = old.map_or((0, 0, now_ms), |g| (g.packets, g.bytes, g.created_ms));
        let counts = vec![(0, 0); m.buckets.len()];
        let group = Group { kind: m.kind, buckets: m.buckets.clone(), packets, bytes, counts, created_ms };
        self.groups.insert(id, group);
        Ok(())
    }

    fn meter_mod(&mut self, m: &MeterMod, now_ms: u64) -> Result<(), OfpError> {
        let id = m.meter_id.0;
        if m.command != MeterModCommand::DELETE {
            if id == 0 {
                return Err(OfpError::OFPMMFC_INVALID_METER);
            }
            if m.flags.contains(MeterFlags::KBPS | MeterFlags::PKTPS) {
                return Err(OfpError::OFPMMFC_BAD_FLAGS);
            }
            for b in &m.bands {
                let (rate, burst) = b.rate_burst();
                if rate == 0 {
                    return Err(OfpError::OFPMMFC_BAD_RATE);
                }
                if m.flags.contains(MeterFlags::BURST) && burst == 0 {
                    return Err(OfpError::OFPMMFC_BAD_BURST);
                }
            }
        }
        match m.command {
            MeterModCommand::ADD if self.meters.contains_key(&id) => {
                return Err(OfpError::OFPMMFC_METER_EXISTS);
            }
            MeterModCommand::MODIFY if !self.meters.contains_key(&id) => {
                return Err(OfpError::OFPMMFC_UNKNOWN_METER);
            }
            MeterModCommand::DELETE => {
                let gone: BTreeSet<u32> =
                    self.meters.keys().copied().filter(|n| m.meter_id == MeterId::ALL || *n == id).collect();
                self.meters.retain(|n, _| !gone.contains(n));
                // 1.3 has no reason of its own for this.
                self.remove(|f| gone.iter().any(|n| f.uses_meter(*n)), FlowRemovedReason::DELETE);
                return Ok(());
            }
            _ => {}
        }
        let (packets, bytes, created_ms) =
            self.meters.get(&id).map_or((0, 0, now_ms), |m| (m.packets, m.bytes, m.created_ms));
        self.meters.insert(id, Meter { flags: m.flags, bands: m.bands.clone(), packets, bytes, created_ms });
        Ok(())
    }

    /// Time moves to `now_ms`.
    fn expire(&mut self, now_ms: u64) {
        for reason in [FlowRemovedReason::IDLE_TIMEOUT, FlowRemovedReason::HARD_TIMEOUT] {
            self.remove(|f| f.due().is_some_and(|(at, why)| at <= now_ms && why == reason), reason);
        }
    }
    /// Whether what is due at `now_ms` is beyond doubt.
    fn is_clear(&self, now_ms: u64) -> bool {
        self.flows.iter().all(|f| {
            let Some((due, _)) = f.due() else { return true };
            let hard = (f.hard > 0).then(|| f.created_ms + 1000 * u64::from(f.hard));
            let idle = (f.idle > 0).then(|| f.used_ms + 1000 * u64::from(f.idle));
            due.abs_diff(now_ms) > CLEAR_MS
                && (due > now_ms || hard.zip(idle).is_none_or(|(h, i)| h.abs_diff(i) > CLEAR_MS))
        })
    }

    fn has(&self, port: u32, bit: PortConfig) -> bool {
        self.config.get(&port).is_some_and(|c| c & bit.0 != 0)
    }
    /// Whether a bucket may be used: it watches nothing, or its port or its group is live. A group is live by a bucket of it, and not by
    /// itself (`via`: the groups that led here).
    fn is_live(&self, b: &Bucket, via: &[u32]) -> bool {
        let (port, group) = (b.watch_port != PortNo::ANY, b.watch_group != GroupId::ANY);
        let id = b.watch_group.0;
        let watched = self.groups.get(&id).filter(|_| group && !via.contains(&id));
        !port && !group
            || port && !self.has(b.watch_port.0, PortConfig::PORT_DOWN)
            || watched.is_some_and(|g| g.buckets.iter().any(|b| self.is_live(b, &[via, &[id]].concat())))
    }
}

// ---- the pipeline ----

#[derive(Clone, Default)]
struct Set {
    push: bool,
    fields: BTreeMap<u32, OxmField>,
    group: Option<GroupId>,
    output: Option<(PortNo, u16)>,
}

/// A packet on its way; changes counters of the model, and gathers what comes of it.
struct Walk<'a> {
    m: &'a mut Model,
    in_port: u32,
    len: u64,
    now_ms: u64,
    out: Vec<(u32, Vec<u8>)>,
    pins: Vec<Pin>,
    /// More than one entry could have been taken somewhere.
    ambiguous: bool,
}

#[derive(Clone, Copy)]
struct Origin {
    table: u8,
    cookie: u64,
    is_miss: bool,
    in_group: bool,
}
const NOWHERE: Origin = Origin { table: 0xff, cookie: u64::MAX, is_miss: false, in_group: false };

fn set_field(p: &mut Pkt, f: &OxmField) {
    match (f.field, &mut p.ip) {
        (Field::EthDst, _) => p.dst = f.value as u64,
        (Field::EthSrc, _) => p.src = f.value as u64,
        (Field::VlanVid, _) => p.vlans[0] = f.value as u16 & 0xfff,
        (Field::Ipv4Dst, Some(ip)) => ip.dst = f.value as u32,
        (Field::TcpDst | Field::UdpDst, Some(ip)) => ip.tp_dst = f.value as u16,
        other => unreachable!("{other:?}"),
    }
}

impl Set {
    fn write(&mut self, list: &[Action]) {
        for a in list {
            match a {
                Action::PushVlan(_) => self.push = true,
                Action::Group(g) => self.group = Some(*g),
                Action::Output { port, max_len } => self.output = Some((*port, *max_len)),
                Action::SetField(openflow::Oxm::Known(f)) => {
                    self.fields.insert(f.field as u32, *f);
                }
                other => unreachable!("{other:?}"),
            }
        }
    }
}

impl Walk<'_> {
    fn tables(&mut self, pkt: &mut Pkt) {
        let (mut table, mut metadata, mut set) = (0u8, 0u64, Set::default());
        loop {
            let key = pkt.key(self.in_port, metadata);
            self.m.lookups[table as usize] += 1;
            let hits =
                self.m.flows.iter().enumerate().filter(|(_, f)| f.table == table && f.pattern.hits(&key));
            let hits: Vec<(usize, u16)> = hits.map(|(i, f)| (i, f.priority)).collect();
            let Some(top) = hits.iter().map(|h| h.1).max() else { return };
            let best: Vec<usize> = hits.iter().filter(|h| h.1 == top).map(|h| h.0).collect();
            self.ambiguous |= best.len() > 1;
            self.m.matched[table as usize] += 1;
            let f = &mut self.m.flows[best[0]];
            f.packets += 1;
            f.bytes += self.len;
            f.used_ms = self.now_ms;
            let is_miss = f.pattern.is_miss() && f.priority == 0;
            let origin = Origin { table, cookie: f.cookie, is_miss, in_group: false };
            let list = f.instructions.clone();
            let find = |k: u16| list.iter().find(|i| i.kind() == k);
            if let Some(Instruction::Meter(id)) = find(6) {
                if let Some(m) = self.m.meters.get_mut(&id.0) {
                    m.packets += 1;
                    m.bytes += pkt.frame().len() as u64;
                }
            }
            if let Some(Instruction::ApplyActions(l)) = find(4) {
                self.actions(pkt, l, metadata, origin);
            }
            if find(5).is_some() {
                set = Set::default();
            }
            if let Some(Instruction::WriteActions(l)) = find(3) {
                set.write(l);
            }
            if let Some(Instruction::WriteMetadata { metadata: v, mask }) = find(2) {
                metadata = metadata & !mask | v & mask;
            }
            match find(1) {
                Some(Instruction::GotoTable(t)) => table = t.0,
                _ => {
                    self.action_set(pkt, &set, metadata, origin);
                    return;
                }
            }
        }
    }

    fn action_set(&mut self, pkt: &mut Pkt, set: &Set, metadata: u64, origin: Origin) {
        if set.group.is_none() && set.output.is_none() {
            return; // dropped, whatever else is in the set
        }
        if set.push {
            let vid = pkt.vlans.first().copied().unwrap_or(0);
            pkt.vlans.insert(0, vid);
        }
        for f in set.fields.values() {
            set_field(pkt, f);
        }
        // With a group in the set, its output is ignored.
        match (set.group, set.output) {
            (Some(g), _) => self.group(g.0, pkt, metadata, origin),
            (None, Some((p, max_len))) => self.output(p, max_len, pkt, metadata, origin),
            (None, None) => {}
        }
    }

    fn actions(&mut self, pkt: &mut Pkt, list: &[Action], metadata: u64, origin: Origin) {
        for a in list {
            match a {
                Action::Output { port, max_len } => self.output(*port, *max_len, pkt, metadata, origin),
                Action::Group(g) => self.group(g.0, pkt, metadata, origin),
                Action::PushVlan(_) => {
                    let vid = pkt.vlans.first().copied().unwrap_or(0);
                    pkt.vlans.insert(0, vid);
                }
                Action::PopVlan => {
                    pkt.vlans.remove(0);
                }
                Action::SetField(openflow::Oxm::Known(f)) => set_field(pkt, f),
                other => unreachable!("{other:?}"),
            }
        }
    }

    fn group(&mut self, id: u32, pkt: &Pkt, metadata: u64, origin: Origin) {
        let len = self.len;
        // Buckets are explicit actions, also those of a table-miss entry's group.
        let origin = Origin { in_group: true, ..origin };
        let Some(g) = self.m.groups.get_mut(&id) else { return };
        g.packets += 1;
        g.bytes += len;
        let g = g.clone();
        let chosen: Vec<usize> = match g.kind {
            GroupType::ALL => (0..g.buckets.len()).collect(),
            GroupType::INDIRECT => vec![0],
            GroupType::SELECT => {
                let can = |b: &Bucket| b.weight > 0 && self.m.is_live(b, &[]);
                let live: Vec<usize> = (0..g.buckets.len()).filter(|i| can(&g.buckets[*i])).collect();
                // Which of several is the switch's choice.
                self.ambiguous |= live.len() > 1;
                live.into_iter().take(1).collect()
            }
            _ => g.buckets.iter().position(|b| self.m.is_live(b, &[])).into_iter().collect(),
        };
        for i in chosen {
            if let Some(g) = self.m.groups.get_mut(&id) {
                g.counts[i].0 += 1;
                g.counts[i].1 += len;
            }
            let mut set = Set::default();
            set.write(&g.buckets[i].actions);
            self.action_set(&mut pkt.clone(), &set, metadata, origin);
        }
    }

    fn output(&mut self, port: PortNo, max_len: u16, pkt: &Pkt, metadata: u64, origin: Origin) {
        let mut send = |port: u32| {
            if !self.m.has(port, PortConfig::NO_FWD) && !self.m.has(port, PortConfig::PORT_DOWN) {
                *self.m.tx.entry(port).or_default() += 1;
                self.out.push((port, pkt.frame()));
            }
        };
        match port {
            PortNo::IN_PORT if self.in_port != PortNo::CONTROLLER.0 => send(self.in_port),
            PortNo::IN_PORT => {}
            PortNo::ALL | PortNo::FLOOD => {
                let in_port = self.in_port;
                (1..=PORTS).chain([PortNo::LOCAL.0]).filter(|p| *p != in_port).for_each(send);
            }
            PortNo::CONTROLLER => {
                // NO_PACKET_IN is about table misses, also where a group sends.
                if origin.is_miss && self.m.has(self.in_port, PortConfig::NO_PACKET_IN) {
                    return;
                }
                let mut data = pkt.frame();
                let total_len = data.len() as u16;
                if max_len != 0xffff {
                    data.truncate(max_len.into());
                }
                let missed = origin.is_miss && !origin.in_group;
                let reason = if missed { PacketInReason::NO_MATCH } else { PacketInReason::ACTION }.0;
                let (in_port, table, cookie) = (self.in_port, origin.table, origin.cookie);
                self.pins.push(Pin { table, cookie, reason, in_port, metadata, total_len, data });
            }
            PortNo::TABLE => self.tables(&mut pkt.clone()),
            p if p.0 == self.in_port => {}
            p if (1..=PORTS).contains(&p.0) || p == PortNo::LOCAL => send(p.0),
            _ => {}
        }
    }
}

// ---- requests made up ----

fn make_pattern(d: &mut dyn Dice) -> Pattern {
    let mut p = Pattern::default();
    if d.once_in(4) {
        p.put(F::InPort, 1 + d.below(PORTS.into()), full(F::InPort as usize));
    }
    if d.once_in(4) {
        let mask = [3, 1, u64::MAX][d.below(3) as usize];
        p.put(F::Metadata, d.below(4), mask);
    }
    if d.once_in(4) {
        p.put(F::EthDst, d.below(3), [full(F::EthDst as usize), 1][d.below(2) as usize]);
    }
    if d.once_in(6) {
        p.put(F::EthSrc, 0x100 + d.below(2), full(F::EthSrc as usize));
    }
    match d.below(8) {
        0 => p.put(F::Vlan, 0x1000, 0x1000),
        1 | 2 => p.put(F::Vlan, 0x1000 | d.below(3), 0x1fff),
        3 => p.put(F::Vlan, 0, 0x1fff),
        _ => {}
    }
    match d.below(4) {
        0 => p.put(F::EthType, 0x806, 0xffff),
        1 | 2 => {
            p.put(F::EthType, 0x800, 0xffff);
            if d.once_in(2) {
                let mask = [0xffff_ffff, 0xffff_ff00, 0xff00_00ff][d.below(3) as usize];
                p.put(F::IpDst, 0x0a00_0000 + 256 * d.below(2) + d.below(3), mask);
            }
            if d.once_in(5) {
                p.put(F::IpSrc, 0x0a00_0000 + d.below(3), 0xffff_ffff);
            }
            if d.once_in(2) {
                p.put(F::IpProto, [6, 17][d.below(2) as usize], 0xff);
                if d.once_in(2) {
                    p.put(F::TpDst, 80 + d.below(3), [0xffff, 0xfffe][d.below(2) as usize]);
                }
            }
        }
        _ => {}
    }
    p
}

fn make_packet(d: &mut dyn Dice) -> Pkt {
    let vlans = (0..[0, 0, 1, 2][d.below(4) as usize]).map(|_| d.below(3) as u16).collect();
    let ip = (!d.once_in(4)).then(|| Ip {
        src: 0x0a00_0000 + d.below(3) as u32,
        dst: 0x0a00_0000 + (256 * d.below(2) + d.below(3)) as u32,
        proto: [6, 17][d.below(2) as usize],
        tp_dst: 80 + d.below(3) as u16,
    });
    Pkt { dst: d.below(3), src: 0x100 + d.below(2), vlans, ip }
}

fn output(port: PortNo) -> Action {
    Action::Output { port, max_len: 0xffff }
}
fn set(field: Field, value: u64) -> Action {
    Action::SetField(OxmField::exact(field, value.into()).into())
}

/// Actions of a list (`as_set`: of a set or bucket) for packets of which the pattern is known.
fn make_actions(d: &mut dyn Dice, p: &Pattern, as_set: bool) -> Vec<Action> {
    let mut vlan = p.mask[F::Vlan as usize] & p.value[F::Vlan as usize] & 0x1000 != 0;
    let ip = p.has(F::EthType, 0x800);
    let mut out = Vec::new();
    let mut pushed = false;
    for _ in 0..d.below(4) {
        match d.below(12) {
            0..=3 => out.push(output(PortNo(1 + d.below(PORTS.into()) as u32))),
            4 => out.push(output(
                [PortNo::IN_PORT, PortNo::ALL, PortNo::FLOOD, PortNo::LOCAL][d.below(4) as usize],
            )),
            5 => {
                let max_len = [0xffff, 0, 20, 200][d.below(4) as usize];
                out.push(Action::Output { port: PortNo::CONTROLLER, max_len });
            }
            6 => out.push(Action::Group(GroupId(1 + d.below(4) as u32))),
            7 => out.push(set(Field::EthDst, d.below(3))),
            8 if !pushed => {
                out.push(Action::PushVlan(0x8100));
                out.push(set(Field::VlanVid, 0x1000 | d.below(3)));
                (vlan, pushed) = (true, true);
            }
            9 if vlan && !as_set => {
                out.push(Action::PopVlan);
                vlan = false;
            }
            10 if ip && !as_set => out.push(set(Field::Ipv4Dst, 0x0a00_0000 + d.below(3))),
            11 if ip && !as_set && p.has(F::IpProto, 6) => out.push(set(Field::TcpDst, 80 + d.below(3))),
            11 if ip && !as_set && p.has(F::IpProto, 17) => out.push(set(Field::UdpDst, 80 + d.below(3))),
            _ => {}
        }
    }
    out
}

fn make_instructions(d: &mut dyn Dice, table: u8, p: &Pattern) -> Vec<Instruction> {
    let mut out = Vec::new();
    if d.once_in(6) {
        out.push(Instruction::Meter(MeterId(1 + d.below(3) as u32)));
    }
    if !d.once_in(4) {
        out.push(Instruction::ApplyActions(make_actions(d, p, false)));
    }
    if d.once_in(5) {
        out.push(Instruction::ClearActions);
    }
    if d.once_in(3) {
        out.push(Instruction::WriteActions(make_actions(d, p, true)));
    }
    if d.once_in(4) {
        out.push(Instruction::WriteMetadata { metadata: d.below(4), mask: [3, 1][d.below(2) as usize] });
    }
    if d.once_in(2) && (table + 1 < TABLES || d.once_in(8)) {
        let t = if d.once_in(20) {
            d.below(1 + u64::from(table)) as u8
        } else {
            table + 1 + d.below(u64::from((TABLES - table).saturating_sub(1)).max(1)) as u8
        };
        if t < TABLES {
            out.push(Instruction::GotoTable(TableId(t)));
        }
    }
    out
}

impl Model {
    fn make_flow_mod(&self, d: &mut dyn Dice) -> Request {
        use FlowModCommand as C;
        let command =
            [C::ADD, C::ADD, C::ADD, C::ADD, C::MODIFY, C::MODIFY_STRICT, C::DELETE, C::DELETE_STRICT]
                [d.below(8) as usize];
        let mut m = FlowMod { command, ..FlowMod::default() };
        // Often about an entry that is there.
        let known = (!self.flows.is_empty() && (command != C::ADD || d.once_in(4)))
            .then(|| self.flows[d.below(self.flows.len() as u64) as usize].clone());
        let mut p = make_pattern(d);
        m.table_id = TableId(d.below(TABLES.into()) as u8);
        m.priority = [0, 1, 2, 3, 100][d.below(5) as usize];
        if d.once_in(12) {
            (p, m.priority) = (Pattern::default(), 0);
        }
        if let Some(f) = known.filter(|_| !d.once_in(4)) {
            (m.table_id, m.priority, p) = (TableId(f.table), f.priority, f.pattern);
            if matches!(command, C::MODIFY | C::DELETE) {
                // Wider than the entry: a field fewer (those that others need stay).
                for f in [F::InPort, F::Metadata, F::EthDst, F::EthSrc, F::Vlan, F::IpDst, F::IpSrc, F::TpDst]
                {
                    if d.once_in(2) {
                        p.put(f, 0, 0);
                    }
                }
            }
        }
        m.cookie = d.below(4);
        if command != C::ADD && d.once_in(3) {
            m.cookie_mask = [1, 3, u64::MAX][d.below(3) as usize];
        }
        if matches!(command, C::DELETE | C::DELETE_STRICT) {
            if d.once_in(4) {
                m.out_port = PortNo(1 + d.below(PORTS.into()) as u32);
            }
            if d.once_in(4) {
                m.out_group = GroupId(1 + d.below(4) as u32);
            }
            if d.once_in(5) {
                m.table_id = TableId::ALL;
            }
        } else {
            if command != C::ADD && d.once_in(4) {
                // Without meaning here.
                (m.out_port, m.out_group) = (PortNo(1 + d.below(PORTS.into()) as u32), GroupId(1));
            }
            m.instructions = make_instructions(d, m.table_id.0, &p).into();
            if d.once_in(30) {
                m.table_id = TableId::ALL;
            }
        }
        let mut flags = 0;
        for (bit, n) in [(1, 2), (2, 6), (4, 4)] {
            flags |= if d.once_in(n) { bit } else { 0 };
        }
        // Always the same of an entry: what one counts that did not count before is open.
        flags |= match m.priority {
            2 => 8,
            3 => 16,
            _ => 0,
        };
        m.flags = FlowModFlags(flags);
        if command == C::ADD {
            m.idle_timeout = if d.once_in(5) { 10 * (1 + d.below(3)) as u16 } else { 0 };
            m.hard_timeout = if d.once_in(6) { 10 * (1 + d.below(5)) as u16 } else { 0 };
        }
        m.matching = p.oxm();
        Request::Flow(Box::new((m, p)))
    }

    fn make_group_mod(&self, d: &mut dyn Dice) -> Request {
        use GroupModCommand as C;
        let command = [C::ADD, C::ADD, C::MODIFY, C::DELETE][d.below(4) as usize];
        let mut m = GroupMod {
            command,
            kind: [GroupType::ALL, GroupType::ALL, GroupType::SELECT, GroupType::INDIRECT, GroupType::FF]
                [d.below(5) as usize],
            group_id: GroupId(1 + d.below(4) as u32),
            buckets: Vec::new(),
        };
        if command == C::DELETE {
            if d.once_in(4) {
                m.group_id = GroupId::ALL;
            }
            return Request::Group(m);
        }
        let n = if m.kind == GroupType::INDIRECT { 1 } else { d.below(4) };
        let heavy = d.below(n.max(1));
        for i in 0..n {
            let mut b = Bucket::new(make_actions(d, &Pattern::default(), true));
            if m.kind == GroupType::SELECT {
                b.weight = if i == heavy || d.once_in(6) { 5 } else { 0 };
            }
            if m.kind == GroupType::FF || m.kind == GroupType::SELECT && d.once_in(2) {
                match d.below(4) {
                    0 => b.watch_group = GroupId(1 + d.below(4) as u32),
                    1 if d.once_in(2) => {
                        b.watch_port = PortNo(1 + d.below(PORTS.into()) as u32);
                        b.watch_group = GroupId(1 + d.below(4) as u32);
                    }
                    _ => b.watch_port = PortNo(1 + d.below(PORTS.into()) as u32),
                }
            }
            m.buckets.push(b);
        }
        if d.once_in(16) {
            // What no group of its type may be.
            match m.kind {
                GroupType::INDIRECT => m.buckets.push(Bucket::new(vec![output(PortNo(1))])),
                GroupType::FF => m.buckets.push(Bucket::new(vec![output(PortNo(1))])),
                GroupType::ALL => m.buckets.push(Bucket { weight: 2, ..Bucket::new(Vec::new()) }),
                _ => {}
            }
        }
        Request::Group(m)
    }

    fn make_meter_mod(d: &mut dyn Dice) -> Request {
        use MeterModCommand as C;
        let command = [C::ADD, C::ADD, C::MODIFY, C::DELETE][d.below(4) as usize];
        let mut meter_id = MeterId(1 + d.below(3) as u32);
        if command == C::DELETE && d.once_in(4) {
            meter_id = MeterId::ALL;
        }
        // So much that it never acts: what meters do to packets is tested with their own clock.
        let band = MeterBand::Drop { rate: u32::MAX / 2, burst_size: 1_000_000 };
        let mut flags = MeterFlags::PKTPS | MeterFlags::BURST;
        let mut bands = if command == C::DELETE { Vec::new() } else { vec![band] };
        if command != C::DELETE && d.once_in(8) {
            match d.below(4) {
                0 => meter_id = MeterId(0),
                1 => flags = MeterFlags::KBPS | MeterFlags::PKTPS,
                2 => bands = vec![MeterBand::Drop { rate: 0, burst_size: 1 }],
                _ => bands = vec![MeterBand::Drop { rate: 1, burst_size: 0 }],
            }
        }
        Request::Meter(MeterMod { command, flags, meter_id, bands })
    }

    fn make_request(&self, d: &mut dyn Dice) -> Request {
        match d.below(16) {
            0..=10 => self.make_flow_mod(d),
            11..=13 => self.make_group_mod(d),
            14 => Self::make_meter_mod(d),
            _ => {
                let bits = [
                    PortConfig::PORT_DOWN,
                    PortConfig::NO_RECV,
                    PortConfig::NO_FWD,
                    PortConfig::NO_PACKET_IN,
                ];
                let mask = bits[d.below(4) as usize].0;
                let config = if d.once_in(3) { mask } else { 0 };
                Request::Port(1 + d.below(PORTS.into()) as u32, config, mask)
            }
        }
    }
}

// ---- both, side by side ----

/// The real switch and the model, given the same.
pub struct Trial {
    rig: Rig,
    model: Model,
    start: Instant,
    skipped_ms: u64,
    /// What was done, for a failure's message.
    log: Vec<String>,
    xid: u32,
    macs: BTreeMap<u32, EthAddr>,
}

impl Trial {
    /// An empty switch.
    pub fn new() -> Self {
        let mut rig = Rig::new(PORTS);
        let ports = rig.switch.ports(rig.bridge);
        let macs = ports.iter().map(|(_, p)| (p.port_no.0, p.hw_addr)).collect();
        let limit = TableLimit { flow_limit: Some(SMALL.1 as u32), evict: false };
        rig.switch.set_table_limit(Instant::now(), rig.bridge, SMALL.0, limit).expect("a limit");
        // All asynchronous messages, all bytes.
        rig.settle();
        Self {
            rig,
            model: Model::default(),
            start: Instant::now(),
            skipped_ms: 0,
            log: Vec::new(),
            xid: 1000,
            macs,
        }
    }
    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64 + self.skipped_ms
    }
    fn fail(&self, what: &str) -> ! {
        let from = self.log.len().saturating_sub(200);
        panic!("{what}\nafter:\n{}", self.log[from..].join("\n"));
    }

    /// Back to an empty switch, through the front door; counters of tables and ports go on.
    pub fn reset(&mut self) {
        self.log.clear();
        let flows = FlowMod { command: FlowModCommand::DELETE, table_id: TableId::ALL, ..FlowMod::default() };
        let (command, group_id) = (GroupModCommand::DELETE, GroupId::ALL);
        let groups = GroupMod { command, kind: GroupType::ALL, group_id, buckets: Vec::new() };
        let (command, meter_id) = (MeterModCommand::DELETE, MeterId::ALL);
        let meters = MeterMod { command, flags: MeterFlags::empty(), meter_id, bands: Vec::new() };
        let ports = (1..=PORTS).map(|n| Request::Port(n, 0, PortConfig::all().0));
        let requests = [
            Request::Flow(Box::new((flows, Pattern::default()))),
            Request::Group(groups),
            Request::Meter(meters),
        ];
        self.requests(requests.into_iter().chain(ports).collect());
        self.compare();
    }

    fn message(&mut self, r: &Request) -> OfMessage {
        self.xid += 1;
        let body: Message = match r {
            Request::Flow(f) => f.0.clone().into(),
            Request::Group(m) => m.clone().into(),
            Request::Meter(m) => m.clone().into(),
            Request::Port(n, config, mask) => PortMod {
                port_no: PortNo(*n),
                hw_addr: self.macs[n],
                config: PortConfig(*config),
                mask: PortConfig(*mask),
                ..PortMod::default()
            }
            .into(),
        };
        OfMessage::new(Xid(self.xid), body)
    }
    fn note(&mut self, r: &Request, e: &Result<(), OfpError>) {
        let said = match r {
            Request::Flow(f) => {
                let m = &f.0;
                format!(
                "flow-mod {:?} table={} priority={} {} cookie={}/{:x} flags={:?} idle={} hard={} out_port={} out_group={} {:?}",
                m.command, m.table_id.0, m.priority, openflow::text::print_match(&m.matching), m.cookie, m.cookie_mask,
                m.flags, m.idle_timeout, m.hard_timeout, m.out_port.0, m.out_group.0, m.instructions
            )
            }
            other => format!("{other:?}"),
        };
        self.log.push(format!("{said} -> {e:?}"));
    }

    /// Sends requests at once; each is taken or refused as the model says.
    fn requests(&mut self, list: Vec<Request>) {
        let mut wanted: Vec<(Xid, OfpError)> = Vec::new();
        for r in &list {
            let m = self.message(r);
            let now_ms = self.now_ms();
            let result = self.model.apply(r, now_ms);
            self.note(r, &result);
            if let Err(e) = result {
                wanted.push((m.xid, e));
            }
            self.rig.say(0, &m);
        }
        self.rig.settle();
        let heard = self.rig.hear(0);
        self.errors(&heard, &wanted);
        self.asynchronous(&heard, &[]);
    }

    fn errors(&mut self, heard: &[OfMessage], wanted: &[(Xid, OfpError)]) {
        let got: Vec<(Xid, OfpError)> = heard
            .iter()
            .filter_map(|m| if let Message::Error(e) = &m.body { Some((m.xid, e.error)) } else { None })
            .collect();
        if got != wanted {
            self.fail(&format!("errors {got:?}, the model says {wanted:?}"));
        }
    }

    /// A bundle: all of it or nothing.
    fn bundle(&mut self, list: Vec<Request>, commit: bool) {
        let flags = BundleFlags::ATOMIC | BundleFlags::ORDERED;
        let bundle_id = 9;
        let control = |kind| BundleControl { bundle_id, kind, flags, properties: Vec::new() };
        self.log.push(format!("bundle of {} {{", list.len()));
        self.xid += 1;
        self.rig.say(0, &OfMessage::new(Xid(self.xid), control(BundleCtrlType::OPEN_REQUEST)));
        let mut after = self.model.clone();
        let mut failed = None;
        for r in &list {
            let m = self.message(r);
            if failed.is_none() && commit {
                let now_ms = self.now_ms();
                let result = after.apply(r, now_ms);
                self.note(r, &result);
                failed = result.err().map(|e| (m.xid, e));
            }
            let add = BundleAdd { bundle_id, flags, message: Box::new(m.clone()), properties: Vec::new() };
            self.rig.say(0, &OfMessage::new(m.xid, add));
        }
        self.xid += 1;
        let end = if commit { BundleCtrlType::COMMIT_REQUEST } else { BundleCtrlType::DISCARD_REQUEST };
        let last = Xid(self.xid);
        self.rig.say(0, &OfMessage::new(last, control(end)));
        self.rig.settle();
        self.log.push("}".into());
        let heard = self.rig.hear(0);
        let wanted: Vec<_> =
            failed.into_iter().flat_map(|f| [f, (last, OfpError::OFPBFC_MSG_FAILED)]).collect();
        self.errors(&heard, &wanted);
        if wanted.is_empty() && commit {
            self.model = after;
        }
        self.asynchronous(&heard, &[]);
    }

    /// Packet-ins, flow-removed and port-status are those that the model says.
    fn asynchronous(&mut self, heard: &[OfMessage], pins: &[Pin]) {
        let removed = |f: &FlowRemoved| Removed {
            table: f.table_id.0,
            priority: f.priority,
            cookie: f.cookie,
            reason: f.reason.0,
            idle: f.idle_timeout,
            hard: f.hard_timeout,
            packets: f.packet_count,
            bytes: f.byte_count,
            pattern: format!("{:?}", f.matching),
        };
        let pin = |p: &PacketIn| Pin {
            table: p.table_id.0,
            cookie: p.cookie,
            reason: p.reason.0,
            in_port: p.matching.get(Field::InPort).map_or(0, |f| f.value as u32),
            metadata: p.matching.get(Field::Metadata).map_or(0, |f| f.value as u64),
            total_len: p.total_len,
            data: p.data.to_vec(),
        };
        let (mut gone, mut got, mut status) = (Vec::new(), Vec::new(), 0);
        for m in heard {
            match &m.body {
                Message::FlowRemoved(f) => gone.push(removed(f)),
                Message::PacketIn(p) => got.push(pin(p)),
                Message::PortStatus(_) => status += 1,
                _ => {}
            }
        }
        let mut wanted = std::mem::take(&mut self.model.removed);
        gone.sort();
        wanted.sort();
        if gone != wanted {
            self.fail(&format!("flow-removed\n{gone:#?}\nthe model says\n{wanted:#?}"));
        }
        if got != pins {
            self.fail(&format!("packet-ins\n{got:x?}\nthe model says\n{pins:x?}"));
        }
        let wanted = std::mem::take(&mut self.model.port_status);
        if status != wanted {
            self.fail(&format!("{status} port-status, the model says {wanted}"));
        }
    }

    /// What the model makes of a packet; `None` if that is not settled by the specification. Nothing is changed then.
    fn walk(
        &mut self,
        in_port: u32,
        go: impl FnOnce(&mut Walk<'_>),
    ) -> Option<(Vec<(u32, Vec<u8>)>, Vec<Pin>)> {
        let mut after = self.model.clone();
        let now_ms = self.now_ms();
        let mut w = Walk {
            m: &mut after,
            in_port,
            len: 0,
            now_ms,
            out: Vec::new(),
            pins: Vec::new(),
            ambiguous: false,
        };
        go(&mut w);
        let (out, pins, ambiguous) = (w.out, w.pins, w.ambiguous);
        if ambiguous {
            return None;
        }
        self.model = after;
        Some((out, pins))
    }

    fn packet(&mut self, port: u32, pkt: &Pkt) {
        let frame = pkt.frame();
        let (no_recv, len) = (
            self.model.has(port, PortConfig::NO_RECV) || self.model.has(port, PortConfig::PORT_DOWN),
            frame.len() as u64,
        );
        let mut copy = pkt.clone();
        let result = self.walk(port, |w| {
            *w.m.rx.entry(port).or_default() += 1;
            w.len = len;
            if !no_recv {
                w.tables(&mut copy);
            }
        });
        let Some((out, pins)) = result else { return };
        self.log.push(format!("packet by {port}: {pkt:x?}"));
        let got = self.rig.packet(PortNo(port), &frame);
        self.outputs(got, out, &pins);
    }

    fn packet_out(&mut self, d: &mut dyn Dice, pkt: &Pkt) {
        let in_port = [PortNo::CONTROLLER, PortNo(1), PortNo(2)][d.below(3) as usize];
        let mut actions = make_actions(d, &Pattern::default(), false);
        if d.once_in(2) {
            actions.push(output(PortNo::TABLE));
        }
        let missing =
            actions.iter().any(|a| matches!(a, Action::Group(g) if !self.model.groups.contains_key(&g.0)));
        let frame = pkt.frame();
        let len = frame.len() as u64;
        let (mut copy, list) = (pkt.clone(), actions.clone());
        let result = self.walk(in_port.0, |w| {
            w.len = len;
            if !missing {
                w.actions(&mut copy, &list, 0, NOWHERE);
            }
        });
        let Some((out, pins)) = result else { return };
        self.log.push(format!("packet-out from {}: {actions:?} {pkt:x?}", in_port.0));
        self.xid += 1;
        let buffer_id = openflow::msg::OFP_NO_BUFFER;
        let m = PacketOut { buffer_id, in_port, actions, data: frame.into() };
        self.rig.say(0, &OfMessage::new(Xid(self.xid), m));
        self.rig.settle();
        let got = self.rig.sent();
        if missing {
            let heard = self.rig.hear(0);
            self.errors(&heard, &[(Xid(self.xid), OfpError::OFPBAC_BAD_OUT_GROUP)]);
            return;
        }
        self.outputs(got, out, &pins);
    }

    fn outputs(&mut self, got: Vec<(PortNo, Vec<u8>)>, wanted: Vec<(u32, Vec<u8>)>, pins: &[Pin]) {
        let by_port = |list: Vec<(u32, Vec<u8>)>| {
            let mut map: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
            list.into_iter().for_each(|(p, f)| map.entry(p).or_default().push(f));
            map
        };
        let got = by_port(got.into_iter().map(|(p, f)| (p.0, f)).collect());
        let wanted = by_port(wanted);
        if got != wanted {
            self.fail(&format!("sent\n{got:02x?}\nthe model says\n{wanted:02x?}"));
        }
        let heard = self.rig.hear(0);
        self.errors(&heard, &[]);
        self.asynchronous(&heard, pins);
    }

    fn advance(&mut self, seconds: u64) {
        // Past whatever could be in doubt.
        let Some(s) = (seconds..seconds + 60).find(|s| self.model.is_clear(self.now_ms() + 1000 * s)) else {
            return;
        };
        self.log.push(format!("advance {s} s"));
        self.skipped_ms += 1000 * s;
        let now_ms = self.now_ms();
        self.model.expire(now_ms);
        self.rig.advance(Duration::from_secs(s));
        let heard = self.rig.hear(0);
        self.errors(&heard, &[]);
        self.asynchronous(&heard, &[]);
    }

    fn ask(&mut self, body: RequestBody) -> Vec<ReplyBody> {
        let (_, heard) = self.rig.ask(0, MultipartRequest::new(body));
        let got = heard.into_iter().filter_map(|m| match m.body {
            Message::MultipartReply(MultipartReply { body, .. }) => Some(body),
            _ => None,
        });
        got.collect()
    }

    /// Everything that can be asked is as the model says.
    pub fn compare(&mut self) {
        self.flows(&FlowStatsRequest::default(), |_| true);
        let (mut groups, mut ages) = (BTreeMap::new(), Vec::new());
        for r in self.ask(RequestBody::Group(GroupStatsRequest { group_id: GroupId::ALL })) {
            let ReplyBody::Group(list) = r else { continue };
            for g in list {
                let buckets: Vec<_> = g.buckets.iter().map(|b| (b.packet_count, b.byte_count)).collect();
                let made = self.model.groups.get(&g.group_id.0).map(|g| g.created_ms);
                ages.push((format!("group {}", g.group_id.0), g.duration_sec, made));
                groups.insert(g.group_id.0, (g.ref_count, g.packet_count, g.byte_count, buckets));
            }
        }
        let refs = |m: &Model, id: u32| {
            let flows = m.flows.iter().filter(|f| f.uses_group(id)).count();
            let chained = |g: &&Group| g.buckets.iter().any(|b| groups_of(&b.actions).any(|n| n == id));
            (flows + m.groups.values().filter(chained).count()) as u32
        };
        let wanted: BTreeMap<u32, _> = self
            .model
            .groups
            .iter()
            .map(|(id, g)| (*id, (refs(&self.model, *id), g.packets, g.bytes, g.counts.clone())))
            .collect();
        if groups != wanted {
            self.fail(&format!("groups {groups:?}, the model says {wanted:?}"));
        }
        let mut descs = BTreeMap::new();
        for r in self.ask(RequestBody::GroupDesc) {
            let ReplyBody::GroupDesc(list) = r else { continue };
            descs.extend(list.into_iter().map(|g| (g.group_id.0, (g.kind, g.buckets))));
        }
        let wanted: BTreeMap<u32, _> =
            self.model.groups.iter().map(|(id, g)| (*id, (g.kind, g.buckets.clone()))).collect();
        if descs != wanted {
            self.fail(&format!("group descriptions {descs:?}, the model says {wanted:?}"));
        }
        let mut meters = BTreeMap::new();
        for r in self.ask(RequestBody::Meter(MeterRequest { meter_id: MeterId::ALL })) {
            let ReplyBody::Meter(list) = r else { continue };
            for m in list {
                let made = self.model.meters.get(&m.meter_id.0).map(|m| m.created_ms);
                ages.push((format!("meter {}", m.meter_id.0), m.duration_sec, made));
                meters.insert(m.meter_id.0, (m.flow_count, m.packet_in_count, m.byte_in_count));
            }
        }
        let users = |id: u32| self.model.flows.iter().filter(|f| f.uses_meter(id)).count() as u32;
        let wanted: BTreeMap<u32, _> =
            self.model.meters.iter().map(|(id, m)| (*id, (users(*id), m.packets, m.bytes))).collect();
        if meters != wanted {
            self.fail(&format!("meters {meters:?}, the model says {wanted:?}"));
        }
        for (what, age, made) in ages {
            self.age(&what, age, made.unwrap_or(0));
        }
        let mut configs = BTreeMap::new();
        for r in self.ask(RequestBody::MeterConfig(MeterRequest { meter_id: MeterId::ALL })) {
            let ReplyBody::MeterConfig(list) = r else { continue };
            configs.extend(list.into_iter().map(|m| (m.meter_id.0, (m.flags, m.bands))));
        }
        let wanted: BTreeMap<u32, _> =
            self.model.meters.iter().map(|(id, m)| (*id, (m.flags, m.bands.clone()))).collect();
        if configs != wanted {
            self.fail(&format!("meter configurations {configs:?}, the model says {wanted:?}"));
        }
        for r in self.ask(RequestBody::Table) {
            let ReplyBody::Table(list) = r else { continue };
            for t in list.iter().take(TABLES.into()) {
                let i = t.table_id.0 as usize;
                let active = self.model.flows.iter().filter(|f| f.table as usize == i).count() as u32;
                let got = (t.active_count, t.lookup_count, t.matched_count);
                let wanted = (active, self.model.lookups[i], self.model.matched[i]);
                if got != wanted {
                    self.fail(&format!(
                        "table {i} (active, lookups, matched) {got:?}, the model says {wanted:?}"
                    ));
                }
            }
        }
        for r in self.ask(RequestBody::PortStats(PortStatsRequest { port_no: PortNo::ANY })) {
            let ReplyBody::PortStats(list) = r else { continue };
            for p in list {
                let of = |m: &BTreeMap<u32, u64>| m.get(&p.port_no.0).copied().unwrap_or(0);
                let (got, wanted) = ((p.rx_packets, p.tx_packets), (of(&self.model.rx), of(&self.model.tx)));
                if got != wanted {
                    self.fail(&format!("port {} (rx, tx) {got:?}, the model says {wanted:?}", p.port_no.0));
                }
            }
        }
    }

    /// What was made at `made_ms` is `seconds` old.
    fn age(&self, what: &str, seconds: u32, made_ms: u64) {
        let wanted = (self.now_ms() - made_ms) / 1000;
        if wanted.abs_diff(seconds.into()) > 1 {
            self.fail(&format!("{what} is {seconds} s old, the model says {wanted}"));
        }
    }

    fn flows(&mut self, request: &FlowStatsRequest, meant: impl Fn(&Flow) -> bool) {
        let (mut got, mut ages) = (Vec::new(), BTreeMap::new());
        for r in self.ask(RequestBody::Flow(request.clone())) {
            let ReplyBody::Flow(list) = r else { continue };
            for f in list {
                let key = (f.table_id.0, f.priority, openflow::text::print_match(&f.matching));
                ages.insert(key, f.duration_sec);
                got.push(format!(
                    "table={} priority={} {} cookie={} idle={} hard={} flags={:?} n={}/{} {:?}",
                    f.table_id.0,
                    f.priority,
                    openflow::text::print_match(&f.matching),
                    f.cookie,
                    f.idle_timeout,
                    f.hard_timeout,
                    f.flags,
                    f.packet_count,
                    f.byte_count,
                    f.instructions
                ));
            }
        }
        let mut wanted: Vec<String> = Vec::new();
        let mut sum = (0u32, 0, 0);
        let counts = |f: &Flow, off, n: u64| if f.flags.contains(off) { 0 } else { n };
        for f in self.model.flows.iter().filter(|f| meant(f)) {
            let (packets, bytes) = f.shown();
            sum.0 += 1;
            sum.1 += counts(f, FlowModFlags::NO_PKT_COUNTS, f.packets);
            sum.2 += counts(f, FlowModFlags::NO_BYT_COUNTS, f.bytes);
            let instructions: openflow::instruction::Instructions = f.instructions.clone().into();
            wanted.push(format!(
                "table={} priority={} {} cookie={} idle={} hard={} flags={:?} n={packets}/{bytes} {instructions:?}",
                f.table,
                f.priority,
                openflow::text::print_match(&f.pattern.oxm()),
                f.cookie,
                f.idle,
                f.hard,
                f.flags,
            ));
        }
        got.sort();
        wanted.sort();
        if got != wanted {
            let only = |a: &[String], b: &[String]| {
                a.iter().filter(|l| !b.contains(l)).cloned().collect::<Vec<_>>().join("\n")
            };
            self.fail(&format!(
                "flow entries for {request:?}\n{}\nthe model says\n{}",
                only(&got, &wanted),
                only(&wanted, &got)
            ));
        }
        for r in self.ask(RequestBody::Aggregate(request.clone())) {
            let ReplyBody::Aggregate(a) = r else { continue };
            let got = (a.flow_count, a.packet_count, a.byte_count);
            if got != sum {
                self.fail(&format!("aggregate (entries, packets, bytes) {got:?}, the model says {sum:?}"));
            }
        }
        for f in self.model.flows.iter().filter(|f| meant(f)) {
            let key = (f.table, f.priority, openflow::text::print_match(&f.pattern.oxm()));
            self.age(&format!("{key:?}"), ages.get(&key).copied().unwrap_or(u32::MAX), f.created_ms);
        }
    }

    /// A request for some of the flow entries.
    fn some_flows(&mut self, d: &mut dyn Dice) {
        let mut p = make_pattern(d);
        if d.once_in(2) {
            p = Pattern::default();
        }
        let mut r = FlowStatsRequest { matching: p.oxm(), ..FlowStatsRequest::default() };
        if d.once_in(2) {
            r.table_id = TableId(d.below(TABLES.into()) as u8);
        }
        if d.once_in(3) {
            (r.cookie, r.cookie_mask) = (d.below(4), 3);
        }
        if d.once_in(4) {
            r.out_port = PortNo(1 + d.below(PORTS.into()) as u32);
        }
        if d.once_in(4) {
            r.out_group = GroupId(1 + d.below(4) as u32);
        }
        let q = r.clone();
        self.flows(&r, |f| {
            (q.table_id == TableId::ALL || q.table_id.0 == f.table)
                && p.covers(&f.pattern)
                && (f.cookie ^ q.cookie) & q.cookie_mask == 0
                && (q.out_port == PortNo::ANY || f.outputs_to(q.out_port))
                && (q.out_group == GroupId::ANY || f.uses_group(q.out_group.0))
        });
    }

    /// Up to `most` requests, made up one after the other, so that each can be about what the one before left.
    fn some_requests(&self, d: &mut dyn Dice, most: u64) -> Vec<Request> {
        let mut ahead = self.model.clone();
        let n = 1 + d.below(most);
        let one = |_| {
            let r = ahead.make_request(d);
            let _ = ahead.apply(&r, self.now_ms());
            r
        };
        (0..n).map(one).collect()
    }

    /// Does `steps` things, or as many as there are choices for.
    pub fn run(&mut self, d: &mut dyn Dice, steps: usize) {
        for _ in 0..steps {
            if d.is_over() {
                break;
            }
            if !self.model.is_clear(self.now_ms()) {
                self.advance(1);
            }
            match d.below(24) {
                0..=6 => {
                    let list = self.some_requests(d, 4);
                    self.requests(list);
                }
                7 | 8 => {
                    let list = self.some_requests(d, 6);
                    let commit = !d.once_in(5);
                    self.bundle(list, commit);
                }
                9 => self.advance(5 + d.below(15)),
                10 => self.compare(),
                11 => self.some_flows(d),
                12 | 13 => {
                    let pkt = make_packet(d);
                    self.packet_out(d, &pkt);
                }
                _ => {
                    let pkt = make_packet(d);
                    let port = if d.once_in(10) { PortNo::LOCAL.0 } else { 1 + d.below(PORTS.into()) as u32 };
                    for _ in 0..1 + d.below(3) {
                        self.packet(port, &pkt);
                    }
                }
            }
        }
        self.compare();
    }
}
