//! Actions and instructions in words: `set_field:1.2.3.4->ip_dst,output:2,goto_table:3`.

use super::lex::{
    fault, fault_near, hex_bytes, next_pair, number, parse_u128, positional, push_bytes, push_dec, push_hex,
    u16, u32, u64, u8, Fault, Join, Pair, Res, MAX_DEPTH,
};
use super::matching::push_unknown;
use super::value::{action_field, port, push_port, push_subfield, push_value, set_name, subfield, value};
use super::{NoNames, PortNames, TextError};
use crate::action::{
    Action, BundleAction, ControllerAction, CtAction, CtZone, Learn, LearnDst, LearnSpec, LearnSrc,
    Multipath, NatAction, SampleAction, Subfield,
};
use crate::field::{Field, Maskable, CLASS_EXPERIMENTER};
use crate::ids::{GroupId, MeterId, PortNo, TableId};
use crate::instruction::{Instruction, Instructions};
use crate::matching::{Match, Oxm, OxmField};
use std::fmt::Write;

/// Words an action list may start an element with, for hints.
const WORDS: &[&str] = &[
    "output",
    "in_port",
    "normal",
    "flood",
    "all",
    "local",
    "table",
    "controller",
    "drop",
    "group",
    "set_field",
    "move",
    "load",
    "push",
    "pop",
    "resubmit",
    "learn",
    "conjunction",
    "multipath",
    "bundle",
    "bundle_load",
    "note",
    "set_tunnel",
    "set_tunnel64",
    "ct",
    "ct_clear",
    "nat",
    "clone",
    "dec_ttl",
    "dec_mpls_ttl",
    "set_mpls_ttl",
    "set_mpls_label",
    "set_mpls_tc",
    "mod_dl_src",
    "mod_dl_dst",
    "mod_nw_src",
    "mod_nw_dst",
    "mod_nw_tos",
    "mod_nw_ecn",
    "mod_nw_ttl",
    "mod_tp_src",
    "mod_tp_dst",
    "mod_vlan_vid",
    "mod_vlan_pcp",
    "set_vlan_vid",
    "set_vlan_pcp",
    "strip_vlan",
    "pop_vlan",
    "push_vlan",
    "push_mpls",
    "pop_mpls",
    "push_pbb",
    "pop_pbb",
    "copy_ttl_in",
    "copy_ttl_out",
    "enqueue",
    "set_queue",
    "pop_queue",
    "write_actions",
    "clear_actions",
    "write_metadata",
    "meter",
    "goto_table",
    "check_pkt_larger",
    "exit",
    "fin_timeout",
    "sample",
    "encap",
    "decap",
    "dec_nsh_ttl",
    "delete_field",
    "apply_actions",
    "experimenter",
];

/// What the match says of the packets actions will see; decides what `mod_tp_dst` and `mod_vlan_vid` mean.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    ip_proto: Option<u128>,
    vlan: bool,
}

impl Seen {
    pub(crate) fn of(m: &Match) -> Self {
        let exact = |f| m.get(f).filter(|o| o.mask.is_none()).map(|o| o.value);
        Self {
            ip_proto: exact(Field::IpProto),
            vlan: m.get(Field::VlanVid).is_some_and(|o| o.value & 0x1000 != 0),
        }
    }
}

struct Parser<'n> {
    names: &'n dyn PortNames,
    seen: Seen,
}

/// Reads a list of actions, as in a bucket, a packet-out or after `actions=`; instructions are refused.
///
/// # Errors
/// The first word that cannot be read.
pub fn parse_actions(text: &str, names: &dyn PortNames) -> Result<Vec<Action>, TextError> {
    actions_of(text, names).map_err(|f: Fault<'_>| f.locate(text))
}

pub(crate) fn actions_of<'a>(text: &'a str, names: &dyn PortNames) -> Res<'a, Vec<Action>> {
    Parser { names, seen: Seen::default() }.list(text, 0)
}

/// Reads actions and instructions, as after `actions=` of a flow.
///
/// # Errors
/// The first word that cannot be read, or an instruction out of order.
pub fn parse_instructions(text: &str, names: &dyn PortNames) -> Result<Instructions, TextError> {
    instructions_of(text, Seen::default(), names).map_err(|f: Fault<'_>| f.locate(text))
}

/// Instructions in the order they are executed, which is also the order they are written in.
const ORDER: &[&str] =
    &["meter", "actions", "clear_actions", "write_actions", "write_metadata", "goto_table"];

fn rank(i: &Instruction) -> usize {
    match i {
        Instruction::Meter(_) => 0,
        Instruction::ApplyActions(_) => 1,
        Instruction::ClearActions => 2,
        Instruction::WriteActions(_) => 3,
        Instruction::WriteMetadata { .. } => 4,
        Instruction::GotoTable(_) => 5,
        Instruction::Experimenter { .. } | Instruction::Unknown { .. } => 6,
    }
}

pub(crate) fn instructions_of<'a>(text: &'a str, seen: Seen, names: &dyn PortNames) -> Res<'a, Instructions> {
    let mut p = Parser { names, seen };
    let mut out = Instructions::new();
    let mut apply: Vec<Action> = Vec::new();
    let mut applied = false;
    let mut last = 0;
    let mut rest = text;
    let mut any = false;
    let mut drop_at: Option<&str> = None;
    while let Some(pair) = next_pair(&mut rest)? {
        if pair.key == "drop" && pair.join == Join::None {
            if any {
                return fault(pair.key, "drop alone, without other actions");
            }
            drop_at = Some(pair.key);
            continue;
        }
        if let Some(at) = drop_at {
            return fault(at, "drop alone, without other actions");
        }
        any = true;
        let Some(i) = p.instruction(&pair)? else {
            if last > 1 {
                return fault(pair.key, format!("actions before {}", ORDER.get(last).unwrap_or(&"it")));
            }
            last = 1;
            applied = true;
            p.one(&pair, 0, &mut apply)?;
            continue;
        };
        if let (Instruction::ApplyActions(more), true) = (&i, last <= 1) {
            last = 1;
            applied = true;
            apply.extend(more.iter().cloned());
            continue;
        }
        let r = rank(&i);
        if r < last {
            return fault(pair.key, format!("{} before {}", pair.key, ORDER.get(last).unwrap_or(&"it")));
        }
        if r < 6 && out.iter().any(|o| rank(o) == r) {
            return fault(pair.key, format!("{} once", pair.key));
        }
        if r > 1 && applied {
            out.push(Instruction::ApplyActions(std::mem::take(&mut apply)));
            applied = false;
        }
        last = r;
        out.push(i);
    }
    if applied {
        out.push(Instruction::ApplyActions(apply));
    }
    // `write_actions()` and `write_actions(drop)` mean nothing is written.
    out.retain(|i| !matches!(i, Instruction::WriteActions(a) | Instruction::ApplyActions(a) if a.is_empty()));
    Ok(out)
}

