//! `dpdk` ports: any DPDK 22.11 Ethernet device by its devargs; and the types that build theirs: `dpdkvhostuser`,
//! `dpdkvhostuserclient` (net_vhost), `memif` (net_memif), `dpdkr` (rings shared with another process).
//!
//! Privileges: what the device needs (vfio, hugepages). Buffers are mbufs of the device's pool; a received mbuf passes to the
//! transmit queue of any DPDK port without a copy, packets of other kinds of port are copied into mbufs, and mbufs that go out by a Linux
//! port are read in place. Batches: 32 frames a burst both ways. Offloads: the device's verdict on received checksums is kept; a checksum that
//! a Linux port left over is completed by the device if it can, else here; a super-frame is cut here.
//! Full queues: the device drops received frames that find no descriptor (`imissed`); frames the transmit queue does not take are dropped
//! at once and counted (`tx_full`). Queues beyond the device's number of transmit queues are shared by workers under a lock, taken once a burst.
//! Served by PMD threads only: there is no descriptor to wait for.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use dpdk_sys as sys;
use parking_lot::Mutex;

use super::af_packet::to_ordinary;
use super::counters::{add, PortCounters, QueueCounters};
use super::monitor::{LinkMonitor, LinkPoller};
use super::netlink::LinkInfo;
use super::{Port, PortConfig, PortError, PortInfo, PortStats, Rxq, Txq};
use crate::dpdk::ethdev::{EthConfig, EthDev};
use crate::dpdk::mempool::Mempool;
use crate::dpdk::{eal, mbuf};
use crate::packet::{Batch, GsoType, Packet, BATCH_SIZE};

/// Port types that this driver serves.
pub const KINDS: [&str; 5] = ["dpdk", "dpdkvhostuser", "dpdkvhostuserclient", "dpdkr", "memif"];

/// Validated options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The port's name.
    pub name: String,
    /// Its type, one of [`KINDS`].
    pub kind: String,
    /// What DPDK is told; for `dpdkr` the name of the ring device.
    pub devargs: String,
    /// Socket that the device will listen on.
    pub listens: Option<String>,
    /// Queues, descriptors, MTU.
    pub eth: EthConfig,
}

static NEXT_ID: AtomicU32 = AtomicU32::new(0);

impl Config {
    /// Reads the options.
    ///
    /// # Errors
    /// An unknown option, a value out of range, or a missing one.
    pub fn new(c: &PortConfig) -> Result<Self, PortError> {
        let mut o = c.options.clone();
        let bad =
            |k: &str, v: &str, right: &str| PortError::config(&c.name, format!("{k}={v}: write {right}"));
        // By default a transmit queue for each core and one for the epoll worker; the device may have fewer.
        let cores = u16::try_from(crate::sys::cores_online()).unwrap_or(u16::MAX - 1);
        let mut eth = EthConfig { n_txq: cores + 1, ..EthConfig::default() };
        let mut take = |k: &str, range: std::ops::RangeInclusive<u32>| -> Result<Option<u32>, PortError> {
            let Some(v) = o.remove(k) else { return Ok(None) };
            match v.parse().ok().filter(|n| range.contains(n)) {
                Some(n) => Ok(Some(n)),
                None => Err(bad(k, &v, &format!("{} to {}", range.start(), range.end()))),
            }
        };
        if let Some(n) = take("n_rxq", 1..=256)? {
            eth.n_rxq = n as u16;
        }
        if let Some(n) = take("n_txq", 1..=256)? {
            eth.n_txq = n as u16;
        }
        if let Some(n) = take("n_rxq_desc", 1..=32768)? {
            eth.n_rxq_desc = n as u16;
        }
        if let Some(n) = take("n_txq_desc", 1..=32768)? {
            eth.n_txq_desc = n as u16;
        }
        let mtu = match take("mtu", 68..=9702)? {
            None => take("mtu_request", 68..=9702)?,
            some => some,
        };
        if let Some(n) = mtu {
            eth.mtu = n as u16;
        }
        if let Some(n) = take("mbufs", 1024..=1 << 24)? {
            eth.mbufs = n;
        }
        if let Some(v) = o.remove("checksum_offload") {
            eth.checksum_offload = v.parse().map_err(|_| bad("checksum_offload", &v, "true or false"))?;
        }
        let path = ["path", "vhost-server-path", "socket"].iter().find_map(|k| o.get(*k)).cloned();
        let client = c.kind == "dpdkvhostuserclient" || o.get("role").is_some_and(|r| r == "client");
        let listens = path.filter(|_| !client);
        let devargs = devargs(c, &mut o, &mut eth)?;
        if let Some((k, _)) = o.into_iter().next() {
            return Err(PortError::config(
                &c.name,
                format!("a {} port has no option {k}; it has {}n_rxq, n_txq, n_rxq_desc, n_txq_desc, mtu, mbufs, checksum_offload", c.kind, own_options(&c.kind)),
            ));
        }
        Ok(Self { name: c.name.clone(), kind: c.kind.clone(), devargs, listens, eth })
    }
}

