//! Flow entries in words: flow-mods as `add-flow` takes them, statistics as `dump-flows` prints them.

use super::action::{instructions_of, write_instructions, Seen};
use super::lex::{fault, next_pair, strip, u16, u32, u64, u8, Fault, Join, Pair, Res};
use super::matching::{push_cookie, push_priority, unknown_word, write_match, Builder};
use super::value::port;
use super::{NoNames, PortNames, TextError};
use crate::ids::{GroupId, PortNo, TableId};
use crate::msg::flow_mod::{FlowMod, FlowModCommand, FlowModFlags};
use crate::msg::multipart::{FlowStats, FlowStatsRequest};
use std::fmt::Write;

/// Words of a flow that are no match fields, for hints.
const WORDS: &[&str] = &[
    "priority",
    "table",
    "cookie",
    "idle_timeout",
    "hard_timeout",
    "importance",
    "out_port",
    "out_group",
    "send_flow_rem",
    "check_overlap",
    "reset_counts",
    "no_packet_counts",
    "no_byte_counts",
    "actions",
];

/// Keywords a line of a flow file may start with.
pub const COMMANDS: &[(&str, FlowModCommand)] = &[
    ("add", FlowModCommand::ADD),
    ("modify", FlowModCommand::MODIFY),
    ("modify_strict", FlowModCommand::MODIFY_STRICT),
    ("delete", FlowModCommand::DELETE),
    ("delete_strict", FlowModCommand::DELETE_STRICT),
];

pub(crate) const FLAGS: &[(&str, FlowModFlags)] = &[
    ("send_flow_rem", FlowModFlags::SEND_FLOW_REM),
    ("check_overlap", FlowModFlags::CHECK_OVERLAP),
    ("reset_counts", FlowModFlags::RESET_COUNTS),
    ("no_packet_counts", FlowModFlags::NO_PKT_COUNTS),
    ("no_byte_counts", FlowModFlags::NO_BYT_COUNTS),
];

/// What a flow is read for: decides which words belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Command(FlowModCommand),
    /// Selecting flows to dump.
    Filter,
}

/// Reads one flow for `command`. Without `table=`, an add or modify means table 0, a delete all tables.
///
/// # Errors
/// The first word that cannot be read, a missing `actions=` of an add or modify, or words that do not go together.
pub fn parse_flow(text: &str, command: FlowModCommand, names: &dyn PortNames) -> Result<FlowMod, TextError> {
    flow_of(text, Use::Command(command), names).map_err(|f: Fault<'_>| f.locate(text))
}

/// Reads one line of a flow file: a flow, perhaps after `add`, `modify`, `modify_strict`, `delete` or `delete_strict`;
/// `default` is the command without such a word.
///
/// # Errors
/// As [`parse_flow`].
pub fn parse_flow_line(
    text: &str,
    default: FlowModCommand,
    names: &dyn PortNames,
) -> Result<FlowMod, TextError> {
    let (command, rest) = split_command(text, COMMANDS).map_or((default, text), |(c, r)| (*c, r));
    flow_of(rest, Use::Command(command), names).map_err(|f: Fault<'_>| f.locate(text))
}

/// The word of `table` that `text` starts with, and what follows it.
pub(crate) fn split_command<'t, 'a, C>(text: &'a str, table: &'t [(&str, C)]) -> Option<(&'t C, &'a str)> {
    let s = text.trim_start();
    let end = s.find(char::is_whitespace).unwrap_or(s.len());
    let (_, c) = table.iter().find(|(n, _)| *n == &s[..end])?;
    Some((c, &s[end..]))
}

/// Reads a file of flows, one per line; `#` starts a comment, empty lines are skipped.
///
/// # Errors
/// The first line that cannot be read; nothing of the file is returned.
pub fn parse_flows_file(
    text: &str,
    default: FlowModCommand,
    names: &dyn PortNames,
) -> Result<Vec<FlowMod>, TextError> {
    lines(text).map(|(n, line)| parse_flow_line(line, default, names).map_err(|e| at_line(e, n))).collect()
}

/// The lines of a file that say something, with their numbers from 1; comments and the first line of a saved dump
/// (`OFPST_FLOW reply ...:`) left out.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, l)| (i + 1, l.split('#').next().unwrap_or(""))).filter(|(_, l)| {
        let head = l.starts_with("OFPST_") && l.trim_end().ends_with(':');
        !head && !l.trim().is_empty()
    })
}

/// The same error on line `n` of a file.
pub(crate) fn at_line(mut e: TextError, n: usize) -> TextError {
    e.line = n;
    e
}

