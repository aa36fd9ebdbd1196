//! A list of actions: what can be read is said again the same; what cannot is placed inside the bytes.
#![no_main]
use libfuzzer_sys::fuzz_target;
use openflow::checks;

fuzz_target!(|data: &[u8]| fuzz::linear(data, checks::actions));
