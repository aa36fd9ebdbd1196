//! `struct ofp_port`: a port as features of the switch (OpenFlow 1.3.5, "Port Structures").

use crate::error::DecodeError;
use crate::ids::{EthAddr, PortNo};
use crate::num::{wire_flags, FixedStr};
use crate::wire::{Reader, Writer};
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

impl Port {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let port_no = PortNo(r.u32("port_no")?);
        r.pad::<4>()?;
        let hw_addr = EthAddr(r.array("hw_addr")?);
        r.pad::<2>()?;
        let name = FixedStr(r.array("name")?);
        let config = PortConfig(r.u32("config")?);
        let state = PortState(r.u32("state")?);
        let curr = PortFeatures(r.u32("curr")?);
        let advertised = PortFeatures(r.u32("advertised")?);
        let supported = PortFeatures(r.u32("supported")?);
        let peer = PortFeatures(r.u32("peer")?);
        let curr_speed = r.u32("curr_speed")?;
        let max_speed = r.u32("max_speed")?;
        Ok(Self {
            port_no,
            hw_addr,
            name,
            config,
            state,
            curr,
            advertised,
            supported,
            peer,
            curr_speed,
            max_speed,
        })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self {
            port_no,
            hw_addr,
            name,
            config,
            state,
            curr,
            advertised,
            supported,
            peer,
            curr_speed,
            max_speed,
        } = self;
        w.u32(port_no.0);
        w.zeros(4);
        w.bytes(&hw_addr.0);
        w.zeros(2);
        w.bytes(&name.0);
        w.u32(config.0);
        w.u32(state.0);
        w.u32(curr.0);
        w.u32(advertised.0);
        w.u32(supported.0);
        w.u32(peer.0);
        w.u32(*curr_speed);
        w.u32(*max_speed);
    }
}
