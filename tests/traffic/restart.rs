//! What survives a restart with `--state-dir`.

use openflow::OfMessage;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tests::switch::{Lab, Switch};
use tests::{shared, wait_for};

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

#[test]
fn entries_that_made_room_expired_or_were_learned_come_back_as_they_were() {
    let _quiet = shared();
    let (ns, hosts, dir) = Lab::bare(2);
    let state = dir.path("state").to_string_lossy().into_owned();
    let args = ["--state-dir", &state, "--bridge", "br0", "--port", "p1,ofport=1", "--port", "p2,ofport=2"];
    let switch = Switch::start(&ns, &dir, &args);
    switch.ofctl(&["set-table", "br0", "3", "flow-limit=2", "overflow-policy=evict"]);
    // The first ends before the second, and makes room; beginning anew at the same time the second would.
    switch.ofctl(&["add-flow", "br0", "table=3,hard_timeout=100,priority=1,actions=drop"]);
    std::thread::sleep(Duration::from_secs(3));
    switch.ofctl(&["add-flow", "br0", "table=3,hard_timeout=98,priority=2,actions=drop"]);
    switch.ofctl(&["add-flow", "br0", "table=3,hard_timeout=1000,priority=3,actions=drop"]);
    // A table that refuses keeps what is too many for it.
    for n in 1..=3 {
        switch.ofctl(&["add-flow", "br0", &format!("table=4,priority={n},actions=drop")]);
    }
    switch.ofctl(&["set-table", "br0", "4", "flow-limit=1"]);
    switch.ofctl(&["add-flow", "br0", "table=6,hard_timeout=1,priority=7,actions=drop"]);
    switch.ofctl(&["add-flow", "br0", "arp,actions=FLOOD"]);
    switch.ofctl(&[
        "add-flow",
        "br0",
        "priority=1,ip,actions=learn(table=5,idle_timeout=300,hard_timeout=600,priority=9,cookie=0x77,send_flow_rem,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],\
         output:NXM_OF_IN_PORT[]),FLOOD",
    ]);
    switch.ofctl(&[
        "add-flow",
        "br0",
        "priority=2,ip,in_port=2,actions=learn(table=5,hard_timeout=600,priority=9,cookie=0x78,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[]),\
         learn(table=7,hard_timeout=1,priority=9,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[]),FLOOD",
    ]);
    let mut lab = Lab { switch, hosts, ns, dir };
    assert!(lab.ping(1, 2, 3));
    // Nobody listens there: the answer is a RST, which makes the entry's time shorter.
    lab.switch.ofctl(&["add-flow", "br0", "priority=3,tcp,idle_timeout=500,hard_timeout=700,actions=fin_timeout(idle_timeout=200,hard_timeout=300),FLOOD"]);
    lab.host(1).try_sh("timeout 5 bash -c 'exec 3<>/dev/tcp/10.0.0.2/9'");
    let dump = |s: &Switch| {
        let text = s.ofctl(&["--no-stats", "dump-flows", "br0"]);
        let mut lines: Vec<String> = text.lines().map(|l| format!(" {}", l.trim())).collect();
        lines.sort();
        lines
    };
    let before = wait_for("entries learned and expired", Duration::from_secs(10), || {
        let now = dump(&lab.switch);
        let of = |table: &str| now.iter().filter(|l| l.contains(table)).count();
        let shorter = of("idle_timeout=200, hard_timeout=300");
        (shorter == 1 && of(" table=5,") == 2 && of(" table=6,") + of(" table=7,") == 0).then_some(now)
    });
    let has = |word: &str| before.iter().any(|l| l.contains(word));
    assert!(has(" hard_timeout=98,") && !has(" hard_timeout=100,") && has(", send_flow_rem "), "{before:#?}");
    // The second kill finds what the restart wrote anew.
    for kill in 1..=2 {
        lab.switch.kill();
        lab.switch = Switch::start(&lab.ns, &lab.dir, &args);
        assert_eq!(dump(&lab.switch), before, "after kill {kill}");
    }
}

