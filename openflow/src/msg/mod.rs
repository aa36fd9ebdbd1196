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

use crate::error::{DecodeError, OfpError};
use crate::field::{NICIRA_EXPERIMENTER, ONF_EXPERIMENTER};
use crate::header::{Header, MsgType, OFP13_VERSION};
use crate::ids::Xid;
use crate::wire::{Reader, Writer};
use bytes::{Bytes, BytesMut};
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
pub use packet_in::{PacketIn, PacketInReason, OFPCML_MAX, OFPCML_NO_BUFFER, OFP_NO_BUFFER};
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

/// Why a message cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message does not fit the 65535 bytes its length field can say")]
pub struct TooLong;

impl OfMessage {
    /// The one message that `buf` holds, no more and no less.
    ///
    /// # Errors
    /// What is wrong, where, and which OpenFlow error says so; the xid to answer with is in the header
    /// ([`Header::peek`]). `OFPBRC_BAD_VERSION` for any version but 1.3, except HELLO, ERROR and ECHO, which are the same
    /// in all versions.
    pub fn parse(buf: &[u8]) -> Result<Self, DecodeError> {
        Self::parse_at(Reader::new(buf), false)
    }

    pub(crate) fn parse_at(mut r: Reader<'_>, in_bundle: bool) -> Result<Self, DecodeError> {
        let start = r;
        let total = r.remaining();
        let h = Header::parse(&mut r)?;
        if h.length as usize != total {
            return Err(start.bad_len("length", format!("{total}"), h.length));
        }
        if h.version != OFP13_VERSION && h.msg_type.0 > MsgType::ECHO_REPLY.0 {
            return Err(start.fault(OfpError::OFPBRC_BAD_VERSION, "version", "4 (OpenFlow 1.3)", h.version));
        }
        let mut body = r.with_bad_len(OfpError::OFPBRC_BAD_LEN);
        let r = &mut body;
        let body = match h.msg_type {
            MsgType::HELLO => Message::Hello(Hello::parse(r)),
            MsgType::ERROR => Message::Error(ErrorMsg::parse(r)?),
            MsgType::ECHO_REQUEST => Message::EchoRequest(Echo::parse(r)?),
            MsgType::ECHO_REPLY => Message::EchoReply(Echo::parse(r)?),
            MsgType::EXPERIMENTER => parse_experimenter(r, in_bundle)?,
            MsgType::FEATURES_REQUEST => Message::FeaturesRequest,
            MsgType::FEATURES_REPLY => Message::FeaturesReply(FeaturesReply::parse(r)?),
            MsgType::GET_CONFIG_REQUEST => Message::GetConfigRequest,
            MsgType::GET_CONFIG_REPLY => Message::GetConfigReply(SwitchConfig::parse(r)?),
            MsgType::SET_CONFIG => Message::SetConfig(SwitchConfig::parse(r)?),
            MsgType::PACKET_IN => Message::PacketIn(PacketIn::parse(r)?),
            MsgType::FLOW_REMOVED => Message::FlowRemoved(FlowRemoved::parse(r)?),
            MsgType::PORT_STATUS => Message::PortStatus(PortStatus::parse(r)?),
            MsgType::PACKET_OUT => Message::PacketOut(PacketOut::parse(r)?),
            MsgType::FLOW_MOD => Message::FlowMod(FlowMod::parse(r)?),
            MsgType::GROUP_MOD => Message::GroupMod(GroupMod::parse(r)?),
            MsgType::PORT_MOD => Message::PortMod(PortMod::parse(r)?),
            MsgType::TABLE_MOD => Message::TableMod(TableMod::parse(r)?),
            MsgType::MULTIPART_REQUEST => Message::MultipartRequest(MultipartRequest::parse(r)?),
            MsgType::MULTIPART_REPLY => Message::MultipartReply(MultipartReply::parse(r)?),
            MsgType::BARRIER_REQUEST => Message::BarrierRequest,
            MsgType::BARRIER_REPLY => Message::BarrierReply,
            MsgType::QUEUE_GET_CONFIG_REQUEST => {
                Message::QueueGetConfigRequest(QueueGetConfigRequest::parse(r)?)
            }
            MsgType::QUEUE_GET_CONFIG_REPLY => Message::QueueGetConfigReply(QueueGetConfigReply::parse(r)?),
            MsgType::ROLE_REQUEST => Message::RoleRequest(Role::parse(r)?),
            MsgType::ROLE_REPLY => Message::RoleReply(Role::parse(r)?),
            MsgType::GET_ASYNC_REQUEST => Message::GetAsyncRequest,
            MsgType::GET_ASYNC_REPLY => Message::GetAsyncReply(AsyncConfig::parse(r)?),
            MsgType::SET_ASYNC => Message::SetAsync(AsyncConfig::parse(r)?),
            MsgType::METER_MOD => Message::MeterMod(MeterMod::parse(r)?),
            kind => return Err(start.fault(OfpError::OFPBRC_BAD_TYPE, "type", "0 to 29", kind.0)),
        };
        r.with_bad_len(OfpError::OFPBRC_BAD_LEN).finish()?;
        Ok(Self { version: h.version, xid: h.xid, body })
    }

    /// Appends the message to `out`. A multipart body that is too long goes out as several messages, all but the last
    /// flagged MORE.
    ///
    /// # Errors
    /// [`TooLong`] if it cannot be said; `out` is then as it was.
    pub fn emit(&self, out: &mut BytesMut) -> Result<(), TooLong> {
        let before = out.len();
        let mut w = Writer::new(out);
        self.emit_one(&mut w);
        if w.overflowed() {
            out.truncate(before);
            return Err(TooLong);
        }
        Ok(())
    }

