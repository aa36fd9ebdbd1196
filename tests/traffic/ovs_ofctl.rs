//! Debian's `ovs-ofctl -O OpenFlow13` as a second client on the management socket.

use std::time::Duration;
use tests::frames::{ether, udp, Wire};
use tests::shared;
use tests::switch::Lab;

/// `dump-flows` without what changes by itself, one flow per line, sorted.
fn flows(lab: &Lab) -> Vec<String> {
    let mut lines: Vec<String> = lab
        .switch
        .ovs_ofctl(&["dump-flows", "br0", "--no-stats"])
        .lines()
        .filter(|l| l.contains("actions="))
        .map(|l| l.trim().to_string())
        .collect();
    lines.sort();
    lines
}

#[test]
fn show_and_descriptions() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    let show = lab.switch.ovs_ofctl(&["show", "br0"]);
    assert!(show.contains("dpid:00000000000000e1"), "{show}");
    assert!(show.contains("n_tables:254"), "{show}");
    for port in ["1(p1)", "2(p2)", "LOCAL(br0)"] {
        assert!(show.contains(port), "no {port} in\n{show}");
    }
    assert!(lab.switch.ovs_ofctl(&["dump-desc", "br0"]).contains("Serial Num"));
    let ports = lab.switch.ovs_ofctl(&["dump-ports-desc", "br0"]);
    assert!(ports.contains("1(p1)") && ports.contains("config:"), "{ports}");
    let tables = lab.switch.ovs_ofctl(&["dump-tables", "br0"]);
    assert!(tables.contains("active=0"), "{tables}");
    lab.switch.ovs_ofctl(&["probe", "br0"]);
    let ping = lab.switch.ovs_ofctl(&["ping", "br0", "64"]);
    assert!(ping.contains("64 bytes from"), "{ping}");
}

#[test]
fn flows_are_added_modified_and_deleted() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    let s = &lab.switch;
    s.ovs_ofctl(&["add-flow", "br0", "priority=100,in_port=1,tcp,tp_dst=80,actions=output:2"]);
    s.ovs_ofctl(&[
        "add-flow",
        "br0",
        "priority=100,in_port=1,udp,nw_src=10.1.0.0/16,actions=dec_ttl,output:2",
    ]);
    s.ovs_ofctl(&["add-flow", "br0", "table=3,cookie=0x1234,ipv6,ipv6_dst=2001:db8::/32,actions=drop"]);
    s.ovs_ofctl(&["add-flow", "br0", "priority=7,dl_vlan=5,actions=strip_vlan,goto_table:3"]);
    assert_eq!(
        flows(&lab),
        [
            "cookie=0x1234, table=3, ipv6,ipv6_dst=2001:db8::/32 actions=drop",
            "priority=100,tcp,in_port=1,tp_dst=80 actions=output:2",
            "priority=100,udp,in_port=1,nw_src=10.1.0.0/16 actions=dec_ttl,output:2",
            "priority=7,dl_vlan=5 actions=pop_vlan,goto_table:3",
        ]
        .map(String::from),
    );
    s.ovs_ofctl(&["mod-flows", "br0", "in_port=1,actions=output:LOCAL"]);
    assert_eq!(flows(&lab).iter().filter(|l| l.contains("LOCAL")).count(), 2, "{:?}", flows(&lab));
    s.ovs_ofctl(&["del-flows", "br0", "cookie=0x1234/-1"]);
    s.ovs_ofctl(&["--strict", "del-flows", "br0", "priority=99,in_port=1,tcp,tp_dst=80"]);
    assert_eq!(flows(&lab).len(), 3);
    s.ovs_ofctl(&["--strict", "del-flows", "br0", "priority=100,in_port=1,tcp,tp_dst=80"]);
    assert_eq!(flows(&lab).len(), 2);
    s.ovs_ofctl(&["del-flows", "br0", "out_port=LOCAL"]);
    assert_eq!(flows(&lab).len(), 1);
    let aggregate = s.ovs_ofctl(&["dump-aggregate", "br0"]);
    assert!(aggregate.contains("flow_count=1"), "{aggregate}");
    s.ovs_ofctl(&["del-flows", "br0"]);
    assert!(flows(&lab).is_empty());
}

#[test]
fn refusals_carry_the_right_error_and_change_nothing() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    lab.switch.ovs_ofctl(&["add-flow", "br0", "priority=5,ip,actions=output:1"]);
    lab.switch.ovs_ofctl(&["add-group", "br0", "group_id=2,type=all,bucket=actions=output:2"]);
    for (args, error) in [
        (&["add-flow", "br0", "priority=5,ip,nw_proto=6,check_overlap,actions=drop"][..], "OFPFMFC_OVERLAP"),
        (&["add-flow", "br0", "actions=group:77"], "OFPBAC_BAD_OUT_GROUP"),
        (&["add-group", "br0", "group_id=2,type=all,bucket=actions=output:1"], "OFPGMFC_GROUP_EXISTS"),
        (&["mod-group", "br0", "group_id=9,type=all,bucket=actions=output:1"], "OFPGMFC_UNKNOWN_GROUP"),
        (&["mod-meter", "br0", "meter=9,kbps,band=type=drop,rate=1"], "OFPMMFC_UNKNOWN_METER"),
    ] {
        let out = lab.switch.try_ovs_ofctl(args);
        let text = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
        assert!(text.contains(error), "{args:?}: expected {error}, got: {text}");
    }
    assert_eq!(flows(&lab).len(), 1);
}

