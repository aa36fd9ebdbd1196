//! Ports over DPDK, without hugepages or network cards: every virtual device passes packets, between two processes where it takes two,
//! and what is told of PMD threads.

use std::process::Command;
use std::time::Duration;
use tests::frames::{ether, udp, Wire};
use tests::netns::Netns;
use tests::switch::{bin, Lab, Scratch, Switch};
use tests::{shared, wait_for};

const EAL: &str = "--no-huge --no-pci --in-memory -m 256";
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the binaries have DPDK; a build without it has nothing to test here.
fn has_dpdk() -> bool {
    let out = Command::new(bin("ofswitchd"))
        .args(["--port", "x,type=dpdk,devargs=net_null0", "--run-dir", "/dev/null/x"])
        .output()
        .expect("ofswitchd");
    let has = !String::from_utf8_lossy(&out.stderr).contains("no feature dpdk");
    if !has {
        eprintln!("skipped: this build has no DPDK");
    }
    has
}

/// A switch, bridge `br<i>`, with host `i` at port 1, PMDs that sleep when idle (other tests run beside), joined to port 2 both ways.
fn switch(ns: &Netns, dir: &Scratch, host: usize, args: &[&str]) -> Switch {
    let bridge = format!("br{host}");
    let port = format!("p{host},ofport=1");
    let mut all = vec!["--dpdk", EAL, "--pmd", "sleep-max=200", "--bridge", &bridge, "--port", &port];
    all.extend(args);
    let s = Switch::start(ns, dir, &all);
    s.ofctl(&["add-flow", &bridge, "in_port=1,actions=output:2"]);
    s.ofctl(&["add-flow", &bridge, "in_port=2,actions=output:1"]);
    s
}

fn frame(n: u8) -> Vec<u8> {
    ether(2, 1, 0x88b5, &[n; 80])
}

/// Sends until it arrives.
fn crosses(what: &str, from: &Wire, to: &Wire, n: u8) {
    let f = frame(n);
    wait_for(what, PATIENCE, || {
        let _ = from.try_send(&f);
        to.recv(Duration::from_millis(100)).filter(|g| *g == f)
    });
}

/// Frames of a classic pcap file.
fn pcap(path: &std::path::Path) -> Vec<Vec<u8>> {
    let data = std::fs::read(path).unwrap_or_default();
    let mut rest = data.get(24..).unwrap_or_default();
    let mut out = Vec::new();
    while let Some(head) = rest.get(..16) {
        let len = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let Some(f) = rest.get(16..16 + len) else { break };
        out.push(f.to_vec());
        rest = &rest[16 + len..];
    }
    out
}

fn write_pcap(dir: &Scratch, name: &str, frames: &[Vec<u8>]) -> String {
    let mut f =
        vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
    for frame in frames {
        f.extend([0; 8]);
        f.extend((frame.len() as u32).to_le_bytes());
        f.extend((frame.len() as u32).to_le_bytes());
        f.extend(frame);
    }
    let path = dir.path(name);
    std::fs::write(&path, f).expect("written");
    path.display().to_string()
}

