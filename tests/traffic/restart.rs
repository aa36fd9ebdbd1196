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

#[test]
fn queues_caches_pmds_and_table_limits_survive_a_restart_and_a_kill() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(2);
    let state = dir.path("state").to_string_lossy().into_owned();
    let args = ["--state-dir", &state, "--bridge", "br0", "--port", "p1,ofport=1", "--port", "p2,ofport=2"];
    let switch = Switch::start(&ns, &dir, &args);
    for line in [
        "set-queue br0 p2 1 max-rate=50M",
        "set-queue br0 p2 port max-rate=80M",
        "emc-set 4096",
        "emc-set pmd=0 1024",
        "set-pmd sleep-max=50 auto-lb=true rxq-assign=roundrobin",
        "set-flow-limit 54321",
        "set-table br0 3 flow-limit=2 overflow-policy=evict",
        "set-table br0 4 flow-limit=1",
    ] {
        switch.ofctl(&line.split(' ').collect::<Vec<_>>());
    }
    for n in 1..=2 {
        switch.ofctl(&["add-flow", "br0", &format!("table=3,hard_timeout={n}000,priority={n},actions=drop")]);
    }
    let settings = |s: &Switch| {
        let stats = s.ofctl(&["--json", "pmd-stats-show"]);
        let entries = stats.split("\"emc_entries\":").nth(1).expect("the cache").split([',', '}']).next();
        [
            entries.expect("a number").to_string(),
            s.ovs_ofctl(&["queue-get-config", "br0", "2"]).lines().skip(1).collect(),
            s.ofctl(&["get-pmd"]),
            s.ofctl(&["upcall-show"]).lines().find(|l| l.contains("limit")).expect("the limit").to_string(),
            s.ofctl(&["get-table", "br0"]),
            s.ofctl(&["list-ports", "br0", "--json"]).matches("max-rate").count().to_string(),
        ]
    };
    let before = settings(&switch);
    assert_eq!(before[0], "1024");
    assert!(before[1].contains("max_rate:50000000") || before[1].contains("max_rate:62"), "{}", before[1]);
    assert!(before[3].contains("54321"), "{}", before[3]);
    assert_eq!(
        before[4],
        "table 3: flow-limit=2,overflow-policy=evict\ntable 4: flow-limit=1,overflow-policy=refuse\n"
    );
    switch.kill();
    let switch = Switch::start(&ns, &dir, &args);
    assert_eq!(settings(&switch), before, "after kill -9");
    switch.stop();
    let switch = Switch::start(&ns, &dir, &args);
    assert_eq!(settings(&switch), before, "after a restart");
    // They are not only shown: table 3 makes room, table 4 refuses.
    switch.ofctl(&["add-flow", "br0", "table=3,priority=9,actions=drop"]);
    let flows = switch.ofctl(&["--no-stats", "dump-flows", "br0", "table=3"]);
    assert!(
        flows.contains("priority=9") && flows.contains("priority=2") && !flows.contains("priority=1 "),
        "{flows}"
    );
    switch.ofctl(&["add-flow", "br0", "table=4,priority=1,actions=drop"]);
    let full = switch.try_ofctl(&["add-flow", "br0", "table=4,priority=2,actions=drop"]);
    assert!(String::from_utf8_lossy(&full.stderr).contains("TABLE_FULL"), "{full:?}");
    assert!(switch.ofctl(&["dump-tables", "br0"]).contains("table 4: flow-limit=1,overflow-policy=refuse"));
    // Without limits again, and that is kept, too.
    switch.ofctl(&["set-table", "br0", "4", "flow-limit=none"]);
    switch.kill();
    let switch = Switch::start(&ns, &dir, &args);
    switch.ofctl(&["add-flow", "br0", "table=4,priority=2,actions=drop"]);
    // A table that is given less room than it needs lets go of what it may.
    switch.ofctl(&["set-table", "br0", "3", "flow-limit=1"]);
    let flows = switch.ofctl(&["--no-stats", "dump-flows", "br0", "table=3"]);
    assert!(flows.contains("priority=9") && !flows.contains("priority=2"), "{flows}");
    let wrong = switch.try_ofctl(&["set-table", "br0", "254", "flow-limit=1"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("not a table"), "{wrong:?}");
}
