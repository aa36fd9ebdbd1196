//! The controller's connection: lost and found, fail modes, passive listening, framing.

use std::io::{Read, Write};
use std::time::{Duration, Instant};
use tests::controller::{apply, ofpt, output, oxm_in_port, Listener, Peer};
use tests::switch::{Lab, Switch};
use tests::{shared, wait_for};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_lost_controller_is_found_again_at_once() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let listener = Listener::new(&dir, "c.sock");
    let _switch =
        Switch::start(&ns, &dir, &["--bridge", "br0", "--port", "p1", "--controller", &listener.target]);
    for _ in 0..3 {
        let mut peer = listener.accept(10 * SECOND);
        peer.barrier();
        drop(peer);
        let begun = Instant::now();
        let mut again = listener.accept(3 * SECOND);
        again.barrier();
        assert!(begun.elapsed() < 2 * SECOND, "{:?}", begun.elapsed());
    }
}

#[test]
fn a_switch_started_before_its_controller_finds_it() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let path = dir.path("run").join("late.sock");
    let target = format!("unix:{}", path.display());
    let _switch = Switch::start(&ns, &dir, &["--bridge", "br0", "--port", "p1", "--controller", &target]);
    std::thread::sleep(2 * SECOND);
    let listener = Listener::new(&dir, "late.sock");
    // Pauses grow to one second at most.
    listener.accept(Duration::from_millis(2500)).barrier();
}

#[test]
fn fail_secure_keeps_flows_and_fail_standalone_switches() {
    let _quiet = shared();
    let (ns, hosts, dir) = Lab::bare(2);
    let listener = Listener::new(&dir, "c.sock");
    let args = [
        "--bridge",
        "br0",
        "--fail-mode",
        "standalone",
        "--port",
        "p1",
        "--port",
        "p2",
        "--controller",
        &listener.target,
    ];
    let switch = Switch::start(&ns, &dir, &args);
    let peer = listener.accept(10 * SECOND);
    let lab = Lab { switch, hosts, ns, dir };
    assert!(!lab.ping(1, 2, 1), "packets passed though the controller has said nothing");
    drop(peer);
    drop(listener);
    wait_for("learning by itself", 60 * SECOND, || lab.ping(1, 2, 1).then_some(()));
}

#[test]
fn fail_secure_goes_on_without_its_controller() {
    let _quiet = shared();
    let (ns, hosts, dir) = Lab::bare(2);
    let listener = Listener::new(&dir, "c.sock");
    let args = [
        "--bridge",
        "br0",
        "--fail-mode",
        "secure",
        "--port",
        "p1",
        "--port",
        "p2",
        "--controller",
        &listener.target,
    ];
    let switch = Switch::start(&ns, &dir, &args);
    let mut peer = listener.accept(10 * SECOND);
    let lab = Lab { switch, hosts, ns, dir };
    peer.flow_mod(0, 10, 0, &oxm_in_port(1), &apply(&output(2)));
    peer.flow_mod(0, 10, 0, &oxm_in_port(2), &apply(&output(1)));
    peer.barrier();
    assert!(lab.ping(1, 2, 3));
    drop(peer);
    drop(listener);
    std::thread::sleep(SECOND);
    assert!(lab.ping(1, 2, 3), "flows were lost with the controller");
}

#[test]
fn passive_tcp_serves_ovs_ofctl() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let _switch =
        Switch::start(&ns, &dir, &["--bridge", "br0", "--port", "p1", "--controller", "ptcp:6654:127.0.0.1"]);
    let show = ns.sh("timeout 10 ovs-ofctl -O OpenFlow13 show tcp:127.0.0.1:6654");
    assert!(show.contains("1(p1)"), "{show}");
}

#[test]
fn another_version_is_refused_with_hello_failed() {
    let _quiet = shared();
    let lab = Lab::new(1, &[]);
    let mut s =
        std::os::unix::net::UnixStream::connect(lab.switch.run_dir().join("br0.mgmt")).expect("connect");
    s.set_read_timeout(Some(5 * SECOND)).expect("timeout");
    // HELLO of version 1.0 alone.
    s.write_all(&[1, 0, 0, 8, 0, 0, 0, 1]).expect("send");
    let mut all = Vec::new();
    let _ = s.read_to_end(&mut all);
    let mut at = 0;
    let mut refused = false;
    while at + 8 <= all.len() {
        let len = usize::from(u16::from_be_bytes([all[at + 2], all[at + 3]]));
        if all[at + 1] == ofpt::ERROR {
            assert_eq!(all[at + 8..at + 12], [0, 0, 0, 0], "must be HELLO_FAILED, INCOMPATIBLE");
            refused = true;
        }
        at += len.max(8);
    }
    assert!(refused, "no error: {all:02x?}");
}

