//! `OFPT_METER_MOD`: `command:2 | flags:2 | meter_id:4 | bands` (OpenFlow 1.3.5, "Meter Modification Message").

use crate::ids::MeterId;
use crate::meter::{MeterBand, MeterFlags};
use crate::num::wire_enum;
use serde::Serialize;

wire_enum! {
    /// `OFPMC_*`.
    MeterModCommand(u16) { ADD = 0, MODIFY = 1, DELETE = 2 }
}

/// A meter-mod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct MeterMod {
    pub command: MeterModCommand,
    pub flags: MeterFlags,
    pub meter_id: MeterId,
    pub bands: Vec<MeterBand>,
}
