//! `OFPT_MULTIPART_REQUEST` and `_REPLY`: `type:2 | flags:2 | pad:4 | body` (OpenFlow 1.3.5, "Multipart Messages").
//! One file per type. A body too long for one message goes out in parts, all but the last flagged MORE.

pub mod aggregate;
pub mod desc;
pub mod flow;
pub mod flow_monitor;
pub mod group;
pub mod meter;
pub mod port_stats;
pub mod queue;
pub mod reassembly;
pub mod table;
pub mod table_features;

use crate::error::{DecodeError, OfpError};
use crate::field::{NICIRA_EXPERIMENTER, ONF_EXPERIMENTER};
use crate::header::{Header, MsgType, HEADER_LEN, MAX_MESSAGE_LEN, OFP13_VERSION};
use crate::ids::Xid;
use crate::num::{hex, wire_enum, wire_flags};
use crate::port::Port;
use crate::wire::{Reader, Writer};
use bytes::{Bytes, BytesMut};
use serde::Serialize;

pub use aggregate::AggregateStats;
pub use desc::Desc;
pub use flow::{FlowStats, FlowStatsRequest};
pub use flow_monitor::{FlowMonitorFlags, FlowMonitorRequest, FlowUpdate, FlowUpdateEvent};
pub use group::{BucketCounter, GroupDesc, GroupFeatures, GroupStats, GroupStatsRequest};
pub use meter::{MeterBandStats, MeterConfig, MeterFeatures, MeterFlags32, MeterRequest, MeterStats};
pub use port_stats::{PortStats, PortStatsRequest};
pub use queue::{QueueStats, QueueStatsRequest};
pub use reassembly::{Reassembled, Reassembler};
pub use table::TableStats;
pub use table_features::{
    ActionId, InstructionId, OxmId, PropBody, TableFeatureProp, TableFeatures, TablePropType,
};

wire_enum! {
    /// `OFPMP_*`.
    MultipartType(u16) {
        DESC = 0, FLOW = 1, AGGREGATE = 2, TABLE = 3, PORT_STATS = 4, QUEUE = 5, GROUP = 6, GROUP_DESC = 7,
        GROUP_FEATURES = 8, METER = 9, METER_CONFIG = 10, METER_FEATURES = 11, TABLE_FEATURES = 12, PORT_DESC = 13,
        EXPERIMENTER = 0xffff,
    }
}
wire_flags! {
    /// `OFPMPF_*`, the same bit for requests and replies.
    MultipartFlags(u16) { MORE = 1 }
}

/// A question about the switch's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MultipartRequest {
    /// MORE on all parts but the last.
    pub flags: MultipartFlags,
    /// The question.
    pub body: RequestBody,
}

/// Body of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, clippy::large_enum_variant)]
pub enum RequestBody {
    Desc,
    Flow(FlowStatsRequest),
    Aggregate(FlowStatsRequest),
    Table,
    PortStats(PortStatsRequest),
    Queue(QueueStatsRequest),
    Group(GroupStatsRequest),
    GroupDesc,
    GroupFeatures,
    Meter(MeterRequest),
    MeterConfig(MeterRequest),
    MeterFeatures,
    /// Empty: asks; not empty: sets.
    TableFeatures(Vec<TableFeatures>),
    PortDesc,
    /// ONF extension 187 (1870) on 1.3.
    FlowMonitor(Vec<FlowMonitorRequest>),
    /// `NXST_FLOW_MONITOR` (Nicira, 2).
    NxFlowMonitor(Vec<FlowMonitorRequest>),
    Experimenter {
        experimenter: u32,
        exp_type: u32,
        #[serde(serialize_with = "hex")]
        data: Bytes,
    },
}

/// An answer, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MultipartReply {
    /// MORE on all parts but the last.
    pub flags: MultipartFlags,
    /// The answer.
    pub body: ReplyBody,
}

