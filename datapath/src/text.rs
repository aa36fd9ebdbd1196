//! The datapath's own notation, Open vSwitch's: `in_port(1),eth(src=…,dst=…),eth_type(0x0800),ipv4(…),tcp(src=…,dst=…)`, for keys,
//! keys with masks, and actions. What prints also parses.
//!
//! A field that no bit of the mask covers is left out; a partly masked one is `value/mask`. A VLAN tag is written as OVS does:
//! `eth_type(0x8100),vlan(vid=5,pcp=0),encap(eth_type(0x0800),…)`. Ours besides: `pbb(isid=…,uca=…)`, `ipv6_exthdr(0x…)`, `nd` inside `icmpv6`
//! packets, and the actions `dec_ttl`, `dec_mpls_ttl`, `copy_ttl_out`, `copy_ttl_in`, `push_pbb(isid=…)`, `pop_pbb`, `set_queue(…)`.

use crate::action::{DpAction, DpMeterId, KeyPatch, PortId};
use crate::extract::{eth_type, ip_proto};
use crate::flow_key::{off, FlowKey, FlowMask, MPLS_DEPTH};
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {what}")]
pub struct TextError {
    /// Where, counted from 1.
    pub column: usize,
    /// What was found and what would be right.
    pub what: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Dec,
    Hex,
    Mac,
    V4,
    V6,
    Frag,
}

struct Sub {
    name: &'static str,
    at: usize,
    len: usize,
    kind: Kind,
}

const fn sub(name: &'static str, at: usize, len: usize, kind: Kind) -> Sub {
    Sub { name, at, len, kind }
}

const ETH: &[Sub] = &[sub("src", off::ETH_SRC, 6, Kind::Mac), sub("dst", off::ETH_DST, 6, Kind::Mac)];
const IPV4: &[Sub] = &[
    sub("src", off::IPV4_SRC, 4, Kind::V4),
    sub("dst", off::IPV4_DST, 4, Kind::V4),
    sub("proto", off::IP_PROTO, 1, Kind::Dec),
    sub("tos", off::IP_TOS, 1, Kind::Hex),
    sub("ttl", off::IP_TTL, 1, Kind::Dec),
    sub("frag", off::IP_FRAG, 1, Kind::Frag),
];
const IPV6: &[Sub] = &[
    sub("src", off::IPV6_SRC, 16, Kind::V6),
    sub("dst", off::IPV6_DST, 16, Kind::V6),
    sub("label", off::IPV6_FLABEL, 4, Kind::Hex),
    sub("proto", off::IP_PROTO, 1, Kind::Dec),
    sub("tclass", off::IP_TOS, 1, Kind::Hex),
    sub("hlimit", off::IP_TTL, 1, Kind::Dec),
    sub("frag", off::IP_FRAG, 1, Kind::Frag),
];
const ARP: &[Sub] = &[
    sub("sip", off::IPV4_SRC, 4, Kind::V4),
    sub("tip", off::IPV4_DST, 4, Kind::V4),
    sub("op", off::TP_SRC, 2, Kind::Dec),
    sub("sha", off::ARP_SHA, 6, Kind::Mac),
    sub("tha", off::ARP_THA, 6, Kind::Mac),
];
const PORTS: &[Sub] = &[sub("src", off::TP_SRC, 2, Kind::Dec), sub("dst", off::TP_DST, 2, Kind::Dec)];
const ICMP: &[Sub] = &[sub("type", off::TP_SRC, 2, Kind::Dec), sub("code", off::TP_DST, 2, Kind::Dec)];
const ND: &[Sub] = &[
    sub("target", off::ND_TARGET, 16, Kind::V6),
    sub("sll", off::ARP_SHA, 6, Kind::Mac),
    sub("tll", off::ARP_THA, 6, Kind::Mac),
];
const PBB: &[Sub] = &[sub("isid", off::PBB_ISID, 4, Kind::Hex), sub("uca", off::PBB_UCA, 1, Kind::Dec)];
const TUNNEL: &[Sub] = &[
    sub("tun_id", off::TUNNEL_ID, 8, Kind::Hex),
    sub("src", off::TUN_SRC, 4, Kind::V4),
    sub("dst", off::TUN_DST, 4, Kind::V4),
];
/// Fields written as `name(value)`.
const SINGLE: &[Sub] = &[
    sub("recirc_id", off::RECIRC_ID, 4, Kind::Hex),
    sub("dp_hash", off::DP_HASH, 4, Kind::Hex),
    sub("skb_mark", off::PKT_MARK, 4, Kind::Hex),
    sub("ct_state", off::CT_STATE, 4, Kind::Hex),
    sub("ct_zone", off::CT_ZONE, 2, Kind::Hex),
    sub("ct_mark", off::CT_MARK, 4, Kind::Hex),
    sub("ct_label", off::CT_LABEL, 16, Kind::Hex),
    sub("in_port", off::IN_PORT, 4, Kind::Dec),
    sub("ipv6_exthdr", off::IPV6_EXTHDR, 2, Kind::Hex),
    sub("tcp_flags", off::TCP_FLAGS, 2, Kind::Hex),
    sub("eth_type", off::ETH_TYPE, 2, Kind::Hex),
];
const GROUPS: &[(&str, &[Sub])] = &[
    ("eth", ETH),
    ("ipv4", IPV4),
    ("ipv6", IPV6),
    ("arp", ARP),
    ("rarp", ARP),
    ("tcp", PORTS),
    ("udp", PORTS),
    ("sctp", PORTS),
    ("l4", PORTS),
    ("icmp", ICMP),
    ("icmpv6", ICMP),
    ("nd", ND),
    ("pbb", PBB),
    ("tunnel", TUNNEL),
];
/// Parts of a label stack entry: name, shift, width.
const LSE: &[(&str, u32, u32)] = &[("label", 12, 20), ("tc", 9, 3), ("ttl", 0, 8), ("bos", 8, 1)];

