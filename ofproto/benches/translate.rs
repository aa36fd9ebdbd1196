//! Translation of a packet through the tables, as an upcall does it: with its record for the control thread, without installing anything.
//!
//! `cargo bench -p ofproto --bench translate [-- FILTER]`: time-stamp cycles a packet, best of many short windows. With `--count` each cell
//! runs once between two marks, for `scripts/instructions`, which counts its instructions.

use datapath::flow_key::off;
use datapath::upcall::{Reason, UpcallHandler, Verdict, WorkerId};
use datapath::{FlowKey, PortId};
use ofproto::api::BridgeId;
use ofproto::snapshot::{BridgeSnap, IdMap, Snapshot};
use ofproto::table::{Checks, FlowTables};
use ofproto::upcall::Slow;
use ofproto::xlate::{PortTarget, PortView};
use openflow::msg::FlowModCommand;
use openflow::text::{parse_flow, NoNames};
use openflow::{GroupId, MeterId, PortNo};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const BRIDGE: BridgeId = BridgeId(1);
const PACKETS: u32 = 256;

#[inline(never)]
fn mark_begin() {
    black_box(1); // not what mark_end says: the linker folds equal functions
}

#[inline(never)]
fn mark_end() {
    black_box(2);
}

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

/// The slow path with these rules and two ports.
fn slow(rules: &[String]) -> Slow {
    let mut tables = FlowTables::new();
    for r in rules {
        let m = parse_flow(r, FlowModCommand::ADD, &NoNames).unwrap_or_else(|e| panic!("{r}: {e}"));
        tables.flow_mod(&m, 0, &Any).unwrap_or_else(|e| panic!("{r}: {e:?}"));
    }
    let (mut ports, mut dp_ports) = (BTreeMap::new(), IdMap::default());
    for i in 1..=2 {
        let (target, number) = (PortTarget::Datapath(PortId(i)), PortNo(i));
        let view =
            PortView { number, target, no_recv: false, no_fwd: false, no_packet_in: false, live: true };
        ports.insert(number, view);
        dp_ports.insert(PortId(i), (BRIDGE, number));
    }
    let bridge = BridgeSnap { ports: Arc::new(ports), tables: tables.tables.clone(), ..Default::default() };
    let slow = Slow::new(Arc::new(|| ()), Instant::now());
    slow.snapshot.store(Arc::new(Snapshot {
        meters_slowpath: false,
        version: 1,
        bridges: Arc::new([(BRIDGE, Arc::new(bridge))].into_iter().collect()),
        dp_ports: Arc::new(dp_ports),
    }));
    slow
}

fn key(i: u32) -> FlowKey {
    let mut k = FlowKey::ZERO;
    k.set(off::IN_PORT, 1u32.to_be_bytes());
    k.set(off::ETH_TYPE, [8, 0]);
    k.set(off::ETH_SRC, [2, 1, 0, 0, (i >> 8) as u8, i as u8]);
    k.set(off::ETH_DST, [2, 0, 0, 0, 0, (i % 200) as u8]);
    k.set(off::IP_PROTO, [17]);
    k.set(off::IPV4_SRC, (0x0a00_0000 + i).to_be_bytes());
    k.set(off::IPV4_DST, (0x0b00_0000 + ((i % 100) << 8)).to_be_bytes());
    k.set(off::TP_DST, [0, 80]);
    k
}

fn cell(name: &str, rules: &[String]) {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if args.iter().any(|a| !a.starts_with('-') && !name.contains(a.as_str())) {
        return;
    }
    let slow = slow(rules);
    let keys: Vec<FlowKey> = (0..PACKETS).map(key).collect();
    let frame = [0u8; 60];
    let all = || {
        for k in &keys {
            let mut v = Verdict::default();
            slow.upcall(WorkerId(0), Reason::Miss, black_box(k), &frame, &mut v);
            assert!(!v.actions.is_empty(), "{name}: dropped");
            black_box(&v);
        }
    };
    all();
    if args.iter().any(|a| a == "--count") {
        mark_begin();
        all();
        mark_end();
        println!("translate: {name}\t{PACKETS}");
        return;
    }
    let mut best = u64::MAX;
    for _ in 0..200 {
        let t = datapath::sys::tsc();
        all();
        best = best.min(datapath::sys::tsc().wrapping_sub(t) / u64::from(PACKETS));
    }
    println!("translate: {name:<34} {best:8} TSC");
}

fn main() {
    let strings = |l: &[&str]| l.iter().map(|s| (*s).to_string()).collect::<Vec<_>>();
    cell("one rule", &strings(&["in_port=1,udp actions=output:2"]));
    let mut l2: Vec<String> =
        (0..200).map(|i| format!("dl_dst=02:00:00:00:00:{i:02x} actions=output:2")).collect();
    l2.push("priority=0 actions=output:2".into());
    cell("L2, 200 addresses", &l2);
    let l3: Vec<String> = (0..100)
        .map(|i| {
            format!("ip,nw_dst=11.0.{i}.0/24 actions=dec_ttl,set_field:02:00:00:00:00:aa->eth_dst,output:2")
        })
        .collect();
    cell("L3, 100 prefixes, rewrite", &l3);
    let mut eight =
        strings(&["table=0,in_port=1,udp actions=push_vlan:0x8100,set_field:4196->vlan_vid,goto_table:1"]);
    eight.extend(
        (1..7).map(|t| format!("table={t},ip,nw_src=10.0.0.0/{} actions=goto_table:{}", 8 + t, t + 1)),
    );
    eight.push("table=7 actions=pop_vlan,dec_ttl,output:2".into());
    cell("eight tables", &eight);
    let masks: Vec<String> = (0..100)
        .map(|i| {
            format!(
                "priority={},udp,nw_src=10.0.0.0/{},tp_dst={} actions=output:2",
                100 + i,
                8 + i % 20,
                1000 + i
            )
        })
        .chain(["priority=1 actions=output:2".into()])
        .collect();
    cell("100 rules, 20 masks, none fits", &masks);
}
