//! Groups in words: `group_id=1,type=select,bucket=weight:10,watch_port:1,actions=output:2,bucket=actions=output:3`.

use super::action::{actions_of, write_actions};
use super::flow::{at_line, lines, split_command};
use super::lex::{fault, fault_near, next_pair, strip, u16, u32, Fault, Res};
use super::value::{port, push_port};
use super::{NoNames, PortNames, TextError};
use crate::group::{Bucket, GroupType};
use crate::ids::{GroupId, PortNo};
use crate::msg::group_mod::{GroupMod, GroupModCommand};
use crate::msg::multipart::GroupDesc;
use std::fmt::Write;

/// Keywords a line of a group file may start with.
pub const COMMANDS: &[(&str, GroupModCommand)] = &[
    ("add", GroupModCommand::ADD),
    ("modify", GroupModCommand::MODIFY),
    ("delete", GroupModCommand::DELETE),
];
/// Commands of ovs-ofctl that OpenFlow 1.3 has no message for.
const LATER: &[&str] = &["add_or_mod", "insert_bucket", "remove_bucket"];

const TYPES: &[(&str, GroupType)] = &[
    ("all", GroupType::ALL),
    ("select", GroupType::SELECT),
    ("indirect", GroupType::INDIRECT),
    ("ff", GroupType::FF),
    ("fast_failover", GroupType::FF),
];

/// Word for a group type.
pub(crate) fn type_word(t: GroupType) -> Option<&'static str> {
    TYPES.iter().find(|(_, v)| *v == t).map(|(n, _)| *n)
}

/// Reads a group for `command`; a delete needs no more than `group_id=` (`all` for every group), or nothing.
///
/// # Errors
/// The first word that cannot be read, or a part that is missing.
pub fn parse_group(
    text: &str,
    command: GroupModCommand,
    names: &dyn PortNames,
) -> Result<GroupMod, TextError> {
    group_of(text, command, names).map_err(|f: Fault<'_>| f.locate(text))
}

/// Reads a line of a group file: a group, perhaps after `add`, `modify` or `delete`.
///
/// # Errors
/// As [`parse_group`].
pub fn parse_group_line(
    text: &str,
    default: GroupModCommand,
    names: &dyn PortNames,
) -> Result<GroupMod, TextError> {
    line_of(text, default, names).map_err(|f: Fault<'_>| f.locate(text))
}

fn line_of<'a>(text: &'a str, default: GroupModCommand, names: &dyn PortNames) -> Res<'a, GroupMod> {
    let first = text.split_whitespace().next().unwrap_or("");
    if LATER.contains(&first) {
        return fault(first, "add, modify or delete: OpenFlow 1.3 has no other group commands");
    }
    let (command, rest) = split_command(text, COMMANDS).map_or((default, text), |(c, r)| (*c, r));
    group_of(rest, command, names)
}

/// Reads a file of groups, one per line.
///
/// # Errors
/// The first line that cannot be read; nothing of the file is returned.
pub fn parse_groups_file(
    text: &str,
    default: GroupModCommand,
    names: &dyn PortNames,
) -> Result<Vec<GroupMod>, TextError> {
    lines(text).map(|(n, l)| parse_group_line(l, default, names).map_err(|e| at_line(e, n))).collect()
}

/// A group number, or `all`.
fn group_id(s: &str) -> Res<'_, GroupId> {
    if s.eq_ignore_ascii_case("all") {
        return Ok(GroupId::ALL);
    }
    match u32(s, "a group number, or all")? {
        n if n <= GroupId::MAX.0 => Ok(GroupId(n)),
        _ => fault(s, format!("a group number up to {}, or all", GroupId::MAX)),
    }
}

