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
pub mod table;
pub mod table_features;

use crate::num::{hex, wire_enum, wire_flags};
use crate::port::Port;
use bytes::Bytes;
use serde::Serialize;

pub use aggregate::AggregateStats;
pub use desc::Desc;
pub use flow::{FlowStats, FlowStatsRequest};
pub use flow_monitor::{FlowMonitorFlags, FlowMonitorRequest, FlowUpdate, FlowUpdateEvent};
pub use group::{BucketCounter, GroupDesc, GroupFeatures, GroupStats, GroupStatsRequest};
pub use meter::{MeterBandStats, MeterConfig, MeterFeatures, MeterRequest, MeterStats};
pub use port_stats::{PortStats, PortStatsRequest};
pub use queue::{QueueStats, QueueStatsRequest};
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
