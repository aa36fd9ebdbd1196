//! Controllers: os-ken from PyPI, and a plain OpenFlow 1.3 peer that writes and reads bytes.

use crate::netns::Netns;
use crate::switch::Scratch;
use crate::wait_for;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// `osken-manager` with one application, listening on 127.0.0.1:6653 of a namespace.
#[derive(Debug)]
pub struct OsKen {
    child: Child,
    log: PathBuf,
}

impl OsKen {
    /// Start it with an application of the virtual environment, for instance `simple_switch_13.py`, and wait until it listens.
    pub fn start(ns: &Netns, dir: &Scratch, app: &str) -> Self {
        let venv = std::env::var_os("OFSWITCH_VENV").map(PathBuf::from).unwrap_or_else(|| {
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace").join(".venv")
        });
        let manager = venv.join("bin/osken-manager");
        assert!(manager.exists(), "{} is missing; get it with: scripts/venv", manager.display());
        let log = dir.path("osken.log");
        let out = std::fs::File::create(&log).expect("log file");
        let child = ns
            .command(&manager.to_string_lossy())
            .args(["--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", "6653"])
            .arg(venv.join("apps").join(app))
            .env("PYTHONWARNINGS", "ignore")
            // Its other hub serves no HTTP; applications import each other.
            .env("OSKEN_HUB_TYPE", "eventlet")
            .env("PYTHONPATH", venv.join("apps"))
            .stdout(out.try_clone().expect("dup"))
            .stderr(out)
            .stdin(Stdio::null())
            .spawn()
            .expect("osken-manager");
        let mut osken = OsKen { child, log };
        wait_for("os-ken to listen", Duration::from_secs(30), || {
            assert!(matches!(osken.child.try_wait(), Ok(None)), "os-ken ended:\n{}", osken.log_text());
            (!ns.sh("ss -Hltn 'sport = :6653'").is_empty()).then_some(())
        });
        osken
    }

    /// What it has printed.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for OsKen {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- os-ken's log:\n{}", self.log_text());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Message types of OpenFlow 1.3 that the tests use.
#[allow(missing_docs)]
pub mod ofpt {
    pub const HELLO: u8 = 0;
    pub const ERROR: u8 = 1;
    pub const ECHO_REQUEST: u8 = 2;
    pub const ECHO_REPLY: u8 = 3;
    pub const FEATURES_REQUEST: u8 = 5;
    pub const FEATURES_REPLY: u8 = 6;
    pub const SET_CONFIG: u8 = 9;
    pub const PACKET_IN: u8 = 10;
    pub const FLOW_REMOVED: u8 = 11;
    pub const PORT_STATUS: u8 = 12;
    pub const PACKET_OUT: u8 = 13;
    pub const FLOW_MOD: u8 = 14;
    pub const PORT_MOD: u8 = 16;
    pub const BARRIER_REQUEST: u8 = 20;
    pub const BARRIER_REPLY: u8 = 21;
}

/// A message as it came: type, transaction id, body after the header.
#[derive(Debug, Clone)]
pub struct Msg {
    /// Its type, one of [`ofpt`].
    pub kind: u8,
    /// Transaction id.
    pub xid: u32,
    /// All after the 8-byte header.
    pub body: Vec<u8>,
}

/// An OpenFlow 1.3 peer on a stream that a switch is at the other end of.
#[derive(Debug)]
pub struct Peer {
    stream: UnixStream,
    buf: Vec<u8>,
    inbox: VecDeque<Msg>,
    xid: u32,
}

/// A listening controller, for `--controller unix:PATH`.
#[derive(Debug)]
pub struct Listener {
    inner: UnixListener,
    /// The argument for `--controller`.
    pub target: String,
}

impl Listener {
    /// Listen on `name` in the switch's run directory.
    pub fn new(dir: &Scratch, name: &str) -> Self {
        let path = dir.path("run").join(name);
        std::fs::create_dir_all(dir.path("run")).expect("run directory");
        let _ = std::fs::remove_file(&path);
        let inner = UnixListener::bind(&path).expect("bind");
        inner.set_nonblocking(true).expect("nonblocking");
        Listener { inner, target: format!("unix:{}", path.display()) }
    }

    /// The next switch that connects within `timeout`, hands shaken.
    pub fn accept(&self, timeout: Duration) -> Peer {
        Peer::handshake(wait_for("the switch to connect", timeout, || self.poll()))
    }

    /// Who has connected, if somebody has: nothing is said yet.
    pub fn poll(&self) -> Option<UnixStream> {
        let stream = self.inner.accept().ok()?.0;
        stream.set_nonblocking(false).expect("blocking");
        Some(stream)
    }
}

impl Peer {
    /// Connect to a management socket.
    pub fn connect(path: &Path) -> Self {
        Self::handshake(UnixStream::connect(path).expect("management socket"))
    }

    fn handshake(stream: UnixStream) -> Self {
        let mut peer = Peer { stream, buf: Vec::new(), inbox: VecDeque::new(), xid: 100 };
        peer.send(ofpt::HELLO, &[]);
        let xid = peer.send(ofpt::FEATURES_REQUEST, &[]);
        peer.expect("FEATURES_REPLY", Duration::from_secs(10), |m| {
            m.kind == ofpt::FEATURES_REPLY && m.xid == xid
        });
        peer.send(ofpt::SET_CONFIG, &[0, 0, 0xff, 0xff]);
        peer
    }

    /// The transaction id that the next message will have.
    pub fn next_xid(&self) -> u32 {
        self.xid + 1
    }

