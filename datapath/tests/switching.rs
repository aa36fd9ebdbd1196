//! Whole workers between dummy ports, with a small handler in the place of ofproto.

use datapath::condemned::Sentence;
use datapath::flow_key::off;
use datapath::meter::{BandConfig, BandKind, MeterConfig};
use datapath::packet::Packet;
use datapath::port::dummy::{DummyPort, Wire};
use datapath::rxq::{Assign, PmdSettings};
use datapath::upcall::{Ended, Reason, UpcallHandler, Verdict, WorkerId};
use datapath::{Datapath, DatapathConfig, DpAction, DpMeterId, FlowKey, FlowMask, KeyPatch, PortId};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

type Decide = Box<dyn Fn(Reason, &FlowKey, &mut Verdict) + Send + Sync>;

struct Handler {
    decide: Mutex<Arc<Decide>>,
    tokens: AtomicU64,
    installed: Mutex<HashMap<u64, (WorkerId, u32)>>,
    ended: Mutex<Vec<Ended>>,
    actions: Mutex<Vec<(u64, Vec<u8>)>>,
    upcalls: AtomicU64,
    carried_out: AtomicU64,
}

impl UpcallHandler for Handler {
    fn upcall(&self, _: WorkerId, reason: Reason, key: &FlowKey, frame: &[u8], out: &mut Verdict) {
        self.upcalls.fetch_add(1, Ordering::Relaxed);
        if let Reason::Action(token) = reason {
            self.actions.lock().unwrap().push((token, frame.to_vec()));
            return;
        }
        out.token = self.tokens.fetch_add(1, Ordering::Relaxed) + 1;
        let decide = self.decide.lock().unwrap().clone();
        decide(reason, key, out);
    }
    fn installed(&self, worker: WorkerId, token: u64, slot: u32, _: &FlowKey) {
        self.installed.lock().unwrap().insert(token, (worker, slot));
    }
    fn refused(&self, _: WorkerId, _: u64, _: u64) {}
    fn ended(&self, _: WorkerId, ended: Ended) {
        self.ended.lock().unwrap().push(ended);
    }
    fn carried_out(&self, _: WorkerId, sentences: u64) {
        self.carried_out.store(sentences, Ordering::Relaxed);
    }
}

struct Rig {
    dp: Datapath,
    handler: Arc<Handler>,
    wires: Vec<Arc<Wire>>,
    ids: Vec<PortId>,
}

fn rig(config: DatapathConfig, ports: usize, polled: bool, decide: Decide) -> Rig {
    let handler = Arc::new(Handler {
        decide: Mutex::new(Arc::new(decide)),
        tokens: AtomicU64::new(0),
        installed: Mutex::default(),
        ended: Mutex::default(),
        actions: Mutex::default(),
        upcalls: AtomicU64::new(0),
        carried_out: AtomicU64::new(0),
    });
    let dp = Datapath::new(config, handler.clone()).unwrap();
    let (mut wires, mut ids) = (Vec::new(), Vec::new());
    for i in 0..ports {
        let name = format!("p{i}");
        let port = if polled { DummyPort::polled(&name) } else { DummyPort::new(&name) };
        wires.push(port.wire());
        ids.push(dp.add_port_object(Box::new(port)).unwrap());
    }
    Rig { dp, handler, wires, ids }
}

impl Rig {
    fn inject(&self, port: usize, frame: &[u8]) {
        self.wires[port].inject(Packet::from_bytes(frame));
    }
    /// The next frame out of a port.
    fn expect(&self, port: usize) -> Vec<u8> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(f) = self.wires[port].take() {
                return f;
            }
            assert!(Instant::now() < end, "no frame out of port {port}: {:?}", self.dp.drops());
            std::thread::yield_now();
        }
    }
    fn wait(&self, what: &str, f: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !f(self) {
            assert!(Instant::now() < end, "never: {what}");
            std::thread::yield_now();
        }
    }
    fn counter(&self, name: &str) -> u64 {
        let all = self.dp.worker_stats();
        all.iter().flat_map(|w| &w.counters).filter(|(n, _)| *n == name).map(|(_, v)| v).sum()
    }
    /// Packets that megaflows counted, those that ended included.
    fn credited(&self) -> u64 {
        let ended: u64 = self.handler.ended.lock().unwrap().iter().map(|e| e.counts.packets).sum();
        let live = self.handler.installed.lock().unwrap().clone();
        let live = live.into_iter().filter_map(|(token, (worker, slot))| {
            Some(self.dp.megaflow_stats(worker)?.read(slot, token)?.packets)
        });
        ended + live.sum::<u64>()
    }
    fn dropped(&self, word: &str) -> u64 {
        self.dp.drops().iter().find(|(r, _)| r.word() == word).unwrap().1
    }
}

