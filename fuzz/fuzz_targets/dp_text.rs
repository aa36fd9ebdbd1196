//! The text of packets and datapath actions, as traces and test cases have it: what can be read is printed in words that are
//! read as the same.
#![no_main]
use datapath::text::{format_flow, parse_actions, parse_flow};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if text.len() > 4096 {
        return;
    }
    if let Ok((key, mask)) = parse_flow(text) {
        let words = format_flow(&key, &mask);
        let _ = parse_flow(&words);
    }
    let _ = parse_actions(text);
});
