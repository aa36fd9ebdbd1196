#![no_main]
use libfuzzer_sys::fuzz_target;
use openflow::checks;

fuzz_target!(|text: &str| fuzz::bounded(text.as_bytes(), || checks::flow_text(text)));
