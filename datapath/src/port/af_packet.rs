//! `system` ports: an existing Linux interface by a packet socket (AF_PACKET). Needs CAP_NET_RAW (and CAP_NET_ADMIN for large
//! socket buffers and to turn LRO off).
//!
//! Batches: one `recvmmsg(2)` or `sendmmsg(2)` moves up to 32 frames. Buffers: frames are received straight into packets of ours; what does
//! not fit an ordinary one (a super-frame) spills into a second buffer and is joined in a large packet.
//! Offloads: the socket speaks virtio-net headers, so unfinished checksums and super-frames of up to 64 KiB pass between Linux ports
//! whole; the kernel completes or cuts them where the interface below cannot. LRO is turned off on attach: what it merged could not be
//! cut again as it was. VLAN tags that the kernel has stripped are put back.
//! Full queues: received frames that find the socket's buffer full are dropped by the kernel (`rx_full`); sent ones that find no room in the
//! send buffer or the device's queue are dropped and counted (`tx_full`). Nothing waits.
//! The interface may go down, vanish (deleted, renamed, moved to another namespace) and come back: the socket and the queues stay, and
//! the link monitor binds the socket again.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::counters::{add, PortCounters, QueueCounters};
use super::monitor::{LinkMonitor, LinkWatcher};
use super::netlink::{LinkInfo, LinkSocket};
use super::sys::{self, MsgRing, VnetHdr, BURST};
use super::{offload, Port, PortConfig, PortError, PortInfo, PortStats, Rxq, Txq};
use crate::packet::{Batch, GsoType, Offload, Packet, MAX_FRAME};

/// Bytes of an ordinary receive buffer: a frame of MTU 1500 with tags, and then some.
const SMALL: usize = 2048;
/// Ethernet header.
const ETH: usize = 14;

/// Validated options of a `system` port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Interface.
    pub name: String,
    /// `rcvbuf_kib=N`: the socket's receive buffer.
    pub rcvbuf_bytes: i32,
    /// `sndbuf_kib=N`: the socket's send buffer.
    pub sndbuf_bytes: i32,
}

impl Config {
    /// Reads the options.
    ///
    /// # Errors
    /// An unknown option or a value out of range.
    pub fn new(c: &PortConfig) -> Result<Self, PortError> {
        let mut out = Self { name: c.name.clone(), rcvbuf_bytes: 16 << 20, sndbuf_bytes: 4 << 20 };
        for (k, v) in &c.options {
            let kib = || v.parse::<i32>().ok().filter(|n| (64..=1 << 20).contains(n)).map(|n| n << 10);
            match k.as_str() {
                "rcvbuf_kib" => {
                    out.rcvbuf_bytes = kib()
                        .ok_or_else(|| PortError::config(&c.name, format!("{k}={v}: write 64 to 1048576")))?
                }
                "sndbuf_kib" => {
                    out.sndbuf_bytes = kib()
                        .ok_or_else(|| PortError::config(&c.name, format!("{k}={v}: write 64 to 1048576")))?
                }
                _ => {
                    return Err(PortError::config(
                        &c.name,
                        format!("a system port has no option {k}; it has rcvbuf_kib and sndbuf_kib"),
                    ))
                }
            }
        }
        Ok(out)
    }
}

/// A `system` port.
pub struct SystemPort {
    shared: Arc<Shared>,
    kernel_drops: AtomicU64,
    rxq_taken: bool,
}

/// What the port's owner, the link monitor and the queues share.
struct Shared {
    name: String,
    fd: OwnedFd,
    ctl: OwnedFd,
    link: Mutex<Option<LinkInfo>>,
    mtu: AtomicU32,
    counters: PortCounters,
}

impl Shared {
    fn attach(&self, link: &LinkInfo) -> Result<(), PortError> {
        let name = &self.name;
        sys::packet_bind(self.fd.as_fd(), link.ifindex)
            .map_err(|e| PortError::system(name, "binding to the interface", e))?;
        // An interface that is down says so once; frames flow when it comes up.
        let _ = sys::take_socket_error(self.fd.as_fd());
        let lro = match sys::disable_lro(self.ctl.as_fd(), name) {
            Ok(true) => "LRO was on and is turned off",
            Ok(false) => "LRO is off",
            Err(_) => "LRO unknown",
        };
        tracing::info!(
            "port {name}: attached to interface {} (MTU {}); partial checksums and GRO/TSO frames up to 64 KiB pass whole, stripped VLAN tags are put back; {lro}",
            link.ifindex,
            link.mtu
        );
        Ok(())
    }

