//! One field's value in words, the names fields go by, and runs of bits (`NXM_NX_REG0[4..7]`).

use super::lex::{fault, fault_near, parse_u128, push_dec, push_hex, Res};
use super::PortNames;
use crate::action::Subfield;
use crate::field::{
    Field, FieldDef, Format, Maskable, CLASS_BASIC, CLASS_EXPERIMENTER, CLASS_NXM_0, CLASS_NXM_1,
};
use crate::field::{FIELDS, ONF_EXPERIMENTER};
use crate::ids::{EthAddr, PortNo};
use std::collections::HashMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// What a name in a match stands for; most are one field, the rest depend on the protocol matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Field(Field),
    /// `nw_src`/`nw_dst`: IPv4, or the ARP protocol address.
    NwSrc,
    NwDst,
    /// `nw_proto`: IP protocol or ARP opcode.
    NwProto,
    TpSrc,
    TpDst,
    IcmpType,
    IcmpCode,
    /// `dl_vlan`: 12 bits, 0xffff for "no tag".
    DlVlan,
    /// `nw_tos`: DSCP in the upper six bits of eight.
    NwTos,
    VlanTci,
}

/// The name `set_field` and `learn` print (OVS's field name).
pub fn set_name(field: Field) -> &'static str {
    match field {
        Field::Ipv4Src => "ip_src",
        Field::Ipv4Dst => "ip_dst",
        Field::IpProto => "nw_proto",
        Field::IpEcn => "nw_ecn",
        Field::InPort => "in_port_oxm",
        Field::TunnelId => "tun_id",
        Field::Ipv6Flabel => "ipv6_label",
        Field::Icmpv4Type => "icmp_type",
        Field::Icmpv4Code => "icmp_code",
        Field::Ipv6NdTarget => "nd_target",
        Field::Ipv6NdSll => "nd_sll",
        Field::Ipv6NdTll => "nd_tll",
        f => f.def().name,
    }
}

static HEADER_NAMES: LazyLock<Vec<String>> = LazyLock::new(|| FIELDS.iter().map(header_name_of).collect());

/// The name of the field's wire id, as `move`, `load` and `learn` print it: `NXM_OF_ETH_SRC`, `OXM_OF_METADATA`, ...
pub fn header_name(field: Field) -> &'static str {
    &HEADER_NAMES[field as usize]
}

fn header_name_of(d: &FieldDef) -> String {
    let suffix = match d.field {
        Field::Ipv4Src => "IP_SRC".into(),
        Field::Ipv4Dst => "IP_DST".into(),
        Field::TunSrc => "TUN_IPV4_SRC".into(),
        Field::TunDst => "TUN_IPV4_DST".into(),
        Field::IpTos => "IP_TOS".into(),
        Field::IpTtl => "IP_TTL".into(),
        Field::ActsetOutput => return "ONFOXM_ET_ACTSET_OUTPUT".into(),
        f if f >= Field::NshFlags && f <= Field::NshTtl => return format!("NXOXM_{}", d.name.to_uppercase()),
        f if f >= Field::Xreg0 && f <= Field::Xreg7 => {
            return format!("OXM_OF_PKT_REG{}", f as u8 - Field::Xreg0 as u8);
        }
        Field::InPort => "IN_PORT".into(),
        Field::IpProto => "IP_PROTO".into(),
        Field::IpEcn => "IP_ECN".into(),
        f => set_name(f).to_uppercase(),
    };
    let class = match (d.class, d.alias) {
        (_, Some((CLASS_NXM_0, _))) | (CLASS_NXM_0, _) => "NXM_OF_",
        (_, Some((CLASS_NXM_1, _))) | (CLASS_NXM_1, _) => "NXM_NX_",
        _ => "OXM_OF_",
    };
    format!("{class}{suffix}")
}

