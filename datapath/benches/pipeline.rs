//! The whole packet path on one worker, between a generating and a discarding port in memory: cycles per packet above (almost) nothing.
//!
//! `cargo bench -p datapath --bench pipeline [-- FILTER]`; `ISA=scalar|avx2|avx512` forces kernels, `CORE=n` pins. Figures are the best of many
//! short windows, so that other load on the machine disturbs little; net is above what generating and discarding alone costs.

#![allow(unsafe_code)]

use datapath::flow_key::off;
use datapath::packet::{Batch, Head, Packet, PacketOps, BATCH_SIZE};
use datapath::port::{Port, PortError, PortInfo, PortStats, Rxq, Txq};
use datapath::upcall::{Ended, Reason, UpcallHandler, Verdict, WorkerId};
use datapath::{Datapath, DatapathConfig, DpAction, FlowKey, FlowMask, KeyPatch, PortId};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

unsafe fn free(_: NonNull<Head>) {}
static OPS: PacketOps = PacketOps { free, name: "bench" };
const RING: usize = 1024;
const SLOT: usize = 256;

/// What the generated frames differ in, besides the source address and port by flow number.
#[derive(Clone, Copy, PartialEq)]
enum Frames {
    Plain,
    /// So many destination ports, 32 source addresses.
    Ports(u32),
    /// So many destinations, one in each /24.
    Prefixes(u32),
    /// Odd flows have a tag.
    Tags,
}

struct Gen {
    frames: Frames,
    templates: [[u8; 64]; 2],
    ring: Vec<u8>,
    heads: Vec<Head>,
    at: usize,
    flows: u64,
    rng: u64,
}

// SAFETY: the heads point into the ring, which goes with them.
unsafe impl Send for Gen {}

impl Gen {
    fn new(flows: u64, frames: Frames) -> Self {
        let mut ring = vec![0u8; RING * SLOT];
        for s in ring.chunks_exact_mut(SLOT) {
            let f = &mut s[128..];
            f[..12].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
            f[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17]);
            f[26..34].copy_from_slice(&[10, 0, 0, 1, 20, 0, 0, 1]);
            f[34..42].copy_from_slice(&[0x12, 0x34, 0, 80, 0, 26, 0, 0]);
        }
        let base = NonNull::new(ring.as_mut_ptr()).unwrap();
        // SAFETY: within the ring.
        let heads = (0..RING)
            .map(|i| Head::foreign(unsafe { base.add(i * SLOT) }, SLOT as u16, 128, 60, &OPS))
            .collect();
        let plain: [u8; 64] = ring[128..192].try_into().unwrap();
        let mut tagged = plain;
        tagged.copy_within(12..60, 16);
        tagged[12..16].copy_from_slice(&[0x81, 0, 0, 200]);
        Self { frames, templates: [plain, tagged], ring, heads, at: 0, flows, rng: 0x2545_f491_4f6c_dd1d }
    }
}