fn udp(dst: u32, ttl: u8, port: u16) -> Vec<u8> {
    let mut f = vec![
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, ttl, 17, 0, 0, 10, 0, 0, 1,
    ];
    f.extend(dst.to_be_bytes());
    f.extend([0x12, 0x34]);
    f.extend(port.to_be_bytes());
    f.resize(60, 0);
    f
}

fn mask(fields: &[(usize, usize)]) -> FlowMask {
    let mut m = FlowMask::ZERO;
    for (at, n) in fields {
        m.bytes_mut()[*at..at + n].fill(0xff);
    }
    m
}

/// Port by the last byte of the destination; drops 99.
fn by_destination() -> Decide {
    Box::new(|reason, key, v| {
        v.mask = mask(&[(off::ETH_TYPE, 2), (off::IPV4_DST, 4), (off::IP_TTL, 0)]);
        v.install = reason == Reason::Miss;
        let dst = key.byte(off::IPV4_DST + 3);
        if dst == 99 {
            v.drop_reason = 3;
        } else {
            v.actions.push(DpAction::Output(PortId(u32::from(dst))));
        }
    })
}

fn forwards(polled: bool) {
    let r = rig(DatapathConfig::default(), 3, polled, by_destination());
    for i in 0..200u16 {
        r.inject(0, &udp(0x0a00_0002, 64, i));
        r.inject(0, &udp(0x0a00_0003, 64, i));
        r.inject(0, &udp(0x0a00_0063, 64, i));
    }
    for i in 0..200u16 {
        assert_eq!(r.expect(1), udp(0x0a00_0002, 64, i), "in order, unchanged");
        assert_eq!(r.expect(2), udp(0x0a00_0003, 64, i));
    }
    r.wait("all counted", |r| r.dropped("policy") == 200);
    assert_eq!(r.handler.upcalls.load(Ordering::Relaxed), 3, "one upcall a megaflow");
    assert_eq!(r.dp.policy_drops()[3], 200);
    let flows = r.dp.dump_megaflows();
    assert_eq!(flows.len(), 3);
    assert!(flows.iter().all(|f| f.packets == 200 && f.bytes == 200 * 60 && f.used_ms > 0));
    assert_eq!((r.counter("rx_packets"), r.counter("tx_packets")), (600, 400));
    let stats = r.dp.port_stats(r.ids[0]).unwrap();
    assert_eq!((stats.rx_packets, r.dp.port_stats(r.ids[1]).unwrap().tx_packets), (600, 200));
}

#[test]
fn the_epoll_worker_forwards_in_order_and_counts() {
    forwards(false);
}

#[test]
fn a_polling_worker_forwards_in_order_and_counts() {
    forwards(true);
}

#[test]
fn nothing_older_decides_after_synchronize() {
    for polled in [false, true] {
        let r = rig(DatapathConfig::default(), 3, polled, by_destination());
        r.inject(0, &udp(0x0a00_0002, 64, 1));
        r.expect(1);
        for round in 0..300u32 {
            let (worker, slot, token) = {
                let all = r.handler.installed.lock().unwrap();
                let (token, (worker, slot)) = all.iter().max_by_key(|(t, _)| **t).unwrap();
                (*worker, *slot, *token)
            };
            let to = 1 + round % 2;
            if round % 3 == 2 {
                // Removed: the next packet asks again, and the new tables say `to`.
                *r.handler.decide.lock().unwrap() =
                    Arc::new(Box::new(move |_: Reason, _: &FlowKey, v: &mut Verdict| {
                        v.mask = mask(&[(off::IPV4_DST, 4)]);
                        v.install = true;
                        v.actions.push(DpAction::Output(PortId(to + 1)));
                    }) as Decide);
                r.dp.remove_megaflow(worker, slot, token);
            } else {
                r.dp.update_megaflow(worker, slot, token, vec![DpAction::Output(PortId(to + 1))], 0);
            }
            r.dp.synchronize();
            r.inject(0, &udp(0x0a00_0002, 64, round as u16));
            assert_eq!(r.expect(to as usize), udp(0x0a00_0002, 64, round as u16), "round {round}");
        }
    }
}

