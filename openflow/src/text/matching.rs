//! A match in words: `tcp,in_port=1,nw_src=10.0.0.0/8,tp_dst=80`.

use super::lex::{
    fault, fault_near, hex_bytes, next_pair, push_bytes, push_dec, push_hex, u16, u32, u8, Fault, Join, Pair,
    Res,
};
use super::value::{self, push_masked_hex, push_port, push_value, Name, FRAG_MASK};
use super::{NoNames, PortNames, TextError};
use crate::field::{Field, Format, Maskable, Prereq};
use crate::ids::PortNo;
use crate::matching::{Match, Oxm, OxmField, UnknownOxm};
use std::fmt::Write;

/// Words that stand for a whole protocol: keyword, Ethernet type, IP protocol.
const PROTOCOLS: &[(&str, u16, Option<u8>)] = &[
    ("ip", 0x0800, None),
    ("ipv4", 0x0800, None),
    ("ip4", 0x0800, None),
    ("icmp", 0x0800, Some(1)),
    ("icmp4", 0x0800, Some(1)),
    ("tcp", 0x0800, Some(6)),
    ("tcp4", 0x0800, Some(6)),
    ("udp", 0x0800, Some(17)),
    ("udp4", 0x0800, Some(17)),
    ("sctp", 0x0800, Some(132)),
    ("sctp4", 0x0800, Some(132)),
    ("ipv6", 0x86dd, None),
    ("ip6", 0x86dd, None),
    ("icmp6", 0x86dd, Some(58)),
    ("icmpv6", 0x86dd, Some(58)),
    ("tcp6", 0x86dd, Some(6)),
    ("udp6", 0x86dd, Some(17)),
    ("sctp6", 0x86dd, Some(132)),
    ("arp", 0x0806, None),
    ("rarp", 0x8035, None),
    ("mpls", 0x8847, None),
    ("mplsm", 0x8848, None),
];

