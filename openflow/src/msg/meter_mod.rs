//! `OFPT_METER_MOD`: `command:2 | flags:2 | meter_id:4 | bands` (OpenFlow 1.3.5, "Meter Modification Message").

use crate::error::DecodeError;
use crate::ids::MeterId;
use crate::meter::{MeterBand, MeterFlags};
use crate::num::wire_enum;
use crate::wire::{Reader, Writer};
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

impl MeterMod {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let command = MeterModCommand(r.u16("command")?);
        let flags = MeterFlags(r.u16("flags")?);
        let meter_id = MeterId(r.u32("meter_id")?);
        let mut bands = Vec::new();
        while !r.is_empty() {
            bands.push(MeterBand::parse(r)?);
        }
        Ok(Self { command, flags, meter_id, bands })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { command, flags, meter_id, bands } = self;
        w.u16(command.0);
        w.u16(flags.0);
        w.u32(meter_id.0);
        for x in bands {
            x.emit(w);
        }
    }
}