    fn set_link(&self, link: Option<LinkInfo>) {
        self.mtu.store(link.as_ref().map_or(0, |l| l.mtu), Relaxed);
        *self.link.lock() = link;
    }
}

impl LinkWatcher for Shared {
    fn link_changed(&self, now: Option<&LinkInfo>) {
        let before = self.link.lock().as_ref().map(|l| l.ifindex);
        match now {
            Some(l) if before != Some(l.ifindex) => {
                if let Err(e) = self.attach(l) {
                    tracing::warn!("{e}");
                    return;
                }
            }
            None => tracing::info!("port {}: its interface is gone; waiting for it to come back", self.name),
            _ => {}
        }
        self.set_link(now.cloned());
    }
}

impl SystemPort {
    /// Attaches to the interface.
    ///
    /// # Errors
    /// If there is no such interface or the right to it is missing.
    pub fn open(config: Config) -> Result<Self, PortError> {
        let name = config.name;
        let err = |what: &str, e: std::io::Error| {
            if matches!(e.raw_os_error(), Some(libc::EPERM | libc::EACCES)) {
                PortError::system(
                    &name,
                    what,
                    "not permitted: run as root or give CAP_NET_RAW and CAP_NET_ADMIN",
                )
            } else {
                PortError::system(&name, what, e)
            }
        };
        let fd = sys::packet_socket(config.rcvbuf_bytes, config.sndbuf_bytes)
            .map_err(|e| err("opening a packet socket", e))?;
        let ctl = sys::ioctl_socket().map_err(|e| err("opening a socket", e))?;
        let link = LinkSocket::find(&name)
            .map_err(|e| err("reading interfaces", e))?
            .ok_or_else(|| no_interface(&name))?;
        let shared = Shared {
            name,
            fd,
            ctl,
            link: Mutex::new(None),
            mtu: AtomicU32::new(0),
            counters: PortCounters::default(),
        };
        shared.attach(&link)?;
        shared.set_link(Some(link));
        Ok(Self { shared: Arc::new(shared), kernel_drops: AtomicU64::new(0), rxq_taken: false })
    }
}

/// No interface of that name.
pub(super) fn no_interface(name: &str) -> PortError {
    PortError::config(name, "no such interface; `ip link` lists those there are (type=internal makes one)")
}

/// What is said of an interface.
pub(super) fn link_info(name: &str, kind: &str, link: Option<&LinkInfo>) -> PortInfo {
    let mut info = PortInfo {
        name: name.into(),
        kind: kind.into(),
        full_duplex: true,
        copper: true,
        n_rxq: 1,
        n_txq: 1,
        ..PortInfo::default()
    };
    if let Some(l) = link {
        info.mac = l.mac;
        info.mtu = l.mtu;
        info.link_up = l.link_up();
        info.admin_up = l.admin_up;
        info.present = true;
    }
    info
}

impl Port for SystemPort {
    fn info(&self) -> PortInfo {
        let mut info = link_info(&self.shared.name, "system", self.shared.link.lock().as_ref());
        info.speed_mbps = sys::link_speed_mbps(self.shared.ctl.as_fd(), &self.shared.name).unwrap_or(0);
        info.max_speed_mbps = info.speed_mbps;
        info
    }

    fn stats(&self) -> PortStats {
        let new = u64::from(sys::packet_drops(self.shared.fd.as_fd()).unwrap_or(0));
        let drops = self.kernel_drops.fetch_add(new, Relaxed) + new;
        let mut s = self.shared.counters.stats();
        s.rx_dropped += drops;
        s.rx_over_err = drops;
        s
    }

    fn take_rxqs(&mut self) -> Vec<Box<dyn Rxq>> {
        if std::mem::replace(&mut self.rxq_taken, true) {
            return Vec::new();
        }
        vec![Box::new(SystemRxq::new(Arc::clone(&self.shared)))]
    }

    fn new_txq(&mut self) -> Result<Box<dyn Txq>, PortError> {
        Ok(Box::new(SystemTxq {
            counters: self.shared.counters.new_tx(),
            shared: Arc::clone(&self.shared),
            ring: MsgRing::new(),
        }))
    }

    fn set_mtu(&mut self, mtu: u32) -> Result<(), PortError> {
        let s = &self.shared;
        sys::set_mtu(s.ctl.as_fd(), &s.name, mtu)
            .map_err(|e| PortError::system(&s.name, format!("setting MTU {mtu}"), e))
    }

