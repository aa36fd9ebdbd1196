//! `OFPT_TABLE_MOD`: `table_id:1 | pad:3 | config:4` (OpenFlow 1.3.5, "Flow Table Configuration").

use crate::ids::TableId;
use serde::Serialize;

/// A table-mod. `config` is deprecated in 1.3: `OFPTC_DEPRECATED_MASK` is 3.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct TableMod {
    pub table_id: TableId,
    pub config: u32,
}
