//! Whole messages in words, laid out as `ovs-ofctl ofp-print` has them.

use super::flow::FLAGS;
use super::matching::{push_priority, write_match};
use super::value::push_port;
use super::{write_instructions, PortNames};
use crate::ids::{GroupId, PortNo, TableId};
use crate::msg::flow_mod::{FlowMod, FlowModCommand};
use std::fmt::Write;

/// Body of a flow-mod: `ADD table:1 priority=5,ip actions=output:2`.
pub fn flow_mod(out: &mut String, f: &FlowMod, names: &dyn PortNames) {
    match f.command {
        FlowModCommand::ADD => out.push_str("ADD"),
        FlowModCommand::MODIFY => out.push_str("MOD"),
        FlowModCommand::MODIFY_STRICT => out.push_str("MOD_STRICT"),
        FlowModCommand::DELETE => out.push_str("DEL"),
        FlowModCommand::DELETE_STRICT => out.push_str("DEL_STRICT"),
        FlowModCommand(c) => drop(write!(out, "cmd:{c}")),
    }
    if f.table_id != TableId(0) {
        let _ = write!(out, " table:{}", f.table_id);
    }
    out.push(' ');
    push_priority(out, f.priority);
    write_match(out, &f.matching, names);
    if out.ends_with(',') {
        out.pop();
    }
    if !out.ends_with(' ') {
        out.push(' ');
    }
    if f.cookie_mask != 0 {
        let _ = write!(out, "cookie:{:#x}/{:#x} ", f.cookie, f.cookie_mask);
    } else if f.cookie != 0 {
        let _ = write!(out, "cookie:{:#x} ", f.cookie);
    }
    if f.idle_timeout != 0 {
        let _ = write!(out, "idle:{} ", f.idle_timeout);
    }
    if f.hard_timeout != 0 {
        let _ = write!(out, "hard:{} ", f.hard_timeout);
    }
    if f.buffer_id != u32::MAX {
        let _ = write!(out, "buf:{:#x} ", f.buffer_id);
    }
    if f.out_port != PortNo::ANY {
        out.push_str("out_port:");
        push_port(out, f.out_port, names);
        out.push(' ');
    }
    if f.out_group != GroupId::ANY {
        let _ = write!(out, "out_group:{} ", f.out_group);
    }
    for (n, flag) in FLAGS {
        if f.flags.contains(*flag) {
            out.push_str(n);
            out.push(' ');
        }
    }
    out.push_str("actions=");
    write_instructions(out, &f.instructions, names);
}