static NAMES: LazyLock<HashMap<String, Name>> = LazyLock::new(|| {
    let mut m = HashMap::new();
    for d in FIELDS {
        let n = Name::Field(d.field);
        m.entry(header_name(d.field).to_owned()).or_insert(n);
        if d.class == CLASS_BASIC {
            m.entry(format!("OXM_OF_{}", d.name.to_uppercase())).or_insert(n);
        }
        if d.class == CLASS_EXPERIMENTER && d.experimenter == ONF_EXPERIMENTER {
            m.entry(format!("ONFOXM_ET_{}", d.name.to_uppercase())).or_insert(n);
        }
        m.entry(set_name(d.field).to_owned()).or_insert(n);
        m.entry(d.name.to_owned()).or_insert(n);
    }
    let special = [
        ("nw_src", Name::NwSrc),
        ("nw_dst", Name::NwDst),
        ("ip_src", Name::NwSrc),
        ("ip_dst", Name::NwDst),
        ("nw_proto", Name::NwProto),
        ("tp_src", Name::TpSrc),
        ("tp_dst", Name::TpDst),
        ("icmp_type", Name::IcmpType),
        ("icmp_code", Name::IcmpCode),
        ("dl_vlan", Name::DlVlan),
        ("vlan_tci", Name::VlanTci),
        ("nw_tos", Name::NwTos),
    ];
    let more = [
        ("dl_src", Field::EthSrc),
        ("dl_dst", Field::EthDst),
        ("dl_type", Field::EthType),
        ("dl_vlan_pcp", Field::VlanPcp),
        ("nw_tos_shifted", Field::IpDscp),
        ("ip_ecn", Field::IpEcn),
        ("nw_frag", Field::IpFrag),
        ("ip_frag", Field::IpFrag),
        ("in_port", Field::InPort),
        ("arp_opcode", Field::ArpOp),
        ("tun_id", Field::TunnelId),
    ];
    for (n, v) in special {
        m.insert(n.to_owned(), v);
    }
    for (n, f) in more {
        m.insert(n.to_owned(), Name::Field(f));
    }
    m
});

/// What a name in a match means.
pub(crate) fn lookup(name: &str) -> Option<Name> {
    NAMES.get(name).copied()
}

/// Every name a match may use, for hints.
pub(crate) fn known_names() -> impl Iterator<Item = &'static str> {
    NAMES.keys().map(String::as_str)
}

/// The field a name means as the source or target of an action.
pub(crate) fn action_field(name: &str) -> Res<'_, Field> {
    Ok(match lookup(name) {
        _ if name == "in_port" => Field::NxInPort,
        Some(Name::Field(f)) => f,
        Some(Name::NwSrc) => Field::Ipv4Src,
        Some(Name::NwDst) => Field::Ipv4Dst,
        Some(Name::NwProto) => Field::IpProto,
        Some(Name::TpSrc) => Field::TcpSrc,
        Some(Name::TpDst) => Field::TcpDst,
        Some(Name::IcmpType) => Field::Icmpv4Type,
        Some(Name::IcmpCode) => Field::Icmpv4Code,
        Some(Name::VlanTci) => Field::VlanTci,
        Some(Name::NwTos) => Field::IpTos,
        Some(Name::DlVlan) => {
            return fault(name, "a field an action can name: vlan_vid or vlan_tci, not dl_vlan")
        }
        None => return fault_near(name, "the name of a field", known_names()),
    })
}

/// A run of bits: `reg0`, `reg0[]`, `NXM_NX_REG0[3]`, `reg0[4..7]`.
pub(crate) fn subfield(s: &str) -> Res<'_, Subfield> {
    let (name, bits) = match s.find('[') {
        Some(i) => (&s[..i], Some(&s[i..])),
        None => (s, None),
    };
    let field = action_field(name)?;
    let (offset, n_bits) = bit_range(bits, field.def().bits)?;
    Ok(Subfield { field, offset, n_bits })
}

/// Offset and width of `[a..b]`, `[a]`, `[]` or nothing, for a field of `width` bits.
pub(crate) fn bit_range(bits: Option<&str>, width: u16) -> Res<'_, (u16, u16)> {
    let Some(b) = bits else { return Ok((0, width)) };
    let Some(inner) = b.strip_prefix('[').and_then(|b| b.strip_suffix(']')) else {
        return fault(b, "bits such as [0..7], [3] or []");
    };
    if inner.is_empty() {
        return Ok((0, width));
    }
    let (first, last) = inner.split_once("..").unwrap_or((inner, inner));
    let bit = |s| match parse_u128(s) {
        Some(v) if v < u128::from(width) => Ok(v as u16),
        _ => fault(s, format!("a bit from 0 to {}", width - 1)),
    };
    let (a, b) = (bit(first)?, bit(last)?);
    if a > b {
        return fault(inner, "the lower bit first");
    }
    Ok((a, b - a + 1))
}

