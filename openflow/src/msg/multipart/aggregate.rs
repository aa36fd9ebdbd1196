//! `OFPMP_AGGREGATE`: sums over flow entries. Request as for `OFPMP_FLOW`; reply `packet_count:8 | byte_count:8 | flow_count:4 | pad:4`.

use serde::Serialize;

/// The reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct AggregateStats {
    pub packet_count: u64,
    pub byte_count: u64,
    pub flow_count: u32,
}
