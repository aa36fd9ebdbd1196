//! Nicira's messages (experimenter 0x2320) that 1.3 controllers and `ovs-ofctl` send, by their `NXT_*` number.

use super::async_config::AsyncConfig;
use super::packet_in::PacketInReason;
use super::role::ControllerRole;
use crate::error::{DecodeError, OfpError};
use crate::ids::{PortNo, TableId};
use crate::matching::Match;
use crate::num::{hex, wire_enum};
use crate::wire::{Reader, Writer};
use bytes::Bytes;
use serde::Serialize;

wire_enum! {
    /// `NXT_*` numbers.
    NxType(u32) {
        ROLE_REQUEST = 10, ROLE_REPLY = 11, SET_FLOW_FORMAT = 12, FLOW_MOD = 13, FLOW_REMOVED = 14,
        FLOW_MOD_TABLE_ID = 15, SET_PACKET_IN_FORMAT = 16, PACKET_IN = 17, FLOW_AGE = 18, SET_ASYNC_CONFIG = 19,
        SET_CONTROLLER_ID = 20, FLOW_MONITOR_CANCEL = 21, FLOW_MONITOR_PAUSED = 22, FLOW_MONITOR_RESUMED = 23,
        TLV_TABLE_MOD = 24, TLV_TABLE_REQUEST = 25, TLV_TABLE_REPLY = 26, SET_ASYNC_CONFIG2 = 27, RESUME = 28,
        CT_FLUSH_ZONE = 29, PACKET_IN2 = 30, CT_FLUSH = 32,
    }
}
wire_enum! {
    /// `NXPIF_*`: which message packet-ins come in.
    PacketInFormat(u32) { STANDARD = 0, NXT_PACKET_IN = 1, NXT_PACKET_IN2 = 2 }
}

/// A Nicira message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(clippy::large_enum_variant)]
pub enum NxMessage {
    /// `NXT_ROLE_REQUEST`; roles already in OpenFlow 1.3's numbers (Nicira's OTHER is EQUAL).
    RoleRequest(ControllerRole),
    /// `NXT_ROLE_REPLY`.
    RoleReply(ControllerRole),
    /// `NXT_SET_FLOW_FORMAT`: 0 OpenFlow 1.0, 2 NXM.
    SetFlowFormat(u32),
    /// `NXT_FLOW_MOD_TABLE_ID`: on or off.
    FlowModTableId(bool),
    /// `NXT_SET_PACKET_IN_FORMAT`.
    SetPacketInFormat(PacketInFormat),
    /// `NXT_PACKET_IN`.
    PacketIn(NxPacketIn),
    /// `NXT_FLOW_AGE`: forget when flows were last used.
    FlowAge,
    /// `NXT_SET_ASYNC_CONFIG`.
    SetAsyncConfig(AsyncConfig),
    /// `NXT_SET_CONTROLLER_ID`.
    SetControllerId(u16),
    /// `NXT_FLOW_MONITOR_CANCEL` (also ONF 1870's): id of the monitor.
    FlowMonitorCancel(u32),
    /// `NXT_FLOW_MONITOR_PAUSED`.
    FlowMonitorPaused,
    /// `NXT_FLOW_MONITOR_RESUMED`.
    FlowMonitorResumed,
    /// `NXT_TLV_TABLE_MOD`.
    TlvTableMod {
        /// 0 add, 1 delete, 2 clear.
        command: u16,
        /// The options.
        maps: Vec<TlvMap>,
    },
    /// `NXT_TLV_TABLE_REQUEST`.
    TlvTableRequest,
    /// `NXT_TLV_TABLE_REPLY`.
    TlvTableReply {
        /// Bytes of options a packet may carry.
        max_option_space: u32,
        /// Fields for options.
        max_fields: u16,
        /// The options in use.
        maps: Vec<TlvMap>,
    },
    /// `NXT_PACKET_IN2`.
    PacketIn2(NxPacketIn2),
    /// `NXT_RESUME`: continue a paused packet-in.
    Resume(NxPacketIn2),
    /// `NXT_CT_FLUSH_ZONE`.
    CtFlushZone(u16),
    /// Any other, kept as it came.
    Other {
        /// `NXT_*`.
        subtype: NxType,
        /// Bytes after the experimenter header.
        #[serde(serialize_with = "hex")]
        data: Bytes,
    },
}

