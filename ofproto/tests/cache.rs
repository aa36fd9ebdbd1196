//! The oracle with a real datapath: what its caches do with a packet is what a fresh translation says, under random flow-mods.
//!
//! `oracle.rs` tests masks and the precision of repair with a list as cache; here workers, exact-match cache, classifier and repair do
//! the work. A megaflow that is found for a packet must say the same as a trace of that packet through the tables as they are.

mod bed;

use bed::{frame, Bed};
use datapath::datapath::MegaflowDump;
use datapath::flow_key::{off, FlowKey};
use ofproto::api::TableLimit;
use ofproto::conn::{Backend, ConnId};
use ofproto::flow::mix;
use openflow::msg::{FlowModCommand, OfMessage};
use openflow::text::{parse_flow, NoNames};
use openflow::PortNo;

struct Rng(u64);
impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = mix(self.0, 1);
        (self.0 >> 11) % n
    }
}

fn packet(r: &mut Rng) -> (PortNo, FlowKey) {
    let mut k = FlowKey::ZERO;
    k.set(off::ETH_DST, [2, 0, 0, 0, 0, r.below(3) as u8]);
    k.set(off::ETH_SRC, [2, 0, 0, 0, 1, r.below(3) as u8]);
    k.set(off::ETH_TYPE, [8, 0]);
    k.set(off::IPV4_SRC, [10, r.below(3) as u8, 0, r.below(3) as u8]);
    k.set(off::IPV4_DST, [10, r.below(3) as u8, 0, r.below(3) as u8]);
    k.set_byte(off::IP_TTL, [2, 3, 64, 128][r.below(4) as usize]);
    k.set_byte(off::IP_PROTO, [6, 17][r.below(2) as usize]);
    k.set(off::TP_SRC, (r.below(3) as u16).to_be_bytes());
    k.set(off::TP_DST, (80 + r.below(3) as u16).to_be_bytes());
    (PortNo(1 + r.below(3) as u32), k)
}

fn flow(r: &mut Rng) -> String {
    let table = r.below(3);
    let n = r.below(3);
    let m = [
        "ip".to_string(),
        format!("ip,nw_dst=10.{n}.0.0/16"),
        format!("ip,nw_src=10.{n}.0.{n}"),
        format!("tcp,tp_dst={}", 80 + n),
        format!("udp,tp_src={n}"),
        format!("in_port={}", 1 + n),
        format!("dl_dst=02:00:00:00:00:0{n}"),
        "ip,metadata=1".to_string(),
    ];
    let m = &m[r.below(m.len() as u64) as usize];
    let ip = m.contains("ip") || m.contains("tcp") || m.contains("udp");
    let mut a = vec![format!("output:{}", 1 + r.below(4))];
    let fields =
        ["eth_src", "symmetric_l4", "symmetric_l3l4", "symmetric_l3l4+udp", "nw_src", "symmetric_l3"];
    let fields = fields[r.below(fields.len() as u64) as usize];
    match r.below(12) {
        0 if ip => a.insert(0, "dec_ttl".into()),
        1 => a.insert(0, format!("set_field:02:00:00:00:00:0{n}->eth_dst")),
        2 => a.insert(0, "push_vlan:0x8100".into()),
        3 => a.push("write_metadata:1".into()),
        4 => a = vec!["drop".into()],
        5 => a.insert(0, format!("load:{:#x}->NXM_OF_VLAN_TCI[]", n << 12)),
        6 => {
            let reg = "NXM_NX_REG0[0..15]";
            let algorithm = ["modulo_n", "hash_threshold", "hrw", "iter_hash"][r.below(4) as usize];
            a.insert(0, format!("multipath({fields},{n},{algorithm},5,8,{reg}),output:{reg}"));
        }
        7 => a.insert(0, format!("bundle({fields},{n},hrw,ofport,members:1,2,3,4)")),
        8 if table < 2 => a.insert(0, format!("resubmit({},{})", 1 + n, table + 1)),
        9 => a.insert(0, "clone(output:2)".into()),
        10 => a.insert(0, "fin_timeout(idle_timeout=9)".into()),
        11 => a.push("exit".into()),
        _ => {}
    }
    if table < 2 && r.below(2) == 0 && a[0] != "drop" {
        a.push(format!("goto_table:{}", table + 1));
    }
    format!("table={table},priority={},{m} actions={}", r.below(5), a.join(","))
}

fn words(m: &MegaflowDump) -> String {
    let flow = datapath::text::format_flow(&m.key, &m.mask);
    format!("worker {} slot {}: {flow}, {} packets", m.worker.0, m.slot, m.packets)
}