/// Collects fields in any order, then resolves what depends on the protocol and checks prerequisites.
pub(crate) struct Builder<'a> {
    fields: Vec<(&'a str, OxmField)>,
    late: Vec<(Name, &'a str, &'a str)>,
    unknown: Vec<Oxm>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new() -> Self {
        Self { fields: Vec::new(), late: Vec::new(), unknown: Vec::new() }
    }

    fn set(&mut self, word: &'a str, field: Field, value: u128, mask: u128) {
        self.fields.retain(|(_, f)| f.field != field);
        let full = field.def().full_mask();
        if mask != 0 {
            let mask = (mask != full).then_some(mask);
            self.fields.push((word, OxmField { field, value, mask }));
        }
    }

    fn get(&self, field: Field) -> Option<&OxmField> {
        self.fields.iter().map(|(_, f)| f).find(|f| f.field == field)
    }

    fn exact(&self, field: Field) -> Option<u128> {
        self.get(field).filter(|f| f.mask.is_none()).map(|f| f.value)
    }

    pub(crate) fn eth_type(&self) -> Option<u128> {
        self.exact(Field::EthType)
    }

    /// Takes one word of a match; `Ok(false)` if it is none.
    pub(crate) fn take(&mut self, p: &Pair<'a>, names: &dyn PortNames) -> Res<'a, bool> {
        if p.join == Join::None {
            if let Some((_, eth, proto)) = PROTOCOLS.iter().find(|(n, ..)| *n == p.key) {
                self.set(p.key, Field::EthType, u128::from(*eth), 0xffff);
                if let Some(proto) = proto {
                    self.set(p.key, Field::IpProto, u128::from(*proto), 0xff);
                }
                return Ok(true);
            }
            if p.key == "eth" {
                return Ok(true);
            }
        }
        if p.key == "oxm" && p.join == Join::Paren {
            self.unknown.push(unknown_oxm(p.value)?);
            return Ok(true);
        }
        let (name, bits) = match p.key.find('[') {
            Some(i) => (&p.key[..i], Some(&p.key[i..])),
            None => (p.key, None),
        };
        let Some(found) = value::lookup(name) else { return Ok(false) };
        if !matches!(p.join, Join::Equals | Join::Colon) || p.value.is_empty() {
            return fault(p.key, format!("a value: {}=...", p.key));
        }
        if p.value == "*" {
            return Ok(true);
        }
        match found {
            Name::Field(f) => {
                self.field(p, if f == Field::NxInPort { Field::InPort } else { f }, bits, names)?
            }
            Name::VlanTci => self.vlan_tci(p)?,
            Name::DlVlan => {
                let v = u16(p.value, "a VLAN id (0xffff: no tag)")?;
                match v {
                    0xffff => self.set(p.key, Field::VlanVid, 0, 0x1fff),
                    0..=0xfff => self.set(p.key, Field::VlanVid, 0x1000 | u128::from(v), 0x1fff),
                    _ => return fault(p.value, "a VLAN id from 0 to 4095, or 0xffff for no tag"),
                }
            }
            Name::NwTos => {
                let v = u8(p.value, "a TOS byte")?;
                self.set(p.key, Field::IpDscp, u128::from(v >> 2), 0x3f);
            }
            late => self.late.push((late, p.key, p.value)),
        }
        Ok(true)
    }

    fn field(&mut self, p: &Pair<'a>, f: Field, bits: Option<&'a str>, names: &dyn PortNames) -> Res<'a, ()> {
        let d = f.def();
        let (offset, n) = value::bit_range(bits, d.bits)?;
        if n == d.bits {
            let (v, m) = value::value(d, p.value, names)?;
            let m = match f {
                Field::IpFrag if m & FRAG_MASK == FRAG_MASK => d.full_mask(),
                // Only one flag has a meaning; the others are not asked about.
                Field::TunFlags if v <= 1 && m == d.full_mask() => 1,
                _ => m,
            };
            self.set(p.key, f, v, m);
            return Ok(());
        }
        if d.maskable == Maskable::No {
            return fault(p.key, format!("all of {}, which cannot be masked", d.name));
        }
        let Some(v) = super::lex::parse_u128(p.value).filter(|v| v >> n == 0) else {
            return fault(p.value, format!("a number of {n} bits"));
        };
        let m = ((1u128 << n) - 1) << offset;
        let (v0, m0) = self.get(f).map_or((0, 0), |o| (o.value, o.full_mask()));
        self.set(p.key, f, v0 & !m | v << offset, m0 | m);
        Ok(())
    }

    /// The 16-bit tag of NXM, as `vlan_vid` and `vlan_pcp` wherever those can say it.
    fn vlan_tci(&mut self, p: &Pair<'a>) -> Res<'a, ()> {
        let (v, m) = match p.value.split_once('/') {
            Some((v, m)) => (u16(v, "a TCI")?, u16(m, "a mask of 16 bits")?),
            None => (u16(p.value, "a TCI")?, 0xffff),
        };
        let (vid_mask, pcp_mask) = (m & 0x1fff, m >> 13);
        let present = v & m & 0x1000 != 0;
        if m == 0 {
            // Matches every packet.
        } else if vid_mask != 0 && (pcp_mask == 0 || (pcp_mask == 7 && (present || (v == 0 && m == 0xffff))))
        {
            self.set(p.key, Field::VlanVid, u128::from(v & vid_mask), vid_mask.into());
            if pcp_mask == 7 && present {
                self.set(p.key, Field::VlanPcp, u128::from(v >> 13), 7);
            }
        } else {
            self.set(p.key, Field::VlanTci, u128::from(v & m), m.into());
        }
        Ok(())
    }

    /// The finished match, fields in the order of [`Field`] (prerequisites first).
    pub(crate) fn finish(mut self, names: &dyn PortNames) -> Res<'a, Match> {
        // `nw_proto` first: what `tp_dst` means depends on it, wherever it stands.
        let mut late = std::mem::take(&mut self.late);
        late.sort_by_key(|(n, ..)| *n != Name::NwProto);
        for (name, key, text) in late {
            let f = self.resolve(name, key)?;
            let (v, m) = value::value(f.def(), text, names)?;
            self.set(key, f, v, m);
        }
        if self.get(Field::VlanPcp).is_some() && self.get(Field::VlanVid).is_none() {
            self.set("vlan_vid", Field::VlanVid, 0x1000, 0x1000);
        }
        self.fields.sort_by_key(|(_, f)| f.field);
        for (word, f) in &self.fields {
            let need = f.field.def().prereq;
            if !self.holds(need) {
                return fault(word, format!("{} beside it", prereq_words(need)));
            }
        }
        let mut m = Match::default();
        m.fields.extend(self.fields.iter().map(|(_, f)| Oxm::Known(*f)));
        m.fields.extend(self.unknown);
        Ok(m)
    }

    fn resolve(&self, name: Name, key: &'a str) -> Res<'a, Field> {
        let arp = matches!(self.eth_type(), Some(0x0806 | 0x8035));
        let proto = self.exact(Field::IpProto);
        Ok(match (name, self.eth_type(), proto) {
            (Name::NwSrc, ..) if arp => Field::ArpSpa,
            (Name::NwDst, ..) if arp => Field::ArpTpa,
            (Name::NwProto, ..) if arp => Field::ArpOp,
            (Name::NwSrc, ..) => Field::Ipv4Src,
            (Name::NwDst, ..) => Field::Ipv4Dst,
            (Name::NwProto, ..) => Field::IpProto,
            (Name::TpSrc, _, Some(6)) => Field::TcpSrc,
            (Name::TpDst, _, Some(6)) => Field::TcpDst,
            (Name::TpSrc, _, Some(17)) => Field::UdpSrc,
            (Name::TpDst, _, Some(17)) => Field::UdpDst,
            (Name::TpSrc, _, Some(132)) => Field::SctpSrc,
            (Name::TpDst, _, Some(132)) => Field::SctpDst,
            (Name::TpSrc, Some(0x0800), Some(1)) | (Name::IcmpType, Some(0x0800), _) => Field::Icmpv4Type,
            (Name::TpDst, Some(0x0800), Some(1)) | (Name::IcmpCode, Some(0x0800), _) => Field::Icmpv4Code,
            (Name::TpSrc, Some(0x86dd), Some(58)) | (Name::IcmpType, Some(0x86dd), _) => Field::Icmpv6Type,
            (Name::TpDst, Some(0x86dd), Some(58)) | (Name::IcmpCode, Some(0x86dd), _) => Field::Icmpv6Code,
            (Name::IcmpType | Name::IcmpCode, ..) => return fault(key, "icmp or icmp6 beside it"),
            _ => return fault(key, "tcp, udp or sctp (or tcp6, udp6, sctp6) beside it"),
        })
    }

    fn holds(&self, p: Prereq) -> bool {
        let (eth, proto) = (self.eth_type(), self.exact(Field::IpProto));
        let ip = matches!(eth, Some(0x0800 | 0x86dd));
        let icmp6 = eth == Some(0x86dd) && proto == Some(58);
        let icmp6_type = self.exact(Field::Icmpv6Type);
        match p {
            Prereq::None => true,
            Prereq::InPort => self.get(Field::InPort).is_some(),
            Prereq::Vlan => self.get(Field::VlanVid).is_some_and(|f| f.value & 0x1000 != 0),
            Prereq::Ip => ip,
            Prereq::Ipv4 => eth == Some(0x0800),
            Prereq::Ipv6 => eth == Some(0x86dd),
            Prereq::Arp => matches!(eth, Some(0x0806 | 0x8035)),
            Prereq::Tcp => ip && proto == Some(6),
            Prereq::Udp => ip && proto == Some(17),
            Prereq::Sctp => ip && proto == Some(132),
            Prereq::Icmpv4 => eth == Some(0x0800) && proto == Some(1),
            Prereq::Icmpv6 => icmp6,
            Prereq::Nd => icmp6 && matches!(icmp6_type, Some(135 | 136)),
            Prereq::NdSol => icmp6 && icmp6_type == Some(135),
            Prereq::NdAdv => icmp6 && icmp6_type == Some(136),
            Prereq::Mpls => matches!(eth, Some(0x8847 | 0x8848)),
            Prereq::Pbb => eth == Some(0x88e7),
            Prereq::Nsh => eth == Some(0x894f),
        }
    }
}

fn prereq_words(p: Prereq) -> &'static str {
    match p {
        Prereq::None => "nothing",
        Prereq::InPort => "in_port",
        Prereq::Vlan => "a VLAN tag (dl_vlan=... or vlan_vid=0x1000/0x1000)",
        Prereq::Ip => "ip or ipv6",
        Prereq::Ipv4 => "ip",
        Prereq::Ipv6 => "ipv6",
        Prereq::Arp => "arp or rarp",
        Prereq::Tcp => "tcp or tcp6",
        Prereq::Udp => "udp or udp6",
        Prereq::Sctp => "sctp or sctp6",
        Prereq::Icmpv4 => "icmp",
        Prereq::Icmpv6 => "icmp6",
        Prereq::Nd => "icmp6 with icmp_type=135 or icmp_type=136",
        Prereq::NdSol => "icmp6 with icmp_type=135",
        Prereq::NdAdv => "icmp6 with icmp_type=136",
        Prereq::Mpls => "mpls or mplsm",
        Prereq::Pbb => "dl_type=0x88e7",
        Prereq::Nsh => "dl_type=0x894f",
    }
}

