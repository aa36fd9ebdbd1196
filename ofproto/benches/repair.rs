//! How long a flow-mod takes to become effective while a PMD forwards, and how long the PMD is kept from its queue meanwhile:
//! `cargo bench -p ofproto --bench repair [-- MEGAFLOWS]`. Needs two cores: control runs on 0, the PMD on 1.
//!
//! The port is in memory: it makes TCP packets to so many addresses in turn, and notes the longest time between two looks at it; on the
//! wall's clock, and on that of its processor, which stands still while others have the core.

use datapath::packet::{Batch, Packet};
use datapath::port::{Port, PortError, PortInfo, PortStats, Rxq, Txq};
use datapath::DatapathConfig;
use ofproto::conn::manager::{Backend, ConnId};
use ofproto::{BridgeConfig, BridgeId, PortSpec, Switch};
use openflow::msg::{FlowMod, FlowModCommand, OfMessage};
use openflow::{Action, Field, Instruction, Match, PortNo, TableId};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shared with the port's queue.
#[derive(Default)]
struct Looks {
    longest_ns: AtomicU64,
    longest_cpu_ns: AtomicU64,
    /// Looks that came more than a millisecond after the one before.
    late: AtomicU64,
    sent: AtomicU64,
}

struct Source {
    looks: Arc<Looks>,
    last: Option<(Instant, u64)>,
    addresses: u32,
    next: u32,
    frame: Vec<u8>,
}

impl Rxq for Source {
    fn recv(&mut self, batch: &mut Batch) -> usize {
        let (now, cpu) = (Instant::now(), datapath::sys::thread_cpu_ns());
        if let Some((last, last_cpu)) = self.last.replace((now, cpu)) {
            let ns = now.duration_since(last).as_nanos() as u64;
            self.looks.longest_cpu_ns.fetch_max(cpu - last_cpu, Ordering::Relaxed);
            self.looks.longest_ns.fetch_max(ns, Ordering::Relaxed);
            self.looks.late.fetch_add(u64::from(ns > 1_000_000), Ordering::Relaxed);
        }
        let mut n = 0;
        while n < 8 && !batch.is_full() {
            self.next = (self.next + 1) % self.addresses;
            self.frame[30..34].copy_from_slice(&address(self.next).to_be_bytes());
            batch.push(Packet::from_bytes(&self.frame));
            n += 1;
        }
        n
    }
}

struct Sink(Arc<Looks>);

impl Txq for Sink {
    fn send(&mut self, batch: &mut Batch) {
        self.0.sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
        batch.clear();
    }
}

struct Memory {
    name: &'static str,
    rxq: Option<Source>,
    looks: Arc<Looks>,
}

impl Port for Memory {
    fn info(&self) -> PortInfo {
        PortInfo {
            name: self.name.into(),
            kind: "memory".into(),
            mtu: 1500,
            link_up: true,
            admin_up: true,
            present: true,
            ..PortInfo::default()
        }
    }
    fn stats(&self) -> PortStats {
        PortStats::default()
    }
    fn take_rxqs(&mut self) -> Vec<Box<dyn Rxq>> {
        self.rxq.take().into_iter().map(|q| Box::new(q) as Box<dyn Rxq>).collect()
    }
    fn new_txq(&mut self) -> Result<Box<dyn Txq>, PortError> {
        Ok(Box::new(Sink(self.looks.clone())))
    }
    fn set_mtu(&mut self, _: u32) -> Result<(), PortError> {
        Ok(())
    }
    fn set_admin_up(&mut self, _: bool) -> Result<(), PortError> {
        Ok(())
    }
}

/// Spread, so that prefixes do not stand for many of them.
fn address(i: u32) -> u32 {
    i.wrapping_mul(0x9e37_79b1)
}

