//! `OFPT_QUEUE_GET_CONFIG_*`: the queues of a port (OpenFlow 1.3.5, "Queue Configuration Messages").
//! Request: `port:4 | pad:4`. Reply: `port:4 | pad:4 | queues`; queue: `queue_id:4 | port:4 | len:2 | pad:6 | properties`;
//! property: `property:2 | len:2 | pad:4 | ...`.

use crate::ids::PortNo;
use crate::num::hex;
use serde::Serialize;

/// Request; port ANY asks for all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct QueueGetConfigRequest {
    pub port: PortNo,
}

/// Reply.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct QueueGetConfigReply {
    pub port: PortNo,
    pub queues: Vec<PacketQueue>,
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct PacketQueue {
    pub queue_id: u32,
    pub port: PortNo,
    pub properties: Vec<QueueProp>,
}

/// One property of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum QueueProp {
    /// `OFPQT_MIN_RATE` in 1/10 of a per cent; above 1000: off.
    MinRate(u16),
    /// `OFPQT_MAX_RATE` in 1/10 of a per cent; above 1000: off.
    MaxRate(u16),
    /// `OFPQT_EXPERIMENTER`.
    Experimenter {
        /// Whose.
        experimenter: u32,
        /// The rest.
        #[serde(serialize_with = "hex")]
        data: Vec<u8>,
    },
    /// A property we do not know; `data` follows the 8-byte header.
    Unknown {
        /// Property number.
        kind: u16,
        /// The rest.
        #[serde(serialize_with = "hex")]
        data: Vec<u8>,
    },
}