    fn set_admin_up(&mut self, up: bool) -> Result<(), PortError> {
        let s = &self.shared;
        sys::set_up(s.ctl.as_fd(), &s.name, up)
            .map_err(|e| PortError::system(&s.name, if up { "setting it up" } else { "setting it down" }, e))
    }

    fn watch(&mut self, monitor: &LinkMonitor) {
        let s: Weak<Shared> = Arc::downgrade(&self.shared);
        let attached = self.shared.link.lock().clone();
        monitor.watch(&self.shared.name, s, attached);
    }

    fn xstats(&self) -> Vec<(String, u64)> {
        let mut all = self.shared.counters.xstats();
        all.push(("rx_socket_full".into(), self.kernel_drops.load(Relaxed)));
        all
    }
}

/// Puts a stripped VLAN tag back.
pub(super) fn push_tag(p: &mut Packet, tpid: u16, tci: u16) -> bool {
    if !p.push_front(4) {
        return false;
    }
    let d = p.data_mut();
    d.copy_within(4..16, 0);
    d[12..14].copy_from_slice(&tpid.to_be_bytes());
    d[14..16].copy_from_slice(&tci.to_be_bytes());
    true
}

/// The packet's state from a virtio-net header of the kernel's. None: a kind of super-frame we do not know.
pub(super) fn offload_of(v: &VnetHdr, len: usize) -> Option<Offload> {
    let gso_type = match v.gso_type & 0x7f {
        0 => GsoType::None,
        1 => GsoType::TcpV4,
        4 => GsoType::TcpV6,
        5 => GsoType::UdpL4,
        _ => return None,
    };
    let mut o = Offload { gso_type, csum_valid: v.data_valid || v.needs_csum, ..Offload::default() };
    if gso_type != GsoType::None {
        (o.gso_size, o.hdr_len) = (v.gso_size, v.hdr_len);
    }
    if v.needs_csum && usize::from(v.csum_start) + usize::from(v.csum_offset) + 2 <= len {
        (o.csum_start, o.csum_offset) = (v.csum_start, v.csum_offset);
    }
    Some(o)
}

/// The virtio-net header for the kernel.
pub(super) fn vnet_of(p: &Packet) -> VnetHdr {
    let o = &p.offload;
    let mut v = VnetHdr { data_valid: o.csum_valid && !o.needs_csum(), ..VnetHdr::default() };
    if o.needs_csum() {
        (v.needs_csum, v.csum_start, v.csum_offset) = (true, o.csum_start, o.csum_offset);
    }
    if o.gso_type != GsoType::None {
        v.gso_type = o.gso_type as u8;
        v.gso_size = o.gso_size;
        // What stands before the payload may have changed since reception; the kernel pulls so much into the linear part.
        let d = p.data();
        let l4 = usize::from(o.csum_start);
        let l4_len = if o.gso_type == GsoType::UdpL4 {
            8
        } else {
            d.get(l4 + 12).map_or(20, |b| usize::from(b >> 4) * 4)
        };
        v.hdr_len = if o.needs_csum() { (l4 + l4_len).min(d.len()) as u16 } else { o.hdr_len };
    }
    v
}

/// The receive queue.
struct SystemRxq {
    shared: Arc<Shared>,
    ring: MsgRing,
    slots: Vec<Packet>,
    overflow: Vec<Box<[u8]>>,
    counters: Arc<QueueCounters>,
}

impl SystemRxq {
    fn new(shared: Arc<Shared>) -> Self {
        let overflow = (0..BURST).map(|_| vec![0u8; MAX_FRAME - SMALL].into_boxed_slice()).collect();
        Self {
            counters: shared.counters.new_rx(),
            shared,
            ring: MsgRing::new(),
            slots: Vec::with_capacity(BURST),
            overflow,
        }
    }
}

/// Makes a packet of what was received into `p` (its first `SMALL` bytes at most) and `overflow`.
pub(super) fn finish(mut p: Packet, len: usize, overflow: &[u8]) -> Packet {
    if len <= SMALL {
        p.set_len(len);
        return p;
    }
    let mut big = Packet::alloc(len);
    big.set_len(len);
    let (a, b) = big.data_mut().split_at_mut(SMALL);
    a.copy_from_slice(&p.room_mut()[..SMALL]);
    b.copy_from_slice(&overflow[..len - SMALL]);
    big
}