/// Reads what `dump-flows` and `dump-aggregate` select by: a flow without actions.
///
/// # Errors
/// As [`parse_flow`].
pub fn parse_flow_filter(text: &str, names: &dyn PortNames) -> Result<FlowStatsRequest, TextError> {
    let f = flow_of(text, Use::Filter, names).map_err(|f: Fault<'_>| f.locate(text))?;
    Ok(FlowStatsRequest {
        table_id: f.table_id,
        out_port: f.out_port,
        out_group: f.out_group,
        cookie: f.cookie,
        cookie_mask: f.cookie_mask,
        matching: f.matching,
    })
}

fn flow_of<'a>(text: &'a str, purpose: Use, names: &dyn PortNames) -> Res<'a, FlowMod> {
    let command = match purpose {
        Use::Command(c) => c,
        Use::Filter => FlowModCommand::DELETE,
    };
    let modify = matches!(command, FlowModCommand::MODIFY | FlowModCommand::MODIFY_STRICT);
    let add = command == FlowModCommand::ADD;
    let mut flow = FlowMod { command, ..FlowMod::default() };
    if !add && !modify {
        flow.table_id = TableId::ALL;
    }
    let mut b = Builder::new();
    let mut actions: Option<&str> = None;
    let mut rest = text;
    loop {
        let s = strip(rest);
        if let Some(list) = s.strip_prefix("actions=").or_else(|| s.strip_prefix("action=")) {
            if !add && !modify {
                return fault(&s[..6], "no actions here");
            }
            actions = Some(list);
            break;
        }
        let Some(p) = next_pair(&mut rest)? else { break };
        if p.join == Join::None {
            if let Some((_, f)) = FLAGS.iter().find(|(n, _)| *n == p.key) {
                flow.flags |= *f;
                continue;
            }
        }
        match p.key {
            "table" => flow.table_id = TableId(table(&p)?),
            "priority" => {
                if command == FlowModCommand::DELETE {
                    return fault(p.key, "no priority: it selects only with --strict");
                }
                flow.priority = u16(p.need("a priority")?, "a priority")?;
            }
            "idle_timeout" => flow.idle_timeout = u16(p.need("seconds")?, "seconds")?,
            "hard_timeout" => flow.hard_timeout = u16(p.need("seconds")?, "seconds")?,
            // Not in OpenFlow 1.3: read, and left out as ovs-ofctl does.
            "importance" => drop(u16(p.need("an importance")?, "an importance")?),
            "out_port" => flow.out_port = port(p.need("a port")?, names)?,
            "out_group" => flow.out_group = GroupId(out_group(p.need("a group")?)?),
            "cookie" => cookie(&p, purpose, &mut flow)?,
            // What dumps say of a flow and a flow-mod cannot: dumps can be read again.
            "duration" | "n_packets" | "n_bytes" | "idle_age" | "hard_age" if p.join != Join::None => {}
            _ => {
                if !b.take(&p, names)? {
                    return unknown_word(p.key, WORDS);
                }
            }
        }
    }
    flow.matching = b.finish(names)?;
    match actions {
        Some(list) => flow.instructions = instructions_of(list, Seen::of(&flow.matching), names)?,
        None if add || modify => return fault(&text[text.len()..], "actions=..."),
        None => {}
    }
    Ok(flow)
}

fn table<'a>(p: &Pair<'a>) -> Res<'a, u8> {
    match p.need("a table number")? {
        v if v.eq_ignore_ascii_case("all") => Ok(0xff),
        v => u8(v, "a table number"),
    }
}

fn out_group(s: &str) -> Res<'_, u32> {
    match s {
        _ if s.eq_ignore_ascii_case("any") => Ok(GroupId::ANY.0),
        _ if s.eq_ignore_ascii_case("all") => Ok(GroupId::ALL.0),
        _ => u32(s, "a group number"),
    }
}

fn cookie<'a>(p: &Pair<'a>, purpose: Use, flow: &mut FlowMod) -> Res<'a, ()> {
    let text = p.need("a cookie")?;
    let Some((v, m)) = text.split_once('/') else {
        flow.cookie = u64(text, "a cookie")?;
        return match purpose {
            Use::Command(FlowModCommand::DELETE | FlowModCommand::DELETE_STRICT) | Use::Filter => {
                fault(text, format!("a mask: cookie={text}/-1 selects by cookie"))
            }
            _ => Ok(()),
        };
    };
    if purpose == Use::Command(FlowModCommand::ADD) {
        return fault(m, "no mask: an added flow has one cookie");
    }
    flow.cookie_mask = if m == "-1" { u64::MAX } else { u64(m, "a mask of 64 bits, or -1")? };
    flow.cookie = if v == "-1" { u64::MAX } else { u64(v, "a cookie")? } & flow.cookie_mask;
    Ok(())
}

