//! Commands of `ofctl` that need no switch: messages, captures and flows from files, in words or as JSON.
//!
//! Nothing here opens a file or a socket: text and bytes come in, words go out, so all of it can be tested as it is.

pub mod capture;

use openflow::header::{Header, HEADER_LEN};
use openflow::msg::{FlowModCommand, OfMessage};
use openflow::text::{self, json, print, NoNames, TextError};
use serde_json::{json, Value};
use std::io::{self, Write};

/// Why an offline command did not work; one line each.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// What was typed, or what stands in a file, cannot be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The input is no capture file, or one of a kind we do not know.
    #[error("{0}")]
    Capture(String),
    /// The output could not be written.
    #[error("cannot write: {0}")]
    Io(#[from] io::Error),
}

/// Verbosity of `ofp-print` unless told otherwise.
pub const VERBOSITY: u8 = 2;

/// A message as JSON, or why it is none.
pub fn message_json(bytes: &[u8]) -> Value {
    match OfMessage::parse(bytes) {
        Ok(m) => json::to_json(&m),
        Err(e) => {
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            let mut v =
                json!({ "decode_error": print::error_name(e.code), "where": e.to_string(), "hex": hex });
            if let Some(h) = Header::peek(bytes) {
                v["type"] = format!("OFPT_{}", h.msg_type).into();
                v["version"] = h.version.into();
                v["xid"] = h.xid.0.into();
            }
            v
        }
    }
}

/// `ofp-print`: bytes given as hexadecimal text (blanks, colons, `0x`, and the offsets and characters of a hex dump are
/// ignored) or, if they are no such text, as they are.
///
/// # Errors
/// Output that cannot be written.
pub fn ofp_print(
    input: &[u8],
    verbosity: u8,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), OfflineError> {
    let bytes = std::str::from_utf8(input).ok().and_then(hex_text).unwrap_or_else(|| input.to_vec());
    ofp_parse(&bytes, verbosity, as_json, out)
}

/// Whether `text` is hexadecimal, as [`ofp_print`] takes it.
pub fn is_hex(text: &str) -> bool {
    hex_text(text).is_some()
}

/// Bytes of hexadecimal text; `None` if it is something else.
fn hex_text(s: &str) -> Option<Vec<u8>> {
    let mut digits = String::with_capacity(s.len());
    for line in s.lines() {
        // `00000010  00 11 22-33 44 |..."3D|`: an offset, then bytes, then what they look like.
        let line = line.split('|').next().unwrap_or("");
        let line = match line.split_once("  ") {
            Some((offset, rest))
                if offset.len() >= 4 && offset.bytes().all(|b| b.is_ascii_hexdigit()) && line.len() > 10 =>
            {
                rest
            }
            _ => line,
        };
        let line = line.trim().strip_prefix("0x").unwrap_or(line);
        digits.extend(line.chars().filter(|c| !c.is_whitespace() && !matches!(c, ':' | '-' | '.' | ',')));
    }
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.bytes().all(|b| b.is_ascii_hexdigit())
    {
        return None;
    }
    digits.as_bytes().chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 16).ok()).collect()
}

/// `ofp-parse`: a file of messages, one after the other.
///
/// # Errors
/// Output that cannot be written.
pub fn ofp_parse(
    bytes: &[u8],
    verbosity: u8,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), OfflineError> {
    let mut rest = bytes;
    let mut list = Vec::new();
    while !rest.is_empty() {
        let len = Header::peek(rest).map_or(0, |h| usize::from(h.length));
        let len = if (HEADER_LEN..=rest.len()).contains(&len) { len } else { rest.len() };
        let (one, after) = rest.split_at(len);
        if as_json {
            list.push(message_json(one));
        } else {
            out.write_all(print::bytes(one, verbosity, &NoNames).as_bytes())?;
        }
        rest = after;
    }
    if as_json {
        write_json(&Value::Array(list), out)?;
    }
    Ok(())
}

fn write_json(v: &Value, out: &mut dyn Write) -> Result<(), OfflineError> {
    Ok(writeln!(out, "{v:#}")?)
}

/// `ofp-parse-pcap`: the OpenFlow connections in a capture as a log, every message with its time and who sent it.
///
/// Streams count as OpenFlow if a side has one of `ports`, or begins with a HELLO.
///
/// # Errors
/// A file that is no pcap or pcapng capture, or output that cannot be written.
pub fn ofp_parse_pcap(
    file: &[u8],
    ports: &[u16],
    verbosity: u8,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), OfflineError> {
    let mut fault = None;
    capture::messages(file, ports, &mut |m| {
        if fault.is_some() {
            return;
        }
        let mut one = || -> io::Result<()> {
            let (from, to) = (m.from, m.to);
            if as_json {
                let mut v = json!({ "time": m.time, "from": from.to_string(), "to": to.to_string() });
                match &m.what {
                    capture::What::Message(b) => v["message"] = message_json(b),
                    capture::What::Lost(n) => v["lost_bytes"] = (*n).into(),
                }
                return writeln!(out, "{v}");
            }
            write!(out, "{} {from} > {to}: ", capture::clock(m.time))?;
            match &m.what {
                capture::What::Message(b) => out.write_all(print::bytes(b, verbosity, &NoNames).as_bytes()),
                capture::What::Lost(n) => writeln!(out, "{n} bytes are missing or no OpenFlow, skipped"),
            }
        };
        fault = one().err();
    })
    .map_err(OfflineError::Capture)?;
    fault.map_or(Ok(()), |e| Err(e.into()))
}

