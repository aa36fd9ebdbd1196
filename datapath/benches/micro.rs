//! The stages of the packet path one by one: extraction, EMC, classifier, actions.
//!
//! `cargo bench -p datapath --bench micro [-- FILTER]`: time-stamp cycles an operation, best of many short windows; `ISA=scalar|avx2|avx512`
//! forces kernels. With `--count` each cell runs once between two marks, for `scripts/instructions`, which counts its instructions.

use datapath::classifier::kernel::{tag_of, Scalar};
use datapath::classifier::{FlowId, FlowTable, NONE};
use datapath::emc::{Emc, EmcSize};
use datapath::extract::{extract_batch, Keys, Layout, Layouts};
use datapath::flow_key::off;
use datapath::meter;
use datapath::packet::{Batch, Packet, BATCH_SIZE};
use datapath::program::{run, Program, Shape, Sink};
use datapath::stats::DropReason;
use datapath::{DpAction, FlowKey, FlowMask, KeyPatch, PortId};
use std::hint::black_box;
use std::sync::Arc;

/// Operations of a batch in a window, and of a counted cell.
const ROUNDS: usize = 200;

#[inline(never)]
fn mark_begin() {
    black_box(1); // not what mark_end says: the linker folds equal functions
}

#[inline(never)]
fn mark_end() {
    black_box(2);
}

/// `f` does `per` operations.
fn cell(name: &str, per: usize, mut f: impl FnMut()) {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let name = format!("{name}, {}", datapath::isa::name());
    if args.iter().any(|a| !a.starts_with('-') && !name.contains(a.as_str())) {
        return;
    }
    for _ in 0..3 {
        f();
    }
    if args.iter().any(|a| a == "--count") {
        mark_begin();
        for _ in 0..ROUNDS {
            f();
        }
        mark_end();
        println!("{name}\t{}", per * ROUNDS);
        return;
    }
    let mut best = f64::MAX;
    for _ in 0..300 {
        let t = datapath::sys::tsc();
        for _ in 0..ROUNDS / 10 {
            f();
        }
        best = best.min(datapath::sys::tsc().wrapping_sub(t) as f64 / (per * (ROUNDS / 10)) as f64);
    }
    println!("{name:<44} {best:8.1} TSC");
}

fn frame(i: u32, vlan: bool, v6: bool) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    if vlan {
        f.extend([0x81, 0, 0, 100]);
    }
    let l4 = [[0x12, 0x34, 0, 80], [0, 26, 0, 0]].concat();
    if v6 {
        f.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]);
        f.extend([0xfd; 16]);
        f.extend([0xfd; 12]);
        f.extend(i.to_be_bytes());
    } else {
        f.extend([8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0]);
        f.extend((0x0a00_0000 + i).to_be_bytes());
        f.extend([20, 0, 0, 1]);
    }
    f.extend(l4);
    f.resize(68, 0);
    f
}

fn batch(vlan: bool, v6: bool) -> Batch {
    let mut b = Batch::new();
    for i in 0..BATCH_SIZE as u32 {
        b.push(Packet::from_bytes(&frame(i, vlan, v6)));
    }
    b
}

fn extraction() {
    for (name, vlan, v6) in
        [("IPv4, UDP", false, false), ("VLAN, IPv4, UDP", true, false), ("IPv6, UDP", false, true)]
    {
        let (b, mut keys, mut layouts) = (batch(vlan, v6), Keys::default(), Layouts::default());
        cell(&format!("extract: {name}"), BATCH_SIZE, || {
            black_box(extract_batch(black_box(b.as_slice()), 1, 0, &mut keys, &mut layouts));
        });
    }
}

fn emc() {
    let mut e = Emc::new(EmcSize::Fixed(1 << 14));
    let hash = |i: u64| tag_of(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 40);
    for i in 0..4096 {
        e.insert(hash(i), i as FlowId);
    }
    let mut at = 0u64;
    cell("emc: find", BATCH_SIZE, || {
        for _ in 0..BATCH_SIZE {
            at = (at + 7) & 4095;
            black_box(e.find::<Scalar>(black_box(hash(at))));
        }
    });
    cell("emc: insert", BATCH_SIZE, || {
        for _ in 0..BATCH_SIZE {
            at = (at + 7) & 4095;
            e.insert(black_box(hash(at)), at as FlowId);
        }
    });
}

fn key(i: u32) -> FlowKey {
    let mut k = FlowKey::ZERO;
    k.set(off::IN_PORT, 1u32.to_be_bytes());
    k.set(off::ETH_TYPE, [8, 0]);
    k.set(off::ETH_SRC, [2, 0, 0, 0, 0, 1]);
    k.set(off::IP_PROTO, [17]);
    k.set(off::IPV4_SRC, (0x0a00_0000 + i).to_be_bytes());
    k.set(off::IPV4_DST, [20, 0, 0, 1]);
    k.set(off::TP_DST, [0, 80]);
    k
}