/// `class=0x8000,field=50,exp=0x..,mask,data=hex`
fn unknown_oxm(s: &str) -> Res<'_, Oxm> {
    let mut u = UnknownOxm { class: 0, number: 0, has_mask: false, experimenter: 0, body: Vec::new() };
    let mut rest = s;
    while let Some(p) = next_pair(&mut rest)? {
        match p.key {
            "class" => u.class = u16(p.value, "an OXM class")?,
            "field" => u.number = u8(p.value, "a field number")? & 0x7f,
            "exp" => u.experimenter = u32(p.value, "an experimenter id")?,
            "mask" => u.has_mask = true,
            "data" => u.body = hex_bytes(p.value, "hexadecimal digits")?,
            _ => return fault(p.key, "class, field, exp, mask or data"),
        }
    }
    Ok(Oxm::Unknown(Box::new(u)))
}

/// What to say of a word that nothing knows.
pub(crate) fn unknown_word<'a, T>(word: &'a str, more: &'static [&'static str]) -> Res<'a, T> {
    let known = value::known_names().filter(|n| !n.contains("XM_")).chain(PROTOCOLS.iter().map(|p| p.0));
    fault_near(word, "a match field or flow keyword", known.chain(more.iter().copied()))
}

/// Reads a match such as `tcp,in_port=1,tp_dst=80`; the fields come out in canonical order, prerequisites spelled out.
///
/// # Errors
/// The first word that cannot be read, or a field whose prerequisite is missing.
pub fn parse_match(text: &str, names: &dyn PortNames) -> Result<Match, TextError> {
    match_of(text, names).map_err(|f: Fault<'_>| f.locate(text))
}

fn match_of<'a>(text: &'a str, names: &dyn PortNames) -> Res<'a, Match> {
    let mut b = Builder::new();
    let mut rest = text;
    while let Some(p) = next_pair(&mut rest)? {
        if !b.take(&p, names)? {
            return unknown_word(p.key, &[]);
        }
    }
    b.finish(names)
}