/// Widths in bits where a field is narrower than its bytes.
fn width(s: &Sub) -> u32 {
    match s.at {
        off::IPV6_FLABEL => 20,
        off::PBB_ISID => 24,
        off::PBB_UCA => 1,
        off::TCP_FLAGS => 12,
        off::IPV6_EXTHDR => 9,
        off::TP_SRC | off::TP_DST if matches!(s.name, "type" | "code") => 8,
        _ => s.len as u32 * 8,
    }
}

fn get(k: &FlowKey, s: &Sub) -> u128 {
    k.bytes()[s.at..s.at + s.len].iter().fold(0, |v, b| v << 8 | u128::from(*b))
}

fn put(k: &mut FlowKey, s: &Sub, v: u128) {
    let b = v.to_be_bytes();
    k.bytes_mut()[s.at..s.at + s.len].copy_from_slice(&b[16 - s.len..]);
}

fn ones(bits: u32) -> u128 {
    if bits >= 128 {
        u128::MAX
    } else {
        (1 << bits) - 1
    }
}

fn mac(v: u128) -> String {
    let b = (v as u64).to_be_bytes();
    b[2..].iter().map(|x| format!("{x:02x}")).collect::<Vec<_>>().join(":")
}

fn value(kind: Kind, v: u128) -> String {
    match kind {
        Kind::Dec => v.to_string(),
        Kind::Hex if v == 0 => "0".into(),
        Kind::Hex => format!("{v:#x}"),
        Kind::Mac => mac(v),
        Kind::V4 => Ipv4Addr::from(v as u32).to_string(),
        Kind::V6 => Ipv6Addr::from(v).to_string(),
        Kind::Frag => match v {
            0 => "no".into(),
            1 => "first".into(),
            3 => "later".into(),
            _ => format!("{v:#x}"),
        },
    }
}

fn masked_value(s: &Sub, v: u128, m: u128) -> String {
    let full = ones(width(s));
    if m & full == full {
        if s.at == off::ETH_TYPE {
            return format!("0x{v:04x}");
        }
        return value(s.kind, v);
    }
    let v = match s.kind {
        Kind::Frag => format!("{:#x}", v & m),
        k => value(k, v & m),
    };
    let m = match s.kind {
        Kind::Dec | Kind::Hex | Kind::Frag => format!("{m:#x}"),
        k => value(k, m),
    };
    format!("{v}/{m}")
}

struct Printer<'a> {
    key: &'a FlowKey,
    mask: &'a FlowMask,
    out: String,
}

