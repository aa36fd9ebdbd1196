//! Flows, actions, groups, meters and packet-outs in words.
#![no_main]
use libfuzzer_sys::fuzz_target;
use openflow::checks;

fuzz_target!(|text: &str| fuzz::linear_text(text, checks::flow_text));