#[test]
fn a_malformed_message_is_answered_and_the_connection_lives() {
    let _quiet = shared();
    let lab = Lab::new(1, &[]);
    let mut peer = Peer::connect(&lab.switch.run_dir().join("br0.mgmt"));
    // A flow-mod cut short, an unknown type, a barrier of the wrong length.
    for (kind, body) in
        [(ofpt::FLOW_MOD, vec![0u8; 9]), (200, vec![]), (ofpt::BARRIER_REQUEST, vec![1, 2, 3])]
    {
        let xid = peer.send(kind, &body);
        let m = peer.expect("ERROR", 3 * SECOND, |m| m.xid == xid);
        assert_eq!(m.kind, ofpt::ERROR);
        assert_eq!(m.body[..2], [0, 1], "must be BAD_REQUEST");
        assert_eq!(m.body[4..8], [4, kind, 0, 8 + body.len() as u8], "the failing message comes back");
    }
    peer.barrier();
    // A length below 8: framing is lost, the connection ends, the switch does not.
    peer.send_raw(&[4, ofpt::BARRIER_REQUEST, 0, 3, 0, 0, 0, 9]);
    wait_for("the end of the connection", 5 * SECOND, || peer.is_closed().then_some(()));
    Peer::connect(&lab.switch.run_dir().join("br0.mgmt")).barrier();
}

#[test]
fn tls_serves_those_with_a_certificate_and_no_others() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let pki = dir.path("pki");
    let made =
        std::process::Command::new(tests::switch::bin("ofctl")).arg("pki").arg(&pki).output().expect("ofctl");
    assert!(made.status.success(), "ofctl pki: {}", String::from_utf8_lossy(&made.stderr));
    let file = |name: &str| pki.join(name).to_string_lossy().into_owned();
    let (key, cert, ca) = (file("switch-privkey.pem"), file("switch-cert.pem"), file("cacert.pem"));
    let tls = ["--private-key", &key, "--certificate", &cert, "--ca-cert", &ca];
    let mut args = vec!["--bridge", "br0", "--port", "p1", "--controller", "pssl:6640:127.0.0.1"];
    args.extend(tls);
    let _switch = Switch::start(&ns, &dir, &args);
    let ask = |key: &str, cert: &str, ca: &str| {
        ns.try_sh(&format!(
            "timeout 10 ovs-ofctl -O OpenFlow13 -p {key} -c {cert} -C {ca} show ssl:127.0.0.1:6640"
        ))
    };
    let out = ask(&file("client-privkey.pem"), &file("client-cert.pem"), &ca);
    assert!(
        String::from_utf8_lossy(&out.stdout).contains("1(p1)"),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    // Somebody else's certificate.
    let other = dir.path("other");
    let made = std::process::Command::new(tests::switch::bin("ofctl"))
        .arg("pki")
        .arg(&other)
        .output()
        .expect("ofctl");
    assert!(made.status.success());
    let theirs = |name: &str| other.join(name).to_string_lossy().into_owned();
    let out = ask(&theirs("client-privkey.pem"), &theirs("client-cert.pem"), &ca);
    assert!(!out.status.success(), "a stranger was served");
    // And plain TCP on the same port.
    let out = ns.try_sh("timeout 5 ovs-ofctl -O OpenFlow13 show tcp:127.0.0.1:6640");
    assert!(!out.status.success(), "a client without TLS was served");
}

