//! Sequences of requests with packets in between, chosen by the fuzzer: the switch does what the executable model does.
//! One switch serves all inputs and is emptied before each, as a controller would.
#![no_main]
#[path = "../../ofproto/tests/rig/mod.rs"]
mod rig;
#[path = "../../ofproto/tests/spec/mod.rs"]
mod spec;

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

struct Bytes<'a>(&'a [u8]);

impl spec::Dice for Bytes<'_> {
    fn below(&mut self, n: u64) -> u64 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        u64::from(*first) % n
    }
    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

thread_local! {
    static TRIAL: RefCell<Option<spec::Trial>> = const { RefCell::new(None) };
}

fuzz_target!(|choices: &[u8]| {
    TRIAL.with_borrow_mut(|t| {
        let t = t.get_or_insert_with(spec::Trial::new);
        t.reset();
        t.run(&mut Bytes(choices), 60);
    });
});