impl Parser<'_> {
    fn instruction<'a>(&mut self, p: &Pair<'a>) -> Res<'a, Option<Instruction>> {
        Ok(Some(match p.key {
            "meter" => Instruction::Meter(MeterId(match p.need("a meter number")? {
                v if v.eq_ignore_ascii_case("slowpath") => MeterId::SLOWPATH.0,
                v if v.eq_ignore_ascii_case("controller") => MeterId::CONTROLLER.0,
                v => u32(v, "a meter number")?,
            })),
            "goto_table" => Instruction::GotoTable(TableId(u8(p.need("a table number")?, "a table number")?)),
            "clear_actions" => {
                p.alone()?;
                Instruction::ClearActions
            }
            "write_metadata" => {
                let (metadata, mask) = metadata(p)?;
                Instruction::WriteMetadata { metadata, mask }
            }
            "write_actions" => Instruction::WriteActions(self.inner(p)?),
            "apply_actions" => Instruction::ApplyActions(self.inner(p)?),
            "instruction" if p.join == Join::Paren => {
                let (id, kind, data) = raw(p.value)?;
                match id {
                    Some(experimenter) => Instruction::Experimenter { experimenter, body: data },
                    None => Instruction::Unknown { kind, body: data },
                }
            }
            _ => return Ok(None),
        }))
    }

    fn inner<'a>(&mut self, p: &Pair<'a>) -> Res<'a, Vec<Action>> {
        if p.join != Join::Paren {
            return fault(p.key, format!("{}(...)", p.key));
        }
        self.list(p.value, 1)
    }

    fn list<'a>(&mut self, text: &'a str, depth: usize) -> Res<'a, Vec<Action>> {
        if depth > MAX_DEPTH {
            return fault(text, format!("at most {MAX_DEPTH} nested lists"));
        }
        let mut out = Vec::new();
        let mut rest = text;
        let mut n = 0;
        let mut drop_at: Option<&str> = None;
        while let Some(p) = next_pair(&mut rest)? {
            n += 1;
            if p.key == "drop" && p.join == Join::None {
                drop_at = Some(p.key);
                continue;
            }
            if matches!(p.key, "goto_table" | "clear_actions" | "write_actions" | "apply_actions" | "meter") {
                return fault(p.key, "an action here, not an instruction");
            }
            self.one(&p, depth, &mut out)?;
        }
        match drop_at {
            Some(at) if n > 1 => fault(at, "drop alone, without other actions"),
            _ => Ok(out),
        }
    }

    /// One element of an action list; legacy words may become several actions.
    fn one<'a>(&mut self, p: &Pair<'a>, depth: usize, out: &mut Vec<Action>) -> Res<'a, ()> {
        let set =
            |f: Field, v: u128| Action::SetField(Oxm::Known(OxmField { field: f, value: v, mask: None }));
        let v = p.value;
        let action = match p.key {
            "output" => self.output(p)?,
            "controller" | "CONTROLLER" | "Controller" => controller(p)?,
            "enqueue" => {
                let (a, b) = match p.join {
                    Join::Paren => v.split_once(','),
                    _ => v.rsplit_once(':'),
                }
                .map_or_else(|| fault(v, "enqueue:PORT:QUEUE"), Ok)?;
                let port = port(a.trim(), self.names)?;
                out.push(Action::SetQueue(u32(b.trim(), "a queue number")?));
                out.push(Action::Output { port, max_len: 0 });
                Action::PopQueue
            }
            "bundle" | "bundle_load" => self.bundle(p)?,
            "group" => Action::Group(GroupId(u32(p.need("a group number")?, "a group number")?)),
            "strip_vlan" | "pop_vlan" => {
                p.alone()?;
                self.seen.vlan = false;
                Action::PopVlan
            }
            "push_vlan" => {
                let t = u16(p.need("an Ethertype")?, "an Ethertype")?;
                if t != 0x8100 && t != 0x88a8 {
                    return fault(v, "0x8100 or 0x88a8");
                }
                self.seen.vlan = true;
                Action::PushVlan(t)
            }
            "mod_vlan_vid" | "set_vlan_vid" => {
                let id = number(p.need("a VLAN id")?, 0xfff, "a VLAN id")?;
                self.tag(p.key == "mod_vlan_vid", out);
                set(Field::VlanVid, 0x1000 | u128::from(id))
            }
            "mod_vlan_pcp" | "set_vlan_pcp" => {
                let pcp = number(p.need("a VLAN priority")?, 7, "a VLAN priority")?;
                self.tag(p.key == "mod_vlan_pcp", out);
                set(Field::VlanPcp, pcp.into())
            }
            "push_mpls" => {
                let t = u16(p.need("an Ethertype")?, "an Ethertype")?;
                if t != 0x8847 && t != 0x8848 {
                    return fault(v, "0x8847 or 0x8848");
                }
                Action::PushMpls(t)
            }
            "pop_mpls" => {
                let t = u16(p.need("an Ethertype")?, "an Ethertype")?;
                Action::PopMpls(t)
            }
            "push_pbb" => Action::PushPbb(u16(p.need("an Ethertype")?, "an Ethertype")?),
            "pop_pbb" => bare(p, Action::PopPbb)?,
            "copy_ttl_in" => bare(p, Action::CopyTtlIn)?,
            "copy_ttl_out" => bare(p, Action::CopyTtlOut)?,
            "set_mpls_ttl" => Action::SetMplsTtl(u8(p.need("a TTL")?, "a TTL")?),
            "set_mpls_label" => {
                set(Field::MplsLabel, number(p.need("an MPLS label")?, 0xf_ffff, "an MPLS label")?.into())
            }
            "set_mpls_tc" => {
                set(Field::MplsTc, number(p.need("a traffic class")?, 7, "a traffic class")?.into())
            }
            "dec_mpls_ttl" => bare(p, Action::DecMplsTtl)?,
            "dec_nsh_ttl" => bare(p, Action::DecNshTtl)?,
            "dec_ttl" if p.join == Join::None || v.trim().is_empty() => Action::DecNwTtl,
            "dec_ttl" => {
                let ids = positional(v)?.into_iter().map(|s| u16(s, "a controller id"));
                Action::DecTtlCntIds(ids.collect::<Result<_, _>>()?)
            }
            "mod_nw_ttl" => Action::SetNwTtl(u8(p.need("a TTL")?, "a TTL")?),
            "mod_dl_src" => self.set_to(Field::EthSrc, p)?,
            "mod_dl_dst" => self.set_to(Field::EthDst, p)?,
            "mod_nw_src" => self.set_to(Field::Ipv4Src, p)?,
            "mod_nw_dst" => self.set_to(Field::Ipv4Dst, p)?,
            "mod_nw_tos" => {
                let t = u8(p.need("a TOS byte")?, "a TOS byte")?;
                if t & 3 != 0 {
                    return fault(v, "a multiple of 4: the lower two bits are the ECN's");
                }
                set(Field::IpDscp, u128::from(t >> 2))
            }
            "mod_nw_ecn" => set(Field::IpEcn, number(p.need("ECN bits")?, 3, "ECN bits")?.into()),
            "mod_tp_src" | "mod_tp_dst" => {
                let src = p.key == "mod_tp_src";
                let f = match self.seen.ip_proto {
                    Some(17) if src => Field::UdpSrc,
                    Some(17) => Field::UdpDst,
                    Some(132) if src => Field::SctpSrc,
                    Some(132) => Field::SctpDst,
                    Some(6) if src => Field::TcpSrc,
                    Some(6) => Field::TcpDst,
                    _ => {
                        return fault(
                            p.key,
                            "a match on tcp, udp or sctp, or set_field:PORT->tcp_dst and the like",
                        )
                    }
                };
                self.set_to(f, p)?
            }
            "set_tunnel" | "set_tunnel64" => {
                set(Field::TunnelId, u64(p.need("a tunnel id")?, "a tunnel id")?.into())
            }
            "set_queue" => Action::SetQueue(u32(p.need("a queue number")?, "a queue number")?),
            "pop_queue" => bare(p, Action::PopQueue)?,
            "set_field" => self.set_field(p)?,
            "load" => self.load(p)?,
            "move" => {
                let (a, b) = arrow(p)?;
                let (src, dst) = (subfield(a)?, subfield(b)?);
                if src.n_bits != dst.n_bits {
                    return fault(b, format!("{} bits, as many as the source has", src.n_bits));
                }
                settable(b, dst.field)?;
                Action::RegMove { src, dst }
            }
            "push" => Action::StackPush(subfield(p.need("a field")?)?),
            "pop" => {
                let s = subfield(p.need("a field")?)?;
                settable(v, s.field)?;
                Action::StackPop(s)
            }
            "resubmit" => self.resubmit(p)?,
            "learn" => Action::Learn(Box::new(self.learn(p)?)),
            "multipath" => multipath(p)?,
            "conjunction" => conjunction(p)?,
            "note" => {
                let mut bytes = hex_bytes(v, "hexadecimal digits")?;
                // On the wire a note ends on a multiple of 8 bytes, 10 bytes after its start.
                while bytes.len() % 8 != 6 {
                    bytes.push(0);
                }
                Action::Note(bytes)
            }
            "exit" => bare(p, Action::Exit)?,
            "fin_timeout" => fin_timeout(p)?,
            "sample" => self.sample(p)?,
            "write_metadata" => {
                let (metadata, mask) = metadata(p)?;
                Action::WriteMetadata { metadata, mask }
            }
            "ct" => self.ct(p, depth)?,
            "nat" => nat(p)?,
            "ct_clear" => bare(p, Action::CtClear)?,
            "clone" => {
                if p.join != Join::Paren {
                    return fault(p.key, "clone(ACTIONS)");
                }
                let seen = self.seen;
                let inner = self.list(v, depth + 1)?;
                self.seen = seen;
                Action::Clone(inner)
            }
            "check_pkt_larger" => {
                let pkt_len = u16(v, "a packet length")?;
                let Some(t) = p.tail else { return fault(p.key, "check_pkt_larger(LENGTH)->FIELD[BIT]") };
                let dst = subfield(t)?;
                if dst.n_bits != 1 {
                    return fault(t, "a single bit");
                }
                settable(t, dst.field)?;
                Action::CheckPktLarger { dst, pkt_len }
            }
            "encap" => encap(p)?,
            "decap" => decap(p)?,
            "delete_field" => Action::DeleteField(action_field(p.need("a field")?)?),
            "experimenter" | "unknown" if p.join == Join::Paren => {
                let (id, kind, body) = raw(v)?;
                match id {
                    Some(experimenter) => Action::Experimenter { experimenter, body },
                    None => Action::Unknown { kind, body },
                }
            }
            _ if p.join == Join::None => match port(p.key, self.names) {
                Ok(port) => to(port),
                Err(_) => return unknown(p.key),
            },
            _ => return unknown(p.key),
        };
        if p.tail.is_some() && p.key != "check_pkt_larger" {
            return fault(p.tail.unwrap_or(""), "no -> here");
        }
        out.push(action);
        Ok(())
    }

    /// `mod_vlan_*` on a packet without a tag pushes one first.
    fn tag(&mut self, push: bool, out: &mut Vec<Action>) {
        if push && !self.seen.vlan {
            out.push(Action::PushVlan(0x8100));
            self.seen.vlan = true;
        }
    }

    fn set_to<'a>(&self, f: Field, p: &Pair<'a>) -> Res<'a, Action> {
        let text = p.need("a value")?;
        let (v, m) = value(f.def(), text, self.names)?;
        if m != f.def().full_mask() {
            return fault(text, "a value without a mask");
        }
        Ok(Action::SetField(Oxm::Known(OxmField { field: f, value: v, mask: None })))
    }

    fn set_field<'a>(&self, p: &Pair<'a>) -> Res<'a, Action> {
        let (text, name) = arrow(p)?;
        let f = match (name, self.seen.ip_proto) {
            ("tp_src", Some(17)) => Field::UdpSrc,
            ("tp_dst", Some(17)) => Field::UdpDst,
            ("tp_src", Some(132)) => Field::SctpSrc,
            ("tp_dst", Some(132)) => Field::SctpDst,
            _ => match name.find('[') {
                Some(_) => {
                    let s = subfield(name)?;
                    let full = s.field.def().full_mask();
                    let m = (full >> (s.field.def().bits - s.n_bits)) << s.offset;
                    let Some(v) = parse_u128(text).filter(|v| s.n_bits == 128 || v >> s.n_bits == 0) else {
                        return fault(text, format!("a number of {} bits", s.n_bits));
                    };
                    settable(name, s.field)?;
                    return Ok(set_masked(s.field, v << s.offset, m));
                }
                None => action_field(name)?,
            },
        };
        settable(name, f)?;
        let (v, m) = value(f.def(), text, self.names)?;
        if m == 0 {
            return fault(text, "a mask that sets at least one bit");
        }
        Ok(set_masked(f, v, m))
    }

    fn load<'a>(&self, p: &Pair<'a>) -> Res<'a, Action> {
        let (text, name) = arrow(p)?;
        let dst = subfield(name)?;
        settable(name, dst.field)?;
        if dst.n_bits > 64 {
            return fault(name, "at most 64 bits (set_field takes more)");
        }
        match parse_u128(text).filter(|v| v >> dst.n_bits == 0) {
            Some(v) => Ok(Action::RegLoad { dst, value: v as u64 }),
            None => fault(text, format!("a number of {} bits", dst.n_bits)),
        }
    }

    fn output<'a>(&self, p: &Pair<'a>) -> Res<'a, Action> {
        let text = p.need("a port")?;
        if p.join == Join::Paren && text.contains('=') {
            let (mut to_port, mut max_len) = (None, None);
            let mut rest = text;
            while let Some(q) = next_pair(&mut rest)? {
                match q.key {
                    "port" => to_port = Some(port(q.value, self.names)?),
                    "max_len" => {
                        let n = u32(q.value, "a length")?;
                        if n < 14 {
                            return fault(q.value, "a length of at least 14 bytes");
                        }
                        max_len = Some(n);
                    }
                    _ => return fault_near(q.key, "port or max_len", ["port", "max_len"].into_iter()),
                }
            }
            return match (to_port, max_len) {
                (Some(port), Some(max_len)) => Ok(Action::OutputTrunc { port, max_len }),
                _ => fault(text, "port=PORT,max_len=BYTES"),
            };
        }
        if let Ok(port) = port(text, self.names) {
            return Ok(to(port));
        }
        let name = text.split('[').next().unwrap_or("");
        if super::value::lookup(name).is_some() {
            return Ok(Action::OutputReg { src: subfield(text)?, max_len: 0xffff });
        }
        port(text, self.names).map(to)
    }

    fn resubmit<'a>(&self, p: &Pair<'a>) -> Res<'a, Action> {
        let in_port = |s: &'a str| match s {
            "" => Ok(None),
            s => port(s, self.names).map(|p| Some(p).filter(|p| *p != PortNo::IN_PORT)),
        };
        if p.join != Join::Paren {
            return Ok(Action::Resubmit { in_port: in_port(p.need("a port")?)?, table: None, ct: false });
        }
        let parts = positional(p.value)?;
        if parts.len() > 3 {
            return fault(p.value, "resubmit(PORT,TABLE,ct)");
        }
        let table = match parts.get(1) {
            None | Some(&"") => None,
            Some(t) => Some(u8(t, "a table number")?).filter(|t| *t != 255),
        };
        let ct = match parts.get(2) {
            None | Some(&"") => false,
            Some(&"ct") => true,
            Some(w) => return fault(w, "ct"),
        };
        Ok(Action::Resubmit { in_port: in_port(parts.first().copied().unwrap_or(""))?, table, ct })
    }

    fn bundle<'a>(&self, p: &Pair<'a>) -> Res<'a, Action> {
        let load = p.key == "bundle_load";
        let form = if load {
            "bundle_load(FIELDS,BASIS,ALGORITHM,ofport,FIELD,members:PORT,...)"
        } else {
            "bundle(FIELDS,BASIS,ALGORITHM,ofport,members:PORT,...)"
        };
        let parts = positional(p.value)?;
        let n = if load { 5 } else { 4 };
        if p.join != Join::Paren || parts.len() <= n {
            return fault(p.key, form);
        }
        if parts[3] != "ofport" {
            return fault(parts[3], "ofport");
        }
        let dst = if load { Some(subfield(parts[4])?) } else { None };
        let first = parts[n];
        let Some(first) = first.strip_prefix("members:").or_else(|| first.strip_prefix("slaves:")) else {
            return fault(first, "members:PORT,...");
        };
        let mut members = Vec::new();
        for s in std::iter::once(first).chain(parts[n + 1..].iter().copied()).filter(|s| !s.is_empty()) {
            members.push(port(s, self.names)?);
        }
        Ok(Action::Bundle(Box::new(BundleAction {
            algorithm: word_number(parts[2], BUNDLE_ALGORITHMS)?,
            fields: word_number(parts[0], HASH_FIELDS)?,
            basis: u16(parts[1], "a hash basis")?,
            members,
            dst,
        })))
    }

    fn learn<'a>(&self, p: &Pair<'a>) -> Res<'a, Learn> {
        let mut l = Learn { priority: 0x8000, table_id: 1, ..Learn::default() };
        if p.join == Join::Colon || p.join == Join::Equals {
            return fault(p.key, "learn(...)");
        }
        let mut rest = p.value;
        while let Some(q) = next_pair(&mut rest)? {
            let v = q.value;
            match q.key {
                "table" => {
                    l.table_id = u8(v, "a table number")?;
                    if l.table_id == 255 {
                        return fault(v, "a table number from 0 to 254");
                    }
                }
                "priority" => l.priority = u16(v, "a priority")?,
                "idle_timeout" => l.idle_timeout = u16(v, "seconds")?,
                "hard_timeout" => l.hard_timeout = u16(v, "seconds")?,
                "fin_idle_timeout" => l.fin_idle_timeout = u16(v, "seconds")?,
                "fin_hard_timeout" => l.fin_hard_timeout = u16(v, "seconds")?,
                "cookie" => l.cookie = u64(v, "a cookie")?,
                "limit" => l.limit = u32(v, "a number of flows")?,
                "send_flow_rem" if q.join == Join::None => l.flags |= Learn::SEND_FLOW_REM,
                "delete_learned" if q.join == Join::None => l.flags |= Learn::DELETE_LEARNED,
                "result_dst" => {
                    let s = subfield(v)?;
                    if s.n_bits != 1 {
                        return fault(v, "a single bit");
                    }
                    l.flags |= Learn::WRITE_RESULT;
                    l.result_dst = Some(s);
                }
                "output" => {
                    let s = subfield(q.need("a field")?)?;
                    l.specs.push(LearnSpec {
                        n_bits: s.n_bits,
                        src: LearnSrc::Field(s),
                        dst: LearnDst::Output,
                    });
                }
                "load" => {
                    let (a, b) = arrow(&q)?;
                    let dst = subfield(b)?;
                    settable(b, dst.field)?;
                    let src = self.learn_source(a, dst)?;
                    l.specs.push(LearnSpec { n_bits: dst.n_bits, src, dst: LearnDst::Load(dst) });
                }
                _ => {
                    let dst = subfield(q.key)?;
                    let src = match q.join {
                        Join::None => LearnSrc::Field(dst),
                        Join::Equals => self.learn_source(v, dst)?,
                        _ => return fault(q.key, "field, field=field or field=value"),
                    };
                    l.specs.push(LearnSpec { n_bits: dst.n_bits, src, dst: LearnDst::Match(dst) });
                }
            }
        }
        Ok(l)
    }

    fn learn_source<'a>(&self, text: &'a str, dst: Subfield) -> Res<'a, LearnSrc> {
        let d = dst.field.def();
        let whole = dst.n_bits == d.bits;
        let constant = match (parse_u128(text), whole) {
            (Some(v), false) => Some(v),
            (_, true) => value(d, text, self.names).ok().filter(|(_, m)| *m == d.full_mask()).map(|(v, _)| v),
            (None, false) => None,
        };
        if let Some(v) = constant {
            if dst.n_bits < 128 && v >> dst.n_bits != 0 {
                return fault(text, format!("a number of {} bits", dst.n_bits));
            }
            return Ok(LearnSrc::Immediate(immediate(v, dst.n_bits)));
        }
        let src = subfield(text)?;
        if src.n_bits != dst.n_bits {
            return fault(text, format!("{} bits, as many as the destination has", dst.n_bits));
        }
        Ok(LearnSrc::Field(src))
    }

    fn sample<'a>(&self, p: &Pair<'a>) -> Res<'a, Action> {
        let mut s = SampleAction::default();
        let mut rest = p.value;
        while let Some(q) = next_pair(&mut rest)? {
            match q.key {
                "probability" => s.probability = u16(q.value, "a probability in 1/65536")?,
                "collector_set_id" => s.collector_set_id = u32(q.value, "an id")?,
                "obs_domain_id" => s.obs_domain_id = u32(q.value, "an id")?,
                "obs_point_id" => s.obs_point_id = u32(q.value, "an id")?,
                "sampling_port" => s.sampling_port = Some(port(q.value, self.names)?),
                "ingress" => s.direction = 1,
                "egress" => s.direction = 2,
                _ => {
                    let known =
                        ["probability", "collector_set_id", "obs_domain_id", "obs_point_id", "sampling_port"];
                    return fault_near(
                        q.key,
                        "probability=..., collector_set_id=... and the like",
                        known.into_iter(),
                    );
                }
            }
        }
        if s.probability == 0 {
            return fault(p.key, "probability=N, at least 1");
        }
        Ok(Action::Sample(Box::new(s)))
    }

    fn ct<'a>(&mut self, p: &Pair<'a>, depth: usize) -> Res<'a, Action> {
        let mut ct = CtAction {
            flags: 0,
            zone: CtZone::Immediate(0),
            recirc_table: None,
            alg: 0,
            actions: Vec::new(),
        };
        let mut exec = Vec::new();
        let mut rest = p.value;
        while let Some(q) = next_pair(&mut rest)? {
            match q.key {
                "commit" => ct.flags |= 1,
                "force" => ct.flags |= 2,
                "table" => {
                    let t = u8(q.value, "a table number")?;
                    if t == 255 {
                        return fault(q.value, "a table number from 0 to 254");
                    }
                    ct.recirc_table = Some(t);
                }
                "zone" => {
                    ct.zone = match parse_u128(q.value) {
                        Some(_) => CtZone::Immediate(u16(q.value, "a zone")?),
                        None => {
                            let s = subfield(q.value)?;
                            // The wire has 4 bytes for it, which an experimenter's id does not fit into.
                            if s.field.def().short_header() >> 16 == u32::from(CLASS_EXPERIMENTER) {
                                return fault(q.value, "a zone, or a field that has an id of 4 bytes");
                            }
                            CtZone::Field(s)
                        }
                    }
                }
                "alg" => {
                    ct.alg = match ALGS.iter().find(|(n, _)| *n == q.value) {
                        Some((_, a)) => *a,
                        None => u16(q.value, "ftp, tftp or a port")?,
                    }
                }
                "nat" => ct.actions.push(nat(&q)?),
                "exec" => exec.extend(self.list(q.value, depth + 1)?),
                _ => {
                    let known = ["commit", "force", "table", "zone", "alg", "nat", "exec"];
                    return fault_near(
                        q.key,
                        "commit, force, table, zone, alg, nat or exec",
                        known.into_iter(),
                    );
                }
            }
        }
        if ct.flags & 3 == 2 {
            return fault(p.value, "commit with force");
        }
        ct.actions.extend(exec);
        Ok(Action::Ct(Box::new(ct)))
    }
}