    /// The message's bytes (several messages' for a long multipart).
    ///
    /// # Errors
    /// [`TooLong`] if it cannot be said.
    pub fn to_bytes(&self) -> Result<Bytes, TooLong> {
        let mut out = BytesMut::with_capacity(128);
        self.emit(&mut out)?;
        Ok(out.freeze())
    }

    pub(crate) fn emit_one(&self, w: &mut Writer<'_>) {
        let Self { version, xid, body } = self;
        let start = w.pos();
        Header { version: *version, msg_type: body.msg_type(), length: 0, xid: *xid }.emit(w);
        let start = match body {
            Message::MultipartRequest(m) => m.emit(w, start),
            Message::MultipartReply(m) => m.emit(w, start),
            _ => {
                body.emit(w);
                start
            }
        };
        w.set_len(start + 2, start);
    }
}

fn parse_experimenter(r: &mut Reader<'_>, in_bundle: bool) -> Result<Message, DecodeError> {
    let at = *r;
    let (experimenter, exp_type) = (r.u32("experimenter")?, r.u32("exp_type")?);
    Ok(match (experimenter, exp_type) {
        (ONF_EXPERIMENTER, ONF_BUNDLE_CONTROL | ONF_BUNDLE_ADD) if in_bundle => {
            return Err(at.fault(
                OfpError::OFPBFC_MSG_UNSUP,
                "exp_type",
                "no bundle message in a bundle",
                exp_type,
            ))
        }
        (ONF_EXPERIMENTER, ONF_BUNDLE_CONTROL) => Message::BundleControl(BundleControl::parse(r)?),
        (ONF_EXPERIMENTER, ONF_BUNDLE_ADD) => Message::BundleAdd(BundleAdd::parse(r)?),
        (ONF_EXPERIMENTER, ONF_FLOW_MONITOR_CANCEL) => Message::FlowMonitorCancel(r.u32("id")?),
        (ONF_EXPERIMENTER, ONF_FLOW_MONITOR_PAUSED) => Message::FlowMonitorPaused,
        (ONF_EXPERIMENTER, ONF_FLOW_MONITOR_RESUMED) => Message::FlowMonitorResumed,
        (NICIRA_EXPERIMENTER, subtype) => Message::Nicira(NxMessage::parse(NxType(subtype), r)?),
        _ => Message::Experimenter(Experimenter {
            experimenter,
            exp_type,
            data: Bytes::copy_from_slice(r.rest()),
        }),
    })
}

/// `ONF_ET_BUNDLE_CONTROL`.
const ONF_BUNDLE_CONTROL: u32 = 2300;
/// `ONF_ET_BUNDLE_ADD_MESSAGE`.
const ONF_BUNDLE_ADD: u32 = 2301;
/// ONF extension 187.
const ONF_FLOW_MONITOR_CANCEL: u32 = 1870;
const ONF_FLOW_MONITOR_PAUSED: u32 = 1871;
const ONF_FLOW_MONITOR_RESUMED: u32 = 1872;

impl Message {
    /// Writes what follows the header; multiparts are [`OfMessage::emit`]'s.
    fn emit(&self, w: &mut Writer<'_>) {
        let mut onf = |kind: u32| {
            w.u32(ONF_EXPERIMENTER);
            w.u32(kind);
        };
        match self {
            Self::BundleControl(_) => onf(ONF_BUNDLE_CONTROL),
            Self::BundleAdd(_) => onf(ONF_BUNDLE_ADD),
            Self::FlowMonitorCancel(_) => onf(ONF_FLOW_MONITOR_CANCEL),
            Self::FlowMonitorPaused => onf(ONF_FLOW_MONITOR_PAUSED),
            Self::FlowMonitorResumed => onf(ONF_FLOW_MONITOR_RESUMED),
            _ => {}
        }
        match self {
            Self::Hello(m) => m.emit(w),
            Self::Error(m) => m.emit(w),
            Self::EchoRequest(m) | Self::EchoReply(m) => m.emit(w),
            Self::Experimenter(Experimenter { experimenter, exp_type, data }) => {
                w.u32(*experimenter);
                w.u32(*exp_type);
                w.bytes(data);
            }
            Self::FeaturesRequest
            | Self::GetConfigRequest
            | Self::BarrierRequest
            | Self::BarrierReply
            | Self::GetAsyncRequest
            | Self::FlowMonitorPaused
            | Self::FlowMonitorResumed => {}
            Self::FeaturesReply(m) => m.emit(w),
            Self::GetConfigReply(m) | Self::SetConfig(m) => m.emit(w),
            Self::PacketIn(m) => m.emit(w),
            Self::FlowRemoved(m) => m.emit(w),
            Self::PortStatus(m) => m.emit(w),
            Self::PacketOut(m) => m.emit(w),
            Self::FlowMod(m) => m.emit(w),
            Self::GroupMod(m) => m.emit(w),
            Self::PortMod(m) => m.emit(w),
            Self::TableMod(m) => m.emit(w),
            Self::MultipartRequest(_) | Self::MultipartReply(_) => {}
            Self::QueueGetConfigRequest(m) => m.emit(w),
            Self::QueueGetConfigReply(m) => m.emit(w),
            Self::RoleRequest(m) | Self::RoleReply(m) => m.emit(w),
            Self::GetAsyncReply(m) | Self::SetAsync(m) => m.emit(w),
            Self::MeterMod(m) => m.emit(w),
            Self::BundleControl(m) => m.emit(w),
            Self::BundleAdd(m) => m.emit(w),
            Self::FlowMonitorCancel(id) => w.u32(*id),
            Self::Nicira(m) => {
                w.u32(NICIRA_EXPERIMENTER);
                w.u32(m.subtype().0);
                m.emit(w);
            }
        }
    }
}