/// Prints a run of bits.
pub(crate) fn push_subfield(out: &mut String, s: Subfield) {
    out.push_str(header_name(s.field));
    out.push('[');
    if s.offset != 0 || s.n_bits != s.field.def().bits {
        push_dec(out, s.offset.into());
        if s.n_bits != 1 {
            out.push_str("..");
            push_dec(out, u128::from(s.offset) + u128::from(s.n_bits.max(1)) - 1);
        }
    }
    out.push(']');
}

const RESERVED: &[(PortNo, &str)] = &[
    (PortNo::UNSET, "UNSET"),
    (PortNo::IN_PORT, "IN_PORT"),
    (PortNo::TABLE, "TABLE"),
    (PortNo::NORMAL, "NORMAL"),
    (PortNo::FLOOD, "FLOOD"),
    (PortNo::ALL, "ALL"),
    (PortNo::CONTROLLER, "CONTROLLER"),
    (PortNo::LOCAL, "LOCAL"),
    (PortNo::ANY, "ANY"),
];

/// A reserved port by its name, in any case (`NONE` is `ANY`).
pub(crate) fn reserved_port(s: &str) -> Option<PortNo> {
    if s.eq_ignore_ascii_case("none") {
        return Some(PortNo::ANY);
    }
    RESERVED.iter().find(|(_, n)| s.eq_ignore_ascii_case(n)).map(|(p, _)| *p)
}

/// A port: number, reserved name, or a name that `names` knows, in quotation marks or not. The numbers 65528 to 65535
/// mean the reserved ports, as in OpenFlow 1.0.
pub(crate) fn port<'a>(s: &'a str, names: &dyn PortNames) -> Res<'a, PortNo> {
    if let Some(v) = parse_u128(s) {
        return match u32::try_from(v) {
            Ok(v @ 0xfff8..=0xffff) => Ok(PortNo(v | 0xffff_0000)),
            Ok(v) => Ok(PortNo(v)),
            Err(_) => fault(s, "a port number of 32 bits"),
        };
    }
    if let Some(q) = s.strip_prefix('"').and_then(|q| q.strip_suffix('"')) {
        return names.number(q).map_or_else(|| fault(s, "the name of a port of this bridge"), Ok);
    }
    match reserved_port(s).or_else(|| names.number(s)) {
        Some(p) => Ok(p),
        None => fault_near(s, "a port: a number, a name of this bridge or a reserved name", {
            RESERVED.iter().map(|(_, n)| *n)
        }),
    }
}

/// Prints a port: reserved name, known name (quoted where it could be misread) or number.
pub(crate) fn push_port(out: &mut String, p: PortNo, names: &dyn PortNames) {
    if let Some((_, n)) = RESERVED.iter().find(|(r, _)| *r == p && *r != PortNo::UNSET) {
        return out.push_str(n);
    }
    match names.name(p) {
        Some(n) if n.is_empty() || n.contains(|c: char| c == '"' || c == '\\' || c.is_control()) => {
            push_dec(out, p.0.into());
        }
        Some(n) => {
            let plain = n.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && n.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && reserved_port(&n).is_none();
            let quote = if plain { "" } else { "\"" };
            let _ = write!(out, "{quote}{n}{quote}");
        }
        None => push_dec(out, p.0.into()),
    }
}

const TCP_FLAGS: &[&str] =
    &["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]"];
const CT_STATE: &[&str] = &["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];
const TUN_FLAGS: &[&str] = &["oam"];

fn flag_names(d: &FieldDef) -> Option<&'static [&'static str]> {
    match (d.format, d.field) {
        (Format::TcpFlags, _) => Some(TCP_FLAGS),
        (Format::CtState, _) => Some(CT_STATE),
        (_, Field::TunFlags) => Some(TUN_FLAGS),
        _ => None,
    }
}

