//! `OFPT_PORT_MOD`: change how one port behaves (OpenFlow 1.3.5, "Port Modification Message").
//! `port_no:4 | pad:4 | hw_addr:6 | pad:2 | config:4 | mask:4 | advertise:4 | pad:4`

use crate::ids::{EthAddr, PortNo};
use crate::port::{PortConfig, PortFeatures};
use serde::Serialize;

/// A port-mod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct PortMod {
    pub port_no: PortNo,
    /// Must be the port's own, as a check.
    pub hw_addr: EthAddr,
    pub config: PortConfig,
    /// Bits of `config` that are to change.
    pub mask: PortConfig,
    /// Zero: no change.
    pub advertise: PortFeatures,
}
