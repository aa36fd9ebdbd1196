//! `OFPMP_GROUP`, `OFPMP_GROUP_DESC`, `OFPMP_GROUP_FEATURES` (OpenFlow 1.3.5, "Group Statistics" and after).
//! Stats: `length:2 | pad:2 | group_id:4 | ref_count:4 | pad:4 | packet_count:8 | byte_count:8 | duration_sec:4 |
//! duration_nsec:4 | buckets`. Desc: `length:2 | type:1 | pad:1 | group_id:4 | buckets`.
//! Features: `types:4 | capabilities:4 | max_groups:4[4] | actions:4[4]`.

use crate::group::{Bucket, GroupCapabilities, GroupType};
use crate::ids::GroupId;
use serde::Serialize;

/// Request of `OFPMP_GROUP`: `group_id:4 | pad:4`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct GroupStatsRequest {
    pub group_id: GroupId,
}

/// Counters of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct GroupStats {
    pub group_id: GroupId,
    pub ref_count: u32,
    pub packet_count: u64,
    pub byte_count: u64,
    pub duration_sec: u32,
    pub duration_nsec: u32,
    pub buckets: Vec<BucketCounter>,
}

/// Counters of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct BucketCounter {
    pub packet_count: u64,
    pub byte_count: u64,
}

/// A group as it was defined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct GroupDesc {
    pub kind: GroupType,
    pub group_id: GroupId,
    pub buckets: Vec<Bucket>,
}

/// What groups of the switch can do; arrays are indexed by group type.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct GroupFeatures {
    /// Bit n: group type n.
    pub types: u32,
    pub capabilities: GroupCapabilities,
    pub max_groups: [u32; 4],
    /// Bit n: action type n.
    pub actions: [u32; 4],
}