impl Printer<'_> {
    fn comma(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with('(') {
            self.out.push(',');
        }
    }
    fn single(&mut self, name: &str) {
        let Some(s) = SINGLE.iter().find(|s| s.name == name) else { return };
        let m = get(self.mask, s);
        if m != 0 {
            self.comma();
            let v = masked_value(s, get(self.key, s), m);
            let _ = write!(self.out, "{name}({v})");
        }
    }
    fn group(&mut self, name: &str) {
        let Some((_, subs)) = GROUPS.iter().find(|(n, _)| *n == name) else { return };
        let parts: Vec<String> = subs
            .iter()
            .filter(|s| get(self.mask, s) != 0)
            .map(|s| format!("{}={}", s.name, masked_value(s, get(self.key, s), get(self.mask, s))))
            .collect();
        if !parts.is_empty() {
            self.comma();
            let _ = write!(self.out, "{name}({})", parts.join(","));
        }
    }
    fn vlan(&mut self, tci_at: usize, tpid_at: usize) -> bool {
        let (v, m) = (self.key.u16(tci_at), self.mask.u16(tci_at));
        if m == 0 || v & m == 0 {
            return false;
        }
        let (tpid, tpid_mask) = (self.key.u16(tpid_at), self.mask.u16(tpid_at));
        self.comma();
        let tpid = if tpid & tpid_mask == 0 { eth_type::VLAN } else { tpid };
        let _ = write!(self.out, "eth_type(0x{tpid:04x}),vlan({})", tci_text(v, m));
        true
    }
    fn mpls(&mut self) {
        for n in 0..MPLS_DEPTH {
            let at = off::MPLS_LSE + n * 4;
            let (v, m) = (self.key.u32(at), self.mask.u32(at));
            if m == 0 {
                continue;
            }
            self.comma();
            self.out.push_str(&format!("mpls({}", if n > 0 { format!("depth={n},") } else { String::new() }));
            self.out.push_str(&lse_text(v, m));
            self.out.push(')');
        }
    }
    fn flow(&mut self) {
        for s in ["recirc_id", "dp_hash", "skb_mark", "ct_state", "ct_zone", "ct_mark", "ct_label"] {
            self.single(s);
        }
        self.group("tunnel");
        self.single("in_port");
        self.group("eth");
        let mut open = 0;
        for (tci, tpid) in [(off::VLAN0_TCI, off::VLAN0_TPID), (off::VLAN1_TCI, off::VLAN1_TPID)] {
            if self.vlan(tci, tpid) {
                self.out.push_str(",encap(");
                open += 1;
            }
        }
        self.single("eth_type");
        self.l3(self.key.u16(off::ETH_TYPE) & self.mask.u16(off::ETH_TYPE));
        for _ in 0..open {
            self.out.push(')');
        }
    }
    fn l3(&mut self, ty: u16) {
        match ty {
            eth_type::IPV4 => self.group("ipv4"),
            eth_type::IPV6 => {
                self.group("ipv6");
                self.single("ipv6_exthdr");
            }
            eth_type::ARP => return self.group("arp"),
            eth_type::RARP => return self.group("rarp"),
            eth_type::MPLS | eth_type::MPLS_MC => return self.mpls(),
            eth_type::PBB => return self.group("pbb"),
            _ => return,
        }
        match self.key.byte(off::IP_PROTO) & self.mask.byte(off::IP_PROTO) {
            ip_proto::TCP => {
                self.group("tcp");
                self.single("tcp_flags");
            }
            ip_proto::UDP => self.group("udp"),
            ip_proto::SCTP => self.group("sctp"),
            ip_proto::ICMP if ty == eth_type::IPV4 => self.group("icmp"),
            ip_proto::ICMPV6 if ty == eth_type::IPV6 => {
                self.group("icmpv6");
                self.group("nd");
            }
            _ => {}
        }
    }
}

fn tci_text(v: u16, m: u16) -> String {
    let part = |name: &str, v: u16, m: u16, full: u16| match m {
        0 => String::new(),
        m if m == full => format!("{name}={v},"),
        m => format!("{name}={}/{m:#x},", v & m),
    };
    let mut t = part("vid", v & 0xfff, m & 0xfff, 0xfff) + &part("pcp", v >> 13, m >> 13, 7);
    if m & 0x1000 != 0 && v & 0x1000 == 0 {
        t.push_str("cfi=0,");
    }
    if t.is_empty() {
        return "cfi=1".into();
    }
    t.pop();
    t
}

fn lse_text(v: u32, m: u32) -> String {
    let parts: Vec<String> = LSE
        .iter()
        .filter_map(|(name, shift, bits)| {
            let full = (1u32 << bits) - 1;
            let (v, m) = (v >> shift & full, m >> shift & full);
            match m {
                0 => None,
                m if m == full => Some(format!("{name}={v}")),
                m => Some(format!("{name}={}/{m:#x}", v & m)),
            }
        })
        .collect();
    parts.join(",")
}

/// A key and which of its bits count.
pub fn format_flow(key: &FlowKey, mask: &FlowMask) -> String {
    let mut p = Printer { key, mask, out: String::new() };
    p.flow();
    p.out
}

/// A mask that covers every field that a packet with this key has.
pub fn full_mask(key: &FlowKey) -> FlowMask {
    let mut m = FlowMask::ZERO;
    let mut add = |subs: &[Sub]| {
        for s in subs {
            let full = ones(width(s));
            put(&mut m, s, full);
        }
    };
    add(&SINGLE[..1]);
    add(SINGLE.iter().find(|s| s.name == "in_port").map(std::slice::from_ref).unwrap_or_default());
    add(SINGLE.iter().find(|s| s.name == "eth_type").map(std::slice::from_ref).unwrap_or_default());
    add(ETH);
    match key.u16(off::ETH_TYPE) {
        eth_type::IPV4 => add(IPV4),
        eth_type::IPV6 => {
            add(IPV6);
            if key.u16(off::IPV6_EXTHDR) != 0 {
                add(SINGLE
                    .iter()
                    .find(|s| s.name == "ipv6_exthdr")
                    .map(std::slice::from_ref)
                    .unwrap_or_default());
            }
        }
        eth_type::ARP | eth_type::RARP => add(ARP),
        eth_type::PBB => add(PBB),
        _ => {}
    }
    if matches!(key.u16(off::ETH_TYPE), eth_type::IPV4 | eth_type::IPV6) && key.byte(off::IP_FRAG) != 3 {
        match key.byte(off::IP_PROTO) {
            ip_proto::TCP => {
                add(PORTS);
                add(SINGLE
                    .iter()
                    .find(|s| s.name == "tcp_flags")
                    .map(std::slice::from_ref)
                    .unwrap_or_default());
            }
            ip_proto::UDP | ip_proto::SCTP => add(PORTS),
            ip_proto::ICMP | ip_proto::ICMPV6 => add(ICMP),
            _ => {}
        }
        if key.byte(off::IP_PROTO) == ip_proto::ICMPV6 && key.get::<16>(off::ND_TARGET) != [0; 16] {
            add(ND);
        }
    }
    for (tci, tpid) in [(off::VLAN0_TCI, off::VLAN0_TPID), (off::VLAN1_TCI, off::VLAN1_TPID)] {
        if key.u16(tci) != 0 {
            m.set(tci, [0xff, 0xff]);
            m.set(tpid, [0xff, 0xff]);
        }
    }
    if matches!(key.u16(off::ETH_TYPE), eth_type::MPLS | eth_type::MPLS_MC) {
        for n in 0..MPLS_DEPTH {
            m.set(off::MPLS_LSE + n * 4, [0xff; 4]);
            if key.u32(off::MPLS_LSE + n * 4) & 0x100 != 0 {
                break;
            }
        }
    }
    m
}