#[test]
fn every_virtual_device_passes_packets() {
    let _quiet = shared();
    if !has_dpdk() {
        return;
    }
    let (ns, hosts, dir) = Lab::bare(3);
    let h1 = Wire::open(&hosts[0], "eth0");
    // Devices below a bond must be there before it.
    let eal = format!("{EAL} --vdev net_tap_b0,iface=bond0 --vdev net_tap_b1,iface=bond1");
    let s = Switch::start(
        &ns,
        &dir,
        &["--dpdk", &eal, "--pmd", "sleep-max=200", "--bridge", "br0", "--port", "p1,ofport=1"],
    );
    s.ofctl(&["add-flow", "br0", "in_port=1,actions=output:2"]);
    s.ofctl(&["add-flow", "br0", "in_port=2,actions=output:1"]);
    let add = |devargs: &str| {
        s.ofctl(&["add-port", "br0", "d", "type=dpdk", "ofport=2", &format!("devargs={devargs}")]);
    };
    let del = || {
        s.ofctl(&["del-port", "d"]);
    };

    // null: takes everything (counted), gives when not told otherwise.
    add("net_null0,no-rx=1");
    for n in 0..10 {
        h1.send(&frame(n));
    }
    wait_for("10 frames sent to net_null", PATIENCE, || {
        s.ovs_ofctl(&["dump-ports", "br0", "2"]).contains("tx pkts=10, bytes=940").then_some(())
    });
    assert!(s.ofctl(&["port-xstats", "d"]).contains("tx_good_packets"), "DPDK's own statistics are shown");
    del();
    add("net_null0,size=64");
    h1.recv(PATIENCE).expect("a frame of net_null");
    del();

    // pcap: from a file, into a file.
    let frames: Vec<Vec<u8>> = (0..5).map(frame).collect();
    let (from, to) = (write_pcap(&dir, "in.pcap", &frames), dir.path("out.pcap"));
    h1.drain(Duration::from_millis(50));
    add(&format!("net_pcap0,rx_pcap={from},tx_pcap={}", to.display()));
    for f in &frames {
        h1.expect("a frame of the file", PATIENCE, |g| (g == f.as_slice()).then_some(()));
    }
    for n in 20..25 {
        h1.send(&frame(n));
    }
    wait_for("5 frames in port statistics", PATIENCE, || {
        s.ovs_ofctl(&["dump-ports", "br0", "2"]).contains("tx pkts=5").then_some(())
    });
    del();
    assert_eq!(pcap(&to), (20..25).map(frame).collect::<Vec<_>>());

    // A ring: what is sent comes back.
    add("net_ring_loop");
    crosses("a frame through the ring", &h1, &h1, 30);
    del();
    // A bond of two taps, round robin: both carry packets.
    add("net_bonding0,mode=0,slave=net_tap_b0,slave=net_tap_b1");
    for (n, below) in [(31, "bond0"), (32, "bond1")] {
        ns.sh(&format!("sysctl -qw net.ipv6.conf.{below}.disable_ipv6=1; ip link set {below} up"));
        let below = Wire::open(&ns, below);
        crosses("a frame into the bond", &h1, &below, n);
        crosses("a frame out of the bond", &below, &h1, n + 100);
    }
    del();

    // tap: the other end is a Linux interface.
    add("net_tap0,iface=dtap0");
    ns.sh("sysctl -qw net.ipv6.conf.dtap0.disable_ipv6=1; ip link set dtap0 up");
    let tap = Wire::open(&ns, "dtap0");
    crosses("a frame to the tap", &h1, &tap, 33);
    crosses("a frame from the tap", &tap, &h1, 34);
    drop(tap);
    del();

    // af_packet and af_xdp: on a cable to hosts 2 and 3.
    for (host, devargs) in [(1, "net_af_packet0,iface=p2"), (2, "net_af_xdp0,iface=p3,start_queue=0")] {
        let far = Wire::open(&hosts[host], "eth0");
        add(devargs);
        crosses(&format!("a frame to {devargs}"), &h1, &far, 35);
        crosses(&format!("a frame from {devargs}"), &far, &h1, 36);
        del();
        // Detached and attached again while running (DPDK's net_af_xdp leaves its program on the interface when there is no bpffs).
        if host == 1 {
            add(devargs);
            crosses("a frame to a device attached again", &h1, &far, 37);
            del();
        }
    }
    s.stop();
}