fn frame() -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    f.extend([0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 0, 0, 0, 0]);
    f.extend([0x10, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
    f.resize(60, 0);
    f
}

fn to(address: u32, priority: u16, port: u32) -> FlowMod {
    let output = Action::Output { port: PortNo(port), max_len: 0 };
    FlowMod {
        priority,
        table_id: TableId(0),
        matching: Match::new().with(Field::EthType, 0x0800).with(Field::Ipv4Dst, address.into()),
        instructions: vec![Instruction::ApplyActions(vec![output])].into(),
        ..FlowMod::default()
    }
}

struct Bench {
    switch: Switch,
    bridge: BridgeId,
    looks: Arc<Looks>,
}

impl Bench {
    fn say(&mut self, m: FlowMod) {
        let m = OfMessage::new(1u32, m);
        let mut view = self.switch.view(self.bridge);
        view.handle(Instant::now(), ConnId(1), &m, None, &mut Vec::new()).expect("taken");
    }
    /// Until all workers obey what was said: what a barrier waits for.
    fn barrier(&mut self) {
        let version = self.switch.view(self.bridge).publish();
        while self.switch.view(self.bridge).synced() < version {
            self.run();
        }
    }
    fn run(&mut self) {
        self.switch.run(Instant::now());
        while self.switch.next_event().is_some() {}
    }
    fn run_for(&mut self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.run();
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    fn megaflows(&mut self) -> u64 {
        self.switch.memory().iter().find(|m| m.0 == "megaflows").map_or(0, |m| m.1)
    }
    fn reset(&mut self) {
        self.looks.longest_ns.store(0, Ordering::Relaxed);
        self.looks.longest_cpu_ns.store(0, Ordering::Relaxed);
        self.looks.late.store(0, Ordering::Relaxed);
    }
    fn report(&mut self, what: &str, mut took: Vec<Duration>) {
        // What the worker still has to do is part of it.
        self.run_for(Duration::from_millis(20));
        took.sort();
        let us = |d: Duration| d.as_secs_f64() * 1e6;
        println!(
            "{what}: effective after {:.0} us (median of {}; longest {:.0} us); PMD away from its queue for {:.0} us at most, more than 1 ms {} times ({:.0} us of its own time at most)",
            us(took[took.len() / 2]),
            took.len(),
            us(took[took.len() - 1]),
            self.looks.longest_ns.load(Ordering::Relaxed) as f64 / 1e3,
            self.looks.late.load(Ordering::Relaxed),
            self.looks.longest_cpu_ns.load(Ordering::Relaxed) as f64 / 1e3,
        );
    }
    fn timed(&mut self, what: &str, times: u32, mut f: impl FnMut(u32) -> FlowMod) {
        self.run_for(Duration::from_millis(100));
        self.reset();
        let mut took = Vec::new();
        for i in 0..times {
            let m = f(i);
            let begun = Instant::now();
            self.say(m);
            self.barrier();
            took.push(begun.elapsed());
            self.run_for(Duration::from_millis(2));
        }
        self.report(what, took);
    }
}

fn main() {
    let n: u32 = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(200_000);
    datapath::sys::pin_to_core(0).expect("core 0");
    let now = Instant::now();
    let looks = Arc::new(Looks::default());
    let mut config = DatapathConfig { flow_limit: 2 * n as usize, ..Default::default() };
    config.pmd.cores = vec![1];
    let mut switch = Switch::new(config, Arc::new(|| ()), now).expect("switch");
    let memory = |name, rxq| Some(Box::new(Memory { name, rxq, looks: looks.clone() }) as Box<dyn Port>);
    let bridge = switch.add_bridge_on(now, BridgeConfig::new("br0", 1), memory("br0", None)).expect("bridge");
    let mut b = Bench { switch, bridge, looks: looks.clone() };
    for i in 0..n {
        b.say(to(address(i), 100, 2));
    }
    b.barrier();
    let spec = |name: &str| PortSpec { name: name.into(), kind: "memory".into(), ..PortSpec::default() };
    let source = Source { looks: looks.clone(), last: None, addresses: n, next: 0, frame: frame() };
    b.switch.add_port_on(now, bridge, spec("out"), memory("out", None)).expect("port");
    b.switch.add_port_on(now, bridge, spec("out2"), memory("out2", None)).expect("port");
    b.switch.add_port_on(now, bridge, spec("in"), memory("in", Some(source))).expect("port");
    let begun = Instant::now();
    while b.megaflows() < u64::from(n) && begun.elapsed() < Duration::from_secs(60) {
        b.run_for(Duration::from_millis(10));
    }
    println!("{} megaflows after {:.1} s", b.megaflows(), begun.elapsed().as_secs_f64());
    let before = looks.sent.load(Ordering::Relaxed);
    b.reset();
    b.run_for(Duration::from_secs(1));
    let rate = looks.sent.load(Ordering::Relaxed) - before;
    b.report(&format!("nothing ({rate} packets/s)"), vec![Duration::ZERO]);
    b.timed("add that one megaflow is under", 200, |i| to(address(i), 200, 1));
    b.timed("delete of an entry that one megaflow is under", 200, |i| FlowMod {
        command: FlowModCommand::DELETE_STRICT,
        ..to(address(i), 200, 1)
    });
    b.timed("add of a new mask that no megaflow is under", 50, |i| FlowMod {
        matching: to(0, 0, 1).matching.with(Field::IpProto, 17).with(Field::UdpDst, (i + 1).into()),
        ..to(0, 300, 1)
    });
    // Half of the megaflows, by a bit that each has its own value of.
    let base = b.megaflows();
    b.timed(&format!("add that half of {base} megaflows are under"), 1, |_| FlowMod {
        matching: Match::new().with(Field::EthType, 0x0800).with_masked(Field::Ipv4Dst, 0, 1),
        ..to(0, 350, 1)
    });
    b.timed("delete of that entry", 1, |_| FlowMod {
        command: FlowModCommand::DELETE_STRICT,
        matching: Match::new().with(Field::EthType, 0x0800).with_masked(Field::Ipv4Dst, 0, 1),
        ..to(0, 350, 1)
    });
    let begun = Instant::now();
    while b.megaflows() < u64::from(n) && begun.elapsed() < Duration::from_secs(10) {
        b.run_for(Duration::from_millis(10));
    }
    println!("{} megaflows again after {:.1} s", b.megaflows(), begun.elapsed().as_secs_f64());
    let base = b.megaflows();
    b.timed(&format!("add that all of {base} megaflows are under"), 1, |_| FlowMod {
        matching: Match::new().with(Field::EthType, 0x0800),
        ..to(0, 400, 1)
    });
    b.run_for(Duration::from_millis(300));
    println!("{} megaflows then", b.megaflows());
    // Loading, 100,000 at a time as they come from a connection.
    b.run_for(Duration::from_millis(200));
    b.reset();
    let begun = Instant::now();
    for i in 0..100_000u32 {
        b.say(FlowMod { table_id: TableId(1), ..to(address(i), 100, 1) });
        if i % 1000 == 999 {
            b.barrier();
        }
    }
    let took = begun.elapsed();
    b.report("100,000 adds, a barrier each 1000", vec![took]);
}
