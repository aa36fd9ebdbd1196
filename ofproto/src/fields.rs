//! OXM fields and the bits of a [`Flow`]: the one place where the two vocabularies touch.

use crate::flow::{pipe, Flow};
use datapath::flow_key::off;
use openflow::action::Subfield;
use openflow::field::{Field, Prereq};
use openflow::{Match, Oxm, OxmField};

/// Where a field stands: `bytes` bytes at `at`, of them `bits` bits from bit `shift` (0 is the least significant).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loc {
    /// First byte.
    pub at: usize,
    /// Bytes.
    pub bytes: usize,
    /// Lowest bit.
    pub shift: usize,
    /// Width.
    pub bits: usize,
}

/// The place of a field; `None` if the switch does not know it.
pub fn loc(field: Field) -> Option<Loc> {
    use Field::*;
    let whole = |at: usize, bytes: usize| Loc { at, bytes, shift: 0, bits: bytes * 8 };
    let part = |at: usize, bytes: usize, shift: usize, bits: usize| Loc { at, bytes, shift, bits };
    let nth = |first: Field| field as usize - first as usize;
    Some(match field {
        InPort => whole(pipe::IN_PORT, 4),
        NxInPort => whole(pipe::IN_PORT + 2, 2),
        InPhyPort => whole(pipe::IN_PHY_PORT, 4),
        Metadata => whole(pipe::METADATA, 8),
        ActsetOutput => whole(pipe::ACTSET_OUTPUT, 4),
        ConjId => whole(pipe::CONJ_ID, 4),
        Reg0 | Reg1 | Reg2 | Reg3 | Reg4 | Reg5 | Reg6 | Reg7 | Reg8 | Reg9 | Reg10 | Reg11 | Reg12
        | Reg13 | Reg14 | Reg15 => whole(pipe::REG0 + 4 * nth(Reg0), 4),
        Xreg0 | Xreg1 | Xreg2 | Xreg3 | Xreg4 | Xreg5 | Xreg6 | Xreg7 => {
            whole(pipe::REG0 + 8 * nth(Xreg0), 8)
        }
        Xxreg0 | Xxreg1 | Xxreg2 | Xxreg3 => whole(pipe::REG0 + 16 * nth(Xxreg0), 16),
        EthDst => whole(off::ETH_DST, 6),
        EthSrc => whole(off::ETH_SRC, 6),
        EthType => whole(off::ETH_TYPE, 2),
        VlanVid => part(off::VLAN0_TCI, 2, 0, 13),
        VlanPcp => part(off::VLAN0_TCI, 2, 13, 3),
        VlanTci => whole(off::VLAN0_TCI, 2),
        IpDscp => part(off::IP_TOS, 1, 2, 6),
        IpEcn => part(off::IP_TOS, 1, 0, 2),
        IpTos => whole(off::IP_TOS, 1),
        IpProto => whole(off::IP_PROTO, 1),
        IpTtl => whole(off::IP_TTL, 1),
        IpFrag => whole(off::IP_FRAG, 1),
        Ipv4Src | ArpSpa => whole(off::IPV4_SRC, 4),
        Ipv4Dst | ArpTpa => whole(off::IPV4_DST, 4),
        TcpSrc | UdpSrc | SctpSrc | ArpOp => whole(off::TP_SRC, 2),
        TcpDst | UdpDst | SctpDst => whole(off::TP_DST, 2),
        Icmpv4Type | Icmpv6Type => whole(off::TP_SRC + 1, 1),
        Icmpv4Code | Icmpv6Code => whole(off::TP_DST + 1, 1),
        ArpSha | Ipv6NdSll => whole(off::ARP_SHA, 6),
        ArpTha | Ipv6NdTll => whole(off::ARP_THA, 6),
        Ipv6Src => whole(off::IPV6_SRC, 16),
        Ipv6Dst => whole(off::IPV6_DST, 16),
        Ipv6Flabel => part(off::IPV6_FLABEL, 4, 0, 20),
        Ipv6NdTarget => whole(off::ND_TARGET, 16),
        Ipv6Exthdr => part(off::IPV6_EXTHDR, 2, 0, 9),
        MplsLabel => part(off::MPLS_LSE, 4, 12, 20),
        MplsTc => part(off::MPLS_LSE, 4, 9, 3),
        MplsBos => part(off::MPLS_LSE, 4, 8, 1),
        MplsTtl => part(off::MPLS_LSE, 4, 0, 8),
        PbbIsid => part(off::PBB_ISID, 4, 0, 24),
        PbbUca => part(off::PBB_UCA, 1, 0, 1),
        TcpFlags => part(off::TCP_FLAGS, 2, 0, 12),
        TunnelId => whole(off::TUNNEL_ID, 8),
        TunSrc => whole(off::TUN_SRC, 4),
        TunDst => whole(off::TUN_DST, 4),
        PktMark => whole(off::PKT_MARK, 4),
        DpHash => whole(off::DP_HASH, 4),
        RecircId => whole(off::RECIRC_ID, 4),
        CtState => whole(off::CT_STATE, 4),
        CtMark => whole(off::CT_MARK, 4),
        CtZone => whole(off::CT_ZONE, 2),
        CtLabel => whole(off::CT_LABEL, 16),
        _ => return None,
    })
}

