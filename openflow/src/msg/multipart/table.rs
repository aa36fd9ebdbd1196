//! `OFPMP_TABLE`: `table_id:1 | pad:3 | active_count:4 | lookup_count:8 | matched_count:8` each (OpenFlow 1.3.5, "Table Statistics").

use crate::ids::TableId;
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
