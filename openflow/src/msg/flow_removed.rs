//! `OFPT_FLOW_REMOVED`: a flow entry is gone (OpenFlow 1.3.5, "Flow Removed Message").
//! `cookie:8 | priority:2 | reason:1 | table_id:1 | duration_sec:4 | duration_nsec:4 | idle_timeout:2 |
//! hard_timeout:2 | packet_count:8 | byte_count:8 | match`

use crate::error::DecodeError;
use crate::ids::TableId;
use crate::matching::Match;
use crate::num::wire_enum;
use crate::wire::{Reader, Writer};
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
    #[serde(rename = "match")]
    pub matching: Match,
}

impl FlowRemoved {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let cookie = r.u64("cookie")?;
        let priority = r.u16("priority")?;
        let reason = FlowRemovedReason(r.u8("reason")?);
        let table_id = TableId(r.u8("table_id")?);
        let duration_sec = r.u32("duration_sec")?;
        let duration_nsec = r.u32("duration_nsec")?;
        let idle_timeout = r.u16("idle_timeout")?;
        let hard_timeout = r.u16("hard_timeout")?;
        let packet_count = r.u64("packet_count")?;
        let byte_count = r.u64("byte_count")?;
        let matching = Match::parse(r)?;
        Ok(Self {
            cookie,
            priority,
            reason,
            table_id,
            duration_sec,
            duration_nsec,
            idle_timeout,
            hard_timeout,
            packet_count,
            byte_count,
            matching,
        })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self {
            cookie,
            priority,
            reason,
            table_id,
            duration_sec,
            duration_nsec,
            idle_timeout,
            hard_timeout,
            packet_count,
            byte_count,
            matching,
        } = self;
        w.u64(*cookie);
        w.u16(*priority);
        w.u8(reason.0);
        w.u8(table_id.0);
        w.u32(*duration_sec);
        w.u32(*duration_nsec);
        w.u16(*idle_timeout);
        w.u16(*hard_timeout);
        w.u64(*packet_count);
        w.u64(*byte_count);
        matching.emit(w);
    }
}
