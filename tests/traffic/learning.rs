//! A controller programs the switch: os-ken's learning switch, unchanged from PyPI.

use std::time::Duration;
use tests::controller::OsKen;
use tests::switch::{Lab, Switch};
use tests::{shared, wait_for};

#[test]
fn hosts_talk_through_os_ken_learning_switch() {
    let _quiet = shared();
    let (ns, hosts, dir) = Lab::bare(3);
    let _osken = OsKen::start(&ns, &dir, "simple_switch_13.py");
    let switch = Switch::start(
        &ns,
        &dir,
        &[
            "--bridge",
            "br0",
            "--port",
            "p1",
            "--port",
            "p2",
            "--port",
            "p3",
            "--controller",
            "tcp:127.0.0.1:6653",
        ],
    );
    wait_for("the table-miss entry", Duration::from_secs(10), || {
        switch.ovs_ofctl(&["dump-flows", "br0"]).contains("CONTROLLER").then_some(())
    });
    let lab = Lab { switch, hosts, ns, dir };
    for a in 1..=3 {
        for b in (1..=3).filter(|b| *b != a) {
            assert!(lab.ping(a, b, 3), "host {a} does not reach host {b}");
        }
    }
    let flows = lab.switch.ovs_ofctl(&["dump-flows", "br0"]);
    for a in 1..=3 {
        for b in (1..=3).filter(|b| *b != a) {
            let rule = format!("in_port={a},dl_src=02:00:00:00:00:0{a},dl_dst=02:00:00:00:00:0{b}");
            assert!(flows.contains(&rule), "no learned flow {rule} in\n{flows}");
        }
    }
}