/// `+a-b` (masked), `a|b` (exact), or `None` if the text is of another form.
fn flags<'a>(s: &'a str, names: &[&'static str], full: u128) -> Res<'a, (u128, u128)> {
    let bit = |w: &'a str| match names.iter().position(|n| *n == w) {
        Some(i) => Ok(1u128 << i),
        None => fault(w, format!("a flag of {}", names.join(", "))),
    };
    if !s.starts_with(['+', '-']) {
        let mut v = 0;
        for w in s.split('|') {
            v |= bit(w)?;
        }
        return Ok((v, full));
    }
    let (mut v, mut m, mut rest) = (0, 0, s);
    while !rest.is_empty() {
        let set = rest.starts_with('+');
        if !set && !rest.starts_with('-') {
            return fault(rest, "+flag or -flag");
        }
        let word = &rest[1..];
        let end = word.find(['+', '-']).unwrap_or(word.len());
        let b = bit(&word[..end])?;
        if m & b != 0 {
            return fault(&word[..end], "each flag once");
        }
        m |= b;
        if set {
            v |= b;
        }
        rest = &word[end..];
    }
    Ok((v, m))
}

const FRAG: &[(&str, u128, u128)] =
    &[("no", 0, 3), ("yes", 1, 1), ("first", 1, 3), ("later", 3, 3), ("not_later", 0, 2)];

/// Bits of `ip_frag` that mean something.
pub(crate) const FRAG_MASK: u128 = 3;

fn prefix(bits: u32, width: u32) -> u128 {
    let full = if width == 128 { u128::MAX } else { (1 << width) - 1 };
    if bits == 0 {
        0
    } else {
        full << (width - bits) & full
    }
}

/// Prefix length of a mask of `width` bits, if it is one.
pub(crate) fn prefix_len(mask: u128, width: u32) -> Option<u32> {
    let n = mask.count_ones();
    (prefix(n, width) == mask).then_some(n)
}

pub(crate) fn mac(s: &str) -> Option<EthAddr> {
    let mut out = [0u8; 6];
    let mut n = 0;
    for part in s.split(':') {
        if n == 6 || part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        out[n] = u8::from_str_radix(part, 16).ok()?;
        n += 1;
    }
    (n == 6).then_some(EthAddr(out))
}

fn mac_bits(m: EthAddr) -> u128 {
    m.0.iter().fold(0, |v, b| v << 8 | u128::from(*b))
}

fn unmasked<'a>(d: &FieldDef, s: &'a str, names: &dyn PortNames) -> Res<'a, u128> {
    let value = match d.format {
        Format::Mac => match mac(s) {
            Some(m) => mac_bits(m),
            None => return fault(s, "an Ethernet address such as 00:11:22:33:44:55"),
        },
        Format::Ipv4 => match s.parse::<Ipv4Addr>() {
            Ok(a) => u32::from(a).into(),
            Err(_) => return fault(s, "an IPv4 address"),
        },
        Format::Ipv6 => match s.parse::<Ipv6Addr>() {
            Ok(a) => u128::from(a),
            Err(_) => return fault(s, "an IPv6 address"),
        },
        Format::Port => {
            let p = port(s, names)?;
            // The 16-bit port of NXM keeps the OpenFlow 1.0 numbers of the reserved ports.
            if d.bits == 16 && p >= PortNo::IN_PORT {
                u128::from(p.0 & 0xffff)
            } else {
                p.0.into()
            }
        }
        _ => match parse_u128(s) {
            Some(v) => v,
            None => return fault(s, format!("{}, a number of {} bits", d.name, d.bits)),
        },
    };
    if value > d.full_mask() {
        return fault(s, format!("{}, a value of {} bits", d.name, d.bits));
    }
    Ok(value)
}

