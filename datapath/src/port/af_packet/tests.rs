//! On real veth pairs, each test in a network namespace of its own thread, which ends with it.

use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::*;
use crate::port::monitor::PortEvent;

/// Runs `f` in a fresh namespace; without root says so and ends.
fn in_namespace(f: impl FnOnce() + Send + 'static) {
    if !sys::is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    let t = std::thread::spawn(move || {
        sys::unshare_net().expect("a network namespace");
        f();
    });
    if let Err(e) = t.join() {
        std::panic::resume_unwind(e);
    }
}

fn ip(args: &str) {
    let ok =
        Command::new("ip").args(args.split_whitespace()).status().expect("iproute2 is installed").success();
    assert!(ok, "ip {args}");
}

fn veth(a: &str, b: &str) {
    ip(&format!("link add {a} type veth peer name {b}"));
    for n in [a, b] {
        // No router solicitations among the frames of the test.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{n}/disable_ipv6"), "1");
        ip(&format!("link set {n} up"));
    }
}

fn port(name: &str) -> (SystemPort, Box<dyn Rxq>, Box<dyn Txq>) {
    let config = Config::new(&PortConfig { name: name.into(), ..PortConfig::default() }).expect("valid");
    let mut p = SystemPort::open(config).expect("attached");
    let rx = p.take_rxqs().remove(0);
    let tx = p.new_txq().expect("a queue");
    (p, rx, tx)
}

/// Waits (by poll) until `n` packets have come.
fn receive(rx: &mut dyn Rxq, n: usize) -> Vec<Packet> {
    let (mut got, mut batch) = (Vec::new(), Batch::new());
    let deadline = Instant::now() + Duration::from_secs(5);
    while got.len() < n {
        assert!(Instant::now() < deadline, "{} of {n} packets came", got.len());
        wait(rx, 100);
        rx.recv(&mut batch);
        got.extend(batch.drain());
    }
    got
}

/// Waits until the queue is readable; whether it is.
fn wait(rx: &dyn Rxq, timeout_ms: i32) -> bool {
    // The descriptor outlives the borrow: the queue owns it.
    let fd = rx.fd().expect("an epoll port");
    sys::poll_raw(fd, timeout_ms)
}

fn send(tx: &mut dyn Txq, packets: impl IntoIterator<Item = Packet>) {
    let mut b = Batch::new();
    for p in packets {
        b.push(p);
    }
    tx.send(&mut b);
    assert!(b.is_empty());
}

