//! Measures ports alone: forwards everything from one port to another (or counts and drops) for some seconds, as a busy-polling or a
//! waiting loop, without looking at the packets.
//!
//! `portio [--core N] [--seconds S] [--wait] [--both] [--dpdk "EAL ARGS"] RX [TX]`, ports as in `ofswitchd --port`: `NAME,type=T,KEY=VALUE,...`;
//! `--both` forwards in both directions, `--wait` sleeps in poll(2) while nothing comes, as an epoll worker does. `--pair` tells the cost of each step on one
//! thread, whatever else the machine does: bursts of 32 UDP frames of 64 bytes go out by TX, whose wire ends in RX, and are received there,
//! and with a third port sent on by that.
//! `--generate` sends such bursts by the one port named, as fast as it goes.

use std::time::{Duration, Instant};

use datapath::packet::Batch;
use datapath::port::{self, Port, PortConfig, Rxq, Txq};

fn spec(text: &str) -> PortConfig {
    let mut c =
        PortConfig { name: text.split(',').next().unwrap_or_default().into(), ..PortConfig::default() };
    let mut rest = text.get(c.name.len() + 1..).unwrap_or_default();
    while !rest.is_empty() {
        let (k, v) = rest.split_once('=').expect("KEY=VALUE");
        // DPDK arguments come last and take the rest.
        let end = if k == "devargs" { v.len() } else { v.find(',').unwrap_or(v.len()) };
        if k == "type" {
            c.kind = v[..end].into();
        } else {
            c.options.insert(k.into(), v[..end].into());
        }
        rest = v.get(end + 1..).unwrap_or_default();
    }
    c
}

struct Way {
    rx: Vec<Box<dyn Rxq>>,
    tx: Option<Box<dyn Txq>>,
}

/// CPU time of sending (which on a veth includes the way to the other end's queue) and of receiving; with `on`, of receiving and sending on by it.
fn pair(rx: &mut dyn Rxq, tx: &mut dyn Txq, mut on: Option<&mut dyn Txq>, seconds: f64) {
    let frame = frame();
    let (start, mut batch, mut sent, mut got, mut send_ns, mut recv_ns) =
        (Instant::now(), Batch::new(), 0u64, 0u64, 0, 0);
    while start.elapsed() < Duration::from_secs_f64(seconds) {
        for _ in 0..32 {
            batch.push(datapath::packet::Packet::from_bytes(&frame));
        }
        let a = datapath::port::sys::thread_cpu_ns();
        tx.send(&mut batch);
        tx.flush();
        let b = datapath::port::sys::thread_cpu_ns();
        let mut k = 0;
        for _ in 0..4 {
            k += rx.recv(&mut batch);
            match &mut on {
                Some(t) => {
                    t.send(&mut batch);
                    t.flush();
                }
                None => batch.clear(),
            }
            if k >= 32 {
                break;
            }
        }
        recv_ns += datapath::port::sys::thread_cpu_ns() - b;
        (sent, got, send_ns) = (sent + 32, got + k as u64, send_ns + b - a);
    }
    println!(
        "{sent} sent at {:.0} ns, {got} {} at {:.0} ns a packet",
        send_ns as f64 / sent as f64,
        if on.is_some() { "forwarded" } else { "received" },
        recv_ns as f64 / got.max(1) as f64
    );
}

