//! Linux interfaces as ports: what the kernel does to frames on their way must not show.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use tests::controller::{apply, ofpt, output, oxm_in_port, Listener, CONTROLLER};
use tests::frames::{ether, tagged, udp, Wire};
use tests::switch::Lab;
use tests::{shared, wait_for};

const SECOND: Duration = Duration::from_secs(1);

/// A lab of two hosts joined by two rules.
fn joined() -> Lab {
    let lab = Lab::new(2, &[]);
    lab.switch.ovs_ofctl(&["add-flow", "br0", "in_port=1,actions=output:2"]);
    lab.switch.ovs_ofctl(&["add-flow", "br0", "in_port=2,actions=output:1"]);
    lab
}

/// A checksum of a stream, however it is cut.
fn fold(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// Send `megabytes` by TCP from host 1 to host 2; whether they arrived as sent is asserted.
fn transfer(lab: &Lab, megabytes: usize) {
    let server = lab.host(2).spawn(|| {
        let listener = TcpListener::bind("10.0.0.2:9000").expect("bind");
        let (mut s, _) = listener.accept().expect("accept");
        s.set_read_timeout(Some(10 * SECOND)).expect("timeout");
        let (mut hash, mut total, mut chunk) = (0, 0, vec![0u8; 65536]);
        loop {
            match s.read(&mut chunk).expect("the transfer stalled") {
                0 => return (total, hash),
                n => {
                    hash = fold(hash, &chunk[..n]);
                    total += n;
                }
            }
        }
    });
    let client = lab.host(1).spawn(move || {
        let mut s = wait_for("a TCP connection", 10 * SECOND, || TcpStream::connect("10.0.0.2:9000").ok());
        s.set_write_timeout(Some(10 * SECOND)).expect("timeout");
        let (mut hash, mut x) = (0, 1u64);
        let mut chunk = vec![0u8; 65536];
        for _ in 0..megabytes * 16 {
            for word in chunk.chunks_mut(8) {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                word.copy_from_slice(&x.to_be_bytes());
            }
            hash = fold(hash, &chunk);
            s.write_all(&chunk).expect("the transfer stalled");
        }
        hash
    });
    let sent = client.join().expect("client");
    let (total, got) = server.join().expect("server");
    assert_eq!((total, got), (megabytes << 20, sent));
}

#[test]
fn tcp_with_offloads_on_arrives_without_checksum_errors() {
    let _quiet = shared();
    let lab = joined();
    // The hosts keep what veth offers: partial checksums, frames of 64 KiB (TSO), GRO.
    lab.host(1).sh("ethtool -K eth0 tx on tso on gso on gro on");
    lab.host(2).sh("ethtool -K eth0 tx on tso on gso on gro on");
    transfer(&lab, 32);
    for i in [1, 2] {
        assert_eq!(lab.host(i).snmp("Tcp", "InCsumErrors"), 0, "checksum errors at host {i}");
        assert_eq!(lab.host(i).snmp("Ip", "InHdrErrors"), 0, "bad IP headers at host {i}");
    }
    let retrans = lab.host(1).snmp("Tcp", "RetransSegs");
    assert!(retrans < 2000, "{retrans} segments sent again in 32 MiB");
}

#[test]
fn udp_with_partial_checksums_arrives() {
    let _quiet = shared();
    let lab = joined();
    lab.host(1).sh("ethtool -K eth0 tx on");
    let server = lab.host(2).spawn(|| {
        let s = std::net::UdpSocket::bind("10.0.0.2:9001").expect("bind");
        s.set_read_timeout(Some(5 * SECOND)).expect("timeout");
        let mut buf = [0u8; 2048];
        (0..10).map(|_| s.recv(&mut buf).expect("datagram")).sum::<usize>()
    });
    lab.host(1).enter(|| {
        let s = std::net::UdpSocket::bind("10.0.0.1:0").expect("bind");
        for n in 0..30 {
            let _ = s.send_to(&vec![7u8; 1001], "10.0.0.2:9001");
            std::thread::sleep(Duration::from_millis(if n < 10 { 100 } else { 1 }));
        }
    });
    assert_eq!(server.join().expect("server"), 10 * 1001);
    assert_eq!(lab.host(2).snmp("Udp", "InCsumErrors"), 0);
}

#[test]
fn vlan_tags_that_the_kernel_strips_are_put_back() {
    let _quiet = shared();
    let lab = joined();
    let (tx, rx) = (Wire::open(lab.host(1), "eth0"), Wire::open(lab.host(2), "eth0"));
    let inner = udp([10, 0, 0, 1], [10, 0, 0, 2], 1, 2, b"tagged");
    for (tpid, vid, pcp) in [(0x8100, 100, 3), (0x88a8, 7, 5), (0x8100, 0, 6), (0x8100, 4095, 7)] {
        let frame = ether(2, 1, tpid, &tagged(vid, pcp, 0x0800, &inner));
        tx.send(&frame);
        rx.expect(&format!("frame with tag {tpid:#x} {vid}"), 3 * SECOND, |f| {
            (f == frame.as_slice()).then_some(())
        });
    }
    // Two tags: the outer is stripped, the inner is not.
    let frame = ether(2, 1, 0x88a8, &tagged(5, 1, 0x8100, &tagged(6, 2, 0x0800, &inner)));
    tx.send(&frame);
    rx.expect("double-tagged frame", 3 * SECOND, |f| (f == frame.as_slice()).then_some(()));
    // And a rule sees the tag.
    lab.switch.ovs_ofctl(&[
        "add-flow",
        "br0",
        "priority=40000,in_port=1,dl_vlan=100,actions=strip_vlan,output:2",
    ]);
    tx.send(&ether(2, 1, 0x8100, &tagged(100, 3, 0x0800, &inner)));
    let plain = ether(2, 1, 0x0800, &inner);
    rx.expect("frame without its tag", 3 * SECOND, |f| {
        f.starts_with(&plain[..14 + inner.len()]).then_some(())
    });
}

#[test]
fn pushed_tags_leave_as_sent() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    lab.switch.ovs_ofctl(&[
        "add-flow",
        "br0",
        "in_port=1,actions=push_vlan:0x8100,set_field:4196->vlan_vid,push_vlan:0x88a8,set_field:4200->vlan_vid,output:2",
    ]);
    let (tx, rx) = (Wire::open(lab.host(1), "eth0"), Wire::open(lab.host(2), "eth0"));
    let inner = udp([10, 0, 0, 1], [10, 0, 0, 2], 1, 2, &[1; 40]);
    tx.send(&ether(2, 1, 0x0800, &inner));
    let want = ether(2, 1, 0x88a8, &tagged(104, 0, 0x8100, &tagged(100, 0, 0x0800, &inner)));
    rx.expect("double-tagged frame", 3 * SECOND, |f| (f == want.as_slice()).then_some(()));
}

