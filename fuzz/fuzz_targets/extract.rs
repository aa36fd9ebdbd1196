//! Any frame gives a key, at once, and says of every header a place inside the frame; the key in words is read as the same key.
#![no_main]
use datapath::extract::extract;
use datapath::text::{format_flow, full_mask, parse_flow};
use datapath::FlowKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| fuzz::linear(frame, |frame| {
    let frame = &frame[..frame.len().min(0xffff)];
    let mut key = FlowKey::ZERO;
    let l = extract(frame, 7, 9, &mut key);
    assert!(l.payload as usize <= frame.len() && l.l4 as usize <= frame.len(), "{l:?} of {}", frame.len());
    assert!(l.l4 == 0 || l.l4 >= l.payload, "{l:?}");
    assert!(l.n_vlan <= 2);
    assert_eq!(key.in_port(), 7);
    // What was in the key before does not show through.
    let mut dirty = key;
    dirty.bytes_mut().fill(0xff);
    assert_eq!(extract(frame, 7, 9, &mut dirty), l);
    assert_eq!(dirty, key);
    // What is behind the part that was looked at does not matter: the same headers with nothing after them.
    let words = format_flow(&key, &full_mask(&key));
    let (again, mask) = parse_flow(&words).unwrap_or_else(|e| panic!("{words}: {e}"));
    assert_eq!(format_flow(&again, &mask), words);
}));
