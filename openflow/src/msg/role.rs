//! `OFPT_ROLE_REQUEST`, `OFPT_ROLE_REPLY`: `role:4 | pad:4 | generation_id:8` (OpenFlow 1.3.5, "Role Request Message").

use crate::num::wire_enum;
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