fn tcp(payload: usize) -> Packet {
    let mut f = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    f.extend_from_slice(&((40 + payload) as u16).to_be_bytes());
    f.extend_from_slice(&[0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    f.extend_from_slice(&[0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    f.extend((0..payload).map(|i| i as u8));
    let c = !offload::fold(offload::sum(&f[14..34], 0));
    f[24..26].copy_from_slice(&c.to_be_bytes());
    let pseudo = offload::fold(offload::sum(&f[26..34], 6 + 20 + payload as u64));
    f[50..52].copy_from_slice(&pseudo.to_be_bytes());
    let mut p = Packet::from_bytes(&f);
    (p.offload.csum_start, p.offload.csum_offset) = (34, 16);
    p
}

#[test]
fn frames_partial_checksums_super_frames_and_tags_pass_a_veth_whole() {
    in_namespace(|| {
        veth("a0", "b0");
        let (pa, rx_a, mut tx_a) = port("a0");
        let (pb, mut rx_b, _tx_b) = port("b0");
        assert!(pa.info().present && pa.info().mtu == 1500 && pa.info().mac != [0; 6]);

        let plain =
            Packet::from_bytes(&[&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5][..], &[7; 46]].concat());
        let mut tagged = plain.copy();
        assert!(push_tag(&mut tagged, 0x8100, 0x2005));
        let mut twice = tagged.copy();
        assert!(push_tag(&mut twice, 0x88a8, 7));
        let partial = tcp(100);
        let mut tagged_partial = tcp(100);
        assert!(push_tag(&mut tagged_partial, 0x8100, 9));
        let mut big = tcp(40_000);
        (big.offload.gso_type, big.offload.gso_size, big.offload.hdr_len) = (GsoType::TcpV4, 1460, 54);
        let all = [plain, tagged, twice, partial, tagged_partial, big];
        let want: Vec<(Vec<u8>, Offload)> = all.iter().map(|p| (p.data().to_vec(), p.offload)).collect();
        let bytes: usize = want.iter().map(|w| w.0.len()).sum();
        send(tx_a.as_mut(), all);
        let got = receive(rx_b.as_mut(), want.len());
        for (i, (g, (data, o))) in got.iter().zip(&want).enumerate() {
            assert_eq!(g.data(), &data[..], "frame {i}");
            assert_eq!(
                (g.offload.csum_start, g.offload.csum_offset, g.offload.gso_type, g.offload.gso_size),
                (o.csum_start, o.csum_offset, o.gso_type, o.gso_size),
                "frame {i}"
            );
        }
        assert!(!wait(rx_a.as_ref(), 0), "own transmissions are not received");
        let (sa, sb) = (pa.stats(), pb.stats());
        assert_eq!(
            (sa.tx_packets, sa.tx_bytes, sb.rx_packets, sb.rx_bytes),
            (6, bytes as u64, 6, bytes as u64)
        );
        assert_eq!(
            (sa.tx_dropped, sa.tx_errors, sb.rx_dropped, sb.rx_errors, sa.rx_packets),
            (0, 0, 0, 0, 0)
        );

        // Too long for the interface: counted, and those behind it go on.
        send(tx_a.as_mut(), [Packet::from_bytes(&[1; 3000]), tcp(10)]);
        assert_eq!(receive(rx_b.as_mut(), 1)[0].len(), 64);
        assert_eq!(pa.stats().tx_errors, 1);
        let mut over = tcp(5000);
        (over.offload.gso_type, over.offload.gso_size, over.offload.hdr_len) = (GsoType::TcpV4, 2000, 54);
        send(tx_a.as_mut(), [over]);
        assert_eq!(pa.stats().tx_errors, 2);
    });
}

#[test]
fn an_interface_that_vanishes_and_comes_back_is_picked_up_again() {
    in_namespace(|| {
        veth("a0", "b0");
        let (mut pa, mut rx_a, mut tx_a) = port("a0");
        let (tell, events) = mpsc::channel();
        let monitor = LinkMonitor::start(move |e| {
            let _ = tell.send(e);
        })
        .expect("netlink");
        pa.watch(&monitor);
        let until = |what: &str, want: &dyn Fn(Option<&LinkInfo>) -> bool| loop {
            let e: PortEvent = events
                .recv_timeout(Duration::from_secs(5))
                .unwrap_or_else(|_| panic!("not reported: {what}"));
            if e.port == "a0" && want(e.link.as_ref()) {
                break;
            }
        };
        assert!(pa.info().link_up);
        ip("link set b0 down");
        until("carrier lost", &|l| l.is_some_and(|l| !l.link_up()));
        assert!(!pa.info().link_up && pa.info().admin_up);
        ip("link set b0 up");
        until("carrier back", &|l| l.is_some_and(LinkInfo::link_up));
        ip("link set a0 mtu 1400");
        until("MTU", &|l| l.is_some_and(|l| l.mtu == 1400));
        assert_eq!(pa.info().mtu, 1400);

        ip("link del a0");
        until("vanished", &|l| l.is_none());
        assert!(!pa.info().present);
        send(tx_a.as_mut(), [tcp(10)]);
        assert_eq!((pa.stats().tx_dropped, pa.stats().tx_packets), (1, 0));
        let mut b = Batch::new();
        while wait(rx_a.as_ref(), 0) && rx_a.recv(&mut b) > 0 {}

        veth("a0", "b0");
        until("back and up", &|l| l.is_some_and(LinkInfo::link_up));
        assert!(pa.info().present);
        let (_pb, mut rx_b, mut tx_b) = port("b0");
        send(tx_a.as_mut(), [tcp(10)]);
        assert_eq!(receive(rx_b.as_mut(), 1).len(), 1);
        send(tx_b.as_mut(), [tcp(10)]);
        assert_eq!(receive(rx_a.as_mut(), 1).len(), 1);
        drop(monitor);
    });
}

#[test]
fn a_missing_interface_is_one_clear_line() {
    in_namespace(|| {
        let c = Config::new(&PortConfig { name: "nope0".into(), ..PortConfig::default() }).expect("valid");
        let e = SystemPort::open(c).err().expect("refused").to_string();
        assert!(e.starts_with("port nope0: no such interface") && !e.contains('\n'), "{e}");
    });
}

#[test]
fn a_tap_carries_frames_to_and_from_the_host() {
    in_namespace(|| {
        let config = crate::port::tap::Config {
            name: "i0".into(),
            mac: Some([2, 0, 0, 0, 0, 0x77]),
            mtu: Some(1400),
            up: true,
        };
        let mut tap = crate::port::tap::TapPort::open(config).expect("a tap");
        let info = tap.info();
        assert_eq!(
            (info.mac, info.mtu, info.admin_up, info.present),
            ([2, 0, 0, 0, 0, 0x77], 1400, true, true)
        );
        let mut rx = tap.take_rxqs().remove(0);
        let mut tx = tap.new_txq().expect("a queue");
        ip("addr add 10.1.0.1/24 dev i0");
        ip("neigh add 10.1.0.2 lladdr 02:00:00:00:00:02 dev i0");
        let host = std::net::UdpSocket::bind("10.1.0.1:7000").expect("bound");
        host.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        host.send_to(b"hello switch", "10.1.0.2:7001").expect("sent");
        let mut out = loop {
            if let Some(p) = receive(rx.as_mut(), 1).into_iter().find(|p| p.data()[12..14] == [8, 0]) {
                break p;
            }
        };
        assert!(out.offload.needs_csum() && out.data().ends_with(b"hello switch"));
        // Turned round, it is a datagram to the host; its checksum stays owed and the stack accepts that.
        let d = out.data_mut();
        let (a, b) = d[..12].split_at_mut(6);
        a.swap_with_slice(b);
        let (a, b) = d[26..34].split_at_mut(4);
        a.swap_with_slice(b);
        let (a, b) = d[34..38].split_at_mut(2);
        a.swap_with_slice(b);
        send(tx.as_mut(), [out]);
        let mut buf = [0; 64];
        let (n, from) = host.recv_from(&mut buf).expect("a datagram");
        assert_eq!((&buf[..n], from.to_string().as_str()), (&b"hello switch"[..], "10.1.0.2:7001"));
        assert_eq!((tap.stats().tx_packets, tap.stats().tx_errors), (1, 0));
        let mut changes = LinkSocket::open().expect("netlink");
        drop((tap, rx, tx));
        // Another test's child process may hold a copy of the descriptor until its exec.
        let deadline = Instant::now() + Duration::from_secs(5);
        while LinkSocket::find("i0").expect("netlink").is_some() {
            assert!(Instant::now() < deadline, "the device ends with the port");
            sys::poll_in(&[changes.as_fd()], 100).expect("poll");
            changes.recv(&mut |_| ()).expect("netlink");
        }
    });
}
