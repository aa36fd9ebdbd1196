//! The contract of the barrier: once its reply is sent, no packet is handled by an older table.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::alone;
use tests::controller::{apply, output, oxm_in_port, set_eth_dst, Peer};
use tests::frames::{ether, Wire};
use tests::switch::Lab;

/// Numbered frames flow at full speed while a rule is rewritten again and again; it writes the number of its round into each
/// frame. A frame sent after the barrier reply of round k must carry k or more.
#[test]
fn no_packet_after_a_barrier_reply_is_handled_by_an_older_table() {
    const ROUNDS: u32 = 300;
    let _quiet = alone();
    let lab = Lab::new(2, &[]);
    let mut peer = Peer::connect(&lab.switch.run_dir().join("br0.mgmt"));
    let program = |peer: &mut Peer, round: u32| {
        let [a, b, c, d] = round.to_be_bytes();
        let actions = [set_eth_dst([2, 0xee, a, b, c, d]), output(2)].concat();
        peer.flow_mod(0, 10, 0, &oxm_in_port(1), &apply(&actions));
        peer.barrier();
    };
    program(&mut peer, 0);

    let sent = Arc::new(AtomicU32::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let tx = Wire::open(lab.host(1), "eth0");
    let rx = Wire::open(lab.host(2), "eth0");
    let sender = {
        let (sent, stop) = (sent.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let n = sent.load(Ordering::Relaxed) + 1;
                let frame = ether(2, 1, 0x88b5, &n.to_be_bytes());
                if tx.try_send(&frame).is_ok() {
                    sent.store(n, Ordering::SeqCst);
                }
                if n % 16 == 0 {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        })
    };
    let receiver = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let mut seen: Vec<(u32, u32)> = Vec::new();
            loop {
                match rx.recv(Duration::from_millis(300)) {
                    Some(f) if f[12..14] == [0x88, 0xb5] => {
                        let word = |at: usize| u32::from_be_bytes([f[at], f[at + 1], f[at + 2], f[at + 3]]);
                        seen.push((word(14), word(2)));
                    }
                    Some(_) => {}
                    None if stop.load(Ordering::Relaxed) => return seen,
                    None => {}
                }
            }
        })
    };
    // effective[i]: frames numbered above .0 were sent after the barrier reply of round .1.
    let mut effective = vec![(0, 0)];
    let begun = Instant::now();
    for round in 1..=ROUNDS {
        program(&mut peer, round);
        effective.push((sent.load(Ordering::SeqCst) + 1, round));
        if round % 10 == 0 {
            std::thread::sleep(Duration::from_millis(3));
        }
    }
    let took = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    sender.join().expect("sender");
    let seen = receiver.join().expect("receiver");

    let total = sent.load(Ordering::SeqCst);
    assert!(total > 500, "only {total} frames were sent in {took:?}: nothing was tested");
    assert!(seen.len() as u32 > total / 2, "{} of {total} frames arrived", seen.len());
    for (number, mark) in &seen {
        let due = effective.iter().rev().find(|(above, _)| number > above).map_or(0, |(_, round)| *round);
        assert!(
            *mark >= due && *mark <= ROUNDS,
            "frame {number} was handled by the table of round {mark} after the barrier reply of round {due}"
        );
    }
}
