//! `OFPMP_GROUP`, `OFPMP_GROUP_DESC`, `OFPMP_GROUP_FEATURES` (OpenFlow 1.3.5, "Group Statistics" and after).
//! Stats: `length:2 | pad:2 | group_id:4 | ref_count:4 | pad:4 | packet_count:8 | byte_count:8 | duration_sec:4 |
//! duration_nsec:4 | buckets`. Desc: `length:2 | type:1 | pad:1 | group_id:4 | buckets`.
//! Features: `types:4 | capabilities:4 | max_groups:4[4] | actions:4[4]`.

use crate::error::DecodeError;
use crate::group::{Bucket, GroupCapabilities, GroupType};
use crate::ids::GroupId;
use crate::wire::{Reader, Writer};
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
    #[serde(rename = "type")]
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

impl GroupStatsRequest {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let group_id = GroupId(r.u32("group_id")?);
        r.pad::<4>()?;
        Ok(Self { group_id })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { group_id } = self;
        w.u32(group_id.0);
        w.zeros(4);
    }
}

impl BucketCounter {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet_count = r.u64("packet_count")?;
        let byte_count = r.u64("byte_count")?;
        Ok(Self { packet_count, byte_count })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { packet_count, byte_count } = self;
        w.u64(*packet_count);
        w.u64(*byte_count);
    }
}

impl GroupFeatures {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let types = r.u32("types")?;
        let capabilities = GroupCapabilities(r.u32("capabilities")?);
        let max_groups =
            [r.u32("max_groups")?, r.u32("max_groups")?, r.u32("max_groups")?, r.u32("max_groups")?];
        let actions = [r.u32("actions")?, r.u32("actions")?, r.u32("actions")?, r.u32("actions")?];
        Ok(Self { types, capabilities, max_groups, actions })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { types, capabilities, max_groups, actions } = self;
        w.u32(*types);
        w.u32(capabilities.0);
        for x in max_groups {
            w.u32(*x);
        }
        for x in actions {
            w.u32(*x);
        }
    }
}

impl GroupStats {
    /// Reads one entry.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = *r;
        let len = { *r }.u16("length")? as usize;
        if len < 40 || len > r.remaining() {
            return Err(at.bad_len("length", format!("40 to {}", r.remaining()), len));
        }
        let mut r = r.sub(len, "group_stats")?;
        r.pad::<4>()?;
        let (group_id, ref_count) = (GroupId(r.u32("group_id")?), r.u32("ref_count")?);
        r.pad::<4>()?;
        let (packet_count, byte_count) = (r.u64("packet_count")?, r.u64("byte_count")?);
        let (duration_sec, duration_nsec) = (r.u32("duration_sec")?, r.u32("duration_nsec")?);
        let mut buckets = Vec::with_capacity(r.remaining() / 16);
        while !r.is_empty() {
            buckets.push(BucketCounter::parse(&mut r)?);
        }
        Ok(Self { group_id, ref_count, packet_count, byte_count, duration_sec, duration_nsec, buckets })
    }
    /// Writes one entry.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { group_id, ref_count, packet_count, byte_count, duration_sec, duration_nsec, buckets } =
            self;
        let start = w.pos();
        let at = w.len_later();
        w.zeros(2);
        w.u32(group_id.0);
        w.u32(*ref_count);
        w.zeros(4);
        w.u64(*packet_count);
        w.u64(*byte_count);
        w.u32(*duration_sec);
        w.u32(*duration_nsec);
        buckets.iter().for_each(|b| b.emit(w));
        w.set_len(at, start);
    }
}

impl GroupDesc {
    /// Reads one entry.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = *r;
        let len = { *r }.u16("length")? as usize;
        if len < 8 || len > r.remaining() {
            return Err(at.bad_len("length", format!("8 to {}", r.remaining()), len));
        }
        let mut r = r.sub(len, "group_desc")?;
        r.pad::<2>()?;
        let kind = GroupType(r.u8("type")?);
        r.pad::<1>()?;
        let group_id = GroupId(r.u32("group_id")?);
        let mut buckets = Vec::new();
        while !r.is_empty() {
            buckets.push(Bucket::parse(&mut r)?);
        }
        Ok(Self { kind, group_id, buckets })
    }
    /// Writes one entry.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { kind, group_id, buckets } = self;
        let start = w.pos();
        let at = w.len_later();
        w.u8(kind.0);
        w.zeros(1);
        w.u32(group_id.0);
        buckets.iter().for_each(|b| b.emit(w));
        w.set_len(at, start);
    }
}