/// Cuts `text` before each `bucket=` outside brackets.
fn split_buckets(text: &str) -> (&str, Vec<&str>) {
    let (mut depth, mut cuts, mut start_of_word) = (0usize, Vec::new(), true);
    for (i, b) in text.bytes().enumerate() {
        if start_of_word
            && depth == 0
            && (text[i..].starts_with("bucket=") || text[i..].starts_with("bucket:"))
        {
            cuts.push(i);
        }
        match b {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        start_of_word = matches!(b, b',' | b' ' | b'\t');
    }
    let head = &text[..cuts.first().copied().unwrap_or(text.len())];
    let ends = cuts.iter().skip(1).copied().chain([text.len()]);
    let buckets =
        cuts.iter().zip(ends).map(|(a, b)| text[a + 7..b].trim_end_matches([',', ' ', '\t'])).collect();
    (head, buckets)
}

fn group_of<'a>(text: &'a str, command: GroupModCommand, names: &dyn PortNames) -> Res<'a, GroupMod> {
    let delete = command == GroupModCommand::DELETE;
    let (head, bucket_texts) = split_buckets(text);
    let (mut id, mut kind) = (None, None);
    let mut rest = head;
    while let Some(p) = next_pair(&mut rest)? {
        match p.key {
            "group_id" => id = Some((p.value, group_id(p.need("a group number")?)?)),
            "type" => {
                let word = p.need("a type")?;
                let Some((_, t)) = TYPES.iter().find(|(n, _)| *n == word) else {
                    return fault_near(word, "all, select, indirect or ff", TYPES.iter().map(|t| t.0));
                };
                kind = Some(*t);
            }
            "command_bucket_id" | "selection_method" | "selection_method_param" | "fields" => {
                return fault(p.key, "group_id, type and buckets: OpenFlow 1.3 has no more");
            }
            _ => {
                let known = ["group_id", "type", "bucket"];
                return fault_near(p.key, "group_id=..., type=... or bucket=...", known.into_iter());
            }
        }
    }
    let group_id = match id {
        Some((at, GroupId::ALL)) if !delete => return fault(at, "a group number: only a delete may say all"),
        Some((_, g)) => g,
        None if delete => GroupId::ALL,
        None => return fault(&text[text.len()..], "group_id=..."),
    };
    let kind = match kind {
        Some(k) => k,
        None if delete => GroupType::ALL,
        None => return fault(&text[text.len()..], "type=..."),
    };
    if let (true, Some(b)) = (delete, bucket_texts.first()) {
        return fault(b, "no buckets in a delete");
    }
    let buckets = bucket_texts.iter().map(|b| bucket(b, kind, names)).collect::<Result<Vec<_>, _>>()?;
    if !delete && kind == GroupType::INDIRECT && buckets.len() != 1 {
        return fault(text, "exactly one bucket in an indirect group");
    }
    Ok(GroupMod { command, kind, group_id, buckets })
}

fn bucket<'a>(text: &'a str, kind: GroupType, names: &dyn PortNames) -> Res<'a, Bucket> {
    let mut b = Bucket {
        weight: u16::from(kind == GroupType::SELECT),
        watch_port: PortNo::ANY,
        watch_group: GroupId::ANY,
        actions: Vec::new(),
    };
    let mut rest = text;
    loop {
        let s = strip(rest);
        if let Some(list) = s.strip_prefix("actions=").or_else(|| s.strip_prefix("action=")) {
            b.actions = actions_of(list, names)?;
            return Ok(b);
        }
        let Some(p) = next_pair(&mut rest)? else { return Ok(b) };
        match p.key {
            "weight" => b.weight = u16(p.need("a weight")?, "a weight")?,
            "watch_port" => b.watch_port = port(p.need("a port")?, names)?,
            "watch_group" => {
                let v = p.need("a group")?;
                b.watch_group = if v.eq_ignore_ascii_case("any") {
                    GroupId::ANY
                } else {
                    GroupId(u32(v, "a group number")?)
                };
            }
            // Ids of buckets are OpenFlow 1.5's; dumps show them, so they are read and left out.
            "bucket_id" => {
                u32(p.need("a bucket number")?, "a bucket number")?;
            }
            // `bucket=output:2`: whatever is left is actions.
            _ => {
                b.actions = actions_of(s, names)?;
                return Ok(b);
            }
        }
    }
}