/// Value and mask of a field. A full mask comes back as full; value bits outside the mask are cleared.
pub(crate) fn value<'a>(d: &FieldDef, s: &'a str, names: &dyn PortNames) -> Res<'a, (u128, u128)> {
    if s.is_empty() {
        return fault(s, format!("a value for {}", d.name));
    }
    let full = d.full_mask();
    if let Some(known) = flag_names(d) {
        if !s.starts_with(|c: char| c.is_ascii_digit()) {
            return flags(s, known, full);
        }
    }
    if d.format == Format::Frag {
        if let Some((_, v, m)) = FRAG.iter().find(|(n, ..)| *n == s) {
            return Ok((*v, if *m == FRAG_MASK { full } else { *m }));
        }
        if parse_u128(s.split('/').next().unwrap_or("")).is_none() {
            return fault_near(s, "no, yes, first, later or not_later", FRAG.iter().map(|f| f.0));
        }
    }
    let Some((v, m)) = s.split_once('/') else { return unmasked(d, s, names).map(|v| (v, full)) };
    let value = unmasked(d, v, names)?;
    let mask = match d.format {
        Format::Ipv4 | Format::Ipv6 if m.bytes().all(|b| b.is_ascii_digit()) => {
            let width = u32::from(d.bits);
            match parse_u128(m) {
                Some(n) if n <= width.into() => prefix(n as u32, width),
                _ => return fault(m, format!("a prefix length from 0 to {width}")),
            }
        }
        _ if m == "-1" => full,
        _ => unmasked(d, m, names)?,
    };
    if d.maskable == Maskable::No && mask != full && mask != 0 {
        return fault(m, format!("no mask: {} matches exactly", d.name));
    }
    Ok((value & mask, mask))
}

/// Prints value and mask (`None`: exact) the way the field is written.
pub(crate) fn push_value(
    out: &mut String,
    d: &FieldDef,
    value: u128,
    mask: Option<u128>,
    names: &dyn PortNames,
) {
    let full = d.full_mask();
    let mask = mask.filter(|m| *m != full);
    if let Some(known) = flag_names(d) {
        let named = (1u128 << known.len()) - 1;
        match mask {
            None if value == 0 => return out.push('0'),
            None if value & !named == 0 => {
                let mut first = true;
                for (i, n) in known.iter().enumerate().filter(|(i, _)| value >> i & 1 == 1) {
                    let _ = i;
                    if !first {
                        out.push('|');
                    }
                    out.push_str(n);
                    first = false;
                }
                return;
            }
            Some(m) if m & !named == 0 && m != 0 && value & !m == 0 => {
                for (i, n) in known.iter().enumerate().filter(|(i, _)| m >> i & 1 == 1) {
                    out.push(if value >> i & 1 == 1 { '+' } else { '-' });
                    out.push_str(n);
                }
                return;
            }
            _ => {}
        }
    }
    match d.format {
        Format::Mac => {
            push_mac(out, value);
            if let Some(m) = mask {
                out.push('/');
                push_mac(out, m);
            }
        }
        Format::Ipv4 => {
            let _ = write!(out, "{}", Ipv4Addr::from(value as u32));
            if let Some(m) = mask {
                match prefix_len(m, 32) {
                    Some(n) => drop(write!(out, "/{n}")),
                    None => drop(write!(out, "/{}", Ipv4Addr::from(m as u32))),
                }
            }
        }
        Format::Ipv6 => {
            let _ = write!(out, "{}", Ipv6Addr::from(value));
            if let Some(m) = mask {
                match prefix_len(m, 128) {
                    Some(n) => drop(write!(out, "/{n}")),
                    None => drop(write!(out, "/{}", Ipv6Addr::from(m))),
                }
            }
        }
        Format::Port if mask.is_none() => {
            let v = value as u32;
            let p = if d.bits == 16 && (0xfff8..=0xffff).contains(&v) { v | 0xffff_0000 } else { v };
            push_port(out, PortNo(p), names);
        }
        Format::Frag if value & !mask.unwrap_or(FRAG_MASK) == 0 => {
            let m = mask.unwrap_or(FRAG_MASK);
            match FRAG.iter().find(|(_, v, k)| *v == value && *k == m) {
                Some((n, ..)) => out.push_str(n),
                None => push_masked_hex(out, value, mask, 0),
            }
        }
        Format::Dec if mask.is_none() => push_dec(out, value),
        // Masked, even zero is hexadecimal.
        Format::Dec => push_masked_hex(out, value, mask, 1),
        _ => push_masked_hex(out, value, mask, 0),
    }
}

/// `0x1/0xf`, each padded with zeros to `width` digits if that is not 0.
pub(crate) fn push_masked_hex(out: &mut String, value: u128, mask: Option<u128>, width: usize) {
    let one = |out: &mut String, v: u128| {
        if width == 0 {
            push_hex(out, v);
        } else {
            let _ = write!(out, "0x{v:0width$x}");
        }
    };
    one(out, value);
    if let Some(m) = mask {
        out.push('/');
        one(out, m);
    }
}

