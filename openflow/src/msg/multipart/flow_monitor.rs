//! Flow monitors on 1.3: ONF extension 187 (experimenter ONF, 1870) and Nicira's `NXST_FLOW_MONITOR` (2).
//! ONF request: `id:4 | flags:2 | match_len:2 | out_port:4 | table_id:1 | zeros:3 | match`. The match is a whole
//! `ofp_match` as Open vSwitch writes it, or the bare fields as os-ken does: both are read, the first is written.
//! Nicira request: `id:4 | flags:2 | out_port:2 | match_len:2 | table_id:1 | zeros:5 | match`.
//! Update: `length:2 | event:2 | ...`.

use crate::action::Action;
use crate::error::{DecodeError, OfpError};
use crate::ids::{PortNo, TableId, Xid};
use crate::instruction::{Instruction, Instructions};
use crate::matching::{Match, OFPMT_OXM};
use crate::msg::flow_removed::FlowRemovedReason;
use crate::num::{wire_enum, wire_flags};
use crate::wire::{Reader, Writer};
use serde::Serialize;

wire_flags! {
    /// `ONFFMF_*`, `NXFMF_*`: what to report.
    FlowMonitorFlags(u16) { INITIAL = 1, ADD = 2, DELETE = 4, MODIFY = 8, ACTIONS = 16, OWN = 32 }
}
wire_enum! {
    /// `ONFFME_*`, `NXFME_*`: what happened.
    FlowUpdateEvent(u16) { ADDED = 0, DELETED = 1, MODIFIED = 2, ABBREV = 3 }
}

/// Asks to be told of changes to some flow entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct FlowMonitorRequest {
    pub id: u32,
    pub flags: FlowMonitorFlags,
    /// ANY for all. Nicira's form has 16 bits on the wire.
    pub out_port: PortNo,
    pub table_id: TableId,
    #[serde(rename = "match")]
    pub matching: Match,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, clippy::large_enum_variant)]
pub enum FlowUpdate {
    /// Added, deleted or modified.
    Full {
        event: FlowUpdateEvent,
        reason: FlowRemovedReason,
        priority: u16,
        idle_timeout: u16,
        hard_timeout: u16,
        table_id: TableId,
        cookie: u64,
        #[serde(rename = "match")]
        matching: Match,
        instructions: Instructions,
    },
    /// The receiver's own flow-mod with this xid did it.
    Abbrev { xid: Xid },
    /// An event we do not know.
    Unknown {
        event: FlowUpdateEvent,
        #[serde(serialize_with = "crate::num::hex")]
        data: Vec<u8>,
    },
}

impl FlowMonitorRequest {
    /// Reads one request, in ONF's or Nicira's (`nx`) form.
    pub fn parse(r: &mut Reader<'_>, nx: bool) -> Result<Self, DecodeError> {
        let (id, flags) = (r.u32("id")?, FlowMonitorFlags(r.u16("flags")?));
        let (out_port, match_len, table_id);
        if nx {
            out_port = match r.u16("out_port")? {
                n if n >= 0xff00 => PortNo(0xffff_0000 | n as u32),
                n => PortNo(n as u32),
            };
            match_len = r.u16("match_len")? as usize;
            table_id = TableId(r.u8("table_id")?);
            r.pad::<5>()?;
        } else {
            match_len = r.u16("match_len")? as usize;
            out_port = PortNo(r.u32("out_port")?);
            table_id = TableId(r.u8("table_id")?);
            r.pad::<3>()?;
        }
        let matching = parse_match(r, match_len, nx)?;
        Ok(Self { id, flags, out_port, table_id, matching })
    }
    /// Writes one request.
    pub fn emit(&self, w: &mut Writer<'_>, nx: bool) {
        let Self { id, flags, out_port, table_id, matching } = self;
        w.u32(*id);
        w.u16(flags.0);
        let at;
        if nx {
            w.u16(out_port.0 as u16);
            at = w.len_later();
            w.u8(table_id.0);
            w.zeros(5);
        } else {
            at = w.len_later();
            w.u32(out_port.0);
            w.u8(table_id.0);
            w.zeros(3);
        }
        emit_match(matching, w, at, nx);
    }
}

