//! One entry per match field: name, width, wire ids, mask rule and prerequisites.
//!
//! OpenFlow 1.3.5, "Flow Match Fields"; Nicira and ONF experimenter fields as controllers send them on 1.3.
//! This table is the only place that knows a field's width, wire number and names. Values of every field fit in a
//! `u128`, right-aligned (`vlan_vid` carries its CFI/present bit 0x1000, as on the wire).

use std::fmt;

/// OXM class of the standard fields (`OFPXMC_OPENFLOW_BASIC`).
pub const CLASS_BASIC: u16 = 0x8000;
/// NXM class 0 (`NXM_OF_*`).
pub const CLASS_NXM_0: u16 = 0x0000;
/// NXM class 1 (`NXM_NX_*`).
pub const CLASS_NXM_1: u16 = 0x0001;
/// Packet registers (`OXM_OF_PKT_REG*`): xreg0 to xreg7.
pub const CLASS_PACKET_REGS: u16 = 0x8001;
/// Experimenter class; a 32-bit experimenter id follows the header.
pub const CLASS_EXPERIMENTER: u16 = 0xffff;
/// The Open Networking Foundation's experimenter id.
pub const ONF_EXPERIMENTER: u32 = 0x4f4e_4600;
/// Nicira's experimenter id.
pub const NICIRA_EXPERIMENTER: u32 = 0x0000_2320;
/// Nicira's id for NSH fields in the experimenter class.
pub const NXOXM_NSH_EXPERIMENTER: u32 = 0x005a_d650;

/// How a field may be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maskable {
    /// Exact match only.
    No,
    /// Any bits.
    Any,
}

/// What must be matched before a field may be (OpenFlow 1.3.5, "Flow Match Field Prerequisite").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prereq {
    /// Nothing.
    None,
    /// `in_port` present.
    InPort,
    /// `vlan_vid` present and not NONE.
    Vlan,
    /// `eth_type` is IPv4 or IPv6.
    Ip,
    /// `eth_type` = 0x0800.
    Ipv4,
    /// `eth_type` = 0x86dd.
    Ipv6,
    /// `eth_type` = 0x0806 (or RARP 0x8035).
    Arp,
    /// IP and `ip_proto` = 6.
    Tcp,
    /// IP and `ip_proto` = 17.
    Udp,
    /// IP and `ip_proto` = 132.
    Sctp,
    /// IPv4 and `ip_proto` = 1.
    Icmpv4,
    /// IPv6 and `ip_proto` = 58.
    Icmpv6,
    /// ICMPv6 and type 135 or 136.
    Nd,
    /// ICMPv6 type 135.
    NdSol,
    /// ICMPv6 type 136.
    NdAdv,
    /// `eth_type` = 0x8847 or 0x8848.
    Mpls,
    /// `eth_type` = 0x88e7.
    Pbb,
    /// `eth_type` = 0x894f.
    Nsh,
}

/// How a value is printed and read in the text language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Decimal (masked values in hexadecimal).
    Dec,
    /// Hexadecimal.
    Hex,
    /// `aa:bb:cc:dd:ee:ff`.
    Mac,
    /// Dotted quad, with `/prefix` or `/mask`.
    Ipv4,
    /// RFC 5952 text, with `/prefix` or `/mask`.
    Ipv6,
    /// An OpenFlow port number or reserved name.
    Port,
    /// `+flag-flag` words of TCP flags.
    TcpFlags,
    /// `no|yes|first|later|not_later`.
    Frag,
    /// `+trk-new` words of connection state.
    CtState,
}

/// One row of the field table.
#[derive(Debug, Clone, Copy)]
pub struct FieldDef {
    /// The field.
    pub field: Field,
    /// Canonical name in the text language (OXM name in lower case without the class, e.g. `eth_dst`).
    pub name: &'static str,
    /// The name ovs-ofctl prints in flows (e.g. `dl_dst`, `nw_src`).
    pub ovs_name: &'static str,
    /// Width in bits (1 to 128).
    pub bits: u16,
    /// Preferred wire id for OpenFlow 1.3: class.
    pub class: u16,
    /// Preferred wire id: field number (0 to 127).
    pub number: u8,
    /// Experimenter id when `class` is [`CLASS_EXPERIMENTER`], else 0.
    pub experimenter: u32,
    /// Second wire id (`NXM_*`) under which the field is also accepted, as (class, number).
    pub alias: Option<(u16, u8)>,
    /// Mask rule.
    pub maskable: Maskable,
    /// Prerequisite.
    pub prereq: Prereq,
    /// Text format.
    pub format: Format,
    /// May be the target of set_field / load / move.
    pub settable: bool,
}