/// `parse-flow`: one flow, as the flow-mod it makes.
///
/// # Errors
/// The word that cannot be read, or output that cannot be written.
pub fn parse_flow(flow: &str, as_json: bool, out: &mut dyn Write) -> Result<(), OfflineError> {
    let f = text::parse_flow_line(flow, FlowModCommand::ADD, &NoNames)?;
    let m = OfMessage::new(1u32, f);
    if as_json {
        return write_json(&json::to_json(&m), out);
    }
    Ok(out.write_all(print::message(&m, VERBOSITY, &NoNames).as_bytes())?)
}

/// `parse-flows`: a file of flows, as the flow-mods they make.
///
/// # Errors
/// The line and word that cannot be read, or output that cannot be written.
pub fn parse_flows(file: &str, as_json: bool, out: &mut dyn Write) -> Result<(), OfflineError> {
    let flows = text::parse_flows_file(file, FlowModCommand::ADD, &NoNames)?;
    let all = flows.into_iter().zip(1u32..).map(|(f, xid)| OfMessage::new(xid, f));
    if as_json {
        return write_json(&Value::Array(all.map(|m| json::to_json(&m)).collect()), out);
    }
    for m in all {
        out.write_all(print::message(&m, VERBOSITY, &NoNames).as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(f: impl FnOnce(&mut dyn Write) -> Result<(), OfflineError>) -> String {
        let mut out = Vec::new();
        f(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hexadecimal_comes_in_many_shapes() {
        let want = "OFPT_BARRIER_REQUEST (OF1.3) (xid=0x5):\n";
        for input in [
            "0414000800000005",
            "04 14 00 08 00 00 00 05\n",
            "0x0414000800000005",
            "04:14:00:08:00:00:00:05",
            "00000000  04 14 00 08 00 00 00 05-                        |........        |\n",
        ] {
            assert_eq!(text_of(|o| ofp_print(input.as_bytes(), 2, false, o)), want, "{input}");
        }
        assert_eq!(text_of(|o| ofp_print(&[4, 20, 0, 8, 0, 0, 0, 5], 2, false, o)), want);
    }

    #[test]
    fn files_hold_several_messages_and_broken_ones_are_told() {
        let bytes = [4, 20, 0, 8, 0, 0, 0, 5, 4, 2, 0, 9, 0, 0, 0, 6, 1, 4, 99, 0, 8, 0, 0, 0, 7];
        let s = text_of(|o| ofp_parse(&bytes, 1, false, o));
        assert!(s.starts_with(
            "OFPT_BARRIER_REQUEST (OF1.3) (xid=0x5):\nOFPT_ECHO_REQUEST (OF1.3) (xid=0x6): 1 bytes"
        ));
        assert!(s.contains("OFPBRC_BAD_TYPE"), "{s}");
        let v: Value = serde_json::from_str(&text_of(|o| ofp_parse(&bytes, 1, true, o))).unwrap();
        assert_eq!(v[1]["type"], "OFPT_ECHO_REQUEST");
        assert_eq!(v[2]["decode_error"], "OFPBRC_BAD_TYPE");
    }

    #[test]
    fn flows_are_shown_as_the_messages_they_make() {
        let s = text_of(|o| parse_flow("in_port=1,actions=2", false, o));
        assert_eq!(s, "OFPT_FLOW_MOD (OF1.3) (xid=0x1): ADD in_port=1 actions=output:2\n");
        let s = text_of(|o| parse_flows("ip,actions=1\ndelete arp\n", false, o));
        assert_eq!(s.lines().count(), 2);
        let e = parse_flows("ip,actions=1\nip,actions=zap\n", false, &mut Vec::new()).unwrap_err();
        assert!(e.to_string().starts_with("line 2, column 12: \"zap\""), "{e}");
        let v: Value = serde_json::from_str(&text_of(|o| parse_flow("ip,actions=drop", true, o))).unwrap();
        assert_eq!(v["body"]["match"]["eth_type"], "0x800");
    }

    #[test]
    fn a_recorded_session_reads_like_a_log() {
        // os-ken's learning switch and ofswitchd, recorded by scripts/capture-sessions.
        let file = include_bytes!("../../openflow/tests/corpus/learning.pcap");
        let log = text_of(|o| ofp_parse_pcap(file, &[6653], 1, false, o));
        let lines: Vec<&str> = log.lines().filter(|l| l.contains(" > 127.0.0.1:")).collect();
        let at = |word: &str| {
            lines.iter().position(|l| l.contains(word)).unwrap_or_else(|| panic!("no {word} in\n{log}"))
        };
        let order = [
            "OFPT_HELLO",
            "OFPT_FEATURES_REQUEST",
            "OFPT_FEATURES_REPLY",
            "OFPST_PORT_DESC request",
            "OFPST_PORT_DESC reply",
        ];
        for pair in order.windows(2) {
            assert!(at(pair[0]) < at(pair[1]), "{pair:?} in\n{log}");
        }
        assert!(
            lines.iter().any(|l| l.contains(": OFPT_FLOW_MOD")
                && l.contains("priority=0 out_port:0 out_group:0 actions=CONTROLLER:65535")),
            "{log}"
        );
        assert!(at("OFPT_PACKET_IN") < at("OFPT_PACKET_OUT"), "{log}");
        assert!(!log.contains("decode error") && !log.contains("missing"), "{log}");
        let json = text_of(|o| ofp_parse_pcap(file, &[6653], 1, true, o));
        let all: Vec<Value> = json.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(all.len(), lines.len());
        assert!(all.iter().all(|m| m["message"]["type"].is_string() && m["time"].is_number()), "{json}");
    }
}
