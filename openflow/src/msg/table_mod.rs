//! `OFPT_TABLE_MOD`: `table_id:1 | pad:3 | config:4` (OpenFlow 1.3.5, "Flow Table Configuration").

use crate::error::DecodeError;
use crate::ids::TableId;
use crate::wire::{Reader, Writer};
use serde::Serialize;

/// A table-mod. `config` is deprecated in 1.3: `OFPTC_DEPRECATED_MASK` is 3.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct TableMod {
    pub table_id: TableId,
    pub config: u32,
}

impl TableMod {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let table_id = TableId(r.u8("table_id")?);
        r.pad::<3>()?;
        let config = r.u32("config")?;
        Ok(Self { table_id, config })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { table_id, config } = self;
        w.u8(table_id.0);
        w.zeros(3);
        w.u32(*config);
    }
}