/// A socket that a switch which was killed has left, and on which nobody listens, would stop us from listening.
fn remove_stale_socket(path: &str) {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    let refused = |e: std::io::Error| e.kind() == std::io::ErrorKind::ConnectionRefused;
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(refused) {
        tracing::info!("{path}: nobody listens there any more; replaced");
        let _ = std::fs::remove_file(path);
    }
}

fn own_options(kind: &str) -> &'static str {
    match kind {
        "dpdk" => "devargs, ",
        "dpdkvhostuser" | "dpdkvhostuserclient" => "path, ",
        "memif" => "path, role, id, secret, ring_size_log2, zero_copy, ",
        _ => "",
    }
}

fn devargs(
    c: &PortConfig,
    o: &mut BTreeMap<String, String>,
    eth: &mut EthConfig,
) -> Result<String, PortError> {
    let missing = |k: &str, example: &str| {
        PortError::config(&c.name, format!("a {} port needs {k}=, for instance {example}", c.kind))
    };
    let mut path = |required: &str| {
        let p = o.remove("path").or_else(|| o.remove("vhost-server-path")).or_else(|| o.remove("socket"));
        match p {
            Some(p) if p.contains(',') || p.len() > 107 => Err(PortError::config(
                &c.name,
                format!("path {p}: a socket's path has at most 107 bytes and no comma"),
            )),
            Some(p) => Ok(p),
            None => Err(missing("path", required)),
        }
    };
    match c.kind.as_str() {
        "dpdk" => o
            .remove("devargs")
            .or_else(|| o.remove("dpdk-devargs"))
            .filter(|d| !d.is_empty())
            .ok_or_else(|| missing("devargs", "devargs=0000:01:00.0 or devargs=net_null0")),
        "dpdkvhostuser" | "dpdkvhostuserclient" => {
            let p = path("path=/run/vm1.sock")?;
            let client = u8::from(c.kind == "dpdkvhostuserclient");
            let id = NEXT_ID.fetch_add(1, Relaxed);
            // vhost queues come in pairs; the guest decides how many it uses.
            eth.n_txq = eth.n_txq.min(eth.n_rxq);
            Ok(format!("net_vhost{id},iface={p},queues={},client={client}", eth.n_rxq))
        }
        "memif" => {
            let p = path("path=/run/memif.sock,role=server")?;
            let role = o.remove("role").unwrap_or_else(|| "server".into());
            if !matches!(role.as_str(), "server" | "client") {
                return Err(PortError::config(&c.name, format!("role={role}: write server or client")));
            }
            let number = |o: &mut BTreeMap<String, String>, k: &str, max: u32, default: u32| match o.remove(k)
            {
                None => Ok(default),
                Some(v) => v
                    .parse()
                    .ok()
                    .filter(|n| *n <= max)
                    .ok_or_else(|| PortError::config(&c.name, format!("{k}={v}: write 0 to {max}"))),
            };
            let id = number(o, "id", u32::MAX, 0)?;
            let rsize = number(o, "ring_size_log2", 14, 10)?;
            let zero_copy = o.remove("zero_copy").is_some_and(|v| v == "true" || v == "yes" || v == "1");
            let secret = o.remove("secret").map(|s| format!(",secret={s}")).unwrap_or_default();
            let dev = NEXT_ID.fetch_add(1, Relaxed);
            // Both sides must have the same number of rings each way, or the server refuses the client's.
            eth.n_txq = eth.n_rxq;
            Ok(format!(
                "net_memif{dev},role={role},id={id},socket={p},socket-abstract=no,rsize={rsize},zero-copy={}{secret}",
                if zero_copy && role == "client" { "yes" } else { "no" }
            ))
        }
        _ => {
            eth.n_txq = 1;
            Ok(c.name.clone())
        }
    }
}