/// Body of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, clippy::large_enum_variant)]
pub enum ReplyBody {
    Desc(Box<Desc>),
    Flow(Vec<FlowStats>),
    Aggregate(AggregateStats),
    Table(Vec<TableStats>),
    PortStats(Vec<PortStats>),
    Queue(Vec<QueueStats>),
    Group(Vec<GroupStats>),
    GroupDesc(Vec<GroupDesc>),
    GroupFeatures(GroupFeatures),
    Meter(Vec<MeterStats>),
    MeterConfig(Vec<MeterConfig>),
    MeterFeatures(MeterFeatures),
    TableFeatures(Vec<TableFeatures>),
    PortDesc(Vec<Port>),
    /// ONF extension 187 (1870) on 1.3.
    FlowMonitor(Vec<FlowUpdate>),
    /// `NXST_FLOW_MONITOR` (Nicira, 2).
    NxFlowMonitor(Vec<FlowUpdate>),
    Experimenter {
        experimenter: u32,
        exp_type: u32,
        #[serde(serialize_with = "hex")]
        data: Bytes,
    },
}

impl RequestBody {
    /// `OFPMP_*` on the wire.
    pub fn kind(&self) -> MultipartType {
        match self {
            Self::Desc => MultipartType::DESC,
            Self::Flow(_) => MultipartType::FLOW,
            Self::Aggregate(_) => MultipartType::AGGREGATE,
            Self::Table => MultipartType::TABLE,
            Self::PortStats(_) => MultipartType::PORT_STATS,
            Self::Queue(_) => MultipartType::QUEUE,
            Self::Group(_) => MultipartType::GROUP,
            Self::GroupDesc => MultipartType::GROUP_DESC,
            Self::GroupFeatures => MultipartType::GROUP_FEATURES,
            Self::Meter(_) => MultipartType::METER,
            Self::MeterConfig(_) => MultipartType::METER_CONFIG,
            Self::MeterFeatures => MultipartType::METER_FEATURES,
            Self::TableFeatures(_) => MultipartType::TABLE_FEATURES,
            Self::PortDesc => MultipartType::PORT_DESC,
            Self::FlowMonitor(_) | Self::NxFlowMonitor(_) | Self::Experimenter { .. } => {
                MultipartType::EXPERIMENTER
            }
        }
    }
}

impl ReplyBody {
    /// `OFPMP_*` on the wire.
    pub fn kind(&self) -> MultipartType {
        match self {
            Self::Desc(_) => MultipartType::DESC,
            Self::Flow(_) => MultipartType::FLOW,
            Self::Aggregate(_) => MultipartType::AGGREGATE,
            Self::Table(_) => MultipartType::TABLE,
            Self::PortStats(_) => MultipartType::PORT_STATS,
            Self::Queue(_) => MultipartType::QUEUE,
            Self::Group(_) => MultipartType::GROUP,
            Self::GroupDesc(_) => MultipartType::GROUP_DESC,
            Self::GroupFeatures(_) => MultipartType::GROUP_FEATURES,
            Self::Meter(_) => MultipartType::METER,
            Self::MeterConfig(_) => MultipartType::METER_CONFIG,
            Self::MeterFeatures(_) => MultipartType::METER_FEATURES,
            Self::TableFeatures(_) => MultipartType::TABLE_FEATURES,
            Self::PortDesc(_) => MultipartType::PORT_DESC,
            Self::FlowMonitor(_) | Self::NxFlowMonitor(_) | Self::Experimenter { .. } => {
                MultipartType::EXPERIMENTER
            }
        }
    }
}

/// ONF extension 187 as a multipart on 1.3.
const ONF_FLOW_MONITOR: u32 = 1870;
/// `NXST_FLOW_MONITOR`.
const NXST_FLOW_MONITOR: u32 = 2;

/// Structures to the end of `r`.
fn list<T>(
    r: &mut Reader<'_>,
    parse: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut out = Vec::new();
    while !r.is_empty() {
        out.push(parse(r)?);
    }
    Ok(out)
}

/// `type:2 | flags:2 | pad:4`
fn parse_head(r: &mut Reader<'_>) -> Result<(MultipartType, MultipartFlags), DecodeError> {
    let head = (MultipartType(r.u16("multipart_type")?), MultipartFlags(r.u16("flags")?));
    r.pad::<4>()?;
    Ok(head)
}

impl MultipartRequest {
    /// A request in one part.
    pub fn new(body: RequestBody) -> Self {
        Self { flags: MultipartFlags::empty(), body }
    }

