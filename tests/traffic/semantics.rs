//! Rates, shares and reactions on real interfaces: what the text cases show on a clock of their own.
//!
//! The machine may be busy. So nothing is judged by when this process gets to run: arrivals bear the kernel's time, sent frames a number and the
//! sender's time, and a rate is the median over many stretches, which a pause of either side hardly moves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tests::alone;
use tests::frames::{checksum, ether, udp, Wire};
use tests::netns::Netns;
use tests::switch::Lab;
use tests::wait_for;

/// A UDP frame of `len` bytes from host 1 to host 2, with this type of service.
fn datagram(len: usize, tos: u8, sport: u16, dport: u16) -> Vec<u8> {
    let mut p = udp([10, 0, 0, 1], [10, 0, 0, 2], sport, dport, &vec![0; len - 42]);
    p[1] = tos;
    p[10..12].fill(0);
    let sum = checksum(&p[..20], 0);
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    ether(2, 1, 0x0800, &p)
}

fn word(f: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([f[at], f[at + 1]])
}

/// Everything that comes to a host: `pick` of it, with the kernel's time in seconds.
struct Collector<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(f64, T)>>,
}

impl<T: Send + 'static> Collector<T> {
    fn start(host: &Netns, pick: impl Fn(&[u8]) -> Option<T> + Send + 'static) -> Self {
        let (rx, stop) = (Wire::open(host, "eth0"), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut all = Vec::new();
            loop {
                // Asked for before it is looked whether more comes, so that nothing is left behind.
                let last = stopped.load(Ordering::Relaxed);
                match rx.recv_at(Duration::from_millis(200)) {
                    Some((at, f)) => all.extend(pick(&f).map(|t| (at.as_secs_f64(), t))),
                    None if last => return all,
                    None => {}
                }
            }
        });
        Self { stop, thread }
    }
    fn end(self) -> Vec<(f64, T)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the receiver")
    }
}

