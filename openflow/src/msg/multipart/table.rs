//! `OFPMP_TABLE`: `table_id:1 | pad:3 | active_count:4 | lookup_count:8 | matched_count:8` each (OpenFlow 1.3.5, "Table Statistics").

use crate::error::DecodeError;
use crate::ids::TableId;
use crate::wire::{Reader, Writer};
use serde::Serialize;

/// Counters of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct TableStats {
    pub table_id: TableId,
    pub active_count: u32,
    pub lookup_count: u64,
    pub matched_count: u64,
}

impl TableStats {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let table_id = TableId(r.u8("table_id")?);
        r.pad::<3>()?;
        let active_count = r.u32("active_count")?;
        let lookup_count = r.u64("lookup_count")?;
        let matched_count = r.u64("matched_count")?;
        Ok(Self { table_id, active_count, lookup_count, matched_count })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { table_id, active_count, lookup_count, matched_count } = self;
        w.u8(table_id.0);
        w.zeros(3);
        w.u32(*active_count);
        w.u64(*lookup_count);
        w.u64(*matched_count);
    }
}