/// The `n`-th mask: the source address and some bits of the source MAC.
fn mask(n: u32) -> FlowMask {
    let mut m = FlowMask::ZERO;
    m.set(off::ETH_TYPE, [0xff; 2]);
    m.set(off::IPV4_SRC, [0xff; 4]);
    m.set(off::ETH_DST, [n as u8, 1, 1, 1, 1, 1]);
    m
}

fn table(flows: u32, masks: u32, emc: usize) -> FlowTable {
    let mut t = FlowTable::new(100_000, EmcSize::Fixed(emc), [1, 3, 5, 7]);
    let program = Arc::new(Program::new(vec![DpAction::Output(PortId(2))], 0));
    for i in 0..flows {
        t.insert(&key(i), &mask(i % masks), program.clone(), u64::from(i) + 1, 0);
    }
    t
}

fn classifier() {
    for (name, flows, masks, emc) in [
        ("hit by cache, 1k megaflows", 1000, 1, 1 << 14),
        ("walk, 1 mask, 1k megaflows", 1000, 1, 0),
        ("walk, 20 masks, 1k megaflows", 1000, 20, 0),
    ] {
        let mut t = table(flows, masks, emc);
        let keys: Vec<FlowKey> = (0..flows).map(key).collect();
        let (mut at, mut out) = (0, [NONE; BATCH_SIZE]);
        cell(&format!("lookup: {name}"), BATCH_SIZE, || {
            at = (at + BATCH_SIZE) % (flows as usize - BATCH_SIZE);
            black_box(t.lookup_batch(1, black_box(&keys[at..at + BATCH_SIZE]), &mut out));
        });
        assert!(out.iter().all(|id| *id != NONE));
    }
    let mut t = table(1000, 1, 1 << 14);
    let program = Arc::new(Program::new(vec![DpAction::Output(PortId(2))], 0));
    let mut i = 5000;
    cell("classifier: insert and remove", BATCH_SIZE, || {
        for _ in 0..BATCH_SIZE {
            i += 1;
            let token = u64::from(i) + 1;
            let id = t.insert(&key(i), &mask(0), program.clone(), token, 0).id;
            t.remove(id, token);
        }
    });
}

struct Nothing;
impl Sink for Nothing {
    fn output(&mut self, _: u32, _: Packet) {}
    fn userspace(&mut self, _: u64, _: &mut Packet) {}
    fn recirc(&mut self, _: u32, _: Packet) {}
    fn meter(&mut self, _: u32, _: usize) -> meter::Verdict {
        meter::Verdict::Pass
    }
    fn drop(&mut self, _: DropReason) {}
}

fn actions() {
    let (mut value, mut bits) = (FlowKey::ZERO, FlowMask::ZERO);
    for at in [off::ETH_DST, off::ETH_SRC] {
        value.set(at, [6; 6]);
        bits.set(at, [0xff; 6]);
    }
    let set = DpAction::Set(Box::new(KeyPatch { value, mask: bits }));
    let out = DpAction::Output(PortId(2));
    let cells = [
        ("MAC rewrite, TTL, output", vec![set.clone(), DpAction::DecNwTtl, out.clone()]),
        (
            "push VLAN, pop VLAN, output",
            vec![DpAction::PushVlan { tpid: 0x8100, tci: 5 }, DpAction::PopVlan, out],
        ),
    ];
    for (name, list) in cells {
        let program = Program::new(list, 0);
        let Shape::Ops(ops) = &program.shape else { panic!("more than an output") };
        let (mut b, mut keys, mut layouts) = (batch(false, false), Keys::default(), Layouts::default());
        extract_batch(b.as_slice(), 1, 0, &mut keys, &mut layouts);
        let shapes: Vec<Layout> = (0..BATCH_SIZE).map(|i| layouts.of(i, &keys)).collect();
        cell(&format!("actions: {name}"), BATCH_SIZE, || {
            for (p, l) in b.as_mut_slice().iter_mut().zip(&shapes) {
                p.data_mut()[22] = 64;
                let mut l = *l;
                black_box(run(ops, p, &mut l, &mut Nothing));
            }
        });
    }
}

fn main() {
    let forced = std::env::var("ISA").ok();
    datapath::isa::choose(forced.as_deref()).unwrap_or_else(|e| panic!("{e}"));
    extraction();
    emc();
    classifier();
    actions();
}
