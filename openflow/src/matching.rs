//! `Match`: which packets a flow entry is for (OpenFlow 1.3.5, "Flow Match Structures").

use crate::field::Field;
use smallvec::SmallVec;

/// One field of a match, a set-field or a packet-in, known or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Oxm {
    /// A field of [`crate::field::FIELDS`].
    Known(OxmField),
    /// A field we do not know, kept as it came: parse never loses it, the switch refuses it.
    Unknown(Box<UnknownOxm>),
}

/// A known field with its value; bits outside `mask` are zero in `value` unless the sender left them set
/// (`OFPBMC_BAD_WILDCARDS` is the switch's to say).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OxmField {
    /// The field.
    pub field: Field,
    /// Value, right-aligned.
    pub value: u128,
    /// `None`: no mask on the wire (exact). `Some`: mask as sent, even if all ones.
    pub mask: Option<u128>,
}

/// An OXM TLV outside the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnknownOxm {
    /// OXM class.
    pub class: u16,
    /// Field number (7 bits).
    pub number: u8,
    /// HM bit.
    pub has_mask: bool,
    /// Experimenter id where class is 0xffff.
    pub experimenter: u32,
    /// The payload after header (and experimenter id).
    pub body: Vec<u8>,
}

/// An ordered list of match fields: kept in the order sent, so that it can be given back exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Match {
    /// Fields in wire order.
    pub fields: SmallVec<[Oxm; 4]>,
}
