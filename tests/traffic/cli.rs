//! `ofctl` and `ofswitchd` towards a person: output like ovs-ofctl's, and one clear line when refused.

use std::process::Output;
use tests::frames::{ether, udp, Wire};
use tests::netns::Netns;
use tests::shared;
use tests::switch::{Lab, Scratch, Switch};

/// Asserts a refusal with this status: one line on stderr, nothing on stdout, all of `words` in the line.
fn refused(what: &str, out: &Output, status: i32, words: &[&str]) {
    let err = String::from_utf8_lossy(&out.stderr);
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(status), "{what}: stdout {said:?} stderr {err:?}");
    assert_eq!(err.trim_end().lines().count(), 1, "{what}: not one line: {err:?}");
    for word in words {
        assert!(err.contains(word), "{what}: no {word:?} in {err:?}");
    }
}

#[test]
fn flows_by_ofctl_read_like_ovs_ofctl() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    let file = lab.dir.write(
        "flows.txt",
        "# a comment\ntable=0,priority=10,in_port=1,ip,nw_dst=10.0.0.2,actions=dec_ttl,output:2\n\
         table=0,priority=0,actions=NORMAL\npriority=20,arp,actions=FLOOD\nipv6,icmp6,actions=CONTROLLER:128\n",
    );
    lab.switch.ofctl(&["add-flows", "br0", &file]);
    lab.switch.ofctl(&[
        "add-flow",
        "br0",
        "priority=30,tcp,tp_dst=22,actions=set_field:02:00:00:00:00:09->eth_dst,output:2",
    ]);
    let sorted = |text: String| {
        let mut lines: Vec<String> =
            text.lines().filter(|l| l.contains("actions=")).map(|l| l.trim().to_string()).collect();
        lines.sort();
        lines
    };
    let ours = sorted(lab.switch.ofctl(&["--no-stats", "dump-flows", "br0"]));
    let theirs = sorted(lab.switch.ovs_ofctl(&["dump-flows", "br0", "--no-stats", "--no-names"]));
    assert_eq!(ours.len(), 5);
    assert_eq!(ours, theirs);
    let json = lab.switch.ofctl(&["--json", "dump-flows", "br0"]);
    assert!(json.trim_start().starts_with(['[', '{']), "{json}");
}

#[test]
fn a_packet_is_traced_as_it_is_handled() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    lab.switch.ofctl(&["add-flow", "br0", "table=0,in_port=1,ip,actions=goto_table:5"]);
    lab.switch.ofctl(&["add-flow", "br0", "table=5,udp,tp_dst=53,actions=dec_ttl,output:2"]);
    let trace = lab.switch.ofctl(&[
        "trace",
        "br0",
        "in_port=1,udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,tp_src=5,tp_dst=53",
    ]);
    let lines: Vec<&str> = trace.trim_end().lines().collect();
    let [.., megaflow, actions] = lines[..] else { panic!("{trace}") };
    assert!(megaflow.starts_with("Megaflow: ") && megaflow.contains("tp_dst=53"), "{trace}");
    assert!(
        actions.starts_with("Datapath actions: ")
            && (actions.contains("dec_ttl") || actions.contains("ttl=63")),
        "{trace}"
    );
    assert!(trace.contains("table=5") || trace.contains(" 5. "), "{trace}");
    // The packet itself.
    let (tx, rx) = (Wire::open(lab.host(1), "eth0"), Wire::open(lab.host(2), "eth0"));
    tx.send(&ether(2, 1, 0x0800, &udp([10, 0, 0, 1], [10, 0, 0, 2], 5, 53, b"dns")));
    rx.expect("the packet with ttl 63", std::time::Duration::from_secs(3), |f| {
        (f[12..14] == [8, 0] && f[22] == 63).then_some(())
    });
    let megaflows = lab.switch.ofctl(&["dump-megaflows", "br0"]);
    assert!(megaflows.contains("dst=53") || megaflows.contains("tp_dst=53"), "{megaflows}");
}