/// A DPDK port.
pub struct DpdkPort {
    shared: Arc<Shared>,
    n_txq_given: usize,
    rxqs_taken: bool,
}

struct Shared {
    name: String,
    kind: String,
    /// Under a lock, because reconfiguring stops the device; queues use only `id` and their own numbers.
    dev: Mutex<EthDev>,
    id: u16,
    pool: Arc<Mempool>,
    /// The device completes checksums.
    tx_checksum: bool,
    counters: PortCounters,
    tx_locks: Vec<Mutex<()>>,
    admin_up: std::sync::atomic::AtomicBool,
}

impl Shared {
    fn link(&self) -> LinkInfo {
        let dev = self.dev.lock();
        LinkInfo {
            ifindex: u32::from(self.id),
            name: self.name.clone(),
            admin_up: self.admin_up.load(Relaxed),
            carrier: dev.link().up,
            mtu: u32::from(dev.setup().mtu),
            mac: dev.mac(),
        }
    }
}

impl LinkPoller for Shared {
    fn poll_link(&self) -> Option<LinkInfo> {
        Some(self.link())
    }
}

impl DpdkPort {
    /// Finds or plugs in the device and starts it. Starts DPDK itself with its defaults if `--dpdk` has not.
    ///
    /// # Errors
    /// What DPDK says, and what to do.
    pub fn open(config: Config) -> Result<Self, PortError> {
        let err = |e: crate::dpdk::eal::DpdkError| PortError::config(&config.name, e.to_string());
        if eal::running().is_none() {
            eal::init("").map_err(err)?;
        }
        if let Some(path) = &config.listens {
            remove_stale_socket(path);
        }
        let mut dev = match config.kind.as_str() {
            "dpdkr" => EthDev::rings(&config.devargs),
            _ => EthDev::attach(&config.devargs),
        }
        .map_err(err)?;
        let setup = dev.start(&config.eth).map_err(err)?;
        let pool = Arc::clone(
            dev.pool().ok_or_else(|| PortError::config(&config.name, "the device has no buffers"))?,
        );
        tracing::info!(
            "port {}: DPDK device {} (driver {}), {} receive queues of {}, {} transmit queues of {}, MTU {}, pool {}",
            config.name,
            dev.name(),
            dev.driver(),
            setup.n_rxq,
            setup.n_rxq_desc,
            setup.n_txq,
            setup.n_txq_desc,
            setup.mtu,
            pool.name
        );
        let shared = Shared {
            name: config.name,
            kind: config.kind,
            id: dev.id(),
            dev: Mutex::new(dev),
            pool,
            tx_checksum: setup.tx_checksum,
            counters: PortCounters::default(),
            tx_locks: (0..setup.n_txq).map(|_| Mutex::new(())).collect(),
            admin_up: true.into(),
        };
        Ok(Self { shared: Arc::new(shared), n_txq_given: 0, rxqs_taken: false })
    }
}

