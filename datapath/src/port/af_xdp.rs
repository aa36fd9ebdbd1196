//! `afxdp` ports: an existing Linux interface by AF_XDP sockets, without DPDK or libbpf. Needs CAP_NET_RAW, CAP_BPF and CAP_NET_ADMIN (root), kernel 5.9.
//!
//! One socket a receive queue, with packet memory of its own; an XDP program of ours ([`super::xdp_filter`]) steers the frames of each queue
//! to its socket. With `filter=` only matching frames come to the switch and the rest goes to the kernel's stack as if we were not
//! there (bifurcation in software). The program goes when the port goes, also if we are killed.
//! Modes: attached in the driver if it can, else in the generic layer; zero-copy if the driver can, else one copy by the kernel
//! (`mode=auto|zero-copy|copy|generic`). Batches: 32 frames a call; reception makes no system call, sending one a round (kernel 6.17; before, one for 32 frames). Served by
//! the epoll worker, or with `busy_poll=true` by a PMD thread.
//! Offloads: XDP frames have neither checksum state nor super-frames; what Linux ports left over is completed on sending. A veth's peer on the same machine hands over
//! frames whose checksum is unfinished without saying so: on veth such frames are recognised (the field holds just the pseudo-header's sum) and
//! completed. VLAN tags that a peer keeps beside the frame are lost to XDP: `ethtool -K PEER txvlan off`.
//! Limits: MTU up to 3498 bytes. Full queues: received frames that find the ring full are dropped and counted by the kernel (`rx_ring_full`), sent ones that find no room
//! are dropped and counted (`tx_full`).
//! When the interface vanishes and comes back, new sockets take the old ones' places behind the same queues.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::af_packet::{link_info, no_interface, to_ordinary};
use super::counters::{add, PortCounters, QueueCounters};
use super::monitor::{LinkMonitor, LinkWatcher};
use super::netlink::{LinkInfo, LinkSocket};
use super::xdp_filter::Filter;
use super::xdp_sys::{self, RxRings, SocketConfig, TxRings};
use super::{offload, sys, Port, PortConfig, PortError, PortInfo, PortStats, Rxq, Txq};
use crate::packet::{Batch, GsoType, Offload, Packet, BATCH_SIZE};

/// Largest MTU whose frames fit a chunk behind the kernel's headroom.
const MTU_MAX: u32 = 3498;
const ETH: usize = 14;

/// How to attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The best that works.
    Auto,
    /// Driver, frames written to our memory by the device.
    ZeroCopy,
    /// Driver, one copy.
    Copy,
    /// Generic layer, one copy.
    Generic,
}

/// Validated options of an `afxdp` port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Interface.
    pub name: String,
    /// `n_rxq=N`: sockets, on the device's queues 0 to N-1; 0: as many as it has.
    pub n_rxq: u32,
    /// `ring=N`: entries of each ring.
    pub ring: u32,
    /// `mode=`.
    pub mode: Mode,
    /// `busy_poll=true`: a PMD thread polls.
    pub busy_poll: bool,
    /// `filter=`.
    pub filter: Filter,
}

impl Config {
    /// Reads the options.
    ///
    /// # Errors
    /// An unknown option or a value out of range.
    pub fn new(c: &PortConfig) -> Result<Self, PortError> {
        let mut out = Self {
            name: c.name.clone(),
            n_rxq: 0,
            ring: 2048,
            mode: Mode::Auto,
            busy_poll: false,
            filter: Filter::default(),
        };
        for (k, v) in &c.options {
            let bad = |right: &str| PortError::config(&c.name, format!("{k}={v}: write {right}"));
            match k.as_str() {
                "n_rxq" => {
                    out.n_rxq =
                        v.parse().ok().filter(|n| (1..=256).contains(n)).ok_or_else(|| bad("1 to 256"))?
                }
                "ring" => {
                    out.ring = v
                        .parse()
                        .ok()
                        .filter(|n: &u32| (64..=16384).contains(n) && n.is_power_of_two())
                        .ok_or_else(|| bad("a power of two, 64 to 16384"))?
                }
                "mode" | "xdp-mode" => {
                    out.mode = match v.as_str() {
                        "auto" | "best-effort" => Mode::Auto,
                        "zero-copy" | "native-with-zerocopy" => Mode::ZeroCopy,
                        "copy" | "native" => Mode::Copy,
                        "generic" => Mode::Generic,
                        _ => return Err(bad("auto, zero-copy, copy or generic")),
                    }
                }
                "busy_poll" => out.busy_poll = v.parse().map_err(|_| bad("true or false"))?,
                "filter" => out.filter = Filter::parse(v).map_err(|e| PortError::config(&c.name, e))?,
                _ => {
                    return Err(PortError::config(
                        &c.name,
                        format!(
                            "an afxdp port has no option {k}; it has n_rxq, ring, mode, busy_poll and filter"
                        ),
                    ))
                }
            }
        }
        Ok(out)
    }
}

