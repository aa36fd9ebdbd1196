//! Every OpenFlow 1.3.5 message, one file each; [`Message`] is any of them, [`OfMessage`] one with its header's facts.

pub mod async_config;
pub mod bundle;
pub mod config;
pub mod echo;
pub mod error_msg;
pub mod experimenter;
pub mod features;
pub mod flow_mod;
pub mod flow_removed;
pub mod group_mod;
pub mod hello;
pub mod meter_mod;
pub mod multipart;
pub mod nicira;
pub mod packet_in;
pub mod packet_out;
pub mod port_mod;
pub mod port_status;
pub mod queue_config;
pub mod role;
pub mod table_mod;

use crate::header::{MsgType, OFP13_VERSION};
use crate::ids::Xid;
use serde::Serialize;

pub use async_config::AsyncConfig;
pub use bundle::{BundleAdd, BundleControl, BundleCtrlType, BundleFlags, BundleProp};
pub use config::{ConfigFlags, SwitchConfig};
pub use echo::Echo;
pub use error_msg::ErrorMsg;
pub use experimenter::Experimenter;
pub use features::{Capabilities, FeaturesReply};
pub use flow_mod::{FlowMod, FlowModCommand, FlowModFlags};
pub use flow_removed::{FlowRemoved, FlowRemovedReason};
pub use group_mod::{GroupMod, GroupModCommand};
pub use hello::{Hello, HelloElement};
pub use meter_mod::{MeterMod, MeterModCommand};
pub use multipart::{MultipartReply, MultipartRequest, MultipartType, ReplyBody, RequestBody};
pub use nicira::{NxMessage, NxPacketIn, NxPacketIn2, NxPacketInProp, NxType, PacketInFormat, TlvMap};
pub use packet_in::{PacketIn, PacketInReason, OFPCML_NO_BUFFER, OFP_NO_BUFFER};
pub use packet_out::PacketOut;
pub use port_mod::PortMod;
pub use port_status::{PortReason, PortStatus};
pub use queue_config::{PacketQueue, QueueGetConfigReply, QueueGetConfigRequest, QueueProp};
pub use role::{ControllerRole, Role};
pub use table_mod::TableMod;

/// A message with what its header says of it; type and length follow from the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfMessage {
    /// Version in the header: 4, except in HELLO (and in errors that answer one).
    pub version: u8,
    /// Transaction id.
    pub xid: Xid,
    /// The message.
    pub body: Message,
}

impl OfMessage {
    /// A message of OpenFlow 1.3.
    pub fn new(xid: impl Into<Xid>, body: impl Into<Message>) -> Self {
        Self { version: OFP13_VERSION, xid: xid.into(), body: body.into() }
    }
}

/// Any message, named as in the specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, clippy::large_enum_variant)]
pub enum Message {
    Hello(Hello),
    Error(ErrorMsg),
    EchoRequest(Echo),
    EchoReply(Echo),
    Experimenter(Experimenter),
    FeaturesRequest,
    FeaturesReply(FeaturesReply),
    GetConfigRequest,
    GetConfigReply(SwitchConfig),
    SetConfig(SwitchConfig),
    PacketIn(PacketIn),
    FlowRemoved(FlowRemoved),
    PortStatus(PortStatus),
    PacketOut(PacketOut),
    FlowMod(FlowMod),
    GroupMod(GroupMod),
    PortMod(PortMod),
    TableMod(TableMod),
    MultipartRequest(MultipartRequest),
    MultipartReply(MultipartReply),
    BarrierRequest,
    BarrierReply,
    QueueGetConfigRequest(QueueGetConfigRequest),
    QueueGetConfigReply(QueueGetConfigReply),
    RoleRequest(Role),
    RoleReply(Role),
    GetAsyncRequest,
    GetAsyncReply(AsyncConfig),
    SetAsync(AsyncConfig),
    MeterMod(MeterMod),
    /// ONF extension 230.
    BundleControl(BundleControl),
    /// ONF extension 230.
    BundleAdd(BundleAdd),
    /// ONF extension 187, for 1.3: id of the flow monitor to cancel.
    FlowMonitorCancel(u32),
    /// ONF extension 187: updates stop for lack of space.
    FlowMonitorPaused,
    /// ONF extension 187: updates go on.
    FlowMonitorResumed,
    /// Nicira's.
    Nicira(NxMessage),
}

