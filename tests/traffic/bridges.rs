//! Several bridges in one process, joined by patch ports; ports that come and go at run time.

use std::time::Duration;
use tests::frames::{ether, Wire};
use tests::shared;
use tests::switch::{Lab, Switch};

#[test]
fn patch_ports_join_two_bridges() {
    let _quiet = shared();
    let (ns, hosts, dir) = Lab::bare(2);
    let switch = Switch::start(
        &ns,
        &dir,
        &[
            "--bridge",
            "br-a",
            "--port",
            "p1,ofport=1",
            "--port",
            "pa,ofport=9,type=patch,peer=pb",
            "--bridge",
            "br-b",
            "--port",
            "p2,ofport=1",
            "--port",
            "pb,ofport=9,type=patch,peer=pa",
        ],
    );
    for br in ["br-a", "br-b"] {
        switch.ovs_ofctl(&["add-flow", br, "in_port=1,actions=output:9"]);
        switch.ovs_ofctl(&["add-flow", br, "in_port=9,actions=output:1"]);
    }
    let bridges = switch.ofctl(&["list-br"]);
    assert_eq!(bridges.split_whitespace().collect::<Vec<_>>(), ["br-a", "br-b"]);
    let lab = Lab { switch, hosts, ns, dir };
    assert!(lab.ping(1, 2, 3) && lab.ping(2, 1, 3));
    // Counted on both sides of the patch.
    for br in ["br-a", "br-b"] {
        let stats = lab.switch.ovs_ofctl(&["dump-ports", br, "9"]);
        assert!(!stats.contains("rx pkts=0,"), "{stats}");
    }
    // A change in the far bridge repairs what the near one has cached.
    lab.switch.ovs_ofctl(&["del-flows", "br-b", "in_port=9"]);
    assert!(!lab.ping(1, 2, 1));
    lab.switch.ovs_ofctl(&["add-flow", "br-b", "in_port=9,actions=output:1"]);
    assert!(lab.ping(1, 2, 3));
}

#[test]
fn bridges_and_ports_are_added_and_removed_at_run_time() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    let s = &lab.switch;
    s.ofctl(&["add-br", "br1"]);
    s.ofctl(&["del-port", "br0", "p1"]);
    assert!(!s.ovs_ofctl(&["show", "br0"]).contains("(p1)"));
    s.ofctl(&["add-port", "br1", "p1"]);
    s.ofctl(&["del-port", "br0", "p2"]);
    s.ofctl(&["add-port", "br1", "p2,ofport=7"]);
    let show = s.ovs_ofctl(&["show", "br1"]);
    assert!(show.contains("1(p1)") && show.contains("7(p2)"), "{show}");
    s.ovs_ofctl(&["add-flow", "br1", "actions=NORMAL"]);
    assert!(lab.ping(1, 2, 3));
    s.ofctl(&["del-br", "br1"]);
    assert!(!lab.ping(1, 2, 1));
    assert_eq!(s.ofctl(&["list-br"]).trim(), "br0");
}

#[test]
fn the_local_port_joins_the_host_itself() {
    let _quiet = shared();
    let lab = Lab::new(1, &[]);
    lab.switch.ovs_ofctl(&["add-flow", "br0", "actions=NORMAL"]);
    lab.ns.sh("ip addr add 10.0.0.100/24 dev br0; ip link set br0 up");
    assert!(lab.host(1).try_sh("ping -c 2 -i 0.2 -W 3 10.0.0.100").status.success());
}

#[test]
fn flood_reaches_every_other_port_once() {
    let _quiet = shared();
    let lab = Lab::new(4, &[]);
    lab.switch.ovs_ofctl(&["add-flow", "br0", "actions=FLOOD"]);
    let wires: Vec<Wire> = (1..=4).map(|i| Wire::open(lab.host(i), "eth0")).collect();
    wires[1].send(&ether(0xff, 2, 0x88b5, b"all"));
    for (i, w) in wires.iter().enumerate() {
        let got = w.drain(Duration::from_millis(500)).iter().filter(|f| f[12..14] == [0x88, 0xb5]).count();
        assert_eq!(got, usize::from(i != 1), "host {}", i + 1);
    }
}
