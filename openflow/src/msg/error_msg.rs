//! `OFPT_ERROR`: `type:2 | code:2 | data`, for experimenters `0xffff:2 | exp_type:2 | experimenter:4 | data`
//! (OpenFlow 1.3.5, "Error Message").

use crate::error::OfpError;
use crate::num::hex;
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