    /// Reads what follows the message header.
    ///
    /// # Errors
    /// `OFPBRC_BAD_MULTIPART` for an unknown type, and the errors of the body.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = *r;
        let (kind, flags) = parse_head(r)?;
        let body = match kind {
            MultipartType::DESC => RequestBody::Desc,
            MultipartType::FLOW => RequestBody::Flow(FlowStatsRequest::parse(r)?),
            MultipartType::AGGREGATE => RequestBody::Aggregate(FlowStatsRequest::parse(r)?),
            MultipartType::TABLE => RequestBody::Table,
            MultipartType::PORT_STATS => RequestBody::PortStats(PortStatsRequest::parse(r)?),
            MultipartType::QUEUE => RequestBody::Queue(QueueStatsRequest::parse(r)?),
            MultipartType::GROUP => RequestBody::Group(GroupStatsRequest::parse(r)?),
            MultipartType::GROUP_DESC => RequestBody::GroupDesc,
            MultipartType::GROUP_FEATURES => RequestBody::GroupFeatures,
            MultipartType::METER => RequestBody::Meter(MeterRequest::parse(r)?),
            MultipartType::METER_CONFIG => RequestBody::MeterConfig(MeterRequest::parse(r)?),
            MultipartType::METER_FEATURES => RequestBody::MeterFeatures,
            MultipartType::TABLE_FEATURES => RequestBody::TableFeatures(list(r, TableFeatures::parse)?),
            MultipartType::PORT_DESC => RequestBody::PortDesc,
            MultipartType::EXPERIMENTER => match (r.u32("experimenter")?, r.u32("exp_type")?) {
                (ONF_EXPERIMENTER, ONF_FLOW_MONITOR) => {
                    RequestBody::FlowMonitor(list(r, |r| FlowMonitorRequest::parse(r, false))?)
                }
                (NICIRA_EXPERIMENTER, NXST_FLOW_MONITOR) => {
                    RequestBody::NxFlowMonitor(list(r, |r| FlowMonitorRequest::parse(r, true))?)
                }
                (experimenter, exp_type) => RequestBody::Experimenter {
                    experimenter,
                    exp_type,
                    data: Bytes::copy_from_slice(r.rest()),
                },
            },
            kind => {
                return Err(at.fault(
                    OfpError::OFPBRC_BAD_MULTIPART,
                    "multipart_type",
                    "0 to 13 or 65535",
                    kind.0,
                ))
            }
        };
        Ok(Self { flags, body })
    }

    /// Writes what follows the message header, which is at `start`; returns where the last part starts.
    pub(crate) fn emit(&self, w: &mut Writer<'_>, start: usize) -> usize {
        let Self { flags, body } = self;
        let mut p = Parts::begin(w, start, body.kind(), *flags, body.experimenter());
        match body {
            RequestBody::Desc
            | RequestBody::Table
            | RequestBody::GroupDesc
            | RequestBody::GroupFeatures
            | RequestBody::MeterFeatures
            | RequestBody::PortDesc => {}
            RequestBody::Flow(b) | RequestBody::Aggregate(b) => p.push(w, |w| b.emit(w)),
            RequestBody::PortStats(b) => p.push(w, |w| b.emit(w)),
            RequestBody::Queue(b) => p.push(w, |w| b.emit(w)),
            RequestBody::Group(b) => p.push(w, |w| b.emit(w)),
            RequestBody::Meter(b) | RequestBody::MeterConfig(b) => p.push(w, |w| b.emit(w)),
            RequestBody::TableFeatures(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w))),
            RequestBody::FlowMonitor(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w, false))),
            RequestBody::NxFlowMonitor(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w, true))),
            RequestBody::Experimenter { data, .. } => p.push(w, |w| w.bytes(data)),
        }
        p.start
    }
}

impl MultipartReply {
    /// A reply of which no more parts follow.
    pub fn new(body: ReplyBody) -> Self {
        Self { flags: MultipartFlags::empty(), body }
    }