/// A megaflow for each destination, of class `destination % 4`, that outputs to a port.
fn each_to(port: usize) -> Decide {
    Box::new(move |_, key, v| {
        v.mask = mask(&[(off::IPV4_DST, 4)]);
        v.install = true;
        v.class = key.u32(off::IPV4_DST) % 4;
        v.actions.push(DpAction::Output(PortId(port as u32 + 1)));
    })
}

#[test]
fn condemned_megaflows_decide_nothing_at_once_and_end_once() {
    // Few enough to wait for their upcalls together.
    const N: u32 = 600;
    let condemned = |i: u32| i % 4 == 1 || i % 4 == 2 && i < 200;
    for polled in [false, true] {
        let r = rig(DatapathConfig::default(), 3, polled, each_to(1));
        (0..N).for_each(|i| r.inject(0, &udp(0x0a00_0000 + i, 64, 1)));
        (0..N).for_each(|_| drop(r.expect(1)));
        let installed = r.handler.installed.lock().unwrap().clone();
        assert_eq!(installed.len(), N as usize);
        // Tokens count up from 1 in this order.
        let slots: Vec<(WorkerId, u32)> = (0..N).map(|i| installed[&(u64::from(i) + 1)]).collect();
        let worker = slots[0].0;
        let mut s = Sentence { before: u64::from(N) + 1, ..Sentence::default() };
        (0..200).filter(|i| i % 4 == 2).for_each(|i| s.add_slot(slots[i as usize].1));
        *r.handler.decide.lock().unwrap() = Arc::new(each_to(2));
        r.dp.condemn(worker, s);
        r.dp.condemn(worker, Sentence { classes: vec![(1, 1..u64::from(N) + 1)], ..Sentence::default() });
        r.dp.synchronize();
        // In batches that have both, from the end, where it takes longest to come to.
        for i in (0..N).rev() {
            r.inject(0, &udp(0x0a00_0000 + i, 64, 2));
        }
        let want = (0..N).filter(|i| condemned(*i)).count();
        let tos = |port: usize, n: usize| -> HashSet<u32> {
            (0..n)
                .map(|_| r.expect(port))
                .map(|f| u32::from_be_bytes([f[30], f[31], f[32], f[33]]) & 0xfff)
                .collect()
        };
        assert_eq!(tos(2, want), (0..N).filter(|i| condemned(*i)).collect());
        assert_eq!(tos(1, N as usize - want), (0..N).filter(|i| !condemned(*i)).collect());
        r.wait("all is carried out", |r| r.handler.carried_out.load(Ordering::Relaxed) == 2);
        let ended = r.handler.ended.lock().unwrap().clone();
        let once: HashSet<u64> = ended.iter().map(|e| e.token).collect();
        assert_eq!((ended.len(), once.len()), (want, want));
        assert!(ended.iter().all(|e| condemned(e.token as u32 - 1) && e.counts.packets == 1 && !e.evicted));
        // The new ones of the same classes and slots stay.
        (0..N).for_each(|i| r.inject(0, &udp(0x0a00_0000 + i, 64, 3)));
        (0..N).for_each(|i| drop(r.expect(if condemned(i) { 2 } else { 1 })));
        assert_eq!(r.handler.ended.lock().unwrap().len(), want);
        assert_eq!(r.credited(), 3 * u64::from(N));
    }
}

