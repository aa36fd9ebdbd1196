//! OpenFlow in words: the language of `ovs-ofctl`, read and written.
//!
//! Whoever comes from Open vSwitch types what they always typed. Everything printed here can be read again
//! (`parse(print(x)) == x` for whatever the language can say), and every refusal is one line that names line, column,
//! the offending word and what would have been right.
//!
//! Code map: [`lex`] words and numbers · [`value`] one field's value and the names of fields · [`matching`] a match ·
//! [`action`] actions and instructions · [`flow`] flow entries · [`group`], [`meter`] ·
//! [`bundle`] packet-outs, mixed files, words of `mod-port` · [`mod@print`] whole messages (`ofp-print`) · [`json`] the same for machines.
//!
//! Where we differ from `ovs-ofctl` 3.1, on purpose:
//! - A field without its prerequisite (`tcp_dst=80` without `tcp`) is refused; ovs-ofctl drops it and thereby widens the flow.
//! - Values that do not fit (`dl_vlan=4096`, `nw_ecn=4`) are refused; ovs-ofctl cuts them.
//! - A masked `set_field` stays one action (`NXAST_REG_LOAD2`); ovs-ofctl splits it into `load`s on OpenFlow 1.3.
//! - `xreg`/`xxreg` in a match stay what they are; ovs-ofctl spells them as `reg`s.
//! - A number is decimal unless it starts with `0x`; a leading zero does not mean octal.

pub mod action;
pub mod bundle;
pub mod flow;
pub mod group;
pub mod json;
#[cfg(any(test, feature = "arbitrary"))]
pub mod laws;
pub mod lex;
pub mod matching;
pub mod meter;
pub mod packet;
pub mod print;
pub mod value;

use crate::ids::PortNo;
use std::fmt;

pub use action::{
    parse_actions, parse_instructions, print_actions, print_instructions, write_actions, write_instructions,
};
pub use bundle::{
    parse_bundle_file, parse_bundle_line, parse_packet_out, parse_port_mod_word, parse_table_mod_word,
    print_packet_out,
};
pub use flow::{
    parse_flow, parse_flow_filter, parse_flow_line, parse_flows_file, print_flow_mod, print_flow_stats,
    write_flow_stats, FlowStyle,
};
pub use group::{parse_group, parse_group_line, parse_groups_file, print_group_desc, print_group_mod};
pub use matching::{parse_flow_as_packet, parse_match, print_match, write_match};
pub use meter::{parse_meter, parse_meter_id, print_meter};

/// A text that cannot be read: where, which word, and what was expected. Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The offending word, empty at the end of the text.
    pub word: String,
    /// What would have been right.
    pub expected: String,
    /// The word that was perhaps meant.
    pub hint: Option<String>,
}

impl TextError {
    /// The same error, as a place in a text that has `before` in front of the one it was found in.
    pub(crate) fn behind(mut self, before: &str) -> Self {
        if self.line == 1 {
            self.column += before.rsplit('\n').next().unwrap_or("").chars().count();
        }
        self.line += before.matches('\n').count();
        self
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if self.word.is_empty() {
            write!(f, "nothing here")?;
        } else {
            write!(f, "{:?}", self.word)?;
        }
        write!(f, ": expected {}", self.expected)?;
        match &self.hint {
            Some(h) => write!(f, " (did you mean \"{h}\"?)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TextError {}

/// Names of ports, as whoever calls knows them.
pub trait PortNames {
    /// The number of a port called `name`.
    fn number(&self, name: &str) -> Option<PortNo>;
    /// The name to print for a port; `None` prints its number.
    fn name(&self, port: PortNo) -> Option<String>;
}

/// No names: ports are numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNames;

impl PortNames for NoNames {
    fn number(&self, _: &str) -> Option<PortNo> {
        None
    }
    fn name(&self, _: PortNo) -> Option<String> {
        None
    }
}

/// A plain list of names; the first entry that fits wins.
impl PortNames for [(PortNo, String)] {
    fn number(&self, name: &str) -> Option<PortNo> {
        self.iter().find(|(_, n)| n == name).map(|(p, _)| *p)
    }
    fn name(&self, port: PortNo) -> Option<String> {
        self.iter().find(|(p, _)| *p == port).map(|(_, n)| n.clone())
    }
}

impl PortNames for Vec<(PortNo, String)> {
    fn number(&self, name: &str) -> Option<PortNo> {
        self.as_slice().number(name)
    }
    fn name(&self, port: PortNo) -> Option<String> {
        PortNames::name(self.as_slice(), port)
    }
}

/// Reads names, prints numbers: `--no-names` output with names accepted on input.
pub struct ReadOnlyNames<'a>(pub &'a dyn PortNames);

impl PortNames for ReadOnlyNames<'_> {
    fn number(&self, name: &str) -> Option<PortNo> {
        self.0.number(name)
    }
    fn name(&self, _: PortNo) -> Option<String> {
        None
    }
}
