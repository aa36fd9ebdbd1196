//! `OFPT_EXPERIMENTER`: `experimenter:4 | exp_type:4 | data` (OpenFlow 1.3.5, "Experimenter").

use crate::num::hex;
use bytes::Bytes;
use serde::Serialize;

/// An experimenter message that no other type of [`crate::msg::Message`] stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Experimenter {
    /// Whose extension.
    pub experimenter: u32,
    /// Which of theirs.
    pub exp_type: u32,
    /// The rest.
    #[serde(serialize_with = "hex")]
    pub data: Bytes,
}
