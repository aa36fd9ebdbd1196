//! A whole switch in one process, without devices and on a clock that stands still unless it is moved: dummy ports, real workers, real
//! caches, and one controller that speaks OpenFlow over a pipe.
#![allow(dead_code)]

pub mod frame;

use bytes::BytesMut;
use datapath::packet::Packet;
use datapath::port::dummy::{DummyPort, Wire};
use datapath::{DatapathConfig, PortId};
use ofproto::conn::manager::Manager;
use ofproto::conn::{Backend, ConnId, ConnKind, ConnOptions, Pipe};
use ofproto::switch::{FlowCursor, Switch};
use ofproto::{BridgeConfig, BridgeId, PortSpec};
use openflow::codec::OfCodec;
use openflow::msg::{AsyncConfig, Hello, Message, OfMessage};
use openflow::PortNo;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::codec::Decoder;

/// See the module.
pub struct Bed {
    /// The switch.
    pub sw: Switch,
    /// Its bridge.
    pub bridge: BridgeId,
    /// The cables of its ports.
    pub wires: BTreeMap<PortNo, Arc<Wire>>,
    manager: Manager<FlowCursor>,
    pipe: Pipe,
    clock: Arc<AtomicU64>,
    start: Instant,
    next_xid: u32,
}

impl Bed {
    /// A bridge `br0` with ports `p1` to `pN`, and LOCAL.
    pub fn new(ports: u32, change: impl FnOnce(&mut BridgeConfig)) -> Self {
        let (clock, start) = (Arc::new(AtomicU64::new(1_000_000_000)), Instant::now());
        let config = DatapathConfig {
            manual_clock: Some(clock.clone()),
            // No packet waits for its upcall: a step is over when the worker has handled the packet.
            upcall_budget_percent: 100_000,
            ..DatapathConfig::default()
        };
        let mut sw = Switch::new(config, Arc::new(|| ()), start).expect("a switch");
        let mut wires = BTreeMap::new();
        let mut device = |name: &str, number: PortNo| {
            let d = DummyPort::new(name);
            wires.insert(number, d.wire());
            Box::new(d)
        };
        let mut config = BridgeConfig::new("br0", 1);
        change(&mut config);
        let local = device("br0", PortNo::LOCAL);
        let bridge = sw.add_bridge_on(start, config, Some(local)).expect("a bridge");
        for n in 1..=ports {
            let name = format!("p{n}");
            let d = device(&name, PortNo(n));
            let spec =
                PortSpec { name, ofport: Some(PortNo(n)), kind: "dummy".into(), ..PortSpec::default() };
            sw.add_port_on(start, bridge, spec, Some(d)).expect("a port");
        }
        let (manager, pipe) = (Manager::new(), Pipe::new());
        let mut bed = Self { sw, bridge, wires, manager, pipe, clock, start, next_xid: 1 };
        while bed.sw.next_event().is_some() {} // the ports' arrival
        let options = ConnOptions::new(ConnKind::Controller, "test");
        let now = bed.now();
        bed.manager.open(ConnId(1), options, bed.pipe.clone(), now);
        let hello = OfMessage::new(0, Hello::with_versions(&[4]));
        bed.pipe.feed(&hello.to_bytes().expect("a hello"));
        bed.settle();
        let all = [u32::MAX; 2];
        let everything = AsyncConfig { packet_in_mask: all, port_status_mask: all, flow_removed_mask: all };
        bed.say(Message::SetAsync(everything));
        bed
    }
    /// Time on the bed's clock.
    pub fn now(&self) -> Instant {
        self.start + Duration::from_nanos(self.clock.load(Ordering::Relaxed))
    }
    /// Lets time pass, in steps in which the switch does its housekeeping.
    pub fn advance(&mut self, by: Duration) -> Vec<OfMessage> {
        let (mut left, mut heard) = (by.as_nanos() as u64, Vec::new());
        while left > 0 {
            let step = left.min(500_000_000);
            self.clock.fetch_add(step, Ordering::Relaxed);
            left -= step;
            // Whatever waits in a worker (a scheduler's queue) sees the new time.
            self.rendezvous();
            heard.extend(self.settle());
        }
        heard
    }
    /// Moves the clock only: housekeeping comes with the next step.
    pub fn tick(&self, ns: u64) {
        self.clock.fetch_add(ns, Ordering::Relaxed);
    }
    /// The worker is awake, has seen the time, done what it was told and sent what that made (a sleeping one is only sure to do so
    /// before its next packet).
    pub fn rendezvous(&self) {
        let dp = self.sw.datapath();
        dp.dump_megaflows(); // answered by the worker
        dp.synchronize();
    }
    /// Everything that can be done now is done; what the controller heard meanwhile.
    pub fn settle(&mut self) -> Vec<OfMessage> {
        loop {
            let now = self.now();
            let version = self.sw.view(self.bridge).publish();
            let next = self.sw.run(now);
            let mut busy = self.pipe.input_len() > 0;
            while let Some((_, event)) = self.sw.next_event() {
                self.manager.event(&event, now);
                busy = true;
            }
            busy |= self.manager.process(&mut self.sw.view(self.bridge), now, 1000);
            let waits = self.manager.is_waiting_for_workers()
                || self.sw.view(self.bridge).synced() < version
                || next.is_some_and(|t| t <= now + Duration::from_millis(1));
            if !busy && !waits {
                break;
            }
            if waits {
                std::thread::yield_now();
            }
        }
        self.hear()
    }
    fn hear(&self) -> Vec<OfMessage> {
        let mut out = Vec::new();
        let mut codec = OfCodec::new();
        self.pipe.with_output(|b: &mut BytesMut| {
            while let Ok(Some(f)) = codec.decode(b) {
                out.push(f.message.expect("the switch says nothing malformed"));
            }
        });
        out
    }
    /// Sends a request; all that comes back once the switch has come to rest, with the number of the request.
    pub fn say(&mut self, body: impl Into<Message>) -> (u32, Vec<OfMessage>) {
        let body = body.into();
        self.say_numbered(|_| body)
    }
    /// The same with a request that holds its number.
    pub fn say_numbered(&mut self, body: impl FnOnce(u32) -> Message) -> (u32, Vec<OfMessage>) {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.pipe.feed(&OfMessage::new(xid, body(xid)).to_bytes().expect("a message"));
        let mut heard = self.settle();
        // Packet-outs are on their way by commands to a worker, and what they send to controllers comes after these.
        self.rendezvous();
        heard.extend(self.settle());
        (xid, heard)
    }
    /// Another bridge, whose port 1 and this new port of ours are the two ends of a patch.
    pub fn patch(&mut self, number: PortNo) -> BridgeId {
        let now = self.now();
        let local = Box::new(DummyPort::new("br1"));
        let other = self.sw.add_bridge_on(now, BridgeConfig::new("br1", 2), Some(local)).expect("a bridge");
        for (bridge, name, peer, n) in
            [(self.bridge, "to-br1", "to-br0", number), (other, "to-br0", "to-br1", PortNo(1))]
        {
            let options = [("peer".to_string(), peer.to_string())].into();
            let (name, kind) = (name.to_string(), "patch".to_string());
            let spec = PortSpec { name, ofport: Some(n), kind, options };
            self.sw.add_port_on(now, bridge, spec, None).expect("a patch port");
        }
        self.settle();
        other
    }
    /// The datapath's number of a port.
    pub fn dp_port(&self, port: PortNo) -> PortId {
        let name = if port == PortNo::LOCAL { "br0".to_string() } else { format!("p{}", port.0) };
        let ports = self.sw.datapath().ports();
        ports.iter().find(|(_, i)| i.name == name).map(|p| p.0).expect("the port")
    }
    /// A frame comes in by a port, and is through the switch when this returns.
    pub fn inject(&mut self, port: PortNo, frame: &[u8]) {
        let id = self.dp_port(port);
        let dp = self.sw.datapath().clone();
        let before = dp.port_stats(id).expect("statistics").rx_packets;
        self.wires[&port].inject(Packet::from_bytes(frame));
        while dp.port_stats(id).expect("statistics").rx_packets == before {
            std::thread::yield_now();
        }
        dp.synchronize();
    }
    /// All frames that left since the last call, port by port.
    pub fn sent(&self) -> Vec<(PortNo, Vec<u8>)> {
        let all = |(n, w): (&PortNo, &Arc<Wire>)| {
            let frames: Vec<_> = std::iter::from_fn(|| w.take()).map(|f| (*n, f)).collect();
            frames
        };
        self.wires.iter().flat_map(all).collect()
    }
}
