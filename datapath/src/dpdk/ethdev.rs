//! DPDK Ethernet devices: found or plugged in by `devargs`, configured, started, asked, stopped and unplugged. Control thread only,
//! but for the bursts, which belong to the threads that own the queues ([`crate::port::dpdk`]).

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::sync::Arc;

use dpdk_sys as sys;

use super::eal::{self, DpdkError};
use super::mempool::Mempool;

/// What is wanted of a device. Zero means "as it suits".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EthConfig {
    /// Receive queues (RSS spreads over them).
    pub n_rxq: u16,
    /// Transmit queues: one for each worker, else workers share under a lock.
    pub n_txq: u16,
    /// Descriptors a receive queue.
    pub n_rxq_desc: u16,
    /// Descriptors a transmit queue.
    pub n_txq_desc: u16,
    /// Largest payload of a frame, bytes.
    pub mtu: u16,
    /// Let the device check and fill in checksums, if it can.
    pub checksum_offload: bool,
    /// Buffers of a pool of its own; 0: the shared one.
    pub mbufs: u32,
}

impl Default for EthConfig {
    fn default() -> Self {
        Self { n_rxq: 1, n_txq: 1, n_rxq_desc: 0, n_txq_desc: 0, mtu: 1500, checksum_offload: true, mbufs: 0 }
    }
}

/// What was got.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EthSetup {
    /// Receive queues.
    pub n_rxq: u16,
    /// Transmit queues.
    pub n_txq: u16,
    /// Descriptors a receive queue.
    pub n_rxq_desc: u16,
    /// Descriptors a transmit queue.
    pub n_txq_desc: u16,
    /// The device fills in IPv4, TCP and UDP checksums.
    pub tx_checksum: bool,
    /// The device takes chained buffers.
    pub tx_multi_seg: bool,
    /// The MTU as the device has it.
    pub mtu: u16,
}

/// Link, as DPDK reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EthLink {
    /// Carrier.
    pub up: bool,
    /// 0: unknown.
    pub speed_mbps: u32,
    /// Both ways at once.
    pub full_duplex: bool,
}

/// A device that we have attached. Dropping it stops, closes and unplugs it.
#[derive(Debug)]
pub struct EthDev {
    id: u16,
    name: String,
    devargs: String,
    driver: String,
    /// We plugged it in; else the operator did, by EAL arguments, and it stays.
    hotplugged: bool,
    started: bool,
    setup: EthSetup,
    pool: Option<Arc<Mempool>>,
}

impl EthDev {
    /// Finds the device that `devargs` names, or plugs it in.
    ///
    /// # Errors
    /// With what DPDK said; nothing is left behind.
    pub fn attach(devargs: &str) -> Result<Self, DpdkError> {
        let what = || format!("DPDK device \"{devargs}\"");
        if eal::running().is_none() {
            return Err(DpdkError::new(what(), "DPDK is not started", "start ofswitchd with --dpdk \"\""));
        }
        let name = devargs.split(',').next().unwrap_or_default();
        if name.is_empty() {
            return Err(DpdkError::new(
                what(),
                "no device named",
                "write devargs=0000:01:00.0 or devargs=net_null0,...",
            ));
        }
        let c_args = CString::new(devargs).map_err(|_| DpdkError::new(what(), "holds a zero byte", ""))?;
        let (id, hotplugged) = match port_by_name(name) {
            Some(id) => (id, false),
            None => {
                // SAFETY: a valid C string; the EAL runs.
                let r = unsafe { sys::rte_dev_probe(c_args.as_ptr()) };
                let found = if r == 0 { find_port(name, &c_args) } else { None };
                match found {
                    Some(id) => (id, true),
                    None => return Err(probe_error(devargs, name, r)),
                }
            }
        };
        let mut dev = Self {
            id,
            name: port_name(id).unwrap_or_else(|| name.to_owned()),
            devargs: devargs.to_owned(),
            driver: String::new(),
            hotplugged,
            started: false,
            setup: EthSetup::default(),
            pool: None,
        };
        let info = dev.info()?;
        if !info.driver_name.is_null() {
            // SAFETY: the driver's name is a static C string.
            dev.driver = unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned();
        }
        Ok(dev)
    }

