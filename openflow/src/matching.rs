//! `Match`: which packets a flow entry is for (OpenFlow 1.3.5, "Flow Match Structures").

use crate::field::Field;
use crate::ids::PortNo;
use serde::Serialize;
use smallvec::SmallVec;

/// One field of a match, a set-field or a packet-in, known or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub enum Oxm {
    /// A field of [`crate::field::FIELDS`].
    Known(OxmField),
    /// A field we do not know, kept as it came: parse never loses it, the switch refuses it.
    Unknown(Box<UnknownOxm>),
}

/// A known field with its value; bits outside `mask` are zero in `value` unless the sender left them set
/// (`OFPBMC_BAD_WILDCARDS` is the switch's to say).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct OxmField {
    /// The field.
    pub field: Field,
    /// Value, right-aligned.
    pub value: u128,
    /// `None`: no mask on the wire (exact). `Some`: mask as sent, even if all ones.
    pub mask: Option<u128>,
}

/// An OXM TLV outside the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
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
    #[serde(serialize_with = "crate::num::hex")]
    pub body: Vec<u8>,
}

/// An ordered list of match fields: kept in the order sent, so that it can be given back exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Match {
    /// Fields in wire order.
    pub fields: SmallVec<[Oxm; 4]>,
}

impl OxmField {
    /// An exact field.
    pub fn exact(field: Field, value: u128) -> Self {
        Self { field, value, mask: None }
    }
    /// A masked field.
    pub fn masked(field: Field, value: u128, mask: u128) -> Self {
        Self { field, value, mask: Some(mask) }
    }
    /// The mask, all bits of the field if none was sent.
    pub fn full_mask(&self) -> u128 {
        self.mask.unwrap_or_else(|| self.field.def().full_mask())
    }
}

impl From<OxmField> for Oxm {
    fn from(f: OxmField) -> Self {
        Self::Known(f)
    }
}

impl Match {
    /// Matches every packet.
    pub fn new() -> Self {
        Self::default()
    }
    /// With one more exact field.
    pub fn with(mut self, field: Field, value: u128) -> Self {
        self.fields.push(OxmField::exact(field, value).into());
        self
    }
    /// With one more masked field.
    pub fn with_masked(mut self, field: Field, value: u128, mask: u128) -> Self {
        self.fields.push(OxmField::masked(field, value, mask).into());
        self
    }
    /// The known fields, in wire order.
    pub fn known(&self) -> impl Iterator<Item = &OxmField> {
        self.fields.iter().filter_map(|o| match o {
            Oxm::Known(f) => Some(f),
            Oxm::Unknown(_) => None,
        })
    }
    /// The first occurrence of a field.
    pub fn get(&self, field: Field) -> Option<&OxmField> {
        self.known().find(|f| f.field == field)
    }
    /// The `in_port` matched, if any.
    pub fn in_port(&self) -> Option<PortNo> {
        self.get(Field::InPort).map(|f| PortNo(f.value as u32))
    }
}
