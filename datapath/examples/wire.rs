//! The whole datapath without OpenFlow: joins ports in pairs (first and second, third and fourth, ...) by megaflows on `in_port` or, with
//! `--l4`, on addresses and ports, until standard input ends. Tells what the workers counted.
//!
//! `wire [--pmd CORE] [--l4] [--seconds S] [--dpdk "EAL ARGS"] PORT PORT...`, ports as in `ofswitchd --port`.

use std::io::Read;
use std::sync::Arc;

use datapath::datapath::{Datapath, DatapathConfig};
use datapath::flow_key::off;
use datapath::port::PortConfig;
use datapath::upcall::{Ended, Reason, UpcallHandler, Verdict, WorkerId};
use datapath::{DpAction, FlowKey, PortId};

struct Pairs {
    l4: bool,
}

impl UpcallHandler for Pairs {
    fn upcall(&self, _: WorkerId, _: Reason, key: &FlowKey, _: &[u8], out: &mut Verdict) {
        out.mask.set(off::IN_PORT, [0xff; 4]);
        out.mask.set(off::RECIRC_ID, [0xff; 4]);
        if self.l4 {
            out.mask.set(off::ETH_TYPE, [0xff; 2]);
            out.mask.set(off::IPV4_DST, [0xff, 0, 0, 0]);
            out.mask.set(off::TP_DST, [0xff; 2]);
            out.mask.set(off::IP_PROTO, [0xff]);
        }
        let port = key.in_port();
        // Ids count from 1: 1 and 2 are a pair, 3 and 4, ...
        out.actions = vec![DpAction::Output(PortId(((port - 1) ^ 1) + 1))];
        out.install = true;
    }
    fn installed(&self, _: WorkerId, _: u64, _: u32, _: &FlowKey) {}
    fn refused(&self, _: WorkerId, _: u64, _: u64) {}
    fn ended(&self, _: WorkerId, _: Ended) {}
}

fn spec(text: &str) -> PortConfig {
    let mut c =
        PortConfig { name: text.split(',').next().unwrap_or_default().into(), ..PortConfig::default() };
    let mut rest = text.get(c.name.len() + 1..).unwrap_or_default();
    while !rest.is_empty() {
        let (k, v) = rest.split_once('=').expect("KEY=VALUE");
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

fn main() {
    let (mut config, mut l4, mut seconds, mut specs) = (DatapathConfig::default(), false, None, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(a) = args.next() {
        let mut value = || args.next().expect("a value");
        match a.as_str() {
            "--pmd" => config.pmd.cores.push(value().parse().expect("a core")),
            "--l4" => l4 = true,
            "--seconds" => seconds = Some(value().parse::<f64>().expect("a number")),
            #[cfg(feature = "dpdk")]
            "--dpdk" => {
                datapath::dpdk::eal::init(&value()).unwrap_or_else(|e| panic!("{e}"));
            }
            s => specs.push(spec(s)),
        }
    }
    let dp = Datapath::new(config, Arc::new(Pairs { l4 })).unwrap_or_else(|e| panic!("{e}"));
    let ports: Vec<PortId> = specs.iter().map(|s| dp.add_port(s).unwrap_or_else(|e| panic!("{e}"))).collect();
    println!("ready");
    match seconds {
        Some(s) => {
            // Warm up, then measure.
            std::thread::sleep(std::time::Duration::from_secs(2));
            let before = dp.port_stats(ports[1]).unwrap_or_default();
            let t = std::time::Instant::now();
            std::thread::sleep(std::time::Duration::from_secs_f64(s));
            let after = dp.port_stats(ports[1]).unwrap_or_default();
            println!(
                "{:.3} Mpps out of the second port",
                (after.tx_packets - before.tx_packets) as f64 / t.elapsed().as_secs_f64() / 1e6
            );
        }
        None => {
            let _ = std::io::stdin().read(&mut [0]);
        }
    }
    for p in &ports {
        println!("{:?}: {:?} {:?}", p, dp.port_info(*p).map(|i| i.name), dp.port_stats(*p));
    }
    for (reason, n) in dp.drops() {
        if n > 0 {
            println!("drop {reason:?}: {n}");
        }
    }
}