fn unknown<T>(word: &str) -> Res<'_, T> {
    fault_near(word, "an action, or a port to output to", WORDS.iter().copied())
}

fn bare<'a>(p: &Pair<'a>, a: Action) -> Res<'a, Action> {
    p.alone().map(|()| a)
}

/// Output to a port; to the controller the whole packet.
fn to(port: PortNo) -> Action {
    Action::Output { port, max_len: if port == PortNo::CONTROLLER { 0xffff } else { 0 } }
}

fn arrow<'a>(p: &Pair<'a>) -> Res<'a, (&'a str, &'a str)> {
    match p.need("VALUE->FIELD")?.split_once("->") {
        Some((a, b)) => Ok((a.trim(), b.trim())),
        None => fault(p.value, "VALUE->FIELD"),
    }
}

fn settable(at: &str, f: Field) -> Res<'_, ()> {
    if f.def().settable {
        Ok(())
    } else {
        fault(at, format!("a field that can be written ({f} is read-only)"))
    }
}

fn set_masked(field: Field, value: u128, mask: u128) -> Action {
    if mask == field.def().full_mask() {
        Action::SetField(Oxm::Known(OxmField { field, value, mask: None }))
    } else {
        Action::RegLoad2(Oxm::Known(OxmField { field, value, mask: Some(mask) }))
    }
}