    /// Reads what follows the message header.
    ///
    /// # Errors
    /// `OFPBRC_BAD_MULTIPART` for an unknown type, and the errors of the body.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = *r;
        let (kind, flags) = parse_head(r)?;
        let body = match kind {
            MultipartType::DESC => ReplyBody::Desc(Box::new(Desc::parse(r)?)),
            MultipartType::FLOW => ReplyBody::Flow(list(r, FlowStats::parse)?),
            MultipartType::AGGREGATE => ReplyBody::Aggregate(AggregateStats::parse(r)?),
            MultipartType::TABLE => ReplyBody::Table(list(r, TableStats::parse)?),
            MultipartType::PORT_STATS => ReplyBody::PortStats(list(r, PortStats::parse)?),
            MultipartType::QUEUE => ReplyBody::Queue(list(r, QueueStats::parse)?),
            MultipartType::GROUP => ReplyBody::Group(list(r, GroupStats::parse)?),
            MultipartType::GROUP_DESC => ReplyBody::GroupDesc(list(r, GroupDesc::parse)?),
            MultipartType::GROUP_FEATURES => ReplyBody::GroupFeatures(GroupFeatures::parse(r)?),
            MultipartType::METER => ReplyBody::Meter(list(r, MeterStats::parse)?),
            MultipartType::METER_CONFIG => ReplyBody::MeterConfig(list(r, MeterConfig::parse)?),
            MultipartType::METER_FEATURES => ReplyBody::MeterFeatures(MeterFeatures::parse(r)?),
            MultipartType::TABLE_FEATURES => ReplyBody::TableFeatures(list(r, TableFeatures::parse)?),
            MultipartType::PORT_DESC => ReplyBody::PortDesc(list(r, Port::parse)?),
            MultipartType::EXPERIMENTER => match (r.u32("experimenter")?, r.u32("exp_type")?) {
                (ONF_EXPERIMENTER, ONF_FLOW_MONITOR) => {
                    ReplyBody::FlowMonitor(list(r, |r| FlowUpdate::parse(r, false))?)
                }
                (NICIRA_EXPERIMENTER, NXST_FLOW_MONITOR) => {
                    ReplyBody::NxFlowMonitor(list(r, |r| FlowUpdate::parse(r, true))?)
                }
                (experimenter, exp_type) => {
                    ReplyBody::Experimenter { experimenter, exp_type, data: Bytes::copy_from_slice(r.rest()) }
                }
            },
            kind => {
                return Err(at.fault(
                    OfpError::OFPBRC_BAD_MULTIPART,
                    "multipart_type",
                    "0 to 13 or 65535",
                    kind.0,
                ))
            }
        };
        Ok(Self { flags, body })
    }

    /// Writes what follows the message header, which is at `start`; returns where the last part starts.
    pub(crate) fn emit(&self, w: &mut Writer<'_>, start: usize) -> usize {
        let Self { flags, body } = self;
        let mut p = Parts::begin(w, start, body.kind(), *flags, body.experimenter());
        match body {
            ReplyBody::Desc(b) => p.push(w, |w| b.emit(w)),
            ReplyBody::Flow(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w))),
            ReplyBody::Aggregate(b) => p.push(w, |w| b.emit(w)),
            ReplyBody::Table(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w))),
            ReplyBody::PortStats(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w))),
            ReplyBody::Queue(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w))),
            ReplyBody::Group(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w))),
            ReplyBody::GroupDesc(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w))),
            ReplyBody::GroupFeatures(b) => p.push(w, |w| b.emit(w)),
            ReplyBody::Meter(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w))),
            ReplyBody::MeterConfig(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w))),
            ReplyBody::MeterFeatures(b) => p.push(w, |w| b.emit(w)),
            ReplyBody::TableFeatures(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w))),
            ReplyBody::PortDesc(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w))),
            ReplyBody::FlowMonitor(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w, false))),
            ReplyBody::NxFlowMonitor(b) => b.iter().for_each(|x| p.push(w, |w| x.emit(w, true))),
            ReplyBody::Experimenter { data, .. } => p.push(w, |w| w.bytes(data)),
        }
        p.start
    }
}

