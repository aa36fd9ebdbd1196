//! Counters under changes: while flow entries come, go and change under traffic, every packet is counted once, by one entry (or as a miss) of every
//! table it visits; FLOW_REMOVED's counts included. Groups count what the entries that lead to them count.

mod bed;
mod rig;

use bed::frame;
use datapath::flow_key::{off, FlowKey};
use datapath::packet::Packet;
use ofproto::flow::mix;
use openflow::group::{Bucket, GroupType};
use openflow::msg::multipart::{FlowStatsRequest, GroupStatsRequest};
use openflow::msg::{
    FlowModCommand as C, FlowModFlags, GroupMod, GroupModCommand, Message, MultipartRequest, OfMessage,
    ReplyBody, RequestBody,
};
use openflow::text::{parse_flow, NoNames};
use openflow::{Action, GroupId, PortNo, Xid};
use rig::Rig;
use std::sync::atomic::{AtomicBool, Ordering};

struct Rng(u64);
impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = mix(self.0, 1);
        (self.0 >> 11) % n
    }
}

/// Kinds of packets, by TCP port; the last lead to the group only.
const KINDS: u64 = 16;
const GROUPED: u64 = 14;

fn packet(r: &mut Rng) -> Vec<u8> {
    let mut k = FlowKey::ZERO;
    k.set(off::ETH_DST, [2, 0, 0, 0, 0, 2]);
    k.set(off::ETH_SRC, [2, 0, 0, 0, 0, 1]);
    k.set(off::ETH_TYPE, [8, 0]);
    k.set(off::IPV4_SRC, [10, 0, 0, r.below(8) as u8]);
    k.set(off::IPV4_DST, [10, 0, 0, 2]);
    k.set_byte(off::IP_TTL, [1, 2, 64, 64, 64, 64][r.below(6) as usize]);
    k.set_byte(off::IP_PROTO, 6);
    k.set(off::TP_SRC, 1024u16.to_be_bytes());
    k.set(off::TP_DST, (r.below(KINDS) as u16).to_be_bytes());
    frame::compose(&k, 60)
}

/// A flow-mod about one entry of table 0 or 1.
fn change(r: &mut Rng) -> Message {
    let (kind, table) = (r.below(KINDS), r.below(3) / 2);
    let what = match r.below(8) {
        0 if table == 0 => "table=0,priority=0".to_string(),
        // Wider and narrower ones.
        1 => format!("table={table},priority=20,tcp,tp_dst={kind},nw_src=10.0.0.0/30"),
        _ => format!("table={table},priority=10,tcp,tp_dst={kind}"),
    };
    let actions = match r.below(4) {
        _ if what.ends_with("priority=0") => "drop",
        _ if kind >= GROUPED && table == 0 => "group:1",
        0 if table == 0 => "goto_table:1",
        1 => "dec_ttl,output:2",
        2 => "drop",
        _ => "output:2",
    };
    let command = [C::ADD, C::ADD, C::DELETE_STRICT, C::DELETE_STRICT, C::MODIFY_STRICT, C::DELETE]
        [r.below(6) as usize];
    let text = match command {
        C::DELETE_STRICT => what,
        // Whatever its priority; of the table-miss entry's match: all of the table.
        C::DELETE => {
            let words = what.split(',').filter(|w| !w.starts_with("priority="));
            words.collect::<Vec<_>>().join(",")
        }
        _ => format!("{what},actions={actions}"),
    };
    let mut m = parse_flow(&text, command, &NoNames).unwrap_or_else(|e| panic!("{text}: {e}"));
    m.flags = FlowModFlags::SEND_FLOW_REM;
    m.into()
}

/// What each table's entries that are gone counted, and of those that lead to the group.
#[derive(Default)]
struct Sums {
    tables: [u64; 2],
    grouped: u64,
}

impl Sums {
    fn add(&mut self, table: u8, matching: &openflow::Match, packets: u64) {
        self.tables[usize::from(table)] += packets;
        let to_group = matching.get(openflow::Field::TcpDst).is_some_and(|f| f.value >= GROUPED.into());
        self.grouped += if table == 0 && to_group { packets } else { 0 };
    }
    fn hear(&mut self, rig: &mut Rig) {
        for m in rig.hear(0) {
            match m.body {
                Message::FlowRemoved(f) => self.add(f.table_id.0, &f.matching, f.packet_count),
                Message::Error(e) => panic!("{}", e.error),
                _ => {}
            }
        }
    }
}