/// A packet's key: all the fields it has.
pub fn format_key(key: &FlowKey) -> String {
    format_flow(key, &full_mask(key))
}

/// Actions; `packet` (a key they apply to) tells what the rewritten headers are called. An empty list is `drop`.
pub fn format_actions(actions: &[DpAction], packet: &FlowKey) -> String {
    if actions.is_empty() {
        return "drop".into();
    }
    let words: Vec<String> = actions.iter().map(|a| format_action(a, packet)).collect();
    words.join(",")
}

fn format_action(a: &DpAction, packet: &FlowKey) -> String {
    match a {
        DpAction::Output(p) => p.0.to_string(),
        DpAction::SetQueue(Some(q)) => format!("set_queue({q})"),
        DpAction::SetQueue(None) => "pop_queue".into(),
        DpAction::Set(s) => {
            let mut p = Printer { key: &s.value, mask: &s.mask, out: String::new() };
            p.group("tunnel");
            p.group("eth");
            for (tci, tpid) in [(off::VLAN0_TCI, off::VLAN0_TPID), (off::VLAN1_TCI, off::VLAN1_TPID)] {
                let (v, m) = (s.value.u16(tci), s.mask.u16(tci) & 0xefff);
                if m != 0 {
                    p.comma();
                    let _ = write!(p.out, "vlan({})", tci_text(v, m));
                }
                if s.mask.u16(tpid) != 0 {
                    p.comma();
                    let _ = write!(p.out, "vlan_tpid({:#x})", s.value.u16(tpid));
                }
            }
            let any = |r: std::ops::Range<usize>| s.mask.bytes()[r].iter().any(|b| *b != 0);
            let ty = packet.u16(off::ETH_TYPE);
            p.single("eth_type");
            p.mpls();
            p.group("pbb");
            if ty == eth_type::ARP {
                p.group("arp");
            } else {
                if any(off::IPV6_SRC..off::IPV6_DST + 16)
                    || any(off::IPV6_FLABEL..off::IPV6_FLABEL + 4)
                    || ty == eth_type::IPV6
                {
                    p.group("ipv6");
                } else {
                    p.group("ipv4");
                }
                p.group(match packet.byte(off::IP_PROTO) {
                    ip_proto::TCP => "tcp",
                    ip_proto::UDP => "udp",
                    ip_proto::SCTP => "sctp",
                    ip_proto::ICMP => "icmp",
                    ip_proto::ICMPV6 => "icmpv6",
                    _ => "l4",
                });
                p.group("nd");
            }
            format!("set({})", p.out)
        }
        DpAction::DecNwTtl => "dec_ttl".into(),
        DpAction::PushVlan { tpid, tci } => {
            let tpid = if *tpid == eth_type::VLAN { String::new() } else { format!("tpid={tpid:#x},") };
            format!("push_vlan({tpid}vid={},pcp={})", tci & 0xfff, tci >> 13)
        }
        DpAction::PopVlan => "pop_vlan".into(),
        DpAction::PushMpls { eth_type, lse } => {
            format!("push_mpls({},eth_type={eth_type:#x})", lse_text(*lse, u32::MAX))
        }
        DpAction::PopMpls { eth_type } => format!("pop_mpls(eth_type={eth_type:#x})"),
        DpAction::DecMplsTtl => "dec_mpls_ttl".into(),
        DpAction::CopyTtlOut => "copy_ttl_out".into(),
        DpAction::CopyTtlIn => "copy_ttl_in".into(),
        DpAction::PushPbb { isid } => format!("push_pbb(isid={isid:#x})"),
        DpAction::PopPbb => "pop_pbb".into(),
        DpAction::Meter(m) => format!("meter({})", m.0),
        DpAction::Recirc(id) => format!("recirc({id:#x})"),
        DpAction::Trunc(n) => format!("trunc({n})"),
        DpAction::Userspace(t) => format!("userspace(token={t:#x})"),
        DpAction::Clone(inner) => format!("clone({})", format_actions(inner, packet)),
    }
}

