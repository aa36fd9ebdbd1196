//! What a new flow costs: translation alone, and the whole upcall (worker and control thread) with every packet a new flow.
//!
//! `cargo bench -p ofproto --bench upcall [-- FILTER]`; `CORE=n` pins the forwarding thread (1). Figures are TSC cycles; for translations the
//! best of many short windows.

use datapath::flow_key::off;
use datapath::packet::{Batch, Packet, BATCH_SIZE};
use datapath::port::{Port, PortError, PortInfo, PortStats, Rxq, Txq};
use datapath::sys::tsc;
use datapath::{Datapath, DatapathConfig, FlowKey, PortId};
use ofproto::api::BridgeId;
use ofproto::flow::mix;
use ofproto::revalidator::{Cache, Place};
use ofproto::snapshot::{BridgeSnap, IdMap, Snapshot, View};
use ofproto::table::{Checks, FlowTables};
use ofproto::upcall::{record, Slow};
use ofproto::xlate::{PortTarget, PortView};
use openflow::msg::FlowModCommand;
use openflow::text::{parse_flow, NoNames};
use openflow::{GroupId, MeterId, PortNo};
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BRIDGE: BridgeId = BridgeId(1);

struct Any;
impl Checks for Any {
    fn group_exists(&self, _: GroupId) -> bool {
        true
    }
    fn meter_exists(&self, _: MeterId) -> bool {
        true
    }
    fn port_ok(&self, _: PortNo) -> bool {
        true
    }
    fn max_table(&self) -> u8 {
        254
    }
}

fn tables(flows: &[String]) -> FlowTables {
    let mut t = FlowTables::new();
    for f in flows {
        let m = parse_flow(f, FlowModCommand::ADD, &NoNames).unwrap_or_else(|e| panic!("{f}: {e}"));
        t.flow_mod(&m, 0, &Any).unwrap_or_else(|e| panic!("{f}: {e:?}"));
    }
    t
}

fn slow_of(flows: &[String]) -> Slow {
    let (mut ports, mut dp_ports) = (BTreeMap::new(), IdMap::default());
    for i in 1..=3 {
        let (target, number) = (PortTarget::Datapath(PortId(i)), PortNo(i));
        ports.insert(
            number,
            PortView { number, target, no_recv: false, no_fwd: false, no_packet_in: false, live: true },
        );
        dp_ports.insert(PortId(i), (BRIDGE, number));
    }
    let bridge =
        BridgeSnap { ports: Arc::new(ports), tables: tables(flows).tables.clone(), ..Default::default() };
    let slow = Slow::new(Arc::new(|| ()), Instant::now());
    slow.snapshot.store(Arc::new(Snapshot {
        meters_slowpath: false,
        version: 1,
        bridges: Arc::new([(BRIDGE, Arc::new(bridge))].into_iter().collect()),
        dp_ports: Arc::new(dp_ports),
    }));
    slow
}

struct Rng(u64);
impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0, 0x5851_f42d)
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }
}

fn ip(v: u32) -> String {
    let [a, b, c, d] = v.to_be_bytes();
    format!("{a}.{b}.{c}.{d}")
}

/// An access list in the manner of ClassBench's acl1: nested prefixes from a few pools, mostly exact destination ports.
fn acl(n: usize) -> Vec<String> {
    let mut r = Rng(7);
    let mut out = Vec::new();
    for i in 0..n {
        let prefix = |r: &mut Rng| {
            let plen = [32, 32, 31, 30, 28, 27, 24, 24, 24, 22, 20, 16, 8][r.below(13) as usize];
            let v = 0x0a00_0000 | (r.below(64) as u32) << 16 | r.below(65536) as u32;
            format!("{}/{plen}", ip(v & (u32::MAX << (32 - plen))))
        };
        let (src, dst) = (prefix(&mut r), prefix(&mut r));
        let proto = ["tcp", "udp"][r.below(2) as usize];
        let port = match r.below(4) {
            0 => String::new(),
            1 => format!(",tp_dst={:#x}/{:#x}", 1024 << r.below(5), 0xfc00),
            _ => format!(",tp_dst={}", r.below(2000)),
        };
        let act = if r.below(4) == 0 { "drop" } else { "output:2" };
        out.push(format!(
            "priority={},{proto},nw_src={src},nw_dst={dst}{port} actions={act}",
            60000 - i % 50000
        ));
    }
    out.push("priority=1 actions=output:2".into());
    out
}

