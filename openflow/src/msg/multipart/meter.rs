//! `OFPMP_METER`, `OFPMP_METER_CONFIG`, `OFPMP_METER_FEATURES` (OpenFlow 1.3.5, "Meter Statistics" and after).
//! Stats: `meter_id:4 | len:2 | pad:6 | flow_count:4 | packet_in_count:8 | byte_in_count:8 | duration_sec:4 |
//! duration_nsec:4 | bands`. Config: `length:2 | flags:2 | meter_id:4 | bands`.
//! Features: `max_meter:4 | band_types:4 | capabilities:4 | max_bands:1 | max_color:1 | pad:2`.

use crate::error::DecodeError;
use crate::ids::MeterId;
use crate::meter::{MeterBand, MeterFlags};
use crate::wire::{Reader, Writer};
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

impl MeterRequest {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let meter_id = MeterId(r.u32("meter_id")?);
        r.pad::<4>()?;
        Ok(Self { meter_id })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { meter_id } = self;
        w.u32(meter_id.0);
        w.zeros(4);
    }
}

impl MeterBandStats {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet_band_count = r.u64("packet_band_count")?;
        let byte_band_count = r.u64("byte_band_count")?;
        Ok(Self { packet_band_count, byte_band_count })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { packet_band_count, byte_band_count } = self;
        w.u64(*packet_band_count);
        w.u64(*byte_band_count);
    }
}

impl MeterFeatures {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let max_meter = r.u32("max_meter")?;
        let band_types = r.u32("band_types")?;
        let capabilities = MeterFlags32(r.u32("capabilities")?);
        let max_bands = r.u8("max_bands")?;
        let max_color = r.u8("max_color")?;
        r.pad::<2>()?;
        Ok(Self { max_meter, band_types, capabilities, max_bands, max_color })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { max_meter, band_types, capabilities, max_bands, max_color } = self;
        w.u32(*max_meter);
        w.u32(*band_types);
        w.u32(capabilities.0);
        w.u8(*max_bands);
        w.u8(*max_color);
        w.zeros(2);
    }
}

impl MeterStats {
    /// Reads one entry.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut m = *r;
        let meter_id = MeterId(m.u32("meter_id")?);
        let at = m;
        let len = m.u16("len")? as usize;
        if len < 40 || len > r.remaining() {
            return Err(at.bad_len("len", format!("40 to {}", r.remaining()), len));
        }
        let mut r = r.sub(len, "meter_stats")?;
        r.pad::<12>()?;
        let flow_count = r.u32("flow_count")?;
        let (packet_in_count, byte_in_count) = (r.u64("packet_in_count")?, r.u64("byte_in_count")?);
        let (duration_sec, duration_nsec) = (r.u32("duration_sec")?, r.u32("duration_nsec")?);
        let mut bands = Vec::with_capacity(r.remaining() / 16);
        while !r.is_empty() {
            bands.push(MeterBandStats::parse(&mut r)?);
        }
        Ok(Self { meter_id, flow_count, packet_in_count, byte_in_count, duration_sec, duration_nsec, bands })
    }
    /// Writes one entry.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { meter_id, flow_count, packet_in_count, byte_in_count, duration_sec, duration_nsec, bands } =
            self;
        let start = w.pos();
        w.u32(meter_id.0);
        let at = w.len_later();
        w.zeros(6);
        w.u32(*flow_count);
        w.u64(*packet_in_count);
        w.u64(*byte_in_count);
        w.u32(*duration_sec);
        w.u32(*duration_nsec);
        bands.iter().for_each(|b| b.emit(w));
        w.set_len(at, start);
    }
}

impl MeterConfig {
    /// Reads one entry.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = *r;
        let len = { *r }.u16("length")? as usize;
        if len < 8 || len > r.remaining() {
            return Err(at.bad_len("length", format!("8 to {}", r.remaining()), len));
        }
        let mut r = r.sub(len, "meter_config")?;
        r.pad::<2>()?;
        let (flags, meter_id) = (MeterFlags(r.u16("flags")?), MeterId(r.u32("meter_id")?));
        let mut bands = Vec::new();
        while !r.is_empty() {
            bands.push(MeterBand::parse(&mut r)?);
        }
        Ok(Self { flags, meter_id, bands })
    }
    /// Writes one entry.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { flags, meter_id, bands } = self;
        let start = w.pos();
        let at = w.len_later();
        w.u16(flags.0);
        w.u32(meter_id.0);
        bands.iter().for_each(|b| b.emit(w));
        w.set_len(at, start);
    }
}
