//! The packet of a trace, and matches, in words.
#![no_main]
use libfuzzer_sys::fuzz_target;
use openflow::checks;

fuzz_target!(|text: &str| fuzz::linear_text(text, checks::trace_text));