/// An `afxdp` port.
pub struct XdpPort {
    shared: Arc<Shared>,
    rxqs_taken: bool,
    n_txq_given: usize,
}

struct Shared {
    config: Config,
    ctl: OwnedFd,
    link: Mutex<Option<LinkInfo>>,
    mtu: AtomicU32,
    counters: PortCounters,
    queues: Vec<Queue>,
    /// The attached program; closing it detaches.
    attached: Mutex<Option<Attached>>,
    is_veth: bool,
}

struct Attached {
    _link: OwnedFd,
    _program: OwnedFd,
    _map: OwnedFd,
    sockets: Vec<Arc<OwnedFd>>,
}

/// One queue: what stays when sockets are replaced.
struct Queue {
    /// Holds the current socket, so that its number stays the same.
    epoll: OwnedFd,
    /// New receiving half for the queue's owner to take.
    fresh: Mutex<Option<RxRings>>,
    is_fresh: AtomicBool,
    tx: Mutex<Option<TxRings>>,
}

impl Shared {
    fn err(&self, what: &str, e: &std::io::Error) -> PortError {
        let why = match e.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => "not permitted: run as root or give CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW".to_owned(),
            Some(libc::EBUSY | libc::EEXIST) => "another XDP program or socket has it; `ip link show` names it, `ip link set DEV xdp off` takes it off".to_owned(),
            Some(libc::EOPNOTSUPP) => "its driver cannot; mode=auto finds what it can".to_owned(),
            _ => e.to_string(),
        };
        PortError::system(&self.config.name, what, why)
    }

    fn attach(&self, link: &LinkInfo) -> Result<(), PortError> {
        if link.mtu > MTU_MAX {
            return Err(PortError::config(
                &self.config.name,
                format!("MTU {} is above AF_XDP's {MTU_MAX}; lower it or use type=system", link.mtu),
            ));
        }
        // Sockets of an earlier incarnation first: a queue can have one only.
        *self.attached.lock() = None;
        for q in &self.queues {
            *q.tx.lock() = None;
        }
        let map = xdp_sys::socket_map(self.queues.len() as u32)
            .map_err(|e| self.err("making an XDP socket map", &e))?;
        let program = xdp_sys::load_program(&self.config.filter.compile(map.as_raw_fd()))
            .map_err(|e| self.err("loading the XDP program", &e))?;
        // In the driver: zero-copy, then copying, both with the same attachment; then the generic layer.
        let (drv, skb) = (xdp_sys::XDP_FLAGS_DRV, xdp_sys::XDP_FLAGS_SKB);
        let ways: &[(u32, &[bool])] = match self.config.mode {
            Mode::Auto => &[(drv, &[true, false]), (skb, &[false])],
            Mode::ZeroCopy => &[(drv, &[true])],
            Mode::Copy => &[(drv, &[false])],
            Mode::Generic => &[(skb, &[false])],
        };
        let mut failed = None;
        for (flags, copies) in ways {
            // The program first: some drivers give XDP queues only to an interface that has one.
            let bpf_link = match xdp_sys::attach(&program, link.ifindex, *flags) {
                Ok(l) => l,
                Err(e) => {
                    failed = Some(self.err("attaching the XDP program", &e));
                    continue;
                }
            };
            for zero_copy in *copies {
                match self.open_sockets(link, &map, *zero_copy) {
                    Ok(sockets) => {
                        tracing::info!(
                            "port {}: attached to interface {} in {}, {}, {} queues; checksums that Linux ports left over are completed and super-frames cut before sending{}",
                            self.config.name,
                            link.ifindex,
                            if *flags == drv { "the driver" } else { "the generic layer" },
                            if *zero_copy { "zero-copy" } else { "copying" },
                            self.queues.len(),
                            if self.is_veth { "; unfinished checksums of the veth's peer are completed" } else { "" }
                        );
                        *self.attached.lock() =
                            Some(Attached { _link: bpf_link, _program: program, _map: map, sockets });
                        return Ok(());
                    }
                    Err(e) => failed = Some(e),
                }
            }
        }
        Err(failed.unwrap_or_else(|| no_interface(&self.config.name)))
    }

    fn open_sockets(
        &self,
        link: &LinkInfo,
        map: &OwnedFd,
        zero_copy: bool,
    ) -> Result<Vec<Arc<OwnedFd>>, PortError> {
        let mut opened = Vec::new();
        for queue in 0..self.queues.len() as u32 {
            let c = SocketConfig {
                ifindex: link.ifindex,
                queue,
                ring: self.config.ring,
                zero_copy,
                busy_poll: self.config.busy_poll,
            };
            opened.push(
                xdp_sys::open_socket(&c)
                    .map_err(|e| self.err(&format!("opening an XDP socket on queue {queue}"), &e))?,
            );
        }
        let mut sockets = Vec::new();
        for (n, (q, (fd, rx, tx))) in self.queues.iter().zip(opened).enumerate() {
            xdp_sys::set_socket(map, n as u32, &fd).map_err(|e| self.err("entering an XDP socket", &e))?;
            xdp_sys::epoll_add(&q.epoll, &fd).map_err(|e| self.err("watching an XDP socket", &e))?;
            *q.fresh.lock() = Some(rx);
            *q.tx.lock() = Some(tx);
            q.is_fresh.store(true, std::sync::atomic::Ordering::Release);
            sockets.push(fd);
        }
        Ok(sockets)
    }

    fn set_link(&self, link: Option<LinkInfo>) {
        self.mtu.store(link.as_ref().map_or(0, |l| l.mtu), Relaxed);
        *self.link.lock() = link;
    }

    fn kernel_drops(&self) -> (u64, u64, u64) {
        let a = self.attached.lock();
        a.iter()
            .flat_map(|a| &a.sockets)
            .map(|s| RxRings::drops(s))
            .fold((0, 0, 0), |t, d| (t.0 + d.0, t.1 + d.1, t.2 + d.2))
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
            None => {
                tracing::info!(
                    "port {}: its interface is gone; waiting for it to come back",
                    self.config.name
                );
                *self.attached.lock() = None;
                for q in &self.queues {
                    *q.tx.lock() = None;
                }
            }
            _ => {}
        }
        self.set_link(now.cloned());
    }
}

