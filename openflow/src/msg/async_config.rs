//! `OFPT_GET_ASYNC_REPLY`, `OFPT_SET_ASYNC`: which asynchronous messages a controller wants
//! (OpenFlow 1.3.5, "Set Asynchronous Configuration Message").
//! `packet_in_mask:4[2] | port_status_mask:4[2] | flow_removed_mask:4[2]`

use serde::Serialize;

/// Bit n of a mask: reason n is wanted. Index 0 holds for master and equal, 1 for slave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct AsyncConfig {
    pub packet_in_mask: [u32; 2],
    pub port_status_mask: [u32; 2],
    pub flow_removed_mask: [u32; 2],
}
