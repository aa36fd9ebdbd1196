//! What a flow entry, a bucket or a packet-out does to a packet (OpenFlow 1.3.5, "Action Structures"; Nicira
//! extensions as 1.3 controllers send them).

use crate::error::{DecodeError, OfpError};
use crate::field::{Field, CLASS_EXPERIMENTER, NICIRA_EXPERIMENTER};
use crate::ids::{GroupId, PortNo};
use crate::matching::{Oxm, OxmField};
use crate::wire::{Reader, Writer};

/// A contiguous run of bits of a field: `NXM_NX_REG0[4..7]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subfield {
    /// The field.
    pub field: Field,
    /// First bit, 0 is the least significant.
    pub offset: u16,
    /// Number of bits, at least 1.
    pub n_bits: u16,
}

/// One action. Order in a list is order of execution for apply-actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `OFPAT_OUTPUT`; `max_len` counts for CONTROLLER only (0xffff: whole packet).
    Output {
        /// Where to.
        port: PortNo,
        /// Bytes to send to a controller.
        max_len: u16,
    },
    /// `OFPAT_COPY_TTL_OUT`.
    CopyTtlOut,
    /// `OFPAT_COPY_TTL_IN`.
    CopyTtlIn,
    /// `OFPAT_SET_MPLS_TTL`.
    SetMplsTtl(u8),
    /// `OFPAT_DEC_MPLS_TTL`.
    DecMplsTtl,
    /// `OFPAT_PUSH_VLAN` with its TPID.
    PushVlan(u16),
    /// `OFPAT_POP_VLAN`.
    PopVlan,
    /// `OFPAT_PUSH_MPLS` with its Ethertype.
    PushMpls(u16),
    /// `OFPAT_POP_MPLS` with the Ethertype of what is left.
    PopMpls(u16),
    /// `OFPAT_SET_QUEUE`.
    SetQueue(u32),
    /// `OFPAT_GROUP`.
    Group(GroupId),
    /// `OFPAT_SET_NW_TTL`.
    SetNwTtl(u8),
    /// `OFPAT_DEC_NW_TTL`.
    DecNwTtl,
    /// `OFPAT_SET_FIELD`; a mask (OpenFlow 1.5 style) is accepted in text and sent as NXAST_REG_LOAD2.
    SetField(Oxm),
    /// `OFPAT_PUSH_PBB` with its Ethertype.
    PushPbb(u16),
    /// `OFPAT_POP_PBB`.
    PopPbb,
    /// Any other experimenter action, kept as it came.
    Experimenter {
        /// Experimenter id.
        experimenter: u32,
        /// Bytes after the experimenter id (padding included).
        body: Vec<u8>,
    },
    /// An action type outside the specification, kept as it came; refused by the switch.
    Unknown {
        /// Action type.
        kind: u16,
        /// Bytes after type and length.
        body: Vec<u8>,
    },

    // ---- Nicira extensions ----
    /// `NXAST_RESUBMIT`, `_TABLE`, `_TABLE_CT`: `None` port keeps the current in_port, `None` table the current one.
    Resubmit {
        /// in_port to look up with.
        in_port: Option<PortNo>,
        /// Table to look up in.
        table: Option<u8>,
        /// Look up with the original direction's tuple.
        ct: bool,
    },
    /// `NXAST_REG_MOVE`: equal widths.
    RegMove {
        /// Source bits.
        src: Subfield,
        /// Destination bits.
        dst: Subfield,
    },
    /// `NXAST_REG_LOAD`: value into at most 64 bits.
    RegLoad {
        /// Destination bits.
        dst: Subfield,
        /// Value, right-aligned.
        value: u64,
    },
    /// `NXAST_REG_LOAD2`: a set-field with mask.
    RegLoad2(Oxm),
    /// `NXAST_STACK_PUSH`.
    StackPush(Subfield),
    /// `NXAST_STACK_POP`.
    StackPop(Subfield),
    /// `NXAST_OUTPUT_REG`, `_REG2`.
    OutputReg {
        /// Bits holding the port.
        src: Subfield,
        /// Bytes to send if it is CONTROLLER.
        max_len: u16,
    },
    /// `NXAST_OUTPUT_TRUNC`.
    OutputTrunc {
        /// Where to.
        port: PortNo,
        /// Bytes of the packet to send.
        max_len: u32,
    },
    /// `NXAST_SET_TUNNEL`, `_TUNNEL64`.
    SetTunnel(u64),
    /// `NXAST_SET_QUEUE`'s undo.
    PopQueue,
    /// `NXAST_MULTIPATH`.
    Multipath(Box<Multipath>),
    /// `NXAST_BUNDLE`, `_BUNDLE_LOAD`.
    Bundle(Box<BundleAction>),
    /// `NXAST_LEARN`, `_LEARN2`.
    Learn(Box<Learn>),
    /// `NXAST_CONJUNCTION`.
    Conjunction {
        /// Conjunction id, matched by `conj_id`.
        id: u32,
        /// This clause, from 0.
        clause: u8,
        /// Number of clauses, 2 to 64.
        n_clauses: u8,
    },
    /// `NXAST_CONTROLLER`, `_CONTROLLER2`.
    Controller(Box<ControllerAction>),
    /// `NXAST_NOTE`: ignored bytes.
    Note(Vec<u8>),
    /// `NXAST_EXIT`.
    Exit,
    /// `NXAST_FIN_TIMEOUT`, seconds.
    FinTimeout {
        /// New idle timeout, 0 keeps.
        idle: u16,
        /// New hard timeout, 0 keeps.
        hard: u16,
    },
    /// `NXAST_SAMPLE` and successors.
    Sample(Box<SampleAction>),
    /// `NXAST_DEC_TTL_CNT_IDS`.
    DecTtlCntIds(Vec<u16>),
    /// `NXAST_WRITE_METADATA` inside an action list.
    WriteMetadata {
        /// Value.
        metadata: u64,
        /// Mask.
        mask: u64,
    },
    /// `NXAST_CT`.
    Ct(Box<CtAction>),
    /// `NXAST_NAT`, only inside ct.
    Nat(Box<NatAction>),
    /// `NXAST_CT_CLEAR`.
    CtClear,
    /// `NXAST_CLONE`.
    Clone(Vec<Action>),
    /// `NXAST_CHECK_PKT_LARGER`.
    CheckPktLarger {
        /// Destination bit.
        dst: Subfield,
        /// Length compared with.
        pkt_len: u16,
    },
    /// `NXAST_ENCAP`, raw properties.
    Encap {
        /// New packet type.
        packet_type: u32,
        /// Properties as they came.
        props: Vec<u8>,
    },
    /// `NXAST_DECAP`.
    Decap {
        /// New packet type (0xfffe: as found).
        packet_type: u32,
    },
    /// `NXAST_DEC_NSH_TTL`.
    DecNshTtl,
    /// `NXAST_DELETE_FIELD`.
    DeleteField(Field),
}