#[test]
fn a_standalone_bridge_switches_by_itself_until_its_controller_is_back() {
    let _quiet = shared();
    let (ns, hosts, dir) = Lab::bare(2);
    let listener = Listener::new(&dir, "c.sock");
    let mut args = vec!["--bridge", "br0", "--fail-mode", "standalone", "--port", "p1", "--port", "p2"];
    args.extend(["--controller", &listener.target]);
    let switch = Switch::start(&ns, &dir, &args);
    let mut peer = listener.accept(10 * SECOND);
    let lab = Lab { switch, hosts, ns, dir };
    // What the controller wants is a wall.
    peer.flow_mod(0, 10, 0, &[], &apply(&[]));
    peer.barrier();
    assert!(!lab.ping(1, 2, 1));
    let path = lab.dir.path("run").join("c.sock");
    std::fs::remove_file(&path).expect("socket");
    drop((peer, listener));
    wait_for("learning by itself", 30 * SECOND, || lab.ping(1, 2, 1).then_some(()));
    assert!(
        lab.switch.ofctl(&["dump-flows", "br0"]).contains("priority=10"),
        "the controller's flows wait for it"
    );
    let listener = Listener::new(&lab.dir, "c.sock");
    let mut peer = listener.accept(10 * SECOND);
    peer.barrier();
    assert!(!lab.ping(1, 2, 1), "the controller is back, and so is its wall");
}

#[test]
fn auxiliary_connections_live_and_die_with_the_main_one() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let listener = Listener::new(&dir, "c.sock");
    let target = format!("{},aux=2", listener.target);
    let _switch = Switch::start(&ns, &dir, &["--bridge", "br0", "--port", "p1", "--controller", &target]);
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut peer = listener.accept(10 * SECOND);
        let xid = peer.send(ofpt::FEATURES_REQUEST, &[]);
        let m = peer.expect("FEATURES_REPLY", 5 * SECOND, |m| m.xid == xid);
        all.push((m.body[13], peer));
    }
    all.sort_by_key(|a| a.0);
    assert_eq!(all.iter().map(|a| a.0).collect::<Vec<_>>(), [0, 1, 2], "auxiliary ids");
    // One that is lost comes back; what it asks for is done.
    all.remove(2);
    let mut again = listener.accept(10 * SECOND);
    again.flow_mod(0, 10, 0, &oxm_in_port(1), &apply(&output(2)));
    again.barrier();
    // Without the main one, none stays.
    let (_, main) = all.remove(0);
    drop(main);
    wait_for("the end of the auxiliary connections", 5 * SECOND, || {
        (all[0].1.is_closed() && again.is_closed()).then_some(())
    });
}