#[test]
fn malformed_input_is_refused_in_one_line_and_changes_nothing() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    let s = &lab.switch;
    s.ofctl(&["add-flow", "br0", "priority=1,in_port=1,actions=output:2"]);
    let before = s.ofctl(&["--no-stats", "dump-flows", "br0"]);
    let bad_file = lab.dir.write(
        "bad.txt",
        "priority=2,in_port=1,actions=drop\n\npriority=3,nw_src=10.0.0.300,ip,actions=drop\n",
    );
    let cases: &[(&[&str], &[&str])] = &[
        (&["add-flow", "br0", "in_port=1,actions=outptu:2"], &["outptu"]),
        (&["add-flow", "br0", "in_prot=1,actions=output:2"], &["in_prot"]),
        (&["add-flow", "br0", "ip,nw_src=10.0.0.300,actions=drop"], &["10.0.0.300"]),
        (&["add-flow", "br0", "tp_dst=80,actions=drop"], &["tp_dst"]),
        (&["add-flow", "br0", "priority=70000,actions=drop"], &["70000"]),
        (&["add-flow", "br0", "table=300,actions=drop"], &["300"]),
        (&["add-flow", "br0", "in_port=nosuch,actions=drop"], &["nosuch"]),
        (&["add-flow", "br0", "in_port=1"], &["actions"]),
        (&["add-flow", "nosuch", "in_port=1,actions=drop"], &["nosuch"]),
        (&["add-flows", "br0", "/nonexistent/flows"], &["/nonexistent/flows"]),
        (&["add-flows", "br0", &bad_file], &["3", "10.0.0.300"]),
        (&["add-group", "br0", "group_id=1,type=sometimes,bucket=actions=drop"], &["sometimes"]),
        (&["add-meter", "br0", "meter=1,kbps,band=type=drop,rate=fast"], &["fast"]),
        (&["del-port", "br0", "nosuch"], &["nosuch"]),
        (&["add-port", "br0", "nosuchif"], &["nosuchif"]),
        (&["add-port", "nosuchbr", "p1"], &["nosuchbr"]),
        (&["add-port", "br0", "lo,type=hyperspace"], &["hyperspace"]),
        (&["add-br", "br0"], &["br0"]),
        (&["mod-port", "br0", "77", "up"], &["77"]),
        (&["dump-flows", "tcp:127.0.0.1:1"], &["127.0.0.1"]),
        (&["trace", "br0", "in_port=1,frobnicate=2"], &["frobnicate"]),
        (&["ofp-parse", "/nonexistent"], &["/nonexistent"]),
    ];
    for (args, words) in cases {
        refused(&args.join(" "), &s.try_ofctl(args), 1, words);
    }
    for args in [&["no-such-command"][..], &["add-flow"], &["dump-flows", "--no-such-option", "br0"]] {
        let out = s.try_ofctl(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        assert!(!out.stderr.is_empty());
    }
    assert_eq!(s.ofctl(&["--no-stats", "dump-flows", "br0"]), before);
    assert_eq!(s.ofctl(&["list-ports", "br0"]).split_whitespace().collect::<Vec<_>>(), ["p1", "p2"]);
}

#[test]
fn descriptions_and_versions_are_as_configured() {
    let _quiet = shared();
    let words = [
        ("mfr", "Example Works", "Manufacturer"),
        ("hw", "bench 7", "Hardware"),
        ("sw", "3.14", "Software"),
        ("serial", "0042", "Serial Num"),
        ("dp", "the switch under the stairs", "DP Description"),
    ];
    let desc: Vec<String> = words.iter().map(|(key, text, _)| format!("{key}={text}")).collect();
    let mut args = vec!["--protocols", "OpenFlow13"];
    args.extend(desc.iter().flat_map(|d| ["--desc", d]));
    let lab = Lab::new(1, &args);
    let said = lab.switch.ovs_ofctl(&["dump-desc", "br0"]);
    for (_, text, label) in words {
        assert!(said.lines().any(|l| l.trim() == format!("{label}: {text}")), "{label}: {said}");
    }
}

