//! Group types and buckets (OpenFlow 1.3.5, "Modify Group Entry Message").

use crate::action::Action;
use crate::ids::{GroupId, PortNo};
use crate::num::{wire_enum, wire_flags};
use serde::Serialize;

wire_enum! {
    /// `OFPGT_*`: how a group uses its buckets.
    GroupType(u8) { ALL = 0, SELECT = 1, INDIRECT = 2, FF = 3 }
}
wire_flags! {
    /// `OFPGFC_*`: what groups of this switch can do.
    GroupCapabilities(u32) { SELECT_WEIGHT = 1, SELECT_LIVENESS = 2, CHAINING = 4, CHAINING_CHECKS = 8 }
}

/// One bucket: `len:2 | weight:2 | watch_port:4 | watch_group:4 | pad:4 | actions`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// Share of a select group; 0 elsewhere.
    pub weight: u16,
    /// Port whose liveness decides (fast failover); ANY if none.
    pub watch_port: PortNo,
    /// Group whose liveness decides (fast failover); ANY if none.
    pub watch_group: GroupId,
    /// Actions, as an action set.
    pub actions: Vec<Action>,
}