/// Rules, and the packets that meet them.
fn rule_sets() -> Vec<(&'static str, Vec<String>)> {
    let s = |l: &[&str]| l.iter().map(|x| (*x).to_string()).collect::<Vec<_>>();
    let mut new = s(&["priority=1,in_port=1,udp actions=output:2"]);
    new.extend((1..3).map(|i| format!("priority=40000,dl_src=06:00:00:00:00:{i:02x} actions=drop")));
    let mut pipeline = s(&[
        "table=0,in_port=1,udp actions=push_vlan:0x8100,set_field:4196->vlan_vid,goto_table:1",
        "table=1,dl_vlan=100 actions=set_field:02:00:00:00:00:aa->eth_dst,goto_table:2",
        "table=6,udp,tp_dst=80 actions=dec_ttl,goto_table:7",
        "table=7,dl_src=06:00:00:00:00:01 actions=drop",
        "table=7,priority=1 actions=pop_vlan,output:2",
    ]);
    pipeline.extend(
        (2..6).map(|t| format!("table={t},udp,nw_src=10.0.0.0/{} actions=goto_table:{}", 4 + t, t + 1)),
    );
    let l2 = (0..1000u32)
        .map(|i| format!("dl_dst=02:00:00:00:{:02x}:{:02x} actions=output:2", i >> 8, i & 255))
        .chain(["priority=0 actions=output:3".to_string()])
        .collect();
    vec![
        ("one rule, source MAC matters", new),
        ("eight tables", pipeline),
        ("L2 1k", l2),
        ("acl 1k", acl(1000)),
        ("acl 10k", acl(10_000)),
    ]
}

/// Frame of flow `i`: source MAC, source address and ports count on.
fn frame(i: u64, out: &mut [u8; 60]) {
    let r = mix(i, 99);
    *out = [0; 60];
    out[..6].copy_from_slice(&[2, 0, 0, 0, (r >> 8) as u8 & 3, r as u8]);
    out[6..8].copy_from_slice(&[2, 2]);
    out[8..12].copy_from_slice(&(i as u32).to_be_bytes());
    out[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17]);
    out[26..30].copy_from_slice(&(0x0a00_0000 | (i as u32 & 0xff_ffff)).to_be_bytes());
    out[30..34].copy_from_slice(&(0x0a00_0000 | ((r >> 20) as u32 & 0x3f_ffff)).to_be_bytes());
    out[34..36].copy_from_slice(&(1024 + (r >> 50) as u16 % 1000).to_be_bytes());
    out[36..38].copy_from_slice(&(if r >> 63 == 0 { 80 } else { (r >> 44) as u16 % 2000 }).to_be_bytes());
    out[38..40].copy_from_slice(&26u16.to_be_bytes());
}

fn wanted(name: &str) -> bool {
    std::env::args().skip(1).find(|a| !a.starts_with('-')).is_none_or(|f| name.contains(&f))
}

fn translate(name: &str, rules: &[String]) {
    if !wanted("translate") && !wanted(name) {
        return;
    }
    let slow = slow_of(rules);
    let keys: Vec<FlowKey> = (0..4096)
        .map(|i| {
            let (mut f, mut k) = ([0; 60], FlowKey::ZERO);
            frame(i * 7919, &mut f);
            datapath::extract::extract(&f, 1, 0, &mut k);
            k
        })
        .collect();
    let snap = slow.snapshot.load_full();
    let (mut best, mut best_record) = (u64::MAX, u64::MAX);
    for _ in 0..60 {
        for chunk in keys.chunks(512) {
            let t = tsc();
            for k in chunk {
                let view = View::new(&snap, &slow);
                let _ = black_box(slow.translate(&view, k, true, None).map(|o| o.mask.0[3]));
            }
            best = best.min((tsc() - t) / 512);
            let t = tsc();
            for k in chunk {
                let view = View::new(&snap, &slow);
                if let Ok(mut o) = slow.translate(&view, k, true, None) {
                    black_box(record(k, &mut o));
                };
            }
            best_record = best_record.min((tsc() - t) / 512);
        }
    }
    // How many megaflows the microflows make.
    let mut kinds: std::collections::HashSet<(FlowKey, FlowKey)> = Default::default();
    for k in &keys {
        let view = View::new(&snap, &slow);
        if let Ok(o) = slow.translate(&view, k, false, None) {
            kinds.insert((o.mask, k.masked(&o.mask)));
        };
    }
    println!(
        "translate {name:<30} {best:6} TSC, with record {best_record:6}; {} megaflows for {} microflows",
        kinds.len(),
        keys.len()
    );
}

struct Gen {
    next: u64,
    /// New flows a second; 0: as many as it can. Otherwise packets of 64 established flows in between.
    new_per_s: u64,
    sent_new: u64,
    hz: f64,
    tsc0: u64,
}