/// Reads the packet of a trace: the same words as a match, every value exact
/// (`in_port=1,tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_dst=80`). What is not mentioned is zero.
///
/// # Errors
/// As [`parse_match`], and for masks, which a packet cannot have (`vlan_vid=0x1000/0x1000` alone excepted: a tag).
pub fn parse_flow_as_packet(text: &str, names: &dyn PortNames) -> Result<Match, TextError> {
    let go = || {
        let mut m = match_of(text, names)?;
        for o in &mut m.fields {
            match o {
                Oxm::Known(f) if f.mask.is_some() => {
                    // Flags say which are set and which are not; the rest is not.
                    let flags =
                        matches!(f.field.def().format, Format::TcpFlags | Format::CtState | Format::Frag);
                    if f.field != Field::VlanVid && !flags {
                        return fault(text, format!("{} without a mask: a packet has one value", f.field));
                    }
                    f.mask = None;
                }
                Oxm::Known(_) => {}
                Oxm::Unknown(_) => return fault(text, "only fields we know"),
            }
        }
        Ok(m)
    };
    go().map_err(|f: Fault<'_>| f.locate(text))
}

/// A match in words, without a priority.
pub fn print_match(m: &Match) -> String {
    let mut out = String::new();
    write_match(&mut out, m, &NoNames);
    out
}

/// Appends a match in words, in the order `ovs-ofctl` has them; nothing at all for a match of everything.
pub fn write_match(out: &mut String, m: &Match, names: &dyn PortNames) {
    let start = out.len();
    let get = |f: Field| m.get(f);
    let exact = |f: Field| get(f).filter(|o| o.mask.is_none()).map(|o| o.value);
    let eth = exact(Field::EthType);
    let proto = exact(Field::IpProto);
    let keyword = match (eth, proto) {
        (Some(e), Some(p)) => PROTOCOLS
            .iter()
            .find(|(_, t, n)| u128::from(*t) == e && n.is_some_and(|n| u128::from(n) == p))
            .or_else(|| PROTOCOLS.iter().find(|(_, t, n)| u128::from(*t) == e && n.is_none())),
        (Some(e), None) => PROTOCOLS.iter().find(|(_, t, n)| u128::from(*t) == e && n.is_none()),
        _ => None,
    };
    let skip_proto = keyword.is_some_and(|k| k.2.is_some());
    let pair = |out: &mut String, name: &str, o: &OxmField| {
        out.push_str(name);
        out.push('=');
        push_value(out, o.field.def(), o.value, o.mask, names);
        out.push(',');
    };
    const FIRST: &[Field] = &[
        Field::PktMark,
        Field::RecircId,
        Field::DpHash,
        Field::ConjId,
        Field::ActsetOutput,
        Field::CtState,
        Field::CtZone,
        Field::CtMark,
        Field::CtLabel,
        Field::CtNwSrc,
        Field::CtIpv6Src,
        Field::CtNwDst,
        Field::CtIpv6Dst,
        Field::CtNwProto,
        Field::CtTpSrc,
        Field::CtTpDst,
    ];
    // What most flows have comes without a search per field.
    let few = m.fields.len() <= 24 && m.known().all(|f| (f.field as u8) <= Field::ArpTha as u8);
    if !few {
        for f in FIRST {
            if let Some(o) = get(*f) {
                pair(out, f.def().ovs_name, o);
            }
        }
    }
    if let Some((k, ..)) = keyword {
        out.push_str(k);
        out.push(',');
    }
    if !few {
        for f in (Field::Reg0 as u8..=Field::Xxreg3 as u8).map(|i| crate::field::FIELDS[usize::from(i)].field)
        {
            if let Some(o) = get(f) {
                pair(out, f.def().ovs_name, o);
            }
        }
        for f in [
            Field::TunnelId,
            Field::TunSrc,
            Field::TunDst,
            Field::TunIpv6Src,
            Field::TunIpv6Dst,
            Field::TunGbpId,
            Field::TunGbpFlags,
            Field::TunFlags,
        ] {
            if let Some(o) = get(f) {
                pair(out, f.def().ovs_name, o);
            }
        }
    }
    if let Some(o) = get(Field::Metadata) {
        pair(out, "metadata", o);
    }
    if let Some(o) = get(Field::InPort).or_else(|| get(Field::NxInPort)) {
        out.push_str("in_port=");
        let v = o.value as u32;
        let v = if o.field == Field::NxInPort && v >= 0xfff8 { v | 0xffff_0000 } else { v };
        push_port(out, PortNo(v), names);
        out.push(',');
    }
    if let Some(o) = get(Field::InPhyPort) {
        pair(out, "in_phy_port", o);
    }
    push_vlan(out, m);
    for (name, f) in [("dl_src", Field::EthSrc), ("dl_dst", Field::EthDst)] {
        if let Some(o) = get(f) {
            pair(out, name, o);
        }
    }
    if let (Some(o), None) = (get(Field::EthType), keyword) {
        out.push_str("dl_type=");
        push_masked_hex(out, o.value, o.mask, 4);
        out.push(',');
    }
    for f in [Field::Ipv6Src, Field::Ipv6Dst] {
        if let Some(o) = get(f) {
            pair(out, f.def().ovs_name, o);
        }
    }
    if let Some(o) = get(Field::Ipv6Flabel) {
        out.push_str("ipv6_label=");
        push_masked_hex(out, o.value, o.mask, 5);
        out.push(',');
    }
    for f in [Field::Ipv6Exthdr, Field::ArpSpa, Field::ArpTpa, Field::Ipv4Src, Field::Ipv4Dst] {
        if let Some(o) = get(f) {
            pair(out, f.def().ovs_name, o);
        }
    }
    if let (Some(o), false) = (get(Field::IpProto), skip_proto) {
        pair(out, "nw_proto", o);
    }
    for f in [Field::ArpOp, Field::ArpSha, Field::ArpTha] {
        if let Some(o) = get(f) {
            pair(out, f.def().ovs_name, o);
        }
    }
    if let Some(o) = get(Field::IpDscp) {
        out.push_str("nw_tos=");
        push_dec(out, o.value << 2);
        out.push(',');
    }
    if let (Some(o), None) = (get(Field::IpTos), get(Field::IpDscp)) {
        out.push_str("nw_tos=");
        push_dec(out, o.value);
        out.push(',');
    }
    for f in [
        Field::IpEcn,
        Field::IpTtl,
        Field::MplsLabel,
        Field::MplsTc,
        Field::MplsTtl,
        Field::MplsBos,
        Field::IpFrag,
        Field::PbbIsid,
        Field::PbbUca,
        Field::Icmpv4Type,
        Field::Icmpv4Code,
        Field::Icmpv6Type,
        Field::Icmpv6Code,
        Field::Ipv6NdTarget,
        Field::Ipv6NdSll,
        Field::Ipv6NdTll,
    ] {
        if let Some(o) = get(f) {
            pair(out, f.def().ovs_name, o);
        }
    }
    for (f, p) in [
        (Field::TcpSrc, 6),
        (Field::TcpDst, 6),
        (Field::UdpSrc, 17),
        (Field::UdpDst, 17),
        (Field::SctpSrc, 132),
        (Field::SctpDst, 132),
    ] {
        if let Some(o) = get(f) {
            let d = f.def();
            pair(out, if proto == Some(p) { d.ovs_name } else { d.name }, o);
        }
    }
    if !few {
        let flags = [Field::TcpFlags];
        let nsh =
            (Field::NshFlags as u8..=Field::NshTtl as u8).map(|i| crate::field::FIELDS[usize::from(i)].field);
        for f in flags.into_iter().chain(nsh) {
            if let Some(o) = get(f) {
                pair(out, f.def().ovs_name, o);
            }
        }
    }
    for o in &m.fields {
        if let Oxm::Unknown(u) = o {
            push_unknown(out, u);
            out.push(',');
        }
    }
    if out.len() > start {
        out.pop();
    }
}

pub(crate) fn push_unknown(out: &mut String, u: &UnknownOxm) {
    let _ = write!(out, "oxm(class={:#x},field={}", u.class, u.number);
    if u.class == crate::field::CLASS_EXPERIMENTER {
        let _ = write!(out, ",exp={:#x}", u.experimenter);
    }
    if u.has_mask {
        out.push_str(",mask");
    }
    if !u.body.is_empty() {
        out.push_str(",data=");
        push_bytes(out, &u.body, "");
    }
    out.push(')');
}

/// The tag as `dl_vlan` and `dl_vlan_pcp`, or as `vlan_tci` where those cannot say it.
fn push_vlan(out: &mut String, m: &Match) {
    if let Some(o) = m.get(Field::VlanTci) {
        out.push_str("vlan_tci=");
        push_masked_hex(out, o.value, o.mask, 4);
        out.push(',');
    }
    let (vid, pcp) = (m.get(Field::VlanVid), m.get(Field::VlanPcp));
    if vid.is_none() && pcp.is_none() {
        return;
    }
    let (vid_value, vid_mask) = vid.map_or((0x1000, 0x1000), |o| (o.value, o.full_mask()));
    let present = vid_value & vid_mask & 0x1000 != 0;
    let id_mask = vid_mask & 0xfff;
    if present && (id_mask == 0xfff || (id_mask == 0 && pcp.is_some())) {
        if id_mask != 0 {
            out.push_str("dl_vlan=");
            push_dec(out, vid_value & 0xfff);
            out.push(',');
        }
        if let Some(p) = pcp {
            out.push_str("dl_vlan_pcp=");
            push_dec(out, p.value);
            out.push(',');
        }
        return;
    }
    let (mut v, mut k) = (vid_value, vid_mask);
    if let Some(p) = pcp {
        v |= p.value << 13;
        k |= 0xe000;
    }
    let _ = write!(out, "vlan_tci=0x{v:04x}");
    if k != 0xffff {
        let _ = write!(out, "/0x{k:04x}");
    }
    out.push(',');
}

/// A priority, unless it is the default.
pub(crate) fn push_priority(out: &mut String, priority: u16) {
    if priority != 0x8000 {
        out.push_str("priority=");
        push_dec(out, priority.into());
        out.push(',');
    }
}

/// Hexadecimal with `0x`, also for zero.
pub(crate) fn push_cookie(out: &mut String, v: u64) {
    if v == 0 {
        out.push_str("0x0");
    } else {
        push_hex(out, v.into());
    }
}