    /// A device over two rings shared with another DPDK process: `NAME_rx` (to us) and `NAME_tx` (from us).
    ///
    /// # Errors
    /// With what DPDK said.
    pub fn rings(name: &str) -> Result<Self, DpdkError> {
        let what = || format!("DPDK ring port {name}");
        if eal::running().is_none() {
            return Err(DpdkError::new(what(), "DPDK is not started", "start ofswitchd with --dpdk \"\""));
        }
        let ring = |suffix: &str| {
            let c = CString::new(format!("{name}_{suffix}"))
                .map_err(|_| DpdkError::new(what(), "holds a zero byte", ""))?;
            // SAFETY: a valid C string; the EAL runs. Flags 0: many producers, many consumers.
            let r = unsafe {
                let old = sys::rte_ring_lookup(c.as_ptr());
                if old.is_null() {
                    sys::rte_ring_create(c.as_ptr(), 2048, 0, 0)
                } else {
                    old
                }
            };
            if r.is_null() {
                Err(DpdkError::from_errno(
                    what(),
                    eal::last_errno(),
                    "a shorter name, or more memory for DPDK",
                ))
            } else {
                Ok(r)
            }
        };
        let (rx, tx) = (ring("rx")?, ring("tx")?);
        let c = CString::new(name).map_err(|_| DpdkError::new(what(), "holds a zero byte", ""))?;
        // SAFETY: a valid C string and two live rings, which are never freed.
        let id = unsafe { sys::ofs_eth_from_rings(c.as_ptr(), rx, tx, 0) };
        let Ok(id) = u16::try_from(id) else {
            return Err(DpdkError::from_errno(what(), id, ""));
        };
        Ok(Self {
            id,
            name: port_name(id).unwrap_or_else(|| name.to_owned()),
            devargs: name.to_owned(),
            driver: "net_ring".into(),
            hotplugged: true,
            started: false,
            setup: EthSetup::default(),
            pool: None,
        })
    }