impl Rxq for Gen {
    fn recv(&mut self, batch: &mut Batch) -> usize {
        let due = if self.new_per_s == 0 {
            u64::MAX
        } else {
            ((tsc() - self.tsc0) as f64 / self.hz * self.new_per_s as f64) as u64
        };
        let mut f = [0; 60];
        for i in 0..BATCH_SIZE as u64 {
            if self.sent_new < due {
                self.sent_new += 1;
                self.next += 1;
                frame(self.next + 1000, &mut f);
            } else {
                frame((self.next + i) % 64, &mut f);
            }
            batch.push(Packet::from_bytes(&f));
        }
        BATCH_SIZE
    }
}

struct Discard;
impl Txq for Discard {
    fn send(&mut self, batch: &mut Batch) {
        batch.clear();
    }
}

struct BenchPort {
    name: String,
    rxq: Option<Box<dyn Rxq>>,
}

impl Port for BenchPort {
    fn info(&self) -> PortInfo {
        PortInfo { name: self.name.clone(), ..PortInfo::default() }
    }
    fn stats(&self) -> PortStats {
        PortStats::default()
    }
    fn take_rxqs(&mut self) -> Vec<Box<dyn Rxq>> {
        self.rxq.take().into_iter().collect()
    }
    fn new_txq(&mut self) -> Result<Box<dyn Txq>, PortError> {
        Ok(Box::new(Discard))
    }
    fn set_mtu(&mut self, _: u32) -> Result<(), PortError> {
        Ok(())
    }
    fn set_admin_up(&mut self, _: bool) -> Result<(), PortError> {
        Ok(())
    }
}

/// New flows for some seconds; what each cost the worker and the control thread.
fn storm(name: &str, rules: &[String], new_per_s: u64) {
    if !wanted("storm") && !wanted(name) {
        return;
    }
    let core = std::env::var("CORE").ok().and_then(|c| c.parse().ok()).unwrap_or(1);
    let secs = std::env::var("SECS").ok().and_then(|c| c.parse().ok()).unwrap_or(3);
    let slow = Arc::new(slow_of(rules));
    let pmd = datapath::rxq::PmdSettings { cores: vec![core], ..Default::default() };
    let config = DatapathConfig { pmd, ..DatapathConfig::default() };
    let dp = Arc::new(Datapath::new(config, slow.clone()).expect("a datapath"));
    let hz = dp.worker_stats()[1].tsc_hz as f64;
    let stop = Arc::new(AtomicBool::new(false));
    let spent = Arc::new(AtomicU64::new(0));
    let control = {
        let (dp, slow, stop, spent) = (dp.clone(), slow.clone(), stop.clone(), spent.clone());
        std::thread::spawn(move || {
            let _ = datapath::sys::pin_to_core(1 - core.min(1));
            let mut cache = Cache::default();
            let mut housekeeping = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                let t = tsc();
                slow.rearm();
                cache.poll(&dp, &slow);
                if housekeeping.elapsed() > Duration::from_millis(500) {
                    housekeeping = Instant::now();
                    cache.fold_all(&dp, &slow);
                    let mut at = Some(Place::default());
                    while let Some(from) = at {
                        at = cache.sweep(&dp, &slow, from, 10_000);
                    }
                }
                let d = tsc() - t;
                if d > 2000 {
                    spent.fetch_add(d, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_micros(50));
            }
            cache.len()
        })
    };
    dp.add_port_object(Box::new(BenchPort {
        name: "gen".into(),
        rxq: Some(Box::new(Gen { next: 0, new_per_s, sent_new: 0, hz, tsc0: tsc() })),
    }))
    .expect("a port");
    dp.add_port_object(Box::new(BenchPort { name: "out".into(), rxq: None })).expect("a port");
    let all = || -> HashMap<&'static str, u64> { dp.worker_stats()[1].counters.iter().copied().collect() };
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..secs {
        let (a, c, t) = (all(), spent.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(Duration::from_secs(1));
        let (b, secs) = (all(), t.elapsed().as_secs_f64());
        let d = |n: &str| (b[n] - a[n]) as f64;
        let up = d("upcalls").max(1.0);
        println!(
            "storm {name:<30} {:8.0} upcalls/s, {:6.0} TSC each in the upcall, control {:6.0}; {:9.0} packets/s, {:6.0} busy TSC/packet; {} megaflows, {} evictions/s",
            up / secs,
            d("upcall_cycles") / up,
            (spent.load(Ordering::Relaxed) - c) as f64 / up,
            d("rx_packets") / secs,
            d("busy_cycles") / d("rx_packets").max(1.0),
            b["megaflows"],
            d("evictions") / secs,
        );
    }
    stop.store(true, Ordering::Relaxed);
    let _ = control.join();
}

fn main() {
    let sets = rule_sets();
    for (name, rules) in &sets {
        translate(name, rules);
    }
    storm("every packet new", &sets[0].1, 0);
    storm("nothing new", &sets[0].1, 1);
    storm("50k new/s beside established", &sets[0].1, 50_000);
    let _ = off::IN_PORT;
}
