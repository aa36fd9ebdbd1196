//! `OFPMP_QUEUE` (OpenFlow 1.3.5, "Queue Statistics"). Request: `port_no:4 | queue_id:4`. Entry: `port_no:4 | queue_id:4 |
//! tx_bytes:8 | tx_packets:8 | tx_errors:8 | duration_sec:4 | duration_nsec:4`.

use crate::error::DecodeError;
use crate::ids::PortNo;
use crate::wire::{Reader, Writer};
use serde::Serialize;

/// `OFPQ_ALL`: all queues.
pub const OFPQ_ALL: u32 = 0xffff_ffff;

/// Request; port ANY and queue [`OFPQ_ALL`] for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct QueueStatsRequest {
    pub port_no: PortNo,
    pub queue_id: u32,
}

/// Counters of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct QueueStats {
    pub port_no: PortNo,
    pub queue_id: u32,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub duration_sec: u32,
    pub duration_nsec: u32,
}

impl QueueStatsRequest {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let port_no = PortNo(r.u32("port_no")?);
        let queue_id = r.u32("queue_id")?;
        Ok(Self { port_no, queue_id })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { port_no, queue_id } = self;
        w.u32(port_no.0);
        w.u32(*queue_id);
    }
}

impl QueueStats {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let port_no = PortNo(r.u32("port_no")?);
        let queue_id = r.u32("queue_id")?;
        let tx_bytes = r.u64("tx_bytes")?;
        let tx_packets = r.u64("tx_packets")?;
        let tx_errors = r.u64("tx_errors")?;
        let duration_sec = r.u32("duration_sec")?;
        let duration_nsec = r.u32("duration_nsec")?;
        Ok(Self { port_no, queue_id, tx_bytes, tx_packets, tx_errors, duration_sec, duration_nsec })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { port_no, queue_id, tx_bytes, tx_packets, tx_errors, duration_sec, duration_nsec } = self;
        w.u32(port_no.0);
        w.u32(*queue_id);
        w.u64(*tx_bytes);
        w.u64(*tx_packets);
        w.u64(*tx_errors);
        w.u32(*duration_sec);
        w.u32(*duration_nsec);
    }
}