impl XdpPort {
    /// Attaches to the interface.
    ///
    /// # Errors
    /// If there is no such interface, it cannot do XDP in the wanted mode, or the right is missing; then nothing is left behind.
    pub fn open(config: Config) -> Result<Self, PortError> {
        let name = config.name.clone();
        let err = |what: &str, e: std::io::Error| PortError::system(&name, what, e);
        let ctl = sys::ioctl_socket().map_err(|e| err("opening a socket", e))?;
        let link = LinkSocket::find(&name)
            .map_err(|e| err("reading interfaces", e))?
            .ok_or_else(|| no_interface(&name))?;
        let channels = sys::rx_channels(ctl.as_fd(), &name);
        let n = match config.n_rxq {
            0 => channels,
            n if n > channels => return Err(PortError::config(&name, format!("n_rxq={n}: the interface has {channels} receive queues (`ethtool -L {name}` may give it more)"))),
            n => n,
        };
        let queues = (0..n)
            .map(|_| {
                Ok(Queue {
                    epoll: xdp_sys::epoll()?,
                    fresh: Mutex::new(None),
                    is_fresh: AtomicBool::new(false),
                    tx: Mutex::new(None),
                })
            })
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(|e| err("making an epoll set", e))?;
        let is_veth = sys::driver_name(ctl.as_fd(), &name).is_some_and(|d| d == "veth");
        let shared = Shared {
            config,
            ctl,
            link: Mutex::new(None),
            mtu: AtomicU32::new(0),
            counters: PortCounters::default(),
            queues,
            attached: Mutex::new(None),
            is_veth,
        };
        shared.attach(&link)?;
        shared.set_link(Some(link));
        Ok(Self { shared: Arc::new(shared), rxqs_taken: false, n_txq_given: 0 })
    }
}