/// Messages one after the other on a management socket, each tenth a barrier, until the switch is killed. The numbers of the last that
/// was answered and of the last that was sent.
fn until_killed(path: std::path::PathBuf, from: u32) -> (u32, u32) {
    use openflow::msg::{FlowModCommand, GroupModCommand, Message, MeterModCommand};
    use openflow::text::{parse_flow_line, parse_group, parse_meter, NoNames};
    let mut s = UnixStream::connect(path).expect("management socket");
    s.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    let hello = [4, 0, 0, 8, 0, 0, 0, 1];
    let (mut acked, mut n, mut seen) = (from, from, Vec::new());
    if s.write_all(&hello).is_err() {
        return (acked, n);
    }
    loop {
        let mut out = Vec::new();
        let mut put = |xid: u32, m: Message| {
            out.extend_from_slice(&OfMessage::new(xid, m).to_bytes().expect("bytes"));
        };
        for _ in 0..10 {
            n += 1;
            let line = format!("cookie={n},metadata={n},actions=drop");
            put(n, parse_flow_line(&line, FlowModCommand::ADD, &NoNames).expect("a flow").into());
        }
        put(
            n,
            parse_group(&format!("group_id={n},type=all"), GroupModCommand::ADD, &NoNames)
                .expect("a group")
                .into(),
        );
        put(
            n,
            parse_meter(&format!("meter={n},pktps,band=type=drop,rate=9"), MeterModCommand::ADD)
                .expect("a meter")
                .into(),
        );
        put(n, Message::BarrierRequest);
        if s.write_all(&out).is_err() {
            return (acked, n);
        }
        while acked < n {
            let mut piece = [0; 4096];
            match s.read(&mut piece) {
                Ok(got) if got > 0 => seen.extend_from_slice(&piece[..got]),
                _ => return (acked, n),
            }
            while let Some(len) = seen.get(2..4).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]]))) {
                if seen.len() < len {
                    break;
                }
                let m: Vec<u8> = seen.drain(..len).collect();
                assert_ne!(m[1], 1, "an error: {m:02x?}");
                if m[1] == 21 {
                    acked = u32::from_be_bytes([m[4], m[5], m[6], m[7]]);
                }
            }
        }
    }
}

#[test]
fn what_a_barrier_answered_for_is_there_after_twenty_kills() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let state = dir.path("state").to_string_lossy().into_owned();
    let args = ["--state-dir", &state, "--state-sync", "barrier", "--bridge", "br0", "--port", "p1"];
    let mut from = 0;
    for round in 0..20u64 {
        let switch = Switch::start(&ns, &dir, &args);
        let path = switch.run_dir().join("br0.mgmt");
        let client = std::thread::spawn(move || until_killed(path, from));
        std::thread::sleep(Duration::from_millis(20 + round * 37 % 200));
        switch.kill();
        let (acked, sent) = client.join().expect("client");
        let switch = Switch::start(&ns, &dir, &args);
        let numbers = |text: String, word: &str| -> Vec<u32> {
            let of = |l: &str| l.split(word).nth(1)?.split([',', ' ']).next().map(str::to_string);
            let hex = |t: String| match t.strip_prefix("0x") {
                Some(h) => u32::from_str_radix(h, 16).expect("hexadecimal"),
                None => t.parse().expect("a number"),
            };
            let mut all: Vec<u32> = text.lines().filter_map(of).map(hex).collect();
            all.sort_unstable();
            all
        };
        let flows = numbers(switch.ofctl(&["--no-stats", "dump-flows", "br0"]), "cookie=");
        let n = flows.len() as u32;
        assert!(acked <= n && n <= sent, "round {round}: {n} flows, {acked} answered for, {sent} sent");
        assert!(flows.iter().copied().eq(1..=n), "round {round}: not the first {n}");
        for (what, word) in [("dump-groups", "group_id="), ("dump-meters", "meter=")] {
            let all = numbers(switch.ofctl(&[what, "br0"]), word);
            let wanted = (acked / 10, sent / 10);
            assert!(
                (wanted.0..=wanted.1).contains(&(all.len() as u32)),
                "round {round}: {} of {what}, {wanted:?}",
                all.len()
            );
        }
        // The next round goes on where this one got to; what was half done is done again.
        from = n - n % 10;
        switch.ofctl(&["del-groups", "br0", &format!("group_id={}", from + 10)]);
        switch.ofctl(&["del-meters", "br0", &format!("meter={}", from + 10)]);
        for n in from + 1..=n {
            switch.ofctl(&["--strict", "del-flows", "br0", &format!("metadata={n},priority=32768")]);
        }
        switch.stop();
    }
    println!("{from} flow entries after twenty kills");
}
