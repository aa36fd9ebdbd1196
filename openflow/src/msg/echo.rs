//! `OFPT_ECHO_REQUEST` and `OFPT_ECHO_REPLY`: arbitrary bytes, given back (OpenFlow 1.3.5, "Echo Request").

use crate::error::DecodeError;
use crate::num::hex;
use crate::wire::{Reader, Writer};
use bytes::Bytes;
use serde::Serialize;

/// Body of both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Echo {
    /// The bytes.
    #[serde(serialize_with = "hex")]
    pub data: Bytes,
}

impl Echo {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let data = Bytes::copy_from_slice(r.rest());
        Ok(Self { data })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { data } = self;
        w.bytes(data);
    }
}
