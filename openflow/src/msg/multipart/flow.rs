//! `OFPMP_FLOW`: flow entries with their counters (OpenFlow 1.3.5, "Individual Flow Statistics").
//! Request: `table_id:1 | pad:3 | out_port:4 | out_group:4 | pad:4 | cookie:8 | cookie_mask:8 | match`.
//! Entry: `length:2 | table_id:1 | pad:1 | duration_sec:4 | duration_nsec:4 | priority:2 | idle_timeout:2 |
//! hard_timeout:2 | flags:2 | pad:4 | cookie:8 | packet_count:8 | byte_count:8 | match | instructions`.

use crate::ids::{GroupId, PortNo, TableId};
use crate::instruction::Instructions;
use crate::matching::Match;
use crate::msg::flow_mod::FlowModFlags;
use serde::Serialize;

/// Which entries are meant, for FLOW and AGGREGATE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct FlowStatsRequest {
    pub table_id: TableId,
    pub out_port: PortNo,
    pub out_group: GroupId,
    pub cookie: u64,
    pub cookie_mask: u64,
    pub matching: Match,
}

/// All entries of all tables.
impl Default for FlowStatsRequest {
    fn default() -> Self {
        Self {
            table_id: TableId::ALL,
            out_port: PortNo::ANY,
            out_group: GroupId::ANY,
            cookie: 0,
            cookie_mask: 0,
            matching: Match::default(),
        }
    }
}

/// One flow entry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct FlowStats {
    pub table_id: TableId,
    pub duration_sec: u32,
    pub duration_nsec: u32,
    pub priority: u16,
    pub idle_timeout: u16,
    pub hard_timeout: u16,
    pub flags: FlowModFlags,
    pub cookie: u64,
    pub packet_count: u64,
    pub byte_count: u64,
    pub matching: Match,
    pub instructions: Instructions,
}