impl Port for DpdkPort {
    fn info(&self) -> PortInfo {
        let s = &self.shared;
        let dev = s.dev.lock();
        let (link, setup) = (dev.link(), dev.setup());
        PortInfo {
            name: s.name.clone(),
            kind: s.kind.clone(),
            mac: dev.mac(),
            mtu: u32::from(setup.mtu),
            link_up: link.up && s.admin_up.load(Relaxed),
            admin_up: s.admin_up.load(Relaxed),
            speed_mbps: link.speed_mbps,
            max_speed_mbps: link.speed_mbps,
            full_duplex: link.full_duplex,
            copper: false,
            n_rxq: usize::from(setup.n_rxq),
            n_txq: usize::from(setup.n_txq),
            present: true,
        }
    }

    fn stats(&self) -> PortStats {
        let mut s = self.shared.counters.stats();
        let d = self.shared.dev.lock().stats();
        s.rx_dropped += d.imissed + d.rx_nombuf;
        s.rx_over_err = d.imissed;
        s.rx_errors += d.ierrors;
        s.tx_errors += d.oerrors;
        s
    }

    fn take_rxqs(&mut self) -> Vec<Box<dyn Rxq>> {
        if std::mem::replace(&mut self.rxqs_taken, true) {
            return Vec::new();
        }
        let n = self.shared.dev.lock().setup().n_rxq;
        (0..n)
            .map(|queue| -> Box<dyn Rxq> {
                Box::new(DpdkRxq {
                    port: self.shared.id,
                    queue,
                    counters: self.shared.counters.new_rx(),
                    _shared: Arc::clone(&self.shared),
                })
            })
            .collect()
    }

    fn new_txq(&mut self) -> Result<Box<dyn Txq>, PortError> {
        let queue = self.n_txq_given % self.shared.tx_locks.len();
        self.n_txq_given += 1;
        Ok(Box::new(DpdkTxq {
            port: self.shared.id,
            queue: queue as u16,
            counters: self.shared.counters.new_tx(),
            shared: Arc::clone(&self.shared),
            scratch: Vec::new(),
        }))
    }

    fn set_mtu(&mut self, mtu: u32) -> Result<(), PortError> {
        let s = &self.shared;
        let most = u32::from(s.pool.data_bytes).saturating_sub(26);
        if mtu > most {
            return Err(PortError::config(&s.name, format!("mtu={mtu}: its buffers were made for at most {most}; take the port away and add it again with mtu={mtu}")));
        }
        s.dev.lock().set_mtu(mtu as u16).map_err(|e| PortError::config(&s.name, e.to_string()))
    }

    fn set_admin_up(&mut self, up: bool) -> Result<(), PortError> {
        self.shared
            .dev
            .lock()
            .set_link(up)
            .map_err(|e| PortError::config(&self.shared.name, e.to_string()))?;
        self.shared.admin_up.store(up, Relaxed);
        Ok(())
    }

    fn watch(&mut self, monitor: &LinkMonitor) {
        let s: Weak<Shared> = Arc::downgrade(&self.shared);
        monitor.poll(&self.shared.name, s, Some(self.shared.link()));
    }

    fn numa_node(&self) -> Option<u32> {
        self.shared.dev.lock().numa_node()
    }

    fn xstats(&self) -> Vec<(String, u64)> {
        let mut all = self.shared.counters.xstats();
        all.extend(self.shared.dev.lock().xstats());
        all
    }
}

struct DpdkRxq {
    port: u16,
    queue: u16,
    counters: Arc<QueueCounters>,
    /// Keeps the device.
    _shared: Arc<Shared>,
}

impl Rxq for DpdkRxq {
    #[inline]
    fn recv(&mut self, batch: &mut Batch) -> usize {
        eal::ensure_registered();
        let (at, before) = (batch.len(), if batch.is_empty() { Some(0) } else { None });
        let slots = batch.spare_mut();
        let (room, first) = (slots.len(), slots.as_mut_ptr());
        // SAFETY: the device is started as long as `_shared` lives and this queue is polled by its one owner; the slots have the room, and
        // a packet is a pointer to its mbuf.
        let got =
            usize::from(unsafe { sys::rx_burst(self.port, self.queue, first.cast(), room as u16) }).min(room);
        if got == 0 {
            return 0;
        }
        let (mut bytes, mut odd) = (0u64, 0u16);
        for s in &slots[..got] {
            // SAFETY: the driver wrote `got` live mbufs, now ours, into the slots.
            let (len, segments) = unsafe {
                let m = NonNull::new_unchecked(s.as_ptr().cast::<*mut sys::rte_mbuf>().read());
                mbuf::adopt(m)
            };
            bytes += u64::from(len);
            odd |= segments;
        }
        if odd != 0 {
            return self.join(batch, got);
        }
        // SAFETY: the slots hold adopted mbufs of one segment each.
        unsafe { batch.set_len(at + got, before.map(|_| bytes)) };
        self.counters.passed(got as u64, bytes);
        got
    }
}

