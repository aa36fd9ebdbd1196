//! DPDK without hugepages and without a NIC. The EAL starts once a process, so the tests share it; needs root (as DPDK does).

use super::*;
use crate::port::{self, sys as linux};

/// Devices are attached and configured by one control thread in the switch; so here.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn eal() -> Option<parking_lot::MutexGuard<'static, ()>> {
    if !linux::is_root() {
        eprintln!("skipped: DPDK needs root");
        return None;
    }
    let guard = ONE_AT_A_TIME.lock();
    eal::init("--no-huge --no-pci --in-memory -m 256").expect("DPDK starts");
    Some(guard)
}

fn config(name: &str, kind: &str, options: &[(&str, &str)]) -> PortConfig {
    PortConfig {
        name: name.into(),
        kind: kind.into(),
        options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    }
}

fn open(name: &str, devargs: &str) -> Box<dyn Port> {
    port::open(&config(name, "dpdk", &[("devargs", devargs)])).expect("opened")
}

fn refused(c: &PortConfig) -> String {
    let e = port::open(c).err().expect("refused").to_string();
    assert!(!e.contains('\n') && e.starts_with(&format!("port {}: ", c.name)), "{e}");
    e
}

#[test]
fn options_are_checked_and_explained() {
    let ok = Config::new(&config(
        "p",
        "dpdk",
        &[("devargs", "net_null0,size=64"), ("n_rxq", "2"), ("mtu", "9000")],
    ))
    .expect("valid");
    assert_eq!((ok.devargs.as_str(), ok.eth.n_rxq, ok.eth.mtu), ("net_null0,size=64", 2, 9000));
    for (kind, bad, says) in [
        ("dpdk", vec![], "needs devargs="),
        ("dpdk", vec![("devargs", "x"), ("n_rxq", "0")], "n_rxq=0: write 1 to 256"),
        ("dpdk", vec![("devargs", "x"), ("color", "red")], "no option color"),
        ("dpdkvhostuserclient", vec![], "needs path="),
        ("memif", vec![("path", "/x"), ("role", "boss")], "write server or client"),
    ] {
        let e = Config::new(&config("p", kind, &bad)).expect_err("refused").to_string();
        assert!(e.contains(says), "{e}");
    }
    let v = Config::new(&config("v", "dpdkvhostuserclient", &[("path", "/run/v.sock"), ("n_rxq", "2")]))
        .expect("valid");
    assert!(
        v.devargs.starts_with("net_vhost") && v.devargs.ends_with(",iface=/run/v.sock,queues=2,client=1"),
        "{}",
        v.devargs
    );
}

#[test]
fn frames_pass_from_device_to_device_without_a_copy() {
    let Some(_control) = eal() else { return };
    let mut a = open("a", "net_null_a,size=60");
    let mut b = open("b", "net_null_b,no-rx=1");
    let (mut rx, mut tx) = (a.take_rxqs().remove(0), b.new_txq().expect("a queue"));
    let mut batch = Batch::new();
    assert_eq!(rx.recv(&mut batch), BATCH_SIZE);
    assert!(batch.as_slice().iter().all(|p| p.is_mbuf() && p.len() == 60 && p.headroom() >= 128));
    // A tag pushed in front moves the mbuf's data, too.
    let p = &mut batch.as_mut_slice()[0];
    assert!(p.push_front(4) && p.is_mbuf());
    tx.send(&mut batch);
    assert!(batch.is_empty());
    let (s, t) = (a.stats(), b.stats());
    assert_eq!((s.rx_packets, s.rx_bytes, t.tx_packets, t.tx_bytes, t.tx_dropped), (32, 1920, 32, 1924, 0));
    assert!(
        a.info().link_up && a.xstats().iter().any(|(n, v)| n == "rx_good_packets" && *v == 32),
        "{:?}",
        a.xstats()
    );
    // Gone with its port, and there again.
    drop((rx, a));
    let a = open("a", "net_null_a,size=100");
    assert_eq!(a.stats().rx_packets, 0);
}