#[test]
fn recirculation_exceptions_and_the_handler_see_the_packet() {
    let decide: Decide = Box::new(|reason, key, v| {
        v.mask = mask(&[(off::ETH_TYPE, 2), (off::RECIRC_ID, 4)]);
        v.install = true;
        v.actions = match (reason, key.u32(off::RECIRC_ID)) {
            (Reason::Exception, _) => vec![DpAction::Userspace(77)],
            (_, 0) => vec![
                DpAction::DecNwTtl,
                DpAction::PushMpls { eth_type: 0x8847, lse: 0x1140 },
                DpAction::Recirc(5),
            ],
            (_, 5) => {
                let (mut value, mut m) = (FlowKey::ZERO, FlowMask::ZERO);
                value.set(off::ETH_DST, [6; 6]);
                m.set(off::ETH_DST, [0xff; 6]);
                assert_eq!(key.u16(off::ETH_TYPE), 0x8847, "extracted again");
                vec![DpAction::Set(Box::new(KeyPatch { value, mask: m })), DpAction::Output(PortId(2))]
            }
            _ => vec![DpAction::Recirc(key.u32(off::RECIRC_ID) + 1)],
        };
    });
    let r = rig(DatapathConfig::default(), 2, false, decide);
    r.inject(0, &udp(0x0a00_0002, 64, 1));
    let f = r.expect(1);
    assert_eq!((&f[..6], &f[12..18], f[18 + 8]), (&[6u8; 6][..], &[0x88, 0x47, 0, 0, 0x11, 0x40][..], 63));
    r.inject(0, &udp(0x0a00_0002, 1, 2));
    r.wait("the handler has it", |r| r.handler.actions.lock().unwrap().len() == 1);
    assert_eq!(
        r.handler.actions.lock().unwrap()[0],
        (77, udp(0x0a00_0002, 1, 2)),
        "unchanged by the program that it could not follow"
    );
    assert_eq!(r.credited(), 2, "the exception is the handler's to count");
    // A loop ends.
    r.dp.execute(&udp(1, 64, 1), r.ids[0], vec![DpAction::Recirc(100)]);
    r.wait("the loop was cut", |r| r.dropped("recirc_limit") == 1);
}

#[test]
fn packet_outs_keep_their_order_and_floods_copy() {
    let r = rig(DatapathConfig::default(), 3, false, by_destination());
    for i in 0..100 {
        let flood = vec![
            DpAction::Output(r.ids[1]),
            DpAction::PushVlan { tpid: 0x8100, tci: 7 },
            DpAction::Output(r.ids[2]),
        ];
        r.dp.execute(&udp(5, 64, i), r.ids[0], flood);
    }
    for i in 0..100 {
        assert_eq!(r.expect(1), udp(5, 64, i));
        assert_eq!(r.expect(2)[12..16], [0x81, 0, 0, 7]);
    }
    r.dp.execute(&udp(5, 64, 0), r.ids[0], vec![DpAction::Output(PortId(999))]);
    r.wait("counted", |r| r.dropped("no_such_port") == 1);
}

#[test]
fn ports_come_and_go_while_packets_flow() {
    for polled in [false, true] {
        let mut r = rig(DatapathConfig::default(), 2, polled, by_destination());
        for round in 0..20 {
            let name = "late".to_owned();
            let port = if polled { DummyPort::polled(&name) } else { DummyPort::new(&name) };
            let wire = port.wire();
            let id = r.dp.add_port_object(Box::new(port)).unwrap();
            assert!(r.dp.add_port_object(Box::new(DummyPort::new("late"))).is_err());
            r.inject(0, &udp(id.0, 64, round));
            r.wires.push(wire.clone());
            assert_eq!(r.expect(r.wires.len() - 1), udp(id.0, 64, round));
            wire.inject(Packet::from_bytes(&udp(2, 64, round)));
            assert_eq!(r.expect(1), udp(2, 64, round));
            r.dp.del_port(id).unwrap();
            assert!(r.dp.port_info(id).is_none() && r.dp.del_port(id).is_err());
        }
    }
}

#[test]
fn a_prepared_port_receives_nothing_until_it_is_started() {
    for polled in [false, true] {
        let mut r = rig(DatapathConfig::default(), 2, polled, by_destination());
        let port = if polled { DummyPort::polled("late") } else { DummyPort::new("late") };
        let wire = port.wire();
        let id = r.dp.prepare_port_object(Box::new(port)).expect("a port");
        (0..5).for_each(|i| wire.inject(Packet::from_bytes(&udp(2, 64, i))));
        // It can be sent to; and all workers have looked for packets since.
        r.wires.push(wire);
        for round in 0..20 {
            r.inject(0, &udp(id.0, 64, round));
            assert_eq!(r.expect(r.wires.len() - 1), udp(id.0, 64, round));
        }
        assert_eq!(r.dp.port_stats(id).expect("statistics").rx_packets, 0);
        r.dp.start_port(id);
        (0..5).for_each(|i| assert_eq!(r.expect(1), udp(2, 64, i)));
    }
}

