//! What must hold for any text at all: asked by the fuzz targets and the property tests (feature `arbitrary`).
//! Each panics if it does not hold.

use super::{
    group, json, parse_actions, parse_bundle_line, parse_flow, parse_flow_as_packet, parse_flow_filter,
    parse_flow_line, parse_group, parse_match, parse_meter, parse_packet_out, print, print_actions,
    print_flow_mod, print_match, print_meter, print_packet_out, NoNames, TextError,
};
use crate::msg::flow_mod::FlowModCommand;
use crate::msg::group_mod::GroupModCommand;
use crate::msg::meter_mod::MeterModCommand;
use crate::msg::OfMessage;

/// A refusal is one line about a place in the text.
fn refusal(text: &str, e: &TextError) {
    let said = e.to_string();
    assert!(!said.contains('\n'), "{said}");
    let line = text.split('\n').nth(e.line - 1).unwrap_or_else(|| panic!("no line {} in {text:?}", e.line));
    assert!((1..=line.chars().count() + 1).contains(&e.column), "{said} in {text:?}");
}

/// A flow that can be read is printed in words that are read as the same flow, and is printed the same once it went over
/// the wire.
pub fn flow(text: &str) {
    for command in [
        FlowModCommand::ADD,
        FlowModCommand::MODIFY,
        FlowModCommand::MODIFY_STRICT,
        FlowModCommand::DELETE,
        FlowModCommand::DELETE_STRICT,
    ] {
        let flow = match parse_flow(text, command, &NoNames) {
            Ok(f) => f,
            Err(e) => {
                refusal(text, &e);
                continue;
            }
        };
        let words = print_flow_mod(&flow, &NoNames);
        match parse_flow_line(&words, FlowModCommand::ADD, &NoNames) {
            Ok(again) => assert_eq!(again, flow, "{text:?} is printed as {words:?}"),
            Err(e) => panic!("{text:?} is printed as {words:?}, which is refused: {e}"),
        }
        let m = OfMessage::new(1u32, flow);
        assert!(json::to_json(&m)["body"]["match"].is_object());
        // Raw bytes may say anything, also what has other words.
        let raw = ["oxm(", "experimenter(", "unknown(", "instruction("].iter().any(|w| words.contains(w));
        if let (Ok(bytes), false) = (m.to_bytes(), raw) {
            let back = OfMessage::parse(&bytes).unwrap_or_else(|e| panic!("{words:?} on the wire: {e}"));
            assert_eq!(print::message(&back, 1, &NoNames), print::message(&m, 1, &NoNames));
        }
    }
    if let Err(e) = parse_flow_filter(text, &NoNames) {
        refusal(text, &e);
    }
}

/// The packet of a trace has one value per field, and is printed as a match that is read as the same packet.
pub fn packet(text: &str) {
    match parse_flow_as_packet(text, &NoNames) {
        Ok(m) => {
            assert!(m.known().all(|f| f.mask.is_none()));
            let words = print_match(&m);
            let again = parse_flow_as_packet(&words, &NoNames);
            assert_eq!(again.as_ref(), Ok(&m), "{text:?} is printed as {words:?}");
        }
        Err(e) => refusal(text, &e),
    }
    if let Ok(m) = parse_match(text, &NoNames) {
        let words = print_match(&m);
        assert_eq!(parse_match(&words, &NoNames).as_ref(), Ok(&m), "{text:?} is printed as {words:?}");
    }
}

/// Actions, groups, meters, packet-outs and lines of bundles that can be read are printed in words that are read as the
/// same.
pub fn others(text: &str) {
    match parse_actions(text, &NoNames) {
        Ok(a) => {
            let words = print_actions(&a);
            assert_eq!(parse_actions(&words, &NoNames).as_ref(), Ok(&a), "{text:?} is printed as {words:?}");
        }
        Err(e) => refusal(text, &e),
    }
    for c in [GroupModCommand::ADD, GroupModCommand::DELETE] {
        match parse_group(text, c, &NoNames) {
            Ok(g) => {
                let words = group::print_group_mod(&g, &NoNames);
                let again = group::parse_group_line(&words, c, &NoNames);
                assert_eq!(again.as_ref(), Ok(&g), "{text:?} is printed as {words:?}");
            }
            Err(e) => refusal(text, &e),
        }
    }
    match parse_meter(text, MeterModCommand::ADD) {
        Ok(m) => {
            let words = print_meter(m.meter_id, m.flags, &m.bands);
            let again = parse_meter(&words, MeterModCommand::ADD);
            assert_eq!(again.as_ref(), Ok(&m), "{text:?} is printed as {words:?}");
        }
        Err(e) => refusal(text, &e),
    }
    match parse_packet_out(text, &NoNames) {
        Ok(p) => {
            let words = print_packet_out(&p, &NoNames);
            assert_eq!(
                parse_packet_out(&words, &NoNames).as_ref(),
                Ok(&p),
                "{text:?} is printed as {words:?}"
            );
        }
        Err(e) => refusal(text, &e),
    }
    if let Err(e) = parse_bundle_line(text, &NoNames) {
        refusal(text, &e);
    }
}
