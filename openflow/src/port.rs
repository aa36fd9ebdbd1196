//! `struct ofp_port`: a port as features of the switch (OpenFlow 1.3.5, "Port Structures").

use crate::ids::{EthAddr, PortNo};
use crate::num::{wire_flags, FixedStr};
use serde::Serialize;

wire_flags! {
    /// `OFPPC_*`: what the administrator wants of a port.
    PortConfig(u32) { PORT_DOWN = 1, NO_RECV = 1 << 2, NO_FWD = 1 << 5, NO_PACKET_IN = 1 << 6 }
}
wire_flags! {
    /// `OFPPS_*`: what the port is.
    PortState(u32) { LINK_DOWN = 1, BLOCKED = 2, LIVE = 4 }
}
wire_flags! {
    /// `OFPPF_*`: link speeds and kinds.
    PortFeatures(u32) {
        SPEED_10MB_HD = 1, SPEED_10MB_FD = 1 << 1, SPEED_100MB_HD = 1 << 2, SPEED_100MB_FD = 1 << 3,
        SPEED_1GB_HD = 1 << 4, SPEED_1GB_FD = 1 << 5, SPEED_10GB_FD = 1 << 6, SPEED_40GB_FD = 1 << 7,
        SPEED_100GB_FD = 1 << 8, SPEED_1TB_FD = 1 << 9, OTHER = 1 << 10, COPPER = 1 << 11, FIBER = 1 << 12,
        AUTONEG = 1 << 13, PAUSE = 1 << 14, PAUSE_ASYM = 1 << 15,
    }
}

/// One port. 64 bytes:
/// `port_no:4 | pad:4 | hw_addr:6 | pad:2 | name:16 | config:4 | state:4 | curr:4 | advertised:4 | supported:4 | peer:4 | curr_speed:4 | max_speed:4`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Port {
    pub port_no: PortNo,
    pub hw_addr: EthAddr,
    pub name: FixedStr<16>,
    pub config: PortConfig,
    pub state: PortState,
    pub curr: PortFeatures,
    pub advertised: PortFeatures,
    pub supported: PortFeatures,
    pub peer: PortFeatures,
    /// Current speed in kbit/s.
    pub curr_speed: u32,
    /// Highest speed in kbit/s.
    pub max_speed: u32,
}