#[test]
fn a_meter_drops_under_its_name() {
    let decide: Decide = Box::new(|_, _, v| {
        v.install = true;
        v.actions = vec![DpAction::Meter(DpMeterId(1)), DpAction::Output(PortId(2))];
    });
    let r = rig(DatapathConfig::default(), 2, false, decide);
    let band = BandConfig { kind: BandKind::Drop, rate: 1, burst: 10 };
    r.dp.set_meter(DpMeterId(1), &MeterConfig { pktps: true, bands: vec![band] });
    r.dp.synchronize();
    for i in 0..100 {
        r.inject(0, &udp(2, 64, i));
    }
    r.wait("all arrived", |r| r.dp.meter_stats(DpMeterId(1)).unwrap().input.packets == 100);
    r.wait("all accounted", |r| r.dropped("meter") + r.dp.port_stats(r.ids[1]).unwrap().tx_packets == 100);
    let dropped = r.dp.meter_stats(DpMeterId(1)).unwrap().bands[0].packets;
    assert!((80..=90).contains(&dropped) && r.dropped("meter") == dropped, "{dropped}");
}

#[test]
fn the_flow_limit_evicts_a_few_and_never_all() {
    let decide: Decide = Box::new(|_, _, v| {
        v.mask = mask(&[(off::TP_DST, 2)]);
        v.install = true;
        v.actions = vec![DpAction::Output(PortId(2))];
    });
    let config = DatapathConfig { flow_limit: 100, ..DatapathConfig::default() };
    let r = rig(config, 2, false, decide);
    for i in 0..1000 {
        r.inject(0, &udp(2, 64, i));
        r.expect(1);
        assert!(r.dp.port_stats(r.ids[1]).unwrap().tx_packets == u64::from(i) + 1);
    }
    r.wait("counted", |r| r.counter("evictions") == 900);
    assert_eq!(r.dp.dump_megaflows().len(), 100);
    let evicted = r.handler.ended.lock().unwrap().iter().filter(|e| e.evicted).count();
    assert_eq!((evicted, r.credited()), (900, 1000), "counters survive eviction");
}

#[test]
fn a_storm_on_one_port_leaves_the_others_their_upcalls() {
    let decide: Decide = Box::new(|_, key, v| {
        v.mask = mask(&[(off::IPV4_DST, 4), (off::TP_DST, 2)]);
        v.install = true;
        v.actions = vec![DpAction::Output(PortId(if key.in_port() == 1 { 2 } else { 4 }))];
    });
    let r = rig(DatapathConfig::default(), 4, false, decide);
    // Established traffic competes, so that upcalls are rationed.
    for _ in 0..20_000u32 {
        r.inject(2, &udp(7, 64, 7));
    }
    for i in 0..5_000u16 {
        r.inject(0, &udp(1, 64, i));
    }
    for i in 0..50u16 {
        r.inject(2, &udp(9, 64, i));
    }
    r.wait("every packet has an end", |r| {
        let out =
            r.dp.port_stats(r.ids[1]).unwrap().tx_packets + r.dp.port_stats(r.ids[3]).unwrap().tx_packets;
        out + r.dropped("upcall_budget") == 25_050
    });
    assert_eq!(
        r.dp.port_stats(r.ids[3]).unwrap().tx_packets,
        20_050,
        "the storm cost the other port nothing"
    );
}

fn pmd(cores: &[usize]) -> PmdSettings {
    PmdSettings { cores: cores.to_vec(), ..PmdSettings::default() }
}

/// Two polled ports joined by in_port.
fn joined(settings: PmdSettings) -> Rig {
    let config = DatapathConfig { pmd: settings, ..DatapathConfig::default() };
    rig(
        config,
        2,
        true,
        Box::new(|_, key, out| {
            out.mask = mask(&[(off::IN_PORT, 4)]);
            out.actions = vec![DpAction::Output(PortId(3 - key.in_port()))];
            out.install = true;
        }),
    )
}

