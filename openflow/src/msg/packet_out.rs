//! `OFPT_PACKET_OUT`: the controller sends a packet (OpenFlow 1.3.5, "Packet-Out Message").
//! `buffer_id:4 | in_port:4 | actions_len:2 | pad:6 | actions | data`

use crate::action::Action;
use crate::error::{DecodeError, OfpError};
use crate::ids::PortNo;
use crate::num::hex;
use crate::wire::{Reader, Writer};
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

impl PacketOut {
    /// Reads the body.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (buffer_id, in_port) = (r.u32("buffer_id")?, PortNo(r.u32("in_port")?));
        let actions_len = r.u16("actions_len")? as usize;
        r.pad::<6>()?;
        let mut a = r.with_bad_len(OfpError::OFPBRC_BAD_LEN).sub(actions_len, "actions")?;
        r.bytes(actions_len, "actions")?;
        Ok(Self {
            buffer_id,
            in_port,
            actions: Action::parse_list(&mut a)?,
            data: Bytes::copy_from_slice(r.rest()),
        })
    }
    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { buffer_id, in_port, actions, data } = self;
        w.u32(*buffer_id);
        w.u32(in_port.0);
        let at = w.len_later();
        w.zeros(6);
        let start = w.pos();
        Action::emit_list(actions, w);
        w.set_len(at, start);
        w.bytes(data);
    }
}
