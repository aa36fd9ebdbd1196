//! What a matching flow entry does to the pipeline (OpenFlow 1.3.5, "Flow Instruction Structures").

use crate::action::Action;
use crate::ids::{MeterId, TableId};
use serde::Serialize;
use smallvec::SmallVec;

/// The instructions of a flow entry, in wire order; up to two without an allocation.
pub type Instructions = SmallVec<[Instruction; 2]>;

/// One instruction. A list is kept as sent; execution order is the specification's, not the list's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Instruction {
    /// `OFPIT_GOTO_TABLE`.
    GotoTable(TableId),
    /// `OFPIT_WRITE_METADATA`.
    WriteMetadata {
        /// Value.
        metadata: u64,
        /// Bits written.
        mask: u64,
    },
    /// `OFPIT_WRITE_ACTIONS`.
    WriteActions(Vec<Action>),
    /// `OFPIT_APPLY_ACTIONS`.
    ApplyActions(Vec<Action>),
    /// `OFPIT_CLEAR_ACTIONS`.
    ClearActions,
    /// `OFPIT_METER`.
    Meter(MeterId),
    /// `OFPIT_EXPERIMENTER`.
    Experimenter {
        /// Experimenter id.
        experimenter: u32,
        /// Bytes after it.
        #[serde(serialize_with = "crate::num::hex")]
        body: Vec<u8>,
    },
    /// An instruction type outside the specification; refused by the switch.
    Unknown {
        /// Instruction type.
        kind: u16,
        /// Bytes after type and length.
        #[serde(serialize_with = "crate::num::hex")]
        body: Vec<u8>,
    },
}
