//! `OFPT_PORT_STATUS`: `reason:1 | pad:7 | port` (OpenFlow 1.3.5, "Port Status Message").

use crate::num::wire_enum;
use crate::port::Port;
use serde::Serialize;

wire_enum! {
    /// `OFPPR_*`: what happened to the port.
    PortReason(u8) { ADD = 0, DELETE = 1, MODIFY = 2 }
}

/// A port came, went or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct PortStatus {
    pub reason: PortReason,
    pub port: Port,
}
