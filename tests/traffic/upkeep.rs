//! What an operator expects over time: no load when idle, timeouts that fire, a clean end.

use std::time::Duration;
use tests::alone;
use tests::controller::{apply, ofpt, output, oxm_in_port, Listener, Peer};
use tests::shared;
use tests::switch::{Lab, Switch};

#[test]
fn an_idle_switch_uses_less_than_one_percent_of_a_core() {
    let _quiet = alone();
    let lab = Lab::new(3, &[]);
    lab.switch.ovs_ofctl(&["add-flow", "br0", "actions=NORMAL"]);
    assert!(lab.ping(1, 2, 3));
    std::thread::sleep(Duration::from_secs(2));
    let before = lab.switch.cpu_time();
    std::thread::sleep(Duration::from_secs(5));
    let used = lab.switch.cpu_time() - before;
    assert!(used <= Duration::from_millis(50), "{used:?} of processor time in 5 idle seconds");
}

#[test]
fn timeouts_remove_flows_and_tell_the_controller() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(2);
    let listener = Listener::new(&dir, "c.sock");
    let switch = Switch::start(
        &ns,
        &dir,
        &["--bridge", "br0", "--port", "p1", "--port", "p2", "--controller", &listener.target],
    );
    let mut peer = listener.accept(Duration::from_secs(10));
    // Through ovs-ofctl for the timeouts; send_flow_rem asks for the message.
    switch.ovs_ofctl(&["add-flow", "br0", "idle_timeout=1,send_flow_rem,in_port=1,actions=output:2"]);
    switch.ovs_ofctl(&["add-flow", "br0", "hard_timeout=1,send_flow_rem,in_port=2,actions=output:1"]);
    for want in [0u8, 1] {
        let m = peer.expect("FLOW_REMOVED", Duration::from_secs(5), |m| {
            m.kind == ofpt::FLOW_REMOVED && m.body[10] == want
        });
        assert_eq!(m.body[11], 0, "table 0");
    }
    // And one that is deleted.
    peer.flow_mod(0, 9, 1, &oxm_in_port(1), &apply(&output(2)));
    peer.flow_mod(3, 0, 0, &[], &[]);
    peer.barrier();
    peer.expect("FLOW_REMOVED for a deletion", Duration::from_secs(3), |m| {
        m.kind == ofpt::FLOW_REMOVED && m.body[10] == 2
    });
}

#[test]
fn it_ends_cleanly_under_traffic() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    lab.switch.ovs_ofctl(&["add-flow", "br0", "actions=NORMAL"]);
    let mut flood = lab
        .host(1)
        .command("ping")
        .args(["-q", "-f", "-w", "20", "10.0.0.2"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("ping");
    std::thread::sleep(Duration::from_millis(500));
    let Lab { switch, .. } = lab;
    switch.stop();
    let _ = flood.kill();
    let _ = flood.wait();
}

#[test]
fn memory_of_flows_that_are_gone_goes_back_also_beside_a_controller_that_polls() {
    let _quiet = shared();
    let lab = Lab::new(1, &[]);
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", lab.switch.pid())).expect("status");
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("kilobytes")
    };
    let mut peer = Peer::connect(&lab.switch.run_dir().join("br0.mgmt"));
    let before = resident();
    for i in 0..200_000u32 {
        let mut oxm = vec![0x80, 0, 3 << 1, 6, 2, 0];
        oxm.extend(i.to_be_bytes());
        peer.flow_mod(0, 10, 0, &oxm, &apply(&output(1)));
    }
    peer.barrier();
    let full = resident();
    assert!(full > before + 20_000, "{before} kB, then {full} kB");
    peer.flow_mod(3, 0, 0, &[], &[]);
    let begun = std::time::Instant::now();
    let mut after = full;
    while begun.elapsed() < Duration::from_secs(12) && after > before + (full - before) / 3 {
        peer.barrier();
        std::thread::sleep(Duration::from_millis(100));
        after = resident();
    }
    assert!(after <= before + (full - before) / 3, "{before} kB, full {full} kB, then {after} kB");
}
