//! What a matching flow entry does to the pipeline (OpenFlow 1.3.5, "Flow Instruction Structures").

use crate::action::Action;
use crate::error::{DecodeError, OfpError};
use crate::ids::{MeterId, TableId};
use crate::wire::{Reader, Writer};
use smallvec::SmallVec;

/// The instructions of a flow entry, in wire order; up to two without an allocation.
pub type Instructions = SmallVec<[Instruction; 2]>;

/// One instruction. A list is kept as sent; execution order is the specification's, not the list's.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        body: Vec<u8>,
    },
    /// An instruction type outside the specification; refused by the switch.
    Unknown {
        /// Instruction type.
        kind: u16,
        /// Bytes after type and length.
        body: Vec<u8>,
    },
}

const OFPIT_GOTO_TABLE: u16 = 1;
const OFPIT_WRITE_METADATA: u16 = 2;
const OFPIT_WRITE_ACTIONS: u16 = 3;
const OFPIT_APPLY_ACTIONS: u16 = 4;
const OFPIT_CLEAR_ACTIONS: u16 = 5;
const OFPIT_METER: u16 = 6;
const OFPIT_EXPERIMENTER: u16 = 0xffff;

impl Instruction {
    /// `OFPIT_*` on the wire.
    pub fn kind(&self) -> u16 {
        match self {
            Self::GotoTable(_) => OFPIT_GOTO_TABLE,
            Self::WriteMetadata { .. } => OFPIT_WRITE_METADATA,
            Self::WriteActions(_) => OFPIT_WRITE_ACTIONS,
            Self::ApplyActions(_) => OFPIT_APPLY_ACTIONS,
            Self::ClearActions => OFPIT_CLEAR_ACTIONS,
            Self::Meter(_) => OFPIT_METER,
            Self::Experimenter { .. } => OFPIT_EXPERIMENTER,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// One instruction: `type:2 | len:2 | ...`, a multiple of 8 bytes.
    ///
    /// # Errors
    /// `OFPBIC_BAD_LEN`, and the errors of the actions inside.
    #[inline]
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        *r = r.with_bad_len(OfpError::OFPBIC_BAD_LEN);
        let mut peek = *r;
        let kind = peek.u16("instruction_type")?;
        let at = peek;
        let len = peek.u16("instruction_len")? as usize;
        if len < 8 || !len.is_multiple_of(8) {
            return Err(at.bad_len("instruction_len", "a multiple of 8, at least 8", len));
        }
        if len > r.remaining() {
            return Err(at.bad_len("instruction_len", format!("at most {}", r.remaining()), len));
        }
        let mut i = r.sub(len, "instruction")?;
        i.pad::<4>()?;
        let out = match kind {
            OFPIT_GOTO_TABLE => {
                let table = TableId(i.u8("table_id")?);
                i.pad::<3>()?;
                Self::GotoTable(table)
            }
            OFPIT_WRITE_METADATA => {
                i.pad::<4>()?;
                Self::WriteMetadata { metadata: i.u64("metadata")?, mask: i.u64("metadata_mask")? }
            }
            OFPIT_WRITE_ACTIONS => {
                i.pad::<4>()?;
                Self::WriteActions(Action::parse_list(&mut i)?)
            }
            OFPIT_APPLY_ACTIONS => {
                i.pad::<4>()?;
                Self::ApplyActions(Action::parse_list(&mut i)?)
            }
            OFPIT_CLEAR_ACTIONS => {
                i.pad::<4>()?;
                Self::ClearActions
            }
            OFPIT_METER => Self::Meter(MeterId(i.u32("meter_id")?)),
            OFPIT_EXPERIMENTER => {
                Self::Experimenter { experimenter: i.u32("experimenter")?, body: i.rest().to_vec() }
            }
            kind => Self::Unknown { kind, body: i.rest().to_vec() },
        };
        i.finish()?;
        Ok(out)
    }

    /// Instructions to the end of `r`.
    #[inline]
    pub fn parse_list(r: &mut Reader<'_>) -> Result<Instructions, DecodeError> {
        let mut out = Instructions::new();
        while !r.is_empty() {
            out.push(Self::parse(r)?);
        }
        Ok(out)
    }

    /// The instruction's bytes.
    #[inline]
    pub fn emit(&self, w: &mut Writer<'_>) {
        let start = w.pos();
        w.u16(self.kind());
        let at = w.len_later();
        match self {
            Self::GotoTable(table) => {
                w.u8(table.0);
                w.zeros(3);
            }
            Self::WriteMetadata { metadata, mask } => {
                w.zeros(4);
                w.u64(*metadata);
                w.u64(*mask);
            }
            Self::WriteActions(actions) | Self::ApplyActions(actions) => {
                w.zeros(4);
                Action::emit_list(actions, w);
            }
            Self::ClearActions => w.zeros(4),
            Self::Meter(meter) => w.u32(meter.0),
            Self::Experimenter { experimenter, body } => {
                w.u32(*experimenter);
                w.bytes(body);
            }
            Self::Unknown { kind: _, body } => w.bytes(body),
        }
        w.pad8(start);
        w.set_len(at, start);
    }
}