/// `word(inside)` items of a list, with the column where each begins.
fn items(text: &str, base: usize) -> Result<Vec<(usize, &str, &str, usize)>, TextError> {
    let mut v = Vec::new();
    let (mut depth, mut start) = (0usize, 0usize);
    let bytes = text.as_bytes();
    for at in 0..=bytes.len() {
        match bytes.get(at) {
            Some(b'(') => {
                depth += 1;
                if depth > 8 {
                    return Err(TextError {
                        column: base + at + 1,
                        what: "parentheses nested too deeply".into(),
                    });
                }
            }
            Some(b')') if depth == 0 => {
                return Err(TextError { column: base + at + 1, what: "')' without '('".into() });
            }
            Some(b')') => depth -= 1,
            None if depth > 0 => {
                return Err(TextError { column: base + at + 1, what: "')' is missing".into() });
            }
            Some(b',' | b' ' | b'\t' | b'\n') | None if depth == 0 => {
                let word = &text[start..at];
                if !word.is_empty() {
                    match word.find('(') {
                        Some(open) if word.ends_with(')') => {
                            v.push((
                                base + start,
                                &word[..open],
                                &word[open + 1..word.len() - 1],
                                base + start + open + 1,
                            ));
                        }
                        Some(_) => {
                            return Err(TextError {
                                column: base + at,
                                what: format!("text after ')' in {word:?}"),
                            });
                        }
                        None => v.push((base + start, word, "", base + at)),
                    }
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    Ok(v)
}

fn number(text: &str, column: usize) -> Result<u128, TextError> {
    let r = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(h) => u128::from_str_radix(h, 16),
        None => text.parse(),
    };
    r.map_err(|_| TextError { column: column + 1, what: format!("{text:?} is not a number") })
}

fn parse_value(s: &Sub, text: &str, column: usize) -> Result<u128, TextError> {
    let bad = |what: &str| TextError { column: column + 1, what: format!("{text:?} is not {what}") };
    let v = match s.kind {
        Kind::Mac if text.contains(':') => {
            let parts: Option<Vec<u8>> = text.split(':').map(|p| u8::from_str_radix(p, 16).ok()).collect();
            match parts.as_deref() {
                Some(p @ [_, _, _, _, _, _]) => p.iter().fold(0, |v, b| v << 8 | u128::from(*b)),
                _ => return Err(bad("an Ethernet address")),
            }
        }
        Kind::V4 if text.contains('.') => {
            u128::from(u32::from(text.parse::<Ipv4Addr>().map_err(|_| bad("an IPv4 address"))?))
        }
        Kind::V6 => u128::from(text.parse::<Ipv6Addr>().map_err(|_| bad("an IPv6 address"))?),
        Kind::Frag => match text {
            "no" => 0,
            "first" => 1,
            "later" => 3,
            _ => number(text, column)?,
        },
        Kind::Dec | Kind::Hex | Kind::Mac | Kind::V4 => number(text, column)?,
    };
    if v & !ones(width(s)) != 0 {
        return Err(TextError {
            column: column + 1,
            what: format!("{text:?} does not fit {} ({} bits)", s.name, width(s)),
        });
    }
    Ok(v)
}

fn parse_masked(
    s: &Sub,
    text: &str,
    column: usize,
    k: &mut FlowKey,
    m: &mut FlowMask,
) -> Result<(), TextError> {
    let full = ones(width(s));
    let (v, mask) = match text.split_once('/') {
        None => (text, full),
        Some((v, mask)) => {
            let bits = width(s);
            let plen = matches!(s.kind, Kind::V4 | Kind::V6) && !mask.contains(['.', ':']);
            let mask = if plen {
                let n = number(mask, column)?;
                if n > u128::from(bits) {
                    return Err(TextError {
                        column: column + 1,
                        what: format!("prefix length {n} above {bits}"),
                    });
                }
                full & !ones(bits - n as u32)
            } else {
                parse_value(
                    &Sub { kind: if s.kind == Kind::Frag { Kind::Hex } else { s.kind }, ..*s },
                    mask,
                    column,
                )?
            };
            (v, mask)
        }
    };
    let v = parse_value(s, v, column)?;
    put(k, s, v & mask);
    put(m, s, mask);
    Ok(())
}

/// `a=b` pairs with the columns of the values.
fn pairs(text: &str, base: usize) -> Result<Vec<(&str, &str, usize)>, TextError> {
    let mut at = base;
    let mut v = Vec::new();
    for part in text.split(',') {
        let t = part.trim();
        if !t.is_empty() {
            let Some((name, value)) = t.split_once('=') else {
                return Err(TextError { column: at + 1, what: format!("{t:?}: expected name=value") });
            };
            v.push((name.trim(), value.trim(), at + name.len() + 1));
        }
        at += part.len() + 1;
    }
    Ok(v)
}

fn small(value: &str, column: usize, bits: u32) -> Result<(u32, u32), TextError> {
    let (v, m) = match value.split_once('/') {
        Some((v, m)) => (number(v, column)?, number(m, column)?),
        None => (number(value, column)?, ones(bits)),
    };
    if v > ones(bits) || m > ones(bits) {
        return Err(TextError { column: column + 1, what: format!("{value:?} does not fit {bits} bits") });
    }
    Ok((v as u32, m as u32))
}

fn parse_tci(inside: &str, base: usize) -> Result<(u16, u16), TextError> {
    let (mut v, mut m) = (0x1000u16, 0x1000u16);
    for (name, value, column) in pairs(inside, base)? {
        let (shift, bits) = match name {
            "vid" => (0, 12),
            "pcp" => (13, 3),
            "cfi" => (12, 1),
            _ => {
                return Err(TextError {
                    column: base + 1,
                    what: format!("{name:?} in vlan(): expected vid, pcp or cfi"),
                })
            }
        };
        let (x, xm) = small(value, column, bits)?;
        v = (v & !((ones(bits) as u16) << shift)) | ((x as u16) << shift);
        m |= (xm as u16) << shift;
    }
    Ok((v & m, m))
}

fn parse_lse(inside: &str, base: usize) -> Result<(usize, u32, u32, Option<u16>), TextError> {
    let (mut depth, mut v, mut m, mut ty) = (0, 0u32, 0u32, None);
    for (name, value, column) in pairs(inside, base)? {
        if name == "depth" {
            depth = number(value, column)?.min(MPLS_DEPTH as u128 - 1) as usize;
        } else if name == "eth_type" {
            ty = Some(small(value, column, 16)?.0 as u16);
        } else if let Some((_, shift, bits)) = LSE.iter().find(|(n, ..)| *n == name) {
            let (x, xm) = small(value, column, *bits)?;
            v |= (x & xm) << shift;
            m |= xm << shift;
        } else {
            return Err(TextError {
                column: base + 1,
                what: format!("{name:?} in mpls(): expected label, tc, ttl or bos"),
            });
        }
    }
    Ok((depth, v, m, ty))
}

fn parse_flow_into(
    text: &str,
    base: usize,
    level: usize,
    k: &mut FlowKey,
    m: &mut FlowMask,
) -> Result<(), TextError> {
    for (column, name, inside, inner) in items(text, base)? {
        if name == "encap" {
            if level >= 2 {
                return Err(TextError { column: column + 1, what: "more than two VLAN tags".into() });
            }
            // What was read as the Ethertype is the tag's.
            let (tci, tpid) = if level == 0 {
                (off::VLAN0_TCI, off::VLAN0_TPID)
            } else {
                (off::VLAN1_TCI, off::VLAN1_TPID)
            };
            let ty = k.get::<2>(off::ETH_TYPE);
            if m.u16(off::ETH_TYPE) != 0 {
                k.set(tpid, ty);
                m.set(tpid, [0xff, 0xff]);
            }
            k.set(off::ETH_TYPE, [0, 0]);
            m.set(off::ETH_TYPE, [0, 0]);
            if m.u16(tci) == 0 {
                k.set(tci, [0x10, 0]);
                m.set(tci, [0x10, 0]);
            }
            parse_flow_into(inside, inner, level + 1, k, m)?;
        } else if name == "vlan" {
            let (v, vm) = parse_tci(inside, inner)?;
            let tci = if level == 0 { off::VLAN0_TCI } else { off::VLAN1_TCI };
            k.set(tci, v.to_be_bytes());
            m.set(tci, vm.to_be_bytes());
        } else if name == "vlan_tpid" {
            let (v, _) = small(inside, inner, 16)?;
            k.set(off::VLAN0_TPID, (v as u16).to_be_bytes());
            m.set(off::VLAN0_TPID, [0xff, 0xff]);
        } else if name == "mpls" {
            let (n, v, vm, _) = parse_lse(inside, inner)?;
            k.set(off::MPLS_LSE + n * 4, v.to_be_bytes());
            m.set(off::MPLS_LSE + n * 4, vm.to_be_bytes());
        } else if name == "packet_type" {
            // Ethernet is the only one.
        } else if let Some(s) = SINGLE.iter().find(|s| s.name == name) {
            parse_masked(s, inside.trim(), inner, k, m)?;
        } else if let Some((_, subs)) = GROUPS.iter().find(|(n, _)| *n == name) {
            for (sub, value, at) in pairs(inside, inner)? {
                let Some(s) = subs.iter().find(|s| s.name == sub) else {
                    let known: Vec<&str> = subs.iter().map(|s| s.name).collect();
                    let what = format!("{sub:?} in {name}(): expected one of {}", known.join(", "));
                    return Err(TextError { column: inner + 1, what });
                };
                parse_masked(s, value, at, k, m)?;
            }
        } else {
            return Err(TextError { column: column + 1, what: format!("unknown field {name:?}") });
        }
    }
    Ok(())
}

/// Reads a key with its mask.
///
/// # Errors
/// What cannot be read, and where.
pub fn parse_flow(text: &str) -> Result<(FlowKey, FlowMask), TextError> {
    let (mut k, mut m) = (FlowKey::ZERO, FlowMask::ZERO);
    parse_flow_into(text, 0, 0, &mut k, &mut m)?;
    // Type and code of ICMP are a byte each: ports of another protocol beside its number are no packet's.
    let icmp = matches!(
        (k.u16(off::ETH_TYPE), k.byte(off::IP_PROTO)),
        (eth_type::IPV4, ip_proto::ICMP) | (eth_type::IPV6, ip_proto::ICMPV6)
    );
    let wide = |at: usize| (k.u16(at) | m.u16(at)) & 0xff00 != 0;
    if icmp && (wide(off::TP_SRC) || wide(off::TP_DST)) {
        let what = format!("ports of another protocol beside proto={}", k.byte(off::IP_PROTO));
        return Err(TextError { column: 1, what });
    }
    Ok((k, m))
}

/// Reads actions.
///
/// # Errors
/// What cannot be read, and where.
pub fn parse_actions(text: &str) -> Result<Vec<DpAction>, TextError> {
    actions_at(text, 0)
}

fn actions_at(text: &str, base: usize) -> Result<Vec<DpAction>, TextError> {
    let mut v = Vec::new();
    let all = items(text, base)?;
    if let [(_, "drop", "", _)] = all.as_slice() {
        return Ok(v);
    }
    for (column, name, inside, inner) in all {
        let one = |bits: u32| small(inside, inner, bits).map(|x| x.0);
        let named = |want: &str, bits: u32| -> Result<u32, TextError> {
            match pairs(inside, inner)?.as_slice() {
                [(n, value, at)] if *n == want => Ok(small(value, *at, bits)?.0),
                _ => Err(TextError { column: inner + 1, what: format!("expected {want}=…") }),
            }
        };
        v.push(match name {
            "set" => {
                let (mut value, mut mask) = (FlowKey::ZERO, FlowMask::ZERO);
                parse_flow_into(inside, inner, 0, &mut value, &mut mask)?;
                if inside.contains("vlan(") {
                    // Presence is not set, it is needed.
                    let b = off::VLAN0_TCI;
                    value.set_byte(b, value.byte(b) & 0xef);
                    mask.set_byte(b, mask.byte(b) & 0xef);
                }
                DpAction::Set(Box::new(KeyPatch { value, mask }))
            }
            "push_vlan" => {
                let (mut tpid, mut tci) = (eth_type::VLAN, 0u16);
                for (n, value, at) in pairs(inside, inner)? {
                    match n {
                        "tpid" => tpid = small(value, at, 16)?.0 as u16,
                        "vid" => tci |= small(value, at, 12)?.0 as u16,
                        "pcp" => tci |= (small(value, at, 3)?.0 as u16) << 13,
                        _ => {
                            return Err(TextError {
                                column: at,
                                what: format!("{n:?}: expected tpid, vid or pcp"),
                            })
                        }
                    }
                }
                DpAction::PushVlan { tpid, tci }
            }
            "pop_vlan" => DpAction::PopVlan,
            "push_mpls" => {
                let (_, lse, _, ty) = parse_lse(inside, inner)?;
                DpAction::PushMpls { eth_type: ty.unwrap_or(eth_type::MPLS), lse }
            }
            "pop_mpls" => DpAction::PopMpls { eth_type: named("eth_type", 16)? as u16 },
            "dec_ttl" => DpAction::DecNwTtl,
            "dec_mpls_ttl" => DpAction::DecMplsTtl,
            "copy_ttl_out" => DpAction::CopyTtlOut,
            "copy_ttl_in" => DpAction::CopyTtlIn,
            "push_pbb" => DpAction::PushPbb { isid: named("isid", 24)? },
            "pop_pbb" => DpAction::PopPbb,
            "meter" => DpAction::Meter(DpMeterId(one(32)?)),
            "recirc" => DpAction::Recirc(one(32)?),
            "trunc" => DpAction::Trunc(one(32)?),
            "set_queue" => DpAction::SetQueue(Some(one(32)?)),
            "pop_queue" => DpAction::SetQueue(None),
            "userspace" => match pairs(inside, inner)?.as_slice() {
                [("token", value, at)] => DpAction::Userspace(number(value, *at)? as u64),
                _ => return Err(TextError { column: inner + 1, what: "expected token=…".into() }),
            },
            "clone" => DpAction::Clone(actions_at(inside, inner)?),
            port if port.bytes().all(|b| b.is_ascii_digit()) && inside.is_empty() => {
                DpAction::Output(PortId(small(port, column, 32)?.0))
            }
            other => return Err(TextError { column: column + 1, what: format!("unknown action {other:?}") }),
        });
    }
    Ok(v)
}

impl std::fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format_key(self))
    }
}