/// A flow-mod as a line of a flow file, command included: `add table=1,priority=5,ip actions=output:2`.
/// [`parse_flow_line`] reads it back (buffer ids, which no file can name, excepted).
pub fn print_flow_mod(f: &FlowMod, names: &dyn PortNames) -> String {
    let mut out = String::new();
    match COMMANDS.iter().find(|(_, c)| *c == f.command) {
        Some((n, _)) => out.push_str(n),
        None => drop(write!(out, "command={}", f.command.0)),
    }
    out.push(' ');
    let add = f.command == FlowModCommand::ADD;
    let modify = matches!(f.command, FlowModCommand::MODIFY | FlowModCommand::MODIFY_STRICT);
    if f.cookie_mask != 0 {
        let _ = write!(out, "cookie={:#x}/{:#x},", f.cookie, f.cookie_mask);
    } else if f.cookie != 0 {
        let _ = write!(out, "cookie={:#x},", f.cookie);
    }
    if f.table_id != if add || modify { TableId(0) } else { TableId::ALL } {
        let _ = write!(out, "table={},", f.table_id);
    }
    write_timeouts(&mut out, f.idle_timeout, f.hard_timeout);
    for (n, flag) in FLAGS {
        if f.flags.contains(*flag) {
            out.push_str(n);
            out.push(',');
        }
    }
    if f.out_port != PortNo::ANY {
        out.push_str("out_port=");
        super::value::push_port(&mut out, f.out_port, names);
        out.push(',');
    }
    if f.out_group != GroupId::ANY {
        let _ = write!(out, "out_group={},", f.out_group);
    }
    push_priority(&mut out, f.priority);
    write_match(&mut out, &f.matching, names);
    while out.ends_with(',') {
        out.pop();
    }
    if add || modify {
        if !out.ends_with(' ') {
            out.push(' ');
        }
        out.push_str("actions=");
        write_instructions(&mut out, &f.instructions, names);
    }
    out.truncate(out.trim_end().len());
    out
}

fn write_timeouts(out: &mut String, idle: u16, hard: u16) {
    if idle != 0 {
        let _ = write!(out, "idle_timeout={idle},");
    }
    if hard != 0 {
        let _ = write!(out, "hard_timeout={hard},");
    }
}

/// A duration in seconds as dumps have it: `1.234s`, `5s`.
pub(crate) fn push_duration(out: &mut String, sec: u32, nsec: u32) {
    let _ = write!(out, "{sec}");
    if nsec != 0 {
        if nsec.is_multiple_of(1_000_000) {
            let _ = write!(out, ".{:03}", nsec / 1_000_000);
        } else {
            let _ = write!(out, ".{nsec:09}");
        }
    }
    out.push('s');
}

/// Which parts of a flow entry a dump shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowStyle {
    /// Cookie, duration, counters (`--no-stats` turns them off).
    pub stats: bool,
}

impl Default for FlowStyle {
    fn default() -> Self {
        Self { stats: true }
    }
}

/// One line of `dump-flows`, beginning with a blank, without a line end.
pub fn print_flow_stats(f: &FlowStats, names: &dyn PortNames) -> String {
    let mut out = String::new();
    write_flow_stats(&mut out, f, FlowStyle::default(), names);
    out
}

/// Appends one line of `dump-flows`, beginning with a blank, without a line end.
pub fn write_flow_stats(out: &mut String, f: &FlowStats, style: FlowStyle, names: &dyn PortNames) {
    use super::lex::push_dec;
    out.push(' ');
    if style.stats || f.cookie != 0 {
        out.push_str("cookie=");
        push_cookie(out, f.cookie);
        out.push_str(", ");
    }
    if style.stats {
        out.push_str("duration=");
        push_duration(out, f.duration_sec, f.duration_nsec);
        out.push_str(", ");
    }
    if style.stats || f.table_id.0 != 0 {
        out.push_str("table=");
        push_dec(out, f.table_id.0.into());
        out.push_str(", ");
    }
    if style.stats {
        out.push_str("n_packets=");
        push_dec(out, f.packet_count.into());
        out.push_str(", n_bytes=");
        push_dec(out, f.byte_count.into());
        out.push_str(", ");
    }
    for (n, v) in [("idle_timeout=", f.idle_timeout), ("hard_timeout=", f.hard_timeout)] {
        if v != 0 {
            out.push_str(n);
            push_dec(out, v.into());
            out.push_str(", ");
        }
    }
    for (n, flag) in FLAGS {
        if f.flags.contains(*flag) {
            out.push_str(n);
            out.push(' ');
        }
    }
    let before = out.len();
    push_priority(out, f.priority);
    write_match(out, &f.matching, names);
    if out.len() > before && out.ends_with(',') {
        out.pop();
    }
    if !out.ends_with(' ') {
        out.push(' ');
    }
    out.push_str("actions=");
    write_instructions(out, &f.instructions, names);
}

impl std::fmt::Display for FlowMod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&print_flow_mod(self, &NoNames))
    }
}

impl std::str::FromStr for FlowMod {
    type Err = TextError;
    /// A line of a flow file without port names; adds if it does not say what to do.
    fn from_str(s: &str) -> Result<Self, TextError> {
        parse_flow_line(s, FlowModCommand::ADD, &NoNames)
    }
}

impl std::fmt::Display for FlowStats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&print_flow_stats(self, &NoNames))
    }
}