    /// Send a message, return its transaction id.
    pub fn send(&mut self, kind: u8, body: &[u8]) -> u32 {
        self.xid += 1;
        let mut m = vec![4, kind];
        m.extend(((8 + body.len()) as u16).to_be_bytes());
        m.extend(self.xid.to_be_bytes());
        m.extend(body);
        self.stream.write_all(&m).expect("send");
        self.xid
    }

    /// Send bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send");
    }

    /// The first message within `timeout` that satisfies `pick`; others stay.
    pub fn try_expect(&mut self, timeout: Duration, pick: impl Fn(&Msg) -> bool) -> Option<Msg> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(at) = self.inbox.iter().position(&pick) {
                return self.inbox.remove(at);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).expect("timeout");
            let mut chunk = [0u8; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.buf.extend(&chunk[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
            self.cut();
        }
    }

    /// The same, which must come.
    pub fn expect(&mut self, what: &str, timeout: Duration, pick: impl Fn(&Msg) -> bool) -> Msg {
        match self.try_expect(timeout, pick) {
            Some(m) => m,
            None => panic!("no {what} within {timeout:?}; waiting are {:?}", self.inbox),
        }
    }

    /// Whether the switch has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(1))).expect("timeout");
        let mut chunk = [0u8; 65536];
        match self.stream.read(&mut chunk) {
            Ok(0) => true,
            Ok(n) => {
                self.buf.extend(&chunk[..n]);
                self.cut();
                false
            }
            Err(_) => false,
        }
    }

    fn cut(&mut self) {
        while self.buf.len() >= 8 {
            let len = usize::from(u16::from_be_bytes([self.buf[2], self.buf[3]]));
            assert!(len >= 8, "length {len} in a header");
            if self.buf.len() < len {
                return;
            }
            let raw: Vec<u8> = self.buf.drain(..len).collect();
            let m = Msg {
                kind: raw[1],
                xid: u32::from_be_bytes([raw[4], raw[5], raw[6], raw[7]]),
                body: raw[8..].to_vec(),
            };
            match m.kind {
                ofpt::ECHO_REQUEST => {
                    let mut reply = raw.clone();
                    reply[1] = ofpt::ECHO_REPLY;
                    self.stream.write_all(&reply).expect("echo reply");
                }
                ofpt::HELLO => {}
                _ => self.inbox.push_back(m),
            }
        }
    }

    /// A barrier; panics if an error comes before its reply.
    pub fn barrier(&mut self) {
        let xid = self.send(ofpt::BARRIER_REQUEST, &[]);
        let m = self.expect("BARRIER_REPLY", Duration::from_secs(10), |m| {
            m.kind == ofpt::ERROR || (m.kind == ofpt::BARRIER_REPLY && m.xid == xid)
        });
        assert_eq!(m.kind, ofpt::BARRIER_REPLY, "error {:02x?}", m.body);
    }

    /// A flow-mod on table 0: `command` (0 add, 1 modify, 3 delete), priority, flags, match fields and instructions in bytes.
    pub fn flow_mod(
        &mut self,
        command: u8,
        priority: u16,
        flags: u16,
        oxm: &[u8],
        instructions: &[u8],
    ) -> u32 {
        let mut b = vec![0u8; 16];
        b.extend([0, command, 0, 0, 0, 0]);
        b.extend(priority.to_be_bytes());
        b.extend(0xffff_ffffu32.to_be_bytes());
        b.extend(0xffff_ffffu32.to_be_bytes());
        b.extend(0xffff_ffffu32.to_be_bytes());
        b.extend(flags.to_be_bytes());
        b.extend([0, 0]);
        b.extend(1u16.to_be_bytes());
        b.extend((4 + oxm.len() as u16).to_be_bytes());
        b.extend(oxm);
        b.resize(b.len().div_ceil(8) * 8, 0);
        b.extend(instructions);
        self.send(ofpt::FLOW_MOD, &b)
    }

    /// A packet-out of `frame` with these actions, from CONTROLLER.
    pub fn packet_out(&mut self, actions: &[u8], frame: &[u8]) -> u32 {
        let mut b = 0xffff_ffffu32.to_be_bytes().to_vec();
        b.extend(0xffff_fffdu32.to_be_bytes());
        b.extend((actions.len() as u16).to_be_bytes());
        b.extend([0; 6]);
        b.extend(actions);
        b.extend(frame);
        self.send(ofpt::PACKET_OUT, &b)
    }
}

/// OXM `in_port=port`.
pub fn oxm_in_port(port: u32) -> Vec<u8> {
    let mut b = vec![0x80, 0, 0, 4];
    b.extend(port.to_be_bytes());
    b
}

/// Action `output:port` with `max_len` NO_BUFFER.
pub fn output(port: u32) -> Vec<u8> {
    let mut b = vec![0, 0, 0, 16];
    b.extend(port.to_be_bytes());
    b.extend([0xff, 0xff, 0, 0, 0, 0, 0, 0]);
    b
}

/// Action `set_field:mac->eth_dst`.
pub fn set_eth_dst(mac: [u8; 6]) -> Vec<u8> {
    let mut b = vec![0, 25, 0, 16, 0x80, 0, 3 << 1, 6];
    b.extend(mac);
    b.extend([0, 0]);
    b
}

/// Instruction `apply_actions`.
pub fn apply(actions: &[u8]) -> Vec<u8> {
    let mut b = 4u16.to_be_bytes().to_vec();
    b.extend((8 + actions.len() as u16).to_be_bytes());
    b.extend([0; 4]);
    b.extend(actions);
    b
}

/// OpenFlow's CONTROLLER port.
pub const CONTROLLER: u32 = 0xffff_fffd;