    /// Changes the MTU while running; its buffers must be large enough.
    ///
    /// # Errors
    /// If the device refuses, also because it would have to be stopped.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<(), DpdkError> {
        // SAFETY: a plain call on an attached device.
        match unsafe { sys::rte_eth_dev_set_mtu(self.id, mtu) } {
            0 => {
                self.setup.mtu = mtu;
                Ok(())
            }
            e => Err(self.error(
                &format!("mtu={mtu} refused"),
                e,
                "take the port away and add it again with this mtu",
            )),
        }
    }

    fn info(&self) -> Result<sys::rte_eth_dev_info, DpdkError> {
        let mut info = sys::rte_eth_dev_info::default();
        // SAFETY: a live structure of DPDK's own type.
        match unsafe { sys::rte_eth_dev_info_get(self.id, &mut info) } {
            0 => Ok(info),
            e => Err(self.error("does not answer", e, "")),
        }
    }

    fn error(&self, what: &str, errno: i32, advice: &str) -> DpdkError {
        DpdkError::from_errno(format!("{} ({}): {what}", self.name, self.driver), errno, advice)
    }

    /// Stops, configures and starts the device.
    ///
    /// # Errors
    /// With what the device refuses and its limits. The device is then stopped.
    pub fn start(&mut self, want: &EthConfig) -> Result<EthSetup, DpdkError> {
        self.stop();
        let info = self.info()?;
        if want.n_rxq > info.max_rx_queues {
            return Err(DpdkError::new(
                format!("{} ({}): n_rxq={}", self.name, self.driver, want.n_rxq),
                format!("it has at most {} receive queues", info.max_rx_queues),
                if info.max_rx_queues == 1 {
                    "some virtual devices take a number of queues in their devargs (queues=N)"
                } else {
                    ""
                },
            ));
        }
        let (n_rxq, n_txq) = (want.n_rxq.max(1), want.n_txq.clamp(1, info.max_tx_queues.max(1)));
        let mtu = if want.mtu == 0 { 1500 } else { want.mtu };
        if mtu < info.min_mtu || mtu > info.max_mtu {
            return Err(DpdkError::new(
                format!("{} ({}): mtu={mtu}", self.name, self.driver),
                format!("it takes {} to {}", info.min_mtu, info.max_mtu),
                "",
            ));
        }
        let mut conf = sys::rte_eth_conf::default();
        conf.rxmode.mtu = u32::from(mtu);
        if n_rxq > 1 {
            conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = info.flow_type_rss_offloads & RSS_IP_L4;
        }
        let capa = |all: u64, bits: u64| if all & bits == bits { bits } else { 0 };
        if want.checksum_offload {
            conf.rxmode.offloads |= info.rx_offload_capa & RX_CHECKSUM;
            conf.txmode.offloads |= capa(info.tx_offload_capa, TX_CHECKSUM);
        }
        conf.txmode.offloads |= info.tx_offload_capa & TX_MULTI_SEGS;
        let socket = self.socket();
        // Header, two tags, FCS.
        let frame_bytes = u32::from(mtu) + 14 + 8 + 4;
        let frame_bytes =
            u16::try_from(frame_bytes.max(info.min_rx_bufsize.min(9728))).unwrap_or(u16::MAX - 256);
        let pool = match want.mbufs {
            0 => Mempool::shared(socket, frame_bytes)?,
            n => Mempool::private(socket, frame_bytes, n)?,
        };
        // Some devices (net_tap, bonds of it) want as many transmit as receive queues: workers then share them.
        let mut tried = Err(0);
        for n in [n_txq, n_txq.min(n_rxq), 1] {
            // SAFETY: the device is stopped; `conf` outlives the call.
            match unsafe { sys::rte_eth_dev_configure(self.id, n_rxq, n, &conf) } {
                0 => {
                    tried = Ok(n);
                    break;
                }
                r => tried = Err(r),
            }
        }
        let n_txq = match tried {
            Ok(n) => n,
            Err(r) => {
                return Err(self.error(
                    &format!("{n_rxq} receive and {n_txq} transmit queues refused"),
                    r,
                    "",
                ))
            }
        };
        // A bond has the devices below it configured only when it starts: it takes another MTU after that.
        let mut had_mtu = 0;
        // SAFETY: a live integer; a configured device.
        let mtu_set = unsafe {
            sys::rte_eth_dev_get_mtu(self.id, &mut had_mtu);
            had_mtu == mtu || sys::rte_eth_dev_set_mtu(self.id, mtu) == 0
        };
        let or = |n: u16, d: u16| if n == 0 { d } else { n };
        let (mut rxd, mut txd) = (or(want.n_rxq_desc, 2048), or(want.n_txq_desc, 2048));
        // SAFETY: two live integers, adjusted to the device's limits.
        let r = unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.id, &mut rxd, &mut txd) };
        if r != 0 {
            return Err(self.error(
                &format!("n_rxq_desc={rxd}, n_txq_desc={txd} refused"),
                r,
                "use powers of two up to 4096",
            ));
        }
        for q in 0..n_rxq {
            let mut rc = info.default_rxconf;
            rc.offloads = conf.rxmode.offloads;
            // SAFETY: queue below the configured number; the pool is never freed.
            let r =
                unsafe { sys::rte_eth_rx_queue_setup(self.id, q, rxd, socket as u32, &rc, pool.as_ptr()) };
            if r != 0 {
                let advice =
                    if r == -libc::ENOMEM { "fewer or shorter queues, or more memory for DPDK" } else { "" };
                return Err(self.error(
                    &format!("receive queue {q} of {rxd} descriptors refused"),
                    r,
                    advice,
                ));
            }
        }
        for q in 0..n_txq {
            let mut tc = info.default_txconf;
            tc.offloads = conf.txmode.offloads;
            // SAFETY: queue below the configured number.
            let r = unsafe { sys::rte_eth_tx_queue_setup(self.id, q, txd, socket as u32, &tc) };
            if r != 0 {
                return Err(self.error(&format!("transmit queue {q} of {txd} descriptors refused"), r, ""));
            }
        }
        // SAFETY: a configured device with all its queues.
        let r = unsafe { sys::rte_eth_dev_start(self.id) };
        if r != 0 {
            return Err(self.error("does not start", r, ""));
        }
        self.started = true;
        if !mtu_set {
            // SAFETY: a started device; where the driver has no such call the MTU of `conf` holds.
            let r = unsafe { sys::rte_eth_dev_set_mtu(self.id, mtu) };
            if r != 0 && r != -libc::ENOTSUP {
                return Err(self.error(&format!("mtu={mtu} refused"), r, ""));
            }
        }
        // SAFETY: a started device; drivers without these modes hear everything anyway.
        unsafe {
            sys::rte_eth_promiscuous_enable(self.id);
            sys::rte_eth_allmulticast_enable(self.id);
        }
        let mut real_mtu = mtu;
        // SAFETY: a live integer.
        unsafe { sys::rte_eth_dev_get_mtu(self.id, &mut real_mtu) };
        self.pool = Some(pool);
        self.setup = EthSetup {
            n_rxq,
            n_txq,
            n_rxq_desc: rxd,
            n_txq_desc: txd,
            tx_checksum: conf.txmode.offloads & TX_CHECKSUM == TX_CHECKSUM,
            tx_multi_seg: conf.txmode.offloads & TX_MULTI_SEGS != 0,
            mtu: real_mtu,
        };
        Ok(self.setup.clone())
    }

    /// Stops the device. The queues must not be polled any more.
    pub fn stop(&mut self) {
        if std::mem::take(&mut self.started) {
            // SAFETY: a started device whose queues nobody polls (callers' duty; the port takes its queues back first).
            unsafe { sys::rte_eth_dev_stop(self.id) };
        }
    }

    /// DPDK's number of it.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// DPDK's name of it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The driver's name.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// As last started.
    pub fn setup(&self) -> &EthSetup {
        &self.setup
    }

    /// Its buffers, once started.
    pub fn pool(&self) -> Option<&Arc<Mempool>> {
        self.pool.as_ref()
    }

    /// NUMA node (0 if it has none).
    pub fn socket(&self) -> i32 {
        // SAFETY: a plain query.
        unsafe { sys::rte_eth_dev_socket_id(self.id) }.max(0)
    }

    /// NUMA node, if it has one.
    pub fn numa_node(&self) -> Option<u32> {
        // SAFETY: a plain query.
        u32::try_from(unsafe { sys::rte_eth_dev_socket_id(self.id) }).ok()
    }

    /// Hardware address.
    pub fn mac(&self) -> [u8; 6] {
        let mut a = sys::rte_ether_addr::default();
        // SAFETY: a live structure.
        unsafe { sys::rte_eth_macaddr_get(self.id, &mut a) };
        a.addr_bytes
    }

    /// Link state now.
    pub fn link(&self) -> EthLink {
        let mut l = sys::rte_eth_link::default();
        // SAFETY: a live structure.
        if unsafe { sys::rte_eth_link_get_nowait(self.id, &mut l) } != 0 {
            return EthLink::default();
        }
        let speed_mbps = if l.link_speed == sys::RTE_ETH_SPEED_NUM_UNKNOWN { 0 } else { l.link_speed };
        EthLink { up: l.link_status() != 0, speed_mbps, full_duplex: l.link_duplex() != 0 }
    }

    /// Sets the link up or down; drivers without the call stay up.
    pub fn set_link(&self, up: bool) -> Result<(), DpdkError> {
        // SAFETY: plain calls on an attached device.
        let r = unsafe {
            if up {
                sys::rte_eth_dev_set_link_up(self.id)
            } else {
                sys::rte_eth_dev_set_link_down(self.id)
            }
        };
        if r == 0 || r == -libc::ENOTSUP {
            Ok(())
        } else {
            Err(self.error("link state refused", r, ""))
        }
    }

    /// The device's own counters.
    pub fn stats(&self) -> sys::rte_eth_stats {
        let mut s = sys::rte_eth_stats::default();
        // SAFETY: a live structure.
        unsafe { sys::rte_eth_stats_get(self.id, &mut s) };
        s
    }

    /// Extended statistics by name.
    pub fn xstats(&self) -> Vec<(String, u64)> {
        // SAFETY: asks for the number only.
        let n = unsafe { sys::rte_eth_xstats_get(self.id, std::ptr::null_mut(), 0) };
        let Ok(n) = usize::try_from(n) else { return Vec::new() };
        let mut names = vec![sys::rte_eth_xstat_name::default(); n];
        let mut values = vec![sys::rte_eth_xstat::default(); n];
        // SAFETY: two live arrays of `n` elements each.
        let (a, b) = unsafe {
            (
                sys::rte_eth_xstats_get_names(self.id, names.as_mut_ptr(), n as u32),
                sys::rte_eth_xstats_get(self.id, values.as_mut_ptr(), n as u32),
            )
        };
        if a < 0 || b < 0 || a as usize > n || b as usize > n {
            return Vec::new(); // the set changed between the calls; the next question will be answered
        }
        values[..b as usize]
            .iter()
            .filter_map(|v| {
                let name = names.get(v.id as usize)?;
                let bytes: Vec<u8> = name.name.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
                Some((String::from_utf8_lossy(&bytes).into_owned(), v.value))
            })
            .collect()
    }
}

