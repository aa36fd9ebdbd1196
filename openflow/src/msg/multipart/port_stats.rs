//! `OFPMP_PORT_STATS` (OpenFlow 1.3.5, "Port Statistics"). Request: `port_no:4 | pad:4`. Entry: `port_no:4 | pad:4 |
//! twelve counters:8 | duration_sec:4 | duration_nsec:4`.

use crate::ids::PortNo;
use serde::Serialize;

/// Request; ANY for all ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct PortStatsRequest {
    pub port_no: PortNo,
}

/// Counters of a port; all ones where a port does not count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct PortStats {
    pub port_no: PortNo,
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_frame_err: u64,
    pub rx_over_err: u64,
    pub rx_crc_err: u64,
    pub collisions: u64,
    pub duration_sec: u32,
    pub duration_nsec: u32,
}