impl Message {
    /// `OFPT_*` in the header.
    pub fn msg_type(&self) -> MsgType {
        match self {
            Self::Hello(_) => MsgType::HELLO,
            Self::Error(_) => MsgType::ERROR,
            Self::EchoRequest(_) => MsgType::ECHO_REQUEST,
            Self::EchoReply(_) => MsgType::ECHO_REPLY,
            Self::FeaturesRequest => MsgType::FEATURES_REQUEST,
            Self::FeaturesReply(_) => MsgType::FEATURES_REPLY,
            Self::GetConfigRequest => MsgType::GET_CONFIG_REQUEST,
            Self::GetConfigReply(_) => MsgType::GET_CONFIG_REPLY,
            Self::SetConfig(_) => MsgType::SET_CONFIG,
            Self::PacketIn(_) => MsgType::PACKET_IN,
            Self::FlowRemoved(_) => MsgType::FLOW_REMOVED,
            Self::PortStatus(_) => MsgType::PORT_STATUS,
            Self::PacketOut(_) => MsgType::PACKET_OUT,
            Self::FlowMod(_) => MsgType::FLOW_MOD,
            Self::GroupMod(_) => MsgType::GROUP_MOD,
            Self::PortMod(_) => MsgType::PORT_MOD,
            Self::TableMod(_) => MsgType::TABLE_MOD,
            Self::MultipartRequest(_) => MsgType::MULTIPART_REQUEST,
            Self::MultipartReply(_) => MsgType::MULTIPART_REPLY,
            Self::BarrierRequest => MsgType::BARRIER_REQUEST,
            Self::BarrierReply => MsgType::BARRIER_REPLY,
            Self::QueueGetConfigRequest(_) => MsgType::QUEUE_GET_CONFIG_REQUEST,
            Self::QueueGetConfigReply(_) => MsgType::QUEUE_GET_CONFIG_REPLY,
            Self::RoleRequest(_) => MsgType::ROLE_REQUEST,
            Self::RoleReply(_) => MsgType::ROLE_REPLY,
            Self::GetAsyncRequest => MsgType::GET_ASYNC_REQUEST,
            Self::GetAsyncReply(_) => MsgType::GET_ASYNC_REPLY,
            Self::SetAsync(_) => MsgType::SET_ASYNC,
            Self::MeterMod(_) => MsgType::METER_MOD,
            Self::Experimenter(_)
            | Self::BundleControl(_)
            | Self::BundleAdd(_)
            | Self::FlowMonitorCancel(_)
            | Self::FlowMonitorPaused
            | Self::FlowMonitorResumed
            | Self::Nicira(_) => MsgType::EXPERIMENTER,
        }
    }
}

macro_rules! into_message {
    ($($t:ident),*) => { $(impl From<$t> for Message { fn from(m: $t) -> Self { Self::$t(m) } })* };
}
into_message!(
    Hello,
    Experimenter,
    FeaturesReply,
    PacketIn,
    FlowRemoved,
    PortStatus,
    PacketOut,
    FlowMod,
    GroupMod,
    PortMod,
    TableMod,
    MultipartRequest,
    MultipartReply,
    QueueGetConfigRequest,
    QueueGetConfigReply,
    MeterMod,
    BundleControl,
    BundleAdd
);
impl From<ErrorMsg> for Message {
    fn from(m: ErrorMsg) -> Self {
        Self::Error(m)
    }
}
impl From<NxMessage> for Message {
    fn from(m: NxMessage) -> Self {
        Self::Nicira(m)
    }
}
