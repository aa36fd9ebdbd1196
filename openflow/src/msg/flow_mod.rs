//! `OFPT_FLOW_MOD`: add, change or delete flow entries (OpenFlow 1.3.5, "Modify Flow Entry Message").
//! `cookie:8 | cookie_mask:8 | table_id:1 | command:1 | idle_timeout:2 | hard_timeout:2 | priority:2 | buffer_id:4 |
//! out_port:4 | out_group:4 | flags:2 | pad:2 | match | instructions`

use crate::error::DecodeError;
use crate::ids::{GroupId, PortNo, TableId};
use crate::instruction::{Instruction, Instructions};
use crate::matching::Match;
use crate::num::{wire_enum, wire_flags};
use crate::wire::{Reader, Writer};
use serde::Serialize;

wire_enum! {
    /// `OFPFC_*`: what to do.
    FlowModCommand(u8) { ADD = 0, MODIFY = 1, MODIFY_STRICT = 2, DELETE = 3, DELETE_STRICT = 4 }
}
wire_flags! {
    /// `OFPFF_*`.
    FlowModFlags(u16) { SEND_FLOW_REM = 1, CHECK_OVERLAP = 2, RESET_COUNTS = 4, NO_PKT_COUNTS = 8, NO_BYT_COUNTS = 16 }
}

/// A flow-mod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct FlowMod {
    pub cookie: u64,
    /// Modify and delete: only entries with `entry.cookie & cookie_mask == cookie & cookie_mask`; add: ignored.
    pub cookie_mask: u64,
    pub table_id: TableId,
    pub command: FlowModCommand,
    /// Seconds, 0 for never.
    pub idle_timeout: u16,
    /// Seconds, 0 for never.
    pub hard_timeout: u16,
    pub priority: u16,
    pub buffer_id: u32,
    /// Delete: only entries that output here; ANY for all.
    pub out_port: PortNo,
    /// Delete: only entries that use this group; ANY for all.
    pub out_group: GroupId,
    pub flags: FlowModFlags,
    #[serde(rename = "match")]
    pub matching: Match,
    pub instructions: Instructions,
}

/// Adds a match-all entry of priority 0x8000 without instructions, unless told otherwise.
impl Default for FlowMod {
    fn default() -> Self {
        Self {
            cookie: 0,
            cookie_mask: 0,
            table_id: TableId(0),
            command: FlowModCommand::ADD,
            idle_timeout: 0,
            hard_timeout: 0,
            priority: 0x8000,
            buffer_id: super::packet_in::OFP_NO_BUFFER,
            out_port: PortNo::ANY,
            out_group: GroupId::ANY,
            flags: FlowModFlags::empty(),
            matching: Match::default(),
            instructions: Instructions::new(),
        }
    }
}

impl FlowMod {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let cookie = r.u64("cookie")?;
        let cookie_mask = r.u64("cookie_mask")?;
        let table_id = TableId(r.u8("table_id")?);
        let command = FlowModCommand(r.u8("command")?);
        let idle_timeout = r.u16("idle_timeout")?;
        let hard_timeout = r.u16("hard_timeout")?;
        let priority = r.u16("priority")?;
        let buffer_id = r.u32("buffer_id")?;
        let out_port = PortNo(r.u32("out_port")?);
        let out_group = GroupId(r.u32("out_group")?);
        let flags = FlowModFlags(r.u16("flags")?);
        r.pad::<2>()?;
        let matching = Match::parse(r)?;
        let instructions = Instruction::parse_list(r)?;
        Ok(Self {
            cookie,
            cookie_mask,
            table_id,
            command,
            idle_timeout,
            hard_timeout,
            priority,
            buffer_id,
            out_port,
            out_group,
            flags,
            matching,
            instructions,
        })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self {
            cookie,
            cookie_mask,
            table_id,
            command,
            idle_timeout,
            hard_timeout,
            priority,
            buffer_id,
            out_port,
            out_group,
            flags,
            matching,
            instructions,
        } = self;
        w.u64(*cookie);
        w.u64(*cookie_mask);
        w.u8(table_id.0);
        w.u8(command.0);
        w.u16(*idle_timeout);
        w.u16(*hard_timeout);
        w.u16(*priority);
        w.u32(*buffer_id);
        w.u32(out_port.0);
        w.u32(out_group.0);
        w.u16(flags.0);
        w.zeros(2);
        matching.emit(w);
        for i in instructions {
            i.emit(w);
        }
    }
}
