//! `OFPT_GET_ASYNC_REPLY`, `OFPT_SET_ASYNC`: which asynchronous messages a controller wants
//! (OpenFlow 1.3.5, "Set Asynchronous Configuration Message").
//! `packet_in_mask:4[2] | port_status_mask:4[2] | flow_removed_mask:4[2]`

use crate::error::DecodeError;
use crate::wire::{Reader, Writer};
use serde::Serialize;

/// Bit n of a mask: reason n is wanted. Index 0 holds for master and equal, 1 for slave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct AsyncConfig {
    pub packet_in_mask: [u32; 2],
    pub port_status_mask: [u32; 2],
    pub flow_removed_mask: [u32; 2],
}

impl AsyncConfig {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet_in_mask = [r.u32("packet_in_mask")?, r.u32("packet_in_mask")?];
        let port_status_mask = [r.u32("port_status_mask")?, r.u32("port_status_mask")?];
        let flow_removed_mask = [r.u32("flow_removed_mask")?, r.u32("flow_removed_mask")?];
        Ok(Self { packet_in_mask, port_status_mask, flow_removed_mask })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { packet_in_mask, port_status_mask, flow_removed_mask } = self;
        w.u32(packet_in_mask[0]);
        w.u32(packet_in_mask[1]);
        w.u32(port_status_mask[0]);
        w.u32(port_status_mask[1]);
        w.u32(flow_removed_mask[0]);
        w.u32(flow_removed_mask[1]);
    }
}