impl Rig {
    /// Packets pass both ways.
    fn passes(&self) {
        for port in [0, 1] {
            self.inject(port, &udp(0x0a00_0002, 64, 80));
            self.expect(1 - port);
        }
    }
    /// Cores that serve the two ports.
    fn cores(&self) -> [usize; 2] {
        let workers = self.dp.worker_stats();
        let at = |i: usize| {
            let a = self.dp.rxq_assignment().into_iter().find(|a| a.port == self.ids[i]).unwrap();
            let w = &workers[a.worker as usize];
            assert!(w.active);
            w.core.unwrap()
        };
        [at(0), at(1)]
    }
}

#[test]
fn pmds_come_and_go_and_queues_follow() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("skipped: two cores are needed");
        return;
    }
    let mine = || datapath::sys::Cores::of_this_thread().iter().collect::<Vec<_>>();
    let all = mine();
    let r = joined(pmd(&[0]));
    r.passes();
    assert_eq!(r.cores(), [0, 0]);
    assert!(!mine().contains(&0), "control keeps off a PMD's core: {:?}", mine());
    // One more PMD: queues that may stay stay, until a rebalance.
    r.dp.set_pmd_settings(&pmd(&[0, 1])).unwrap();
    assert_eq!(r.cores(), [0, 0]);
    let moved = r.dp.rebalance();
    assert_eq!((moved.len(), moved[0].from, moved[0].to, r.dp.rebalances()), (1, 0, 1, 1), "{moved:?}");
    assert_ne!(r.cores()[0], r.cores()[1]);
    r.passes();
    assert_eq!(r.dp.rebalance(), [], "nothing is better than it is");
    // Pinned: the PMD is isolated, the other queue leaves.
    let other = 1 - r.cores()[1];
    r.dp.set_rxq_affinity(r.ids[0], &[(0, 1 - other)]).unwrap();
    assert_eq!(r.cores(), [1 - other, other]);
    assert!(r.dp.worker_stats().iter().any(|w| w.core == Some(1 - other) && w.isolated));
    r.passes();
    let e = r.dp.set_rxq_affinity(r.ids[0], &[(5, 1)]).unwrap_err().to_string();
    assert!(e.contains("there is no queue 5"), "{e}");
    r.dp.set_rxq_affinity(r.ids[0], &[]).unwrap();
    assert!(r.dp.worker_stats().iter().all(|w| !w.isolated));
    assert_eq!(mine() == all, all.len() == 2, "of {all:?} control has {:?}", mine());
    // A PMD that goes takes its megaflows with it, and tells.
    let before = r.handler.ended.lock().unwrap().len();
    r.dp.set_pmd_settings(&pmd(&[1])).unwrap();
    assert_eq!(r.cores(), [1, 1]);
    r.dp.synchronize();
    // (A worker that sleeps need not have followed yet: it has promised to before any packet.)
    r.wait("its megaflows end", |r| {
        let gone = r.dp.worker_stats().into_iter().find(|w| w.core == Some(0)).unwrap();
        !gone.active && gone.counters.contains(&("megaflows", 0))
    });
    r.wait("evictions are told", |r| r.handler.ended.lock().unwrap().len() > before);
    r.passes();
    // It comes back as the same worker.
    r.dp.set_pmd_settings(&PmdSettings { assign: Assign::RoundRobin, ..pmd(&[0, 1]) }).unwrap();
    assert_ne!(r.cores()[0], r.cores()[1]);
    assert_eq!(r.dp.worker_stats().len(), 3);
    r.passes();
    // A core that does not exist changes nothing.
    let before = r.dp.pmd_settings();
    let e = r.dp.set_pmd_settings(&pmd(&[1, 1000])).unwrap_err().to_string();
    assert!(e.contains("pinning to core 1000"), "{e}");
    assert_eq!(r.dp.pmd_settings(), before);
    r.passes();
}

