//! A whole switch in one process for tests: a bridge with ports in memory, connections that are pipes, and a clock that can be put forward.
#![allow(dead_code)] // each test uses a part

use bytes::BytesMut;
use datapath::packet::Packet;
use datapath::port::dummy::{DummyPort, Wire};
use datapath::PortId;
use ofproto::conn::manager::{Backend, ConnId, ConnKind, ConnOptions, Manager};
use ofproto::conn::Pipe;
use ofproto::switch::FlowCursor;
use ofproto::{BridgeConfig, BridgeId, PortSpec, Switch};
use openflow::codec::OfCodec;
use openflow::msg::{Hello, Message, OfMessage};
use openflow::{OfpError, PortNo, Xid};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::codec::Decoder;

/// Longest wait for a worker; far more than any takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A port as the test sees it.
pub struct Wired {
    pub number: PortNo,
    pub wire: Arc<Wire>,
    id: PortId,
    injected: u64,
}

/// See the module.
pub struct Rig {
    pub switch: Switch,
    pub bridge: BridgeId,
    pub manager: Manager<FlowCursor>,
    pub pipes: Vec<Pipe>,
    pub ports: Vec<Wired>,
    next_xid: u32,
}

impl Rig {
    /// A bridge with ports 1 to `n` and LOCAL, and one controller that has said HELLO.
    pub fn new(n: u32) -> Self {
        Self::with(n, BridgeConfig::new("br0", 7))
    }
    /// The same with other settings.
    pub fn with(n: u32, config: BridgeConfig) -> Self {
        let now = Instant::now();
        let mut switch = Switch::new(Default::default(), Arc::new(|| ()), now).expect("switch");
        let local = DummyPort::new("br0");
        let wire = local.wire();
        let bridge = switch.add_bridge_on(now, config, Some(Box::new(local))).expect("bridge");
        let newest = |s: &Switch| s.datapath().ports().last().expect("a port").0;
        let mut ports = vec![Wired { number: PortNo::LOCAL, wire, id: newest(&switch), injected: 0 }];
        for i in 1..=n {
            let name = format!("p{i}");
            let device = DummyPort::new(&name);
            let wire = device.wire();
            let spec = PortSpec { name, kind: "dummy".into(), ..PortSpec::default() };
            let number = switch.add_port_on(now, bridge, spec, Some(Box::new(device))).expect("port");
            assert_eq!(number, PortNo(i));
            ports.push(Wired { number, wire, id: newest(&switch), injected: 0 });
        }
        let mut rig =
            Self { switch, bridge, manager: Manager::new(), pipes: Vec::new(), ports, next_xid: 10 };
        rig.settle();
        rig.connect(ConnOptions::new(ConnKind::Controller, "test"));
        rig
    }

    /// Another connection, greeted; its number.
    pub fn connect(&mut self, options: ConnOptions) -> usize {
        let i = self.pipes.len();
        let pipe = Pipe::new();
        self.manager.open(ConnId(i as u64 + 1), options, pipe.clone(), Instant::now());
        self.pipes.push(pipe);
        self.say(i, &OfMessage::new(Xid(1), Hello::with_versions(&[4])));
        self.settle();
        let heard = self.hear(i);
        assert!(matches!(heard[0].body, Message::Hello(_)), "{heard:?}");
        i
    }

    /// Bytes to the switch.
    pub fn say_raw(&mut self, i: usize, bytes: &[u8]) {
        self.pipes[i].feed(bytes);
    }
    /// A message to the switch.
    pub fn say(&mut self, i: usize, m: &OfMessage) {
        let bytes = m.to_bytes().expect("a message that can be written");
        self.say_raw(i, &bytes);
    }
    /// Everything the switch said since.
    pub fn hear(&mut self, i: usize) -> Vec<OfMessage> {
        let (mut out, mut codec) = (Vec::new(), OfCodec::new());
        self.pipes[i].with_output(|b: &mut BytesMut| {
            while let Ok(Some(f)) = codec.decode(b) {
                out.push(f.message.expect("the switch sends what can be read"));
            }
        });
        out
    }
    /// Lets the switch do all it has to.
    pub fn settle(&mut self) {
        let begun = Instant::now();
        loop {
            let now = Instant::now();
            let mut more = {
                let mut view = self.switch.view(self.bridge);
                let more = self.manager.process(&mut view, now, 100_000);
                view.publish();
                more
            };
            let next = self.switch.run(now);
            while let Some((_, e)) = self.switch.next_event() {
                self.manager.event(&e, now);
            }
            more |= self.manager.is_waiting_for_workers();
            more |= next.is_some_and(|n| n < now + Duration::from_millis(1));
            if !more {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "the switch does not come to rest");
            std::thread::yield_now();
        }
    }
    /// Says something and hears the answers; the request's xid.
    pub fn ask(&mut self, i: usize, body: impl Into<Message>) -> (Xid, Vec<OfMessage>) {
        self.next_xid += 1;
        let xid = Xid(self.next_xid);
        self.say(i, &OfMessage::new(xid, body));
        self.settle();
        (xid, self.hear(i))
    }
    /// Asks for a change; the error it is refused with, and what else was heard.
    pub fn try_change(&mut self, body: impl Into<Message>) -> (Option<OfpError>, Vec<OfMessage>) {
        let (xid, mut heard) = self.ask(0, body);
        let at = heard.iter().position(|m| m.xid == xid && matches!(m.body, Message::Error(_)));
        let error = at.map(|i| match heard.remove(i).body {
            Message::Error(e) => e.error,
            _ => unreachable!(),
        });
        (error, heard)
    }
    /// Asks for a change that must be taken.
    pub fn change(&mut self, body: impl Into<Message> + std::fmt::Debug) {
        let said = format!("{body:?}");
        let (error, _) = self.try_change(body);
        assert!(error.is_none(), "{said}: {error:?}");
    }
    /// A packet comes in by a port: what goes out, by port, in order.
    pub fn packet(&mut self, port: PortNo, frame: &[u8]) -> Vec<(PortNo, Vec<u8>)> {
        let p = self.ports.iter_mut().find(|p| p.number == port).expect("port");
        p.injected += 1;
        let (id, want) = (p.id, p.injected);
        p.wire.inject(Packet::from_bytes(frame));
        let begun = Instant::now();
        let received = |s: &Switch| s.datapath().port_stats(id).expect("statistics").rx_packets;
        while received(&self.switch) < want {
            assert!(begun.elapsed() < PATIENCE, "the packet is not taken");
            std::thread::yield_now();
        }
        self.sent()
    }
    /// Packets that came in by a port.
    pub fn received(&self, port: PortNo) -> u64 {
        let p = self.ports.iter().find(|p| p.number == port).expect("port");
        self.switch.datapath().port_stats(p.id).expect("statistics").rx_packets
    }
    /// What has gone out since, by port.
    pub fn sent(&mut self) -> Vec<(PortNo, Vec<u8>)> {
        let rest = |s: &Switch| {
            // A worker that sleeps counts as synchronised; its answer shows that it has done what it was told before.
            s.datapath().dump_megaflows();
            s.datapath().synchronize();
        };
        rest(&self.switch);
        self.settle();
        rest(&self.switch);
        let take =
            |p: &Wired| std::iter::from_fn(|| p.wire.take()).map(|f| (p.number, f)).collect::<Vec<_>>();
        self.ports.iter().flat_map(take).collect()
    }
    /// Puts the clock forward, and lets happen what is due.
    pub fn advance(&mut self, by: Duration) {
        self.switch.skip_time(Instant::now(), by);
        self.settle();
    }
}
