//! `OFPT_PORT_MOD`: change how one port behaves (OpenFlow 1.3.5, "Port Modification Message").
//! `port_no:4 | pad:4 | hw_addr:6 | pad:2 | config:4 | mask:4 | advertise:4 | pad:4`

use crate::error::DecodeError;
use crate::ids::{EthAddr, PortNo};
use crate::port::{PortConfig, PortFeatures};
use crate::wire::{Reader, Writer};
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

impl PortMod {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let port_no = PortNo(r.u32("port_no")?);
        r.pad::<4>()?;
        let hw_addr = EthAddr(r.array("hw_addr")?);
        r.pad::<2>()?;
        let config = PortConfig(r.u32("config")?);
        let mask = PortConfig(r.u32("mask")?);
        let advertise = PortFeatures(r.u32("advertise")?);
        r.pad::<4>()?;
        Ok(Self { port_no, hw_addr, config, mask, advertise })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { port_no, hw_addr, config, mask, advertise } = self;
        w.u32(port_no.0);
        w.zeros(4);
        w.bytes(&hw_addr.0);
        w.zeros(2);
        w.u32(config.0);
        w.u32(mask.0);
        w.u32(advertise.0);
        w.zeros(4);
    }
}