#[test]
fn groups_and_meters() {
    let _quiet = shared();
    let lab = Lab::new(3, &[]);
    let s = &lab.switch;
    s.ovs_ofctl(&["add-group", "br0", "group_id=1,type=all,bucket=actions=output:2,bucket=actions=output:3"]);
    s.ovs_ofctl(&["add-meter", "br0", "meter=4,pktps,burst,stats,bands=type=drop,rate=1000,burst_size=100"]);
    let groups = s.ovs_ofctl(&["dump-groups", "br0"]);
    assert!(groups.contains("group_id=1,type=all") && groups.contains("output:3"), "{groups}");
    let meters = s.ovs_ofctl(&["dump-meters", "br0"]);
    assert!(
        meters.contains("meter=4 pktps burst stats") && meters.contains("rate=1000 burst_size=100"),
        "{meters}"
    );
    s.ovs_ofctl(&["add-flow", "br0", "in_port=1,actions=meter:4,group:1"]);
    let tx = Wire::open(lab.host(1), "eth0");
    let others = [Wire::open(lab.host(2), "eth0"), Wire::open(lab.host(3), "eth0")];
    for n in 0..5u8 {
        tx.send(&ether(0xff, 1, 0x88b5, &[n]));
    }
    for rx in &others {
        let got = rx.drain(Duration::from_millis(700)).iter().filter(|f| f[12..14] == [0x88, 0xb5]).count();
        assert_eq!(got, 5);
    }
    let stats = s.ovs_ofctl(&["dump-group-stats", "br0"]);
    assert!(stats.contains("packet_count=5"), "{stats}");
    let stats = s.ovs_ofctl(&["meter-stats", "br0"]);
    assert!(stats.contains("packet_in_count:5"), "{stats}");
    s.ovs_ofctl(&["del-meters", "br0"]);
    assert!(flows(&lab).is_empty(), "a flow outlived its meter");
    s.ovs_ofctl(&["del-groups", "br0"]);
    assert!(!s.ovs_ofctl(&["dump-groups", "br0"]).contains("group_id"));
    assert!(s.ovs_ofctl(&["meter-features", "br0"]).contains("drop"));
    assert!(s.ovs_ofctl(&["dump-group-features", "br0"]).contains("fast failover"));
}

#[test]
fn bundles_are_all_or_nothing() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    let good = lab.dir.write("good.txt", "priority=1,in_port=1,actions=2\npriority=2,in_port=2,actions=1\n");
    lab.switch.ovs_ofctl(&["--bundle", "add-flows", "br0", &good]);
    assert_eq!(flows(&lab).len(), 2);
    let bad = lab
        .dir
        .write("bad.txt", "priority=3,in_port=1,actions=drop\npriority=4,in_port=1,actions=group:99\n");
    let out = lab.switch.try_ovs_ofctl(&["--bundle", "add-flows", "br0", &bad]);
    assert!(!out.status.success());
    assert_eq!(flows(&lab).len(), 2, "half of a refused bundle stayed: {:?}", flows(&lab));
    let next = lab.dir.write("next.txt", "priority=9,in_port=2,actions=1\n");
    lab.switch.ovs_ofctl(&["--bundle", "replace-flows", "br0", &next]);
    assert_eq!(flows(&lab), ["priority=9,in_port=2 actions=output:1"]);
    lab.switch.ovs_ofctl(&["diff-flows", "br0", &next]);
}

#[test]
fn packet_out_and_port_statistics() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    let rx = Wire::open(lab.host(2), "eth0");
    let frame = ether(2, 1, 0x0800, &udp([10, 0, 0, 1], [10, 0, 0, 2], 7, 8, b"out"));
    let hex: String = frame.iter().map(|b| format!("{b:02x}")).collect();
    lab.switch.ovs_ofctl(&[
        "packet-out",
        "br0",
        &format!("in_port=CONTROLLER packet={hex} actions=output:2"),
    ]);
    rx.expect("the packet", Duration::from_secs(3), |f| (f == frame.as_slice()).then_some(()));
    let stats = lab.switch.ovs_ofctl(&["dump-ports", "br0", "2"]);
    assert!(stats.contains("tx pkts=1, bytes=60"), "{stats}");
}

#[test]
fn mod_port_takes_effect() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    lab.switch.ovs_ofctl(&["add-flow", "br0", "in_port=1,actions=output:2"]);
    let (tx, rx) = (Wire::open(lab.host(1), "eth0"), Wire::open(lab.host(2), "eth0"));
    lab.switch.ovs_ofctl(&["mod-port", "br0", "2", "no-forward"]);
    tx.send(&ether(2, 1, 0x88b5, b"no"));
    assert!(
        rx.drain(Duration::from_millis(500)).iter().all(|f| f[12..14] != [0x88, 0xb5]),
        "forwarded to a no-forward port"
    );
    lab.switch.ovs_ofctl(&["mod-port", "br0", "2", "forward"]);
    tx.send(&ether(2, 1, 0x88b5, b"yes"));
    rx.expect("a frame", Duration::from_secs(3), |f| f[14..].starts_with(b"yes").then_some(()));
    assert!(lab.switch.ovs_ofctl(&["show", "br0"]).contains("config:     0"));
}