/// Where a value comes from: in learn specs and ct zones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LearnSrc {
    /// A field of the packet.
    Field(Subfield),
    /// A constant, big-endian, `n_bits` wide.
    Immediate(Vec<u8>),
}

/// What a learn spec does with its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LearnDst {
    /// Match on these bits.
    Match(Subfield),
    /// Load into these bits.
    Load(Subfield),
    /// Output to the port in the source.
    Output,
}

/// One spec of a learn action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnSpec {
    /// Number of bits.
    pub n_bits: u16,
    /// Source.
    pub src: LearnSrc,
    /// Destination.
    pub dst: LearnDst,
}

/// `NXAST_LEARN`: install a flow made from this packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Learn {
    pub idle_timeout: u16,
    pub hard_timeout: u16,
    pub priority: u16,
    pub cookie: u64,
    /// `NX_LEARN_F_*`: [`Learn::SEND_FLOW_REM`] and so on.
    pub flags: u16,
    pub table_id: u8,
    pub fin_idle_timeout: u16,
    pub fin_hard_timeout: u16,
    /// `NXAST_LEARN2` only: most flows this action may hold, 0 for no limit.
    pub limit: u32,
    /// `NXAST_LEARN2` only: where the result (1: learned) goes.
    pub result_dst: Option<Subfield>,
    pub specs: Vec<LearnSpec>,
}

/// `NXAST_MULTIPATH`: hash into a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Multipath {
    /// NX_HASH_FIELDS_*.
    pub fields: u16,
    pub basis: u16,
    /// NX_MP_ALG_*.
    pub algorithm: u16,
    /// Highest link number.
    pub max_link: u16,
    pub arg: u32,
    pub dst: Subfield,
}

/// `NXAST_BUNDLE`: choose one of the member ports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct BundleAction {
    /// NX_BD_ALG_*: 0 active_backup, 1 hrw.
    pub algorithm: u16,
    pub fields: u16,
    pub basis: u16,
    pub members: Vec<PortNo>,
    /// `bundle_load`: put the port here instead of sending.
    pub dst: Option<Subfield>,
}

/// `NXAST_CONTROLLER2`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct ControllerAction {
    pub max_len: u16,
    pub controller_id: u16,
    /// OFPR_*.
    pub reason: u8,
    pub userdata: Vec<u8>,
    pub pause: bool,
    pub meter_id: Option<u32>,
}

/// `NXAST_SAMPLE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct SampleAction {
    pub probability: u16,
    pub collector_set_id: u32,
    pub obs_domain_id: u32,
    pub obs_point_id: u32,
    pub sampling_port: Option<PortNo>,
    /// 0 default, 1 ingress, 2 egress.
    pub direction: u8,
}

/// The zone of a ct action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CtZone {
    /// A number.
    Immediate(u16),
    /// From a field.
    Field(Subfield),
}

/// `NXAST_CT`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CtAction {
    /// 1 commit, 2 force.
    pub flags: u16,
    pub zone: CtZone,
    pub recirc_table: Option<u8>,
    pub alg: u16,
    pub actions: Vec<Action>,
}

/// `NXAST_NAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct NatAction {
    /// NX_NAT_F_*: 1 src, 2 dst, 4 persistent, 8 hash, 16 random.
    pub flags: u16,
    pub ipv4_min: Option<std::net::Ipv4Addr>,
    pub ipv4_max: Option<std::net::Ipv4Addr>,
    pub ipv6_min: Option<std::net::Ipv6Addr>,
    pub ipv6_max: Option<std::net::Ipv6Addr>,
    pub port_min: Option<u16>,
    pub port_max: Option<u16>,
}

const OFPAT_OUTPUT: u16 = 0;
const OFPAT_COPY_TTL_OUT: u16 = 11;
const OFPAT_COPY_TTL_IN: u16 = 12;
const OFPAT_SET_MPLS_TTL: u16 = 15;
const OFPAT_DEC_MPLS_TTL: u16 = 16;
const OFPAT_PUSH_VLAN: u16 = 17;
const OFPAT_POP_VLAN: u16 = 18;
const OFPAT_PUSH_MPLS: u16 = 19;
const OFPAT_POP_MPLS: u16 = 20;
const OFPAT_SET_QUEUE: u16 = 21;
const OFPAT_GROUP: u16 = 22;
const OFPAT_SET_NW_TTL: u16 = 23;
const OFPAT_DEC_NW_TTL: u16 = 24;
const OFPAT_SET_FIELD: u16 = 25;
const OFPAT_PUSH_PBB: u16 = 26;
const OFPAT_POP_PBB: u16 = 27;
const OFPAT_EXPERIMENTER: u16 = 0xffff;

/// `NXAST_*` numbers.
mod nxast {
    pub const RESUBMIT: u16 = 1;
    pub const SET_TUNNEL: u16 = 2;
    pub const POP_QUEUE: u16 = 5;
    pub const REG_MOVE: u16 = 6;
    pub const REG_LOAD: u16 = 7;
    pub const NOTE: u16 = 8;
    pub const SET_TUNNEL64: u16 = 9;
    pub const MULTIPATH: u16 = 10;
    pub const BUNDLE: u16 = 12;
    pub const BUNDLE_LOAD: u16 = 13;
    pub const RESUBMIT_TABLE: u16 = 14;
    pub const OUTPUT_REG: u16 = 15;
    pub const LEARN: u16 = 16;
    pub const EXIT: u16 = 17;
    pub const DEC_TTL: u16 = 18;
    pub const FIN_TIMEOUT: u16 = 19;
    pub const CONTROLLER: u16 = 20;
    pub const DEC_TTL_CNT_IDS: u16 = 21;
    pub const WRITE_METADATA: u16 = 22;
    pub const PUSH_MPLS: u16 = 23;
    pub const POP_MPLS: u16 = 24;
    pub const SET_MPLS_TTL: u16 = 25;
    pub const DEC_MPLS_TTL: u16 = 26;
    pub const STACK_PUSH: u16 = 27;
    pub const STACK_POP: u16 = 28;
    pub const SAMPLE: u16 = 29;
    pub const OUTPUT_REG2: u16 = 32;
    pub const REG_LOAD2: u16 = 33;
    pub const CONJUNCTION: u16 = 34;
    pub const CT: u16 = 35;
    pub const NAT: u16 = 36;
    pub const CONTROLLER2: u16 = 37;
    pub const SAMPLE2: u16 = 38;
    pub const OUTPUT_TRUNC: u16 = 39;
    pub const SAMPLE3: u16 = 41;
    pub const CLONE: u16 = 42;
    pub const CT_CLEAR: u16 = 43;
    pub const RESUBMIT_TABLE_CT: u16 = 44;
    pub const LEARN2: u16 = 45;
    pub const ENCAP: u16 = 46;
    pub const DECAP: u16 = 47;
    pub const DEC_NSH_TTL: u16 = 48;
    pub const CHECK_PKT_LARGER: u16 = 49;
    pub const DELETE_FIELD: u16 = 50;
}

