//! `OFPT_GROUP_MOD`: `command:2 | type:1 | pad:1 | group_id:4 | buckets` (OpenFlow 1.3.5, "Modify Group Entry Message").

use crate::error::DecodeError;
use crate::group::{Bucket, GroupType};
use crate::ids::GroupId;
use crate::num::wire_enum;
use crate::wire::{Reader, Writer};
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
    #[serde(rename = "type")]
    pub kind: GroupType,
    pub group_id: GroupId,
    pub buckets: Vec<Bucket>,
}

impl GroupMod {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let command = GroupModCommand(r.u16("command")?);
        let kind = GroupType(r.u8("kind")?);
        r.pad::<1>()?;
        let group_id = GroupId(r.u32("group_id")?);
        let mut buckets = Vec::new();
        while !r.is_empty() {
            buckets.push(Bucket::parse(r)?);
        }
        Ok(Self { command, kind, group_id, buckets })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { command, kind, group_id, buckets } = self;
        w.u16(command.0);
        w.u8(kind.0);
        w.zeros(1);
        w.u32(group_id.0);
        for x in buckets {
            x.emit(w);
        }
    }
}