/// Host 1 at switch A, host 2 at switch B, A and B joined by one device each; B is ended hard and started again, then A.
fn two_processes(a_port: &dyn Fn(&Scratch) -> String, b_port: &dyn Fn(&Scratch) -> String) {
    let _quiet = shared();
    if !has_dpdk() {
        return;
    }
    let (ns, hosts, dir) = Lab::bare(2);
    let other = Scratch::new();
    let (h1, h2) = (Wire::open(&hosts[0], "eth0"), Wire::open(&hosts[1], "eth0"));
    let (pa, pb) = (a_port(&dir), b_port(&dir));
    let a = switch(&ns, &dir, 1, &["--port", &pa]);
    let b = switch(&ns, &other, 2, &["--port", &pb]);
    crosses("a frame from A to B", &h1, &h2, 1);
    crosses("a frame from B to A", &h2, &h1, 2);
    // All of a burst, in order.
    h2.drain(Duration::from_millis(50));
    for n in 100..200 {
        h1.send(&frame(n));
    }
    let got: Vec<Vec<u8>> = (100..200).map_while(|_| h2.recv(Duration::from_secs(2))).collect();
    assert_eq!(got, (100..200).map(frame).collect::<Vec<_>>());
    b.kill();
    // The link follows the other side.
    let link_down = || a.ovs_ofctl(&["show", "br1"]).contains("LINK_DOWN");
    wait_for("the link going down", PATIENCE, || link_down().then_some(()));
    // What a server made by DPDK itself leaves, its operator removes.
    if pb.contains("server=1") {
        std::fs::remove_file(dir.path("v.sock")).expect("removed");
    }
    let b = switch(&ns, &other, 2, &["--port", &pb]);
    crosses("a frame from A to B, started again", &h1, &h2, 3);
    crosses("a frame from B, started again, to A", &h2, &h1, 4);
    assert!(!link_down(), "the link is up again");
    b.stop();
    a.kill();
    // The sockets of a switch that was killed do not stop the next.
    let a = switch(&ns, &dir, 1, &["--port", &pa]);
    let b = switch(&ns, &other, 2, &["--port", &pb]);
    crosses("a frame from A, started again, to B", &h1, &h2, 5);
    b.stop();
    a.stop();
}

#[test]
fn memif_joins_two_processes_and_reconnects() {
    let at = |d: &Scratch| d.path("m.sock").display().to_string();
    two_processes(&|d| format!("d,ofport=2,type=memif,role=server,path={}", at(d)), &|d| {
        format!("d,ofport=2,type=memif,role=client,path={}", at(d))
    });
}

#[test]
fn a_vhost_user_server_serves_virtio_user_and_reconnects() {
    let at = |d: &Scratch| d.path("v.sock").display().to_string();
    two_processes(&|d| format!("d,ofport=2,type=dpdkvhostuser,path={}", at(d)), &|d| {
        format!("d,ofport=2,type=dpdk,devargs=net_virtio_user0,path={}", at(d))
    });
}

#[test]
fn a_vhost_user_client_reconnects_to_its_server() {
    let at = |d: &Scratch| d.path("v.sock").display().to_string();
    two_processes(&|d| format!("d,ofport=2,type=dpdkvhostuserclient,path={}", at(d)), &|d| {
        format!("d,ofport=2,type=dpdk,devargs=net_virtio_user0,path={},server=1", at(d))
    });
}

