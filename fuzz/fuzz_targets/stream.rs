//! A byte stream through the codec and the reassembly of multiparts: the same messages however it is cut.
#![no_main]
use libfuzzer_sys::fuzz_target;
use openflow::checks;

fuzz_target!(|data: &[u8]| fuzz::linear(data, checks::stream));