#[test]
fn own_transmissions_are_not_received_again() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    // If port 2 heard what it sends, these would go round for ever.
    lab.switch.ovs_ofctl(&["add-flow", "br0", "in_port=1,actions=output:2"]);
    lab.switch.ovs_ofctl(&["add-flow", "br0", "in_port=2,actions=output:1"]);
    let (tx, rx) = (Wire::open(lab.host(1), "eth0"), Wire::open(lab.host(2), "eth0"));
    for n in 0..10u8 {
        tx.send(&ether(9, 1, 0x88b5, &[n]));
    }
    let got = rx.drain(SECOND).iter().filter(|f| f[12..14] == [0x88, 0xb5]).count();
    assert_eq!(got, 10);
    let back = tx.drain(Duration::from_millis(200)).iter().filter(|f| f[12..14] == [0x88, 0xb5]).count();
    assert_eq!(back, 0, "frames came back to their sender");
}

#[test]
fn counters_are_exact_once_traffic_stops() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    lab.switch.ovs_ofctl(&["add-flow", "br0", "priority=5,in_port=1,dl_type=0x88b5,actions=output:2"]);
    lab.switch.ovs_ofctl(&["add-flow", "br0", "priority=5,in_port=1,dl_type=0x88b6,actions=drop"]);
    let (tx, rx) = (Wire::open(lab.host(1), "eth0"), Wire::open(lab.host(2), "eth0"));
    for n in 0..1000u32 {
        tx.send(&ether(2, 1, 0x88b5, &n.to_be_bytes()));
        if n % 4 == 0 {
            tx.send(&ether(2, 1, 0x88b6, &n.to_be_bytes()));
        }
        if n % 50 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let got = rx.drain(SECOND).iter().filter(|f| f[12..14] == [0x88, 0xb5]).count();
    assert_eq!(got, 1000);
    let flows = lab.switch.ovs_ofctl(&["dump-flows", "br0"]);
    let line = |word: &str| {
        flows
            .lines()
            .find(|l| l.contains(word))
            .unwrap_or_else(|| panic!("no {word} in\n{flows}"))
            .to_string()
    };
    assert!(line("0x88b5").contains("n_packets=1000, n_bytes=60000"), "{flows}");
    assert!(line("0x88b6").contains("n_packets=250, n_bytes=15000"), "{flows}");
}

/// The `reason`, `config`, `state` and port number of a PORT_STATUS.
fn port_status(body: &[u8]) -> (u8, u32, u32, u32) {
    let word = |at: usize| u32::from_be_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
    (body[0], word(8), word(40), word(44))
}

