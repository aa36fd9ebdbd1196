//! Packet-outs, files of mixed modifications (`ovs-ofctl bundle`), and the words of `mod-port` and `mod-table`.

use super::action::{actions_of, write_actions};
use super::flow::{at_line, lines};
use super::lex::{fault, fault_near, hex_bytes, next_pair, push_bytes, strip, Fault, Join, Res};
use super::value::{port, push_port};
use super::{group, parse_flow_line, parse_meter, PortNames, TextError};
use crate::ids::PortNo;
use crate::msg::flow_mod::FlowModCommand;
use crate::msg::group_mod::GroupModCommand;
use crate::msg::meter_mod::MeterModCommand;
use crate::msg::packet_in::OFP_NO_BUFFER;
use crate::msg::{Message, PacketOut};
use crate::port::PortConfig;

/// Reads `in_port=1 packet=HEX actions=...`; without `in_port=` the packet comes from the controller.
///
/// # Errors
/// The first word that cannot be read, or a part that is missing.
pub fn parse_packet_out(text: &str, names: &dyn PortNames) -> Result<PacketOut, TextError> {
    packet_out_of(text, names).map_err(|f: Fault<'_>| f.locate(text))
}

fn packet_out_of<'a>(text: &'a str, names: &dyn PortNames) -> Res<'a, PacketOut> {
    let mut in_port = PortNo::CONTROLLER;
    let mut data = None;
    let mut rest = text;
    loop {
        let s = strip(rest);
        if let Some(list) = s.strip_prefix("actions=").or_else(|| s.strip_prefix("action=")) {
            let actions = actions_of(list, names)?;
            let Some(data) = data else { return fault(&s[..7], "packet=HEX before the actions") };
            return Ok(PacketOut { buffer_id: OFP_NO_BUFFER, in_port, actions, data });
        }
        let Some(p) = next_pair(&mut rest)? else { return fault(&text[text.len()..], "actions=...") };
        match p.key {
            "in_port" => in_port = port(p.need("a port")?, names)?,
            "packet" => {
                data = Some(hex_bytes(p.need("a packet")?, "the packet in hexadecimal digits")?.into())
            }
            _ => {
                let known = ["in_port", "packet", "actions"];
                return fault_near(p.key, "in_port=..., packet=HEX or actions=...", known.into_iter());
            }
        }
    }
}

/// A packet-out as [`parse_packet_out`] reads it.
pub fn print_packet_out(p: &PacketOut, names: &dyn PortNames) -> String {
    let mut out = String::from("in_port=");
    push_port(&mut out, p.in_port, names);
    out.push_str(" packet=");
    push_bytes(&mut out, &p.data, "");
    out.push_str(" actions=");
    write_actions(&mut out, &p.actions, names);
    out
}

const KINDS: &[&str] = &["flow", "group", "meter", "packet-out"];
const METER_COMMANDS: &[(&str, MeterModCommand)] = &[
    ("add", MeterModCommand::ADD),
    ("modify", MeterModCommand::MODIFY),
    ("delete", MeterModCommand::DELETE),
];