/// The match after a `match_len`; bare fields, or for the ONF's form an `ofp_match` (which starts with its type, 1, where
/// bare fields start with a class).
fn parse_match(r: &mut Reader<'_>, match_len: usize, nx: bool) -> Result<Match, DecodeError> {
    if !nx && { *r }.u16("match_type") == Ok(OFPMT_OXM) {
        return Match::parse(r);
    }
    let matching = Match::parse_fields(r.sub(match_len, "match")?)?;
    r.pad8(match_len)?;
    Ok(matching)
}

fn emit_match(matching: &Match, w: &mut Writer<'_>, len_at: usize, nx: bool) {
    let start = w.pos();
    if nx {
        matching.emit_fields(w);
        w.set_len(len_at, start);
        w.pad8(start);
    } else {
        // The length of the `ofp_match` without its padding, as in its own header.
        matching.emit(w);
        w.buf.copy_within(start + 2..start + 4, len_at);
    }
}

impl FlowUpdate {
    /// Reads one update. Nicira's form ends with actions, which are given as one apply-actions instruction.
    pub fn parse(r: &mut Reader<'_>, nx: bool) -> Result<Self, DecodeError> {
        let at = *r;
        let len = { *r }.u16("length")? as usize;
        if len < 4 || len > r.remaining() {
            return Err(at.bad_len("length", format!("4 to {}", r.remaining()), len));
        }
        let mut r = r.sub(len, "flow_update")?;
        r.pad::<2>()?;
        let event = FlowUpdateEvent(r.u16("event")?);
        let out = match event {
            FlowUpdateEvent::ADDED | FlowUpdateEvent::DELETED | FlowUpdateEvent::MODIFIED => {
                let at = r;
                let reason = match u8::try_from(r.u16("reason")?) {
                    Ok(n) => FlowRemovedReason(n),
                    Err(_) => {
                        return Err(at.fault(OfpError::OFPBRC_BAD_LEN, "reason", "at most 255", "more"))
                    }
                };
                let priority = r.u16("priority")?;
                let (idle_timeout, hard_timeout) = (r.u16("idle_timeout")?, r.u16("hard_timeout")?);
                let match_len = r.u16("match_len")? as usize;
                let table_id = TableId(r.u8("table_id")?);
                r.pad::<1>()?;
                let cookie = r.u64("cookie")?;
                let matching = parse_match(&mut r, match_len, nx)?;
                let instructions = if !nx {
                    Instruction::parse_list(&mut r)?
                } else if r.is_empty() {
                    Instructions::new()
                } else {
                    [Instruction::ApplyActions(Action::parse_list(&mut r)?)].into_iter().collect()
                };
                Self::Full {
                    event,
                    reason,
                    priority,
                    idle_timeout,
                    hard_timeout,
                    table_id,
                    cookie,
                    matching,
                    instructions,
                }
            }
            FlowUpdateEvent::ABBREV => Self::Abbrev { xid: Xid(r.u32("xid")?) },
            event => Self::Unknown { event, data: r.rest().to_vec() },
        };
        r.finish()?;
        Ok(out)
    }
    /// Writes one update.
    pub fn emit(&self, w: &mut Writer<'_>, nx: bool) {
        let start = w.pos();
        let at = w.len_later();
        match self {
            Self::Full {
                event,
                reason,
                priority,
                idle_timeout,
                hard_timeout,
                table_id,
                cookie,
                matching,
                instructions,
            } => {
                w.u16(event.0);
                w.u16(reason.0 as u16);
                w.u16(*priority);
                w.u16(*idle_timeout);
                w.u16(*hard_timeout);
                let match_at = w.len_later();
                w.u8(table_id.0);
                w.zeros(1);
                w.u64(*cookie);
                emit_match(matching, w, match_at, nx);
                for i in instructions {
                    match i {
                        Instruction::ApplyActions(actions) if nx => Action::emit_list(actions, w),
                        _ if nx => {}
                        i => i.emit(w),
                    }
                }
            }
            Self::Abbrev { xid } => {
                w.u16(FlowUpdateEvent::ABBREV.0);
                w.u32(xid.0);
            }
            Self::Unknown { event, data } => {
                w.u16(event.0);
                w.bytes(data);
            }
        }
        w.set_len(at, start);
    }
}