#[test]
fn frames_of_linux_ports_are_copied_completed_and_cut() {
    let Some(_control) = eal() else { return };
    // A ring device loops what it sends.
    let mut p = open("r", "net_ring_loop");
    let (mut rx, mut tx) = (p.take_rxqs().remove(0), p.new_txq().expect("a queue"));
    let mut batch = Batch::new();
    let mut tcp = vec![
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10,
        0, 0, 2,
    ];
    tcp.extend_from_slice(&[0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    tcp.extend((0..3000).map(|i| i as u8));
    tcp[16..18].copy_from_slice(&3040u16.to_be_bytes());
    let mut big = Packet::from_bytes(&tcp);
    (big.offload.gso_type, big.offload.gso_size, big.offload.csum_start, big.offload.csum_offset) =
        (GsoType::TcpV4, 1000, 34, 16);
    let mut udp = Packet::from_bytes(&[0u8; 60]);
    (udp.offload.csum_start, udp.offload.csum_offset) = (34, 6);
    let mbuf = to_mbuf_packet(&shared_pool(), &[7; 80]).expect("an mbuf");
    batch.push(mbuf);
    batch.push(big);
    batch.push(udp);
    batch.push(Packet::from_bytes(&[1; 4000]));
    tx.send(&mut batch);
    assert_eq!(rx.recv(&mut batch), 5);
    let lens: Vec<usize> = batch.as_slice().iter().map(Packet::len).collect();
    assert_eq!(lens, [80, 1054, 1054, 1054, 60]);
    assert_eq!(batch.as_slice()[4].data()[40..42], [0xff, 0xff], "an all-zero sum is sent as ffff");
    let s = p.stats();
    assert_eq!(
        (s.tx_packets, s.tx_bytes, s.tx_errors, s.tx_dropped, s.rx_packets),
        (5, 80 + 3 * 1054 + 60, 1, 0, 5)
    );
}

fn shared_pool() -> Arc<Mempool> {
    Mempool::shared(0, 1526).expect("memory")
}

#[test]
fn chains_of_mbufs_become_one_packet() {
    let Some(_control) = eal() else { return };
    let pool = shared_pool();
    let joined = |first: usize, second: usize| {
        let a = copy_in(&pool, &vec![1; first]).expect("memory");
        let b = copy_in(&pool, &vec![2; second]).expect("memory");
        // SAFETY: two live mbufs of ours, chained as DPDK does.
        unsafe {
            (*a).next = b;
            (*a).nb_segs = 2;
            (*a).pkt_len = (first + second) as u32;
            mbuf::from_chain(NonNull::new(a).expect("an mbuf")).expect("fits")
        }
    };
    let before = pool.available();
    let short = joined(100, 50);
    assert!(
        short.is_mbuf()
            && short.len() == 150
            && short.data()[..100] == [1; 100]
            && short.data()[100..] == [2; 50]
    );
    let long = joined(1900, 1900);
    assert!(!long.is_mbuf() && long.len() == 3800 && long.data()[1899..1901] == [1, 2]);
    drop((short, long));
    assert_eq!(pool.available(), before, "all buffers are back");
}

#[test]
fn what_cannot_be_opened_says_what_to_do() {
    let Some(_control) = eal() else { return };
    let e = refused(&config("x", "dpdk", &[("devargs", "net_nonesuch0")]));
    assert!(e.contains("no driver knows this name"), "{e}");
    let e = refused(&config("x", "dpdk", &[("devargs", "0000:7f:1f.7")]));
    assert!(e.contains("vfio-pci"), "{e}");
    let e = refused(&config("x", "dpdk", &[("devargs", "net_pcap_x,rx_pcap=/nonexistent.pcap")]));
    assert!(e.contains("check the arguments"), "{e}");
    let e = refused(&config("x", "dpdk", &[("devargs", "net_ring_q"), ("n_rxq", "200")]));
    assert!(e.contains("at most 16 receive queues"), "{e}");
    let e = refused(&config("x", "dpdk", &[("devargs", "net_null_m"), ("mbufs", "4000000")]));
    assert!(e.contains("packet buffers") && e.contains("-m"), "{e}");
}

#[test]
fn all_virtual_kinds_of_port_open_and_close() {
    let Some(_control) = eal() else { return };
    let dir = std::env::temp_dir().join(format!("ofs-dpdk-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("made");
    let at = |f: &str| dir.join(f).to_string_lossy().into_owned();
    let (vhost, client, memif) = (at("v.sock"), at("c.sock"), at("m.sock"));
    for (name, kind, options) in [
        ("v0", "dpdkvhostuser", vec![("path", vhost.as_str())]),
        ("v1", "dpdkvhostuserclient", vec![("path", client.as_str())]),
        ("m0", "memif", vec![("path", memif.as_str()), ("role", "server")]),
        ("ring7", "dpdkr", vec![]),
    ] {
        let mut p = port::open(&config(name, kind, &options)).unwrap_or_else(|e| panic!("{e}"));
        let mut batch = Batch::new();
        for q in &mut p.take_rxqs() {
            assert_eq!(q.recv(&mut batch), 0);
        }
        // Nobody is at the other end: dropped and counted, or (a ring) kept.
        batch.push(Packet::from_bytes(&[0; 60]));
        p.new_txq().expect("a queue").send(&mut batch);
        let s = p.stats();
        assert_eq!(s.tx_packets + s.tx_dropped, 1, "{kind}: {s:?}");
        assert_eq!(p.info().kind, kind);
    }
    let _ = std::fs::remove_dir_all(dir);
}

#[test]
fn queues_and_jumbo_frames_are_as_asked_for() {
    let Some(_control) = eal() else { return };
    let mut p = port::open(&config(
        "q",
        "dpdk",
        &[("devargs", "net_null_q2,size=100"), ("n_rxq", "2"), ("n_txq", "2")],
    ))
    .expect("opened");
    assert_eq!((p.info().n_rxq, p.info().n_txq), (2, 2));
    let mut batch = Batch::new();
    for q in &mut p.take_rxqs() {
        assert_eq!(q.recv(&mut batch), BATCH_SIZE);
        batch.clear();
    }
    // Three workers share two queues.
    for _ in 0..3 {
        batch.push(Packet::from_bytes(&[0; 60]));
        p.new_txq().expect("a queue").send(&mut batch);
    }
    assert_eq!((p.stats().rx_packets, p.stats().tx_packets), (64, 3));
    assert!(p.take_rxqs().is_empty(), "each queue has one owner");

    let mut j =
        port::open(&config("j", "dpdk", &[("devargs", "net_ring_jumbo"), ("mtu", "9000")])).expect("opened");
    let (mut rx, mut tx) = (j.take_rxqs().remove(0), j.new_txq().expect("a queue"));
    batch.push(Packet::from_bytes(&[5; 9014]));
    tx.send(&mut batch);
    assert_eq!((rx.recv(&mut batch), batch.as_slice()[0].len(), j.info().mtu), (1, 9014, 9000));
    let e = j.set_mtu(9700).expect_err("too large").to_string();
    assert!(e.contains("add it again with mtu=9700"), "{e}");
}

#[test]
fn mbufs_go_out_by_linux_ports_and_give_their_buffers_back() {
    let Some(_control) = eal() else { return };
    let t = std::thread::spawn(|| {
        linux::unshare_net().expect("a network namespace");
        let ip = |args: &str| {
            assert!(
                std::process::Command::new("ip")
                    .args(args.split_whitespace())
                    .status()
                    .expect("ip")
                    .success(),
                "ip {args}"
            )
        };
        ip("link add m0 type veth peer name m1");
        for n in ["m0", "m1"] {
            let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{n}/disable_ipv6"), "1");
            ip(&format!("link set {n} up"));
        }
        let system = |n: &str| port::open(&config(n, "system", &[])).expect("opened");
        let (mut m0, mut m1) = (system("m0"), system("m1"));
        let (mut tx, mut rx) = (m0.new_txq().expect("a queue"), m1.take_rxqs().remove(0));
        let pool = shared_pool();
        let before = pool.available();
        let mut batch = Batch::new();
        for i in 0..32u8 {
            let mut p = to_mbuf_packet(&pool, &[i; 100]).expect("an mbuf");
            assert!(p.push_front(4));
            p.data_mut()[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
            batch.push(p);
        }
        tx.send(&mut batch);
        assert_eq!(pool.available(), before);
        let mut n = 0;
        while n < 32 {
            assert!(linux::poll_raw(rx.fd().expect("an epoll port"), 5000), "{n} of 32 came");
            n += rx.recv(&mut batch);
        }
        assert!(batch
            .as_slice()
            .iter()
            .enumerate()
            .all(|(i, p)| p.len() == 104 && p.data()[14..] == [i as u8; 90]));
    });
    if let Err(e) = t.join() {
        std::panic::resume_unwind(e);
    }
}