/// `NXT_PACKET_IN`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct NxPacketIn {
    pub buffer_id: u32,
    pub total_len: u16,
    pub reason: PacketInReason,
    pub table_id: TableId,
    pub cookie: u64,
    /// NXM fields.
    #[serde(rename = "match")]
    pub matching: Match,
    #[serde(serialize_with = "hex")]
    pub data: Bytes,
}

/// `NXT_PACKET_IN2`: a list of properties.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct NxPacketIn2 {
    /// In wire order.
    pub properties: Vec<NxPacketInProp>,
}

/// One property of a `NXT_PACKET_IN2` (`NXPINT_*`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum NxPacketInProp {
    /// 0: the packet, perhaps cut.
    Packet(#[serde(serialize_with = "hex")] Bytes),
    /// 1: length of the whole packet, given if it was cut.
    FullLen(u32),
    /// 2: buffer.
    BufferId(u32),
    /// 3: table.
    TableId(TableId),
    /// 4: cookie.
    Cookie(u64),
    /// 5: reason.
    Reason(PacketInReason),
    /// 6: pipeline fields.
    Metadata(Match),
    /// 7: the controller action's userdata.
    Userdata(#[serde(serialize_with = "hex")] Bytes),
    /// 8: opaque state of a paused packet.
    Continuation(#[serde(serialize_with = "hex")] Bytes),
    /// Any other.
    Unknown {
        /// Property number.
        kind: u16,
        /// Payload.
        #[serde(serialize_with = "hex")]
        data: Bytes,
    },
}

/// One tunnel option mapped to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct TlvMap {
    pub option_class: u16,
    pub option_type: u8,
    pub option_len: u8,
    pub index: u16,
}

impl NxPacketIn2 {
    /// The in_port among the pipeline fields, if it is there.
    pub fn in_port(&self) -> Option<PortNo> {
        self.properties.iter().find_map(|p| match p {
            NxPacketInProp::Metadata(m) => m.in_port(),
            _ => None,
        })
    }
}

impl NxMessage {
    /// `NXT_*` on the wire.
    pub fn subtype(&self) -> NxType {
        match self {
            Self::RoleRequest(_) => NxType::ROLE_REQUEST,
            Self::RoleReply(_) => NxType::ROLE_REPLY,
            Self::SetFlowFormat(_) => NxType::SET_FLOW_FORMAT,
            Self::FlowModTableId(_) => NxType::FLOW_MOD_TABLE_ID,
            Self::SetPacketInFormat(_) => NxType::SET_PACKET_IN_FORMAT,
            Self::PacketIn(_) => NxType::PACKET_IN,
            Self::FlowAge => NxType::FLOW_AGE,
            Self::SetAsyncConfig(_) => NxType::SET_ASYNC_CONFIG,
            Self::SetControllerId(_) => NxType::SET_CONTROLLER_ID,
            Self::FlowMonitorCancel(_) => NxType::FLOW_MONITOR_CANCEL,
            Self::FlowMonitorPaused => NxType::FLOW_MONITOR_PAUSED,
            Self::FlowMonitorResumed => NxType::FLOW_MONITOR_RESUMED,
            Self::TlvTableMod { .. } => NxType::TLV_TABLE_MOD,
            Self::TlvTableRequest => NxType::TLV_TABLE_REQUEST,
            Self::TlvTableReply { .. } => NxType::TLV_TABLE_REPLY,
            Self::PacketIn2(_) => NxType::PACKET_IN2,
            Self::Resume(_) => NxType::RESUME,
            Self::CtFlushZone(_) => NxType::CT_FLUSH_ZONE,
            Self::Other { subtype, .. } => *subtype,
        }
    }

    /// Reads what follows the experimenter header.
    pub fn parse(subtype: NxType, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match subtype {
            NxType::ROLE_REQUEST => Self::RoleRequest(nx_role(r)?),
            NxType::ROLE_REPLY => Self::RoleReply(nx_role(r)?),
            NxType::SET_FLOW_FORMAT => Self::SetFlowFormat(r.u32("format")?),
            NxType::FLOW_MOD_TABLE_ID => {
                let set = r.u8("set")?;
                r.pad::<7>()?;
                Self::FlowModTableId(set != 0)
            }
            NxType::SET_PACKET_IN_FORMAT => Self::SetPacketInFormat(PacketInFormat(r.u32("format")?)),
            NxType::PACKET_IN => Self::PacketIn(NxPacketIn::parse(r)?),
            NxType::FLOW_AGE => Self::FlowAge,
            NxType::SET_ASYNC_CONFIG => Self::SetAsyncConfig(AsyncConfig::parse(r)?),
            NxType::SET_CONTROLLER_ID => {
                r.pad::<6>()?;
                Self::SetControllerId(r.u16("controller_id")?)
            }
            NxType::FLOW_MONITOR_CANCEL => Self::FlowMonitorCancel(r.u32("id")?),
            NxType::FLOW_MONITOR_PAUSED => Self::FlowMonitorPaused,
            NxType::FLOW_MONITOR_RESUMED => Self::FlowMonitorResumed,
            NxType::TLV_TABLE_MOD => {
                let command = r.u16("command")?;
                r.pad::<6>()?;
                Self::TlvTableMod { command, maps: TlvMap::parse_list(r)? }
            }
            NxType::TLV_TABLE_REQUEST => Self::TlvTableRequest,
            NxType::TLV_TABLE_REPLY => {
                let (max_option_space, max_fields) = (r.u32("max_option_space")?, r.u16("max_fields")?);
                r.pad::<10>()?;
                Self::TlvTableReply { max_option_space, max_fields, maps: TlvMap::parse_list(r)? }
            }
            NxType::PACKET_IN2 => Self::PacketIn2(NxPacketIn2::parse(r)?),
            NxType::RESUME => Self::Resume(NxPacketIn2::parse(r)?),
            NxType::CT_FLUSH_ZONE => {
                r.pad::<6>()?;
                Self::CtFlushZone(r.u16("zone_id")?)
            }
            subtype => Self::Other { subtype, data: Bytes::copy_from_slice(r.rest()) },
        })
    }

    /// Writes what follows the experimenter header.
    pub fn emit(&self, w: &mut Writer<'_>) {
        match self {
            Self::RoleRequest(role) | Self::RoleReply(role) => w.u32(role.0.wrapping_sub(1)),
            Self::SetFlowFormat(format) => w.u32(*format),
            Self::FlowModTableId(set) => {
                w.u8(*set as u8);
                w.zeros(7);
            }
            Self::SetPacketInFormat(format) => w.u32(format.0),
            Self::PacketIn(p) => p.emit(w),
            Self::FlowAge | Self::FlowMonitorPaused | Self::FlowMonitorResumed | Self::TlvTableRequest => {}
            Self::SetAsyncConfig(c) => c.emit(w),
            Self::SetControllerId(id) => {
                w.zeros(6);
                w.u16(*id);
            }
            Self::FlowMonitorCancel(id) => w.u32(*id),
            Self::TlvTableMod { command, maps } => {
                w.u16(*command);
                w.zeros(6);
                maps.iter().for_each(|m| m.emit(w));
            }
            Self::TlvTableReply { max_option_space, max_fields, maps } => {
                w.u32(*max_option_space);
                w.u16(*max_fields);
                w.zeros(10);
                maps.iter().for_each(|m| m.emit(w));
            }
            Self::PacketIn2(p) | Self::Resume(p) => p.emit(w),
            Self::CtFlushZone(zone) => {
                w.zeros(6);
                w.u16(*zone);
            }
            Self::Other { data, .. } => w.bytes(data),
        }
    }
}