#[test]
fn the_daemon_refuses_bad_arguments_in_one_line() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let unreadable = dir.path("none.toml").to_string_lossy().into_owned();
    let bad_toml = dir.write("bad.toml", "[[bridge]]\nname = 3\n");
    let busy = std::os::unix::net::UnixListener::bind(dir.path("x")).expect("bind");
    let holder = ns.spawn(|| std::net::TcpListener::bind("127.0.0.1:6699").expect("bind"));
    let held = holder.join().expect("holder");
    let cases: &[(&[&str], &[&str])] = &[
        (&["--bridge", "br0", "--port", "nosuch0"], &["nosuch0"]),
        (&["--bridge", "br0", "--port", "p1,type=hyperspace"], &["hyperspace"]),
        (&["--bridge", "br0", "--port", "p1,ofport=many"], &["many"]),
        (&["--bridge", "br0", "--dpid", "xyz"], &["xyz"]),
        (&["--bridge", "br0", "--fail-mode", "sometimes"], &["sometimes"]),
        (&["--bridge", "br0", "--controller", "carrier-pigeon:1"], &["carrier-pigeon"]),
        (&["--bridge", "br0", "--controller", "ptcp:6699:127.0.0.1"], &["6699"]),
        (&["--config", &unreadable], &["none.toml"]),
        (&["--config", &bad_toml], &["bad.toml"]),
        (&["--bridge", "br0", "--bridge", "br0"], &["br0"]),
        (&["--no-such-flag"], &["no-such-flag"]),
        (&["--bridge", "br0", "--protocols", "OpenFlow15"], &["OpenFlow15", "OpenFlow13"]),
        (&["--bridge", "br0", "--desc", "colour=red"], &["colour"]),
    ];
    for (args, words) in cases {
        match Switch::try_start(&ns, &dir, args) {
            Ok(_) => panic!("{args:?} was accepted"),
            Err(said) => {
                assert!(!said.starts_with("still running"), "{args:?}: neither ready nor ended");
                for word in *words {
                    assert!(said.contains(word), "{args:?}: no {word:?} in {said:?}");
                }
                assert!(!said.contains("panicked"), "{args:?}: {said}");
            }
        }
    }
    drop((busy, held));
    // And after all that it starts in the same place.
    Switch::start(&ns, &dir, &["--bridge", "br0", "--port", "p1"]).stop();
}

#[test]
fn a_missing_right_is_named() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let run = dir.path("unprivileged");
    std::fs::create_dir_all(&run).expect("directory");
    let out = ns.try_sh(&format!(
        "setpriv --bounding-set -net_raw,-net_admin --inh-caps -all timeout 10 {} --run-dir {} --bridge br0 --port p1",
        tests::switch::bin("ofswitchd").display(),
        run.display()
    ));
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && out.status.code() != Some(124), "it ran without CAP_NET_RAW: {err}");
    assert!(err.contains("CAP_NET"), "the missing right is not named: {err:?}");
}

