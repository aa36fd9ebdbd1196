//! On real veth pairs (copy mode), each test in a network namespace of its own thread.

use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::port::af_packet;

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
    assert!(
        Command::new("ip").args(args.split_whitespace()).status().expect("iproute2 is installed").success(),
        "ip {args}"
    );
}

fn veth(a: &str, b: &str) {
    ip(&format!("link add {a} type veth peer name {b}"));
    for n in [a, b] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{n}/disable_ipv6"), "1");
        ip(&format!("link set {n} up"));
    }
}

fn config(name: &str, kind: &str, options: &[(&str, &str)]) -> PortConfig {
    PortConfig {
        name: name.into(),
        kind: kind.into(),
        options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    }
}

type Ends = (Box<dyn Port>, Box<dyn Rxq>, Box<dyn Txq>);

fn open(name: &str, kind: &str, options: &[(&str, &str)]) -> Ends {
    let mut p = crate::port::open(&config(name, kind, options)).unwrap_or_else(|e| panic!("{e}"));
    let rx = p.take_rxqs().remove(0);
    let tx = p.new_txq().expect("a queue");
    (p, rx, tx)
}

fn receive(rx: &mut dyn Rxq, n: usize) -> Vec<Packet> {
    let (mut got, mut batch) = (Vec::new(), Batch::new());
    let deadline = Instant::now() + Duration::from_secs(5);
    while got.len() < n {
        assert!(Instant::now() < deadline, "{} of {n} packets came", got.len());
        if let Some(fd) = rx.fd() {
            sys::poll_raw(fd, 100);
        }
        rx.recv(&mut batch);
        got.extend(batch.drain());
    }
    got
}

fn send(tx: &mut dyn Txq, packets: impl IntoIterator<Item = Packet>) {
    let mut b = Batch::new();
    for p in packets {
        b.push(p);
    }
    tx.send(&mut b);
    tx.flush();
}

