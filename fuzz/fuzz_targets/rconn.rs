//! A connection's life under any order of events: it is never told to do what its state does not allow, it sleeps until its
//! deadline, and a pause is never longer than allowed.
#![no_main]
use libfuzzer_sys::fuzz_target;
use ofproto::conn::rconn::{negotiate, Rconn, RconnConfig, Todo};
use std::time::{Duration, Instant};

fuzz_target!(|events: &[u8]| fuzz::linear(events, life));

fn life(events: &[u8]) {
    let Some((how, events)) = events.split_first() else { return };
    let start = Instant::now();
    let mut now = start;
    let max_backoff = Duration::from_millis(50 << (how >> 5));
    let probe = if how & 2 == 0 { None } else { Some(Duration::from_secs(1 + (how >> 2 & 7) as u64)) };
    let config = RconnConfig { max_backoff, inactivity_probe: probe };
    let dials = how & 1 == 0;
    let mut c = if dials { Rconn::active(config, *how as u64, now) } else { Rconn::accepted(config, now) };
    let (mut open, mut greeted) = (!dials, false);
    for pair in events.chunks_exact(2) {
        let (event, arg) = (pair[0], pair[1]);
        match event % 6 {
            0 => {
                let before = c.is_active();
                c.opened(now);
                assert_eq!(c.is_active(), before, "opened alone does not let messages flow");
            }
            1 => {
                c.greeted(now);
                greeted = c.is_active();
            }
            2 => c.heard(now),
            3 => {
                c.closed(now);
                (open, greeted) = (false, false);
                assert!(!c.is_active());
                if dials {
                    let pause = c.deadline().expect("a lost connection is dialled again") - now;
                    assert!(pause <= max_backoff, "{pause:?} of {max_backoff:?}");
                } else {
                    assert_eq!(c.deadline(), None, "nobody dials an accepted connection again");
                }
            }
            4 => now += Duration::from_millis((arg as u64) << (event >> 4)),
            _ => {
                if let Some(d) = c.deadline() {
                    now = now.max(d);
                }
            }
        }
        match c.run(now) {
            Some(Todo::Connect) => {
                assert!(dials && !open, "a dial while one is under way");
                open = true;
            }
            Some(Todo::Probe) => assert!(c.is_active() && probe.is_some()),
            Some(Todo::Disconnect(_)) => {
                c.closed(now);
                (open, greeted) = (false, false);
            }
            None => assert!(c.deadline().is_none_or(|d| d > now), "it sleeps past its deadline"),
        }
        assert!(!c.is_active() || greeted, "messages flow before HELLO");
    }
    // And versions: whatever two peers say, they agree only on what both speak.
    if let [a, b, c, d, version, with_bitmap, ..] = *events {
        let ours = u32::from_be_bytes([a, b, c, d]) & !1;
        let theirs = (with_bitmap & 1 == 1).then(|| u32::from_be_bytes([d, c, b, a]));
        if let Ok(v) = negotiate(ours, version, theirs) {
            assert!(ours & (1 << v) != 0);
            assert!(theirs.is_none_or(|t| t & (1 << v) != 0) && (theirs.is_some() || v <= version));
        }
    }
}