#[test]
fn an_idle_pmd_sleeps_and_wakes_in_time() {
    let r = joined(PmdSettings { sleep_max_us: 500, ..pmd(&[0]) });
    r.passes();
    let (t, slept) = (Instant::now(), r.counter("sleep_cycles"));
    std::thread::sleep(Duration::from_millis(300));
    let hz = r.dp.worker_stats()[1].tsc_hz as f64;
    let share = (r.counter("sleep_cycles") - slept) as f64 / hz / t.elapsed().as_secs_f64();
    assert!(share > 0.5, "slept {share} of the time");
    let naps = r.counter("sleep_iterations");
    assert!((naps as f64) < 100_000.0 && naps > 50, "{naps}");
    // Commands and barriers do not wait for the end of a sleep; packets at most for one.
    let t = Instant::now();
    for _ in 0..100 {
        r.dp.synchronize();
        r.passes();
    }
    assert!(t.elapsed() < Duration::from_secs(3), "{:?}", t.elapsed());
    r.dp.set_pmd_settings(&pmd(&[0])).unwrap();
    r.dp.synchronize();
    let naps = r.counter("sleep_iterations");
    std::thread::sleep(Duration::from_millis(20));
    // One may have been under way.
    assert!(r.counter("sleep_iterations") <= naps + 1, "told not to sleep");
}

#[test]
fn busy_pmds_give_queues_to_idle_ones_by_themselves() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("skipped: two cores are needed");
        return;
    }
    let r = joined(pmd(&[0]));
    let auto = PmdSettings {
        auto_lb: true,
        auto_lb_interval: Duration::from_secs(5),
        auto_lb_load_percent: 100,
        ..pmd(&[0, 1])
    };
    r.dp.set_pmd_settings(&auto).unwrap();
    for _ in 0..2000 {
        r.passes();
    }
    let now = Instant::now();
    r.dp.upkeep(now + Duration::from_secs(6));
    assert_eq!((r.cores(), r.dp.rebalances()), ([0, 0], 0), "no PMD is that busy");
    r.dp.set_pmd_settings(&PmdSettings { auto_lb_load_percent: 0, ..auto }).unwrap();
    for _ in 0..2000 {
        r.passes();
    }
    r.dp.upkeep(now + Duration::from_secs(8));
    assert_eq!(r.dp.rebalances(), 0, "not yet: the interval has not passed");
    r.dp.upkeep(now + Duration::from_secs(12));
    assert_eq!(r.dp.rebalances(), 1);
    assert_ne!(r.cores()[0], r.cores()[1]);
    r.passes();
}

#[test]
fn batches_are_counted_by_their_size() {
    let r = joined(pmd(&[0]));
    r.passes();
    let s = &r.dp.worker_stats()[1];
    assert_eq!((s.batch_sizes[1], s.batch_sizes.iter().sum::<u64>()), (2, 2));
    r.dp.clear_worker_stats();
    assert_eq!(r.dp.worker_stats()[1].batch_sizes.iter().sum::<u64>(), 0);
}

/// First packets that have to wait keep their order, whatever overtakes them; the room has a limit, and what it costs has a name.
#[test]
fn packets_that_wait_for_an_upcall_keep_their_order_within_a_flow() {
    let decide: Decide = Box::new(|_, key, v| {
        // A slow handler: the share of time is soon used up.
        let end = Instant::now() + Duration::from_micros(200);
        while Instant::now() < end {}
        v.mask = mask(&[(off::IPV4_DST, 4)]);
        v.install = true;
        v.actions = vec![DpAction::Output(PortId(if key.in_port() == 1 { 2 } else { 4 }))];
    });
    let r = rig(DatapathConfig::default(), 4, false, decide);
    // Established traffic in between, so that upcalls are rationed. Whether packets pile up before the worker sees them is for the
    // scheduler to say: new flows come until some had to wait.
    let (flows, rounds) = (40u32, 25u16);
    let (mut sent, mut bursts) = (0, 0);
    let waited = |r: &Rig| r.counter("upcalls_waited") > 0 && r.counter("misses") > r.counter("upcalls");
    while bursts == 0 || (bursts < 100 && !waited(&r)) {
        for n in 0..rounds {
            for f in 0..flows {
                r.inject(0, &udp(bursts * flows + f, 64, n));
                sent += 1;
            }
            for _ in 0..400 {
                r.inject(2, &udp(7, 64, 7));
            }
        }
        r.wait("every packet has an end", |r| {
            r.dp.port_stats(r.ids[1]).unwrap().tx_packets + r.dropped("upcall_budget") == sent
        });
        bursts += 1;
    }
    let mut last: HashMap<u32, u16> = HashMap::new();
    while let Some(f) = r.wires[1].take() {
        let dst = u32::from_be_bytes(f[30..34].try_into().unwrap());
        let n = u16::from_be_bytes(f[36..38].try_into().unwrap());
        if let Some(before) = last.insert(dst, n) {
            assert!(before < n, "flow {dst}: {n} after {before}");
        }
    }
    assert_eq!(last.len(), (bursts * flows) as usize);
    assert!(r.counter("upcalls_waited") > 0, "some had to wait");
    assert!(r.counter("misses") > r.counter("upcalls"), "those in the room left it with their flow's first");
}