impl Drop for EthDev {
    fn drop(&mut self) {
        self.stop();
        let mut info = sys::rte_eth_dev_info::default();
        // SAFETY: nobody polls the device any more (it is stopped); after close only its rte_device is used, to unplug it.
        unsafe {
            let known = sys::rte_eth_dev_info_get(self.id, &mut info) == 0;
            sys::rte_eth_dev_close(self.id);
            if self.hotplugged && known && !info.device.is_null() {
                let r = sys::rte_dev_remove(info.device);
                if r < 0 {
                    tracing::warn!(
                        "DPDK device \"{}\" could not be unplugged: {}",
                        self.devargs,
                        eal::strerror(r)
                    );
                }
            }
        }
    }
}

// RTE_ETH_RSS_IPV4, _IPV6, and _NONFRAG_IPV4/6_ TCP, UDP, SCTP (C macros that bindgen cannot read, as the two below).
const RSS_IP_L4: u64 = (1 << 2) | (1 << 8) | (7 << 4) | (7 << 10);
const RX_CHECKSUM: u64 = (1 << 1) | (1 << 2) | (1 << 3); // IPV4, UDP, TCP
const TX_CHECKSUM: u64 = (1 << 1) | (1 << 2) | (1 << 3); // IPV4, UDP, TCP
const TX_MULTI_SEGS: u64 = 1 << 15;

