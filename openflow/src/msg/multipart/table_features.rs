//! `OFPMP_TABLE_FEATURES`: what tables can do, asked and set (OpenFlow 1.3.5, "Table Features").
//! Entry: `length:2 | table_id:1 | pad:5 | name:32 | metadata_match:8 | metadata_write:8 | config:4 | max_entries:4 |
//! properties`; property: `type:2 | length:2 | ids`, padded to 8 bytes.

use crate::field::{Field, CLASS_EXPERIMENTER};
use crate::ids::TableId;
use crate::num::{hex, wire_enum, FixedStr};
use serde::Serialize;

wire_enum! {
    /// `OFPTFPT_*`; the odd ones (`_MISS`) hold for the table-miss entry.
    TablePropType(u16) {
        INSTRUCTIONS = 0, INSTRUCTIONS_MISS = 1, NEXT_TABLES = 2, NEXT_TABLES_MISS = 3, WRITE_ACTIONS = 4,
        WRITE_ACTIONS_MISS = 5, APPLY_ACTIONS = 6, APPLY_ACTIONS_MISS = 7, MATCH = 8, WILDCARDS = 10,
        WRITE_SETFIELD = 12, WRITE_SETFIELD_MISS = 13, APPLY_SETFIELD = 14, APPLY_SETFIELD_MISS = 15,
        EXPERIMENTER = 0xfffe, EXPERIMENTER_MISS = 0xffff,
    }
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct TableFeatures {
    pub table_id: TableId,
    pub name: FixedStr<32>,
    pub metadata_match: u64,
    pub metadata_write: u64,
    pub config: u32,
    pub max_entries: u32,
    pub properties: Vec<TableFeatureProp>,
}

/// One property.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableFeatureProp {
    /// Which.
    pub kind: TablePropType,
    /// Its list; of the variant that belongs to `kind`.
    pub body: PropBody,
}

/// The list of a property.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum PropBody {
    /// `INSTRUCTIONS*`.
    Instructions(Vec<InstructionId>),
    /// `NEXT_TABLES*`.
    NextTables(Vec<TableId>),
    /// `WRITE_ACTIONS*`, `APPLY_ACTIONS*`.
    Actions(Vec<ActionId>),
    /// `MATCH`, `WILDCARDS`, `WRITE_SETFIELD*`, `APPLY_SETFIELD*`.
    Oxms(Vec<OxmId>),
    /// `EXPERIMENTER*`.
    Experimenter {
        /// Whose.
        experimenter: u32,
        /// Which of theirs.
        exp_type: u32,
        /// The rest.
        #[serde(serialize_with = "hex")]
        data: Vec<u8>,
    },
    /// A property type outside the specification.
    Unknown(#[serde(serialize_with = "hex")] Vec<u8>),
}

/// An instruction named by type: `type:2 | len:2`, longer for experimenters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstructionId {
    /// `OFPIT_*`.
    pub kind: u16,
    /// Bytes after the header: experimenter id and data; usually empty.
    #[serde(serialize_with = "hex")]
    pub data: Vec<u8>,
}

/// An action named by type: `type:2 | len:2`, longer for experimenters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActionId {
    /// `OFPAT_*`.
    pub kind: u16,
    /// Bytes after the header: experimenter id and data; usually empty.
    #[serde(serialize_with = "hex")]
    pub data: Vec<u8>,
}

/// A field named by its OXM header. The header's length is kept as sent: os-ken and Ryu send 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct OxmId {
    /// `class:16 | field:7 | hasmask:1 | length:8`.
    pub header: u32,
    /// Experimenter id, if the class is 0xffff.
    pub experimenter: u32,
}

impl OxmId {
    /// The id of a field by its preferred number, maskable or not.
    pub fn new(field: Field, has_mask: bool) -> Self {
        let d = field.def();
        let exp = if d.class == CLASS_EXPERIMENTER { 4 } else { 0 };
        let len = (d.bytes() << has_mask as usize) + exp;
        Self {
            header: (d.class as u32) << 16 | (d.number as u32) << 9 | (has_mask as u32) << 8 | len as u32,
            experimenter: d.experimenter,
        }
    }
    /// The field meant, whatever the length says; `None` if we do not know it.
    pub fn field(self) -> Option<Field> {
        Field::from_wire((self.header >> 16) as u16, (self.header >> 9 & 0x7f) as u8, self.experimenter)
    }
    /// The HM bit.
    pub fn has_mask(self) -> bool {
        self.header & 0x100 != 0
    }
}