/// A constant of `n_bits`, big-endian, in whole 16-bit units as learn specs have it.
fn immediate(v: u128, n_bits: u16) -> Vec<u8> {
    let n = usize::from(n_bits.div_ceil(16)) * 2;
    v.to_be_bytes()[16 - n.min(16)..].to_vec()
}

fn metadata<'a>(p: &Pair<'a>) -> Res<'a, (u64, u64)> {
    let text = p.need("a value")?;
    Ok(match text.split_once('/') {
        Some((v, m)) => (u64(v, "a value of 64 bits")?, u64(m, "a mask of 64 bits")?),
        None => (u64(text, "a value of 64 bits")?, u64::MAX),
    })
}

/// `id=0x..,type=..,data=hex` of things we only carry.
fn raw(s: &str) -> Res<'_, (Option<u32>, u16, Vec<u8>)> {
    let (mut id, mut kind, mut data) = (None, 0, Vec::new());
    let mut rest = s;
    while let Some(q) = next_pair(&mut rest)? {
        match q.key {
            "id" => id = Some(u32(q.value, "an experimenter id")?),
            "type" => kind = u16(q.value, "a type")?,
            "data" => data = hex_bytes(q.value, "hexadecimal digits")?,
            _ => return fault(q.key, "id, type or data"),
        }
    }
    // Types and lengths are multiples of 8 bytes on the wire; type, length and experimenter id take 8, the first two 4.
    while data.len() % 8 != if id.is_some() { 0 } else { 4 } {
        data.push(0);
    }
    Ok((id, kind, data))
}

