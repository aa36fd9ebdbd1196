//! One message: what can be read is said again in bytes that mean the same, and can be told in words; what cannot is placed inside the bytes.
#![no_main]
use libfuzzer_sys::fuzz_target;
use openflow::checks;

fuzz_target!(|data: &[u8]| {
    fuzz::linear(data, |b| {
        checks::message(b);
        checks::message_of_any_length(b);
    });
    fuzz::linear_in(data, fuzz::HELD_AS_JSON, |b| {
        checks::message_in_words(&checks::with_right_length(b));
        b.len()
    });
});