impl Port for XdpPort {
    fn info(&self) -> PortInfo {
        let s = &self.shared;
        let mut info = link_info(&s.config.name, "afxdp", s.link.lock().as_ref());
        info.speed_mbps = sys::link_speed_mbps(s.ctl.as_fd(), &s.config.name).unwrap_or(0);
        info.max_speed_mbps = info.speed_mbps;
        (info.n_rxq, info.n_txq) = (s.queues.len(), s.queues.len());
        info
    }

    fn stats(&self) -> PortStats {
        let mut s = self.shared.counters.stats();
        let (full, empty, other) = self.shared.kernel_drops();
        // `empty` counts the same frames as `other`: no chunk was there to receive into.
        s.rx_dropped += full + other.max(empty);
        s.rx_over_err = full + empty;
        s
    }

    fn take_rxqs(&mut self) -> Vec<Box<dyn Rxq>> {
        if std::mem::replace(&mut self.rxqs_taken, true) {
            return Vec::new();
        }
        (0..self.shared.queues.len())
            .map(|queue| -> Box<dyn Rxq> {
                Box::new(XdpRxq {
                    counters: self.shared.counters.new_rx(),
                    shared: Arc::clone(&self.shared),
                    queue,
                    rings: None,
                })
            })
            .collect()
    }

    fn new_txq(&mut self) -> Result<Box<dyn Txq>, PortError> {
        let queue = self.n_txq_given % self.shared.queues.len();
        self.n_txq_given += 1;
        Ok(Box::new(XdpTxq {
            counters: self.shared.counters.new_tx(),
            shared: Arc::clone(&self.shared),
            queue,
            scratch: Vec::new(),
        }))
    }

    fn set_mtu(&mut self, mtu: u32) -> Result<(), PortError> {
        let s = &self.shared;
        if mtu > MTU_MAX {
            return Err(PortError::config(
                &s.config.name,
                format!("mtu={mtu}: an afxdp port takes at most {MTU_MAX}"),
            ));
        }
        sys::set_mtu(s.ctl.as_fd(), &s.config.name, mtu)
            .map_err(|e| PortError::system(&s.config.name, format!("setting MTU {mtu}"), e))
    }

    fn set_admin_up(&mut self, up: bool) -> Result<(), PortError> {
        let s = &self.shared;
        sys::set_up(s.ctl.as_fd(), &s.config.name, up).map_err(|e| {
            PortError::system(&s.config.name, if up { "setting it up" } else { "setting it down" }, e)
        })
    }

    fn watch(&mut self, monitor: &LinkMonitor) {
        let s: Weak<Shared> = Arc::downgrade(&self.shared);
        let attached = self.shared.link.lock().clone();
        monitor.watch(&self.shared.config.name, s, attached);
    }

    fn numa_node(&self) -> Option<u32> {
        let path = format!("/sys/class/net/{}/device/numa_node", self.shared.config.name);
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    fn xstats(&self) -> Vec<(String, u64)> {
        let mut all = self.shared.counters.xstats();
        let (full, empty, other) = self.shared.kernel_drops();
        all.extend([
            ("rx_ring_full".into(), full),
            ("rx_no_chunk".into(), empty),
            ("rx_kernel_dropped".into(), other),
        ]);
        all
    }
}

struct XdpRxq {
    shared: Arc<Shared>,
    queue: usize,
    rings: Option<RxRings>,
    counters: Arc<QueueCounters>,
}

impl Rxq for XdpRxq {
    fn recv(&mut self, batch: &mut Batch) -> usize {
        let q = &self.shared.queues[self.queue];
        if q.is_fresh.swap(false, std::sync::atomic::Ordering::Acquire) {
            self.rings = q.fresh.lock().take();
        }
        let Some(rings) = &mut self.rings else { return 0 };
        let (mut n, mut bytes, mut broken) = (0, 0, 0);
        let is_veth = self.shared.is_veth;
        rings.receive(BATCH_SIZE - batch.len(), |frame| {
            if frame.len() < ETH {
                broken += 1;
                return;
            }
            let mut p = Packet::from_bytes(frame);
            if is_veth {
                p.offload = unfinished(frame);
            }
            n += 1;
            bytes += frame.len() as u64;
            batch.push(p);
        });
        if self.shared.config.busy_poll || n > 0 {
            rings.wake();
        }
        if broken > 0 {
            add(&self.counters.errors, broken);
        }
        if n > 0 {
            self.counters.passed(n, bytes);
        }
        n as usize
    }