#[test]
fn link_state_is_followed_and_reported() {
    let _quiet = shared();
    let (ns, hosts, dir) = Lab::bare(2);
    let listener = Listener::new(&dir, "c.sock");
    let switch = tests::switch::Switch::start(
        &ns,
        &dir,
        &[
            "--bridge",
            "br0",
            "--port",
            "p1,ofport=1",
            "--port",
            "p2,ofport=2",
            "--controller",
            &listener.target,
        ],
    );
    let mut peer = listener.accept(10 * SECOND);
    peer.barrier();
    const LINK_DOWN: u32 = 1;
    // The host pulls its cable.
    hosts[0].sh("ip link set eth0 down");
    let m = peer.expect("PORT_STATUS of port 1 down", 3 * SECOND, |m| {
        m.kind == ofpt::PORT_STATUS && port_status(&m.body).1 == 1 && port_status(&m.body).3 & LINK_DOWN != 0
    });
    assert_eq!(port_status(&m.body).0, 2, "reason must be OFPPR_MODIFY");
    hosts[0].sh("ip link set eth0 up");
    peer.expect("PORT_STATUS of port 1 up", 3 * SECOND, |m| {
        m.kind == ofpt::PORT_STATUS && port_status(&m.body).1 == 1 && port_status(&m.body).3 & LINK_DOWN == 0
    });
    assert!(switch.ovs_ofctl(&["show", "br0"]).contains("1(p1)"));
}

#[test]
fn a_changed_mtu_lets_larger_frames_through() {
    let _quiet = shared();
    let lab = joined();
    for i in [1, 2] {
        lab.ns.sh(&format!("ip link set p{i} mtu 4000"));
        lab.host(i).sh("ip link set eth0 mtu 4000");
    }
    let (tx, rx) = (Wire::open(lab.host(1), "eth0"), Wire::open(lab.host(2), "eth0"));
    let frame = ether(2, 1, 0x88b5, &vec![5u8; 3900]);
    wait_for("a frame of 3914 bytes", 5 * SECOND, || {
        tx.send(&frame);
        rx.recv(Duration::from_millis(200)).filter(|f| *f == frame)
    });
}

#[test]
fn an_interface_that_vanishes_and_comes_back_is_picked_up_again() {
    let _quiet = shared();
    let (ns, hosts, dir) = Lab::bare(2);
    let listener = Listener::new(&dir, "c.sock");
    let switch = tests::switch::Switch::start(
        &ns,
        &dir,
        &[
            "--bridge",
            "br0",
            "--port",
            "p1,ofport=1",
            "--port",
            "p2,ofport=2",
            "--controller",
            &listener.target,
        ],
    );
    let mut peer = listener.accept(10 * SECOND);
    let lab = Lab { switch, hosts, ns, dir };
    peer.flow_mod(0, 10, 0, &oxm_in_port(1), &apply(&output(2)));
    peer.flow_mod(0, 10, 0, &oxm_in_port(2), &apply(&output(1)));
    peer.barrier();
    assert!(lab.ping(1, 2, 3));
    lab.ns.sh("ip link del p1");
    peer.expect("PORT_STATUS: port 1 gone or down", 5 * SECOND, |m| {
        m.kind == ofpt::PORT_STATUS && {
            let (reason, port, _, state) = port_status(&m.body);
            port == 1 && (reason == 1 || state & 1 != 0)
        }
    });
    lab.ns.cable("p1", lab.host(1), "eth0");
    lab.host(1).sh("ip link set eth0 address 02:00:00:00:00:01; ip addr add 10.0.0.1/24 dev eth0");
    wait_for("host 1 to reach host 2 again", 10 * SECOND, || lab.ping(1, 2, 1).then_some(()));
}

#[test]
fn packet_in_carries_the_frame_and_packet_out_sends_one() {
    let _quiet = shared();
    let (ns, hosts, dir) = Lab::bare(2);
    let listener = Listener::new(&dir, "c.sock");
    let _switch = tests::switch::Switch::start(
        &ns,
        &dir,
        &[
            "--bridge",
            "br0",
            "--port",
            "p1,ofport=1",
            "--port",
            "p2,ofport=2",
            "--controller",
            &listener.target,
        ],
    );
    let mut peer = listener.accept(10 * SECOND);
    peer.flow_mod(0, 10, 0, &oxm_in_port(1), &apply(&output(CONTROLLER)));
    peer.barrier();
    let (h1, h2) = (Wire::open(&hosts[0], "eth0"), Wire::open(&hosts[1], "eth0"));
    let frame = ether(2, 1, 0x8100, &tagged(30, 2, 0x0800, &udp([10, 0, 0, 1], [10, 0, 0, 2], 5, 6, b"up")));
    h1.send(&frame);
    let m = peer.expect("PACKET_IN", 3 * SECOND, |m| m.kind == ofpt::PACKET_IN && m.body.ends_with(&frame));
    assert_eq!(u16::from_be_bytes([m.body[4], m.body[5]]), frame.len() as u16, "total_len");
    assert_eq!(m.body[6], 1, "reason must be OFPR_ACTION");
    peer.packet_out(&output(2), &frame);
    h2.expect("the frame of the packet-out", 3 * SECOND, |f| (f == frame.as_slice()).then_some(()));
}