/// What multipath and bundle hash, and how they choose.
#[allow(missing_docs)]
pub mod hash {
    // NX_HASH_FIELDS_*
    pub const ETH_SRC: u16 = 0;
    pub const SYMMETRIC_L4: u16 = 1;
    pub const SYMMETRIC_L3L4: u16 = 2;
    pub const SYMMETRIC_L3L4_UDP: u16 = 3;
    pub const NW_SRC: u16 = 4;
    pub const NW_DST: u16 = 5;
    pub const SYMMETRIC_L3: u16 = 6;
    // NX_MP_ALG_*
    pub const MODULO_N: u16 = 0;
    pub const THRESHOLD: u16 = 1;
    pub const HRW: u16 = 2;
    pub const ITERATIVE: u16 = 3;
    // NX_BD_ALG_*
    pub const ACTIVE_BACKUP: u16 = 0;
    pub const BUNDLE_HRW: u16 = 1;
}

/// `NXM_OF_IN_PORT`, the only kind of member a bundle has.
const NXM_OF_IN_PORT: u32 = 0x0000_0002;

/// Why an extension was not read: bytes at fault, or a field we do not know (then the action is kept as it came).
enum NxFault {
    Bad(DecodeError),
    UnknownField,
}
impl From<DecodeError> for NxFault {
    fn from(e: DecodeError) -> Self {
        Self::Bad(e)
    }
}

impl Subfield {
    /// All bits of a field.
    pub fn whole(field: Field) -> Self {
        Self { field, offset: 0, n_bits: field.def().bits }
    }
    fn new(r: &Reader<'_>, field: Field, offset: u16, n_bits: u16) -> Result<Self, DecodeError> {
        if n_bits == 0 || offset as u32 + n_bits as u32 > field.def().bits as u32 {
            return Err(r.fault(
                OfpError::OFPBAC_BAD_SET_LEN,
                "subfield",
                format!("1 to {} bits of {field}", field.def().bits),
                format!("{n_bits} from bit {offset}"),
            ));
        }
        Ok(Self { field, offset, n_bits })
    }
    fn ofs_nbits(&self) -> u16 {
        self.offset << 6 | (self.n_bits.wrapping_sub(1) & 0x3f)
    }
    fn from_ofs_nbits(r: &Reader<'_>, field: Field, v: u16) -> Result<Self, DecodeError> {
        Self::new(r, field, v >> 6, (v & 0x3f) + 1)
    }
}

/// A field's OXM header (with experimenter id where it has one), as Nicira actions name fields.
fn parse_field(r: &mut Reader<'_>) -> Result<Field, NxFault> {
    let header = r.u32("field_header")?;
    let class = (header >> 16) as u16;
    let exp = if class == CLASS_EXPERIMENTER { r.u32("field_experimenter")? } else { 0 };
    Field::from_wire(class, (header >> 9 & 0x7f) as u8, exp).ok_or(NxFault::UnknownField)
}
fn emit_field(field: Field, w: &mut Writer<'_>) {
    let d = field.def();
    w.u32(d.oxm_header(false));
    if d.class == CLASS_EXPERIMENTER {
        w.u32(d.experimenter);
    }
}

impl Action {
    /// Actions to the end of `r`.
    ///
    /// # Errors
    /// `OFPBAC_BAD_LEN` where lengths do not agree; `OFPBAC_TOO_MANY` for too deep a nest; others as found.
    #[inline]
    pub fn parse_list(r: &mut Reader<'_>) -> Result<Vec<Action>, DecodeError> {
        *r = r.with_bad_len(OfpError::OFPBAC_BAD_LEN);
        let mut out = Vec::with_capacity((r.remaining() / 8).min(2));
        while !r.is_empty() {
            out.push(Self::parse(r)?);
        }
        Ok(out)
    }
    /// The bytes of a list.
    #[inline]
    pub fn emit_list(actions: &[Action], w: &mut Writer<'_>) {
        for a in actions {
            a.emit(w);
        }
    }