const REASONS: &[(&str, u8)] =
    &[("no_match", 0), ("action", 1), ("invalid_ttl", 2), ("action_set", 3), ("group", 4), ("packet_out", 5)];

/// The word for a packet-in reason.
pub(crate) fn reason_word(r: u8) -> Option<&'static str> {
    REASONS.iter().find(|(_, v)| *v == r).map(|(n, _)| *n)
}

fn controller<'a>(p: &Pair<'a>) -> Res<'a, Action> {
    let plain = |max_len| Action::Output { port: PortNo::CONTROLLER, max_len };
    match p.join {
        Join::None => return Ok(plain(0xffff)),
        Join::Paren => {}
        _ => return Ok(plain(u16(p.need("bytes to send")?, "bytes to send")?)),
    }
    if p.value.trim().is_empty() {
        return Ok(plain(0xffff));
    }
    if let Some(n) = parse_u128(p.value).and_then(|n| u16::try_from(n).ok()) {
        return Ok(plain(n));
    }
    let mut c = ControllerAction { max_len: 0xffff, reason: 1, ..ControllerAction::default() };
    let mut rest = p.value;
    while let Some(q) = next_pair(&mut rest)? {
        match q.key {
            "max_len" => c.max_len = u16(q.value, "bytes to send")?,
            "id" => c.controller_id = u16(q.value, "a controller id")?,
            "reason" => match REASONS.iter().find(|(n, _)| *n == q.value) {
                Some((_, r)) => c.reason = *r,
                None => {
                    c.reason = u8(q.value, "no_match, action, invalid_ttl, action_set, group, packet_out")?
                }
            },
            "userdata" => c.userdata = hex_bytes(q.value, "hexadecimal digits")?,
            "pause" => c.pause = true,
            "meter_id" => c.meter_id = Some(u32(q.value, "a meter number")?),
            _ => {
                let known = ["max_len", "id", "reason", "userdata", "pause", "meter_id"];
                return fault_near(
                    q.key,
                    "max_len, id, reason, userdata, pause or meter_id",
                    known.into_iter(),
                );
            }
        }
    }
    if (c.controller_id, c.reason, c.pause, c.meter_id) == (0, 1, false, None) && c.userdata.is_empty() {
        return Ok(plain(c.max_len));
    }
    Ok(Action::Controller(Box::new(c)))
}

const HASH_FIELDS: &[(&str, u16)] = &[
    ("eth_src", 0),
    ("symmetric_l4", 1),
    ("symmetric_l3l4", 2),
    ("symmetric_l3l4+udp", 3),
    ("nw_src", 4),
    ("nw_dst", 5),
    ("symmetric_l3", 6),
];
const MULTIPATH_ALGORITHMS: &[(&str, u16)] =
    &[("modulo_n", 0), ("hash_threshold", 1), ("hrw", 2), ("iter_hash", 3)];
const BUNDLE_ALGORITHMS: &[(&str, u16)] = &[("active_backup", 0), ("hrw", 1)];
const ALGS: &[(&str, u16)] = &[("ftp", 21), ("tftp", 69)];

fn word_number<'a>(s: &'a str, table: &'static [(&'static str, u16)]) -> Res<'a, u16> {
    if let Some((_, v)) = table.iter().find(|(n, _)| *n == s) {
        return Ok(*v);
    }
    match parse_u128(s).and_then(|v| u16::try_from(v).ok()) {
        Some(v) => Ok(v),
        None => {
            let words: Vec<&str> = table.iter().map(|(n, _)| *n).collect();
            fault_near(s, format!("one of {}", words.join(", ")), table.iter().map(|(n, _)| *n))
        }
    }
}

fn push_word(out: &mut String, v: u16, table: &[(&str, u16)]) {
    match table.iter().find(|(_, n)| *n == v) {
        Some((n, _)) => out.push_str(n),
        None => push_dec(out, v.into()),
    }
}

fn multipath<'a>(p: &Pair<'a>) -> Res<'a, Action> {
    let parts = positional(p.value)?;
    let [fields, basis, algorithm, n_links, arg, dst] = parts[..] else {
        return fault(p.key, "multipath(FIELDS,BASIS,ALGORITHM,N_LINKS,ARG,FIELD)");
    };
    let n = number(n_links, 65536, "a number of links")?;
    if n == 0 {
        return fault(n_links, "at least one link");
    }
    let to = subfield(dst)?;
    if to.n_bits < 16 && n > 1 << to.n_bits {
        return fault(
            n_links,
            format!("at most {} links: the destination has {} bits", 1 << to.n_bits, to.n_bits),
        );
    }
    settable(dst, to.field)?;
    Ok(Action::Multipath(Box::new(Multipath {
        fields: word_number(fields, HASH_FIELDS)?,
        basis: u16(basis, "a hash basis")?,
        algorithm: word_number(algorithm, MULTIPATH_ALGORITHMS)?,
        max_link: (n - 1) as u16,
        arg: u32(arg, "an argument")?,
        dst: to,
    })))
}

fn conjunction<'a>(p: &Pair<'a>) -> Res<'a, Action> {
    let form = "conjunction(ID,CLAUSE/CLAUSES)";
    let parts = positional(p.value)?;
    let [id, clauses] = parts[..] else { return fault(p.key, form) };
    let Some((k, n)) = clauses.split_once('/') else { return fault(clauses, form) };
    let n_clauses = u8(n, "a number of clauses")?;
    if !(2..=64).contains(&n_clauses) {
        return fault(n, "2 to 64 clauses");
    }
    let clause = u8(k, "a clause")?;
    if clause == 0 || clause > n_clauses {
        return fault(k, format!("a clause from 1 to {n_clauses}"));
    }
    Ok(Action::Conjunction { id: u32(id, "a conjunction id")?, clause: clause - 1, n_clauses })
}

fn fin_timeout<'a>(p: &Pair<'a>) -> Res<'a, Action> {
    let (mut idle, mut hard) = (0, 0);
    let mut rest = p.value;
    while let Some(q) = next_pair(&mut rest)? {
        match q.key {
            "idle_timeout" => idle = u16(q.value, "seconds")?,
            "hard_timeout" => hard = u16(q.value, "seconds")?,
            _ => {
                let known = ["idle_timeout", "hard_timeout"];
                return fault_near(q.key, "idle_timeout or hard_timeout", known.into_iter());
            }
        }
    }
    Ok(Action::FinTimeout { idle, hard })
}

fn nat<'a>(p: &Pair<'a>) -> Res<'a, Action> {
    let mut n = NatAction::default();
    let mut rest = p.value;
    while let Some(q) = next_pair(&mut rest)? {
        match q.key {
            "src" | "dst" => {
                n.flags |= if q.key == "src" { 1 } else { 2 };
                if !q.value.is_empty() {
                    nat_range(q.value, &mut n)?;
                }
            }
            "persistent" => n.flags |= 4,
            "hash" => n.flags |= 8,
            "random" => n.flags |= 16,
            _ => {
                let known = ["src", "dst", "persistent", "hash", "random"];
                return fault_near(q.key, "src, dst, persistent, hash or random", known.into_iter());
            }
        }
    }
    if n.flags & 3 == 3 {
        return fault(p.value, "src or dst, not both");
    }
    Ok(Action::Nat(Box::new(n)))
}