#[test]
fn sockets_are_private_and_vanish() {
    use std::os::unix::fs::PermissionsExt;
    let _quiet = shared();
    let (ns, dir) = (Netns::new("sw"), Scratch::new());
    let switch = Switch::start(&ns, &dir, &["--bridge", "br0"]);
    let run = switch.run_dir().to_path_buf();
    for name in ["br0.mgmt", "br0.snoop", "ofswitchd.sock"] {
        let mode =
            std::fs::metadata(run.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    switch.stop();
    for name in ["br0.mgmt", "br0.snoop", "ofswitchd.sock"] {
        assert!(!run.join(name).exists(), "{name} was left behind");
    }
}

#[test]
fn watch_shows_changes_of_flows_and_packets_with_their_path() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    lab.switch.ofctl(&["add-flow", "br0", "in_port=1,udp,actions=goto_table:5"]);
    let watch = |args: &[&str]| {
        let mut all = vec!["--run-dir", lab.switch.run_dir().to_str().expect("a path")];
        all.extend(args);
        std::process::Command::new(tests::switch::bin("ofctl"))
            .args(all)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("ofctl")
    };
    let words = ["--interval", "0.1", "--timeout", "4", "watch", "br0", "udp"];
    let (plain, json) = (watch(&words), watch(&[&["--json"][..], &words].concat()));
    // It listens: its own connections are there.
    tests::wait_for("both to watch", std::time::Duration::from_secs(3), || {
        (lab.switch.ofctl(&["list-connections", "br0"]).matches("service").count() >= 2).then_some(())
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    lab.switch.ofctl(&["add-flow", "br0", "table=5,udp,tp_dst=53,actions=output:2"]);
    lab.switch.ofctl(&["add-flow", "br0", "table=7,arp,actions=drop"]);
    let tx = Wire::open(lab.host(1), "eth0");
    for _ in 0..3 {
        tx.send(&ether(2, 1, 0x0800, &udp([10, 0, 0, 1], [10, 0, 0, 2], 5, 53, b"dns")));
    }
    let (plain, json) = (plain.wait_with_output().expect("watch"), json.wait_with_output().expect("watch"));
    let (text, err) = (String::from_utf8_lossy(&plain.stdout), String::from_utf8_lossy(&plain.stderr));
    assert!(plain.status.success(), "{text}{err}");
    assert!(text.contains("event=ADDED") && text.contains("tp_dst=53") && !text.contains("arp"), "{text}");
    assert!(text.contains("packets, ") && text.contains("    output:2"), "{text}");
    let mine = text.lines().filter(|l| l.contains("dst=53"));
    let counted = mine.filter_map(|l| l.strip_prefix('+')?.split(' ').next()?.parse::<u32>().ok());
    assert_eq!(counted.sum::<u32>(), 3, "{text}");
    let text = String::from_utf8_lossy(&json.stdout);
    let events: Vec<serde_json::Value> =
        text.lines().map(|l| serde_json::from_str(l).expect("an object a line")).collect();
    assert!(
        events.iter().any(|e| e["event"] == "flows") && events.iter().any(|e| e["event"] == "packets"),
        "{text}"
    );
}

#[test]
fn top_shows_the_busiest() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    lab.switch.ofctl(&["add-flow", "br0", "in_port=1,udp,actions=output:2"]);
    let tx = Wire::open(lab.host(1), "eth0");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (plain, json) = std::thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                tx.send(&ether(2, 1, 0x0800, &udp([10, 0, 0, 1], [10, 0, 0, 2], 5, 53, b"dns")));
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let plain = lab.switch.try_ofctl(&["--interval", "0.5", "--count", "2", "top"]);
        let json = lab.switch.try_ofctl(&["--json", "--interval", "0.5", "--count", "2", "top"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        (plain, json)
    });
    let text = String::from_utf8_lossy(&plain.stdout);
    assert!(
        plain.status.success() && text.contains("main") && text.contains("p1") && text.contains("in_port("),
        "{plain:?}"
    );
    let text = String::from_utf8_lossy(&json.stdout);
    let last: serde_json::Value =
        serde_json::from_str(text.lines().last().expect("a line")).expect("an object");
    let pps = |v: &serde_json::Value, k: &str| v[k].as_f64().expect("a number");
    assert_eq!(text.lines().count(), 2);
    assert!(pps(&last["workers"][0], "rx_pps") > 50.0 && pps(&last["flows"][0], "pps") > 50.0, "{last}");
    let p1 = last["ports"].as_array().expect("ports").iter().find(|p| p["port"] == "p1").expect("p1");
    assert!(pps(p1, "rx_pps") > 50.0 && pps(p1, "rx_bps") > 20_000.0, "{p1}");
}
