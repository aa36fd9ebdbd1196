//! A match with its header: what can be read is said again the same, and can be judged.
#![no_main]
use libfuzzer_sys::fuzz_target;
use openflow::checks;

fuzz_target!(|data: &[u8]| fuzz::linear(data, |b| {
    checks::match_(b);
    // The same with the length made right, so that a fuzzer need not find it.
    if let [_, _, _, _, fields @ ..] = b {
        let len = b.len().min(0xffff) as u16;
        let mut whole = [&[0, 1][..], &len.to_be_bytes(), &fields[..len as usize - 4]].concat();
        whole.resize(whole.len().next_multiple_of(8), 0);
        checks::match_(&whole);
    }
}));
