//! Meter bands (OpenFlow 1.3.5, "Meter Modification Message").

use crate::num::{wire_enum, wire_flags};
use serde::Serialize;

wire_flags! {
    /// `OFPMF_*`: units and wishes of a meter.
    MeterFlags(u16) { KBPS = 1, PKTPS = 2, BURST = 4, STATS = 8 }
}
wire_enum! {
    /// `OFPMBT_*`: what a band does with packets above its rate.
    MeterBandType(u16) { DROP = 1, DSCP_REMARK = 2, EXPERIMENTER = 0xffff }
}

/// One band: `type:2 | len:2 | rate:4 | burst_size:4 | ...`; rate in kbit/s or packets/s, burst in kbit or packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum MeterBand {
    /// Discard the packet.
    Drop { rate: u32, burst_size: u32 },
    /// Raise the drop precedence in the DSCP field by `prec_level`.
    DscpRemark { rate: u32, burst_size: u32, prec_level: u8 },
    /// Somebody's extension.
    Experimenter {
        rate: u32,
        burst_size: u32,
        experimenter: u32,
        #[serde(serialize_with = "crate::num::hex")]
        body: Vec<u8>,
    },
    /// A band type outside the specification; refused by the switch. `body` follows `burst_size`.
    Unknown {
        kind: u16,
        rate: u32,
        burst_size: u32,
        #[serde(serialize_with = "crate::num::hex")]
        body: Vec<u8>,
    },
}

impl MeterBand {
    /// Band type on the wire.
    pub fn kind(&self) -> MeterBandType {
        match self {
            Self::Drop { .. } => MeterBandType::DROP,
            Self::DscpRemark { .. } => MeterBandType::DSCP_REMARK,
            Self::Experimenter { .. } => MeterBandType::EXPERIMENTER,
            Self::Unknown { kind, .. } => MeterBandType(*kind),
        }
    }
    /// Rate and burst size.
    pub fn rate_burst(&self) -> (u32, u32) {
        match *self {
            Self::Drop { rate, burst_size }
            | Self::DscpRemark { rate, burst_size, .. }
            | Self::Experimenter { rate, burst_size, .. }
            | Self::Unknown { rate, burst_size, .. } => (rate, burst_size),
        }
    }
}