    /// One action: `type:2 | len:2 | ...`, a multiple of 8 bytes.
    ///
    /// # Errors
    /// `OFPBAC_BAD_LEN`, `OFPBAC_BAD_SET_LEN`, `OFPBAC_BAD_SET_TYPE`, `OFPBAC_BAD_ARGUMENT`, `OFPBAC_TOO_MANY`.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        *r = r.with_bad_len(OfpError::OFPBAC_BAD_LEN);
        let mut peek = *r;
        let kind = peek.u16("action_type")?;
        let at = peek;
        let len = peek.u16("action_len")? as usize;
        if len < 8 || !len.is_multiple_of(8) {
            return Err(at.bad_len("action_len", "a multiple of 8, at least 8", len));
        }
        if len > r.remaining() {
            return Err(at.bad_len("action_len", format!("at most {}", r.remaining()), len));
        }
        let mut a = r.sub(len, "action")?;
        a.pad::<4>()?;
        let out = match kind {
            OFPAT_OUTPUT => {
                let (port, max_len) = (PortNo(a.u32("port")?), a.u16("max_len")?);
                a.pad::<6>()?;
                Self::Output { port, max_len }
            }
            OFPAT_COPY_TTL_OUT => void(&mut a, Self::CopyTtlOut)?,
            OFPAT_COPY_TTL_IN => void(&mut a, Self::CopyTtlIn)?,
            OFPAT_SET_MPLS_TTL => Self::SetMplsTtl(ttl(&mut a)?),
            OFPAT_DEC_MPLS_TTL => void(&mut a, Self::DecMplsTtl)?,
            OFPAT_PUSH_VLAN => Self::PushVlan(ethertype(&mut a)?),
            OFPAT_POP_VLAN => void(&mut a, Self::PopVlan)?,
            OFPAT_PUSH_MPLS => Self::PushMpls(ethertype(&mut a)?),
            OFPAT_POP_MPLS => Self::PopMpls(ethertype(&mut a)?),
            OFPAT_SET_QUEUE => Self::SetQueue(a.u32("queue_id")?),
            OFPAT_GROUP => Self::Group(GroupId(a.u32("group_id")?)),
            OFPAT_SET_NW_TTL => Self::SetNwTtl(ttl(&mut a)?),
            OFPAT_DEC_NW_TTL => void(&mut a, Self::DecNwTtl)?,
            OFPAT_SET_FIELD => {
                let start = a.with_bad_len(OfpError::OFPBAC_BAD_SET_LEN);
                a = start;
                let oxm = Oxm::parse(&mut a)?;
                if matches!(oxm, Oxm::Known(OxmField { mask: Some(_), .. })) {
                    return Err(start.fault(
                        OfpError::OFPBAC_BAD_SET_TYPE,
                        "oxm_header",
                        "no mask",
                        "a mask",
                    ));
                }
                set_field_padding(&mut a)?;
                Self::SetField(oxm)
            }
            OFPAT_PUSH_PBB => Self::PushPbb(ethertype(&mut a)?),
            OFPAT_POP_PBB => void(&mut a, Self::PopPbb)?,
            OFPAT_EXPERIMENTER => {
                let experimenter = a.u32("experimenter")?;
                let whole = a;
                let typed = if experimenter == NICIRA_EXPERIMENTER && a.remaining() >= 2 {
                    match Self::parse_nicira(&mut a) {
                        Ok(typed) => typed,
                        Err(NxFault::UnknownField) => None,
                        Err(NxFault::Bad(e)) => return Err(e),
                    }
                } else {
                    None
                };
                match typed {
                    Some(typed) => typed,
                    None => {
                        a = whole;
                        Self::Experimenter { experimenter, body: a.rest().to_vec() }
                    }
                }
            }
            kind => Self::Unknown { kind, body: a.rest().to_vec() },
        };
        a.finish()?;
        Ok(out)
    }

    /// A Nicira action after its experimenter id, read to its end; `None` if we do not know its subtype.
    fn parse_nicira(a: &mut Reader<'_>) -> Result<Option<Self>, NxFault> {
        let subtype = a.u16("subtype")?;
        let out = match subtype {
            nxast::RESUBMIT => {
                let port = a.u16("in_port")?;
                a.pad::<4>()?;
                Self::Resubmit { in_port: in_port_from_16(port), table: None, ct: false }
            }
            nxast::RESUBMIT_TABLE | nxast::RESUBMIT_TABLE_CT => {
                let (port, table) = (a.u16("in_port")?, a.u8("table_id")?);
                a.pad::<3>()?;
                let table = if table == 0xff { None } else { Some(table) };
                Self::Resubmit {
                    in_port: in_port_from_16(port),
                    table,
                    ct: subtype == nxast::RESUBMIT_TABLE_CT,
                }
            }
            nxast::SET_TUNNEL => {
                a.pad::<2>()?;
                Self::SetTunnel(a.u32("tun_id")? as u64)
            }
            nxast::SET_TUNNEL64 => {
                a.pad::<6>()?;
                Self::SetTunnel(a.u64("tun_id")?)
            }
            nxast::POP_QUEUE => six(a, Self::PopQueue)?,
            nxast::REG_MOVE => {
                let n_bits = a.u16("n_bits")?;
                let (src_ofs, dst_ofs) = (a.u16("src_ofs")?, a.u16("dst_ofs")?);
                let at = *a;
                let (src, dst) = (parse_field(a)?, parse_field(a)?);
                zeros_to_end(a)?;
                Self::RegMove {
                    src: Subfield::new(&at, src, src_ofs, n_bits)?,
                    dst: Subfield::new(&at, dst, dst_ofs, n_bits)?,
                }
            }
            nxast::REG_LOAD => {
                let at = *a;
                let ofs_nbits = a.u16("ofs_nbits")?;
                let field = parse_field(a)?;
                let dst = Subfield::from_ofs_nbits(&at, field, ofs_nbits)?;
                let at = *a;
                let value = a.u64("value")?;
                if dst.n_bits < 64 && value >> dst.n_bits != 0 {
                    let expected = format!("at most {} bits", dst.n_bits);
                    return Err(at
                        .fault(OfpError::OFPBAC_BAD_SET_ARGUMENT, "value", expected, format!("{value:#x}"))
                        .into());
                }
                Self::RegLoad { dst, value }
            }
            nxast::REG_LOAD2 => {
                *a = a.with_bad_len(OfpError::OFPBAC_BAD_SET_LEN);
                let oxm = Oxm::parse(a)?;
                set_field_padding(a)?;
                Self::RegLoad2(oxm)
            }
            nxast::NOTE => Self::Note(a.rest().to_vec()),
            nxast::MULTIPATH => {
                let (fields, basis) = (a.u16("fields")?, a.u16("basis")?);
                a.pad::<2>()?;
                let (algorithm, max_link, arg) = (a.u16("algorithm")?, a.u16("max_link")?, a.u32("arg")?);
                a.pad::<2>()?;
                let at = *a;
                let ofs_nbits = a.u16("ofs_nbits")?;
                let dst = Subfield::from_ofs_nbits(&at, parse_field(a)?, ofs_nbits)?;
                Self::Multipath(Box::new(Multipath { fields, basis, algorithm, max_link, arg, dst }))
            }
            nxast::BUNDLE | nxast::BUNDLE_LOAD => {
                let (algorithm, fields, basis) = (a.u16("algorithm")?, a.u16("fields")?, a.u16("basis")?);
                let at = *a;
                let member_type = a.u32("slave_type")?;
                if member_type != NXM_OF_IN_PORT {
                    let got = format!("{member_type:#x}");
                    return Err(at
                        .fault(OfpError::OFPBAC_BAD_ARGUMENT, "slave_type", "NXM_OF_IN_PORT", got)
                        .into());
                }
                let n = a.u16("n_slaves")? as usize;
                let at = *a;
                let ofs_nbits = a.u16("ofs_nbits")?;
                let dst = if subtype == nxast::BUNDLE_LOAD {
                    Some(Subfield::from_ofs_nbits(&at, parse_field(a)?, ofs_nbits)?)
                } else {
                    a.pad::<4>()?;
                    None
                };
                a.pad::<4>()?;
                let mut s = a.sub(2 * n, "slaves")?;
                let mut members = Vec::with_capacity(n);
                while !s.is_empty() {
                    members.push(PortNo::from_16(s.u16("slave")?));
                }
                zeros_to_end(a)?;
                Self::Bundle(Box::new(BundleAction { algorithm, fields, basis, members, dst }))
            }
            nxast::OUTPUT_REG => {
                let at = *a;
                let ofs_nbits = a.u16("ofs_nbits")?;
                let src = Subfield::from_ofs_nbits(&at, parse_field(a)?, ofs_nbits)?;
                let max_len = a.u16("max_len")?;
                a.pad::<6>()?;
                Self::OutputReg { src, max_len }
            }
            nxast::OUTPUT_REG2 => {
                let at = *a;
                let (ofs_nbits, max_len) = (a.u16("ofs_nbits")?, a.u16("max_len")?);
                let src = Subfield::from_ofs_nbits(&at, parse_field(a)?, ofs_nbits)?;
                zeros_to_end(a)?;
                Self::OutputReg { src, max_len }
            }
            nxast::OUTPUT_TRUNC => {
                Self::OutputTrunc { port: PortNo::from_16(a.u16("port")?), max_len: a.u32("max_len")? }
            }
            nxast::LEARN | nxast::LEARN2 => Self::Learn(Box::new(Learn::parse(a, subtype == nxast::LEARN2)?)),
            nxast::EXIT => six(a, Self::Exit)?,
            nxast::DEC_TTL => six(a, Self::DecNwTtl)?,
            nxast::FIN_TIMEOUT => {
                let (idle, hard) = (a.u16("fin_idle_timeout")?, a.u16("fin_hard_timeout")?);
                a.pad::<2>()?;
                Self::FinTimeout { idle, hard }
            }
            nxast::CONTROLLER => {
                let (max_len, controller_id, reason) =
                    (a.u16("max_len")?, a.u16("controller_id")?, a.u8("reason")?);
                a.pad::<1>()?;
                Self::Controller(Box::new(ControllerAction {
                    max_len,
                    controller_id,
                    reason,
                    ..Default::default()
                }))
            }
            nxast::CONTROLLER2 => Self::Controller(Box::new(ControllerAction::parse_properties(a)?)),
            nxast::DEC_TTL_CNT_IDS => {
                let n = a.u16("n_controllers")? as usize;
                a.pad::<4>()?;
                let mut s = a.sub(2 * n, "cnt_ids")?;
                let mut ids = Vec::with_capacity(n);
                while !s.is_empty() {
                    ids.push(s.u16("cnt_id")?);
                }
                zeros_to_end(a)?;
                Self::DecTtlCntIds(ids)
            }
            nxast::WRITE_METADATA => {
                a.pad::<6>()?;
                Self::WriteMetadata { metadata: a.u64("metadata")?, mask: a.u64("mask")? }
            }
            nxast::PUSH_MPLS => Self::PushMpls(nx_ethertype(a)?),
            nxast::POP_MPLS => Self::PopMpls(nx_ethertype(a)?),
            nxast::SET_MPLS_TTL => {
                let ttl = a.u8("ttl")?;
                a.pad::<5>()?;
                Self::SetMplsTtl(ttl)
            }
            nxast::DEC_MPLS_TTL => six(a, Self::DecMplsTtl)?,
            nxast::STACK_PUSH | nxast::STACK_POP => {
                let at = *a;
                let offset = a.u16("offset")?;
                let field = parse_field(a)?;
                let n_bits = a.u16("n_bits")?;
                zeros_to_end(a)?;
                let s = Subfield::new(&at, field, offset, n_bits)?;
                if subtype == nxast::STACK_PUSH {
                    Self::StackPush(s)
                } else {
                    Self::StackPop(s)
                }
            }
            nxast::SAMPLE | nxast::SAMPLE2 | nxast::SAMPLE3 => {
                let mut s = SampleAction {
                    probability: a.u16("probability")?,
                    collector_set_id: a.u32("collector_set_id")?,
                    obs_domain_id: a.u32("obs_domain_id")?,
                    obs_point_id: a.u32("obs_point_id")?,
                    sampling_port: None,
                    direction: 0,
                };
                if subtype != nxast::SAMPLE {
                    s.sampling_port = Some(PortNo::from_16(a.u16("sampling_port")?));
                    s.direction = a.u8("direction")?;
                    a.pad::<5>()?;
                }
                Self::Sample(Box::new(s))
            }
            nxast::CONJUNCTION => {
                Self::Conjunction { clause: a.u8("clause")?, n_clauses: a.u8("n_clauses")?, id: a.u32("id")? }
            }
            nxast::CT => {
                let flags = a.u16("flags")?;
                let at = *a;
                let zone_src = a.u32("zone_src")?;
                let zone_imm = a.u16("zone_imm")?;
                let zone = if zone_src == 0 {
                    CtZone::Immediate(zone_imm)
                } else {
                    let field = Field::from_wire((zone_src >> 16) as u16, (zone_src >> 9 & 0x7f) as u8, 0)
                        .ok_or(NxFault::UnknownField)?;
                    CtZone::Field(Subfield::from_ofs_nbits(&at, field, zone_imm)?)
                };
                let recirc_table = Some(a.u8("recirc_table")?).filter(|t| *t != 0xff);
                a.pad::<3>()?;
                let alg = a.u16("alg")?;
                let mut inner = a.nested("ct_actions", OfpError::OFPBAC_TOO_MANY)?;
                let actions = Self::parse_list(&mut inner)?;
                a.rest();
                Self::Ct(Box::new(CtAction { flags, zone, recirc_table, alg, actions }))
            }
            nxast::NAT => {
                a.pad::<2>()?;
                let mut n = NatAction { flags: a.u16("flags")?, ..Default::default() };
                let present = a.u16("range_present")?;
                if present & 1 != 0 {
                    n.ipv4_min = Some(a.array::<4>("ipv4_min")?.into());
                }
                if present & 2 != 0 {
                    n.ipv4_max = Some(a.array::<4>("ipv4_max")?.into());
                }
                if present & 4 != 0 {
                    n.ipv6_min = Some(a.array::<16>("ipv6_min")?.into());
                }
                if present & 8 != 0 {
                    n.ipv6_max = Some(a.array::<16>("ipv6_max")?.into());
                }
                if present & 16 != 0 {
                    n.port_min = Some(a.u16("port_min")?);
                }
                if present & 32 != 0 {
                    n.port_max = Some(a.u16("port_max")?);
                }
                zeros_to_end(a)?;
                Self::Nat(Box::new(n))
            }
            nxast::CT_CLEAR => six(a, Self::CtClear)?,
            nxast::CLONE => {
                a.pad::<6>()?;
                let mut inner = a.nested("clone_actions", OfpError::OFPBAC_TOO_MANY)?;
                let actions = Self::parse_list(&mut inner)?;
                a.rest();
                Self::Clone(actions)
            }
            nxast::ENCAP => {
                a.pad::<2>()?;
                Self::Encap { packet_type: a.u32("new_pkt_type")?, props: a.rest().to_vec() }
            }
            nxast::DECAP => {
                a.pad::<2>()?;
                Self::Decap { packet_type: a.u32("new_pkt_type")? }
            }
            nxast::DEC_NSH_TTL => six(a, Self::DecNshTtl)?,
            nxast::CHECK_PKT_LARGER => {
                let pkt_len = a.u16("pkt_len")?;
                let at = *a;
                let offset = a.u16("offset")?;
                let field = parse_field(a)?;
                zeros_to_end(a)?;
                Self::CheckPktLarger { dst: Subfield::new(&at, field, offset, 1)?, pkt_len }
            }
            nxast::DELETE_FIELD => {
                let field = parse_field(a)?;
                zeros_to_end(a)?;
                Self::DeleteField(field)
            }
            _ => return Ok(None),
        };
        a.finish()?;
        Ok(Some(out))
    }

    /// The action's bytes.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let start = w.pos();
        let head = |w: &mut Writer<'_>, kind: u16, len: u16| {
            w.u16(kind);
            w.u16(len);
        };
        // Fixed shapes write their length at once, the others fill it in at the end.
        match self {
            Self::Output { port, max_len } => {
                head(w, OFPAT_OUTPUT, 16);
                w.u32(port.0);
                w.u16(*max_len);
                w.zeros(6);
            }
            Self::CopyTtlOut => short(w, OFPAT_COPY_TTL_OUT, 0),
            Self::CopyTtlIn => short(w, OFPAT_COPY_TTL_IN, 0),
            Self::SetMplsTtl(ttl) => short(w, OFPAT_SET_MPLS_TTL, (*ttl as u32) << 24),
            Self::DecMplsTtl => short(w, OFPAT_DEC_MPLS_TTL, 0),
            Self::PushVlan(t) => short(w, OFPAT_PUSH_VLAN, (*t as u32) << 16),
            Self::PopVlan => short(w, OFPAT_POP_VLAN, 0),
            Self::PushMpls(t) => short(w, OFPAT_PUSH_MPLS, (*t as u32) << 16),
            Self::PopMpls(t) => short(w, OFPAT_POP_MPLS, (*t as u32) << 16),
            Self::SetQueue(q) => short(w, OFPAT_SET_QUEUE, *q),
            Self::Group(g) => short(w, OFPAT_GROUP, g.0),
            Self::SetNwTtl(ttl) => short(w, OFPAT_SET_NW_TTL, (*ttl as u32) << 24),
            Self::DecNwTtl => short(w, OFPAT_DEC_NW_TTL, 0),
            Self::PushPbb(t) => short(w, OFPAT_PUSH_PBB, (*t as u32) << 16),
            Self::PopPbb => short(w, OFPAT_POP_PBB, 0),
            Self::SetField(oxm @ Oxm::Known(OxmField { mask: Some(_), .. })) | Self::RegLoad2(oxm) => {
                nicira(w, nxast::REG_LOAD2, |w| oxm.emit(w))
            }
            Self::SetField(oxm) => {
                w.u16(OFPAT_SET_FIELD);
                let at = w.len_later();
                oxm.emit(w);
                w.pad8(start);
                w.set_len(at, start);
            }
            Self::Experimenter { experimenter, body } => {
                w.u16(OFPAT_EXPERIMENTER);
                let at = w.len_later();
                w.u32(*experimenter);
                w.bytes(body);
                w.pad8(start);
                w.set_len(at, start);
            }
            Self::Unknown { kind, body } => {
                w.u16(*kind);
                let at = w.len_later();
                w.bytes(body);
                w.pad8(start);
                w.set_len(at, start);
            }
            Self::Resubmit { in_port, table, ct } => {
                let subtype = match (table, ct) {
                    (_, true) => nxast::RESUBMIT_TABLE_CT,
                    (Some(_), false) => nxast::RESUBMIT_TABLE,
                    (None, false) => nxast::RESUBMIT,
                };
                nicira(w, subtype, |w| {
                    w.u16(in_port.unwrap_or(PortNo::IN_PORT).to_16());
                    w.u8(if subtype == nxast::RESUBMIT { 0 } else { table.unwrap_or(0xff) });
                    w.zeros(3);
                })
            }
            Self::RegMove { src, dst } => nicira(w, nxast::REG_MOVE, |w| {
                w.u16(src.n_bits);
                w.u16(src.offset);
                w.u16(dst.offset);
                emit_field(src.field, w);
                emit_field(dst.field, w);
            }),
            // An experimenter field has no room in NXAST_REG_LOAD.
            Self::RegLoad { dst, value } if dst.field.def().class == CLASS_EXPERIMENTER => {
                let shift = dst.offset as u32;
                let mask = (u128::MAX >> (128 - dst.n_bits.clamp(1, 128) as u32)) << shift;
                let load = OxmField::masked(dst.field, (*value as u128) << shift, mask);
                nicira(w, nxast::REG_LOAD2, |w| load.emit(w))
            }
            Self::RegLoad { dst, value } => nicira(w, nxast::REG_LOAD, |w| {
                w.u16(dst.ofs_nbits());
                emit_field(dst.field, w);
                w.u64(*value);
            }),
            Self::StackPush(s) => nicira(w, nxast::STACK_PUSH, |w| emit_stack(s, w)),
            Self::StackPop(s) => nicira(w, nxast::STACK_POP, |w| emit_stack(s, w)),
            Self::OutputReg { src, max_len } if src.field.def().class == CLASS_EXPERIMENTER => {
                nicira(w, nxast::OUTPUT_REG2, |w| {
                    w.u16(src.ofs_nbits());
                    w.u16(*max_len);
                    emit_field(src.field, w);
                })
            }
            Self::OutputReg { src, max_len } => nicira(w, nxast::OUTPUT_REG, |w| {
                w.u16(src.ofs_nbits());
                emit_field(src.field, w);
                w.u16(*max_len);
                w.zeros(6);
            }),
            Self::OutputTrunc { port, max_len } => nicira(w, nxast::OUTPUT_TRUNC, |w| {
                w.u16(port.to_16());
                w.u32(*max_len);
            }),
            Self::SetTunnel(id) => match u32::try_from(*id) {
                Ok(id) => nicira(w, nxast::SET_TUNNEL, |w| {
                    w.zeros(2);
                    w.u32(id);
                }),
                Err(_) => nicira(w, nxast::SET_TUNNEL64, |w| {
                    w.zeros(6);
                    w.u64(*id);
                }),
            },
            Self::PopQueue => nicira(w, nxast::POP_QUEUE, |w| w.zeros(6)),
            Self::Multipath(m) => {
                let Multipath { fields, basis, algorithm, max_link, arg, dst } = &**m;
                nicira(w, nxast::MULTIPATH, |w| {
                    w.u16(*fields);
                    w.u16(*basis);
                    w.zeros(2);
                    w.u16(*algorithm);
                    w.u16(*max_link);
                    w.u32(*arg);
                    w.zeros(2);
                    w.u16(dst.ofs_nbits());
                    emit_field(dst.field, w);
                })
            }
            Self::Bundle(b) => {
                let BundleAction { algorithm, fields, basis, members, dst } = &**b;
                nicira(w, if dst.is_some() { nxast::BUNDLE_LOAD } else { nxast::BUNDLE }, |w| {
                    w.u16(*algorithm);
                    w.u16(*fields);
                    w.u16(*basis);
                    w.u32(NXM_OF_IN_PORT);
                    w.u16(members.len() as u16);
                    match dst {
                        Some(dst) => {
                            w.u16(dst.ofs_nbits());
                            emit_field(dst.field, w);
                        }
                        None => w.zeros(6),
                    }
                    w.zeros(4);
                    for m in members {
                        w.u16(m.to_16());
                    }
                })
            }
            Self::Learn(l) => l.emit(w),
            Self::Conjunction { id, clause, n_clauses } => nicira(w, nxast::CONJUNCTION, |w| {
                w.u8(*clause);
                w.u8(*n_clauses);
                w.u32(*id);
            }),
            Self::Controller(c) => c.emit(w),
            Self::Note(note) => nicira(w, nxast::NOTE, |w| {
                w.bytes(note);
                w.zeros(6usize.saturating_sub(note.len()));
            }),
            Self::Exit => nicira(w, nxast::EXIT, |w| w.zeros(6)),
            Self::FinTimeout { idle, hard } => nicira(w, nxast::FIN_TIMEOUT, |w| {
                w.u16(*idle);
                w.u16(*hard);
                w.zeros(2);
            }),
            Self::Sample(s) => {
                let SampleAction {
                    probability,
                    collector_set_id,
                    obs_domain_id,
                    obs_point_id,
                    sampling_port,
                    direction,
                } = **s;
                let subtype = match (sampling_port, direction) {
                    (None, _) => nxast::SAMPLE,
                    (Some(_), 0) => nxast::SAMPLE2,
                    _ => nxast::SAMPLE3,
                };
                nicira(w, subtype, |w| {
                    w.u16(probability);
                    w.u32(collector_set_id);
                    w.u32(obs_domain_id);
                    w.u32(obs_point_id);
                    if let Some(port) = sampling_port {
                        w.u16(port.to_16());
                        w.u8(direction);
                        w.zeros(5);
                    }
                })
            }
            Self::DecTtlCntIds(ids) => nicira(w, nxast::DEC_TTL_CNT_IDS, |w| {
                w.u16(ids.len() as u16);
                w.zeros(4);
                for id in ids {
                    w.u16(*id);
                }
            }),
            Self::WriteMetadata { metadata, mask } => nicira(w, nxast::WRITE_METADATA, |w| {
                w.zeros(6);
                w.u64(*metadata);
                w.u64(*mask);
            }),
            Self::Ct(c) => {
                let CtAction { flags, zone, recirc_table, alg, actions } = &**c;
                nicira(w, nxast::CT, |w| {
                    w.u16(*flags);
                    match zone {
                        CtZone::Immediate(zone) => {
                            w.u32(0);
                            w.u16(*zone);
                        }
                        CtZone::Field(s) => {
                            w.u32(s.field.def().short_header());
                            w.u16(s.ofs_nbits());
                        }
                    }
                    w.u8(recirc_table.unwrap_or(0xff));
                    w.zeros(3);
                    w.u16(*alg);
                    Self::emit_list(actions, w);
                })
            }
            Self::Nat(n) => {
                let NatAction { flags, ipv4_min, ipv4_max, ipv6_min, ipv6_max, port_min, port_max } = **n;
                nicira(w, nxast::NAT, |w| {
                    w.zeros(2);
                    w.u16(flags);
                    w.u16(
                        ipv4_min.is_some() as u16
                            | (ipv4_max.is_some() as u16) << 1
                            | (ipv6_min.is_some() as u16) << 2
                            | (ipv6_max.is_some() as u16) << 3
                            | (port_min.is_some() as u16) << 4
                            | (port_max.is_some() as u16) << 5,
                    );
                    for ip in [ipv4_min, ipv4_max].into_iter().flatten() {
                        w.bytes(&ip.octets());
                    }
                    for ip in [ipv6_min, ipv6_max].into_iter().flatten() {
                        w.bytes(&ip.octets());
                    }
                    for port in [port_min, port_max].into_iter().flatten() {
                        w.u16(port);
                    }
                })
            }
            Self::CtClear => nicira(w, nxast::CT_CLEAR, |w| w.zeros(6)),
            Self::Clone(actions) => nicira(w, nxast::CLONE, |w| {
                w.zeros(6);
                Self::emit_list(actions, w);
            }),
            Self::CheckPktLarger { dst, pkt_len } => nicira(w, nxast::CHECK_PKT_LARGER, |w| {
                w.u16(*pkt_len);
                w.u16(dst.offset);
                emit_field(dst.field, w);
                w.zeros(if dst.field.def().class == CLASS_EXPERIMENTER { 2 } else { 6 });
            }),
            Self::Encap { packet_type, props } => nicira(w, nxast::ENCAP, |w| {
                w.zeros(2);
                w.u32(*packet_type);
                w.bytes(props);
            }),
            Self::Decap { packet_type } => nicira(w, nxast::DECAP, |w| {
                w.zeros(2);
                w.u32(*packet_type);
            }),
            Self::DecNshTtl => nicira(w, nxast::DEC_NSH_TTL, |w| w.zeros(6)),
            Self::DeleteField(field) => nicira(w, nxast::DELETE_FIELD, |w| {
                emit_field(*field, w);
                w.zeros(if field.def().class == CLASS_EXPERIMENTER { 6 } else { 10 });
            }),
        }
    }
}