/// Reads one line of a bundle file: `flow`, `group`, `meter` or `packet-out`, a command, and what it is about.
///
/// # Errors
/// As the parser of that kind.
pub fn parse_bundle_line(text: &str, names: &dyn PortNames) -> Result<Message, TextError> {
    let s = text.trim_start();
    let end = s.find(char::is_whitespace).unwrap_or(s.len());
    let (kind, rest) = s.split_at(end);
    let moved = |e: TextError| e.behind(&text[..text.len() - rest.len()]);
    match kind {
        "flow" => parse_flow_line(rest, FlowModCommand::ADD, names).map(Message::from).map_err(moved),
        "group" => {
            group::parse_group_line(rest, GroupModCommand::ADD, names).map(Message::from).map_err(moved)
        }
        "meter" => {
            let (c, body) = super::flow::split_command(rest, METER_COMMANDS)
                .map_or((MeterModCommand::ADD, rest), |(c, r)| (*c, r));
            parse_meter(body, c).map(Message::from).map_err(|e| e.behind(&text[..text.len() - body.len()]))
        }
        "packet-out" => parse_packet_out(rest, names).map(Message::from).map_err(moved),
        _ => fault_near(kind, "flow, group, meter or packet-out", KINDS.iter().copied())
            .map_err(|f: Fault<'_>| f.locate(text)),
    }
}

/// Reads a bundle file.
///
/// # Errors
/// The first line that cannot be read; nothing of the file is returned.
pub fn parse_bundle_file(text: &str, names: &dyn PortNames) -> Result<Vec<Message>, TextError> {
    lines(text).map(|(n, l)| parse_bundle_line(l, names).map_err(|e| at_line(e, n))).collect()
}

const PORT_WORDS: &[(&str, PortConfig, bool)] = &[
    ("up", PortConfig::PORT_DOWN, false),
    ("down", PortConfig::PORT_DOWN, true),
    ("receive", PortConfig::NO_RECV, false),
    ("no-receive", PortConfig::NO_RECV, true),
    ("forward", PortConfig::NO_FWD, false),
    ("no-forward", PortConfig::NO_FWD, true),
    ("packet-in", PortConfig::NO_PACKET_IN, false),
    ("no-packet-in", PortConfig::NO_PACKET_IN, true),
];

/// Reads a word of `mod-port`; returns the bits of config and the mask of bits that change.
///
/// # Errors
/// A word that is none, or one that OpenFlow 1.3 has no bit for (`flood`, `stp`).
pub fn parse_port_mod_word(word: &str) -> Result<(PortConfig, PortConfig), TextError> {
    let w = word.trim();
    let go = || match PORT_WORDS.iter().find(|(n, ..)| *n == w) {
        Some((_, bit, set)) => Ok((if *set { *bit } else { PortConfig::empty() }, *bit)),
        None if matches!(w.strip_prefix("no-").unwrap_or(w), "flood" | "stp" | "receive-stp") => {
            fault(w, "a word of OpenFlow 1.3: up, down, [no-]receive, [no-]forward or [no-]packet-in")
        }
        None => fault_near(
            w,
            "up, down, [no-]receive, [no-]forward or [no-]packet-in",
            PORT_WORDS.iter().map(|p| p.0),
        ),
    };
    go().map_err(|f: Fault<'_>| f.locate(word))
}

const TABLE_WORDS: &[(&str, u32)] = &[("controller", 0), ("continue", 1), ("drop", 2)];

/// Reads a word of `mod-table` (`drop`, `continue`, `controller`) or a number; returns the table-mod's config.
///
/// # Errors
/// A word that is none.
pub fn parse_table_mod_word(word: &str) -> Result<u32, TextError> {
    let w = word.trim();
    let go = || match TABLE_WORDS.iter().find(|(n, _)| *n == w) {
        Some((_, c)) => Ok(*c),
        None => match super::lex::parse_u128(w) {
            Some(v @ 0..=3) => Ok(v as u32),
            _ => fault_near(w, "drop, continue or controller", TABLE_WORDS.iter().map(|t| t.0)),
        },
    };
    go().map_err(|f: Fault<'_>| f.locate(word))
}

/// Whether `text` says `key=value` things at all (new packet-out syntax) or is positional (the old one).
pub fn is_keyed(text: &str) -> bool {
    let mut rest = text;
    matches!(next_pair(&mut rest), Ok(Some(p)) if p.join == Join::Equals)
}

#[cfg(test)]
mod tests {
    use super::super::NoNames;
    use super::*;

    #[test]
    fn packet_outs_round_trip() {
        let p = parse_packet_out("in_port=1 packet=0011.2233:44 actions=2,controller", &NoNames).unwrap();
        assert_eq!(&p.data[..], [0, 0x11, 0x22, 0x33, 0x44]);
        let s = print_packet_out(&p, &NoNames);
        assert_eq!(s, "in_port=1 packet=0011223344 actions=output:2,CONTROLLER:65535");
        assert_eq!(parse_packet_out(&s, &NoNames).unwrap(), p);
        assert_eq!(
            parse_packet_out("packet=00,actions=flood", &NoNames).unwrap().in_port,
            PortNo::CONTROLLER
        );
        assert!(parse_packet_out("in_port=1 packet=0 actions=1", &NoNames)
            .unwrap_err()
            .expected
            .contains("even"));
        assert!(parse_packet_out("in_port=1 packet=00", &NoNames).unwrap_err().expected.contains("actions="));
    }

    #[test]
    fn bundle_files_mix_kinds_and_point_at_faults() {
        let text = "flow add in_port=1,actions=2\nflow delete_strict priority=1\ngroup add group_id=1,type=all\n\
                    group delete group_id=2\nmeter add meter=1,bands=type=drop,rate=3\npacket-out packet=00 actions=1\n";
        let all = parse_bundle_file(text, &NoNames).unwrap();
        assert_eq!(all.len(), 6);
        let e = parse_bundle_file("flow ip,actions=1\nflow add ip,actions=zap:1\n", &NoNames).unwrap_err();
        assert_eq!((e.line, e.column, e.word.as_str()), (2, 21, "zap"));
        let e = parse_bundle_line("folw add ip", &NoNames).unwrap_err();
        assert_eq!((e.column, e.hint.as_deref()), (1, Some("flow")));
    }

    #[test]
    fn words_of_ports_and_tables() {
        let (c, m) = parse_port_mod_word("no-receive").unwrap();
        assert_eq!((c, m), (PortConfig::NO_RECV, PortConfig::NO_RECV));
        assert_eq!(parse_port_mod_word("up").unwrap(), (PortConfig::empty(), PortConfig::PORT_DOWN));
        assert!(parse_port_mod_word("no-flood").unwrap_err().expected.contains("OpenFlow 1.3"));
        assert_eq!(parse_port_mod_word("no-recieve").unwrap_err().hint.as_deref(), Some("no-receive"));
        assert_eq!(parse_table_mod_word("drop").unwrap(), 2);
        assert!(parse_table_mod_word("evict").is_err());
    }
}