#[test]
fn sockets_are_private_and_snoop_shows_what_the_controller_says() {
    use std::os::unix::fs::PermissionsExt;
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let listener = Listener::new(&dir, "c.sock");
    let switch =
        Switch::start(&ns, &dir, &["--bridge", "br0", "--port", "p1", "--controller", &listener.target]);
    let mut peer = listener.accept(10 * SECOND);
    for name in ["br0.mgmt", "br0.snoop", "ofswitchd.sock"] {
        let mode = std::fs::metadata(switch.run_dir().join(name)).expect(name).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let out = dir.path("snoop.txt");
    let file = std::fs::File::create(&out).expect("file");
    let target = format!("unix:{}", switch.run_dir().join("br0.snoop").display());
    let mut child = std::process::Command::new("timeout")
        .args(["10", "ovs-ofctl", "-O", "OpenFlow13", "snoop", &target])
        // Where it makes a socket of its own.
        .env("OVS_RUNDIR", dir.path("run"))
        .stdout(file.try_clone().expect("file"))
        .stderr(file)
        .spawn()
        .expect("ovs-ofctl");
    let text = || std::fs::read_to_string(&out).unwrap_or_default();
    wait_for("snoop to show both sides", 8 * SECOND, || {
        peer.flow_mod(0, 77, 0, &oxm_in_port(1), &apply(&output(2)));
        peer.barrier();
        std::thread::sleep(SECOND / 10);
        (text().contains("priority=77") && text().contains("OFPT_BARRIER_REPLY")).then_some(())
    });
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn echoes_are_answered_while_a_million_flow_mods_are_applied() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let state = dir.path("state").to_string_lossy().into_owned();
    let switch = Switch::start(&ns, &dir, &["--state-dir", &state, "--bridge", "br0", "--port", "p1"]);
    let socket = switch.run_dir().join("br0.mgmt");
    let mut busy = Peer::connect(&socket);
    let mut idle = Peer::connect(&socket);
    let writer = std::thread::spawn(move || {
        let mut slowest = Duration::ZERO;
        for i in 0..1_000_000u32 {
            // eth_dst, so that each is another entry.
            let mut oxm = vec![0x80, 0, 3 << 1, 6, 2, 0];
            oxm.extend(i.to_be_bytes());
            busy.flow_mod(0, 10, 0, &oxm, &apply(&output(1)));
            if i % 100_000 == 99_999 {
                let begun = Instant::now();
                let xid = busy.send(ofpt::ECHO_REQUEST, &[1, 2, 3]);
                busy.expect("ECHO_REPLY behind flow-mods", 10 * SECOND, |m| m.xid == xid);
                slowest = slowest.max(begun.elapsed());
            }
        }
        busy.barrier();
        slowest
    });
    let mut slowest = Duration::ZERO;
    let mut echoes = 0;
    while !writer.is_finished() {
        let begun = Instant::now();
        let xid = idle.send(ofpt::ECHO_REQUEST, &[]);
        idle.expect("ECHO_REPLY", 10 * SECOND, |m| m.xid == xid);
        slowest = slowest.max(begun.elapsed());
        echoes += 1;
        std::thread::sleep(SECOND / 50);
    }
    let behind = writer.join().expect("the writer");
    println!("slowest echo {slowest:?} of {echoes} on another connection, {behind:?} behind flow-mods");
    assert!(slowest < SECOND && behind < SECOND, "{slowest:?} {behind:?}");
    let n = switch.ofctl(&["dump-aggregate", "br0"]);
    assert!(n.contains("flow_count=1000000"), "{n}");
}

#[test]
fn a_controller_that_says_nothing_is_hung_up_on() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let listener = Listener::new(&dir, "c.sock");
    let target = format!("{},inactivity_probe=1000", listener.target);
    let _switch = Switch::start(&ns, &dir, &["--bridge", "br0", "--port", "p1", "--controller", &target]);
    let mut dead = wait_for("the switch to connect", 10 * SECOND, || listener.poll());
    // HELLO, and half a message: no sign of life.
    dead.write_all(&[4, 0, 0, 8, 0, 0, 0, 1, 4, ofpt::ECHO_REQUEST, 0, 99]).expect("send");
    dead.set_read_timeout(Some(10 * SECOND)).expect("timeout");
    let mut all = Vec::new();
    dead.read_to_end(&mut all).expect("the switch closes its end");
    assert!(all.windows(2).any(|w| w == [4, ofpt::ECHO_REQUEST]), "it was not probed: {all:02x?}");
    wait_for("the next attempt", 5 * SECOND, || listener.poll());
}

#[test]
fn what_a_client_said_before_it_closed_is_done() {
    let _quiet = shared();
    let lab = Lab::new(1, &[]);
    let socket = lab.switch.run_dir().join("br0.mgmt");
    let mut peer = Peer::connect(&socket);
    for i in 0..5000u32 {
        let mut oxm = vec![0x80, 0, 3 << 1, 6, 2, 0];
        oxm.extend(i.to_be_bytes());
        peer.flow_mod(0, 10, 0, &oxm, &apply(&output(1)));
    }
    drop(peer);
    wait_for("5000 flows", 10 * SECOND, || {
        lab.switch.ofctl(&["dump-aggregate", "br0"]).contains("flow_count=5000").then_some(())
    });
    // Who closes its half only is answered.
    let mut half = std::os::unix::net::UnixStream::connect(&socket).expect("connect");
    half.write_all(&[4, 0, 0, 8, 0, 0, 0, 1, 4, ofpt::BARRIER_REQUEST, 0, 8, 0, 0, 0, 7]).expect("send");
    half.shutdown(std::net::Shutdown::Write).expect("shutdown");
    half.set_read_timeout(Some(10 * SECOND)).expect("timeout");
    let mut all = Vec::new();
    half.read_to_end(&mut all).expect("an answer and the end");
    assert!(all.ends_with(&[4, ofpt::BARRIER_REPLY, 0, 8, 0, 0, 0, 7]), "{all:02x?}");
}

#[test]
fn auxiliary_connections_wait_for_the_main_ones_hello() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let listener = Listener::new(&dir, "c.sock");
    let target = format!("{},aux=2", listener.target);
    let _switch = Switch::start(&ns, &dir, &["--bridge", "br0", "--port", "p1", "--controller", &target]);
    let mut main = wait_for("the switch to connect", 10 * SECOND, || listener.poll());
    std::thread::sleep(SECOND);
    assert!(listener.poll().is_none(), "an auxiliary connection before the main one is set up");
    main.write_all(&[4, 0, 0, 8, 0, 0, 0, 1]).expect("send");
    for _ in 0..2 {
        wait_for("an auxiliary connection", 5 * SECOND, || listener.poll());
    }
}

