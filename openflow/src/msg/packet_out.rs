//! `OFPT_PACKET_OUT`: the controller sends a packet (OpenFlow 1.3.5, "Packet-Out Message").
//! `buffer_id:4 | in_port:4 | actions_len:2 | pad:6 | actions | data`

use crate::action::Action;
use crate::ids::PortNo;
use crate::num::hex;
use bytes::Bytes;
use serde::Serialize;

/// A packet-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct PacketOut {
    /// A packet-in's buffer, or `OFP_NO_BUFFER` and the packet in `data`.
    pub buffer_id: u32,
    pub in_port: PortNo,
    pub actions: Vec<Action>,
    #[serde(serialize_with = "hex")]
    pub data: Bytes,
}