fn port_by_name(name: &str) -> Option<u16> {
    let c = CString::new(name).ok()?;
    let mut id = 0;
    // SAFETY: a valid C string and a live integer.
    (unsafe { sys::rte_eth_dev_get_port_by_name(c.as_ptr(), &mut id) } == 0).then_some(id)
}

fn port_name(id: u16) -> Option<String> {
    let mut buf = [0; 64];
    // SAFETY: DPDK's names are at most RTE_ETH_NAME_MAX_LEN (64) bytes with the final zero.
    if unsafe { sys::rte_eth_dev_get_name_by_port(id, buf.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: DPDK has written a C string into the buffer.
    Some(unsafe { CStr::from_ptr(buf.as_ptr()) }.to_string_lossy().into_owned())
}

/// The port of a device just plugged in: by its name, or the first that matches the devargs (PCI devices may be named otherwise).
fn find_port(name: &str, devargs: &CStr) -> Option<u16> {
    port_by_name(name).or_else(|| {
        let mut it = sys::rte_dev_iterator::default();
        // SAFETY: a live iterator and a valid C string; the iterator is cleaned up when not run to its end.
        unsafe {
            if sys::rte_eth_iterator_init(&mut it, devargs.as_ptr()) != 0 {
                return None;
            }
            let id = sys::rte_eth_iterator_next(&mut it);
            if id as u32 >= sys::RTE_MAX_ETHPORTS {
                return None;
            }
            sys::rte_eth_iterator_cleanup(&mut it);
            Some(id)
        }
    })
}

fn probe_error(devargs: &str, name: &str, r: i32) -> DpdkError {
    let pci = name.split(':').count() >= 2;
    let advice = if pci {
        "is it bound to vfio-pci (`dpdk-devbind.py -b vfio-pci ADDRESS`) and not kept away by --no-pci?"
            .to_owned()
    } else {
        let known = [
            "net_null",
            "net_pcap",
            "net_ring",
            "net_tap",
            "net_af_packet",
            "net_af_xdp",
            "net_memif",
            "net_vhost",
            "net_virtio_user",
            "virtio_user",
            "eth_vhost",
            "net_bonding",
            "net_gen",
        ];
        if known.iter().any(|k| name.starts_with(k)) {
            "check the arguments (DPDK's own lines above say more)".to_owned()
        } else {
            format!("no driver knows this name; virtual devices are called {}...", known[..9].join("0, "))
        }
    };
    let why = match r {
        0 => "it has no Ethernet port".to_owned(),
        // EAL's way to say that no bus knows the name.
        e if e == -libc::EFAULT => "no such device".to_owned(),
        e => eal::strerror(e),
    };
    DpdkError::new(format!("DPDK device \"{devargs}\""), why, advice)
}