/// However many packets miss at once, those that hit wait for a few upcalls at most: the others are for later rounds.
#[test]
fn a_round_makes_upcalls_for_a_while_only() {
    let (gate, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (g, o) = (gate.clone(), opened.clone());
    let decide: Decide = Box::new(move |_, key, v| {
        let dst = key.u32(off::IPV4_DST);
        if dst == 99 {
            // The others come meanwhile, and are received together.
            o.store(true, Ordering::SeqCst);
            while !g.load(Ordering::SeqCst) {}
        } else if dst != 7 {
            let end = Instant::now() + Duration::from_micros(100);
            while Instant::now() < end {}
        }
        v.mask = mask(&[(off::IPV4_DST, 4)]);
        v.install = true;
        v.actions = vec![DpAction::Output(PortId(2))];
    });
    let r = rig(DatapathConfig::default(), 2, false, decide);
    for _ in 0..100 {
        r.inject(0, &udp(7, 64, 7));
        r.expect(1);
    }
    r.inject(0, &udp(99, 64, 7));
    while !opened.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    let rounds = r.counter("busy_iterations");
    for i in 0..31 {
        r.inject(0, &udp(1000 + i, 64, 7));
    }
    gate.store(true, Ordering::SeqCst);
    r.wait("all came", |r| r.dp.port_stats(r.ids[1]).unwrap().tx_packets == 132);
    r.wait("all rounds are counted", |r| {
        r.counter("upcalls") == 33 && r.counter("busy_iterations") > rounds + 9
    });
    assert_eq!(r.dropped("upcall_budget"), 0);
}

/// A long round is counted by what took most of it, in its class, and forgotten when figures are cleared.
#[test]
fn long_rounds_have_a_cause() {
    let decide: Decide = Box::new(move |_, key, v| {
        if key.u32(off::IPV4_DST) == 9 {
            std::thread::sleep(Duration::from_millis(6));
        }
        v.mask = mask(&[(off::IPV4_DST, 4)]);
        v.install = true;
        v.actions = vec![DpAction::Output(PortId(2))];
    });
    let r = rig(DatapathConfig::default(), 2, false, decide);
    let long = |r: &Rig, cause: &str| r.counter(&format!("long_{cause}_5ms"));
    r.inject(0, &udp(9, 64, 7));
    r.expect(1);
    r.wait("the round is counted", |r| long(r, "upcalls") == 1);
    r.inject(0, &udp(9, 64, 7));
    r.expect(1);
    r.dp.clear_worker_stats();
    assert_eq!(long(&r, "upcalls"), 0);
}

/// A port with its share of a full table gets no more megaflows at the cost of others, and its packets still go out.
#[test]
fn one_port_cannot_put_out_the_megaflows_of_others() {
    let decide: Decide = Box::new(|_, key, v| {
        v.mask = mask(&[(off::IPV4_DST, 4)]);
        v.install = true;
        v.actions = vec![DpAction::Output(PortId(if key.in_port() == 1 { 2 } else { 4 }))];
    });
    let r = rig(DatapathConfig { flow_limit: 200, ..DatapathConfig::default() }, 4, false, decide);
    for i in 0..100 {
        r.inject(2, &udp(i, 64, 1));
        r.expect(3);
    }
    for i in 0..2000 {
        r.inject(0, &udp(i, 64, 1));
        r.expect(1);
    }
    let shares = r.dp.megaflow_shares();
    let of = |port: PortId| shares.iter().find(|s| s.port == port).map_or(0, |s| s.megaflows);
    assert_eq!((of(r.ids[0]), of(r.ids[2])), (100, 100), "{shares:?}");
    // A lower limit is reached at once, by few from everybody.
    r.dp.set_flow_limit(50);
    r.wait("shrunk", |r| r.dp.dump_megaflows().len() == 50);
    let asked = r.counter("upcalls");
    assert!(asked >= 2100);
}