fn push_mac(out: &mut String, v: u128) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for i in (0..6).rev() {
        let b = (v >> (8 * i)) as u8;
        out.push(DIGITS[usize::from(b >> 4)] as char);
        out.push(DIGITS[usize::from(b & 15)] as char);
        if i > 0 {
            out.push(':');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::NoNames;
    use super::*;

    #[test]
    fn every_field_is_found_by_each_of_its_names() {
        for d in FIELDS {
            assert_eq!(action_field(header_name(d.field)).unwrap(), d.field, "{}", d.name);
            assert_eq!(action_field(set_name(d.field)).unwrap(), d.field, "{}", d.name);
            assert!(lookup(d.ovs_name).is_some(), "{}", d.ovs_name);
            assert!(lookup(d.name).is_some(), "{}", d.name);
        }
    }

    #[test]
    fn values_of_every_field_round_trip() {
        for d in FIELDS {
            let full = d.full_mask();
            let masks: &[u128] =
                if d.maskable == Maskable::No { &[u128::MAX] } else { &[u128::MAX, 1, 0xa5, full << 1] };
            for v in [0u128, 1, 2, 5, 0xa5, 0x1234_5678_9abc_def0, u128::MAX] {
                for m in masks {
                    let m = m & full;
                    // Fragment words know two bits; ports from 0xfff8 on mean reserved ones.
                    let (v, m) = match d.format {
                        Format::Frag => (v & 3 & m, if m == full { m } else { m & 3 }),
                        _ => (v & m, m),
                    };
                    if m == 0 || (d.format == Format::Port && (0xfff8..=0xffff).contains(&v) && d.bits == 32)
                    {
                        continue;
                    }
                    if d.format == Format::Frag && v == 2 {
                        continue;
                    }
                    let mut s = String::new();
                    push_value(&mut s, d, v, Some(m), &NoNames);
                    let (v2, m2) = value(d, &s, &NoNames).unwrap_or_else(|e| panic!("{}={s}: {e:?}", d.name));
                    let m2 = if d.format == Format::Frag && m == 3 && m2 == full { 3 } else { m2 };
                    assert_eq!((v2, m2), (v, m), "{}={s}", d.name);
                }
            }
        }
    }

    #[test]
    fn header_names_are_those_of_open_vswitch() {
        for (f, n) in [
            (Field::EthSrc, "NXM_OF_ETH_SRC"),
            (Field::VlanVid, "OXM_OF_VLAN_VID"),
            (Field::VlanTci, "NXM_OF_VLAN_TCI"),
            (Field::NxInPort, "NXM_OF_IN_PORT"),
            (Field::InPort, "OXM_OF_IN_PORT"),
            (Field::IpTos, "NXM_OF_IP_TOS"),
            (Field::IpDscp, "OXM_OF_IP_DSCP"),
            (Field::IpEcn, "NXM_NX_IP_ECN"),
            (Field::IpTtl, "NXM_NX_IP_TTL"),
            (Field::Ipv4Src, "NXM_OF_IP_SRC"),
            (Field::Ipv6Flabel, "NXM_NX_IPV6_LABEL"),
            (Field::Icmpv4Type, "NXM_OF_ICMP_TYPE"),
            (Field::Icmpv6Type, "NXM_NX_ICMPV6_TYPE"),
            (Field::Ipv6NdTarget, "NXM_NX_ND_TARGET"),
            (Field::SctpSrc, "OXM_OF_SCTP_SRC"),
            (Field::TunnelId, "NXM_NX_TUN_ID"),
            (Field::TunSrc, "NXM_NX_TUN_IPV4_SRC"),
            (Field::TcpFlags, "NXM_NX_TCP_FLAGS"),
            (Field::Xreg3, "OXM_OF_PKT_REG3"),
            (Field::Xxreg1, "NXM_NX_XXREG1"),
            (Field::NshC1, "NXOXM_NSH_C1"),
            (Field::ActsetOutput, "ONFOXM_ET_ACTSET_OUTPUT"),
            (Field::MplsTtl, "NXM_NX_MPLS_TTL"),
            (Field::IpFrag, "NXM_NX_IP_FRAG"),
        ] {
            assert_eq!(header_name(f), n);
        }
    }
}