/// `ADDR[-ADDR][:PORT[-PORT]]`; IPv6 addresses in brackets where a port or range follows.
fn nat_range<'a>(s: &'a str, n: &mut NatAction) -> Res<'a, ()> {
    fn v6<'a>(s: &'a str) -> Res<'a, (std::net::Ipv6Addr, &'a str)> {
        let (addr, rest) = match s.strip_prefix('[') {
            Some(t) => match t.split_once(']') {
                Some(p) => p,
                None => return fault(s, "a closing bracket"),
            },
            None => (s, &s[s.len()..]),
        };
        addr.parse().map_or_else(|_| fault(addr, "an IP address"), |a| Ok((a, rest)))
    }
    let mut rest = s;
    if !s.starts_with(':') {
        let end = s.find([':', '-']).unwrap_or(s.len());
        if let Ok(a) = s[..end].parse() {
            n.ipv4_min = Some(a);
            rest = &s[end..];
            if let Some(t) = rest.strip_prefix('-') {
                let end = t.find(':').unwrap_or(t.len());
                match t[..end].parse() {
                    Ok(b) if a <= b => n.ipv4_max = Some(b),
                    _ => return fault(&t[..end], "an IPv4 address not below the first"),
                }
                rest = &t[end..];
            }
        } else {
            let (a, r) = v6(s)?;
            n.ipv6_min = Some(a);
            rest = r;
            if let Some(t) = rest.strip_prefix('-') {
                let (b, r) = v6(t)?;
                if b < a {
                    return fault(t, "an IPv6 address not below the first");
                }
                n.ipv6_max = Some(b);
                rest = r;
            }
        }
    }
    if rest.is_empty() {
        return Ok(());
    }
    let Some(ports) = rest.strip_prefix(':') else { return fault(rest, ":PORT or the end") };
    match ports.split_once('-') {
        Some((a, b)) => {
            let (lo, hi) = (u16(a, "a port")?, u16(b, "a port")?);
            if hi < lo {
                return fault(b, "a port not below the first");
            }
            n.port_min = Some(lo);
            n.port_max = Some(hi);
        }
        None => n.port_min = Some(u16(ports, "a port")?),
    }
    Ok(())
}

/// Packet types `encap` knows by name: name, type.
const ENCAPS: &[(&str, u32)] =
    &[("ethernet", 0), ("nsh", 0x1_894f), ("mpls", 0x1_8847), ("mpls_mc", 0x1_8848)];
/// Property class of NSH, and its properties.
const NSH_CLASS: u16 = 4;

fn encap<'a>(p: &Pair<'a>) -> Res<'a, Action> {
    let mut rest = p.value;
    let Some(q) = next_pair(&mut rest)? else { return fault(p.key, "encap(HEADER)") };
    if q.key == "packet_type" {
        let packet_type = u32(q.value, "a packet type")?;
        let props = match next_pair(&mut rest)? {
            Some(q) if q.key == "props" => hex_bytes(q.value, "hexadecimal digits")?,
            Some(q) => return fault(q.key, "props=HEX"),
            None => Vec::new(),
        };
        return Ok(Action::Encap { packet_type, props });
    }
    let Some((_, packet_type)) = ENCAPS.iter().find(|(n, _)| *n == q.key) else {
        return fault_near(q.key, "ethernet, nsh, mpls or mpls_mc", ENCAPS.iter().map(|e| e.0));
    };
    let mut props = Vec::new();
    let mut inner = q.value;
    while let Some(r) = next_pair(&mut inner)? {
        match r.key {
            "md_type" => {
                let t = u8(r.value, "1 or 2")?;
                props.extend([0, NSH_CLASS as u8, 1, 5, t, 0, 0, 0]);
            }
            "tlv" => {
                let parts = positional(r.value)?;
                let [class, kind, data] = parts[..] else { return fault(r.value, "tlv(CLASS,TYPE,0xDATA)") };
                let (class, kind) = (u16(class, "a class")?, u8(kind, "a type")?);
                let data = hex_bytes(data.strip_prefix("0x").unwrap_or(data), "hexadecimal digits")?;
                if data.len() > 247 {
                    return fault(r.value, "at most 247 bytes");
                }
                let start = props.len();
                props.extend([0, NSH_CLASS as u8, 2, 8 + data.len() as u8]);
                props.extend(class.to_be_bytes());
                props.extend([kind, data.len() as u8]);
                props.extend(data);
                while !(props.len() - start).is_multiple_of(8) {
                    props.push(0);
                }
            }
            _ => return fault_near(r.key, "md_type or tlv", ["md_type", "tlv"].into_iter()),
        }
    }
    Ok(Action::Encap { packet_type: *packet_type, props })
}

fn push_encap(out: &mut String, packet_type: u32, props: &[u8]) {
    let Some((name, _)) = ENCAPS.iter().find(|(_, t)| *t == packet_type) else {
        let _ = write!(out, "encap(packet_type={packet_type:#x}");
        if !props.is_empty() {
            out.push_str(",props=");
            push_bytes(out, props, "");
        }
        return out.push(')');
    };
    let mut words = String::new();
    let mut rest = props;
    while !rest.is_empty() {
        match *rest {
            [0, 4, 1, 5, t, 0, 0, 0, ..] => {
                let _ = write!(words, "md_type={t},");
                rest = &rest[8..];
            }
            [0, 4, 2, len, c0, c1, kind, n, ..]
                if len == 8u8.wrapping_add(n)
                    && n <= 247
                    && rest.len() >= usize::from(len).next_multiple_of(8)
                    && rest[usize::from(len)..usize::from(len).next_multiple_of(8)]
                        .iter()
                        .all(|b| *b == 0) =>
            {
                let _ = write!(words, "tlv(0x{:04x},{kind},0x", u16::from_be_bytes([c0, c1]));
                push_bytes(&mut words, &rest[8..usize::from(len)], "");
                words.push_str("),");
                rest = &rest[usize::from(len).next_multiple_of(8)..];
            }
            _ => {
                let _ = write!(out, "encap(packet_type={packet_type:#x},props=");
                push_bytes(out, props, "");
                return out.push(')');
            }
        }
    }
    let _ = write!(out, "encap({name}");
    if !words.is_empty() {
        words.pop();
        let _ = write!(out, "({words})");
    }
    out.push(')');
}

/// "As found": decap without a packet type.
const DECAP_ANY: u32 = 0xfffe;

fn decap<'a>(p: &Pair<'a>) -> Res<'a, Action> {
    let mut rest = p.value;
    let Some(q) = next_pair(&mut rest)? else { return Ok(Action::Decap { packet_type: DECAP_ANY }) };
    if q.key != "packet_type" || q.join != Join::Paren {
        return fault(q.key, "packet_type(ns=N,type=T)");
    }
    let (mut ns, mut kind) = (0, 0);
    let mut inner = q.value;
    while let Some(r) = next_pair(&mut inner)? {
        match r.key {
            "ns" => ns = u16(r.value, "a name space")?,
            "type" => kind = u16(r.value, "a type")?,
            _ => return fault(r.key, "ns or type"),
        }
    }
    Ok(Action::Decap { packet_type: u32::from(ns) << 16 | u32::from(kind) })
}

/// Actions in words, `drop` if there are none.
pub fn print_actions(actions: &[Action]) -> String {
    let mut out = String::new();
    write_actions(&mut out, actions, &NoNames);
    out
}

/// Appends actions in words, `drop` if there are none.
pub fn write_actions(out: &mut String, actions: &[Action], names: &dyn PortNames) {
    if actions.is_empty() {
        return out.push_str("drop");
    }
    for (i, a) in actions.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_action(out, a, names);
    }
}

/// Instructions in words, `drop` if there are none.
pub fn print_instructions(instructions: &[Instruction]) -> String {
    let mut out = String::new();
    write_instructions(&mut out, instructions, &NoNames);
    out
}

/// Appends instructions in words, in the order of their execution; `drop` if there are none.
pub fn write_instructions(out: &mut String, instructions: &[Instruction], names: &dyn PortNames) {
    let start = out.len();
    let sorted = instructions.windows(2).all(|w| rank(&w[0]) <= rank(&w[1]));
    if sorted {
        instructions.iter().for_each(|i| push_instruction(out, i, names));
    } else {
        for r in 0..=6 {
            instructions.iter().filter(|i| rank(i) == r).for_each(|i| push_instruction(out, i, names));
        }
    }
    if out.len() == start {
        out.push_str("drop");
    } else {
        out.pop();
    }
}

