//! `OFPT_ECHO_REQUEST` and `OFPT_ECHO_REPLY`: arbitrary bytes, given back (OpenFlow 1.3.5, "Echo Request").

use crate::num::hex;
use bytes::Bytes;
use serde::Serialize;

/// Body of both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Echo {
    /// The bytes.
    #[serde(serialize_with = "hex")]
    pub data: Bytes,
}
