//! `OFPMP_PORT_STATS` (OpenFlow 1.3.5, "Port Statistics"). Request: `port_no:4 | pad:4`. Entry: `port_no:4 | pad:4 |
//! twelve counters:8 | duration_sec:4 | duration_nsec:4`.

use crate::error::DecodeError;
use crate::ids::PortNo;
use crate::wire::{Reader, Writer};
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

impl PortStatsRequest {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let port_no = PortNo(r.u32("port_no")?);
        r.pad::<4>()?;
        Ok(Self { port_no })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { port_no } = self;
        w.u32(port_no.0);
        w.zeros(4);
    }
}

impl PortStats {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let port_no = PortNo(r.u32("port_no")?);
        r.pad::<4>()?;
        let rx_packets = r.u64("rx_packets")?;
        let tx_packets = r.u64("tx_packets")?;
        let rx_bytes = r.u64("rx_bytes")?;
        let tx_bytes = r.u64("tx_bytes")?;
        let rx_dropped = r.u64("rx_dropped")?;
        let tx_dropped = r.u64("tx_dropped")?;
        let rx_errors = r.u64("rx_errors")?;
        let tx_errors = r.u64("tx_errors")?;
        let rx_frame_err = r.u64("rx_frame_err")?;
        let rx_over_err = r.u64("rx_over_err")?;
        let rx_crc_err = r.u64("rx_crc_err")?;
        let collisions = r.u64("collisions")?;
        let duration_sec = r.u32("duration_sec")?;
        let duration_nsec = r.u32("duration_nsec")?;
        Ok(Self {
            port_no,
            rx_packets,
            tx_packets,
            rx_bytes,
            tx_bytes,
            rx_dropped,
            tx_dropped,
            rx_errors,
            tx_errors,
            rx_frame_err,
            rx_over_err,
            rx_crc_err,
            collisions,
            duration_sec,
            duration_nsec,
        })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self {
            port_no,
            rx_packets,
            tx_packets,
            rx_bytes,
            tx_bytes,
            rx_dropped,
            tx_dropped,
            rx_errors,
            tx_errors,
            rx_frame_err,
            rx_over_err,
            rx_crc_err,
            collisions,
            duration_sec,
            duration_nsec,
        } = self;
        w.u32(port_no.0);
        w.zeros(4);
        w.u64(*rx_packets);
        w.u64(*tx_packets);
        w.u64(*rx_bytes);
        w.u64(*tx_bytes);
        w.u64(*rx_dropped);
        w.u64(*tx_dropped);
        w.u64(*rx_errors);
        w.u64(*tx_errors);
        w.u64(*rx_frame_err);
        w.u64(*rx_over_err);
        w.u64(*rx_crc_err);
        w.u64(*collisions);
        w.u32(*duration_sec);
        w.u32(*duration_nsec);
    }
}