/// 64 bytes of UDP.
fn frame() -> [u8; 64] {
    let mut frame = [0u8; 64];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    frame[14..34]
        .copy_from_slice(&[0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 17, 0x26, 0xb9, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame[34..40].copy_from_slice(&[4, 0, 0, 80, 0, 30]);
    frame
}

fn generate(tx: &mut dyn Txq, seconds: f64) {
    let (frame, start, cpu) = (frame(), Instant::now(), datapath::port::sys::thread_cpu_ns());
    let (mut sent, mut batch) = (0u64, Batch::new());
    while start.elapsed() < Duration::from_secs_f64(seconds) {
        for _ in 0..64 {
            for _ in 0..32 {
                batch.push(datapath::packet::Packet::from_bytes(&frame));
            }
            tx.send(&mut batch);
            tx.flush();
            sent += 32;
        }
    }
    let cpu = datapath::port::sys::thread_cpu_ns() - cpu;
    println!(
        "offered {:.3} Mpps, {:.0} ns of CPU a packet",
        sent as f64 / start.elapsed().as_secs_f64() / 1e6,
        cpu as f64 / sent as f64
    );
}

fn main() {
    let (mut core, mut seconds, mut wait, mut both, mut alone) = (None, 5.0, false, false, false);
    let mut generating = false;
    let mut ports = Vec::<Box<dyn Port>>::new();
    let mut args = std::env::args().skip(1);
    let mut specs = Vec::new();
    while let Some(a) = args.next() {
        let mut value = || args.next().expect("a value");
        match a.as_str() {
            "--core" => core = Some(value().parse::<usize>().expect("a number")),
            "--seconds" => seconds = value().parse::<f64>().expect("a number"),
            "--wait" => wait = true,
            "--both" => both = true,
            "--pair" => alone = true,
            "--generate" => generating = true,
            #[cfg(feature = "dpdk")]
            "--dpdk" => {
                datapath::dpdk::eal::init(&value()).unwrap_or_else(|e| panic!("{e}"));
            }
            s => specs.push(spec(s)),
        }
    }
    for s in &specs {
        ports.push(port::open(s).unwrap_or_else(|e| panic!("{e}")));
    }
    let mut ways = Vec::new();
    let n = ports.len();
    for i in 0..if both { n } else { 1 } {
        let rx = ports[i].take_rxqs();
        let tx = (n > 1).then(|| ports[(i + 1) % n].new_txq().expect("a queue"));
        ways.push(Way { rx, tx });
    }
    if let Some(c) = core {
        datapath::sys::pin_to_core(c).expect("pinned");
    }
    if generating {
        return generate(ports[0].new_txq().expect("a queue").as_mut(), seconds);
    }
    if alone {
        let w = &mut ways[0];
        let mut on = (n > 2).then(|| ports[2].new_txq().expect("a queue"));
        let on = on.as_mut().map(|t| t.as_mut() as &mut dyn Txq);
        return pair(w.rx[0].as_mut(), w.tx.as_mut().expect("two ports").as_mut(), on, seconds);
    }
    let fds: Vec<i32> = ways.iter().flat_map(|w| &w.rx).filter_map(|q| q.fd()).collect();
    let (start, cycles, cpu) = (Instant::now(), tsc(), datapath::port::sys::thread_cpu_ns());
    let (mut packets, mut bytes, mut bursts, mut empty) = (0u64, 0u64, 0u64, 0u64);
    let mut batch = Batch::new();
    while start.elapsed() < Duration::from_secs_f64(seconds) {
        for _ in 0..64 {
            let mut any = false;
            for w in &mut ways {
                for q in &mut w.rx {
                    let k = q.recv(&mut batch);
                    if k == 0 {
                        empty += 1;
                        continue;
                    }
                    any = true;
                    bursts += 1;
                    packets += k as u64;
                    bytes += batch.as_slice().iter().map(|p| p.len() as u64).sum::<u64>();
                    match &mut w.tx {
                        Some(t) => {
                            t.send(&mut batch);
                            t.flush();
                        }
                        None => batch.clear(),
                    }
                }
            }
            if !any && wait {
                datapath::port::sys::poll_many(&fds, 10);
            }
        }
    }
    let (t, c) = (start.elapsed().as_secs_f64(), tsc() - cycles);
    let cpu = datapath::port::sys::thread_cpu_ns() - cpu;
    println!(
        "{:.3} Mpps, {:.2} Gbit/s, {:.1} cycles a packet, {:.0} ns of CPU a packet, {:.1} packets a burst, {empty} empty polls",
        packets as f64 / t / 1e6,
        bytes as f64 * 8.0 / t / 1e9,
        c as f64 / packets.max(1) as f64,
        cpu as f64 / packets.max(1) as f64,
        packets as f64 / bursts.max(1) as f64
    );
    for p in &ports {
        println!("{}: {:?}", p.info().name, p.stats());
    }
}

fn tsc() -> u64 {
    datapath::sys::tsc()
}
