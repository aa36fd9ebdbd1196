//! What a flow entry, a bucket or a packet-out does to a packet (OpenFlow 1.3.5, "Action Structures"; Nicira
//! extensions as 1.3 controllers send them).

use crate::field::Field;
use crate::ids::{GroupId, PortNo};
use crate::matching::Oxm;
use serde::Serialize;

/// A contiguous run of bits of a field: `NXM_NX_REG0[4..7]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Subfield {
    /// The field.
    pub field: Field,
    /// First bit, 0 is the least significant.
    pub offset: u16,
    /// Number of bits, at least 1.
    pub n_bits: u16,
}

/// One action. Order in a list is order of execution for apply-actions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
        #[serde(serialize_with = "crate::num::hex")]
        body: Vec<u8>,
    },
    /// An action type outside the specification, kept as it came; refused by the switch.
    Unknown {
        /// Action type.
        kind: u16,
        /// Bytes after type and length.
        #[serde(serialize_with = "crate::num::hex")]
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
    Note(#[serde(serialize_with = "crate::num::hex")] Vec<u8>),
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
        #[serde(serialize_with = "crate::num::hex")]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum LearnSrc {
    /// A field of the packet.
    Field(Subfield),
    /// A constant, big-endian, `n_bits` wide.
    Immediate(#[serde(serialize_with = "crate::num::hex")] Vec<u8>),
}

/// What a learn spec does with its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum LearnDst {
    /// Match on these bits.
    Match(Subfield),
    /// Load into these bits.
    Load(Subfield),
    /// Output to the port in the source.
    Output,
}

/// One spec of a learn action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LearnSpec {
    /// Number of bits.
    pub n_bits: u16,
    /// Source.
    pub src: LearnSrc,
    /// Destination.
    pub dst: LearnDst,
}

/// `NXAST_LEARN`: install a flow made from this packet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Learn {
    pub idle_timeout: u16,
    pub hard_timeout: u16,
    pub priority: u16,
    pub cookie: u64,
    /// NX_LEARN_F_*: 1 send_flow_rem, 2 delete_learned, 4 write_result.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct ControllerAction {
    pub max_len: u16,
    pub controller_id: u16,
    /// OFPR_*.
    pub reason: u8,
    #[serde(serialize_with = "crate::num::hex")]
    pub userdata: Vec<u8>,
    pub pause: bool,
    pub meter_id: Option<u32>,
}

/// `NXAST_SAMPLE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CtZone {
    /// A number.
    Immediate(u16),
    /// From a field.
    Field(Subfield),
}

/// `NXAST_CT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
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
