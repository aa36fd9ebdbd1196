//! `OFPMP_QUEUE` (OpenFlow 1.3.5, "Queue Statistics"). Request: `port_no:4 | queue_id:4`. Entry: `port_no:4 | queue_id:4 |
//! tx_bytes:8 | tx_packets:8 | tx_errors:8 | duration_sec:4 | duration_nsec:4`.

use crate::ids::PortNo;
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
