//! `OFPT_PORT_STATUS`: `reason:1 | pad:7 | port` (OpenFlow 1.3.5, "Port Status Message").

use crate::error::DecodeError;
use crate::num::wire_enum;
use crate::port::Port;
use crate::wire::{Reader, Writer};
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

impl PortStatus {
    /// Reads the body.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let reason = PortReason(r.u8("reason")?);
        r.pad::<7>()?;
        Ok(Self { reason, port: Port::parse(r)? })
    }
    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { reason, port } = self;
        w.u8(reason.0);
        w.zeros(7);
        port.emit(w);
    }
}
