//! `OFPT_GET_CONFIG_REPLY`, `OFPT_SET_CONFIG`: `flags:2 | miss_send_len:2` (OpenFlow 1.3.5, "Switch Configuration").

use crate::error::DecodeError;
use crate::num::wire_enum;
use crate::wire::{Reader, Writer};
use serde::Serialize;

wire_enum! {
    /// `OFPC_FRAG_*`: what happens to IP fragments.
    ConfigFlags(u16) { FRAG_NORMAL = 0, FRAG_DROP = 1, FRAG_REASM = 2, FRAG_MASK = 3 }
}

/// Body of both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct SwitchConfig {
    pub flags: ConfigFlags,
    /// Bytes of a packet sent to the controller on a table miss; 0xffff: all.
    pub miss_send_len: u16,
}

impl SwitchConfig {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = ConfigFlags(r.u16("flags")?);
        let miss_send_len = r.u16("miss_send_len")?;
        Ok(Self { flags, miss_send_len })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { flags, miss_send_len } = self;
        w.u16(flags.0);
        w.u16(*miss_send_len);
    }
}
