//! Nicira's messages (experimenter 0x2320) that 1.3 controllers and `ovs-ofctl` send, by their `NXT_*` number.

use super::async_config::AsyncConfig;
use super::packet_in::PacketInReason;
use super::role::ControllerRole;
use crate::ids::{PortNo, TableId};
use crate::matching::Match;
use crate::num::{hex, wire_enum};
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