impl FieldDef {
    /// Bytes of the value on the wire: 20-bit fields take 4, `nsh_spi` takes 4 for its 24 bits, all others as few as hold
    /// their bits.
    #[inline]
    pub const fn bytes(&self) -> usize {
        match (self.bits, self.class) {
            (20, _) | (24, CLASS_EXPERIMENTER) => 4,
            (bits, _) => (bits as usize).div_ceil(8),
        }
    }
    /// The OXM header of the field's preferred id, with the length of an exact or masked value.
    #[inline]
    pub const fn oxm_header(&self, has_mask: bool) -> u32 {
        let exp = if self.class == CLASS_EXPERIMENTER { 4 } else { 0 };
        let len = (self.bytes() << has_mask as usize) + exp;
        (self.class as u32) << 16 | (self.number as u32) << 9 | (has_mask as u32) << 8 | len as u32
    }
    /// A header without mask for a place that has room for nothing but 4 bytes: an experimenter's field goes by its alias there, if it has one.
    pub const fn short_header(&self) -> u32 {
        match self.alias {
            Some((class, number)) if self.class == CLASS_EXPERIMENTER => {
                (class as u32) << 16 | (number as u32) << 9 | self.bytes() as u32
            }
            _ => self.oxm_header(false),
        }
    }
    /// All bits of the field set.
    pub const fn full_mask(&self) -> u128 {
        if self.bits == 128 {
            u128::MAX
        } else {
            (1u128 << self.bits) - 1
        }
    }
}

macro_rules! fields {
    ($( $id:ident $name:literal $ovs:literal $bits:literal $class:ident $num:literal $exp:expr, $alias:expr,
        $mask:ident $pre:ident $fmt:ident $set:literal ; )*) => {
        /// A match field. `as usize` indexes [`FIELDS`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum Field { $( $id, )* }
        /// Every field, in the order of [`Field`].
        pub static FIELDS: &[FieldDef] = &[ $( FieldDef {
            field: Field::$id, name: $name, ovs_name: $ovs, bits: $bits, class: $class, number: $num,
            experimenter: $exp, alias: $alias, maskable: Maskable::$mask, prereq: Prereq::$pre,
            format: Format::$fmt, settable: $set }, )* ];
    };
}

const fn n0(n: u8) -> Option<(u16, u8)> {
    Some((CLASS_NXM_0, n))
}
const fn n1(n: u8) -> Option<(u16, u8)> {
    Some((CLASS_NXM_1, n))
}
const NO: Option<(u16, u8)> = None;
const ONF: u32 = ONF_EXPERIMENTER;
const NSH: u32 = NXOXM_NSH_EXPERIMENTER;

