//! `OFPT_ERROR`: `type:2 | code:2 | data`, for experimenters `0xffff:2 | exp_type:2 | experimenter:4 | data`
//! (OpenFlow 1.3.5, "Error Message").

use crate::error::{DecodeError, OfpError, OFPET_EXPERIMENTER};
use crate::header::{HEADER_LEN, MAX_MESSAGE_LEN};
use crate::num::hex;
use crate::wire::{Reader, Writer};
use bytes::Bytes;
use serde::Serialize;

/// An error: what was wrong, and the start of the message that was wrong (or a text, for HELLO_FAILED).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorMsg {
    /// Type and code.
    pub error: OfpError,
    /// At least 64 bytes of the message at fault, if it was that long.
    #[serde(serialize_with = "hex")]
    pub data: Bytes,
}

impl ErrorMsg {
    /// The answer to a message at fault: its whole text, cut only where an error message cannot hold it.
    pub fn answer(error: OfpError, message: &[u8]) -> Self {
        let room = MAX_MESSAGE_LEN - HEADER_LEN - 8;
        Self { error, data: Bytes::copy_from_slice(&message[..message.len().min(room)]) }
    }
    /// Reads the body.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (kind, code) = (r.u16("type")?, r.u16("code")?);
        let experimenter = if kind == OFPET_EXPERIMENTER { r.u32("experimenter")? } else { 0 };
        Ok(Self { error: OfpError { kind, code, experimenter }, data: Bytes::copy_from_slice(r.rest()) })
    }
    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { error: OfpError { kind, code, experimenter }, data } = self;
        w.u16(*kind);
        w.u16(*code);
        if *kind == OFPET_EXPERIMENTER {
            w.u32(*experimenter);
        }
        w.bytes(data);
    }
}