impl RequestBody {
    fn experimenter(&self) -> Option<(u32, u32)> {
        match self {
            Self::FlowMonitor(_) => Some((ONF_EXPERIMENTER, ONF_FLOW_MONITOR)),
            Self::NxFlowMonitor(_) => Some((NICIRA_EXPERIMENTER, NXST_FLOW_MONITOR)),
            Self::Experimenter { experimenter, exp_type, .. } => Some((*experimenter, *exp_type)),
            _ => None,
        }
    }
}
impl ReplyBody {
    fn experimenter(&self) -> Option<(u32, u32)> {
        match self {
            Self::FlowMonitor(_) => Some((ONF_EXPERIMENTER, ONF_FLOW_MONITOR)),
            Self::NxFlowMonitor(_) => Some((NICIRA_EXPERIMENTER, NXST_FLOW_MONITOR)),
            Self::Experimenter { experimenter, exp_type, .. } => Some((*experimenter, *exp_type)),
            _ => None,
        }
    }
}

/// Cuts a multipart into messages: a structure that would make one too long starts the next.
#[derive(Debug)]
struct Parts {
    /// Where the current message starts.
    start: usize,
    /// Bytes before the first structure: message header, multipart header, experimenter header.
    head: usize,
}

impl Parts {
    /// The message header is already there, at `start`.
    fn begin(
        w: &mut Writer<'_>,
        start: usize,
        kind: MultipartType,
        flags: MultipartFlags,
        experimenter: Option<(u32, u32)>,
    ) -> Self {
        w.u16(kind.0);
        w.u16(flags.0);
        w.zeros(4);
        if let Some((id, exp_type)) = experimenter {
            w.u32(id);
            w.u32(exp_type);
        }
        Self { start, head: w.pos() - start }
    }

    fn push(&mut self, w: &mut Writer<'_>, emit: impl FnOnce(&mut Writer<'_>)) {
        let at = w.pos();
        emit(w);
        if w.pos() - self.start <= MAX_MESSAGE_LEN {
            return;
        }
        if at == self.start + self.head || self.head + (w.pos() - at) > MAX_MESSAGE_LEN {
            w.set_overflow();
            return;
        }
        // Close the current message before this structure and put a copy of its head in between.
        let len = w.pos() - at;
        w.zeros(self.head);
        w.buf.copy_within(at..at + len, at + self.head);
        w.buf.copy_within(self.start..self.start + self.head, at);
        w.buf[self.start + 2..self.start + 4].copy_from_slice(&((at - self.start) as u16).to_be_bytes());
        let flags = self.start + HEADER_LEN + 2;
        w.buf[flags + 1] |= MultipartFlags::MORE.0 as u8;
        self.start = at;
    }
}

/// Writes a long reply structure by structure, without holding it in memory twice: parts are cut as they fill.
///
/// ```
/// # use openflow::msg::multipart::*; use openflow::Xid; use bytes::BytesMut;
/// let mut out = BytesMut::new();
/// let mut reply = ReplyWriter::begin(&mut out, Xid(1), MultipartType::TABLE);
/// reply.push(|w| TableStats::default().emit(w));
/// reply.finish().unwrap();
/// ```
#[derive(Debug)]
pub struct ReplyWriter<'a> {
    w: Writer<'a>,
    parts: Parts,
}

impl<'a> ReplyWriter<'a> {
    /// Starts a reply of a type that is a list of structures.
    pub fn begin(out: &'a mut BytesMut, xid: Xid, kind: MultipartType) -> Self {
        let mut w = Writer::new(out);
        let start = w.pos();
        Header { version: OFP13_VERSION, msg_type: MsgType::MULTIPART_REPLY, length: 0, xid }.emit(&mut w);
        let parts = Parts::begin(&mut w, start, kind, MultipartFlags::empty(), None);
        Self { w, parts }
    }
    /// Adds one structure.
    pub fn push(&mut self, emit: impl FnOnce(&mut Writer<'_>)) {
        self.parts.push(&mut self.w, emit);
    }
    /// Ends the last part.
    ///
    /// # Errors
    /// [`super::TooLong`] if some structure fits no message; what was written must not be sent.
    pub fn finish(mut self) -> Result<(), super::TooLong> {
        self.w.set_len(self.parts.start + 2, self.parts.start);
        if self.w.overflowed() {
            Err(super::TooLong)
        } else {
            Ok(())
        }
    }
}