fn ones(bits: usize) -> u128 {
    if bits >= 128 {
        u128::MAX
    } else {
        (1 << bits) - 1
    }
}

impl Loc {
    /// The place of some bits of a field.
    pub fn sub(self, offset: u16, n_bits: u16) -> Self {
        Self { shift: self.shift + offset as usize, bits: n_bits as usize, ..self }
    }
    /// The value here.
    pub fn get(self, f: &Flow) -> u128 {
        f.get(self.at, self.bytes) >> self.shift & ones(self.bits)
    }
    /// Stores bits of `mask`.
    pub fn set_masked(self, f: &mut Flow, value: u128, mask: u128) {
        let m = (mask & ones(self.bits)) << self.shift;
        let old = f.get(self.at, self.bytes);
        f.put(self.at, self.bytes, old & !m | (value << self.shift) & m);
    }
    /// Stores a value.
    pub fn set(self, f: &mut Flow, value: u128) {
        self.set_masked(f, value, u128::MAX);
    }
    /// A mask of these bits.
    pub fn mask(self) -> Flow {
        let mut m = Flow::ZERO;
        self.set(&mut m, u128::MAX);
        m
    }
}

/// The place of a subfield.
pub fn sub_loc(s: &Subfield) -> Option<Loc> {
    loc(s.field).map(|l| l.sub(s.offset, s.n_bits))
}

/// The bits of a field that a match looks at.
#[inline]
pub fn match_bits(f: &OxmField) -> u128 {
    if f.field == Field::VlanVid && f.mask.is_none() && f.value == 0 {
        // OFPVID_NONE: no tag. The whole TCI is zero without one; the present bit decides.
        return 0x1000;
    }
    f.full_mask()
}

/// Value and mask of a match; `None` if it has a field the switch does not know.
pub fn match_to_flow(m: &Match) -> Option<(Flow, Flow)> {
    let (mut value, mut mask) = (Flow::ZERO, Flow::ZERO);
    for o in &m.fields {
        let Oxm::Known(f) = o else { return None };
        let l = loc(f.field)?;
        let bits = match_bits(f);
        l.set_masked(&mut value, f.value, bits);
        l.set_masked(&mut mask, bits, bits);
    }
    Some((value, mask))
}