#[test]
fn pmds_are_set_shown_and_kept() {
    let _quiet = shared();
    if !has_dpdk() || std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return;
    }
    let (ns, dir) = (Netns::new("pmd"), Scratch::new());
    let state = dir.path("state").display().to_string();
    let start = |args: &[&str]| {
        let mut all = vec!["--dpdk", EAL, "--state-dir", &state];
        all.extend(args);
        Switch::start(&ns, &dir, &all)
    };
    let s = start(&[
        "--pmd-cpu-mask=0x3",
        "--pmd",
        "sleep-max=300",
        "--port",
        "n0,type=dpdk,n_rxq=2,n_rxq_desc=512,mtu=2000,pmd-rxq-affinity=0:1,1:0,devargs=net_null0,size=64,no-rx=1",
    ]);
    let shown = s.ofctl(&["pmd-rxq-show"]);
    let place = |text: &str, core: usize| -> String {
        text.split("pmd thread").find(|t| t.contains(&format!("core_id {core}:"))).unwrap_or("").to_string()
    };
    assert!(
        place(&shown, 1).contains("isolated : true") && place(&shown, 1).contains("queue-id:  0"),
        "{shown}"
    );
    assert!(place(&shown, 0).contains("queue-id:  1 (enabled)"), "{shown}");
    s.ofctl(&["set-port", "n0", "pmd-rxq-affinity="]);
    assert!(!s.ofctl(&["pmd-rxq-show"]).contains("isolated : true"));
    s.ofctl(&["set-port", "n0", "pmd-rxq-affinity=1:1"]);
    s.ofctl(&[
        "set-pmd",
        "pmd-cpu-mask=0x2",
        "rxq-assign=roundrobin",
        "auto-lb=true",
        "auto-lb-rebal-interval=10s",
    ]);
    let shown = s.ofctl(&["pmd-rxq-show"]);
    assert!(place(&shown, 0).is_empty() && shown.matches("port: n0").count() == 2, "{shown}");
    assert_eq!(s.ofctl(&["pmd-rxq-rebalance"]), "all queues stay where they are\n");
    // Idle: it sleeps, at most as long as told, and uses little of its core.
    let before = s.cpu_time();
    std::thread::sleep(Duration::from_millis(500));
    let used = s.cpu_time() - before;
    assert!(used < Duration::from_millis(250), "an idle switch used {used:?} of 500 ms");
    let naps: serde_json::Value =
        serde_json::from_str(&s.ofctl(&["--json", "pmd-sleep-show"])).expect("JSON");
    assert_eq!((&naps[0]["max_sleep_us"], &naps[0]["core"]), (&300.into(), &1.into()), "{naps}");
    assert!(naps[0]["sleeps"].as_u64() > Some(10), "{naps}");
    // Figures in words and as JSON; cleared.
    let perf = s.ofctl(&["pmd-perf-show"]);
    for word in [
        "pmd thread numa_id 0 core_id 1:",
        "sleep iterations:",
        "EMC hits:",
        "subtbl lookups/hit",
        "us/upcall",
        "- lookup",
        "Packets per batch",
        "Long iterations",
        "> 0.25 ms",
    ] {
        assert!(perf.contains(word), "no {word} in\n{perf}");
    }
    let perf: serde_json::Value = serde_json::from_str(&s.ofctl(&["--json", "pmd-perf-show"])).expect("JSON");
    assert_eq!(perf[1]["batch_sizes"].as_array().map(Vec::len), Some(33));
    s.ofctl(&["pmd-stats-clear"]);
    assert!(s.ofctl(&["pmd-stats-show"]).contains("packets received: 0"));
    assert!(s.ofctl(&["pool-show"]).contains("NUMA node 0"), "{}", s.ofctl(&["pool-show"]));
    // Options that need the device opened anew; one that cannot be leaves the port as it was.
    s.ofctl(&["set-port", "n0", "n_rxq=3", "n_rxq_desc=1024"]);
    assert_eq!(s.ofctl(&["pmd-rxq-show"]).matches("port: n0").count(), 3);
    for (args, says) in [
        (&["set-port", "n0", "n_rxq=999"][..], "n_rxq=999: write 1 to 256"),
        (&["set-port", "n0", "mtu=2000", "color=red"], "has no option color"),
        (&["set-pmd", "sleep-max=never"], "write 0 to 10000"),
        (&["set-pmd", "pmd-cores=77"], "pinning to core 77"),
        (&["set-pmd", "color=red"], "unknown; there are"),
        (&["set-port", "n0", "pmd-rxq-affinity=9:1"], "there is no queue 9; it has 3"),
        (&["set-port", "br0", "pmd-rxq-affinity=0:1"], "epoll worker"),
        (&["port-xstats", "nobody"], "no port named nobody"),
    ] {
        let out = s.try_ofctl(args);
        let e = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            out.status.code() == Some(1) && e.contains(says) && e.trim_end().lines().count() == 1,
            "{args:?}: {e}"
        );
    }
    assert_eq!(s.ofctl(&["pmd-rxq-show"]).matches("port: n0").count(), 3);
    let settings = s.ofctl(&["get-pmd"]);
    s.kill();
    // What was set is there again, the pins too.
    let s = start(&[]);
    assert_eq!(s.ofctl(&["get-pmd"]), settings);
    assert_eq!(s.ofctl(&["pmd-rxq-show"]).matches("port: n0").count(), 3);
    assert!(
        settings.contains("pmd-cores=1\npmd-rxq-assign=roundrobin\n") && settings.contains("interval=10s")
    );
    assert!(s.ofctl(&["pmd-rxq-show"]).contains("pinned"), "{}", s.ofctl(&["pmd-rxq-show"]));
    s.stop();
}