fn push_instruction(out: &mut String, i: &Instruction, names: &dyn PortNames) {
    match i {
        Instruction::Meter(m) => {
            out.push_str("meter:");
            push_meter(out, *m);
        }
        Instruction::ApplyActions(a) if a.is_empty() => return,
        // Bare, it would be read as the instruction of that name.
        Instruction::ApplyActions(a) if a.iter().any(|a| matches!(a, Action::WriteMetadata { .. })) => {
            out.push_str("apply_actions(");
            write_actions(out, a, names);
            out.push(')');
        }
        Instruction::ApplyActions(a) => write_actions(out, a, names),
        Instruction::ClearActions => out.push_str("clear_actions"),
        Instruction::WriteActions(a) => {
            out.push_str("write_actions(");
            write_actions(out, a, names);
            out.push(')');
        }
        Instruction::WriteMetadata { metadata, mask } => push_write_metadata(out, *metadata, *mask),
        Instruction::GotoTable(t) => {
            out.push_str("goto_table:");
            push_dec(out, t.0.into());
        }
        Instruction::Experimenter { experimenter, body } => {
            push_raw(out, "instruction", Some(*experimenter), 0, body);
        }
        Instruction::Unknown { kind, body } => push_raw(out, "instruction", None, *kind, body),
    }
    out.push(',');
}

/// A meter's number, or the word for a virtual one.
pub(crate) fn push_meter(out: &mut String, m: MeterId) {
    match m {
        MeterId::SLOWPATH => out.push_str("slowpath"),
        MeterId::CONTROLLER => out.push_str("controller"),
        MeterId::ALL => out.push_str("all"),
        MeterId(n) => push_dec(out, n.into()),
    }
}

fn push_write_metadata(out: &mut String, metadata: u64, mask: u64) {
    out.push_str("write_metadata:");
    push_hex(out, metadata.into());
    if mask != u64::MAX {
        out.push('/');
        push_hex(out, mask.into());
    }
}

fn push_raw(out: &mut String, word: &str, id: Option<u32>, kind: u16, body: &[u8]) {
    match id {
        Some(id) => drop(write!(out, "{word}(id={id:#x}")),
        None => drop(write!(out, "{word}(type={kind}")),
    }
    if !body.is_empty() {
        out.push_str(",data=");
        push_bytes(out, body, "");
    }
    out.push(')');
}

fn push_set(out: &mut String, o: &Oxm, names: &dyn PortNames) {
    out.push_str("set_field:");
    match o {
        Oxm::Known(f) => {
            push_value(
                out,
                f.field.def(),
                f.value,
                f.mask.filter(|_| f.field.def().maskable == Maskable::Any),
                names,
            );
            out.push_str("->");
            out.push_str(set_name(f.field));
        }
        Oxm::Unknown(u) => push_unknown(out, u),
    }
}

/// Appends one action in words.
pub(crate) fn push_action(out: &mut String, a: &Action, names: &dyn PortNames) {
    let number = |out: &mut String, word: &str, v: u128| {
        out.push_str(word);
        push_dec(out, v);
    };
    match a {
        Action::Output { port: PortNo::CONTROLLER, max_len } => number(out, "CONTROLLER:", (*max_len).into()),
        Action::Output { port, .. } => {
            if !(PortNo::IN_PORT..=PortNo::LOCAL).contains(port) {
                out.push_str("output:");
            }
            push_port(out, *port, names);
        }
        Action::CopyTtlOut => out.push_str("copy_ttl_out"),
        Action::CopyTtlIn => out.push_str("copy_ttl_in"),
        Action::SetMplsTtl(t) => drop(write!(out, "set_mpls_ttl({t})")),
        Action::DecMplsTtl => out.push_str("dec_mpls_ttl"),
        Action::PushVlan(t) => drop(write!(out, "push_vlan:0x{t:04x}")),
        Action::PopVlan => out.push_str("pop_vlan"),
        Action::PushMpls(t) => drop(write!(out, "push_mpls:0x{t:04x}")),
        Action::PopMpls(t) => drop(write!(out, "pop_mpls:0x{t:04x}")),
        Action::SetQueue(q) => number(out, "set_queue:", (*q).into()),
        Action::Group(g) => number(out, "group:", g.0.into()),
        Action::SetNwTtl(t) => number(out, "mod_nw_ttl:", (*t).into()),
        Action::DecNwTtl => out.push_str("dec_ttl"),
        Action::SetField(o) | Action::RegLoad2(o) => push_set(out, o, names),
        Action::PushPbb(t) => drop(write!(out, "push_pbb:0x{t:04x}")),
        Action::PopPbb => out.push_str("pop_pbb"),
        Action::Experimenter { experimenter, body } => {
            push_raw(out, "experimenter", Some(*experimenter), 0, body)
        }
        Action::Unknown { kind, body } => push_raw(out, "unknown", None, *kind, body),
        Action::Resubmit { in_port, table: None, ct: false } => {
            out.push_str("resubmit:");
            push_port(out, in_port.unwrap_or(PortNo::IN_PORT), names);
        }
        Action::Resubmit { in_port, table, ct } => {
            out.push_str("resubmit(");
            if let Some(p) = in_port {
                push_port(out, *p, names);
            }
            out.push(',');
            if let Some(t) = table {
                push_dec(out, (*t).into());
            }
            out.push_str(if *ct { ",ct)" } else { ")" });
        }
        Action::RegMove { src, dst } => {
            out.push_str("move:");
            push_subfield(out, *src);
            out.push_str("->");
            push_subfield(out, *dst);
        }
        Action::RegLoad { dst, value } => {
            out.push_str("load:");
            push_hex(out, (*value).into());
            out.push_str("->");
            push_subfield(out, *dst);
        }
        Action::StackPush(s) => {
            out.push_str("push:");
            push_subfield(out, *s);
        }
        Action::StackPop(s) => {
            out.push_str("pop:");
            push_subfield(out, *s);
        }
        Action::OutputReg { src, .. } => {
            out.push_str("output:");
            push_subfield(out, *src);
        }
        Action::OutputTrunc { port, max_len } => {
            out.push_str("output(port=");
            push_port(out, *port, names);
            let _ = write!(out, ",max_len={max_len})");
        }
        Action::SetTunnel(id) => {
            out.push_str("set_tunnel:");
            push_hex(out, (*id).into());
        }
        Action::PopQueue => out.push_str("pop_queue"),
        Action::Multipath(m) => {
            out.push_str("multipath(");
            push_word(out, m.fields, HASH_FIELDS);
            let _ = write!(out, ",{},", m.basis);
            push_word(out, m.algorithm, MULTIPATH_ALGORITHMS);
            let _ = write!(out, ",{},{},", u32::from(m.max_link) + 1, m.arg);
            push_subfield(out, m.dst);
            out.push(')');
        }
        Action::Bundle(b) => {
            out.push_str(if b.dst.is_some() { "bundle_load(" } else { "bundle(" });
            push_word(out, b.fields, HASH_FIELDS);
            let _ = write!(out, ",{},", b.basis);
            push_word(out, b.algorithm, BUNDLE_ALGORITHMS);
            out.push_str(",ofport,");
            if let Some(d) = b.dst {
                push_subfield(out, d);
                out.push(',');
            }
            out.push_str("members:");
            for (i, p) in b.members.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_port(out, *p, names);
            }
            out.push(')');
        }
        Action::Learn(l) => push_learn(out, l, names),
        Action::Conjunction { id, clause, n_clauses } => {
            let _ = write!(out, "conjunction({id},{}/{n_clauses})", u16::from(*clause) + 1);
        }
        Action::Controller(c) => push_controller(out, c),
        Action::Note(bytes) => {
            out.push_str("note:");
            push_bytes(out, bytes, ".");
        }
        Action::Exit => out.push_str("exit"),
        Action::FinTimeout { idle, hard } => {
            out.push_str("fin_timeout(");
            let mut between = "";
            for (n, v) in [("idle_timeout", idle), ("hard_timeout", hard)] {
                if *v != 0 {
                    let _ = write!(out, "{between}{n}={v}");
                    between = ",";
                }
            }
            out.push(')');
        }
        Action::Sample(s) => {
            let _ = write!(
                out,
                "sample(probability={},collector_set_id={},obs_domain_id={},obs_point_id={}",
                s.probability, s.collector_set_id, s.obs_domain_id, s.obs_point_id
            );
            if let Some(p) = s.sampling_port {
                out.push_str(",sampling_port=");
                push_port(out, p, names);
            }
            match s.direction {
                1 => out.push_str(",ingress"),
                2 => out.push_str(",egress"),
                _ => {}
            }
            out.push(')');
        }
        Action::DecTtlCntIds(ids) => {
            out.push_str("dec_ttl(");
            for (i, id) in ids.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_dec(out, (*id).into());
            }
            out.push(')');
        }
        Action::WriteMetadata { metadata, mask } => push_write_metadata(out, *metadata, *mask),
        Action::Ct(c) => push_ct(out, c, names),
        Action::Nat(n) => push_nat(out, n),
        Action::CtClear => out.push_str("ct_clear"),
        Action::Clone(inner) => {
            out.push_str("clone(");
            write_actions(out, inner, names);
            out.push(')');
        }
        Action::CheckPktLarger { dst, pkt_len } => {
            let _ = write!(out, "check_pkt_larger({pkt_len})->");
            push_subfield(out, *dst);
        }
        Action::Encap { packet_type, props } => push_encap(out, *packet_type, props),
        Action::Decap { packet_type: DECAP_ANY } => out.push_str("decap()"),
        Action::Decap { packet_type } => {
            let (ns, kind) = (packet_type >> 16, packet_type & 0xffff);
            let _ = write!(out, "decap(packet_type(ns={ns},type=");
            push_hex(out, kind.into());
            out.push_str("))");
        }
        Action::DecNshTtl => out.push_str("dec_nsh_ttl"),
        Action::DeleteField(f) => {
            out.push_str("delete_field:");
            out.push_str(set_name(*f));
        }
    }
}