/// A UDP datagram from `sport` to `dport`.
fn udp(sport: u16, dport: u16, payload: usize, partial: bool) -> Packet {
    let mut f = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    f.extend_from_slice(&((28 + payload) as u16).to_be_bytes());
    f.extend_from_slice(&[0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    f.extend_from_slice(&sport.to_be_bytes());
    f.extend_from_slice(&dport.to_be_bytes());
    f.extend_from_slice(&((8 + payload) as u16).to_be_bytes());
    f.extend_from_slice(&[0, 0]);
    f.extend((0..payload).map(|i| i as u8));
    let c = !offload::fold(offload::sum(&f[14..34], 0));
    f[24..26].copy_from_slice(&c.to_be_bytes());
    let pseudo = offload::fold(offload::sum(&f[26..34], 17 + 8 + payload as u64));
    f[40..42].copy_from_slice(&pseudo.to_be_bytes());
    if !partial {
        assert!(offload::complete_checksum(&mut f, 34, 6));
    }
    let mut p = Packet::from_bytes(&f);
    if partial {
        (p.offload.csum_start, p.offload.csum_offset) = (34, 6);
    }
    p
}

#[test]
fn frames_pass_and_unfinished_checksums_of_a_veth_are_seen() {
    in_namespace(|| {
        veth("x0", "y0");
        let (px, mut rx_x, mut tx_x) = open("x0", "afxdp", &[]);
        let (py, mut rx_y, mut tx_y) = open("y0", "system", &[]);
        assert_eq!(px.info().kind, "afxdp");
        send(tx_y.as_mut(), [udp(1, 2, 30, false), udp(3, 4, 30, true)]);
        let got = receive(rx_x.as_mut(), 2);
        assert_eq!(got[0].data(), udp(1, 2, 30, false).data());
        assert!(!got[0].offload.needs_csum());
        assert_eq!((got[1].offload.csum_start, got[1].offload.csum_offset), (34, 6));
        // Out by XDP they are complete.
        send(tx_x.as_mut(), got);
        let back = receive(rx_y.as_mut(), 2);
        assert_eq!(back[1].data(), udp(3, 4, 30, false).data());
        let (s, t) = (px.stats(), py.stats());
        assert_eq!((s.rx_packets, s.tx_packets, s.rx_dropped, s.tx_dropped, s.tx_errors), (2, 2, 0, 0, 0));
        assert_eq!((t.rx_packets, t.rx_bytes), (2, 144));
        // Batches of a round lie in the ring till its end: one call sends all.
        let mut b = Batch::new();
        for _ in 0..8 {
            (0..32).for_each(|i| b.push(udp(i, 9, 100, false)));
            tx_x.send(&mut b);
        }
        assert_eq!(rx_y.recv(&mut b), 0);
        tx_x.flush();
        assert_eq!(receive(rx_y.as_mut(), 256).len(), 256);
        send(tx_x.as_mut(), [udp(1, 1, 1600, false)]);
        assert_eq!(px.stats().tx_errors, 1, "too long");
    });
}

#[test]
fn super_frames_of_linux_ports_are_cut() {
    in_namespace(|| {
        veth("x0", "y0");
        let (_px, _rx, mut tx_x) = open("x0", "afxdp", &[]);
        let (_py, mut rx_y, _tx) = open("y0", "system", &[]);
        let mut big = udp(1, 2, 5000, true);
        (big.offload.gso_type, big.offload.gso_size) = (GsoType::UdpL4, 1000);
        send(tx_x.as_mut(), [big]);
        let got = receive(rx_y.as_mut(), 5);
        assert!(got.iter().all(|p| p.len() == 1042 && !p.offload.needs_csum()));
    });
}

#[test]
fn a_filter_takes_what_matches_and_leaves_the_rest_to_the_kernel() {
    in_namespace(|| {
        for (filter, takes) in [
            ("udp+tp_dst=7", [true, false, false, true]),
            ("arp|udp+tp_src=5+nw_src=10.0.0.0/24+nw_dst=10.0.0.2", [false, true, true, false]),
            ("dl_vlan=5+udp", [false, false, false, true]),
            ("dl_dst=02:00:00:00:00:02+dl_src=02:00:00:00:00:01+tp_dst=7", [true, false, false, true]),
            ("nw_dst=10.0.0.3|ipv6_src=2001:db8::/33", [false; 4]),
            ("", [true; 4]),
        ] {
            veth("x0", "y0");
            let (_px, mut rx_x, _tx) = open("x0", "afxdp", &[("filter", filter)]);
            // What the kernel gets, a packet socket on the same interface sees.
            let (_pk, mut rx_kernel, _tx) = open("x0", "system", &[]);
            let (_py, _rx, mut tx_y) = open("y0", "system", &[]);
            let mut arp = vec![0xff; 6];
            arp.extend_from_slice(&[2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            arp.resize(60, 0);
            let mut tagged = udp(6, 7, 30, false);
            assert!(af_packet::push_tag(&mut tagged, 0x8100, 0x6005));
            let frames = [udp(6, 7, 30, false), udp(5, 8, 30, false), Packet::from_bytes(&arp), tagged];
            let bytes: Vec<Vec<u8>> = frames.iter().map(|p| p.data().to_vec()).collect();
            send(tx_y.as_mut(), frames);
            let n = takes.iter().filter(|t| **t).count();
            let mine: Vec<Vec<u8>> = receive(rx_x.as_mut(), n).iter().map(|p| p.data().to_vec()).collect();
            let kernels: Vec<Vec<u8>> =
                receive(rx_kernel.as_mut(), 4 - n).iter().map(|p| p.data().to_vec()).collect();
            let want = |t: bool| -> Vec<Vec<u8>> {
                bytes.iter().zip(takes).filter(|(_, x)| *x == t).map(|(b, _)| b.clone()).collect()
            };
            assert_eq!((mine, kernels), (want(true), want(false)), "{filter}");
            ip("link del x0");
        }
    });
}

#[test]
fn an_interface_that_comes_back_gets_new_sockets_behind_the_same_queues() {
    in_namespace(|| {
        veth("x0", "y0");
        let (mut px, mut rx_x, mut tx_x) = open("x0", "afxdp", &[]);
        let (tell, events) = std::sync::mpsc::channel();
        let monitor = LinkMonitor::start(move |e| {
            let _ = tell.send(e);
        })
        .expect("netlink");
        px.watch(&monitor);
        let until = |want: &dyn Fn(Option<&LinkInfo>) -> bool| loop {
            let e: crate::port::monitor::PortEvent =
                events.recv_timeout(Duration::from_secs(5)).expect("an event");
            if want(e.link.as_ref()) {
                break;
            }
        };
        let fd = rx_x.fd();
        ip("link del x0");
        until(&|l| l.is_none());
        send(tx_x.as_mut(), [udp(1, 2, 3, false)]);
        assert_eq!(px.stats().tx_dropped, 1);
        veth("x0", "y0");
        until(&|l| l.is_some_and(LinkInfo::link_up));
        let (_py, mut rx_y, mut tx_y) = open("y0", "system", &[]);
        send(tx_y.as_mut(), [udp(1, 2, 3, false)]);
        assert_eq!((receive(rx_x.as_mut(), 1).len(), rx_x.fd()), (1, fd));
        send(tx_x.as_mut(), [udp(1, 2, 3, false)]);
        assert_eq!(receive(rx_y.as_mut(), 1).len(), 1);
    });
}

#[test]
fn what_cannot_be_is_refused_in_one_line() {
    in_namespace(|| {
        veth("x0", "y0");
        ip("link set x0 mtu 9000");
        for (options, says) in [
            (vec![], "above AF_XDP's 3498"),
            (vec![("n_rxq", "9")], "the interface has"),
            (vec![("filter", "udp+tp_dst=x")], "filter: tp_dst=x"),
            (vec![("mode", "warp")], "write auto, zero-copy, copy or generic"),
        ] {
            let e = crate::port::open(&config("x0", "afxdp", &options)).err().expect("refused").to_string();
            assert!(e.starts_with("port x0: ") && e.contains(says) && !e.contains('\n'), "{e}");
        }
        ip("link set x0 mtu 1500");
        let e = crate::port::open(&config("x0", "afxdp", &[("mode", "zero-copy")]))
            .err()
            .expect("a veth cannot")
            .to_string();
        assert!(e.contains("x0"), "{e}");
        let _first = open("x0", "afxdp", &[]);
        let e = crate::port::open(&config("x0", "afxdp", &[])).err().expect("taken").to_string();
        assert!(e.contains("another XDP program or socket has it"), "{e}");
    });
}

#[test]
fn every_queue_of_the_device_is_served() {
    in_namespace(|| {
        ip("link add x0 numrxqueues 2 numtxqueues 2 type veth peer name y0 numrxqueues 2 numtxqueues 2");
        for n in ["x0", "y0"] {
            let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{n}/disable_ipv6"), "1");
            ip(&format!("link set {n} up"));
        }
        let mut p = crate::port::open(&config("x0", "afxdp", &[])).expect("attached");
        let mut queues = p.take_rxqs();
        assert_eq!((queues.len(), p.info().n_rxq), (2, 2));
        // Each queue of the peer ends in the queue of the same number here.
        let mut q = crate::port::open(&config("y0", "afxdp", &[])).expect("attached");
        for (i, rx) in queues.iter_mut().enumerate() {
            let mut tx = q.new_txq().expect("a queue");
            send(tx.as_mut(), (0..10).map(|n| udp(n, 9, 20, false)));
            assert_eq!(receive(rx.as_mut(), 10).len(), 10, "queue {i}");
        }
    });
}
