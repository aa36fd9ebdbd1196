//! `OFPMP_AGGREGATE`: sums over flow entries. Request as for `OFPMP_FLOW`; reply `packet_count:8 | byte_count:8 | flow_count:4 | pad:4`.

use crate::error::DecodeError;
use crate::wire::{Reader, Writer};
use serde::Serialize;

/// The reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct AggregateStats {
    pub packet_count: u64,
    pub byte_count: u64,
    pub flow_count: u32,
}

impl AggregateStats {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet_count = r.u64("packet_count")?;
        let byte_count = r.u64("byte_count")?;
        let flow_count = r.u32("flow_count")?;
        r.pad::<4>()?;
        Ok(Self { packet_count, byte_count, flow_count })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { packet_count, byte_count, flow_count } = self;
        w.u64(*packet_count);
        w.u64(*byte_count);
        w.u32(*flow_count);
        w.zeros(4);
    }
}
