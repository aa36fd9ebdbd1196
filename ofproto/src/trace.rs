//! The path of a packet through the tables, drawn as `ovs-appctl ofproto/trace` draws it. A listener on translation, never a second
//! implementation.

use crate::xlate::Listener;
use std::fmt::Write;

/// Draws what it is told.
#[derive(Default)]
pub struct Drawing {
    /// The drawing so far.
    pub text: String,
}

impl Drawing {
    fn indent(&mut self, depth: u16) {
        // A chain of resubmits from table to table may be thousands deep.
        for _ in 0..depth.min(64) {
            self.text.push_str("    ");
        }
    }
}

impl Listener for Drawing {
    fn bridge(&mut self, depth: u16, name: &str) {
        let title = format!("bridge(\"{name}\")");
        self.text.push('\n');
        self.indent(depth);
        let _ = writeln!(self.text, "{title}");
        self.indent(depth);
        let _ = writeln!(self.text, "{}", "-".repeat(title.len()));
    }
    fn table(&mut self, depth: u16, table: u8, what: &str) {
        self.indent(depth);
        let _ = writeln!(self.text, "{table:2}. {what}");
    }
    fn action(&mut self, depth: u16, what: &str) {
        self.indent(depth);
        let _ = writeln!(self.text, "    {what}");
    }
    fn note(&mut self, depth: u16, what: &str) {
        self.indent(depth);
        let _ = writeln!(self.text, "     -> {what}");
    }
}