#[test]
fn tls_errors_name_what_failed() {
    let _quiet = shared();
    let (ns, _hosts, dir) = Lab::bare(1);
    let pki = |name: &str| {
        let at = dir.path(name);
        let made = std::process::Command::new(tests::switch::bin("ofctl")).arg("pki").arg(&at).output();
        assert!(made.expect("ofctl").status.success());
        at
    };
    let (ours, theirs) = (pki("pki"), pki("other"));
    let sh = |line: &str| {
        let out =
            std::process::Command::new("sh").arg("-c").arg(line).current_dir(&ours).output().expect("sh");
        assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    };
    let sign = "openssl x509 -req -in c.csr -CA cacert.pem -CAkey cakey.pem -CAcreateserial";
    sh("openssl req -new -key client-privkey.pem -subj /CN=c -out c.csr; echo keyUsage=digitalSignature > ext");
    sh(&format!("{sign} -days -1 -extfile ext -out expired.pem; {sign} -days 9 -out v1.pem"));
    let file = |p: &std::path::Path, name: &str| p.join(name).to_string_lossy().into_owned();
    let (key, cert, ca) =
        (file(&ours, "switch-privkey.pem"), file(&ours, "switch-cert.pem"), file(&ours, "cacert.pem"));
    let args = ["--bridge", "br0", "--port", "p1", "--controller", "pssl:6640:127.0.0.1"];
    let tls = ["--private-key", &key, "--certificate", &cert, "--ca-cert", &ca];
    let switch = Switch::start(&ns, &dir, &[&args[..], &tls[..]].concat());
    let client = file(&ours, "client-privkey.pem");
    let ours = |name: &str| format!("-key {client} -cert {}", file(&ours, name));
    let stranger =
        format!("-key {} -cert {}", file(&theirs, "client-privkey.pem"), file(&theirs, "client-cert.pem"));
    for (how, says) in [
        (ours("expired.pem"), "the peer's certificate has expired"),
        (ours("v1.pem"), "the peer's certificate is of X.509 version 1"),
        (stranger, "the peer's certificate is not signed by our CA certificate (--ca-cert)"),
        (String::new(), "the peer sent no certificate"),
        (
            ours("client-cert.pem") + " -tls1_1 -cipher ALL:@SECLEVEL=0",
            "the peer speaks neither TLS 1.2 nor 1.3",
        ),
        (
            ours("client-cert.pem") + " -verify_return_error -no-CAfile -no-CApath",
            "the peer does not know the CA of our certificate",
        ),
    ] {
        let line = format!("timeout 5 openssl s_client -connect 127.0.0.1:6640 {how} < /dev/null");
        let out = ns.try_sh(&line);
        wait_for(&format!("{says:?} after {line}: {out:?}"), 5 * SECOND, || {
            switch.log_text().contains(says).then_some(())
        });
    }
    ns.try_sh("timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/6640'");
    wait_for("the end of a handshake", 5 * SECOND, || {
        switch.log_text().contains("the peer closed the connection during the handshake").then_some(())
    });
}

#[test]
fn ofctl_says_that_its_hello_was_refused() {
    let _quiet = shared();
    let dir = tests::switch::Scratch::new();
    let path = dir.path("old.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    let switch = std::thread::spawn(move || {
        let (mut s, _) = listener.accept().expect("a client");
        // HELLO of 1.3 without a bitmap, and then: OFPET_HELLO_FAILED, OFPHFC_INCOMPATIBLE.
        s.write_all(&[4, 0, 0, 8, 0, 0, 0, 1, 4, ofpt::ERROR, 0, 19, 0, 0, 0, 1, 0, 0, 0, 0]).expect("send");
        s.write_all(b"go away").expect("send");
        let _ = s.read_to_end(&mut Vec::new());
    });
    let out = std::process::Command::new(tests::switch::bin("ofctl"))
        .args(["show", &format!("unix:{}", path.display())])
        .output()
        .expect("ofctl");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("refused our HELLO: OFPHFC_INCOMPATIBLE go away"), "{said}");
    assert_eq!(out.status.code(), Some(1));
    switch.join().expect("the switch");
}
