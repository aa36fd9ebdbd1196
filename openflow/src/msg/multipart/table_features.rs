//! `OFPMP_TABLE_FEATURES`: what tables can do, asked and set (OpenFlow 1.3.5, "Table Features").
//! Entry: `length:2 | table_id:1 | pad:5 | name:32 | metadata_match:8 | metadata_write:8 | config:4 | max_entries:4 |
//! properties`; property: `type:2 | length:2 | ids`, padded to 8 bytes.

use crate::error::{DecodeError, OfpError};
use crate::field::{Field, CLASS_EXPERIMENTER};
use crate::ids::TableId;
use crate::num::{hex, wire_enum, FixedStr};
use crate::wire::{Reader, Writer};
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
        Self { header: d.oxm_header(has_mask), experimenter: d.experimenter }
    }
    /// The field meant, whatever the length says; `None` if we do not know it.
    pub fn field(self) -> Option<Field> {
        Field::from_wire((self.header >> 16) as u16, (self.header >> 9 & 0x7f) as u8, self.experimenter)
    }
    /// The HM bit.
    pub fn has_mask(self) -> bool {
        self.header & 0x100 != 0
    }
    /// The length is "the length value defined for the OXM field" (OpenFlow 1.3.5, "Table Features Property OXM"), with or without the mask's, or 0
    /// as os-ken and Ryu send it. A field that we do not know may have any.
    pub fn has_right_length(self) -> bool {
        let Some(f) = self.field() else { return true };
        let n = f.def().bytes();
        let id = if self.header >> 16 == 0xffff { 4 } else { 0 };
        let len = (self.header & 0xff) as usize;
        len == 0 || len == id + n || self.has_mask() && len == id + 2 * n
    }
}

impl TableFeatures {
    /// Reads one table.
    ///
    /// # Errors
    /// `OFPTFFC_BAD_LEN` where lengths cannot be.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        *r = r.with_bad_len(OfpError::OFPTFFC_BAD_LEN);
        let at = *r;
        let len = { *r }.u16("length")? as usize;
        if len < 64 || len > r.remaining() {
            return Err(at.bad_len("length", format!("64 to {}", r.remaining()), len));
        }
        let mut r = r.sub(len, "table_features")?;
        r.pad::<2>()?;
        let table_id = TableId(r.u8("table_id")?);
        r.pad::<5>()?;
        let name = FixedStr(r.array("name")?);
        let (metadata_match, metadata_write) = (r.u64("metadata_match")?, r.u64("metadata_write")?);
        let (config, max_entries) = (r.u32("config")?, r.u32("max_entries")?);
        let mut properties = Vec::new();
        while !r.is_empty() {
            properties.push(TableFeatureProp::parse(&mut r)?);
        }
        Ok(Self { table_id, name, metadata_match, metadata_write, config, max_entries, properties })
    }
    /// Writes one table.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { table_id, name, metadata_match, metadata_write, config, max_entries, properties } = self;
        let start = w.pos();
        let at = w.len_later();
        w.u8(table_id.0);
        w.zeros(5);
        w.bytes(&name.0);
        w.u64(*metadata_match);
        w.u64(*metadata_write);
        w.u32(*config);
        w.u32(*max_entries);
        properties.iter().for_each(|p| p.emit(w));
        w.set_len(at, start);
    }
}

/// `type:2 | len:2 | data`, without padding: how instructions and actions are named.
fn parse_id(r: &mut Reader<'_>) -> Result<(u16, Vec<u8>), DecodeError> {
    let kind = r.u16("id_type")?;
    let at = *r;
    let len = r.u16("id_len")? as usize;
    if len < 4 {
        return Err(at.bad_len("id_len", "at least 4", len));
    }
    Ok((kind, r.bytes(len - 4, "id")?.to_vec()))
}
fn emit_id(kind: u16, data: &[u8], w: &mut Writer<'_>) {
    let start = w.pos();
    w.u16(kind);
    let at = w.len_later();
    w.bytes(data);
    w.set_len(at, start);
}

impl TableFeatureProp {
    /// Reads one property and its padding.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = TablePropType(r.u16("property_type")?);
        let at = *r;
        let len = r.u16("property_length")? as usize;
        if len < 4 {
            return Err(at.bad_len("property_length", "at least 4", len));
        }
        let mut p = r.sub(len - 4, "property")?;
        r.pad8(len)?;
        let body = match kind {
            TablePropType::INSTRUCTIONS | TablePropType::INSTRUCTIONS_MISS => {
                let mut ids = Vec::new();
                while !p.is_empty() {
                    let (kind, data) = parse_id(&mut p)?;
                    ids.push(InstructionId { kind, data });
                }
                PropBody::Instructions(ids)
            }
            TablePropType::NEXT_TABLES | TablePropType::NEXT_TABLES_MISS => {
                PropBody::NextTables(p.rest().iter().map(|t| TableId(*t)).collect())
            }
            TablePropType::WRITE_ACTIONS
            | TablePropType::WRITE_ACTIONS_MISS
            | TablePropType::APPLY_ACTIONS
            | TablePropType::APPLY_ACTIONS_MISS => {
                let mut ids = Vec::new();
                while !p.is_empty() {
                    let (kind, data) = parse_id(&mut p)?;
                    ids.push(ActionId { kind, data });
                }
                PropBody::Actions(ids)
            }
            TablePropType::MATCH
            | TablePropType::WILDCARDS
            | TablePropType::WRITE_SETFIELD
            | TablePropType::WRITE_SETFIELD_MISS
            | TablePropType::APPLY_SETFIELD
            | TablePropType::APPLY_SETFIELD_MISS => {
                let mut ids = Vec::with_capacity(p.remaining() / 4);
                while !p.is_empty() {
                    let header = p.u32("oxm_id")?;
                    let exp = (header >> 16) as u16 == CLASS_EXPERIMENTER;
                    let experimenter = if exp { p.u32("oxm_experimenter")? } else { 0 };
                    ids.push(OxmId { header, experimenter });
                }
                PropBody::Oxms(ids)
            }
            TablePropType::EXPERIMENTER | TablePropType::EXPERIMENTER_MISS => PropBody::Experimenter {
                experimenter: p.u32("experimenter")?,
                exp_type: p.u32("exp_type")?,
                data: p.rest().to_vec(),
            },
            _ => PropBody::Unknown(p.rest().to_vec()),
        };
        Ok(Self { kind, body })
    }
    /// Writes one property and its padding.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { kind, body } = self;
        let start = w.pos();
        w.u16(kind.0);
        let at = w.len_later();
        match body {
            PropBody::Instructions(ids) => ids.iter().for_each(|i| emit_id(i.kind, &i.data, w)),
            PropBody::NextTables(tables) => tables.iter().for_each(|t| w.u8(t.0)),
            PropBody::Actions(ids) => ids.iter().for_each(|i| emit_id(i.kind, &i.data, w)),
            PropBody::Oxms(ids) => {
                for OxmId { header, experimenter } in ids {
                    w.u32(*header);
                    if (header >> 16) as u16 == CLASS_EXPERIMENTER {
                        w.u32(*experimenter);
                    }
                }
            }
            PropBody::Experimenter { experimenter, exp_type, data } => {
                w.u32(*experimenter);
                w.u32(*exp_type);
                w.bytes(data);
            }
            PropBody::Unknown(data) => w.bytes(data),
        }
        w.set_len(at, start);
        w.pad8(start);
    }
}