// The specification's table of fields says which of them can be masked at least; ports and the fields of neighbour discovery can here as well, as in
// Open vSwitch (a table's features tell). Which extension headers a packet has cannot be set: they would have to be made.
// NXM alias ids are given only where the value's encoding is the same as the OXM field's.
fields! {
    InPort "in_port" "in_port" 32 CLASS_BASIC 0 0, NO, No None Port true;
    InPhyPort "in_phy_port" "in_phy_port" 32 CLASS_BASIC 1 0, NO, No InPort Port false;
    Metadata "metadata" "metadata" 64 CLASS_BASIC 2 0, NO, Any None Hex true;
    EthDst "eth_dst" "dl_dst" 48 CLASS_BASIC 3 0, n0(1), Any None Mac true;
    EthSrc "eth_src" "dl_src" 48 CLASS_BASIC 4 0, n0(2), Any None Mac true;
    EthType "eth_type" "dl_type" 16 CLASS_BASIC 5 0, n0(3), No None Hex true;
    VlanVid "vlan_vid" "dl_vlan" 13 CLASS_BASIC 6 0, NO, Any None Dec true;
    VlanPcp "vlan_pcp" "dl_vlan_pcp" 3 CLASS_BASIC 7 0, NO, No Vlan Dec true;
    IpDscp "ip_dscp" "nw_tos" 6 CLASS_BASIC 8 0, NO, No Ip Dec true;
    IpEcn "ip_ecn" "nw_ecn" 2 CLASS_BASIC 9 0, n1(28), No Ip Dec true;
    IpProto "ip_proto" "nw_proto" 8 CLASS_BASIC 10 0, n0(6), No Ip Dec true;
    Ipv4Src "ipv4_src" "nw_src" 32 CLASS_BASIC 11 0, n0(7), Any Ipv4 Ipv4 true;
    Ipv4Dst "ipv4_dst" "nw_dst" 32 CLASS_BASIC 12 0, n0(8), Any Ipv4 Ipv4 true;
    TcpSrc "tcp_src" "tp_src" 16 CLASS_BASIC 13 0, n0(9), Any Tcp Dec true;
    TcpDst "tcp_dst" "tp_dst" 16 CLASS_BASIC 14 0, n0(10), Any Tcp Dec true;
    UdpSrc "udp_src" "tp_src" 16 CLASS_BASIC 15 0, n0(11), Any Udp Dec true;
    UdpDst "udp_dst" "tp_dst" 16 CLASS_BASIC 16 0, n0(12), Any Udp Dec true;
    SctpSrc "sctp_src" "tp_src" 16 CLASS_BASIC 17 0, NO, Any Sctp Dec true;
    SctpDst "sctp_dst" "tp_dst" 16 CLASS_BASIC 18 0, NO, Any Sctp Dec true;
    Icmpv4Type "icmpv4_type" "icmp_type" 8 CLASS_BASIC 19 0, n0(13), No Icmpv4 Dec true;
    Icmpv4Code "icmpv4_code" "icmp_code" 8 CLASS_BASIC 20 0, n0(14), No Icmpv4 Dec true;
    ArpOp "arp_op" "arp_op" 16 CLASS_BASIC 21 0, n0(15), No Arp Dec true;
    ArpSpa "arp_spa" "arp_spa" 32 CLASS_BASIC 22 0, n0(16), Any Arp Ipv4 true;
    ArpTpa "arp_tpa" "arp_tpa" 32 CLASS_BASIC 23 0, n0(17), Any Arp Ipv4 true;
    ArpSha "arp_sha" "arp_sha" 48 CLASS_BASIC 24 0, n1(17), Any Arp Mac true;
    ArpTha "arp_tha" "arp_tha" 48 CLASS_BASIC 25 0, n1(18), Any Arp Mac true;
    Ipv6Src "ipv6_src" "ipv6_src" 128 CLASS_BASIC 26 0, n1(19), Any Ipv6 Ipv6 true;
    Ipv6Dst "ipv6_dst" "ipv6_dst" 128 CLASS_BASIC 27 0, n1(20), Any Ipv6 Ipv6 true;
    Ipv6Flabel "ipv6_flabel" "ipv6_label" 20 CLASS_BASIC 28 0, n1(27), Any Ipv6 Hex true;
    Icmpv6Type "icmpv6_type" "icmp_type" 8 CLASS_BASIC 29 0, n1(21), No Icmpv6 Dec true;
    Icmpv6Code "icmpv6_code" "icmp_code" 8 CLASS_BASIC 30 0, n1(22), No Icmpv6 Dec true;
    Ipv6NdTarget "ipv6_nd_target" "nd_target" 128 CLASS_BASIC 31 0, n1(23), Any Nd Ipv6 true;
    Ipv6NdSll "ipv6_nd_sll" "nd_sll" 48 CLASS_BASIC 32 0, n1(24), Any NdSol Mac true;
    Ipv6NdTll "ipv6_nd_tll" "nd_tll" 48 CLASS_BASIC 33 0, n1(25), Any NdAdv Mac true;
    MplsLabel "mpls_label" "mpls_label" 20 CLASS_BASIC 34 0, NO, No Mpls Dec true;
    MplsTc "mpls_tc" "mpls_tc" 3 CLASS_BASIC 35 0, NO, No Mpls Dec true;
    MplsBos "mpls_bos" "mpls_bos" 1 CLASS_BASIC 36 0, NO, No Mpls Dec true;
    PbbIsid "pbb_isid" "pbb_isid" 24 CLASS_BASIC 37 0, NO, Any Pbb Hex true;
    TunnelId "tunnel_id" "tun_id" 64 CLASS_BASIC 38 0, n1(16), Any None Hex true;
    Ipv6Exthdr "ipv6_exthdr" "ipv6_exthdr" 9 CLASS_BASIC 39 0, NO, Any Ipv6 Hex false;
    PbbUca "pbb_uca" "pbb_uca" 1 CLASS_BASIC 41 0, NO, No Pbb Dec true;
    TcpFlags "tcp_flags" "tcp_flags" 12 CLASS_EXPERIMENTER 42 ONF, n1(34), Any Tcp TcpFlags false;
    ActsetOutput "actset_output" "actset_output" 32 CLASS_EXPERIMENTER 43 ONF, NO, No None Port false;
    VlanTci "vlan_tci" "vlan_tci" 16 CLASS_NXM_0 4 0, NO, Any None Hex true;
    NxInPort "in_port" "in_port" 16 CLASS_NXM_0 0 0, NO, No None Port true;
    IpTos "nw_tos" "nw_tos" 8 CLASS_NXM_0 5 0, NO, No Ip Dec true;
    IpTtl "nw_ttl" "nw_ttl" 8 CLASS_NXM_1 29 0, NO, No Ip Dec true;
    IpFrag "ip_frag" "nw_frag" 8 CLASS_NXM_1 26 0, NO, Any Ip Frag false;
    MplsTtl "mpls_ttl" "mpls_ttl" 8 CLASS_NXM_1 30 0, NO, No Mpls Dec true;
    TunSrc "tun_src" "tun_src" 32 CLASS_NXM_1 31 0, NO, Any None Ipv4 true;
    TunDst "tun_dst" "tun_dst" 32 CLASS_NXM_1 32 0, NO, Any None Ipv4 true;
    PktMark "pkt_mark" "pkt_mark" 32 CLASS_NXM_1 33 0, NO, Any None Hex true;
    DpHash "dp_hash" "dp_hash" 32 CLASS_NXM_1 35 0, NO, Any None Hex false;
    RecircId "recirc_id" "recirc_id" 32 CLASS_NXM_1 36 0, NO, No None Hex false;
    ConjId "conj_id" "conj_id" 32 CLASS_NXM_1 37 0, NO, No None Dec false;
    TunGbpId "tun_gbp_id" "tun_gbp_id" 16 CLASS_NXM_1 38 0, NO, Any None Dec true;
    TunGbpFlags "tun_gbp_flags" "tun_gbp_flags" 8 CLASS_NXM_1 39 0, NO, Any None Hex true;
    TunFlags "tun_flags" "tun_flags" 16 CLASS_NXM_1 104 0, NO, Any None Hex true;
    CtState "ct_state" "ct_state" 32 CLASS_NXM_1 105 0, NO, Any None CtState false;
    CtZone "ct_zone" "ct_zone" 16 CLASS_NXM_1 106 0, NO, No None Dec false;
    CtMark "ct_mark" "ct_mark" 32 CLASS_NXM_1 107 0, NO, Any None Hex true;
    CtLabel "ct_label" "ct_label" 128 CLASS_NXM_1 108 0, NO, Any None Hex true;
    TunIpv6Src "tun_ipv6_src" "tun_ipv6_src" 128 CLASS_NXM_1 109 0, NO, Any None Ipv6 true;
    TunIpv6Dst "tun_ipv6_dst" "tun_ipv6_dst" 128 CLASS_NXM_1 110 0, NO, Any None Ipv6 true;
    CtNwProto "ct_nw_proto" "ct_nw_proto" 8 CLASS_NXM_1 119 0, NO, No None Dec false;
    CtNwSrc "ct_nw_src" "ct_nw_src" 32 CLASS_NXM_1 120 0, NO, Any None Ipv4 false;
    CtNwDst "ct_nw_dst" "ct_nw_dst" 32 CLASS_NXM_1 121 0, NO, Any None Ipv4 false;
    CtIpv6Src "ct_ipv6_src" "ct_ipv6_src" 128 CLASS_NXM_1 122 0, NO, Any None Ipv6 false;
    CtIpv6Dst "ct_ipv6_dst" "ct_ipv6_dst" 128 CLASS_NXM_1 123 0, NO, Any None Ipv6 false;
    CtTpSrc "ct_tp_src" "ct_tp_src" 16 CLASS_NXM_1 124 0, NO, Any None Dec false;
    CtTpDst "ct_tp_dst" "ct_tp_dst" 16 CLASS_NXM_1 125 0, NO, Any None Dec false;
    Reg0 "reg0" "reg0" 32 CLASS_NXM_1 0 0, NO, Any None Hex true;
    Reg1 "reg1" "reg1" 32 CLASS_NXM_1 1 0, NO, Any None Hex true;
    Reg2 "reg2" "reg2" 32 CLASS_NXM_1 2 0, NO, Any None Hex true;
    Reg3 "reg3" "reg3" 32 CLASS_NXM_1 3 0, NO, Any None Hex true;
    Reg4 "reg4" "reg4" 32 CLASS_NXM_1 4 0, NO, Any None Hex true;
    Reg5 "reg5" "reg5" 32 CLASS_NXM_1 5 0, NO, Any None Hex true;
    Reg6 "reg6" "reg6" 32 CLASS_NXM_1 6 0, NO, Any None Hex true;
    Reg7 "reg7" "reg7" 32 CLASS_NXM_1 7 0, NO, Any None Hex true;
    Reg8 "reg8" "reg8" 32 CLASS_NXM_1 8 0, NO, Any None Hex true;
    Reg9 "reg9" "reg9" 32 CLASS_NXM_1 9 0, NO, Any None Hex true;
    Reg10 "reg10" "reg10" 32 CLASS_NXM_1 10 0, NO, Any None Hex true;
    Reg11 "reg11" "reg11" 32 CLASS_NXM_1 11 0, NO, Any None Hex true;
    Reg12 "reg12" "reg12" 32 CLASS_NXM_1 12 0, NO, Any None Hex true;
    Reg13 "reg13" "reg13" 32 CLASS_NXM_1 13 0, NO, Any None Hex true;
    Reg14 "reg14" "reg14" 32 CLASS_NXM_1 14 0, NO, Any None Hex true;
    Reg15 "reg15" "reg15" 32 CLASS_NXM_1 15 0, NO, Any None Hex true;
    Xreg0 "xreg0" "xreg0" 64 CLASS_PACKET_REGS 0 0, NO, Any None Hex true;
    Xreg1 "xreg1" "xreg1" 64 CLASS_PACKET_REGS 1 0, NO, Any None Hex true;
    Xreg2 "xreg2" "xreg2" 64 CLASS_PACKET_REGS 2 0, NO, Any None Hex true;
    Xreg3 "xreg3" "xreg3" 64 CLASS_PACKET_REGS 3 0, NO, Any None Hex true;
    Xreg4 "xreg4" "xreg4" 64 CLASS_PACKET_REGS 4 0, NO, Any None Hex true;
    Xreg5 "xreg5" "xreg5" 64 CLASS_PACKET_REGS 5 0, NO, Any None Hex true;
    Xreg6 "xreg6" "xreg6" 64 CLASS_PACKET_REGS 6 0, NO, Any None Hex true;
    Xreg7 "xreg7" "xreg7" 64 CLASS_PACKET_REGS 7 0, NO, Any None Hex true;
    Xxreg0 "xxreg0" "xxreg0" 128 CLASS_NXM_1 111 0, NO, Any None Hex true;
    Xxreg1 "xxreg1" "xxreg1" 128 CLASS_NXM_1 112 0, NO, Any None Hex true;
    Xxreg2 "xxreg2" "xxreg2" 128 CLASS_NXM_1 113 0, NO, Any None Hex true;
    Xxreg3 "xxreg3" "xxreg3" 128 CLASS_NXM_1 114 0, NO, Any None Hex true;
    NshFlags "nsh_flags" "nsh_flags" 8 CLASS_EXPERIMENTER 1 NSH, NO, Any Nsh Dec true;
    NshMdtype "nsh_mdtype" "nsh_mdtype" 8 CLASS_EXPERIMENTER 2 NSH, NO, No Nsh Dec false;
    NshNp "nsh_np" "nsh_np" 8 CLASS_EXPERIMENTER 3 NSH, NO, No Nsh Dec false;
    NshSpi "nsh_spi" "nsh_spi" 24 CLASS_EXPERIMENTER 4 NSH, NO, No Nsh Hex true;
    NshSi "nsh_si" "nsh_si" 8 CLASS_EXPERIMENTER 5 NSH, NO, No Nsh Dec true;
    NshC1 "nsh_c1" "nsh_c1" 32 CLASS_EXPERIMENTER 6 NSH, NO, Any Nsh Hex true;
    NshC2 "nsh_c2" "nsh_c2" 32 CLASS_EXPERIMENTER 7 NSH, NO, Any Nsh Hex true;
    NshC3 "nsh_c3" "nsh_c3" 32 CLASS_EXPERIMENTER 8 NSH, NO, Any Nsh Hex true;
    NshC4 "nsh_c4" "nsh_c4" 32 CLASS_EXPERIMENTER 9 NSH, NO, Any Nsh Hex true;
    NshTtl "nsh_ttl" "nsh_ttl" 8 CLASS_EXPERIMENTER 10 NSH, NO, No Nsh Dec true;
}