/// Nicira's roles are OTHER 0, MASTER 1, SLAVE 2.
fn nx_role(r: &mut Reader<'_>) -> Result<ControllerRole, DecodeError> {
    let at = *r;
    match r.u32("role")? {
        n @ 0..=2 => Ok(ControllerRole(n + 1)),
        n => Err(at.fault(OfpError::OFPRRFC_BAD_ROLE, "role", "0 to 2", n)),
    }
}

impl NxPacketIn {
    /// `buffer_id:4 | total_len:2 | reason:1 | table_id:1 | cookie:8 | match_len:2 | pad:6 | match | pad:2 | data`
    fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (buffer_id, total_len) = (r.u32("buffer_id")?, r.u16("total_len")?);
        let (reason, table_id) = (PacketInReason(r.u8("reason")?), TableId(r.u8("table_id")?));
        let (cookie, match_len) = (r.u64("cookie")?, r.u16("match_len")? as usize);
        r.pad::<6>()?;
        let matching = Match::parse_fields(r.sub(match_len, "match")?)?;
        r.pad8(match_len)?;
        r.pad::<2>()?;
        let data = Bytes::copy_from_slice(r.rest());
        Ok(Self { buffer_id, total_len, reason, table_id, cookie, matching, data })
    }
    fn emit(&self, w: &mut Writer<'_>) {
        let Self { buffer_id, total_len, reason, table_id, cookie, matching, data } = self;
        w.u32(*buffer_id);
        w.u16(*total_len);
        w.u8(reason.0);
        w.u8(table_id.0);
        w.u64(*cookie);
        let at = w.len_later();
        w.zeros(6);
        let start = w.pos();
        matching.emit_fields(w);
        w.set_len(at, start);
        w.pad8(start);
        w.zeros(2);
        w.bytes(data);
    }
}

