//! `OFPT_FEATURES_REPLY`: `datapath_id:8 | n_buffers:4 | n_tables:1 | auxiliary_id:1 | pad:2 | capabilities:4 | reserved:4`
//! (OpenFlow 1.3.5, "Handshake"). The request has no body.

use crate::error::DecodeError;
use crate::num::wire_flags;
use crate::wire::{Reader, Writer};
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
    #[serde(serialize_with = "crate::text::json::dpid")]
    pub datapath_id: u64,
    pub n_buffers: u32,
    pub n_tables: u8,
    /// 0 on the main connection.
    pub auxiliary_id: u8,
    pub capabilities: Capabilities,
    pub reserved: u32,
}

impl FeaturesReply {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let datapath_id = r.u64("datapath_id")?;
        let n_buffers = r.u32("n_buffers")?;
        let n_tables = r.u8("n_tables")?;
        let auxiliary_id = r.u8("auxiliary_id")?;
        r.pad::<2>()?;
        let capabilities = Capabilities(r.u32("capabilities")?);
        let reserved = r.u32("reserved")?;
        Ok(Self { datapath_id, n_buffers, n_tables, auxiliary_id, capabilities, reserved })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { datapath_id, n_buffers, n_tables, auxiliary_id, capabilities, reserved } = self;
        w.u64(*datapath_id);
        w.u32(*n_buffers);
        w.u8(*n_tables);
        w.u8(*auxiliary_id);
        w.zeros(2);
        w.u32(capabilities.0);
        w.u32(*reserved);
    }
}
