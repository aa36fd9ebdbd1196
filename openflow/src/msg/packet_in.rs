//! `OFPT_PACKET_IN`: a packet for the controller (OpenFlow 1.3.5, "Packet-In Message").
//! `buffer_id:4 | total_len:2 | reason:1 | table_id:1 | cookie:8 | match | pad:2 | data`

use crate::error::DecodeError;
use crate::ids::TableId;
use crate::matching::Match;
use crate::num::{hex, wire_enum};
use crate::wire::{Reader, Writer};
use bytes::Bytes;
use serde::Serialize;

/// `OFP_NO_BUFFER`: the packet is not kept by the switch.
pub const OFP_NO_BUFFER: u32 = 0xffff_ffff;
/// `OFPCML_MAX`: the longest length that can be asked for.
pub const OFPCML_MAX: u16 = 0xffe5;
/// `OFPCML_NO_BUFFER`: send the whole packet, do not buffer it.
pub const OFPCML_NO_BUFFER: u16 = 0xffff;

wire_enum! {
    /// `OFPR_*`: why the packet is sent.
    PacketInReason(u8) { NO_MATCH = 0, ACTION = 1, INVALID_TTL = 2, ACTION_SET = 3, GROUP = 4, PACKET_OUT = 5 }
}

/// A packet-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct PacketIn {
    pub buffer_id: u32,
    /// Bytes of the packet before it was cut for `data`.
    pub total_len: u16,
    pub reason: PacketInReason,
    pub table_id: TableId,
    pub cookie: u64,
    /// `in_port` and whatever of the pipeline fields is not zero.
    #[serde(rename = "match")]
    pub matching: Match,
    #[serde(serialize_with = "hex")]
    pub data: Bytes,
}

impl PacketIn {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let buffer_id = r.u32("buffer_id")?;
        let total_len = r.u16("total_len")?;
        let reason = PacketInReason(r.u8("reason")?);
        let table_id = TableId(r.u8("table_id")?);
        let cookie = r.u64("cookie")?;
        let matching = Match::parse(r)?;
        r.pad::<2>()?;
        let data = Bytes::copy_from_slice(r.rest());
        Ok(Self { buffer_id, total_len, reason, table_id, cookie, matching, data })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { buffer_id, total_len, reason, table_id, cookie, matching, data } = self;
        w.u32(*buffer_id);
        w.u16(*total_len);
        w.u8(reason.0);
        w.u8(table_id.0);
        w.u64(*cookie);
        matching.emit(w);
        w.zeros(2);
        w.bytes(data);
    }
}
