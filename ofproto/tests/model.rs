//! Random sequences of requests with packets in between: the switch does what an executable model of the specification does.
//! `MODEL_SECONDS=600 cargo test -p ofproto --test model` goes on for longer; `MODEL_SEED=N` repeats one.

mod rig;
mod spec;

use std::time::{Duration, Instant};

struct Seeded(u64);

impl spec::Dice for Seeded {
    fn below(&mut self, n: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn one(seed: u64) {
    let trial = std::panic::catch_unwind(|| spec::Trial::new().run(&mut Seeded(seed), 400));
    if let Err(e) = trial {
        let why = e.downcast_ref::<String>().map_or("", String::as_str);
        panic!("seed {seed}: {why}");
    }
}

#[test]
fn the_switch_does_what_the_model_does() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = number("MODEL_SEED") {
        return one(seed);
    }
    let until = Instant::now() + Duration::from_secs(number("MODEL_SECONDS").unwrap_or(0));
    let mut seed = 0;
    while seed < 24 || Instant::now() < until {
        one(seed);
        seed += 1;
    }
    println!("{seed} seeds of 400 steps");
}
