//! Flow-mods per second and bytes a flow entry: `cargo bench -p ofproto --bench flow_table [-- N]`.

use ofproto::api::BridgeId;
use ofproto::table::{Checks, Cursor, FlowTables};
use openflow::msg::multipart::FlowStatsRequest;
use openflow::msg::{FlowMod, FlowModCommand};
use openflow::{Action, Field, GroupId, Instruction, Match, MeterId, PortNo, TableId};
use std::time::Instant;

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

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|s| s.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn flow(i: u32) -> FlowMod {
    let h = i.wrapping_mul(0x9e37_79b1);
    FlowMod {
        priority: 100,
        cookie: i.into(),
        matching: Match::new()
            .with(Field::InPort, (i % 4 + 1).into())
            .with(Field::EthType, 0x0800)
            .with(Field::IpProto, 6)
            .with(Field::Ipv4Src, (0x0a00_0000 | i >> 8).into())
            .with(Field::Ipv4Dst, h.into())
            .with(Field::TcpDst, (i % 50_000).into()),
        instructions: [Instruction::ApplyActions(vec![Action::Output {
            port: PortNo(i % 8 + 1),
            max_len: 0,
        }])]
        .into_iter()
        .collect(),
        ..Default::default()
    }
}

fn main() {
    let n: u32 = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(1_000_000);
    for (n, publish_every) in [(n / 10, 0), (n, 0), (n / 10, 1), (n, 100)] {
        let mut t = FlowTables::new();
        let before = resident();
        let start = Instant::now();
        let mut held = t.tables.clone();
        for i in 0..n {
            let effects = t.flow_mod(&flow(i), 0, &Any).expect("accepted");
            let mut changes = Vec::new();
            effects.iter().for_each(|e| e.changes(BridgeId(0), &mut changes));
            if publish_every != 0 && i % publish_every == 0 {
                held = t.tables.clone();
            }
        }
        drop(held);
        let secs = start.elapsed().as_secs_f64();
        let per = (resident().saturating_sub(before)) / n as usize;
        let (mut out, mut cursor, mut slices) = (Vec::new(), Cursor::default(), 0);
        let start = Instant::now();
        let mut longest = 0.0f64;
        let mut shown = 0;
        loop {
            let s = Instant::now();
            let more = t.dump(&FlowStatsRequest::default(), &mut cursor, 500, 0, &mut out).expect("a match");
            longest = longest.max(s.elapsed().as_secs_f64());
            slices += 1;
            shown += out.len();
            out.clear();
            if !more {
                break;
            }
        }
        assert_eq!(shown, n as usize);
        let dump = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let all = FlowMod { command: FlowModCommand::DELETE, table_id: TableId::ALL, ..Default::default() };
        let gone = t.flow_mod(&all, 0, &Any).expect("accepted").len();
        let del = start.elapsed().as_secs_f64();
        println!(
            "{n} flows, published every {publish_every}: {:.0} adds/s, {per} bytes a flow; dump {:.0}/s in {slices} slices, longest {:.2} ms; delete {:.0}/s ({gone})",
            f64::from(n) / secs,
            f64::from(n) / dump,
            longest * 1e3,
            f64::from(n) / del
        );
    }
}