fn run(seed: u64, steps: usize) {
    let (mut r, mut bed) = (Rng(seed), Bed::new(4, |_| ()));
    let (mut texts, mut checked) = (Vec::new(), 0);
    for step in 0..steps {
        if r.below(4) == 0 {
            let (text, command) = match r.below(3) {
                0 if !texts.is_empty() => {
                    let t: &String = &texts[r.below(texts.len() as u64) as usize];
                    let head = t.split(" actions=").next().expect("a match").to_string();
                    let parts: Vec<_> = head.split(',').filter(|w| !w.starts_with("priority=")).collect();
                    (parts.join(","), FlowModCommand::DELETE)
                }
                _ => (flow(&mut r), FlowModCommand::ADD),
            };
            let m = parse_flow(&text, command, &NoNames).unwrap_or_else(|e| panic!("{text}: {e}"));
            bed.say(m);
            texts.push(if command == FlowModCommand::ADD { text } else { flow(&mut r) });
        }
        let (port, key) = packet(&mut r);
        let f = frame::compose(&key, 60);
        // Twice: the second is served by a cache whatever the first met.
        bed.inject(port, &f);
        bed.inject(port, &f);
        bed.settle();
        let mut sent = bed.sent();
        let hex: String = f.iter().map(|b| format!("{b:02x}")).collect();
        let now = bed.now();
        let trace = bed.sw.trace(now, bed.bridge, &format!("in_port={} {hex}", port.0)).expect("a trace");
        let fresh = trace.lines().rev().find_map(|l| l.strip_prefix("Datapath actions: ")).expect("actions");
        let mut whole = FlowKey::ZERO;
        datapath::extract::extract(&f, bed.dp_port(port).0, 0, &mut whole);
        let all = bed.sw.datapath().dump_megaflows();
        let hits: Vec<_> = all.iter().filter(|m| whole.matches(&m.key, &m.mask)).collect();
        // Several may hold it (a wider one that was made after a change, say): any may serve it, so all must be right.
        for m in &hits {
            checked += 1;
            let actions = if m.actions.is_empty() {
                "drop".to_string()
            } else {
                datapath::text::format_actions(&m.actions, &m.key)
            };
            assert_eq!(
                actions,
                fresh,
                "seed {seed} step {step}\n{}\n{trace}\n{}",
                words(m),
                texts.join("\n")
            );
        }
        // And the frames themselves: as many as the actions say, and what the cache made is what the translation made.
        let outputs = fresh.split(',').filter(|w| w.parse::<u32>().is_ok()).count();
        if !fresh.contains("controller") && !fresh.contains("meter") {
            assert_eq!(sent.len(), 2 * outputs, "seed {seed} step {step}: {fresh}\n{trace}");
        }
        sent.sort();
        assert!(sent.chunks(2).all(|c| c[0] == c[1]), "seed {seed} step {step}: {fresh}\n{trace}");
    }
    assert!(checked > steps / 2, "only {checked} of {steps} packets left a megaflow");
}

#[test]
fn the_caches_say_what_a_fresh_translation_says() {
    for seed in 1..9 {
        run(seed, 250);
    }
}

#[test]
fn an_action_set_holds_no_more_than_it_may() {
    let mut bed = Bed::new(2, |_| ());
    let mut add = |text: &str| {
        let m = parse_flow(text, FlowModCommand::ADD, &NoNames).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert!(bed.say(m).1.is_empty());
    };
    add("actions=resubmit(,1),output:2");
    for table in 1..9 {
        // Masked, and each with a mask of its own: none takes the place of another.
        let set = (1..600).map(|m| format!("set_field:{m}/{m}->reg{table}")).collect::<Vec<_>>().join(",");
        add(&format!("table={table} actions=write_actions({set}),goto_table:{}", table + 1));
    }
    let (_, key) = packet(&mut Rng(1));
    bed.inject(PortNo(1), &frame::compose(&key, 60));
    bed.settle();
    assert!(bed.sent().is_empty());
    assert!(bed.sw.drops().into_iter().any(|(why, n)| why == "too_many_actions" && n == 1));
}

/// A worker keeps a place for what it learns. When control finds the learner gone or the table full, who was refused meanwhile may have the place.
#[test]
fn a_place_kept_for_what_is_not_learned_is_free_again() {
    let learns = "learn(table=1,cookie=0x5,limit=1,result_dst=NXM_NX_REG0[0],NXM_OF_ETH_SRC[]),resubmit(,2)";
    let parse = |text: &str, command| parse_flow(text, command, &NoNames).expect(text);
    for is_full in [false, true] {
        let limit = TableLimit { flow_limit: Some(1), evict: false };
        let mut bed = Bed::new(4, |c| {
            c.tables.insert(1, limit);
        });
        for f in [
            &*format!("in_port=1 actions={learns}"),
            &*format!("in_port=2 actions={learns}"),
            "table=2,reg0=1 actions=output:3",
            "table=2,reg0=0 actions=output:4",
        ] {
            bed.say(parse(f, FlowModCommand::ADD));
        }
        if is_full {
            bed.say(parse("table=1,cookie=0x6 actions=drop", FlowModCommand::ADD));
        }
        bed.inject(PortNo(1), &[1; 60]);
        assert_eq!(bed.sent()[0].0, PortNo(3));
        if !is_full {
            // Control hears of the delete first.
            let (now, bridge) = (bed.now(), bed.bridge);
            let delete = OfMessage::new(1u32, parse("in_port=1", FlowModCommand::DELETE));
            let mut view = bed.sw.view(bridge);
            view.handle(now, ConnId(0), &delete, None, &mut Vec::new()).expect("a delete");
            view.publish();
        }
        bed.inject(PortNo(2), &[2; 60]);
        assert_eq!(bed.sent()[0].0, PortNo(4), "the place is kept");
        bed.settle();
        if is_full {
            bed.say(parse("table=1", FlowModCommand::DELETE));
        }
        bed.inject(PortNo(2), &[2; 60]);
        assert_eq!(bed.sent()[0].0, PortNo(3), "it is free; full: {is_full}");
    }
}