    fn fd(&self) -> Option<RawFd> {
        (!self.shared.config.busy_poll).then(|| self.shared.queues[self.queue].epoll.as_raw_fd())
    }
}

/// A checksum that the local stack left unfinished: the field holds the pseudo-header's sum. A finished checksum that happens to
/// equal it is harmless: finishing it again gives the same.
fn unfinished(f: &[u8]) -> Offload {
    let half = |at: usize| u16::from_be_bytes([f[at], f[at + 1]]);
    let mut none = Offload::default();
    let mut l3 = ETH;
    let mut eth_type = half(12);
    if matches!(eth_type, 0x8100 | 0x88a8) && f.len() >= 18 {
        (eth_type, l3) = (half(16), 18);
    }
    let (proto, l4, addrs, l4_len) = match eth_type {
        0x0800 if f.len() >= l3 + 20 => {
            if half(l3 + 6) & 0x3fff != 0 {
                return none;
            }
            let ihl = usize::from(f[l3] & 15) * 4;
            (f[l3 + 9], l3 + ihl, l3 + 12..l3 + 20, usize::from(half(l3 + 2)).wrapping_sub(ihl))
        }
        0x86dd if f.len() >= l3 + 40 => (f[l3 + 6], l3 + 40, l3 + 8..l3 + 40, usize::from(half(l3 + 4))),
        _ => return none,
    };
    let csum_offset = match proto {
        6 => 16,
        17 => 6,
        _ => return none,
    };
    if l4 + csum_offset + 2 > f.len() || l4_len > 0xffff {
        return none;
    }
    let pseudo = offload::fold(offload::sum(&f[addrs], u64::from(proto) + l4_len as u64));
    if half(l4 + csum_offset) == pseudo && pseudo != 0 {
        (none.csum_start, none.csum_offset) = (l4 as u16, csum_offset as u16);
    }
    none
}

struct XdpTxq {
    shared: Arc<Shared>,
    queue: usize,
    scratch: Vec<u8>,
    counters: Arc<QueueCounters>,
}

impl Txq for XdpTxq {
    fn send(&mut self, batch: &mut Batch) {
        let mut tx = self.shared.queues[self.queue].tx.lock();
        let Some(rings) = tx.as_mut() else {
            add(&self.counters.down, batch.len() as u64);
            batch.clear();
            return;
        };
        // The kernel takes one tag beyond the MTU; longer frames it would refuse one by one.
        let most = self.shared.mtu.load(Relaxed) as usize + ETH + 4;
        let (mut n, mut bytes, mut full, mut long) = (0, 0, 0, 0);
        for mut p in batch.drain() {
            if p.offload.gso_type == GsoType::None && !p.offload.needs_csum() {
                match p.len() {
                    l if l > most => long += 1,
                    l if rings.put(p.data()) => (n, bytes) = (n + 1, bytes + l as u64),
                    _ => full += 1,
                }
                continue;
            }
            let ok = to_ordinary(&mut p, &mut self.scratch, |f| {
                if f.len() > most {
                    long += 1;
                } else if rings.put(f) {
                    (n, bytes) = (n + 1, bytes + f.len() as u64);
                } else {
                    full += 1;
                }
            });
            if !ok {
                add(&self.counters.errors, 1);
            }
        }
        self.counters.passed(n, bytes);
        if full > 0 {
            add(&self.counters.full, full);
        }
        if long > 0 {
            add(&self.counters.too_long, long);
        }
    }

    /// One system call for all batches of a round.
    fn flush(&mut self) {
        let mut tx = self.shared.queues[self.queue].tx.lock();
        if tx.as_mut().is_some_and(|rings| rings.kick().is_err()) {
            // Down: what lies in the ring goes when it comes up, or is lost with the socket.
            add(&self.counters.down, 1);
        }
    }
}

#[cfg(test)]
mod tests;