impl NxPacketIn2 {
    /// Properties `type:2 | length:2 | payload`, each padded to 8 bytes; 64-bit payloads are aligned to 8.
    fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut properties = Vec::new();
        while !r.is_empty() {
            let kind = r.u16("property_type")?;
            let at = *r;
            let len = r.u16("property_length")? as usize;
            if len < 4 {
                return Err(at.bad_len("property_length", "at least 4", len));
            }
            let mut p = r.sub(len - 4, "property")?;
            // The last property may go without its padding.
            let pad = (len.wrapping_neg() & 7).min(r.remaining());
            r.bytes(pad, "pad")?;
            properties.push(match kind {
                0 => NxPacketInProp::Packet(Bytes::copy_from_slice(p.rest())),
                1 => NxPacketInProp::FullLen(p.u32("full_len")?),
                2 => NxPacketInProp::BufferId(p.u32("buffer_id")?),
                3 => NxPacketInProp::TableId(TableId(p.u8("table_id")?)),
                4 => {
                    p.pad::<4>()?;
                    NxPacketInProp::Cookie(p.u64("cookie")?)
                }
                5 => NxPacketInProp::Reason(PacketInReason(p.u8("reason")?)),
                6 => NxPacketInProp::Metadata(Match::parse_fields(p.sub(p.remaining(), "metadata")?)?),
                7 => NxPacketInProp::Userdata(Bytes::copy_from_slice(p.rest())),
                8 => NxPacketInProp::Continuation(Bytes::copy_from_slice(p.rest())),
                kind => NxPacketInProp::Unknown { kind, data: Bytes::copy_from_slice(p.rest()) },
            });
            p.finish()?;
        }
        Ok(Self { properties })
    }
    fn emit(&self, w: &mut Writer<'_>) {
        let Self { properties } = self;
        for p in properties {
            let start = w.pos();
            w.u16(match p {
                NxPacketInProp::Packet(_) => 0,
                NxPacketInProp::FullLen(_) => 1,
                NxPacketInProp::BufferId(_) => 2,
                NxPacketInProp::TableId(_) => 3,
                NxPacketInProp::Cookie(_) => 4,
                NxPacketInProp::Reason(_) => 5,
                NxPacketInProp::Metadata(_) => 6,
                NxPacketInProp::Userdata(_) => 7,
                NxPacketInProp::Continuation(_) => 8,
                NxPacketInProp::Unknown { kind, .. } => *kind,
            });
            let at = w.len_later();
            match p {
                NxPacketInProp::Packet(b) | NxPacketInProp::Userdata(b) | NxPacketInProp::Continuation(b) => {
                    w.bytes(b)
                }
                NxPacketInProp::FullLen(n) | NxPacketInProp::BufferId(n) => w.u32(*n),
                NxPacketInProp::TableId(t) => w.u8(t.0),
                NxPacketInProp::Cookie(c) => {
                    w.zeros(4);
                    w.u64(*c);
                }
                NxPacketInProp::Reason(reason) => w.u8(reason.0),
                NxPacketInProp::Metadata(m) => m.emit_fields(w),
                NxPacketInProp::Unknown { data, .. } => w.bytes(data),
            }
            w.set_len(at, start);
            w.pad8(start);
        }
    }
}

impl TlvMap {
    fn parse_list(r: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let mut out = Vec::new();
        while !r.is_empty() {
            let (option_class, option_type) = (r.u16("option_class")?, r.u8("option_type")?);
            let (option_len, index) = (r.u8("option_len")?, r.u16("index")?);
            r.pad::<2>()?;
            out.push(Self { option_class, option_type, option_len, index });
        }
        Ok(out)
    }
    fn emit(&self, w: &mut Writer<'_>) {
        let Self { option_class, option_type, option_len, index } = self;
        w.u16(*option_class);
        w.u8(*option_type);
        w.u8(*option_len);
        w.u16(*index);
        w.zeros(2);
    }
}