/// An 8-byte action: header and one 32-bit word.
fn short(w: &mut Writer<'_>, kind: u16, word: u32) {
    w.u64((kind as u64) << 48 | 8 << 32 | word as u64);
}
/// A Nicira action: header, body, padding, length.
fn nicira(w: &mut Writer<'_>, subtype: u16, body: impl FnOnce(&mut Writer<'_>)) {
    let start = w.pos();
    w.u16(OFPAT_EXPERIMENTER);
    let at = w.len_later();
    w.u32(NICIRA_EXPERIMENTER);
    w.u16(subtype);
    body(w);
    w.pad8(start);
    w.set_len(at, start);
}
fn emit_stack(s: &Subfield, w: &mut Writer<'_>) {
    w.u16(s.offset);
    emit_field(s.field, w);
    w.u16(s.n_bits);
    w.zeros(if s.field.def().class == CLASS_EXPERIMENTER { 2 } else { 6 });
}
fn void(a: &mut Reader<'_>, out: Action) -> Result<Action, DecodeError> {
    a.pad::<4>()?;
    Ok(out)
}
fn six(a: &mut Reader<'_>, out: Action) -> Result<Action, DecodeError> {
    a.pad::<6>()?;
    Ok(out)
}
fn ttl(a: &mut Reader<'_>) -> Result<u8, DecodeError> {
    let ttl = a.u8("ttl")?;
    a.pad::<3>()?;
    Ok(ttl)
}
fn ethertype(a: &mut Reader<'_>) -> Result<u16, DecodeError> {
    let t = a.u16("ethertype")?;
    a.pad::<2>()?;
    Ok(t)
}
fn nx_ethertype(a: &mut Reader<'_>) -> Result<u16, DecodeError> {
    let t = a.u16("ethertype")?;
    a.pad::<4>()?;
    Ok(t)
}
/// What is left must be padding: zeros.
fn zeros_to_end(a: &mut Reader<'_>) -> Result<(), DecodeError> {
    let at = *a;
    if a.rest().iter().any(|b| *b != 0) {
        return Err(at.fault(OfpError::OFPBAC_BAD_ARGUMENT, "pad", "zeros", "something else"));
    }
    Ok(())
}
/// What is left after a field to be set: less than 8 bytes, whatever they are.
fn set_field_padding(a: &mut Reader<'_>) -> Result<(), DecodeError> {
    if a.remaining() >= 8 {
        return Err(a.bad_len("oxm_length", "less than 8 bytes of padding", a.remaining()));
    }
    a.rest();
    Ok(())
}
fn in_port_from_16(n: u16) -> Option<PortNo> {
    Some(PortNo::from_16(n)).filter(|p| *p != PortNo::IN_PORT)
}

