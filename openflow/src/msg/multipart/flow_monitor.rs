//! Flow monitors on 1.3: ONF extension 187 (experimenter ONF, 1870) and Nicira's `NXST_FLOW_MONITOR` (2).
//! ONF request: `id:4 | flags:2 | match_len:2 | out_port:4 | table_id:1 | zeros:3 | match`.
//! Nicira request: `id:4 | flags:2 | out_port:2 | match_len:2 | table_id:1 | zeros:5 | match`.
//! Update: `length:2 | event:2 | ...`.

use crate::ids::{PortNo, TableId, Xid};
use crate::instruction::Instructions;
use crate::matching::Match;
use crate::msg::flow_removed::FlowRemovedReason;
use crate::num::{wire_enum, wire_flags};
use serde::Serialize;

wire_flags! {
    /// `ONFFMF_*`, `NXFMF_*`: what to report.
    FlowMonitorFlags(u16) { INITIAL = 1, ADD = 2, DELETE = 4, MODIFY = 8, ACTIONS = 16, OWN = 32 }
}
wire_enum! {
    /// `ONFFME_*`, `NXFME_*`: what happened.
    FlowUpdateEvent(u16) { ADDED = 0, DELETED = 1, MODIFIED = 2, ABBREV = 3 }
}

/// Asks to be told of changes to some flow entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct FlowMonitorRequest {
    pub id: u32,
    pub flags: FlowMonitorFlags,
    /// ANY for all. Nicira's form has 16 bits on the wire.
    pub out_port: PortNo,
    pub table_id: TableId,
    pub matching: Match,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, clippy::large_enum_variant)]
pub enum FlowUpdate {
    /// Added, deleted or modified.
    Full {
        event: FlowUpdateEvent,
        reason: FlowRemovedReason,
        priority: u16,
        idle_timeout: u16,
        hard_timeout: u16,
        table_id: TableId,
        cookie: u64,
        matching: Match,
        instructions: Instructions,
    },
    /// The receiver's own flow-mod with this xid did it.
    Abbrev { xid: Xid },
    /// An event we do not know.
    Unknown {
        event: FlowUpdateEvent,
        #[serde(serialize_with = "crate::num::hex")]
        data: Vec<u8>,
    },
}
