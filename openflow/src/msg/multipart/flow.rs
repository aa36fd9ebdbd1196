//! `OFPMP_FLOW`: flow entries with their counters (OpenFlow 1.3.5, "Individual Flow Statistics").
//! Request: `table_id:1 | pad:3 | out_port:4 | out_group:4 | pad:4 | cookie:8 | cookie_mask:8 | match`.
//! Entry: `length:2 | table_id:1 | pad:1 | duration_sec:4 | duration_nsec:4 | priority:2 | idle_timeout:2 |
//! hard_timeout:2 | flags:2 | pad:4 | cookie:8 | packet_count:8 | byte_count:8 | match | instructions`.

use crate::error::DecodeError;
use crate::ids::{GroupId, PortNo, TableId};
use crate::instruction::{Instruction, Instructions};
use crate::matching::Match;
use crate::msg::flow_mod::FlowModFlags;
use crate::wire::{Reader, Writer};
use serde::Serialize;

/// Which entries are meant, for FLOW and AGGREGATE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct FlowStatsRequest {
    pub table_id: TableId,
    pub out_port: PortNo,
    pub out_group: GroupId,
    pub cookie: u64,
    pub cookie_mask: u64,
    #[serde(rename = "match")]
    pub matching: Match,
}

/// All entries of all tables.
impl Default for FlowStatsRequest {
    fn default() -> Self {
        Self {
            table_id: TableId::ALL,
            out_port: PortNo::ANY,
            out_group: GroupId::ANY,
            cookie: 0,
            cookie_mask: 0,
            matching: Match::default(),
        }
    }
}

/// One flow entry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct FlowStats {
    pub table_id: TableId,
    pub duration_sec: u32,
    pub duration_nsec: u32,
    pub priority: u16,
    pub idle_timeout: u16,
    pub hard_timeout: u16,
    pub flags: FlowModFlags,
    pub cookie: u64,
    pub packet_count: u64,
    pub byte_count: u64,
    #[serde(rename = "match")]
    pub matching: Match,
    pub instructions: Instructions,
}

impl FlowStatsRequest {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let table_id = TableId(r.u8("table_id")?);
        r.pad::<3>()?;
        let out_port = PortNo(r.u32("out_port")?);
        let out_group = GroupId(r.u32("out_group")?);
        r.pad::<4>()?;
        let cookie = r.u64("cookie")?;
        let cookie_mask = r.u64("cookie_mask")?;
        let matching = Match::parse(r)?;
        Ok(Self { table_id, out_port, out_group, cookie, cookie_mask, matching })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { table_id, out_port, out_group, cookie, cookie_mask, matching } = self;
        w.u8(table_id.0);
        w.zeros(3);
        w.u32(out_port.0);
        w.u32(out_group.0);
        w.zeros(4);
        w.u64(*cookie);
        w.u64(*cookie_mask);
        matching.emit(w);
    }
}

impl FlowStats {
    /// Reads one entry.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = *r;
        let len = { *r }.u16("length")? as usize;
        if len < 56 || len > r.remaining() {
            return Err(at.bad_len("length", format!("56 to {}", r.remaining()), len));
        }
        let mut r = r.sub(len, "flow_stats")?;
        let r = &mut r;
        r.pad::<2>()?;
        let table_id = TableId(r.u8("table_id")?);
        r.pad::<1>()?;
        let (duration_sec, duration_nsec) = (r.u32("duration_sec")?, r.u32("duration_nsec")?);
        let priority = r.u16("priority")?;
        let (idle_timeout, hard_timeout) = (r.u16("idle_timeout")?, r.u16("hard_timeout")?);
        let flags = FlowModFlags(r.u16("flags")?);
        r.pad::<4>()?;
        let (cookie, packet_count, byte_count) =
            (r.u64("cookie")?, r.u64("packet_count")?, r.u64("byte_count")?);
        let matching = Match::parse(r)?;
        let instructions = Instruction::parse_list(r)?;
        Ok(Self {
            table_id,
            duration_sec,
            duration_nsec,
            priority,
            idle_timeout,
            hard_timeout,
            flags,
            cookie,
            packet_count,
            byte_count,
            matching,
            instructions,
        })
    }
    /// Writes one entry.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self {
            table_id,
            duration_sec,
            duration_nsec,
            priority,
            idle_timeout,
            hard_timeout,
            flags,
            cookie,
            packet_count,
            byte_count,
            matching,
            instructions,
        } = self;
        let start = w.pos();
        let at = w.len_later();
        w.u8(table_id.0);
        w.zeros(1);
        w.u32(*duration_sec);
        w.u32(*duration_nsec);
        w.u16(*priority);
        w.u16(*idle_timeout);
        w.u16(*hard_timeout);
        w.u16(flags.0);
        w.zeros(4);
        w.u64(*cookie);
        w.u64(*packet_count);
        w.u64(*byte_count);
        matching.emit(w);
        for i in instructions {
            i.emit(w);
        }
        w.set_len(at, start);
    }
}