impl Field {
    /// The field's row in [`FIELDS`].
    #[inline]
    pub fn def(self) -> &'static FieldDef {
        &FIELDS[self as usize]
    }
    /// The field of a wire id (OXM class, field number, experimenter id where the class is 0xffff), by its preferred
    /// id or its alias.
    #[inline]
    pub fn from_wire(class: u16, number: u8, experimenter: u32) -> Option<Field> {
        let space = match class {
            CLASS_BASIC => 0,
            CLASS_NXM_0 => 1,
            CLASS_NXM_1 => 2,
            CLASS_PACKET_REGS => 3,
            CLASS_EXPERIMENTER if experimenter == ONF_EXPERIMENTER => 4,
            CLASS_EXPERIMENTER if experimenter == NXOXM_NSH_EXPERIMENTER => 5,
            _ => return None,
        };
        match BY_WIRE_ID[space][(number & 0x7f) as usize] {
            0 => None,
            n => Some(FIELDS[n as usize - 1].field),
        }
    }
}

/// [`FIELDS`] index plus one by (id space, field number): the reverse of the table, made when compiled.
static BY_WIRE_ID: [[u8; 128]; 6] = {
    const fn space(class: u16, experimenter: u32) -> usize {
        match class {
            CLASS_BASIC => 0,
            CLASS_NXM_0 => 1,
            CLASS_NXM_1 => 2,
            CLASS_PACKET_REGS => 3,
            _ if experimenter == ONF_EXPERIMENTER => 4,
            _ => 5,
        }
    }
    let mut t = [[0u8; 128]; 6];
    let mut i = 0;
    while i < FIELDS.len() {
        let d = &FIELDS[i];
        t[space(d.class, d.experimenter)][d.number as usize] = i as u8 + 1;
        if let Some((class, number)) = d.alias {
            t[space(class, 0)][number as usize] = i as u8 + 1;
        }
        i += 1;
    }
    t
};

impl serde::Serialize for Field {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.def().name)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.def().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_indexed_by_the_enum() {
        for (i, d) in FIELDS.iter().enumerate() {
            assert_eq!(d.field as usize, i);
            assert!((1..=128).contains(&d.bits), "{}", d.name);
        }
    }

    #[test]
    fn every_wire_id_finds_its_field() {
        for d in FIELDS {
            assert_eq!(Field::from_wire(d.class, d.number, d.experimenter), Some(d.field), "{}", d.name);
            if let Some((class, number)) = d.alias {
                assert_eq!(Field::from_wire(class, number, 0), Some(d.field), "alias of {}", d.name);
            }
        }
        assert_eq!(Field::from_wire(CLASS_BASIC, 40, 0), None);
        assert_eq!(Field::from_wire(0x1234, 0, 0), None);
    }
}