fn ask(rig: &mut Rig, body: RequestBody, sums: &mut Sums) -> Vec<ReplyBody> {
    let (_, heard) = rig.ask(0, MultipartRequest::new(body));
    let mut out = Vec::new();
    for m in heard {
        match m.body {
            Message::MultipartReply(r) => out.push(r.body),
            Message::FlowRemoved(f) => sums.add(f.table_id.0, &f.matching, f.packet_count),
            _ => {}
        }
    }
    out
}

/// What entries counted that were deleted meanwhile, by table.
fn run(seed: u64, packets: u64) -> [u64; 2] {
    let (mut rig, mut r, mut sums) = (Rig::new(2), Rng(seed), Sums::default());
    let bucket = |p| Bucket::new(vec![Action::Output { port: PortNo(p), max_len: 0 }]);
    rig.change(GroupMod {
        command: GroupModCommand::ADD,
        kind: GroupType::ALL,
        group_id: GroupId(1),
        buckets: vec![bucket(2), bucket(PortNo::LOCAL.0)],
    });
    if seed.is_multiple_of(2) {
        // So few that megaflows put each other out all the time.
        rig.switch.set_flow_limit(8).expect("a limit");
    }
    let wire = rig.ports.iter().find(|p| p.number == PortNo(1)).expect("port 1").wire.clone();
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        let (done, mut own) = (&done, Rng(seed ^ 0x7ac8));
        s.spawn(move || {
            for _ in 0..packets {
                wire.inject(Packet::from_bytes(&packet(&mut own)));
                match own.below(64) {
                    0 => std::thread::sleep(std::time::Duration::from_micros(own.below(200))),
                    1..4 => std::thread::yield_now(),
                    _ => {}
                }
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            for _ in 0..1 + r.below(4) {
                rig.say(0, &OfMessage::new(Xid(5), change(&mut r)));
            }
            rig.settle();
            sums.hear(&mut rig);
        }
    });
    while rig.received(PortNo(1)) < packets {
        std::thread::yield_now();
    }
    rig.sent();
    let mut misses = [0; 2];
    let mut lookups = [0; 2];
    for b in ask(&mut rig, RequestBody::Table, &mut sums) {
        let ReplyBody::Table(tables) = b else { panic!() };
        for t in tables.iter().filter(|t| t.table_id.0 < 2) {
            let i = usize::from(t.table_id.0);
            (lookups[i], misses[i]) = (t.lookup_count, t.lookup_count - t.matched_count);
        }
    }
    let gone = sums.tables;
    for b in ask(&mut rig, RequestBody::Flow(FlowStatsRequest::default()), &mut sums) {
        let ReplyBody::Flow(flows) = b else { panic!() };
        flows.iter().for_each(|f| sums.add(f.table_id.0, &f.matching, f.packet_count));
    }
    let drops: Vec<_> = rig.switch.drops().into_iter().filter(|d| d.1 > 0).collect();
    // What never came to a table.
    let early = ["control_behind", "upcall_budget"];
    let early: u64 = drops.iter().filter(|d| early.contains(&d.0.as_str())).map(|d| d.1).sum();
    let told = format!("seed {seed}: {packets} packets, gone {gone:?}, drops {drops:?}");
    assert_eq!(lookups[0] + early, packets, "lookups of table 0; {told}");
    for t in 0..2 {
        assert_eq!(sums.tables[t] + misses[t], lookups[t], "entries and misses of table {t}; {told}");
    }
    let group = ask(&mut rig, RequestBody::Group(GroupStatsRequest { group_id: GroupId(1) }), &mut sums);
    let Some(ReplyBody::Group(g)) = group.first() else { panic!() };
    let buckets: Vec<u64> = g[0].buckets.iter().map(|b| b.packet_count).collect();
    assert_eq!(g[0].packet_count, sums.grouped, "the group; {told}");
    assert_eq!(buckets, [sums.grouped; 2], "its buckets; {told}");
    gone
}

#[test]
fn every_packet_is_counted_once_while_entries_change() {
    let (from, to, packets) = match std::env::var("COUNTERS") {
        // FROM-TO:PACKETS, for a longer hunt.
        Ok(v) => {
            let (seeds, n) = v.split_once(':').expect("FROM-TO:PACKETS");
            let (from, to) = seeds.split_once('-').expect("FROM-TO");
            let number = |s: &str| s.parse().expect("a number");
            (number(from), number(to), number(n))
        }
        Err(_) => (1, 4, 30_000),
    };
    let gone = (from..=to).map(|seed| run(seed, packets));
    let gone = gone.fold([0; 2], |all, one| [all[0] + one[0], all[1] + one[1]]);
    assert!(gone[0] > packets / 10 && gone[1] > 0, "hardly anything went: {gone:?}");
}
