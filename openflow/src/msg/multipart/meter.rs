//! `OFPMP_METER`, `OFPMP_METER_CONFIG`, `OFPMP_METER_FEATURES` (OpenFlow 1.3.5, "Meter Statistics" and after).
//! Stats: `meter_id:4 | len:2 | pad:6 | flow_count:4 | packet_in_count:8 | byte_in_count:8 | duration_sec:4 |
//! duration_nsec:4 | bands`. Config: `length:2 | flags:2 | meter_id:4 | bands`.
//! Features: `max_meter:4 | band_types:4 | capabilities:4 | max_bands:1 | max_color:1 | pad:2`.

use crate::ids::MeterId;
use crate::meter::{MeterBand, MeterFlags};
use serde::Serialize;

/// Request of METER and METER_CONFIG: `meter_id:4 | pad:4`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct MeterRequest {
    pub meter_id: MeterId,
}

/// Counters of a meter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct MeterStats {
    pub meter_id: MeterId,
    pub flow_count: u32,
    pub packet_in_count: u64,
    pub byte_in_count: u64,
    pub duration_sec: u32,
    pub duration_nsec: u32,
    pub bands: Vec<MeterBandStats>,
}

/// Counters of a band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct MeterBandStats {
    pub packet_band_count: u64,
    pub byte_band_count: u64,
}

/// A meter as it was defined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct MeterConfig {
    pub flags: MeterFlags,
    pub meter_id: MeterId,
    pub bands: Vec<MeterBand>,
}

/// What meters of the switch can do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct MeterFeatures {
    pub max_meter: u32,
    /// Bit n: band type n.
    pub band_types: u32,
    pub capabilities: MeterFlags32,
    pub max_bands: u8,
    pub max_color: u8,
}

crate::num::wire_flags! {
    /// `OFPMF_*` as a 32-bit field.
    MeterFlags32(u32) { KBPS = 1, PKTPS = 2, BURST = 4, STATS = 8 }
}