impl DpdkRxq {
    /// Some of the `got` mbufs in the batch's spare slots have several segments.
    #[cold]
    fn join(&mut self, batch: &mut Batch, got: usize) -> usize {
        let mut all = [std::ptr::null_mut::<sys::rte_mbuf>(); BATCH_SIZE];
        for (to, s) in all.iter_mut().zip(&batch.spare_mut()[..got]) {
            // SAFETY: the driver wrote `got` mbufs there; the batch does not count them yet, so they are ours.
            *to = unsafe { s.as_ptr().cast::<*mut sys::rte_mbuf>().read() };
        }
        let (mut n, mut bytes) = (0, 0);
        for m in all.iter().take(got).filter_map(|m| NonNull::new(*m)) {
            // SAFETY: a live mbuf of ours, each taken once.
            let p = unsafe {
                if m.as_ref().nb_segs == 1 {
                    Some(mbuf::from_mbuf(m))
                } else {
                    mbuf::from_chain(m)
                }
            };
            let Some(p) = p else {
                add(&self.counters.too_long, 1);
                continue;
            };
            n += 1;
            bytes += p.len() as u64;
            batch.push(p);
        }
        self.counters.passed(n, bytes);
        n as usize
    }
}

struct DpdkTxq {
    port: u16,
    queue: u16,
    counters: Arc<QueueCounters>,
    shared: Arc<Shared>,
    scratch: Vec<u8>,
}

impl Txq for DpdkTxq {
    fn send(&mut self, batch: &mut Batch) {
        let (mut bytes, mut other) = (0, false);
        for p in batch.as_slice() {
            other |= !p.is_mbuf() | p.offload.needs_csum();
            bytes += p.len() as u64;
        }
        if other {
            return self.send_mixed(batch);
        }
        let n = batch.len();
        let first: *mut *mut sys::rte_mbuf = batch.as_mut_slice().as_mut_ptr().cast();
        // SAFETY: a packet is a pointer to its mbuf. The batch gives all of them up; they go to the driver, or are freed, in `burst`.
        let bufs = unsafe {
            batch.set_len(0, None);
            std::slice::from_raw_parts_mut(first, n)
        };
        self.burst(bufs, bytes);
    }
}

impl DpdkTxq {
    /// Gives mbufs that this queue owns to the driver; frees and counts what it does not take.
    fn burst(&mut self, bufs: &mut [*mut sys::rte_mbuf], bytes: u64) {
        let total = bufs.len();
        let mut sent = 0;
        {
            let _alone = self.shared.tx_locks[usize::from(self.queue)].lock();
            while sent < total {
                // SAFETY: the device is started while `shared` lives; the lock makes us the queue's only user; the rest of `bufs` are ours.
                let k = unsafe {
                    sys::tx_burst(self.port, self.queue, bufs.as_mut_ptr().add(sent), (total - sent) as u16)
                };
                if k == 0 {
                    break;
                }
                sent += usize::from(k);
            }
        }
        let mut lost_bytes = 0;
        if sent < total {
            for m in &bufs[sent..] {
                // SAFETY: not taken by the driver, so still a live mbuf of ours.
                lost_bytes += u64::from(unsafe { (**m).pkt_len });
            }
            // SAFETY: as above; freed once.
            unsafe { sys::rte_pktmbuf_free_bulk(bufs.as_mut_ptr().add(sent), (total - sent) as u32) };
            add(&self.counters.full, (total - sent) as u64);
        }
        self.counters.passed(sent as u64, bytes - lost_bytes);
    }