impl Rxq for Gen {
    fn recv(&mut self, batch: &mut Batch) -> usize {
        for _ in 0..BATCH_SIZE {
            self.rng ^= self.rng << 13;
            self.rng ^= self.rng >> 7;
            self.rng ^= self.rng << 17;
            let id = ((u128::from(self.rng) * u128::from(self.flows)) >> 64) as u32;
            let i = self.at;
            let base = i * SLOT + 128;
            self.at = (i + 1) % RING;
            let f = &mut self.ring[base..base + 64];
            if self.frames == Frames::Tags {
                // The last passage has moved the frame.
                f.copy_from_slice(&self.templates[id as usize & 1]);
                let at = 26 + 4 * (id as usize & 1);
                f[at..at + 4].copy_from_slice(&(0x0a00_0000 + id).to_be_bytes());
                let buf = NonNull::from(&mut self.ring[i * SLOT]);
                self.heads[i] = Head::foreign(buf, SLOT as u16, 128, 60, &OPS);
                // SAFETY: as below.
                batch.push(unsafe { Packet::from_raw(NonNull::from(&mut self.heads[i])) });
                continue;
            }
            f[26..30].copy_from_slice(&(0x0a00_0000 + id).to_be_bytes());
            f[22] = 64;
            f[34..36].copy_from_slice(&(id as u16).to_be_bytes());
            match self.frames {
                Frames::Ports(n) => {
                    f[26..30].copy_from_slice(&(0x0a00_0000 + id % 32).to_be_bytes());
                    f[34..36].copy_from_slice(&1024u16.to_be_bytes());
                    f[36..38].copy_from_slice(&((2000 + id % n) as u16).to_be_bytes());
                }
                Frames::Prefixes(n) => {
                    f[30..34].copy_from_slice(&(0x0b00_0000 + ((id % n) << 8)).to_be_bytes());
                }
                Frames::Plain | Frames::Tags => {}
            }
            // SAFETY: the ring outlives the packets of a round (they are discarded in it), and slots do not overlap.
            batch.push(unsafe { Packet::from_raw(NonNull::from(&mut self.heads[i])) });
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

#[derive(Clone, Copy)]
enum Rules {
    /// One megaflow on in_port and Ethertype.
    Port,
    /// One megaflow, but its mask covers the 5-tuple's addresses partly: source /8.
    L3,
    /// A megaflow per source address.
    PerFlow,
    /// Megaflows per source /N..: `n` masks.
    Masks(u32),
    /// TTL and MAC rewrite, one megaflow.
    Rewrite,
    /// Push and pop of a VLAN tag.
    Vlan,
    /// A megaflow and a mask per destination port, up to 200.
    Ports,
    /// A megaflow per destination /24, each with a next hop of its own: TTL and MAC rewrite.
    Prefixes,
    /// What has a tag loses it, what has none gets one; then DSCP, TTL and both addresses.
    Pipeline,
}

struct Handler(Rules, AtomicU64);

impl UpcallHandler for Handler {
    fn upcall(&self, _: WorkerId, _: Reason, key: &FlowKey, _: &[u8], v: &mut Verdict) {
        let mut m = FlowMask::ZERO;
        m.set(off::ETH_TYPE, [0xff; 2]);
        v.actions.push(DpAction::Output(PortId(2)));
        match self.0 {
            Rules::Port => {}
            Rules::L3 => {
                m.set(off::IPV4_SRC, [0xff, 0, 0, 0]);
                m.set(off::IPV4_DST, [0xff; 4]);
                m.set(off::IP_PROTO, [0xff, 0, 0, 0xff]);
                m.set(off::TP_DST, [0xff; 2]);
            }
            Rules::PerFlow => m.set(off::IPV4_SRC, [0xff; 4]),
            Rules::Masks(n) => {
                // Which mask a source address falls under depends on its low byte; masks differ in ports' low bits.
                let id = key.u32(off::IPV4_SRC) & 0xff_ffff;
                let n = id % n;
                m.set(off::IPV4_SRC, [0xff; 4]);
                m.set(off::ETH_DST, [n as u8, 1, 1, 1, 1, 1]);
            }
            Rules::Rewrite => {
                let (mut value, mut mask) = (FlowKey::ZERO, FlowMask::ZERO);
                for at in [off::ETH_DST, off::ETH_SRC] {
                    value.set(at, [6; 6]);
                    mask.set(at, [0xff; 6]);
                }
                v.actions.insert(0, DpAction::DecNwTtl);
                v.actions.insert(0, DpAction::Set(Box::new(KeyPatch { value, mask })));
            }
            Rules::Ports => {
                let n = u32::from(key.u16(off::TP_DST)) - 2000;
                m.set(off::IP_PROTO, [0xff]);
                m.set(off::TP_DST, [0xff; 2]);
                m.set(off::IPV4_SRC, (!0u32 << (5 + n % 20)).to_be_bytes());
                m.set(off::TP_SRC, (!0u16 << (n / 20)).to_be_bytes());
            }
            Rules::Prefixes | Rules::Pipeline => {
                let (mut value, mut mask) = (FlowKey::ZERO, FlowMask::ZERO);
                value.set(off::ETH_SRC, [2, 0, 0, 0, 0, 0xbb]);
                value.set(off::ETH_DST, [2, 0, 0, 0, 0, 0xaa]);
                if matches!(self.0, Rules::Prefixes) {
                    m.set(off::IPV4_DST, [0xff, 0xff, 0xff, 0]);
                    value.set(off::ETH_DST + 4, key.get::<2>(off::IPV4_DST + 1));
                } else {
                    m.set(off::VLAN0_TCI, [0x1f, 0xff]);
                    m.set(off::IPV4_SRC, [0xff, 0, 0, 0]);
                    m.set(off::IPV4_DST, [0xff, 0xff, 0xff, 0]);
                    m.set(off::IP_PROTO, [0xff]);
                    m.set(off::TP_DST, [0xff; 2]);
                }
                for at in [off::ETH_DST, off::ETH_SRC] {
                    mask.set(at, [0xff; 6]);
                }
                v.actions.insert(0, DpAction::Set(Box::new(KeyPatch { value, mask })));
                v.actions.insert(0, DpAction::DecNwTtl);
                if matches!(self.0, Rules::Pipeline) {
                    let (mut value, mut mask) = (FlowKey::ZERO, FlowMask::ZERO);
                    value.set_byte(off::IP_TOS, 46 << 2);
                    mask.set_byte(off::IP_TOS, 0xfc);
                    v.actions.insert(0, DpAction::Set(Box::new(KeyPatch { value, mask })));
                    v.actions.insert(
                        0,
                        match key.u16(off::VLAN0_TCI) {
                            0 => DpAction::PushVlan { tpid: 0x8100, tci: 0x1064 },
                            _ => DpAction::PopVlan,
                        },
                    );
                }
            }
            Rules::Vlan => {
                v.actions.insert(0, DpAction::PopVlan);
                v.actions.insert(0, DpAction::PushVlan { tpid: 0x8100, tci: 5 });
            }
        }
        v.mask = m;
        v.install = true;
        v.token = self.1.fetch_add(1, Ordering::Relaxed) + 1;
    }
    fn installed(&self, _: WorkerId, _: u64, _: u32, _: &FlowKey) {}
    fn refused(&self, _: WorkerId, _: u64, _: u64) {}
    fn ended(&self, _: WorkerId, _: Ended) {}
}

fn cell(name: &str, flows: u64, frames: Frames, rules: Rules) {
    if let Some(filter) = std::env::args().skip(1).find(|a| !a.starts_with('-')) {
        if !name.contains(&filter) {
            return;
        }
    }
    let floor = source(frames);
    let core = std::env::var("CORE").ok().and_then(|c| c.parse().ok()).unwrap_or(1);
    let isa = std::env::var("ISA").ok();
    let config = DatapathConfig {
        pmd: datapath::rxq::PmdSettings { cores: vec![core], ..Default::default() },
        flow_limit: 1_200_000,
        isa,
        ..DatapathConfig::default()
    };
    let dp = Datapath::new(config, Arc::new(Handler(rules, AtomicU64::new(0)))).unwrap();
    dp.add_port_object(Box::new(BenchPort {
        name: "gen".into(),
        rxq: Some(Box::new(Gen::new(flows, frames))),
    }))
    .unwrap();
    dp.add_port_object(Box::new(BenchPort { name: "out".into(), rxq: None })).unwrap();
    let get = |what: &str| {
        let s = &dp.worker_stats()[1];
        s.counters.iter().find(|(n, _)| *n == what).unwrap().1
    };
    // Warm up until every flow was seen some times and no upcalls come any more.
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let before = get("misses");
        std::thread::sleep(Duration::from_millis(150));
        if (get("misses") - before < 20 && get("rx_packets") > flows * 3) || Instant::now() > end {
            break;
        }
    }
    let (h0, m0, p0) = (get("emc_hits"), get("megaflow_hits"), get("rx_packets"));
    let mut best = f64::MAX;
    for _ in 0..60 {
        let (p, c) = (get("rx_packets"), get("busy_cycles"));
        std::thread::sleep(Duration::from_millis(15));
        let (dp, dc) = (get("rx_packets") - p, get("busy_cycles") - c);
        if dp > 0 {
            best = best.min(dc as f64 / dp as f64);
        }
    }
    let stages: Vec<f64> = ["cycles_rx", "cycles_extract", "cycles_lookup", "cycles_actions"]
        .iter()
        .map(|c| get(c) as f64)
        .collect();
    std::thread::sleep(Duration::from_millis(100));
    let more: Vec<f64> = ["cycles_rx", "cycles_extract", "cycles_lookup", "cycles_actions"]
        .iter()
        .map(|c| get(c) as f64)
        .collect();
    let rx = get("rx_packets");
    let _ = rx;
    let share: Vec<String> = {
        let d: Vec<f64> = more.iter().zip(&stages).map(|(a, b)| a - b).collect();
        let sum: f64 = d.iter().sum::<f64>().max(1.0);
        d.iter().map(|x| format!("{:.0}", x * 100.0 / sum)).collect()
    };
    let total = (get("rx_packets") - p0).max(1) as f64;
    println!(
        "{name:<28} {best:7.1} TSC/packet  net {:6.1}  emc {:5.1} %  walk {:5.1} %  megaflows {} subtables {} isa {} rx/extract/lookup/actions % {}",
        best - floor,
        (get("emc_hits") - h0) as f64 * 100.0 / total,
        (get("megaflow_hits") - m0) as f64 * 100.0 / total,
        get("megaflows"),
        get("subtables"),
        dp.worker_stats()[1].isa,
        share.join("/"),
    );
}

/// What generating and discarding alone costs.
fn source(frames: Frames) -> f64 {
    let mut best = f64::MAX;
    let (mut g, mut b) = (Gen::new(1000, frames), Batch::new());
    for _ in 0..2000 {
        let t = datapath::sys::tsc();
        for _ in 0..20 {
            g.recv(&mut b);
            b.clear();
        }
        best = best.min(datapath::sys::tsc().wrapping_sub(t) as f64 / (20 * BATCH_SIZE) as f64);
    }
    best
}

fn main() {
    let plain = |name, flows, rules| cell(name, flows, Frames::Plain, rules);
    plain("port 1 flow", 1, Rules::Port);
    plain("port 1M flows", 1_000_000, Rules::Port);
    plain("l3 1k flows", 1000, Rules::L3);
    plain("l3 100k flows", 100_000, Rules::L3);
    plain("perflow 1k", 1000, Rules::PerFlow);
    plain("perflow 10k", 10_000, Rules::PerFlow);
    plain("perflow 100k", 100_000, Rules::PerFlow);
    plain("perflow 1M", 1_000_000, Rules::PerFlow);
    plain("masks 20, 10k flows", 10_000, Rules::Masks(20));
    plain("masks 200, 10k flows", 10_000, Rules::Masks(200));
    plain("masks 200, 100k flows", 100_000, Rules::Masks(200));
    cell("20 megaflows and masks", 20_000, Frames::Ports(20), Rules::Ports);
    cell("200 megaflows and masks", 20_000, Frames::Ports(200), Rules::Ports);
    plain("rewrite 1k flows", 1000, Rules::Rewrite);
    plain("vlan 1k flows", 1000, Rules::Vlan);
    cell("rewrite per /24, 10k", 1_000_000, Frames::Prefixes(10_000), Rules::Prefixes);
    cell("pipeline, two shapes", 1000, Frames::Tags, Rules::Pipeline);
}