impl Learn {
    /// `NX_LEARN_F_SEND_FLOW_REM`: as `OFPFF_SEND_FLOW_REM` of what is learned.
    pub const SEND_FLOW_REM: u16 = 1;
    /// `NX_LEARN_F_DELETE_LEARNED`: what was learned goes with the last flow entry that learns it.
    pub const DELETE_LEARNED: u16 = 2;
    /// `NX_LEARN_F_WRITE_RESULT`: [`Learn::result_dst`] is there.
    pub const WRITE_RESULT: u16 = 4;

    fn parse(a: &mut Reader<'_>, two: bool) -> Result<Self, NxFault> {
        let mut l = Learn {
            idle_timeout: a.u16("idle_timeout")?,
            hard_timeout: a.u16("hard_timeout")?,
            priority: a.u16("priority")?,
            cookie: a.u64("cookie")?,
            flags: a.u16("flags")?,
            table_id: a.u8("table_id")?,
            ..Default::default()
        };
        a.pad::<1>()?;
        l.fin_idle_timeout = a.u16("fin_idle_timeout")?;
        l.fin_hard_timeout = a.u16("fin_hard_timeout")?;
        if two {
            l.limit = a.u32("limit")?;
            let at = *a;
            let offset = a.u16("result_dst_ofs")?;
            a.pad::<2>()?;
            if l.flags & Self::WRITE_RESULT != 0 {
                l.result_dst = Some(Subfield::new(&at, parse_field(a)?, offset, 1)?);
            }
        }
        while a.remaining() >= 2 {
            let at = *a;
            let header = a.u16("spec_header")?;
            if header == 0 {
                break;
            }
            let n_bits = header & 0x3ff;
            let bad = |got: String| {
                at.fault(OfpError::OFPBAC_BAD_ARGUMENT, "spec_header", "a known kind of spec", got)
            };
            if n_bits == 0 || header & 0xc400 != 0 {
                return Err(bad(format!("{header:#06x}")).into());
            }
            let src = if header & 0x2000 != 0 {
                let wire = a.bytes(2 * (n_bits as usize).div_ceil(16), "immediate")?;
                LearnSrc::Immediate(wire[wire.len() - (n_bits as usize).div_ceil(8)..].to_vec())
            } else {
                let field = parse_field(a)?;
                LearnSrc::Field(Subfield::new(&at, field, a.u16("src_ofs")?, n_bits)?)
            };
            let dst = match header >> 11 & 3 {
                0 | 1 => {
                    let field = parse_field(a)?;
                    let s = Subfield::new(&at, field, a.u16("dst_ofs")?, n_bits)?;
                    if header >> 11 & 3 == 0 {
                        LearnDst::Match(s)
                    } else {
                        LearnDst::Load(s)
                    }
                }
                2 => LearnDst::Output,
                _ => return Err(bad(format!("{header:#06x}")).into()),
            };
            l.specs.push(LearnSpec { n_bits, src, dst });
        }
        zeros_to_end(a)?;
        Ok(l)
    }