/// Appends a group as `dump-groups` shows it, without the leading blank.
pub fn write_group(
    out: &mut String,
    id: GroupId,
    kind: Option<GroupType>,
    buckets: &[Bucket],
    names: &dyn PortNames,
) {
    match id {
        GroupId::ALL => out.push_str("group_id=all"),
        g => drop(write!(out, "group_id={g}")),
    }
    if let Some(kind) = kind {
        match type_word(kind) {
            Some(w) => drop(write!(out, ",type={w}")),
            None => drop(write!(out, ",type={}", kind.0)),
        }
    }
    for b in buckets {
        out.push_str(",bucket=");
        if b.weight != u16::from(kind == Some(GroupType::SELECT)) {
            let _ = write!(out, "weight:{},", b.weight);
        }
        if b.watch_port != PortNo::ANY {
            out.push_str("watch_port:");
            push_port(out, b.watch_port, names);
            out.push(',');
        }
        if b.watch_group != GroupId::ANY {
            let _ = write!(out, "watch_group:{},", b.watch_group);
        }
        out.push_str("actions=");
        write_actions(out, &b.actions, names);
    }
}

/// A group-mod as a line of a group file; [`parse_group_line`] reads it back.
pub fn print_group_mod(g: &GroupMod, names: &dyn PortNames) -> String {
    let mut out = String::new();
    match COMMANDS.iter().find(|(_, c)| *c == g.command) {
        Some((n, _)) => out.push_str(n),
        None => drop(write!(out, "command={}", g.command.0)),
    }
    out.push(' ');
    write_group(
        &mut out,
        g.group_id,
        (g.command != GroupModCommand::DELETE).then_some(g.kind),
        &g.buckets,
        names,
    );
    out
}

/// A group as `dump-groups` shows it.
pub fn print_group_desc(g: &GroupDesc, names: &dyn PortNames) -> String {
    let mut out = String::new();
    write_group(&mut out, g.group_id, Some(g.kind), &g.buckets, names);
    out
}

impl std::fmt::Display for GroupMod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&print_group_mod(self, &NoNames))
    }
}

impl std::str::FromStr for GroupMod {
    type Err = TextError;
    /// A line of a group file without port names; adds if it does not say what to do.
    fn from_str(s: &str) -> Result<Self, TextError> {
        parse_group_line(s, GroupModCommand::ADD, &NoNames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_round_trip() {
        for (input, output) in [
            (
                "group_id=1,type=select,bucket=weight:10,watch_port:1,actions=2,bucket=3,bucket=actions=drop",
                "add group_id=1,type=select,bucket=weight:10,watch_port:1,actions=output:2,bucket=actions=output:3,bucket=actions=drop",
            ),
            (
                "group_id=0x10,type=all,bucket=output:1,set_field:1.2.3.4->ip_src,bucket=actions=clone(1,2),group:7",
                "add group_id=16,type=all,bucket=actions=output:1,set_field:1.2.3.4->ip_src,bucket=actions=clone(output:1,output:2),group:7",
            ),
            ("group_id=2,type=all", "add group_id=2,type=all"),
            ("modify group_id=2 type=indirect bucket=output:5", "modify group_id=2,type=indirect,bucket=actions=output:5"),
            (
                "group_id=3,type=fast_failover,bucket=watch_port:LOCAL,watch_group:4,output:1,bucket=weight=0,actions=",
                "add group_id=3,type=ff,bucket=watch_port:LOCAL,watch_group:4,actions=output:1,bucket=actions=drop",
            ),
            ("delete group_id=4", "delete group_id=4"),
            ("delete", "delete group_id=all"),
        ] {
            let g: GroupMod = input.parse().unwrap_or_else(|e| panic!("{input}: {e}"));
            assert_eq!(g.to_string(), output);
            assert_eq!(output.parse::<GroupMod>().unwrap(), g);
        }
    }

    #[test]
    fn refuses_what_is_no_group() {
        for (input, column, expected) in [
            ("type=all", 9, "group_id"),
            ("group_id=1", 11, "type="),
            ("group_id=1,type=al", 17, "all, select"),
            ("group_id=all,type=all", 10, "only a delete"),
            ("group_id=1,type=indirect", 1, "exactly one bucket"),
            ("group_id=1,type=all,bucket=foo:1", 28, "an action"),
            ("group_id=1,type=all,bukcet=1", 21, "bucket"),
            ("insert_bucket group_id=1", 1, "OpenFlow 1.3"),
            ("delete group_id=1,bucket=1", 26, "no buckets"),
            ("group_id=4294967295,type=all", 10, "up to"),
        ] {
            let e = input.parse::<GroupMod>().expect_err(input);
            assert_eq!(e.column, column, "{input}: {e}");
            assert!(e.expected.contains(expected), "{input}: {e}");
        }
    }
}