    /// Packets of Linux ports, of the heap, or with work left to do, among others; in order.
    #[cold]
    fn send_mixed(&mut self, batch: &mut Batch) {
        eal::ensure_registered();
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut ready: Vec<*mut sys::rte_mbuf> = Vec::with_capacity(2 * BATCH_SIZE);
        let mut bytes = 0;
        for mut p in batch.drain() {
            if p.is_mbuf() && p.offload.gso_type == GsoType::None {
                if p.offload.needs_csum() && !to_ordinary(&mut p, &mut scratch, |_| ()) {
                    add(&self.counters.errors, 1);
                    continue;
                }
                bytes += p.len() as u64;
                ready.push(p.into_raw().cast().as_ptr());
                continue;
            }
            let (pool, counters) = (&self.shared.pool, &self.counters);
            let request = match p.offload.gso_type {
                GsoType::None if self.shared.tx_checksum && p.offload.needs_csum() => {
                    mbuf::checksum_request(p.data(), &p.offload)
                }
                _ => None,
            };
            if let Some((flags, lengths)) = request {
                let fits = p.len() <= usize::from(pool.data_bytes);
                match fits.then(|| copy_in(pool, p.data())) {
                    None => add(&counters.too_long, 1),
                    Some(Some(m)) => {
                        // SAFETY: a fresh mbuf of ours.
                        unsafe { ((*m).ol_flags, (*m).tx_offload) = (flags, lengths) };
                        bytes += p.len() as u64;
                        ready.push(m);
                    }
                    Some(None) => add(&counters.no_memory, 1),
                }
                continue;
            }
            let ok = to_ordinary(&mut p, &mut scratch, |frame| {
                if frame.len() > usize::from(pool.data_bytes) {
                    add(&counters.too_long, 1);
                } else if let Some(m) = copy_in(pool, frame) {
                    bytes += frame.len() as u64;
                    ready.push(m);
                } else {
                    add(&counters.no_memory, 1);
                }
            });
            if !ok {
                add(&self.counters.errors, 1);
            }
        }
        self.scratch = scratch;
        // Super-frames may have made more than one burst of them.
        let mut rest = &mut ready[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at_mut(rest.len().min(BATCH_SIZE));
            let b = match later.is_empty() {
                true => bytes,
                // SAFETY: each is a live mbuf of ours.
                false => now.iter().map(|m| unsafe { u64::from((**m).pkt_len) }).sum(),
            };
            bytes -= b;
            self.burst(now, b);
            rest = later;
        }
    }
}

/// An mbuf with a copy of `frame`, which fits.
fn copy_in(pool: &Mempool, frame: &[u8]) -> Option<*mut sys::rte_mbuf> {
    let mut m = std::ptr::null_mut();
    // SAFETY: a live pool, one pointer of room; a fresh mbuf has `data_bytes` of room behind its headroom, and the frame fits.
    unsafe {
        if sys::ofs_mbuf_alloc_bulk(pool.as_ptr(), &mut m, 1) != 0 {
            return None;
        }
        let mb = &mut *m;
        std::ptr::copy_nonoverlapping(frame.as_ptr(), mb.buf_addr.add(usize::from(mb.data_off)), frame.len());
        mb.data_len = frame.len() as u16;
        mb.pkt_len = frame.len() as u32;
    }
    Some(m)
}

/// A packet as an mbuf of `pool` (tests and generators).
pub fn to_mbuf_packet(pool: &Mempool, frame: &[u8]) -> Option<Packet> {
    if frame.len() > usize::from(pool.data_bytes) {
        return None;
    }
    let m = NonNull::new(copy_in(pool, frame)?)?;
    // SAFETY: a fresh mbuf of one segment that is ours.
    Some(unsafe { mbuf::from_mbuf(m) })
}

#[cfg(test)]
mod tests;