impl Rxq for SystemRxq {
    fn recv(&mut self, batch: &mut Batch) -> usize {
        let want = (crate::packet::BATCH_SIZE - batch.len()).min(BURST);
        while self.slots.len() < want {
            self.slots.push(Packet::alloc(SMALL));
        }
        let mut bufs: [&mut [u8]; BURST] = std::array::from_fn(|_| &mut [][..]);
        for (b, p) in bufs.iter_mut().zip(&mut self.slots) {
            *b = &mut p.room_mut()[..SMALL];
        }
        let got = match self.ring.recv(self.shared.fd.as_fd(), &mut bufs[..want], &mut self.overflow) {
            Ok(n) => n,
            Err(e) => {
                // Nothing there, or the interface went down or away (said once).
                if !matches!(
                    e.raw_os_error(),
                    Some(libc::EAGAIN | libc::EINTR | libc::ENETDOWN | libc::ENODEV | libc::ENXIO)
                ) {
                    add(&self.counters.errors, 1);
                }
                return 0;
            }
        };
        let (mut n, mut bytes) = (0, 0);
        for (i, p) in self.slots.drain(..got).enumerate() {
            let m = self.ring.meta(i);
            let Some(o) = offload_of(&m.vnet, m.len) else {
                add(&self.counters.errors, 1);
                continue;
            };
            if m.truncated || m.len < ETH {
                add(&self.counters.errors, 1);
                continue;
            }
            let mut p = finish(p, m.len, &self.overflow[i]);
            p.offload = o;
            if let Some((tpid, tci)) = m.vlan {
                if !push_tag(&mut p, tpid, tci) {
                    add(&self.counters.errors, 1);
                    continue;
                }
            }
            n += 1;
            bytes += p.len() as u64;
            batch.push(p);
        }
        self.counters.passed(n, bytes);
        n as usize
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.shared.fd.as_raw_fd())
    }
}

/// A transmit queue. Many may share the socket: the kernel serialises.
struct SystemTxq {
    shared: Arc<Shared>,
    ring: MsgRing,
    counters: Arc<QueueCounters>,
}

impl Txq for SystemTxq {
    fn send(&mut self, batch: &mut Batch) {
        let packets = batch.as_mut_slice();
        // The kernel takes one tag beyond the MTU; a second one is beyond what most devices carry, and it is the judge.
        let segment_limit = self.shared.mtu.load(Relaxed) as usize + ETH + 8;
        let mut frames: [(&[u8], VnetHdr); BURST] = [(&[], VnetHdr::default()); BURST];
        let mut n = 0;
        for p in packets.iter() {
            if p.offload.gso_type != GsoType::None
                && usize::from(p.offload.hdr_len) + usize::from(p.offload.gso_size) > segment_limit
            {
                // The kernel would pass segments longer than the interface's MTU: nobody could receive them.
                add(&self.counters.too_long, 1);
                continue;
            }
            frames[n] = (p.data(), vnet_of(p));
            n += 1;
        }
        let mut frames = &frames[..n];
        while !frames.is_empty() {
            match self.ring.send(self.shared.fd.as_fd(), frames) {
                Ok(k) => {
                    let k = k.min(frames.len());
                    self.counters.passed(k as u64, frames[..k].iter().map(|f| f.0.len() as u64).sum());
                    frames = &frames[k..];
                }
                Err(e) => match e.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => {
                        add(&self.counters.full, frames.len() as u64);
                        break;
                    }
                    Some(
                        libc::ENETDOWN | libc::ENODEV | libc::ENXIO | libc::ENOTCONN | libc::EDESTADDRREQ,
                    ) => {
                        add(&self.counters.down, frames.len() as u64);
                        break;
                    }
                    Some(libc::EMSGSIZE) => {
                        add(&self.counters.too_long, 1);
                        frames = &frames[1..];
                    }
                    _ => {
                        add(&self.counters.errors, 1);
                        frames = &frames[1..];
                    }
                },
            }
        }
        batch.clear();
    }
}

/// For devices that cannot: completes the checksum, cuts super-frames. `each` gets ordinary frames. False: the headers make no
/// sense and nothing was sent.
pub(super) fn to_ordinary(p: &mut Packet, scratch: &mut Vec<u8>, mut each: impl FnMut(&[u8])) -> bool {
    let o = p.offload;
    if o.gso_type != GsoType::None {
        return offload::segment(p.data(), &o, scratch, each).is_ok();
    }
    if o.needs_csum() && !offload::complete_checksum(p.data_mut(), o.csum_start, o.csum_offset) {
        return false;
    }
    p.offload = Offload::default();
    each(p.data());
    true
}

#[cfg(test)]
mod tests;
