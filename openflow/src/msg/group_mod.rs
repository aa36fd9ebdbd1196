//! `OFPT_GROUP_MOD`: `command:2 | type:1 | pad:1 | group_id:4 | buckets` (OpenFlow 1.3.5, "Modify Group Entry Message").

use crate::group::{Bucket, GroupType};
use crate::ids::GroupId;
use crate::num::wire_enum;
use serde::Serialize;

wire_enum! {
    /// `OFPGC_*`.
    GroupModCommand(u16) { ADD = 0, MODIFY = 1, DELETE = 2 }
}

/// A group-mod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct GroupMod {
    pub command: GroupModCommand,
    pub kind: GroupType,
    pub group_id: GroupId,
    pub buckets: Vec<Bucket>,
}
