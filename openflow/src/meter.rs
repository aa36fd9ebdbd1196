//! Meter bands (OpenFlow 1.3.5, "Meter Modification Message").

use crate::error::{DecodeError, OfpError};
use crate::num::{wire_enum, wire_flags};
use crate::wire::{Reader, Writer};
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

impl MeterBand {
    /// Reads one band.
    ///
    /// # Errors
    /// `OFPBRC_BAD_LEN` where its length cannot be.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut b = *r;
        let kind = MeterBandType(b.u16("band_type")?);
        let at = b;
        let len = b.u16("band_len")? as usize;
        if len < 12 || !len.is_multiple_of(4) || len > r.remaining() {
            return Err(at.fault(
                OfpError::OFPBRC_BAD_LEN,
                "band_len",
                format!("a multiple of 4, 12 to {}", r.remaining()),
                len,
            ));
        }
        let mut b = r.sub(len, "band")?;
        b.pad::<4>()?;
        let (rate, burst_size) = (b.u32("rate")?, b.u32("burst_size")?);
        let out = match kind {
            MeterBandType::DROP => {
                b.pad::<4>()?;
                Self::Drop { rate, burst_size }
            }
            MeterBandType::DSCP_REMARK => {
                let prec_level = b.u8("prec_level")?;
                b.pad::<3>()?;
                Self::DscpRemark { rate, burst_size, prec_level }
            }
            MeterBandType::EXPERIMENTER => {
                let experimenter = b.u32("experimenter")?;
                Self::Experimenter { rate, burst_size, experimenter, body: b.rest().to_vec() }
            }
            kind => Self::Unknown { kind: kind.0, rate, burst_size, body: b.rest().to_vec() },
        };
        b.finish()?;
        Ok(out)
    }
    /// Writes one band.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let start = w.pos();
        w.u16(self.kind().0);
        let at = w.len_later();
        let (rate, burst_size) = self.rate_burst();
        w.u32(rate);
        w.u32(burst_size);
        match self {
            Self::Drop { .. } => w.zeros(4),
            Self::DscpRemark { prec_level, .. } => {
                w.u8(*prec_level);
                w.zeros(3);
            }
            Self::Experimenter { experimenter, body, .. } => {
                w.u32(*experimenter);
                w.bytes(body);
            }
            Self::Unknown { body, .. } => w.bytes(body),
        }
        w.set_len(at, start);
    }
}
