//! Group types and buckets (OpenFlow 1.3.5, "Modify Group Entry Message").

use crate::action::Action;
use crate::error::{DecodeError, OfpError};
use crate::ids::{GroupId, PortNo};
use crate::num::{wire_enum, wire_flags};
use crate::wire::{Reader, Writer};
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

impl Bucket {
    /// A bucket without weight or watches.
    pub fn new(actions: Vec<Action>) -> Self {
        Self { weight: 0, watch_port: PortNo::ANY, watch_group: GroupId::ANY, actions }
    }
    /// Reads one bucket.
    ///
    /// # Errors
    /// `OFPGMFC_BAD_BUCKET` where its length cannot be, and the errors of its actions.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut b = r.with_bad_len(OfpError::OFPGMFC_BAD_BUCKET);
        let at = b;
        let len = b.u16("bucket_len")? as usize;
        if len < 16 || !len.is_multiple_of(8) || len > r.remaining() {
            return Err(at.bad_len("bucket_len", format!("a multiple of 8, 16 to {}", r.remaining()), len));
        }
        let mut b = r.sub(len, "bucket")?;
        b.pad::<2>()?;
        let weight = b.u16("weight")?;
        let (watch_port, watch_group) = (PortNo(b.u32("watch_port")?), GroupId(b.u32("watch_group")?));
        b.pad::<4>()?;
        Ok(Self { weight, watch_port, watch_group, actions: Action::parse_list(&mut b)? })
    }
    /// Writes one bucket.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { weight, watch_port, watch_group, actions } = self;
        let start = w.pos();
        let at = w.len_later();
        w.u16(*weight);
        w.u32(watch_port.0);
        w.u32(watch_group.0);
        w.zeros(4);
        Action::emit_list(actions, w);
        w.set_len(at, start);
    }
}