impl std::fmt::Debug for DpAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format_action(self, &FlowKey::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::{Arbitrary, Gen};

    #[test]
    fn flows_print_as_they_were_read() {
        for t in [
            "in_port(1),eth_type(0x0800),ipv4(proto=6,frag=no),tcp(dst=80)",
            "recirc_id(0x5),in_port(1),eth(src=00:00:00:00:00:01,dst=01:00:00:00:00:00/01:00:00:00:00:00),eth_type(0x86dd),ipv6(src=2001:db8::1,dst=2001:db8::/ffff:ffff::,label=0x12345,proto=58,tclass=0x10,hlimit=255,frag=no),icmpv6(type=135,code=0),nd(target=fe80::1,sll=00:00:00:00:00:01)",
            "in_port(3),eth_type(0x8100),vlan(vid=5,pcp=0),encap(eth_type(0x0800),ipv4(src=10.0.0.0/255.255.255.0,dst=10.0.0.1,tos=0/0x3,ttl=64))",
            "in_port(3),eth_type(0x88a8),vlan(vid=5,pcp=7),encap(eth_type(0x8100),vlan(vid=6),encap(eth_type(0x0806),arp(sip=10.0.0.1,op=1,sha=00:00:00:00:00:01)))",
            "in_port(1),eth_type(0x8847),mpls(label=100,tc=3,ttl=64,bos=1)",
            "in_port(1),eth_type(0x88e7),pbb(isid=0x123456,uca=1)",
            "in_port(1),eth_type(0x0800),ipv4(proto=6),tcp(src=0x400/0xfc00),tcp_flags(0x2)",
        ] {
            let (k, m) = parse_flow(t).unwrap_or_else(|e| panic!("{t}: {e}"));
            let again = format_flow(&k, &m);
            let t = t.replace("src=0x400/", "src=1024/");
            assert_eq!(again, t);
            assert_eq!(parse_flow(&again).unwrap(), (k, m));
        }
        let (k, m) = parse_flow("ipv4(src=10.1.2.3/8)").unwrap();
        assert_eq!((k.get(off::IPV4_SRC), m.get(off::IPV4_SRC)), ([10, 0, 0, 0], [255, 0, 0, 0]));
    }

    #[test]
    fn packets_print_whole_and_read_back() {
        let mut k = FlowKey::ZERO;
        crate::extract::extract(&crate::extract::tests::hex(crate::extract::tests::TCP4), 1, 0, &mut k);
        let t = format_key(&k);
        assert_eq!(
            t,
            "recirc_id(0),in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=6,tos=0x10,ttl=64,frag=no),tcp(src=4660,dst=80),tcp_flags(0x12)"
        );
        assert_eq!(parse_flow(&t).unwrap().0, k);
    }

    #[test]
    fn actions_print_as_they_were_read() {
        let mut k = FlowKey::ZERO;
        k.set(off::ETH_TYPE, [8, 0]);
        k.set_byte(off::IP_PROTO, 17);
        for t in [
            "drop",
            "1,2",
            "set(eth(dst=00:00:00:00:00:01),ipv4(src=10.0.0.1,ttl=3),udp(dst=53)),dec_ttl,4",
            "set(vlan(vid=5)),push_vlan(vid=3,pcp=1),push_vlan(tpid=0x88a8,vid=3,pcp=1),pop_vlan,1",
            "push_mpls(label=5,tc=0,ttl=64,bos=1,eth_type=0x8847),set(mpls(label=3)),pop_mpls(eth_type=0x800),dec_mpls_ttl,copy_ttl_out,copy_ttl_in,2",
            "push_pbb(isid=0x10),pop_pbb,meter(3),set_queue(2),pop_queue,trunc(100),3",
            "clone(userspace(token=0x5),clone(7)),recirc(0x9)",
        ] {
            let a = parse_actions(t).unwrap_or_else(|e| panic!("{t}: {e}"));
            assert_eq!(format_actions(&a, &k), t);
        }
    }

    #[test]
    fn errors_say_where() {
        for (t, column) in [
            ("in_port(x)", 9),
            ("in_port(1),bogus(2)", 12),
            ("eth(src=00:00)", 9),
            ("ipv4(src=1.2.3.4,what=5)", 6),
            ("in_port(1", 10),
            ("ipv4(proto=300)", 12),
            ("in_port(1))", 11),
            ("eth_type(0x0800),ipv4(proto=1),tcp(src=1024)", 1),
        ] {
            assert_eq!(parse_flow(t).unwrap_err().column, column, "{t}");
        }
        assert!(parse_actions("frobnicate").unwrap_err().to_string().contains("unknown action"));
    }

    #[test]
    fn any_text_is_safe() {
        fn prop(s: String) -> bool {
            let _ = parse_flow(&s);
            let _ = parse_actions(&s);
            true
        }
        quickcheck::quickcheck(prop as fn(String) -> bool);
        let mut g = Gen::new(30);
        let words = [
            "in_port(",
            "1",
            ")",
            ",",
            "encap(",
            "vlan(",
            "vid=",
            "/",
            "eth(",
            "set(",
            "clone(",
            "ipv6(src=",
            "::",
            "0x",
        ];
        for _ in 0..5000 {
            let s: String = (0..usize::arbitrary(&mut g) % 12).map(|_| *g.choose(&words).unwrap()).collect();
            let _ = parse_flow(&s);
            let _ = parse_actions(&s);
        }
    }
}
