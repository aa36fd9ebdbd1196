//! What survives a restart with `--state-dir`.

use tests::shared;
use tests::switch::{Lab, Switch};

#[test]
fn flows_groups_and_meters_survive_a_restart_and_a_kill() {
    let _quiet = shared();
    let (ns, hosts, dir) = Lab::bare(2);
    let state = dir.path("state").to_string_lossy().into_owned();
    let args = ["--state-dir", &state, "--bridge", "br0", "--port", "p1,ofport=1", "--port", "p2,ofport=2"];
    let switch = Switch::start(&ns, &dir, &args);
    switch.ovs_ofctl(&["add-group", "br0", "group_id=5,type=all,bucket=actions=output:2"]);
    switch.ovs_ofctl(&["add-meter", "br0", "meter=6,kbps,bands=type=drop,rate=100000"]);
    switch.ovs_ofctl(&["add-flow", "br0", "priority=3,in_port=1,actions=meter:6,group:5"]);
    switch.ovs_ofctl(&["add-flow", "br0", "priority=3,in_port=2,actions=output:1"]);
    let dump = |s: &Switch| {
        [
            s.ovs_ofctl(&["dump-flows", "br0", "--no-stats"]),
            s.ovs_ofctl(&["dump-groups", "br0"]),
            s.ovs_ofctl(&["dump-meters", "br0"]),
        ]
        .map(|text| {
            let mut lines: Vec<String> = text.lines().skip(1).map(|l| l.trim().to_string()).collect();
            lines.sort();
            lines
        })
    };
    let before = dump(&switch);
    switch.kill();
    let switch = Switch::start(&ns, &dir, &args);
    assert_eq!(dump(&switch), before, "after kill -9");
    switch.stop();
    let switch = Switch::start(&ns, &dir, &args);
    assert_eq!(dump(&switch), before, "after a restart");
    let lab = Lab { switch, hosts, ns, dir };
    assert!(lab.ping(1, 2, 3));
}