fn push_controller(out: &mut String, c: &ControllerAction) {
    if (c.controller_id, c.reason, c.pause, c.meter_id) == (0, 1, false, None) && c.userdata.is_empty() {
        out.push_str("CONTROLLER:");
        return push_dec(out, c.max_len.into());
    }
    let start = out.len();
    if c.reason != 1 {
        match reason_word(c.reason) {
            Some(w) => drop(write!(out, "reason={w},")),
            None => drop(write!(out, "reason={},", c.reason)),
        }
    }
    if c.max_len != 0xffff {
        let _ = write!(out, "max_len={},", c.max_len);
    }
    if c.controller_id != 0 {
        let _ = write!(out, "id={},", c.controller_id);
    }
    if !c.userdata.is_empty() {
        out.push_str("userdata=");
        push_bytes(out, &c.userdata, ".");
        out.push(',');
    }
    if c.pause {
        out.push_str("pause,");
    }
    if let Some(m) = c.meter_id {
        let _ = write!(out, "meter_id={m},");
    }
    out.pop();
    out.insert_str(start, "controller(");
    out.push(')');
}

fn push_learn(out: &mut String, l: &Learn, names: &dyn PortNames) {
    let _ = write!(out, "learn(table={}", l.table_id);
    for (n, v) in [
        ("idle_timeout", l.idle_timeout),
        ("hard_timeout", l.hard_timeout),
        ("fin_idle_timeout", l.fin_idle_timeout),
        ("fin_hard_timeout", l.fin_hard_timeout),
    ] {
        if v != 0 {
            let _ = write!(out, ",{n}={v}");
        }
    }
    if l.priority != 0x8000 {
        let _ = write!(out, ",priority={}", l.priority);
    }
    if l.flags & Learn::SEND_FLOW_REM != 0 {
        out.push_str(",send_flow_rem");
    }
    if l.flags & Learn::DELETE_LEARNED != 0 {
        out.push_str(",delete_learned");
    }
    if l.cookie != 0 {
        let _ = write!(out, ",cookie={:#x}", l.cookie);
    }
    if l.limit != 0 {
        let _ = write!(out, ",limit={}", l.limit);
    }
    if let Some(r) = l.result_dst {
        out.push_str(",result_dst=");
        push_subfield(out, r);
    }
    for s in &l.specs {
        out.push(',');
        let constant =
            |bytes: &[u8]| bytes.iter().rev().take(16).rev().fold(0u128, |v, b| v << 8 | u128::from(*b));
        match (&s.dst, &s.src) {
            (LearnDst::Match(d), LearnSrc::Immediate(b)) => {
                let (def, v) = (d.field.def(), constant(b));
                if d.offset == 0 && d.n_bits == def.bits && v <= def.full_mask() {
                    out.push_str(set_name(d.field));
                    out.push('=');
                    push_value(out, def, v, None, names);
                } else {
                    push_subfield(out, *d);
                    out.push('=');
                    push_hex(out, v);
                }
            }
            (LearnDst::Match(d), LearnSrc::Field(f)) => {
                push_subfield(out, *d);
                if d != f {
                    out.push('=');
                    push_subfield(out, *f);
                }
            }
            (LearnDst::Load(d), src) => {
                out.push_str("load:");
                match src {
                    LearnSrc::Immediate(b) => push_hex(out, constant(b)),
                    LearnSrc::Field(f) => push_subfield(out, *f),
                }
                out.push_str("->");
                push_subfield(out, *d);
            }
            (LearnDst::Output, LearnSrc::Field(f)) => {
                out.push_str("output:");
                push_subfield(out, *f);
            }
            (LearnDst::Output, LearnSrc::Immediate(b)) => {
                out.push_str("output:");
                push_hex(out, constant(b));
            }
        }
    }
    out.push(')');
}

fn push_ct(out: &mut String, c: &CtAction, names: &dyn PortNames) {
    out.push_str("ct(");
    let start = out.len();
    if c.flags & 1 != 0 {
        out.push_str("commit,");
    }
    if c.flags & 2 != 0 {
        out.push_str("force,");
    }
    if let Some(t) = c.recirc_table {
        let _ = write!(out, "table={t},");
    }
    match c.zone {
        CtZone::Immediate(0) => {}
        CtZone::Immediate(z) => drop(write!(out, "zone={z},")),
        CtZone::Field(f) => {
            out.push_str("zone=");
            push_subfield(out, f);
            out.push(',');
        }
    }
    for n in &c.actions {
        if let Action::Nat(n) = n {
            push_nat(out, n);
            out.push(',');
        }
    }
    if c.actions.iter().any(|a| !matches!(a, Action::Nat(_))) {
        out.push_str("exec(");
        for a in c.actions.iter().filter(|a| !matches!(a, Action::Nat(_))) {
            push_action(out, a, names);
            out.push(',');
        }
        out.pop();
        out.push_str("),");
    }
    if c.alg != 0 {
        out.push_str("alg=");
        push_word(out, c.alg, ALGS);
        out.push(',');
    }
    if out.len() > start {
        out.pop();
    }
    out.push(')');
}

fn push_nat(out: &mut String, n: &NatAction) {
    out.push_str("nat");
    if *n == NatAction::default() {
        return;
    }
    out.push('(');
    let start = out.len();
    if n.flags & 3 != 0 {
        out.push_str(if n.flags & 1 != 0 { "src" } else { "dst" });
        let ports = n.port_min.is_some();
        if let Some(a) = n.ipv4_min {
            let _ = write!(out, "={a}");
            if let Some(b) = n.ipv4_max {
                let _ = write!(out, "-{b}");
            }
        } else if let Some(a) = n.ipv6_min {
            let (open, close) = if ports || n.ipv6_max.is_some() { ("[", "]") } else { ("", "") };
            let _ = write!(out, "={open}{a}{close}");
            if let Some(b) = n.ipv6_max {
                let _ = write!(out, "-[{b}]");
            }
        } else if ports {
            out.push('=');
        }
        if let Some(p) = n.port_min {
            let _ = write!(out, ":{p}");
            if let Some(q) = n.port_max {
                let _ = write!(out, "-{q}");
            }
        }
        out.push(',');
    }
    for (bit, word) in [(4, "persistent,"), (8, "hash,"), (16, "random,")] {
        if n.flags & bit != 0 {
            out.push_str(word);
        }
    }
    if out.len() > start {
        out.pop();
    }
    out.push(')');
}
