//! `OFPT_FEATURES_REPLY`: `datapath_id:8 | n_buffers:4 | n_tables:1 | auxiliary_id:1 | pad:2 | capabilities:4 | reserved:4`
//! (OpenFlow 1.3.5, "Handshake"). The request has no body.

use crate::num::wire_flags;
use serde::Serialize;

wire_flags! {
    /// `OFPC_*`: what the switch can do.
    Capabilities(u32) {
        FLOW_STATS = 1, TABLE_STATS = 2, PORT_STATS = 4, GROUP_STATS = 8, IP_REASM = 32, QUEUE_STATS = 64,
        PORT_BLOCKED = 256,
    }
}

/// The switch introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct FeaturesReply {
    pub datapath_id: u64,
    pub n_buffers: u32,
    pub n_tables: u8,
    /// 0 on the main connection.
    pub auxiliary_id: u8,
    pub capabilities: Capabilities,
    pub reserved: u32,
}
