//! A port in memory, for tests: what is injected is received, what is sent is kept.

use super::counters::{PortCounters, QueueCounters};
use super::{Port, PortError, PortInfo, PortStats, Rxq, Txq};
use crate::packet::{Batch, Packet};
use crossbeam_queue::SegQueue;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// The wire of a [`DummyPort`]: both ends, shared with the test.
pub struct Wire {
    to_switch: SegQueue<Packet>,
    from_switch: SegQueue<Vec<u8>>,
    sent_packets: SegQueue<Packet>,
    keep_packets: AtomicBool,
    link_down: AtomicBool,
    fd: Option<OwnedFd>,
}

impl Wire {
    /// Puts a packet on the wire.
    pub fn inject(&self, p: Packet) {
        self.to_switch.push(p);
        self.wake();
    }
    fn wake(&self) {
        if let Some(fd) = &self.fd {
            crate::sys::eventfd_write(fd);
        }
    }
    /// The next frame the switch sent.
    pub fn take(&self) -> Option<Vec<u8>> {
        self.from_switch.pop()
    }
    /// The next packet the switch sent, with its offload state, if [`Wire::keep_packets`] was called.
    pub fn take_packet(&self) -> Option<Packet> {
        self.sent_packets.pop()
    }
    /// Plugs the cable in or out. Nobody is told: ask the port.
    pub fn set_link(&self, up: bool) {
        self.link_down.store(!up, Ordering::Relaxed);
    }
    /// From now on sent packets are kept whole, for [`Wire::take_packet`].
    pub fn keep_packets(&self) {
        self.keep_packets.store(true, Ordering::Relaxed);
    }
}

/// The port.
pub struct DummyPort {
    info: PortInfo,
    wire: Arc<Wire>,
    counters: PortCounters,
    taken: bool,
}

impl DummyPort {
    /// A port served by the epoll worker.
    pub fn new(name: &str) -> Self {
        Self::with_fd(name, true)
    }
    /// A port that must be polled by a PMD.
    pub fn polled(name: &str) -> Self {
        Self::with_fd(name, false)
    }
    fn with_fd(name: &str, fd: bool) -> Self {
        let fd = fd.then(|| crate::sys::eventfd().expect("eventfd"));
        let wire = Wire {
            to_switch: SegQueue::new(),
            from_switch: SegQueue::new(),
            sent_packets: SegQueue::new(),
            keep_packets: AtomicBool::new(false),
            link_down: AtomicBool::new(false),
            fd,
        };
        let info = PortInfo {
            name: name.into(),
            kind: "dummy".into(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            link_up: true,
            admin_up: true,
            speed_mbps: 10_000,
            max_speed_mbps: 10_000,
            full_duplex: true,
            n_rxq: 1,
            n_txq: 1,
            present: true,
            ..PortInfo::default()
        };
        Self { info, wire: Arc::new(wire), counters: PortCounters::default(), taken: false }
    }
    /// The wire, to play the other side.
    pub fn wire(&self) -> Arc<Wire> {
        self.wire.clone()
    }
}

impl Port for DummyPort {
    fn info(&self) -> PortInfo {
        PortInfo { link_up: !self.wire.link_down.load(Ordering::Relaxed), ..self.info.clone() }
    }
    fn stats(&self) -> PortStats {
        let (rx, tx) = (self.counters.rx(), self.counters.tx());
        PortStats {
            rx_packets: rx.packets,
            rx_bytes: rx.bytes,
            tx_packets: tx.packets,
            tx_bytes: tx.bytes,
            ..PortStats::default()
        }
    }
    fn take_rxqs(&mut self) -> Vec<Box<dyn Rxq>> {
        if std::mem::replace(&mut self.taken, true) {
            return Vec::new();
        }
        vec![Box::new(DummyRxq { wire: self.wire.clone(), counters: self.counters.new_rx() })]
    }
    fn new_txq(&mut self) -> Result<Box<dyn Txq>, PortError> {
        Ok(Box::new(DummyTxq { wire: self.wire.clone(), counters: self.counters.new_tx() }))
    }
    fn set_mtu(&mut self, mtu: u32) -> Result<(), PortError> {
        self.info.mtu = mtu;
        Ok(())
    }
    fn set_admin_up(&mut self, up: bool) -> Result<(), PortError> {
        self.info.admin_up = up;
        Ok(())
    }
}

struct DummyRxq {
    wire: Arc<Wire>,
    counters: Arc<QueueCounters>,
}

impl Rxq for DummyRxq {
    fn recv(&mut self, batch: &mut Batch) -> usize {
        if let Some(fd) = &self.wire.fd {
            crate::sys::eventfd_drain(fd);
        }
        let (mut n, mut bytes) = (0, 0);
        while !batch.is_full() {
            let Some(p) = self.wire.to_switch.pop() else { break };
            bytes += p.len() as u64;
            n += 1;
            batch.push(p);
        }
        if !self.wire.to_switch.is_empty() {
            self.wire.wake();
        }
        self.counters.passed(n, bytes);
        n as usize
    }
    fn fd(&self) -> Option<RawFd> {
        self.wire.fd.as_ref().map(|f| f.as_raw_fd())
    }
}

struct DummyTxq {
    wire: Arc<Wire>,
    counters: Arc<QueueCounters>,
}

impl Txq for DummyTxq {
    fn send(&mut self, batch: &mut Batch) {
        for p in batch.drain() {
            self.counters.passed(1, p.len() as u64);
            if self.wire.keep_packets.load(Ordering::Relaxed) {
                self.wire.sent_packets.push(p);
            } else {
                self.wire.from_switch.push(p.data().to_vec());
            }
        }
    }
}
