//! `OFPT_ROLE_REQUEST`, `OFPT_ROLE_REPLY`: `role:4 | pad:4 | generation_id:8` (OpenFlow 1.3.5, "Role Request Message").

use crate::error::DecodeError;
use crate::num::wire_enum;
use crate::wire::{Reader, Writer};
use serde::Serialize;

wire_enum! {
    /// `OFPCR_ROLE_*`.
    ControllerRole(u32) { NOCHANGE = 0, EQUAL = 1, MASTER = 2, SLAVE = 3 }
}

/// Body of both. A reply without a known generation id says all ones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Role {
    pub role: ControllerRole,
    pub generation_id: u64,
}

impl Role {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let role = ControllerRole(r.u32("role")?);
        r.pad::<4>()?;
        let generation_id = r.u64("generation_id")?;
        Ok(Self { role, generation_id })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { role, generation_id } = self;
        w.u32(role.0);
        w.zeros(4);
        w.u64(*generation_id);
    }
}