#[test]
fn flows_spread_over_receive_queues_and_their_pmds() {
    let _quiet = shared();
    if !has_dpdk() || std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return;
    }
    let (ns, dir) = (Netns::new("rss"), Scratch::new());
    let port =
        "t,ofport=1,type=dpdk,n_rxq=2,n_txq=2,pmd-rxq-affinity=0:0,1:1,devargs=net_tap_rss,iface=rsstap";
    let args = ["--dpdk", EAL, "--pmd-cores", "0-1", "--pmd", "sleep-max=200", "--port", port];
    let s = Switch::start(&ns, &dir, &args);
    s.ofctl(&["add-flow", "br0", "in_port=1,actions=drop"]);
    let tap = Wire::open(&ns, "rsstap");
    let (flows, each) = (64, 4);
    for n in 0..flows * each {
        tap.send(&ether(2, 1, 0x0800, &udp([10, 0, 0, 1], [10, 0, 0, 2], 1000 + n % flows, 80, &[0; 40])));
    }
    let counts = |core: u64| -> u64 {
        let all: serde_json::Value =
            serde_json::from_str(&s.ofctl(&["--json", "pmd-stats-show"])).expect("JSON");
        let pmds = all.as_array().expect("a list");
        pmds.iter().filter(|p| p["core"] == core).filter_map(|p| p["counters"]["rx_packets"].as_u64()).sum()
    };
    let (a, b) = wait_for("all packets received", PATIENCE, || {
        let (a, b) = (counts(0), counts(1));
        (a + b >= u64::from(flows * each)).then_some((a, b))
    });
    // 64 flows by a hash: a queue with less than an eighth of them is one in 10^11.
    let least = u64::from(flows * each / 8);
    assert!(a >= least && b >= least, "{a} packets at core 0, {b} at core 1");
    s.stop();
}

#[test]
fn jumbo_frames_pass_where_buffers_were_made_for_them() {
    let _quiet = shared();
    if !has_dpdk() {
        return;
    }
    let (ns, hosts, dir) = Lab::bare(2);
    for (i, h) in hosts.iter().enumerate() {
        ns.sh(&format!("ip link set p{} mtu 9000", i + 1));
        h.sh("ip link set eth0 mtu 9000");
    }
    let s = switch(&ns, &dir, 1, &["--port", "d,ofport=2,type=dpdk,mtu=9000,devargs=net_ring_j"]);
    let h1 = Wire::open(&hosts[0], "eth0");
    let big = ether(2, 1, 0x88b5, &vec![9; 8900]);
    wait_for("a frame of 8914 bytes through the ring", PATIENCE, || {
        h1.send(&big);
        h1.recv(Duration::from_millis(200)).filter(|f| *f == big)
    });
    s.stop();
}

#[test]
fn short_memory_is_told_with_what_to_do() {
    let _quiet = shared();
    if !has_dpdk() {
        return;
    }
    let (ns, dir) = (Netns::new("mem"), Scratch::new());
    let port = "n0,type=dpdk,devargs=net_null0";
    // Far more hugepages than any machine that runs tests has.
    for (eal, port, says) in [
        ("--no-pci -m 4000000", port, "sysctl vm.nr_hugepages=512"),
        ("--no-huge --no-pci -m 64", "n0,type=dpdk,mbufs=1000000,devargs=net_null0", "-m MEBIBYTES"),
        ("--no-huge --no-such-option", port, "check the arguments"),
    ] {
        let e = Switch::try_start(&ns, &dir, &["--dpdk", eal, "--port", port]).expect_err("refused");
        let line = e.lines().rfind(|l| l.starts_with("ofswitchd: ")).unwrap_or_default();
        assert!(line.contains(says), "{eal}: {e}");
    }
}