    fn emit(&self, w: &mut Writer<'_>) {
        let Self {
            idle_timeout,
            hard_timeout,
            priority,
            cookie,
            flags,
            table_id,
            fin_idle_timeout,
            fin_hard_timeout,
            limit,
            result_dst,
            specs,
        } = self;
        let two = *limit != 0 || result_dst.is_some();
        nicira(w, if two { nxast::LEARN2 } else { nxast::LEARN }, |w| {
            w.u16(*idle_timeout);
            w.u16(*hard_timeout);
            w.u16(*priority);
            w.u64(*cookie);
            w.u16(if result_dst.is_some() { flags | Self::WRITE_RESULT } else { *flags });
            w.u8(*table_id);
            w.zeros(1);
            w.u16(*fin_idle_timeout);
            w.u16(*fin_hard_timeout);
            if two {
                w.u32(*limit);
                w.u16(result_dst.map_or(0, |d| d.offset));
                w.zeros(2);
                if let Some(d) = result_dst {
                    emit_field(d.field, w);
                }
            }
            for LearnSpec { n_bits, src, dst } in specs {
                let kind = match dst {
                    LearnDst::Match(_) => 0,
                    LearnDst::Load(_) => 1 << 11,
                    LearnDst::Output => 2 << 11,
                };
                match src {
                    LearnSrc::Field(s) => {
                        w.u16(n_bits | kind);
                        emit_field(s.field, w);
                        w.u16(s.offset);
                    }
                    LearnSrc::Immediate(value) => {
                        w.u16(n_bits | kind | 0x2000);
                        let n = 2 * (*n_bits as usize).div_ceil(16);
                        w.zeros(n.saturating_sub(value.len()));
                        w.bytes(&value[value.len().saturating_sub(n)..]);
                    }
                }
                if let LearnDst::Match(s) | LearnDst::Load(s) = dst {
                    emit_field(s.field, w);
                    w.u16(s.offset);
                }
            }
        });
    }
}

