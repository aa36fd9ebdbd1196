//! The text of packets and datapath actions, as traces and test cases have it: what can be read is printed in words that are read as the
//! same.
#![no_main]
use datapath::text::{format_actions, format_flow, parse_actions, parse_flow};
use datapath::FlowKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| fuzz::linear_text(text, |text| {
    match parse_flow(text) {
        Ok((key, mask)) => {
            let words = format_flow(&key, &mask);
            let (k, m) =
                parse_flow(&words).unwrap_or_else(|e| panic!("{text:?} is printed as {words:?}: {e}"));
            assert_eq!(format_flow(&k, &m), words, "{text:?}");
        }
        Err(e) => assert!((1..=text.len() + 1).contains(&e.column), "{e} in {text:?}"),
    }
    match parse_actions(text) {
        Ok(a) => {
            let _ = format_actions(&a, &FlowKey::ZERO);
        }
        Err(e) => assert!((1..=text.len() + 1).contains(&e.column), "{e} in {text:?}"),
    }
}));