/// Has a match look at some bits of a field, whose value there is `v`.
pub fn match_subfield(m: &mut Match, d: &Subfield, v: u128) {
    let (full, mask) = (d.field.def().full_mask(), ones(d.n_bits.into()) << d.offset);
    let value = v << d.offset & mask;
    let old = m.fields.iter_mut().find_map(|o| match o {
        Oxm::Known(f) if f.field == d.field => Some(f),
        _ => None,
    });
    match old {
        Some(f) => {
            let all = f.full_mask() | mask;
            f.value = f.value & !mask | value;
            f.mask = (all != full).then_some(all);
        }
        None => {
            let mask = (mask != full).then_some(mask);
            m.fields.push(OxmField { field: d.field, value, mask }.into());
        }
    }
}

/// Fields of the pipeline that a packet-in tells, where they are not zero. `in_port` always.
pub fn packet_in_match(f: &Flow) -> Match {
    let mut m = Match::new().with(Field::InPort, f.in_port().into());
    let phy = f.u32(pipe::IN_PHY_PORT);
    if phy != 0 && phy != f.in_port() {
        m = m.with(Field::InPhyPort, phy.into());
    }
    let regs = (Field::Reg0 as usize..=Field::Reg15 as usize).map(|i| openflow::field::FIELDS[i].field);
    for field in [Field::Metadata, Field::TunnelId, Field::PktMark].into_iter().chain(regs) {
        if let Some(v) = loc(field).map(|l| l.get(f)).filter(|v| *v != 0) {
            m.fields.push(OxmField::exact(field, v).into());
        }
    }
    m
}

/// Whether a packet has what a field needs (for set-field on a packet that lacks the header).
pub fn flow_satisfies(f: &Flow, p: Prereq) -> bool {
    let t = f.eth_type();
    let proto = f.byte(off::IP_PROTO);
    let ip = t == 0x0800 || t == 0x86dd;
    match p {
        Prereq::None | Prereq::InPort => true,
        Prereq::Vlan => f.u16(off::VLAN0_TCI) & 0x1000 != 0,
        Prereq::Ip => ip,
        Prereq::Ipv4 => t == 0x0800,
        Prereq::Ipv6 => t == 0x86dd,
        Prereq::Arp => t == 0x0806 || t == 0x8035,
        Prereq::Tcp => ip && proto == 6 && f.byte(off::IP_FRAG) & 2 == 0,
        Prereq::Udp => ip && proto == 17 && f.byte(off::IP_FRAG) & 2 == 0,
        Prereq::Sctp => ip && proto == 132 && f.byte(off::IP_FRAG) & 2 == 0,
        Prereq::Icmpv4 => t == 0x0800 && proto == 1,
        Prereq::Icmpv6 => t == 0x86dd && proto == 58,
        Prereq::Nd => t == 0x86dd && proto == 58 && matches!(f.u16(off::TP_SRC), 135 | 136),
        Prereq::NdSol => t == 0x86dd && proto == 58 && f.u16(off::TP_SRC) == 135,
        Prereq::NdAdv => t == 0x86dd && proto == 58 && f.u16(off::TP_SRC) == 136,
        Prereq::Mpls => t == 0x8847 || t == 0x8848,
        Prereq::Pbb => t == 0x88e7,
        Prereq::Nsh => t == 0x894f,
    }
}

/// Bits that [`flow_satisfies`] looks at.
pub fn prereq_mask(p: Prereq) -> Flow {
    let mut m = Flow::ZERO;
    match p {
        Prereq::None | Prereq::InPort => {}
        Prereq::Vlan => m.put(off::VLAN0_TCI, 2, 0x1000),
        Prereq::Ip | Prereq::Ipv4 | Prereq::Ipv6 | Prereq::Arp | Prereq::Mpls | Prereq::Pbb | Prereq::Nsh => {
            m.put(off::ETH_TYPE, 2, 0xffff);
        }
        _ => {
            m.put(off::ETH_TYPE, 2, 0xffff);
            m.put(off::IP_PROTO, 1, 0xff);
            m.put(off::IP_FRAG, 1, 0xff);
            if matches!(p, Prereq::Nd | Prereq::NdSol | Prereq::NdAdv) {
                m.put(off::TP_SRC, 2, 0xffff);
            }
        }
    }
    m
}
