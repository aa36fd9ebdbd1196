//! `OFPT_FLOW_REMOVED`: a flow entry is gone (OpenFlow 1.3.5, "Flow Removed Message").
//! `cookie:8 | priority:2 | reason:1 | table_id:1 | duration_sec:4 | duration_nsec:4 | idle_timeout:2 |
//! hard_timeout:2 | packet_count:8 | byte_count:8 | match`

use crate::ids::TableId;
use crate::matching::Match;
use crate::num::wire_enum;
use serde::Serialize;

wire_enum! {
    /// `OFPRR_*`: why it went.
    FlowRemovedReason(u8) { IDLE_TIMEOUT = 0, HARD_TIMEOUT = 1, DELETE = 2, GROUP_DELETE = 3, METER_DELETE = 4, EVICTION = 5 }
}

/// A flow-removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct FlowRemoved {
    pub cookie: u64,
    pub priority: u16,
    pub reason: FlowRemovedReason,
    pub table_id: TableId,
    pub duration_sec: u32,
    pub duration_nsec: u32,
    pub idle_timeout: u16,
    pub hard_timeout: u16,
    pub packet_count: u64,
    pub byte_count: u64,
    pub matching: Match,
}