impl ControllerAction {
    /// Properties of `NXAST_CONTROLLER2`: `type:2 | len:2 | payload`, each padded to 8 bytes.
    fn parse_properties(a: &mut Reader<'_>) -> Result<Self, NxFault> {
        a.pad::<6>()?;
        let mut c = ControllerAction { max_len: 0xffff, reason: 1, ..Default::default() };
        while !a.is_empty() {
            let at = *a;
            let kind = a.u16("property_type")?;
            let len = a.u16("property_len")? as usize;
            if len < 4 {
                return Err(at.bad_len("property_len", "at least 4", len).into());
            }
            let mut p = a.sub(len - 4, "property")?;
            match kind {
                0 => c.max_len = p.u16("max_len")?,
                1 => c.controller_id = p.u16("controller_id")?,
                2 => c.reason = p.u8("reason")?,
                3 => c.userdata = p.rest().to_vec(),
                4 => c.pause = true,
                5 => c.meter_id = Some(p.u32("meter_id")?),
                _ => {
                    return Err(at
                        .fault(OfpError::OFPBAC_BAD_ARGUMENT, "property_type", "0 to 5", kind)
                        .into())
                }
            }
            zeros_to_end(&mut p)?;
            a.pad8(len)?;
        }
        Ok(c)
    }

    fn emit(&self, w: &mut Writer<'_>) {
        let Self { max_len, controller_id, reason, userdata, pause, meter_id } = self;
        if userdata.is_empty() && !pause && meter_id.is_none() {
            return nicira(w, nxast::CONTROLLER, |w| {
                w.u16(*max_len);
                w.u16(*controller_id);
                w.u8(*reason);
                w.zeros(1);
            });
        }
        fn prop(w: &mut Writer<'_>, kind: u16, payload: &[u8]) {
            let start = w.pos();
            w.u16(kind);
            let at = w.len_later();
            w.bytes(payload);
            w.set_len(at, start);
            w.pad8(start);
        }
        nicira(w, nxast::CONTROLLER2, |w| {
            w.zeros(6);
            if *max_len != 0xffff {
                prop(w, 0, &max_len.to_be_bytes());
            }
            if *controller_id != 0 {
                prop(w, 1, &controller_id.to_be_bytes());
            }
            if *reason != 1 {
                prop(w, 2, &[*reason]);
            }
            if !userdata.is_empty() {
                prop(w, 3, userdata);
            }
            if *pause {
                prop(w, 4, &[]);
            }
            if let Some(m) = meter_id {
                prop(w, 5, &m.to_be_bytes());
            }
        });
    }
}
