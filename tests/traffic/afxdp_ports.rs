//! `afxdp` ports of the real daemon: served by epoll or by a PMD, several queues, and shared with the kernel by a filter.

use std::time::Duration;
use tests::frames::{ether, udp, Wire};
use tests::netns::Netns;
use tests::switch::{Lab, Scratch, Switch};
use tests::{shared, wait_for};

const PATIENCE: Duration = Duration::from_secs(10);

fn start(ns: &Netns, dir: &Scratch, ports: [&str; 2]) -> Switch {
    let args = ["--pmd", "sleep-max=200", "--bridge", "br0", "--port", ports[0], "--port", ports[1]];
    let s = Switch::start(ns, dir, &args);
    s.ofctl(&["add-flow", "br0", "in_port=1,actions=output:2"]);
    s.ofctl(&["add-flow", "br0", "in_port=2,actions=output:1"]);
    s
}

fn datagram(port: u16, n: u8) -> Vec<u8> {
    ether(2, 1, 0x0800, &udp([10, 0, 0, 1], [10, 0, 0, 2], 1000, port, &[n; 40]))
}

/// A burst both ways arrives whole and in order.
fn bursts(h1: &Wire, h2: &Wire) {
    for (from, to) in [(h1, h2), (h2, h1)] {
        to.drain(Duration::from_millis(50));
        let frames: Vec<Vec<u8>> = (0..200).map(|n| datagram(7, n)).collect();
        wait_for("the first frame", PATIENCE, || {
            from.send(&frames[0]);
            to.recv(Duration::from_millis(100))
        });
        to.drain(Duration::from_millis(150));
        frames.iter().for_each(|f| from.send(f));
        let got: Vec<Vec<u8>> = (0..200).map_while(|_| to.recv(Duration::from_secs(2))).collect();
        assert!(got == frames, "{} of 200 came", got.len());
    }
}

#[test]
fn bursts_pass_by_epoll_and_by_a_polling_pmd() {
    let _quiet = shared();
    for option in ["busy_poll=false", "busy_poll=true"] {
        let (ns, hosts, dir) = Lab::bare(2);
        let (a, b) = (format!("p1,ofport=1,type=afxdp,{option}"), format!("p2,ofport=2,type=afxdp,{option}"));
        let s = start(&ns, &dir, [&a, &b]);
        let (h1, h2) = (Wire::open(&hosts[0], "eth0"), Wire::open(&hosts[1], "eth0"));
        bursts(&h1, &h2);
        let shown = s.ofctl(&["pmd-rxq-show"]);
        let main = shown.split("pmd thread").next().unwrap_or("");
        assert_eq!(main.contains("port: p1"), option == "busy_poll=false", "{shown}");
        s.stop();
    }
}

#[test]
fn every_queue_is_served_and_can_be_pinned() {
    let _quiet = shared();
    let (ns, hosts, dir) = Lab::bare(2);
    ns.sh("ip link del p1");
    ns.sh(&format!(
        "ip link add p1 numrxqueues 2 numtxqueues 2 type veth peer name eth0 netns {} numrxqueues 2 numtxqueues 2",
        hosts[0].name()
    ));
    for (n, dev) in [(&ns, "p1"), (&hosts[0], "eth0")] {
        n.sh(&format!("sysctl -qw net.ipv6.conf.{dev}.disable_ipv6=1; ip link set {dev} up"));
    }
    let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    let pinned = format!("p1,ofport=1,type=afxdp,busy_poll=true,n_rxq=2,pmd-rxq-affinity=0:{last},1:{last}");
    let s = start(&ns, &dir, [&pinned, "p2,ofport=2"]);
    let (h1, h2) = (Wire::open(&hosts[0], "eth0"), Wire::open(&hosts[1], "eth0"));
    bursts(&h1, &h2);
    let shown = s.ofctl(&["pmd-rxq-show"]);
    assert_eq!(shown.matches("pinned").count(), 2, "{shown}");
    s.stop();
}

#[test]
fn a_filter_shares_the_interface_with_the_kernel() {
    let _quiet = shared();
    let (ns, hosts, dir) = Lab::bare(2);
    ns.sh("ip addr add 10.0.0.9/24 dev p1");
    let s = start(&ns, &dir, ["p1,ofport=1,type=afxdp,filter=udp+tp_dst=4789", "p2,ofport=2"]);
    let (h1, h2) = (Wire::open(&hosts[0], "eth0"), Wire::open(&hosts[1], "eth0"));
    wait_for("a matching frame by way of the switch", PATIENCE, || {
        h1.send(&datagram(4789, 1));
        h2.recv(Duration::from_millis(100)).filter(|f| *f == datagram(4789, 1))
    });
    h2.drain(Duration::from_millis(50));
    for n in 0..20 {
        h1.send(&datagram(4790, n));
    }
    assert_eq!(h2.drain(Duration::from_millis(300)).len(), 0, "what does not match is the kernel's");
    // The kernel's own stack is reached through the same interface meanwhile (ARP, ICMP).
    hosts[0].sh("ping -c 2 -i 0.2 -W 3 10.0.0.9");
    let ports = s.ovs_ofctl(&["dump-ports", "br0", "1"]);
    assert!(ports.contains("drop=0") && !ports.contains("rx pkts=0"), "{ports}");
    s.stop();
}
