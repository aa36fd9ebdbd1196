#![no_main]
use libfuzzer_sys::fuzz_target;
use openflow::checks;

fuzz_target!(|data: &[u8]| {
    fuzz::bounded(data, || {
        checks::message(data);
        checks::message_of_any_length(data);
    })
});