/// Sends these frames in turn, `rounds` a second, by the clock (what was missed is made up for); how many of each.
fn offer(host: &Netns, frames: &[Vec<u8>], rounds: u64, time: Duration) -> u64 {
    let (tx, start) = (Wire::open(host, "eth0"), Instant::now());
    let mut sent = 0;
    while start.elapsed() < time {
        let due = (start.elapsed().as_secs_f64() * rounds as f64) as u64;
        // Never more at once than the switch's ring holds.
        for _ in 0..due.saturating_sub(sent).min(100) {
            for f in frames {
                while tx.try_send(f).is_err() {
                    std::thread::yield_now();
                }
            }
            sent += 1;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    sent
}

/// Arrivals a second, once `skip` of them have come: the median over all stretches of `n`.
fn rate(times: &[f64], skip: usize, n: usize) -> f64 {
    let t = &times[skip.min(times.len())..];
    assert!(t.len() > 2 * n, "only {} arrivals", times.len());
    let mut spans: Vec<f64> = t.windows(n + 1).map(|w| w[n] - w[0]).collect();
    spans.sort_by(f64::total_cmp);
    n as f64 / spans[spans.len() / 2]
}

fn near(what: &str, got: f64, want: f64, percent: f64) {
    println!("{what}: {got:.1}, expected {want:.1} ({:+.2} %)", 100.0 * (got / want - 1.0));
    assert!(
        (got - want).abs() <= want * percent / 100.0,
        "{what}: {got:.1}, expected {want:.1} within {percent} %"
    );
}

/// The numbers after `key` in the answer of `meter-stats` for one meter: the meter's own first or the bands'.
fn figures(text: &str, key: &str) -> Vec<u64> {
    text.split(key)
        .skip(1)
        .map(|t| t.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("").parse().expect(key))
        .collect()
}

#[test]
fn meters_hold_their_rates_within_two_percent() {
    let _quiet = alone();
    let lab = Lab::new(2, &[]);
    const DROP_PPS: u16 = 1;
    const DROP_KBPS: u16 = 2;
    const REMARK: u16 = 3;
    const BOTH: u16 = 4;
    for (id, meter) in [
        (DROP_PPS, "pktps,burst,bands=type=drop,rate=1000,burst_size=700"),
        (DROP_KBPS, "kbps,burst,bands=type=drop,rate=4000,burst_size=2000"),
        (REMARK, "pktps,burst,bands=type=dscp_remark,prec_level=1,rate=500,burst_size=300"),
        (
            BOTH,
            "pktps,burst,bands=type=dscp_remark,prec_level=1,rate=400,burst_size=100,type=drop,rate=1000,burst_size=500",
        ),
    ] {
        lab.switch.ofctl(&["add-meter", "br0", &format!("meter={id},{meter}")]);
        lab.switch.ofctl(&[
            "add-flow",
            "br0",
            &format!("in_port=1,udp,tp_dst={id},actions=meter:{id},output:2"),
        ]);
    }
    // AF11; remarked it is AF12.
    let (af11, af12) = (10 << 2, 12 << 2);
    let got = Collector::start(lab.host(2), move |f| {
        (f[12..14] == [8, 0] && f[23] == 17).then(|| {
            assert_eq!(checksum(&f[14..34], 0), 0, "the header's checksum, remarked or not");
            (word(f, 36), f[15])
        })
    });
    // 1000 bytes are 8 kbit: 500 packets a second in 4000 kbps.
    let frames: Vec<_> = [(60, DROP_PPS), (1000, DROP_KBPS), (60, REMARK), (60, BOTH)]
        .map(|(n, p)| datagram(n, af11, 9, p))
        .into();
    let sent = offer(lab.host(1), &frames, 2500, Duration::from_secs(4));
    let got = got.end();
    let times = |id: u16, tos: Option<u8>| -> Vec<f64> {
        got.iter().filter(|(_, (p, t))| *p == id && tos.is_none_or(|w| w == *t)).map(|(at, _)| *at).collect()
    };
    // A full bucket first, then the rate, exactly: a drop bucket of 700 at 1000/s that fills while 2500/s come is empty after half a second.
    for (what, id, tos, pps, burst) in [
        ("drop by packets", DROP_PPS, None, 1000.0, 700.0),
        ("drop by bits", DROP_KBPS, None, 500.0, 250.0),
        ("below the remark band", REMARK, Some(af11), 500.0, 300.0),
        ("below both bands", BOTH, Some(af11), 400.0, 100.0),
        ("below the drop band of two", BOTH, None, 1000.0, 500.0),
    ] {
        let t = times(id, tos);
        // Twice what comes before it is empty.
        let full = burst * 2500.0 / (2500.0 - pps);
        near(what, rate(&t, 2 * full as usize, 400.min(t.len() / 4)), pps, 2.0);
        let total = burst + pps * (t[t.len() - 1] - t[0]);
        near(&format!("{what}, with its burst"), t.len() as f64, total, 2.0);
    }
    assert!(got.iter().all(|(_, (_, tos))| [af11, af12].contains(tos)));
    assert_eq!(times(REMARK, None).len() as u64, sent, "a remarked packet is not dropped");
    // Its own books say the same.
    for (id, last) in [(DROP_PPS, 1), (DROP_KBPS, 1), (BOTH, 2)] {
        let text = lab.switch.ofctl(&["meter-stats", "br0", &format!("meter={id}")]);
        let (came, acted) = (figures(&text, "packet_in_count:")[0], figures(&text, "packet_count:"));
        assert_eq!(came, sent, "{text}");
        assert_eq!(came - acted[last - 1], times(id, None).len() as u64, "{text}");
    }
    let text = lab.switch.ofctl(&["meter-stats", "br0", &format!("meter={REMARK}")]);
    assert_eq!(figures(&text, "packet_count:")[0], times(REMARK, Some(af12)).len() as u64, "{text}");
}

#[test]
fn queues_hold_their_most_and_their_least_rate() {
    let _quiet = alone();
    let lab = Lab::new(3, &[]);
    const CAPPED: u16 = 1;
    const ASSURED: u16 = 2;
    const OTHER: u16 = 3;
    lab.switch.ofctl(&["set-queue", "br0", "p2", "1", "max-rate=4M"]);
    lab.switch.ofctl(&["set-queue", "br0", "p3", "port", "max-rate=8M"]);
    lab.switch.ofctl(&["set-queue", "br0", "p3", "1", "min-rate=6M"]);
    for (id, actions) in
        [(CAPPED, "set_queue:1,output:2"), (ASSURED, "set_queue:1,output:3"), (OTHER, "output:3")]
    {
        lab.switch.ofctl(&["add-flow", "br0", &format!("in_port=1,udp,tp_dst={id},actions={actions}")]);
    }
    let port_of = |f: &[u8]| (f[12..14] == [8, 0] && f[23] == 17).then(|| word(f, 36));
    let (two, three) = (Collector::start(lab.host(2), port_of), Collector::start(lab.host(3), port_of));
    // 1000 bytes are 8 kbit: 12 Mbit/s of each.
    let frames = [CAPPED, ASSURED, OTHER].map(|p| datagram(1000, 0, 9, p));
    let sent = offer(lab.host(1), &frames, 1500, Duration::from_secs(4));
    // What waits goes on at its rate.
    std::thread::sleep(Duration::from_millis(700));
    let (two, three) = (two.end(), three.end());
    let times = |all: &[(f64, u16)], id: Option<u16>| -> Vec<f64> {
        all.iter().filter(|(_, p)| id.is_none_or(|w| w == *p)).map(|(at, _)| *at).collect()
    };
    near("most rate of a queue", rate(&times(&two, None), 50, 200), 500.0, 2.0);
    near("most rate of a port", rate(&times(&three, None), 50, 300), 1000.0, 2.0);
    let assured = rate(&times(&three, Some(ASSURED)), 50, 200);
    println!("least rate of a queue: {assured:.1} of 750");
    assert!(assured >= 750.0 * 0.98, "{assured} of 750 packets/s");
    assert!(!times(&three, Some(OTHER)).is_empty(), "what the queue leaves goes to others");
    // Its own books: what came left or was dropped because the queue was full.
    let text = lab.switch.ovs_ofctl(&["queue-stats", "br0", "2", "1"]);
    let (left, dropped) = (figures(&text, "pkts=")[0], figures(&text, "errors=")[0]);
    assert_eq!((left, left + dropped), (two.len() as u64, sent), "{text}");
    assert!(dropped > 0);
    assert!(lab.switch.ovs_ofctl(&["queue-get-config", "br0", "2"]).contains("max_rate:"));
}

/// Frames with a number and the sender's time, one after the other; the time of each.
fn stream(host: &Netns, stop: Arc<AtomicBool>, start: Instant) -> JoinHandle<Vec<Duration>> {
    let tx = Wire::open(host, "eth0");
    std::thread::spawn(move || {
        let mut times: Vec<Duration> = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let n = times.len() as u32;
            if tx.try_send(&ether(2, 1, 0x88b5, &n.to_be_bytes())).is_ok() {
                times.push(start.elapsed());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        times
    })
}

#[test]
fn fast_failover_takes_the_other_port_within_fifty_milliseconds() {
    const ROUNDS: usize = 5;
    let _quiet = alone();
    let lab = Lab::new(3, &[]);
    let group = "group_id=1,type=ff,bucket=watch_port:2,output:2,bucket=watch_port:3,output:3";
    lab.switch.ofctl(&["add-group", "br0", group]);
    lab.switch.ofctl(&["add-flow", "br0", "in_port=1,actions=group:1"]);
    let number = |f: &[u8]| {
        (f[12..14] == [0x88, 0xb5]).then(|| u32::from_be_bytes([f[14], f[15], f[16], f[17]]) as usize)
    };
    let (stop, start) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let two = Collector::start(lab.host(2), number);
    let three = Collector::start(lab.host(3), number);
    let sender = stream(lab.host(1), stop.clone(), start);
    let live = |up: bool| {
        wait_for("the port's state", Duration::from_secs(5), || {
            let text = lab.switch.ovs_ofctl(&["dump-ports-desc", "br0", "2"]);
            (text.contains("LINK_DOWN") != up).then_some(())
        });
    };
    let mut downs = Vec::new();
    for _ in 0..ROUNDS {
        std::thread::sleep(Duration::from_millis(100));
        let before = start.elapsed();
        lab.host(2).sh("ip link set eth0 down");
        downs.push((before, start.elapsed()));
        live(false);
        std::thread::sleep(Duration::from_millis(60));
        lab.host(2).sh("ip link set eth0 up");
        live(true);
    }
    std::thread::sleep(Duration::from_millis(200));
    stop.store(true, Ordering::Relaxed);
    let sent = sender.join().expect("the sender");
    let came = |all: Vec<(f64, usize)>| -> Vec<bool> {
        let mut seen = vec![false; sent.len()];
        all.into_iter().for_each(|(_, n)| seen[n] = true);
        seen
    };
    let (two, three) = (came(two.end()), came(three.end()));
    // By the sender's clock: of the frames sent after the link went, how long were any lost? (The link goes while `ip` runs.)
    let mut took = Vec::new();
    for (before, after) in &downs {
        let at = |t: &Duration| sent.partition_point(|s| s < t);
        let (from, to) = (at(before), at(&(*after + Duration::from_millis(60))));
        let last_there = (from..to).rev().find(|n| two[*n]).map_or(*before, |n| sent[n]);
        let lost = (from..to).filter(|n| !two[*n] && !three[*n]).map(|n| sent[n]).max();
        assert!((from..to).any(|n| three[n]), "nothing came to port 3");
        took.push(lost.map_or(Duration::ZERO, |l| l.saturating_sub(last_there)));
    }
    took.sort();
    println!("frames were lost for {took:?} after the link went down");
    assert!(took[ROUNDS / 2] <= Duration::from_millis(50), "{took:?}");
}

/// Where each of `n` flows goes: sends a frame of each until all have come.
fn flows_by_host(lab: &Lab, hosts: std::ops::RangeInclusive<usize>, n: u32) -> BTreeMap<u32, usize> {
    let tx = Wire::open(lab.host(1), "eth0");
    let flow = |f: &[u8]| {
        (f[12..14] == [8, 0] && f[23] == 17).then(|| u32::from(word(f, 34)) * 100 + u32::from(word(f, 36)))
    };
    let mut seen = BTreeMap::new();
    for _ in 0..20 {
        let collectors: Vec<_> = hosts.clone().map(|h| (h, Collector::start(lab.host(h), flow))).collect();
        for k in (0..n).filter(|k| !seen.contains_key(k)) {
            let f = datagram(60, 0, (k / 100) as u16, (k % 100) as u16);
            while tx.try_send(&f).is_err() {
                std::thread::yield_now();
            }
            if k % 64 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        for (h, c) in collectors {
            for (_, k) in c.end() {
                let other = seen.insert(k, h);
                assert!(other.is_none_or(|o| o == h), "flow {k} went to host {h} and {other:?}");
            }
        }
        if seen.len() == n as usize {
            return seen;
        }
    }
    panic!("only {} of {n} flows came through", seen.len());
}

#[test]
fn select_shares_by_weight_within_one_percent_and_moves_few_flows() {
    const N: u32 = 40_000;
    let _quiet = alone();
    let lab = Lab::new(4, &[]);
    let buckets = |w: [u32; 3]| {
        let b = w.iter().enumerate().filter(|(_, w)| **w > 0);
        let b: Vec<_> = b.map(|(i, w)| format!(",bucket=weight:{w},output:{}", i + 2)).collect();
        format!("group_id=1,type=select{}", b.concat())
    };
    let share = |flows: &BTreeMap<u32, usize>, w: [u32; 3]| {
        let sum: u32 = w.iter().sum();
        for (i, w) in w.iter().enumerate() {
            let got = flows.values().filter(|h| **h == i + 2).count() as f64 / f64::from(N);
            let want = f64::from(*w) / f64::from(sum);
            println!("bucket {i}: {:.2} % of the flows, weight {:.2} %", 100.0 * got, 100.0 * want);
            assert!((got - want).abs() <= 0.01, "bucket {i}: {got:.4} of the flows, expected {want:.4}");
        }
    };
    let moved = |a: &BTreeMap<u32, usize>, b: &BTreeMap<u32, usize>| {
        a.iter().filter(|(k, h)| b[k] != **h).count() as f64 / f64::from(N)
    };
    lab.switch.ofctl(&["add-group", "br0", &buckets([1, 2, 5])]);
    lab.switch.ofctl(&["add-flow", "br0", "in_port=1,udp,actions=group:1"]);
    let first = flows_by_host(&lab, 2..=4, N);
    share(&first, [1, 2, 5]);
    // Another weight: only the difference moves (5/8 to 2/5).
    lab.switch.ofctl(&["mod-group", "br0", &buckets([1, 2, 2])]);
    let second = flows_by_host(&lab, 2..=4, N);
    share(&second, [1, 2, 2]);
    let n = moved(&first, &second);
    println!("{:.2} % of the flows moved, at least 22.5 % had to", 100.0 * n);
    assert!(n <= 0.225 + 0.01, "{n}");
    // A bucket less: nobody else's flow moves.
    lab.switch.ofctl(&["mod-group", "br0", &buckets([1, 2, 0])]);
    let third = flows_by_host(&lab, 2..=4, N);
    share(&third, [1, 2, 0]);
    assert!(second.iter().all(|(k, h)| *h == 4 || third[k] == *h), "a flow moved that had no need to");
}
